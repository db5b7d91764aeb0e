"""What is told, and where: a warning at the user's line, an error in the user's words."""

import linecache
import tomllib
import warnings
from pathlib import Path

import numpy as np
import pytest
from sklearn import neural_network
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import fastnn
from fastnn import GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor
from fastnn.networks.host_network import HostNetwork
from tests.kernels.compiler.test_jit import run

ROOT = Path(__file__).resolve().parents[2]
X = np.random.default_rng(0).normal(size=(60, 3))
Y = np.arange(60) % 2
TWICE = np.repeat(X[:15], 4, axis=0)

SMALL = {"hidden_layer_sizes": (3,), "random_state": 0}
STOPPED = "Maximum iterations"
WARNINGS = {
    "epochs": (MLPClassifier(**SMALL, max_iter=1), X, ConvergenceWarning, STOPPED),
    "search": (MLPRegressor(**SMALL, solver="lbfgs", max_iter=1), X, ConvergenceWarning, "lbfgs failed"),
    "many": (MLPClassifier(**SMALL, max_iter=1, n_init=2), X, ConvergenceWarning, "2 of 2 networks"),
    "batch": (MLPClassifier(**SMALL, batch_size=99, tol=9.0), X, UserWarning, "batch_size"),
    "divergence": (
        MLPRegressor(
            **SMALL, activation="identity", solver="sgd", learning_rate_init=10.0, early_stopping=True
        ),
        100 * X,
        ConvergenceWarning,
        "diverged",
    ),
    "k-means": (KMeans(20, random_state=0), TWICE, ConvergenceWarning, "distinct clusters"),
    "gradient k-means": (GradKMeans(20, random_state=0), TWICE, ConvergenceWarning, "distinct clusters"),
    "elkan": (KMeans(1, algorithm="elkan"), X, RuntimeWarning, "single cluster"),
    "k-means init": (KMeans(2, init=X[:2], n_init=2), X, RuntimeWarning, "Explicit"),
    "gradient k-means init": (GradKMeans(2, init=X[:2], n_init=2), X, RuntimeWarning, "Explicit"),
    "mini-batches init": (MiniBatchKMeans(2, init=X[:2], n_init=2), X, RuntimeWarning, "Explicit"),
    "init size": (MiniBatchKMeans(4, init_size=2, random_state=0), X, RuntimeWarning, "init_size"),
}


def assert_at_the_users_line(caught, category, message):
    told = [w for w in caught if w.category is category and message in str(w.message)]
    assert told
    for warning in told:
        assert warning.filename == __file__
        assert linecache.getline(__file__, warning.lineno).strip().endswith("# the user's line")


@pytest.mark.parametrize("case", WARNINGS)
@pytest.mark.parametrize("wrapped", ["alone", "pipeline", "search"])
def test_warnings_point_at_the_users_line(case, wrapped):
    model, data, category, message = WARNINGS[case]
    model = clone(model)
    if wrapped == "pipeline":
        model = make_pipeline(FunctionTransformer(), model)
    elif wrapped == "search":
        model = GridSearchCV(model, {}, cv=[(np.arange(60), np.arange(60))], refit=False)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(data, Y)  # the user's line
    assert_at_the_users_line(caught, category, message)


