"""The parameters `loss` and `out_activation` of the multi-layer perceptrons, and those of the losses."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import root
from sklearn.datasets import load_iris
from sklearn.linear_model import HuberRegressor
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import MLPClassifier, MLPRegressor
from fastnn.estimators.mlp.heads import OF_A_CLASSIFIER, OF_A_REGRESSOR
from fastnn.tables.losses import HEADS, head_of
from tests import reference
from tests.tables.test_losses import head_name

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris(return_X_y=True)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 3))
Y = RNG.uniform(0.1, 0.9, size=(80, 2))  # what every output activation can give
NEWER = {"loss", "out_activation", "huber_delta", "quantile", "class_weight", "label_smoothing"}
each_regressor_head = pytest.mark.parametrize(
    "head", [head for head in HEADS if head.loss.regression], ids=head_name
)


def regressor(head, **parameters):
    own = {} if head.loss.parameter is None else {head.loss.parameter: 0.3}
    parameters = {"hidden_layer_sizes": (6,), "max_iter": 30, "random_state": 0, **own, **parameters}
    return MLPRegressor(head.loss.name, out_activation=head.output_activation, **parameters)


def outputs(model, X):
    return reference.reference_predict(
        X, model.coefs_, model.intercepts_,
        hidden_activation=model.activation, output_activation=model.out_activation_,
    )  # fmt: skip


# Regression.


@each_regressor_head
def test_the_loss_of_a_fit(head):
    """The mean over samples of the sum over outputs; the squared error has scikit-learn's mean over both."""
    model = regressor(head, solver="lbfgs", alpha=0.0).fit(X, Y)
    assert model.out_activation_ == head.output_activation
    out = outputs(model, X)
    assert_allclose(model.predict(X), out, rtol=1e-10)
    rows = reference.ReferenceHead(head._replace(parameter=0.3)).row_loss(Y, out)
    assert model.loss_ == pytest.approx(rows.mean(), rel=1e-10)
    # Weights are as good as repetitions.
    weight = np.arange(80) % 3
    weighted = regressor(head, solver="lbfgs", max_iter=1).fit(X, Y, sample_weight=weight)
    model = regressor(head, solver="lbfgs", max_iter=1)
    repeated = model.fit(X.repeat(weight, axis=0), Y.repeat(weight, axis=0))
    assert weighted.loss_ == pytest.approx(repeated.loss_, rel=1e-9)


@each_regressor_head
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_epochs_lower_the_loss(head, dtype):
    model = regressor(head, learning_rate_init=0.01, batch_size=20).fit(X.astype(dtype), Y)
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    assert model.predict(X.astype(dtype)).dtype == dtype
    scored = regressor(head, early_stopping=True, max_iter=3).fit(X, Y)
    assert len(scored.validation_scores_) == 3


@pytest.mark.parametrize("quantile", [0.1, 0.5, 0.8])
def test_a_constant_model_learns_the_quantile(quantile):
    y = RNG.permutation(np.linspace(0, 1, 201))
    options = {"learning_rate_init": 0.005, "max_iter": 1500, "batch_size": 201, "n_iter_no_change": np.inf}
    model = MLPRegressor("quantile", (), quantile=quantile, random_state=0, **options).fit(
        np.zeros((201, 1)), y
    )
    assert model.predict([[0.0]])[0] == pytest.approx(quantile, abs=0.02)
    # As its loss is half the absolute error at 0.5, that learns the median.
    if quantile == 0.5:
        median = model.set_params(loss="absolute_error").fit(np.zeros((201, 1)), y)
        assert median.predict([[0.0]])[0] == pytest.approx(0.5, abs=0.02)


def test_huber_has_the_optimum_of_scikit_learns():
    """Its HuberRegressor finds a scale too; at that scale both minimise the same."""
    y = X @ [1.0, -2.0, 0.5] + 0.1 * np.random.default_rng(0).standard_t(2, size=80)
    theirs = HuberRegressor(alpha=0.0, epsilon=1.5, tol=1e-10, max_iter=1000).fit(X, y)
    delta = 1.5 * theirs.scale_
    ours = MLPRegressor(
        "huber", (), huber_delta=delta, solver="lbfgs", alpha=0.0, tol=1e-10, max_iter=1000, random_state=0,
        warm_start=True,
    )  # fmt: skip
    # L-BFGS, as scikit-learn's, ends where the loss falls by less than 2e-9 of itself: it begins anew there.
    for _ in range(3):
        ours.fit(X, y)

    def slopes(theta):
        errors = np.clip(X @ theta[:3] + theta[3] - y, -delta, delta)
        return np.append(X.T @ errors, errors.sum())

    # Theirs ends so, too: from there to where the slopes are 0.
    found = root(slopes, np.append(theirs.coef_, theirs.intercept_), tol=1e-12)
    assert found.success
    assert_allclose(found.x, np.append(theirs.coef_, theirs.intercept_), atol=1e-5)
    assert_allclose(ours.coefs_[0][:, 0], found.x[:3], atol=1e-5)
    assert_allclose(ours.intercepts_[0], found.x[3], atol=1e-5)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "quantile", "log_cosh"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_targets_whose_squares_overflow(loss, dtype):
    y = np.where(np.arange(80) == 7, 1e30, Y[:, 0]).astype(dtype)
    model = MLPRegressor(loss, (4,), max_iter=5, random_state=0).fit(X.astype(dtype), y)
    assert np.isfinite(model.loss_)
    assert abs(model.predict(X.astype(dtype))).max() < 100  # one row pulls no more than another


