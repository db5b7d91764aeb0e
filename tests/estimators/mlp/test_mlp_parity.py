"""The multi-layer perceptrons against scikit-learn's: same random_state, same numbers."""

import inspect
import warnings
from functools import cache

import numpy as np
import pytest
import sklearn.datasets
import sklearn.neural_network as peer
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

import fastnn

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DATASETS = ("digits", "breast_cancer", "iris", "wine", "diabetes")
ACTIVATIONS = ("identity", "logistic", "tanh", "relu")
SOLVERS = {
    "adam": {"solver": "adam"},
    "nesterov": {"solver": "sgd", "learning_rate_init": 0.05},
    "momentum": {"solver": "sgd", "learning_rate_init": 0.05, "nesterovs_momentum": False},
    "invscaling": {"solver": "sgd", "learning_rate_init": 0.1, "learning_rate": "invscaling"},
    "adaptive": {
        "solver": "sgd",
        "learning_rate": "adaptive",
        "learning_rate_init": 0.02,
        "tol": 0.02,
        "n_iter_no_change": 2,
        "nesterovs_momentum": False,
    },
}
FITTED = (
    "loss_",
    "loss_curve_",
    "best_loss_",
    "validation_scores_",
    "best_validation_score_",
    "t_",
    "n_iter_",
    "n_layers_",
    "n_outputs_",
    "n_features_in_",
    "out_activation_",
    "_no_improvement_count",
)


@cache
def dataset(name):
    X, y = getattr(sklearn.datasets, f"load_{name}")(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    return X, (y - y.mean()) / y.std() if name == "diabetes" else y


def pair(kind, **parameters):
    """Our estimator and scikit-learn's."""
    return getattr(fastnn, kind)(**parameters), getattr(peer, kind)(**parameters)


def assert_same(ours, theirs, rtol=1e-6):
    for name in FITTED:
        assert hasattr(ours, name) == hasattr(theirs, name), name
        expected = getattr(theirs, name, None)
        if expected is None or isinstance(expected, str):
            assert getattr(ours, name, None) == expected, name
        else:
            assert_allclose(getattr(ours, name), expected, rtol=rtol, err_msg=name)
    for values, expected in zip(
        ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert values.shape == expected.shape
        assert values.dtype == expected.dtype
        assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["MLPClassifier", "MLPRegressor"])
def test_signatures(kind):
    ours, theirs = getattr(fastnn, kind), getattr(peer, kind)
    parameters = list(inspect.signature(ours).parameters.values())
    # Ours come after all of theirs.
    known = list(inspect.signature(theirs).parameters.values())
    extra = parameters[len(known) :]
    assert parameters[: len(known)] == known
    assert {parameter.name for parameter in extra} > {"n_threads", "device", "precision", "dropout"}
    assert all(parameter.kind is inspect.Parameter.KEYWORD_ONLY for parameter in extra)
    for name, member in vars(theirs).items():
        if callable(member) and not name.startswith("_"):
            assert inspect.signature(getattr(ours, name)) == inspect.signature(getattr(theirs, name))
    assert ours().loss == theirs().loss


@pytest.mark.parametrize("early_stopping", [False, True], ids=["loss", "score"])
@pytest.mark.parametrize("activation", ACTIVATIONS)
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", DATASETS)
def test_twenty_epochs(name, solver, activation, early_stopping):
    X, y = dataset(name)
    ours, theirs = pair(
        "MLPRegressor" if name == "diabetes" else "MLPClassifier",
        hidden_layer_sizes=(20, 10),
        activation=activation,
        early_stopping=early_stopping,
        max_iter=20,
        random_state=0,
        batch_size=100,
        **SOLVERS[solver],
    )
    assert_same(ours.fit(X, y), theirs.fit(X, y))
    assert_allclose(ours._optimizer.learning_rate, getattr(theirs._optimizer, _rate_of(theirs)), rtol=1e-12)


def _rate_of(estimator):
    # scikit-learn's Adam keeps the rate with the bias correction of the step under the other name.
    return "learning_rate_init" if estimator.solver == "adam" else "learning_rate"


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"hidden_layer_sizes": ()},
        {"hidden_layer_sizes": 7},
        {"hidden_layer_sizes": np.array([5, 4, 3])},
        {"shuffle": False},
        {"shuffle": False, "early_stopping": True},
        {"alpha": 0.0, "batch_size": 1, "max_iter": 3},
        {"alpha": 3.0, "beta_1": 0.0, "beta_2": 0.5, "epsilon": 1e-3},
        {"tol": 0.1, "n_iter_no_change": 1},
        {"tol": 0.1, "n_iter_no_change": 1, "early_stopping": True, "validation_fraction": 0.3},
        {"tol": 10.0, "n_iter_no_change": np.inf},
        {"solver": "sgd", "momentum": 0.0, "power_t": 0.1, "learning_rate": "invscaling"},
        {"solver": "sgd", "tol": 0.1, "learning_rate": "adaptive", "early_stopping": True, "max_iter": 60},
    ],
    ids=str,
)
def test_parameters(parameters):
    X, y = dataset("wine")
    ours, theirs = pair(
        "MLPClassifier", **{"hidden_layer_sizes": (10,), "max_iter": 15, "random_state": 3} | parameters
    )
    assert_same(ours.fit(X, y), theirs.fit(X, y))
    assert_array_equal(ours.predict(X), theirs.predict(X))
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-5)
    assert_allclose(ours.predict_log_proba(X), theirs.predict_log_proba(X), rtol=1e-5)
    assert_allclose(ours.score(X, y), theirs.score(X, y))


