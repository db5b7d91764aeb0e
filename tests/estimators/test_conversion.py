"""Estimators become scikit-learn's, and scikit-learn's become ours."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn import cluster, neural_network
from sklearn.datasets import load_diabetes, load_iris, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression

from fastnn import Autoencoder, GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X = (X - X.mean(axis=0)) / X.std(axis=0)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
NET = {"hidden_layer_sizes": (7, 5), "max_iter": 15, "random_state": 0, "learning_rate_init": 0.01}
BOTH = pytest.mark.parametrize("name", ["MLPClassifier", "MLPRegressor"])
KMEANS = pytest.mark.parametrize("name", ["KMeans", "MiniBatchKMeans"])
TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
OURS = {each.__name__: each for each in (MLPClassifier, MLPRegressor, KMeans, MiniBatchKMeans)}
SOLVERS = {
    "adam": {"solver": "adam"},
    "sgd": {"solver": "sgd"},
    "momentum": {"solver": "sgd", "nesterovs_momentum": False, "momentum": 0.5},
    "invscaling": {"solver": "sgd", "learning_rate": "invscaling", "power_t": 0.3},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "tol": 0.05,
        "n_iter_no_change": 1,
    },
}


def theirs(name):
    return getattr(neural_network if name.startswith("MLP") else cluster, name)


def numbers(model, rows):
    return getattr(model, "predict_proba", model.predict)(rows)


def same_network(one, other, rows, *, rtol=1e-9):
    """The same predictions, and the same public attributes, as far as both have them."""
    single = one.coefs_[0].dtype == np.float32
    assert_allclose(
        numbers(one, rows),
        numbers(other, rows),
        rtol=1e-3 if single else rtol,
        atol=1e-5 if single else 1e-12,
    )
    if hasattr(one, "classes_"):
        assert_array_equal(one.predict(rows), other.predict(rows))
    for name in vars(other):
        if name.endswith("_") and hasattr(one, name) and name not in ("coefs_", "intercepts_"):
            assert_array_equal(getattr(one, name), getattr(other, name), err_msg=name)


# Networks.


@BOTH
@TYPES
@pytest.mark.parametrize("activation", ["identity", "logistic", "tanh", "relu"])
def test_a_network_becomes_scikit_learns_and_comes_back(name, activation, dtype):
    rows = X.astype(dtype)
    model = OURS[name](activation=activation, **NET).fit(rows, Y)
    there = model.to_sklearn()
    assert type(there) is theirs(name)
    assert there.coefs_[0].dtype == dtype
    same_network(there, model, rows)
    parameters = model.get_params()
    assert there.get_params() == {key: parameters[key] for key in there.get_params()}
    back = OURS[name].from_sklearn(there)
    assert back.get_params() == parameters
    assert_array_equal(numbers(back, rows), numbers(model, rows))
    same_network(back, model, rows)


@pytest.mark.parametrize("y", [NAMES, Y > 0, np.zeros(len(Y), int)], ids=["strings", "two", "one"])
def test_classes(y):
    model = MLPClassifier(**NET).fit(X, y)
    there = model.to_sklearn()
    same_network(there, model, X)
    assert there.score(X, y) == model.score(X, y)
    same_network(MLPClassifier.from_sklearn(there), model, X)


def test_several_labels_and_targets():
    rows, labels = make_multilabel_classification(80, n_classes=3, random_state=0)
    model = MLPClassifier(**NET).fit(rows, labels)
    same_network(model.to_sklearn(), model, rows)
    fitted = neural_network.MLPClassifier(**NET).fit(rows, labels)
    same_network(MLPClassifier.from_sklearn(fitted), fitted, rows)
    rows, y = load_diabetes(return_X_y=True)
    targets = np.column_stack([y, -y]) / 100
    model = MLPRegressor(**NET).fit(rows, targets)
    same_network(model.to_sklearn(), model, rows)
    fitted = neural_network.MLPRegressor(**NET).fit(rows, targets)
    same_network(MLPRegressor.from_sklearn(fitted), fitted, rows)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_the_poisson_loss(solver):
    model = MLPRegressor("poisson", solver=solver, **NET).fit(X, Y)
    there = model.to_sklearn()
    assert (there.loss, there.out_activation_) == ("poisson", "exp")
    same_network(there, model, X)
    fitted = neural_network.MLPRegressor("poisson", solver=solver, **NET).fit(X, Y)
    same_network(MLPRegressor.from_sklearn(fitted), fitted, X)


@BOTH
@pytest.mark.parametrize("settings", SOLVERS)
def test_partial_fit_goes_on_from_the_same_state(name, settings, same_batches):
    """There and here, from one fit of either, to rounding."""
    settings = NET | SOLVERS[settings]
    ours, fitted = OURS[name](**settings).fit(X, Y), theirs(name)(**settings).fit(X, Y)
    there, here = ours.to_sklearn(), OURS[name].from_sklearn(fitted)
    for first, second in ((ours, there), (fitted, here)):
        before = [W.copy() for W in second.coefs_]
        for _ in range(3):
            first.partial_fit(X, Y)
            second.partial_fit(X, Y)
        for W, V, start in zip(first.coefs_, second.coefs_, before, strict=True):
            assert_allclose(W, V, rtol=1e-7, atol=1e-9)
            assert not np.array_equal(V, start)
        assert_allclose(first.loss_curve_, second.loss_curve_, rtol=1e-9)
        assert first.t_ == second.t_


@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_warm_start_goes_on_from_the_weights(name, solver, same_batches):
    settings = NET | {"solver": solver, "warm_start": True}
    fitted = theirs(name)(**settings).fit(X, Y)
    here = OURS[name].from_sklearn(fitted)
    there = here.to_sklearn()
    losses = [model.set_params(max_iter=3).fit(X, Y).loss_ for model in (fitted, here, there)]
    assert_allclose(losses, losses[0], rtol=1e-5)


def test_early_stopping_comes_along():
    model = MLPClassifier(early_stopping=True, **NET).fit(X, Y)
    there = model.to_sklearn()
    assert there.validation_scores_ == model.validation_scores_
    assert there.best_loss_ is None
    back = MLPClassifier.from_sklearn(there).set_params(warm_start=True).fit(X, Y)
    assert len(back.validation_scores_) > len(model.validation_scores_)


def test_what_was_only_begun_can_be_trained_there():
    """scikit-learn's estimators go on from attributes that a fit without epochs does not set."""
    for model in (
        MLPClassifier(**NET).initialize(X, Y),
        MLPClassifier(solver="lbfgs", **NET).fit(X, Y).set_params(solver="adam"),
        MLPClassifier.from_weights([np.eye(4, 3)], [np.zeros(3)], max_iter=5),
    ):
        there = model.to_sklearn()
        same_network(there, model, X)
        assert len(there.partial_fit(X, Y).loss_curve_) == 1
        there = model.set_params(early_stopping=True, warm_start=True).to_sklearn()
        assert there.fit(X, Y).best_validation_score_ >= 0