@pytest.mark.parametrize("output", ["exp", "softplus"])
def test_the_poisson_loss_refuses_negative_targets(output):
    with pytest.raises(ValueError, match="out of the valid range of the loss 'poisson'"):
        MLPRegressor("poisson", out_activation=output).fit(X, Y[:, 0] - 0.5)


def test_another_loss_goes_on_from_a_fit():
    model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, warm_start=True, random_state=0).fit(X, Y)
    first = model.coefs_[0].copy()
    model.set_params(loss="huber", out_activation="tanh").fit(X, Y)
    assert (model.out_activation_, len(model.loss_curve_)) == ("tanh", 6)
    assert abs(model.coefs_[0] - first).max() < 0.1
    model.set_params(loss="quantile", out_activation="auto").partial_fit(X, Y)
    assert model.out_activation_ == "identity"


# Classification.


@pytest.mark.parametrize("out_activation", ["auto", "logistic"])
def test_independent_outputs_of_several_classes(out_activation):
    """Each is the model of its class against the others."""
    A, y = IRIS
    options = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 1.0, "tol": 1e-8, "max_iter": 2000}
    model = MLPClassifier(out_activation="logistic", **options).fit(A, y)
    assert model.out_activation_ == "logistic"
    binary = MLPClassifier(out_activation=out_activation, **options)
    each = np.stack([binary.fit(A, y == k).predict_proba(A)[:, 1] for k in range(3)], axis=1)
    assert_allclose(model.predict_proba(A), each / each.sum(axis=1, keepdims=True), atol=3e-3)
    assert_array_equal(model.predict(A), outputs(model, A).argmax(axis=1))
    assert_allclose(model.predict_log_proba(A), np.log(model.predict_proba(A)))
    rows = reference.ReferenceHead("binary_log_loss").row_loss(np.eye(3)[y], outputs(model, A)).mean()
    assert model.loss_ == pytest.approx(rows + 0.5 * (model.coefs_[0] ** 2).sum() / 150, rel=1e-9)


@pytest.mark.parametrize("loss", OF_A_CLASSIFIER)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes_without_any_probability(loss, dtype):
    A, y = IRIS
    A = A.astype(dtype)
    model = MLPClassifier((4,), max_iter=2, loss=loss, out_activation="logistic", random_state=0).fit(A, y)
    model.intercepts_[-1][:] = -2000
    assert_allclose(model.predict_proba(A), 1 / 3, rtol=1e-6)
    model.intercepts_[-1][1] = 2000
    assert_array_equal(model.predict_proba(A), np.tile(np.array([0, 1, 0], dtype), (150, 1)))
    assert model.predict_proba(A).dtype == dtype
    assert_array_equal(model.predict(A), 1)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("targets", ["two", "several", "labels"])
def test_the_squared_error_of_classes(solver, targets):
    A, y = IRIS
    y = {"two": y == 1, "several": y, "labels": np.stack([y > 0, y > 1], axis=1).astype(int)}[targets]
    model = MLPClassifier(
        (20,), loss="squared_error", solver=solver, alpha=0.0, learning_rate_init=0.01, random_state=0
    ).fit(A, y)
    assert model.out_activation_ == "logistic"
    assert model.score(A, y) > 0.9
    out = outputs(model, A)
    if solver == "lbfgs":
        Y = np.eye(3)[y] if targets == "several" else y.reshape(150, -1)
        assert model.loss_ == pytest.approx(0.5 * ((Y - out) ** 2).mean(), rel=1e-9)
    proba = model.predict_proba(A)
    if targets == "several":
        assert_allclose(proba, out / out.sum(axis=1, keepdims=True), atol=1e-12)
    else:
        assert_allclose(proba, np.hstack([1 - out, out]) if targets == "two" else out, rtol=1e-12)