TASKS = {
    "binary": ("MLPClassifier", {}),
    "multiclass": ("MLPClassifier", {}),
    "strings": ("MLPClassifier", {}),
    "one class": ("MLPClassifier", {}),
    "multilabel": ("MLPClassifier", {}),
    "sparse multilabel": ("MLPClassifier", {}),
    "labels of -1 and 1": ("MLPClassifier", {}),
    "labels of -1 and 0": ("MLPClassifier", {}),
    "one output": ("MLPRegressor", {}),
    "many outputs": ("MLPRegressor", {}),
    "poisson": ("MLPRegressor", {"loss": "poisson"}),
    "poisson, many": ("MLPRegressor", {"loss": "poisson"}),
}


@cache
def task(name):
    rng = np.random.RandomState(0)
    X = rng.normal(size=(120, 6))
    targets = X @ rng.normal(size=(6, 3)) + rng.normal(size=(120, 3))
    y = {
        "binary": targets[:, 0] > 0,
        "multiclass": targets.argmax(axis=1) * 3 - 1,
        "strings": np.array(["b", "a", "c"])[targets.argmax(axis=1)],
        "one class": np.ones(120),
        "multilabel": (targets > 0.5).astype(int),
        "sparse multilabel": sparse.csr_matrix((targets > 0.5).astype(int)),
        "labels of -1 and 1": np.where(targets > 0.5, 1, -1),  # all are true
        "labels of -1 and 0": np.where(targets > 0.5, 0, -1),
        "one output": targets[:, 0],
        "many outputs": targets,
        "poisson": rng.poisson(np.exp(targets[:, 0] / 4)),
        "poisson, many": rng.poisson(np.exp(targets / 4)),
    }[name]
    return X, y