@pytest.mark.parametrize("method", ["fit_predict", "fit_transform", "partial_fit"])
def test_warnings_of_other_methods_point_there_too(method):
    model = MiniBatchKMeans(4, init_size=2, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        getattr(model, method)(X)  # the user's line
    assert_at_the_users_line(caught, RuntimeWarning, "init_size")


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_the_warning_about_a_column_of_targets_points_there(kind):
    model = kind(**SMALL, tol=9.0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, Y[:, None])  # the user's line
    assert_at_the_users_line(caught, DataConversionWarning, "column-vector y")


def test_the_warning_about_an_interruption_points_there(monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(HostNetwork, "run_epoch", interrupt)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        MLPRegressor(**SMALL).fit(X, Y)  # the user's line
    assert_at_the_users_line(caught, UserWarning, "interrupted")


ESTIMATORS = [getattr(fastnn, name) for name in fastnn.__all__ if hasattr(getattr(fastnn, name), "fit")]


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_a_wrong_parameter_names_the_users_class(estimator):
    name = estimator.__name__
    with pytest.raises(TypeError, match=rf"^{name}\.__init__\(\) got an unexpected keyword argument 'alhpa'"):
        estimator(alhpa=1.0)
    with pytest.raises(TypeError, match=rf"^{name}\.__init__\(\) takes (from 1 to \d|1) positional argument"):
        estimator(*range(9))
    with pytest.raises(ValueError, match=rf"Invalid parameter 'alhpa' for estimator {name}\("):
        estimator().set_params(alhpa=1.0)


@pytest.mark.parametrize("labels", [["cat", "dog"], [7, 3], [False, True]])
def test_a_class_with_one_member_is_named_as_the_user_did(labels):
    y = np.repeat(labels, [59, 1])
    with pytest.raises(ValueError, match="least populated class") as error:
        MLPClassifier(**SMALL, early_stopping=True).fit(X, y)
    if "Classes with too few" in str(error.value):  # scikit-learn 1.9 names them
        assert str(error.value).endswith(f"members are: [{labels[1]!r}]")


def test_the_stratified_split_is_that_of_the_codes():
    y = np.where(np.arange(60) % 3 == 0, "a", "b")
    options = {**SMALL, "early_stopping": True, "max_iter": 3, "n_iter_no_change": 3}
    named, numbered = MLPClassifier(**options), MLPClassifier(**options)
    with pytest.warns(ConvergenceWarning):
        named.fit(X, y)
    with pytest.warns(ConvergenceWarning):
        numbered.fit(X, (y == "b").astype(float))
    assert named.loss_curve_ == numbered.loss_curve_
    assert named.validation_scores_ == numbered.validation_scores_


OVERFLOW = {
    # A step's gradient is finite where its loss is infinite.
    "outputs for the training data": (
        {"activation": "identity", "solver": "sgd", "learning_rate_init": 1.0, "max_iter": 1},
        X[:, 0] * 1e200,
        None,
    ),
    # Zero times infinity.
    "losses": ({}, np.where(Y, 1e200, X[:, 0]), 1.0 - Y),
    # Targets near each other, so that a score is minus infinity and not undefined.
    "validation scores in every epoch": ({"early_stopping": True, "max_iter": 3}, 1e160 + 1e150 * Y, None),
}


@pytest.mark.parametrize("what", OVERFLOW)
def test_a_divergence_says_what_is_not_finite(what):
    """In scikit-learn's words about the weights, though these are finite."""
    options, y, weight = OVERFLOW[what]
    model = MLPRegressor(**SMALL, **options)
    with pytest.raises(ValueError, match=rf"^Solver produced non-finite {what}\. .* Scale the inputs"):
        model.fit(X, y, sample_weight=weight)
    assert np.isfinite(model.predict(X)).all()


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # scikit-learn's
def test_without_a_score_scikit_learn_returns_the_first_weights():
    options, y, _ = OVERFLOW["validation scores in every epoch"]
    theirs = neural_network.MLPRegressor(**SMALL, **options)
    with pytest.warns(ConvergenceWarning, match=STOPPED):
        theirs.fit(X, y)
    assert theirs.loss_curve_ == [np.inf] * 3
    assert theirs.validation_scores_ == [-np.inf] * 3
    ours = MLPRegressor(**SMALL, **options)
    with pytest.raises(ValueError, match="validation scores"):
        ours.fit(X, y)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0])


WITHOUT = """
import importlib.util
find_spec = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name == "numba_cuda" else find_spec(name, *rest)
from fastnn import KMeans
try:
    KMeans(2, device="cuda").fit([[0.0], [1.0]])
except ImportError as error:
    print(error)
"""


def test_a_missing_package_is_installed_as_the_documentation_says():
    line = "pip install '.[cuda]'"
    said = run(WITHOUT, FASTNN_CACHE="0", NUMBA_ENABLE_CUDASIM="0")
    assert said.endswith(f"needs the package numba-cuda: {line}, in a checkout of fastnn")
    assert line in (ROOT / "docs" / "quickstart.md").read_text().splitlines()
    assert "cuda" in tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