# What is refused.


def test_pairs_of_the_estimators_are_pairs_of_the_table():
    for loss, activations in OF_A_REGRESSOR.items():
        assert [head_of(loss, name).loss.regression for name in activations] == [True] * len(activations)
    assert OF_A_REGRESSOR["quantile"] == ("identity", "logistic", "tanh", "softplus", "relu")
    assert OF_A_REGRESSOR["poisson"] == ("exp", "softplus")
    assert OF_A_CLASSIFIER == {"log_loss": ("softmax", "logistic"), "squared_error": ("logistic",)}


@pytest.mark.parametrize(
    ("kind", "loss", "output"),
    [
        (MLPRegressor, "poisson", "identity"),
        (MLPRegressor, "squared_error", "exp"),
        (MLPRegressor, "huber", "softmax"),
        (MLPRegressor, "log_cosh", "gelu"),
        (MLPClassifier, "log_loss", "tanh"),
        (MLPClassifier, "squared_error", "softmax"),
        (MLPClassifier, "squared_error", "identity"),
    ],
)
def test_pairs_that_do_not_go_together(kind, loss, output):
    A, y = IRIS
    model = kind(loss=loss, out_activation=output)
    pairs = OF_A_CLASSIFIER if kind is MLPClassifier else OF_A_REGRESSOR
    listed = "; ".join(f"{name} with {' or '.join(outputs)}" for name, outputs in pairs.items())
    with pytest.raises(ValueError, match=f"out_activation='{output}' .* loss='{loss}'; pairs are: {listed}"):
        model.fit(A, y)
    assert not hasattr(model, "coefs_")
    fitted = kind(max_iter=1, random_state=0).fit(A, y)
    before = pickle.dumps(fitted.coefs_)
    with pytest.raises(ValueError, match="pairs are"):
        fitted.set_params(loss=loss, out_activation=output).partial_fit(A, y)
    assert pickle.dumps(fitted.coefs_) == before


def test_softmax_is_for_one_of_several_classes():
    A, y = IRIS
    assert MLPClassifier(out_activation="softmax", max_iter=1).fit(A, y).out_activation_ == "softmax"
    for few in (y == 1, np.stack([y > 0, y > 1], axis=1).astype(int), np.zeros(150)):
        with pytest.raises(ValueError, match="out_activation='softmax' is for samples that have one of"):
            MLPClassifier(out_activation="softmax").fit(A, few)


BAD = {
    "out_activation": ["none", "", None, 1, ["relu"]],
    "loss": ["none", None, 2],
    "huber_delta": [0, -1.0, np.inf, np.nan, "1", None],
    "quantile": [0, 1, -0.5, 1.5, np.nan, "0.5", None],
}


@pytest.mark.parametrize(
    ("name", "value"), [(name, value) for name, values in BAD.items() for value in values]
)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_bad_values(kind, name, value):
    if name not in kind().get_params():
        pytest.skip("has no such parameter")
    A, y = IRIS
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of {kind.__name__} must be"):
        kind(**{name: value}).fit(A, y)
    fitted = kind(max_iter=1, random_state=0).fit(A, y)
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter"):
        fitted.set_params(**{name: value}).partial_fit(A, y)


# Models of before.


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_model_that_was_pickled_without_these_parameters(kind):
    A, y = IRIS
    model, same = (kind(max_iter=2, random_state=0).fit(A, y) for _ in range(2))
    for name in NEWER & vars(model).keys() - ({"loss"} if kind is MLPRegressor else set()):
        delattr(model, name)
    former = pickle.loads(pickle.dumps(model))
    assert former.get_params() == same.get_params()
    assert_array_equal(former.predict(A), same.predict(A))
    assert_array_equal(former.partial_fit(A, y).coefs_[0], same.partial_fit(A, y).coefs_[0])


@pytest.mark.parametrize(
    ("name", "value", "loss"), [("huber_delta", 2.0, "huber"), ("quantile", 0.1, "quantile")]
)
def test_what_no_other_loss_reads_is_refused(name, value, loss):
    X = np.random.default_rng(0).normal(size=(20, 3))
    model = MLPRegressor(loss, (3,), max_iter=1, random_state=0).fit(X, X[:, 0])
    model.set_params(**{name: value}).fit(X, X[:, 0])
    model.set_params(loss="log_cosh")
    for call in (model.fit, model.partial_fit):
        with pytest.raises(
            ValueError, match=f"{name}={value} needs loss='{loss}': with 'log_cosh' it has no use"
        ):
            call(X, X[:, 0])