def test_neither_trains_the_other():
    model = MLPClassifier(**NET).fit(X, Y)
    there = model.to_sklearn()
    back = MLPClassifier.from_sklearn(there)
    kept = [W.copy() for W in model.coefs_], list(model.loss_curve_)
    there.partial_fit(X, Y)
    back.partial_fit(X, Y)
    assert_array_equal(model.coefs_[0], kept[0][0])
    assert model.loss_curve_ == kept[1]
    assert len(there.loss_curve_) == len(back.loss_curve_) == len(kept[1]) + 1


def test_what_acts_in_training_alone_is_left_behind():
    model = MLPRegressor(
        **NET, dropout=0.3, use_bias=(True, False, True), weight_init="normal", accumulate_batches=2
    ).fit(X, Y)
    same_network(model.to_sklearn(), model, X)
    model = MLPRegressor(**NET, learning_rate="cosine", warmup_epochs=1).fit(X, Y)
    there = model.to_sklearn()
    assert there.learning_rate == "constant"
    same_network(there, model, X)
    model = MLPRegressor(**NET, solver="lm", relu_grad_at_zero=0.5).fit(X, Y)
    there = model.to_sklearn()
    assert (there.solver, there.activation) == ("adam", "relu")
    same_network(there, model, X)


def test_activations_of_each_layer():
    weights = [np.eye(4), np.ones((4, 2)), np.ones((2, 1))], [np.zeros(4), np.zeros(2), np.zeros(1)]
    model = MLPRegressor.from_weights(*weights, activation=["tanh", "tanh"])
    there = model.to_sklearn()
    assert there.activation == "tanh"
    same_network(there, model, X)
    with pytest.raises(ValueError, match=r"one activation, and these have \['tanh', 'relu'\]"):
        MLPRegressor.from_weights(*weights, activation=["tanh", "relu"]).to_sklearn()
    # Without hidden layers none counts.
    for activation in ((), "gelu", "tanh"):
        model = MLPRegressor.from_weights([np.ones((4, 1))], [np.zeros(1)], activation=activation)
        there = model.to_sklearn()
        assert there.activation == ("tanh" if activation == "tanh" else "relu")
        same_network(there, model, X)


