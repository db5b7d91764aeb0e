"""Few rows are predicted without scikit-learn's checks, and with what these would have given."""

import warnings

import numpy as np
import pandas as pd
import pytest
import sklearn
from sklearn.exceptions import ConvergenceWarning

from fastnn import Autoencoder, GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor
from fastnn.estimators import few_rows
from fastnn.estimators.kmeans import base as base_kmeans
from fastnn.estimators.mlp import base as base_mlp

X = np.random.default_rng(0).normal(size=(60, 4))
Y = np.arange(60) % 3
METHODS = [
    (MLPClassifier((5,), max_iter=2, random_state=0), ("predict", "predict_proba", "predict_log_proba")),
    (MLPRegressor(hidden_layer_sizes=(5,), max_iter=2, random_state=0), ("predict",)),
    (Autoencoder((5,), max_iter=2, random_state=0), ("transform",)),
    (KMeans(3, random_state=0), ("predict", "transform", "score")),
    (KMeans(3, random_state=0, metric="cosine"), ("predict", "transform", "score")),
    (MiniBatchKMeans(3, random_state=0), ("predict", "transform", "score")),
    (GradKMeans(3, random_state=0), ("predict", "transform", "score")),
]
CASES = [pytest.param(model, name, id=f"{model}-{name}") for model, names in METHODS for name in names]

READ_ONLY = X[:2].copy()
READ_ONLY.flags.writeable = False
ROWS = {
    "one row": X[:1],
    "float32": X[:3].astype(np.float32),
    "many rows": np.repeat(X, 100, axis=0),
    "Fortran order": np.asfortranarray(X[:5]),
    "strided": np.repeat(X, 2, axis=1)[::3, ::2],
    "read-only": READ_ONLY,
    "other byte order": X[:2].astype(X.dtype.newbyteorder()),
    "float16": X[:2].astype(np.float16),
    "longdouble": X[:2].astype(np.longdouble),
    "integers": np.arange(8).reshape(2, 4),
    "list": X[:2].tolist(),
    "matrix of objects": X[:2].astype(object),
    "masked array": np.ma.MaskedArray(X[:2]),
    "frame": pd.DataFrame(X[:2]),
    "frame with names": pd.DataFrame(X[:2], columns=list("abcd")),
    "NaN": np.array([[0.0, np.nan, 1.0, 2.0]]),
    "infinity": np.array([[0.0, np.inf, 1.0, 2.0]], np.float32),
    "infinities of both signs": np.array([[0.0, np.inf, -np.inf, 2.0]]),
    "large numbers": np.full((2, 4), 1e300),
    "too few features": X[:1, :3],
    "too many features": np.ones((1, 5)),
    "no rows": X[:0],
    "no features": X[:1, :0],
    "a vector": X[0],
    "a number": np.float64(1.0),
    "three dimensions": X[None, :2],
    "text": np.array([["a", "b", "c", "d"]]),
    "complex": X[:1] * 1j,
}


@pytest.fixture(scope="module", autouse=True)
def _fitted():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for model, _ in METHODS:
            model.fit(X, Y)


def outcome(model, method, rows):
    """What a method gives, or how it fails; and the warnings."""
    with np.errstate(all="ignore"), warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = getattr(model, method)(rows)
        except Exception as error:
            result = type(error), str(error)
    return result, [(w.category, str(w.message)) for w in caught]


@pytest.mark.parametrize(("model", "method"), CASES)
def test_a_row_is_not_checked_twice(model, method, monkeypatch):
    expected = [getattr(model, method)(X[:1].astype(dtype)) for dtype in (np.float64, np.float32)]

    def refuse(*args, **options):
        raise AssertionError("scikit-learn's checks take longer than the prediction")

    monkeypatch.setattr(base_mlp, "validate_data", refuse)
    monkeypatch.setattr(base_kmeans, "validate_data", refuse)
    for dtype, want in zip((np.float64, np.float32), expected, strict=True):
        np.testing.assert_array_equal(getattr(model, method)(X[:1].astype(dtype)), want)


@pytest.mark.parametrize("assume_finite", [False, True])
@pytest.mark.parametrize(("model", "method"), CASES)
def test_the_outcome_is_that_of_the_checks(model, method, assume_finite, monkeypatch):
    with sklearn.config_context(assume_finite=assume_finite):
        quick = {name: outcome(model, method, rows) for name, rows in ROWS.items()}
        monkeypatch.setattr(few_rows, "_FEW", 0)
        checked = {name: outcome(model, method, rows) for name, rows in ROWS.items()}
    for name, (expected, told) in checked.items():
        ours, as_told = quick[name]
        assert as_told == told, name
        assert type(ours) is type(expected), name
        assert getattr(ours, "dtype", None) == getattr(expected, "dtype", None), name
        np.testing.assert_array_equal(ours, expected, err_msg=name)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("model", [model for model, _ in METHODS], ids=str)
def test_names_of_features_are_missed(model):
    named = sklearn.clone(model)
    named.fit(pd.DataFrame(X, columns=list("abcd")), Y)
    with pytest.warns(UserWarning, match="X does not have valid feature names"):
        (named.predict if hasattr(named, "predict") else named.transform)(X[:1])