@pytest.mark.filterwarnings("ignore:.*are saturated")  # where all labels are true
@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("name", TASKS)
def test_tasks(name, solver, weighted):
    X, y = task(name)
    kind, parameters = TASKS[name]
    ours, theirs = pair(
        kind,
        hidden_layer_sizes=(8,),
        activation="tanh",
        solver=solver,
        alpha=0.1,
        max_iter=20,
        batch_size=50,
        random_state=1,
        **parameters,
    )
    weight = np.random.RandomState(1).uniform(0.1, 3, len(X)) if weighted else None
    ours.fit(X, y, sample_weight=weight)
    theirs.fit(X, y, sample_weight=weight)
    # Line searches amplify rounding.
    assert_same(ours, theirs, rtol=1e-6 if solver != "lbfgs" else 1e-4)
    expected = theirs.predict(X)
    got = ours.predict(X)
    assert type(got) is type(expected)
    assert got.dtype == expected.dtype
    if sparse.issparse(got):
        got, expected = got.toarray(), expected.toarray()
    if kind == "MLPClassifier":
        assert_array_equal(got, expected)
    else:
        assert_allclose(got, expected, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("form", ["csr_matrix", "csc_matrix", "csr_array", "csc_array"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_sparse(form, early_stopping):
    X, y = sklearn.datasets.load_digits(return_X_y=True)
    X = getattr(sparse, form)(X[:400] / 16)
    ours, theirs = pair("MLPClassifier", max_iter=5, random_state=0, early_stopping=early_stopping)
    assert_same(ours.fit(X, y[:400]), theirs.fit(X, y[:400]))
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-6)
    dense = fastnn.MLPClassifier(max_iter=5, random_state=0, early_stopping=early_stopping)
    assert_allclose(dense.fit(X.toarray(), y[:400]).loss_curve_, ours.loss_curve_, rtol=1e-12)


@pytest.mark.parametrize("solver", ["nesterov", "adam", "adaptive", "invscaling"])
@pytest.mark.parametrize("name", ["multiclass", "multilabel", "one output"])
def test_partial_fit(name, solver):
    X, y = task(name)
    kind, _ = TASKS[name]
    ours, theirs = pair(kind, hidden_layer_sizes=(8,), random_state=1, batch_size=10, **SOLVERS[solver])
    first = {}
    if kind == "MLPClassifier":
        first["classes"] = np.arange(3) if name == "multilabel" else np.unique(y)
    for i in range(12):
        rows = slice(i % 3 * 40, i % 3 * 40 + 40)
        for model in (ours, theirs):
            model.partial_fit(X[rows], y[rows], **(first if i == 0 else {}))
    assert_same(ours, theirs)
    if name != "multilabel":
        assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-5)


@pytest.mark.parametrize("solver", ["adam", "nesterov", "adaptive"])
def test_warm_start(solver):
    X, y = dataset("iris")
    ours, theirs = pair("MLPClassifier", warm_start=True, max_iter=4, random_state=0, **SOLVERS[solver])
    for _ in range(3):
        ours.fit(X, y)
        theirs.fit(X, y)
        assert_same(ours, theirs)
    assert len(ours.loss_curve_) == 12


def test_lbfgs_converges_to_the_same_minimum():
    X, y = dataset("breast_cancer")
    ours, theirs = pair(
        "MLPClassifier", hidden_layer_sizes=(), solver="lbfgs", alpha=1.0, random_state=0, tol=1e-6
    )
    ours.fit(X, y)
    theirs.fit(X, y)
    assert_allclose(ours.loss_, theirs.loss_, rtol=1e-9)
    assert_allclose(ours.coefs_[0], theirs.coefs_[0], atol=1e-4)


def test_random_state_instance_is_shared():
    X, y = dataset("iris")
    ours, theirs = pair("MLPClassifier", max_iter=3, early_stopping=True)
    streams = [np.random.RandomState(5), np.random.RandomState(5)]
    for model, stream in zip((ours, theirs), streams, strict=True):
        model.set_params(random_state=stream).fit(X, y)
        model.fit(X, y)
    assert_same(ours, theirs)
    assert streams[0].randint(1 << 30) == streams[1].randint(1 << 30)


@pytest.mark.parametrize("parameters", [{}, {"solver": "lbfgs"}, {"batch_size": 1000}], ids=str)
def test_warnings(parameters):
    X, y = dataset("iris")
    messages = []
    for model in pair("MLPClassifier", max_iter=2, random_state=0, **parameters):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            model.fit(X, y)
        messages.append([(w.category, str(w.message)) for w in caught])
    assert messages[0] == messages[1]
    assert ConvergenceWarning in [category for category, _ in messages[0]]


@pytest.mark.parametrize("parameters", [{}, {"learning_rate": "adaptive", "solver": "sgd"}], ids=str)
@pytest.mark.parametrize("early_stopping", [False, True])
def test_messages(parameters, early_stopping, capsys):
    X, y = dataset("iris")
    printed = []
    for model in pair(
        "MLPClassifier",
        random_state=0,
        verbose=True,
        tol=0.5,
        n_iter_no_change=1,
        early_stopping=early_stopping,
        learning_rate_init=1e-5,
        **parameters,
    ):
        model.fit(X, y)
        printed.append(capsys.readouterr().out)
    assert "Stopping." in printed[0]
    assert printed[0] == printed[1]