def test_replaced_outputs_count():
    model = MLPClassifier(**NET).fit(X, Y)
    model.out_activation_, model.coefs_[0] = "identity", model.coefs_[0].astype(np.float32)
    there = model.to_sklearn()
    same_network(there, model, X)
    fitted = neural_network.MLPClassifier(**NET).fit(X, Y)
    model.out_activation_ = "relu_one"  # relu with another derivative
    same_network(model.to_sklearn(), MLPClassifier.from_sklearn(model.to_sklearn()), X)
    assert_allclose(model.to_sklearn().predict_proba(X), model.predict_proba(X), rtol=1e-9)
    fitted.out_activation_ = "identity"
    same_network(MLPClassifier.from_sklearn(fitted), fitted, X)
    fitted.out_activation_ = "nonsense"
    with pytest.raises(ValueError, match="out_activation_ must be one of"):
        MLPClassifier.from_sklearn(fitted)


REFUSED = {
    "activations ['identity', 'logistic', 'relu', 'tanh'], and these have 'gelu'": MLPClassifier(
        activation="gelu", **NET
    ),
    "and these have 'softmax'": MLPRegressor(activation="softmax", **NET),
    "are ['log_loss'], and this has loss='squared_error'": MLPClassifier(loss="squared_error", **NET),
    "this has loss='huber'": MLPRegressor("huber", **NET),
    "its outputs are 'softmax', and this has out_activation='logistic'": MLPClassifier(
        out_activation="logistic", **NET
    ),
    "its outputs are 'identity', and this has out_activation='tanh'": MLPRegressor(
        out_activation="tanh", **NET
    ),
    "its outputs are 'exp', and this has out_activation='softplus'": MLPRegressor(
        "poisson", out_activation="softplus", **NET
    ),
    "scikit-learn has no autoencoder": Autoencoder((2,), max_iter=2, random_state=0),
    "no k-means with metric='cosine'": KMeans(3, metric="cosine", random_state=0),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_scikit_learn_does_not_have_is_refused(reason):
    model = REFUSED[reason].fit(X, Y)
    with pytest.raises(ValueError) as refusal:  # noqa: PT011
        model.to_sklearn()
    assert reason in str(refusal.value)


def test_replaced_outputs_may_be_refused():
    model = MLPClassifier(**NET).fit(X, Y)
    for name in ("logistic", "mish"):  # probabilities of the first would sum to one here alone
        model.out_activation_ = name
        with pytest.raises(ValueError, match=f"out_activation_ is '{name}'"):
            model.to_sklearn()


@pytest.mark.parametrize("name", OURS)
def test_what_is_not_fitted_or_of_another_kind(name):
    with pytest.raises(NotFittedError):
        OURS[name]().to_sklearn()
    with pytest.raises(NotFittedError):
        OURS[name].from_sklearn(theirs(name)())
    others = (
        LogisticRegression(),
        OURS[name](),
        theirs("MLPRegressor" if name != "MLPRegressor" else "KMeans")(),
    )
    for other in (*others, 3, theirs(name)):
        with pytest.raises(TypeError, match=f"takes a fitted {name} of scikit-learn"):
            OURS[name].from_sklearn(other)


# k-means.


def same_centers(one, other, rows):
    single = one.cluster_centers_.dtype == np.float32
    assert_array_equal(one.predict(rows), other.predict(rows))
    tolerance = {"rtol": 1e-3, "atol": 1e-3} if single else {"rtol": 1e-9, "atol": 1e-7}
    assert_allclose(one.transform(rows), other.transform(rows), **tolerance)
    assert one.score(rows) == pytest.approx(other.score(rows), rel=1e-4 if single else 1e-9)
    for name in ("cluster_centers_", "labels_", "inertia_", "n_iter_", "n_features_in_"):
        assert_array_equal(getattr(one, name), getattr(other, name))


@KMEANS
@TYPES
def test_k_means_becomes_scikit_learns_and_comes_back(name, dtype):
    rows = X.astype(dtype)
    model = OURS[name](3, max_iter=7, random_state=0).fit(rows)
    there = model.to_sklearn()
    assert type(there) is theirs(name)
    assert there.cluster_centers_.dtype == dtype
    same_centers(there, model, rows)
    parameters = model.get_params()
    assert there.get_params() == {key: parameters[key] for key in there.get_params()}
    assert list(there.get_feature_names_out()) == [f"{name.lower()}{j}" for j in range(3)]
    back = OURS[name].from_sklearn(there)
    assert back.get_params() == parameters
    same_centers(back, model, rows)
    fitted = theirs(name)(3, random_state=0).fit(rows)
    same_centers(OURS[name].from_sklearn(fitted), fitted, rows)


@TYPES
def test_mini_batches_go_on(dtype):
    rows = X.astype(dtype)
    settings = {"n_clusters": 3, "batch_size": 40, "random_state": 0}
    ours, fitted = MiniBatchKMeans(**settings).fit(rows), cluster.MiniBatchKMeans(**settings).fit(rows)
    begun = MiniBatchKMeans(**settings).partial_fit(rows[:50])
    for first, second in (
        (ours, ours.to_sklearn()),
        (fitted, MiniBatchKMeans.from_sklearn(fitted)),
        (begun, begun.to_sklearn()),
    ):
        before, steps = second.cluster_centers_.copy(), second.n_steps_
        for start in (0, 50, 100):
            first.partial_fit(rows[start : start + 50])
            second.partial_fit(rows[start : start + 50])
        assert_allclose(
            first.cluster_centers_, second.cluster_centers_, rtol=1e-4 if dtype is np.float32 else 1e-9
        )
        assert (second.cluster_centers_ != before).any()
        assert first.n_steps_ == second.n_steps_ == steps + 3


def test_gradient_k_means_becomes_lloyds():
    model = GradKMeans(3, max_iter=5, random_state=0).fit(X)
    there = model.to_sklearn()
    assert type(there) is cluster.KMeans
    assert (there.n_clusters, there.max_iter, there.random_state) == (3, 5, 0)
    same_centers(there, model, X)
    assert not hasattr(GradKMeans, "from_sklearn")


def test_names_that_scikit_learn_does_not_know_are_left_at_its_defaults():
    model = KMeans(3, init="afk-mc2", algorithm="plain", n_init=2, random_state=0).fit(X)
    there = model.to_sklearn()
    assert (there.init, there.algorithm, there.n_init) == ("k-means++", "lloyd", 2)
    same_centers(there, model, X)


def test_replaced_centers_count():
    model = KMeans(3, random_state=0).fit(X)
    model.cluster_centers_ = (model.cluster_centers_ + 1).tolist()
    there = model.to_sklearn()
    assert_array_equal(there.cluster_centers_, model.cluster_centers_)
    assert_array_equal(there.predict(X), model.predict(X))


def test_arrays_of_centers_are_ones_own():
    start = X[:3].copy()
    model = KMeans(3, init=start, n_init=1).fit(X)
    there = model.to_sklearn()
    there.cluster_centers_ += 1
    there.init += 1
    there.labels_[:] = 0
    assert_array_equal(start, X[:3])
    assert_array_equal(model.predict(X), model.labels_)
    assert not np.array_equal(model.cluster_centers_, there.cluster_centers_)
