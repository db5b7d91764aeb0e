"""scikit-learn's own conformance suite, and the places where estimators are used."""

import pickle
from io import BytesIO

import joblib
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from fastnn import (
    Autoencoder,
    GradKMeans,
    KMeans,
    MiniBatchKMeans,
    MLPClassifier,
    MLPRegressor,
    RealMLPClassifier,
    RealMLPRegressor,
    TabularPreprocessor,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

# (estimator, the checks that it is expected to fail: name -> reason)
_SPLIT = {
    "check_sample_weight_equivalence_on_dense_data": (
        "Rows are held out at random, so of repeated rows others are than of weighted ones."
    )
}
ESTIMATORS = [
    (MLPClassifier(max_iter=100), {}),
    (MLPRegressor(max_iter=100), {}),
    (MLPRegressor(hidden_layer_sizes=(5,), activation="tanh", solver="lm"), {}),
    (MLPClassifier(max_iter=50, ensemble=2), _SPLIT),
    (MLPRegressor(max_iter=100, n_init=2), {}),
    (Autoencoder(hidden_layer_sizes=(5,), max_iter=100), {}),
    (
        # Of two relu units both may die on data as the checks make them, which is told.
        Autoencoder((5, 2), activation="elu", max_iter=20, tied_weights=True, pretrain="layerwise"),
        {},
    ),
    (TabularPreprocessor(), {}),
    (RealMLPClassifier(hidden_layer_sizes=(32, 32), max_iter=40), _SPLIT),
    (RealMLPRegressor(hidden_layer_sizes=(32, 32), max_iter=40), _SPLIT),
    (RealMLPClassifier(hidden_layer_sizes=(16,), max_iter=40, n_cv=2), _SPLIT),
    (RealMLPRegressor(hidden_layer_sizes=(16,), max_iter=40, n_refit=1, ensemble=2), _SPLIT),
    (
        KMeans(),
        {
            f"check_sample_weight_equivalence_on_{kind}_data": (
                "Weighted and repeated rows give different random draws for the initial centres; "
                "scikit-learn's KMeans fails this for the same reason."
            )
            for kind in ("dense", "sparse")
        },
    ),
    (
        MiniBatchKMeans(),
        {
            f"check_sample_weight_equivalence_on_{kind}_data": (
                "Weighted and repeated rows give different random draws for the initial centres and the "
                "batches; scikit-learn's MiniBatchKMeans fails this for the same reason."
            )
            for kind in ("dense", "sparse")
        },
    ),
    (
        GradKMeans(),
        {
            f"check_sample_weight_equivalence_on_{kind}_data": (
                "Weighted and repeated rows give different random draws for the initial centres and the "
                "batches; scikit-learn's KMeans fails this for the same reason."
            )
            for kind in ("dense", "sparse")
        },
    ),
]


@parametrize_with_checks(
    [estimator for estimator, _ in ESTIMATORS],
    expected_failed_checks=lambda estimator: next(
        failures for other, failures in ESTIMATORS if type(other) is type(estimator)
    ),
)
def test_check(estimator, check):
    check(estimator)


X, Y = load_iris(return_X_y=True)
MODELS = [
    MLPClassifier((10,), solver="lbfgs", alpha=0.1, random_state=0),
    MLPRegressor(hidden_layer_sizes=(10,), solver="lbfgs", alpha=0.1, random_state=0),
]
each_model = pytest.mark.parametrize("model", MODELS, ids=lambda model: type(model).__name__)


@each_model
def test_pipeline(model):
    pipeline = make_pipeline(StandardScaler(), model).fit(X, Y)
    assert pipeline.score(X, Y) > 0.9
    scaled = StandardScaler().fit_transform(X)
    np.testing.assert_array_equal(pipeline.predict(X), clone(model).fit(scaled, Y).predict(scaled))


@each_model
def test_grid_search_in_processes(model):
    search = GridSearchCV(clone(model), {"alpha": [0.01, 0.1]}, cv=2, n_jobs=2)
    search.fit(X, Y)
    alone = GridSearchCV(clone(model), {"alpha": [0.01, 0.1]}, cv=2).fit(X, Y)
    np.testing.assert_array_equal(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])


@each_model
def test_clone_forgets_the_fit(model):
    fitted = clone(model).fit(X, Y)
    copy = clone(fitted)
    assert copy.get_params() == fitted.get_params()
    assert not hasattr(copy, "n_features_in_")


@each_model
@pytest.mark.parametrize("tool", [pickle, joblib], ids=["pickle", "joblib"])
def test_saved_and_loaded(model, tool):
    fitted = clone(model).fit(X, Y)
    file = BytesIO()
    tool.dump(fitted, file)
    file.seek(0)
    np.testing.assert_array_equal(tool.load(file).predict(X), fitted.predict(X))


@each_model
def test_frames(model):
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcd"))
    pipeline = make_pipeline(StandardScaler(), clone(model)).set_output(transform="pandas")
    pipeline.fit(frame, pandas.Series(Y))
    assert list(pipeline[-1].feature_names_in_) == list("abcd")
    assert pipeline.score(frame, Y) > 0.9
    assert isinstance(pipeline.predict(frame), np.ndarray)
    with pytest.raises(ValueError, match="feature names should match"):
        pipeline[-1].predict(frame.rename(columns={"a": "z"}))


@each_model
def test_html(model):
    assert type(model).__name__ in clone(model)._repr_html_()
    assert type(model).__name__ in clone(model).fit(X, Y)._repr_html_()
