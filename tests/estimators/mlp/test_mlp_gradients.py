"""Losses, gradients and hidden layers of the multi-layer perceptrons, in the user's hands."""

import inspect
import pickle
import warnings
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.datasets import load_iris
from sklearn.exceptions import NotFittedError
from sklearn.neural_network import MLPClassifier as TheirClassifier
from sklearn.neural_network import MLPRegressor as TheirRegressor
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import MLPClassifier, MLPRegressor
from fastnn.networks.host_network import HostNetwork
from fastnn.tables.activations import HIDDEN, LAYER_ACTIVATIONS
from fastnn.tables.losses import HEADS
from tests import reference
from tests.tables.test_losses import head_name

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:.*of the units of hidden layer",  # small layers on few rows
)

BOTH = pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
IRIS = load_iris(return_X_y=True)
RNG = np.random.default_rng(0)
X = RNG.normal(size=(23, 3))
Y = RNG.uniform(0.1, 0.9, size=(23, 2))  # what every output activation can give
WEIGHT = RNG.uniform(0, 2, size=23)


def objective(model, head, X, Y, sample_weight):
    """What is minimised: mean over samples, sum over outputs, plus the penalty over the samples' weight."""
    out = reference.reference_predict(
        X, model.coefs_, model.intercepts_,
        hidden_activation=model.activation, output_activation=head.output_activation,
    )  # fmt: skip
    rows = reference.ReferenceHead(head).row_loss(Y, out)
    if head.loss.mean_over_outputs:
        rows = rows * Y.shape[1]
    weight = np.ones(len(X)) if sample_weight is None else sample_weight
    penalty = 0.5 * model.alpha * sum((W * W).sum() for W in model.coefs_)
    return ((weight * rows).sum() + penalty) / weight.sum()


def check(model, head, y, Y, sample_weight):
    """Loss and gradients beside the objective above, and its central differences."""
    loss, *gradients = model.loss_and_gradients(X, y, sample_weight)
    assert loss == pytest.approx(objective(model, head, X, Y, sample_weight), rel=1e-12)
    flags = model.use_bias if isinstance(model.use_bias, tuple) else (model.use_bias,) * len(model.coefs_)
    h = 1e-6
    for used, W, b, dW, db in zip(flags, model.coefs_, model.intercepts_, *gradients, strict=True):
        for array, gradient in ((W, dW), (b, db)):
            numeric = np.zeros_like(array)
            for at in np.ndindex(array.shape) if array is W or used else ():
                kept, sides = array[at], []
                for moved in (kept + h, kept - h):
                    array[at] = moved
                    sides.append(objective(model, head, X, Y, sample_weight))
                array[at] = kept
                numeric[at] = (sides[0] - sides[1]) / (2 * h)
            assert_allclose(gradient, numeric, atol=2e-8)
    assert model.gradient_check(X, y, sample_weight) < 1e-6


@pytest.mark.parametrize("sample_weight", [None, WEIGHT], ids=["", "weighted"])
@pytest.mark.parametrize("head", [head for head in HEADS if head.loss.regression], ids=head_name)
def test_heads_by_central_differences(head, sample_weight):
    number = HEADS.index(head)
    model = MLPRegressor(
        head.loss.name,
        out_activation=head.output_activation,
        activation=HIDDEN[number % len(HIDDEN)],
        hidden_layer_sizes=(4,),
        use_bias=(number % 2 == 0, True),
        bias_init="auto",
        alpha=0.3,
        random_state=3,
    ).initialize(X, Y)
    check(model, head, Y, Y, sample_weight)


@pytest.mark.parametrize("use_bias", [True, False, (True, False, True)])
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
@pytest.mark.parametrize("target", ["classes", "binary", "labels"])
def test_targets_of_a_classifier(target, loss, use_bias):
    codes = np.arange(23) % 3
    y, Y = {
        "classes": (np.array(["a", "b", "c"])[codes], np.eye(3)[codes]),
        "binary": (codes > 0, (codes > 0)[:, None].astype(float)),
        "labels": ((Y_ := np.eye(3)[codes] + np.eye(3)[0] > 0).astype(int), Y_.astype(float)),
    }[target]
    model = MLPClassifier((4, 3), activation="tanh", use_bias=use_bias, loss=loss, alpha=0.1, random_state=0)
    model.initialize(X, y)
    check(model, model._head(), y, Y, WEIGHT)


@pytest.mark.parametrize("name", HIDDEN)
def test_activations_by_central_differences(name):
    others = {"activation": (name, "softmax", "tanh"), "hidden_layer_sizes": (5, 4, 3)}
    model = MLPRegressor(**others, random_state=1, alpha=0.2).initialize(X, Y)
    check(model, model._head(), Y, Y, None)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic", "identity"])
def test_gradients_of_scikit_learn(activation, seed):
    several = [(TheirClassifier, MLPClassifier, IRIS[1]), (TheirRegressor, MLPRegressor, IRIS[0][:, :2])]
    for theirs, ours, y in several:
        options = {"hidden_layer_sizes": (7, 5), "activation": activation, "alpha": 0.5}
        their = theirs(**options, max_iter=2, random_state=seed).fit(IRIS[0], y)
        mine = ours(**options, random_state=seed).initialize(IRIS[0], y)
        mine.coefs_, mine.intercepts_ = their.coefs_, their.intercepts_
        target = np.eye(3)[y] if y.ndim == 1 else y
        sizes = [4, 7, 5, target.shape[1]]
        acts = [IRIS[0], *(np.empty((150, size)) for size in sizes[1:])]
        empty = [[np.empty_like(a) for a in arrays] for arrays in (acts[1:], their.coefs_, their.intercepts_)]
        weight = np.arange(150) % 4 + 0.5
        loss, coef_grads, intercept_grads = their._backprop(IRIS[0], target, weight, acts, *empty)
        got = mine.loss_and_gradients(IRIS[0], y, weight)
        for g, want in zip(got[1] + got[2], coef_grads + intercept_grads, strict=True):
            assert_allclose(g, want, atol=1e-13)
        if ours is MLPClassifier:
            assert got[0] == pytest.approx(loss, rel=1e-12)


@BOTH
@pytest.mark.parametrize("early_stopping", [False, True])
def test_gradient_descent_by_hand_is_that_of_fit(kind, early_stopping):
    X, y = IRIS
    rate = 0.05
    options = {"hidden_layer_sizes": (6,), "learning_rate_init": rate, "alpha": 0.1, "random_state": 0}
    plain = {"solver": "sgd", "momentum": 0, "batch_size": 150, "shuffle": False, "tol": 0}
    fitted = kind(**options, **plain, max_iter=25, n_iter_no_change=25).fit(X, y)
    model = kind(**options, early_stopping=early_stopping).initialize(X, y)
    losses = []
    for _ in range(25):
        loss, coef_grads, intercept_grads = model.loss_and_gradients(X, y)
        losses.append(loss)
        model.coefs_ = [W - rate * dW for W, dW in zip(model.coefs_, coef_grads, strict=True)]
        model.intercepts_ = [b - rate * db for b, db in zip(model.intercepts_, intercept_grads, strict=True)]
    assert_allclose(losses, fitted.loss_curve_, rtol=1e-12)
    for mine, theirs in zip(
        model.coefs_ + model.intercepts_, fitted.coefs_ + fitted.intercepts_, strict=True
    ):
        assert_allclose(mine, theirs, rtol=1e-9, atol=1e-12)


@BOTH
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_minimum_of_lbfgs_has_no_gradient(kind, solver):
    X, y = IRIS
    model = kind(hidden_layer_sizes=(), solver="lbfgs", alpha=1.0, tol=1e-8, random_state=0).fit(X, y)
    loss, gradient = model.set_params(solver=solver).loss_and_gradients(X, y, flat=True)
    assert loss == pytest.approx(model.loss_, rel=1e-12)
    assert abs(gradient).max() < 1e-4
    assert abs(model.set_params(alpha=0.0).loss_and_gradients(X, y, flat=True)[1]).max() > 1e-3


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_one_vector(kind, dtype):
    X, y = IRIS[0].astype(dtype), IRIS[1]
    model = kind(hidden_layer_sizes=(4, 3), random_state=0).initialize(X, y)
    loss, coef_grads, intercept_grads = model.loss_and_gradients(X, y)
    assert [g.shape for g in coef_grads] == [W.shape for W in model.coefs_]
    assert [g.shape for g in intercept_grads] == [b.shape for b in model.intercepts_]
    assert {g.dtype for g in coef_grads + intercept_grads} == {np.dtype(dtype)}
    assert type(loss) is float
    same, vector = model.loss_and_gradients(X, y, flat=True)
    assert same == loss
    assert_array_equal(
        vector,
        np.concatenate(
            [part.ravel() for pair in zip(coef_grads, intercept_grads, strict=True) for part in pair]
        ),
    )
    # Each call gives arrays of its own.
    vector[:] = 0
    assert model.loss_and_gradients(X, y, flat=True)[1].any()
    # The type is that of the weights, as where training goes on with other data.
    assert model.loss_and_gradients(IRIS[0], y, flat=True)[1].dtype == dtype
    assert model.gradient_check(X, y) < 1e-6


@BOTH
def test_sparse_rows(kind):
    y = np.arange(40) % 3
    rows = sparse.random(40, 300, 0.03, format="coo", random_state=0)
    model = kind(hidden_layer_sizes=(4,), random_state=0).initialize(rows, y)
    for ours, dense in zip(
        model.loss_and_gradients(rows, y, flat=True),
        model.loss_and_gradients(rows.toarray(), y, flat=True),
        strict=True,
    ):
        assert_allclose(ours, dense, rtol=1e-12, atol=1e-15)
    assert_allclose(model.hidden_activations(rows), model.hidden_activations(rows.toarray()), atol=1e-13)


@BOTH
def test_the_model_does_not_change(kind):
    source = np.random.RandomState(0)
    X, y = IRIS
    model = kind(hidden_layer_sizes=(4,), dropout=0.5, max_iter=2, random_state=source).fit(X, y)
    before = pickle.dumps(model)
    for seeded in (model, pickle.loads(before).set_params(random_state=None)):
        sources = np.random.mtrand._rand, source
        numbers = [each.get_state()[1].copy() for each in sources]
        kept = pickle.dumps(seeded)
        arrays = seeded.coefs_ + seeded.intercepts_
        seeded.loss_and_gradients(X, y)
        seeded.gradient_check(X[:5], y[:5])
        seeded.hidden_activations(X)
        assert pickle.dumps(seeded) == kept
        assert all(a is b for a, b in zip(arrays, seeded.coefs_ + seeded.intercepts_, strict=True))
        assert_array_equal([each.get_state()[1] for each in sources], numbers)
    # There is no dropout.
    loss = model.loss_and_gradients(X, y)[0]
    assert model.set_params(dropout=0.0).loss_and_gradients(X, y)[0] == loss


def test_a_rate_of_the_biases_is_none_of_their_gradient():
    model = MLPRegressor(hidden_layer_sizes=(4,), bias_learning_rate_factor=0, random_state=0)
    plain = MLPRegressor(hidden_layer_sizes=(4,), random_state=0)
    pair = [each.initialize(X, Y).loss_and_gradients(X, Y, flat=True)[1] for each in (model, plain)]
    assert_array_equal(*pair)
    assert pair[0][12:16].any()


@pytest.mark.parametrize("options", [{"learning_rate": "cosine"}, {"early_stopping": True}])
def test_what_partial_fit_refuses_is_none_of_the_gradient(options):
    X, y = IRIS
    model = MLPClassifier((3,), max_iter=3, random_state=0, **options).fit(X, y)
    plain = MLPClassifier.from_weights(model.coefs_, model.intercepts_)
    loss, gradient = plain.loss_and_gradients(X, y, flat=True)
    assert_array_equal(model.loss_and_gradients(X, y, flat=True)[1], gradient)
    assert model.loss_and_gradients(X, y)[0] == loss


def test_not_every_class_has_to_be_there():
    X, y = IRIS
    names = np.array(["setosa", "versicolor", "virginica"])[y]
    # Also after a warm start, which itself wants all of them.
    model = MLPClassifier((3,), warm_start=True, random_state=0).initialize(X, names)
    losses = [model.loss_and_gradients(X[y == k], names[y == k])[0] for k in range(3)]
    assert np.mean(losses) == pytest.approx(
        model.set_params(alpha=0.0).loss_and_gradients(X, names)[0], rel=1e-4
    )
    with pytest.raises(ValueError, match=r"classes not in `self\.classes_`"):
        model.loss_and_gradients(X, y)
    with pytest.raises(ValueError, match=r"classes not in `self\.classes_`"):
        model.loss_and_gradients(X[:1], ["rosa"])
    column = model.loss_and_gradients(X, names)[0]
    with pytest.warns(Warning, match="column-vector"):
        assert model.loss_and_gradients(X, names[:, None])[0] == column


def test_given_weights():
    model = MLPRegressor.from_weights([[[2.0], [-1.0]]], [[0.5]], alpha=0.1)
    loss, (dW,), (db,) = model.loss_and_gradients([[1, 1], [3, 0]], [1, 6])
    assert loss == pytest.approx(0.5 * (0.25 + 0.25) / 2 + 0.05 * 5 / 2)
    assert_allclose(dW[:, 0], [(0.5 + 3 * 0.5) / 2 + 0.1, 0.5 / 2 - 0.05])
    assert_allclose(db, [0.5])
    # Two outputs, which no fit makes.
    model = MLPClassifier.from_weights([np.eye(2)], [np.zeros(2)], classes=["no", "yes"])
    assert model.loss_and_gradients([[0, 0]], ["yes"])[0] == pytest.approx(np.log(2) + 1e-4)
    assert model.gradient_check([[0, 1], [1, 0.5]], ["yes", "no"]) < 1e-6


@pytest.mark.parametrize("name", ["loss_and_gradients", "gradient_check"])
@BOTH
def test_what_fit_refuses(kind, name):
    X, y = IRIS
    model = kind(hidden_layer_sizes=(3,), random_state=0)
    call = getattr(model, name)
    with pytest.raises(NotFittedError):
        call(X, y)
    model.initialize(X, y)
    with pytest.raises(ValueError, match="2 features"):
        call(X[:, :2], y)
    with pytest.raises(ValueError, match="NaN"):
        call(np.full_like(X, np.nan), y)
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        call(X, y[:-1])
    with pytest.raises(ValueError, match="Negative values in data"):
        call(X, y, -np.ones(150))
    with pytest.raises(ValueError, match="at least one non-zero"):
        call(X, y, np.zeros(150))
    for parameter, wrong in (("alpha", -1), ("n_threads", 0), ("device", 7)):
        right = getattr(model, parameter)
        with pytest.raises((InvalidParameterError, ValueError), match=parameter):
            getattr(model.set_params(**{parameter: wrong}), name)(X, y)
        model.set_params(**{parameter: right})
    with pytest.raises(ValueError, match="layers of"):
        getattr(model.set_params(hidden_layer_sizes=(4,)), name)(X, y)
    model.set_params(hidden_layer_sizes=(3,), activation="hard_limit")
    with pytest.raises(ValueError, match="no derivative"):
        getattr(model, name)(X, y)
    model.set_params(activation="relu", out_activation="softmax" if kind is MLPRegressor else "tanh")
    with pytest.raises(ValueError, match="pairs are"):
        getattr(model, name)(X, y)
    model.set_params(out_activation="auto")
    if kind is MLPRegressor:
        with pytest.raises(ValueError, match="layers of"):
            getattr(model, name)(X, np.c_[y, y])
        with pytest.raises(ValueError, match="out of the valid range"):
            getattr(model.set_params(loss="poisson"), name)(X, -y)


def test_flat_is_a_truth_value():
    model = MLPRegressor(hidden_layer_sizes=(3,)).initialize(X, Y)
    with pytest.raises(ValueError, match="flat must be True or False, got 'yes'"):
        model.loss_and_gradients(X, Y, flat="yes")
    assert inspect.signature(model.loss_and_gradients).parameters["flat"].kind.name == "KEYWORD_ONLY"


def test_what_overflows():
    model = MLPRegressor.from_weights([[[1e200]], [[1e200]]], [[0.0], [0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(2):
            assert model.loss_and_gradients([[1.0]], [0.0])[0] == np.inf
            assert np.isnan(model.gradient_check([[1.0]], [0.0]))
        model.coefs_[0][:] = np.nan
        loss, gradient = model.loss_and_gradients([[1.0]], [0.0], flat=True)
    assert np.isnan(loss)
    assert np.isnan(gradient).all()


@pytest.mark.parametrize("at", [0, 15, 17, -1])
def test_a_wrong_gradient_is_found(at, monkeypatch):
    model = MLPRegressor(hidden_layer_sizes=(4,), random_state=0).initialize(X, Y)
    assert model.gradient_check(X, Y) < 1e-6
    right = HostNetwork.loss_and_gradient

    def wrong(self, **options):
        loss, gradient = right(self, **options)
        gradient[at] *= 1.5
        return loss, gradient

    monkeypatch.setattr(HostNetwork, "loss_and_gradient", wrong)
    assert 1e-2 < model.gradient_check(X, Y) < 1


def test_a_kink_is_no_place_for_differences():
    """At 0 relu's slope is 0 and the central difference a half."""
    weights = [np.ones((1, 1)), np.ones((1, 1))], [np.zeros(1), np.zeros(1)]
    model = MLPRegressor.from_weights(*weights, alpha=0.0)
    assert model.gradient_check([[0.0]], [1.0]) > 0.5
    assert model.gradient_check([[0.1]], [1.0]) < 1e-6
    assert model.set_params(relu_grad_at_zero=0.5).gradient_check([[0.0]], [1.0]) < 1e-4


# Hidden layers.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", LAYER_ACTIVATIONS)
def test_hidden_layers_beside_the_reference(name, dtype):
    activations = ("tanh", name, "softmax")
    sizes = [3, 6, 5, 4, 2]
    shapes = list(pairwise(sizes))
    coefs = [RNG.normal(size=shape).astype(dtype) for shape in shapes]
    intercepts = [RNG.normal(size=shape[1]).astype(dtype) for shape in shapes]
    rows = X.astype(dtype)
    model = MLPRegressor.from_weights(coefs, intercepts, activation=activations)
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    for layer in range(3):
        want = reference.reference_predict(
            rows, coefs[: layer + 1], intercepts[: layer + 1],
            hidden_activation=activations[:layer], output_activation=activations[layer],
        )  # fmt: skip
        got = model.hidden_activations(rows, layer)
        assert got.shape == (23, sizes[layer + 1])
        assert got.dtype == dtype
        assert_allclose(got, want, atol=tolerance)
        assert_array_equal(model.hidden_activations(rows, layer - 3), got)
        assert_array_equal(model.hidden_activations(rows, layer=np.int32(layer)), got)
    assert_array_equal(model.hidden_activations(rows), model.hidden_activations(rows, 2))
    assert model.hidden_activations(X).dtype == np.float64
    # A linear model of the last hidden layer is the network.
    assert_allclose(
        model.hidden_activations(rows) @ coefs[-1] + intercepts[-1], model.predict(rows), rtol=1e-3
    )


@BOTH
def test_hidden_layers_that_there_are_not(kind):
    X, y = IRIS
    with pytest.raises(NotFittedError):
        kind().hidden_activations(X)
    model = kind(hidden_layer_sizes=(3, 2)).initialize(X, y)
    for layer in (2, -3, 1.0, True, "last", None):
        with pytest.raises(ValueError, match=r"layer must be an integer from -2 to 1, got"):
            model.hidden_activations(X, layer)
    with pytest.raises(ValueError, match="2 features"):
        model.hidden_activations(X[:, :2])
    model = kind(hidden_layer_sizes=()).initialize(X, y)
    with pytest.raises(ValueError, match="There is no hidden layer"):
        model.hidden_activations(X)
