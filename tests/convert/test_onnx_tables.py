"""Networks for tables in ONNX, preprocessing included, give what their methods give."""

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastnn import RealMLPClassifier, RealMLPRegressor
from fastnn.convert import to_onnx
from tests.convert.runtime import outputs, session

SMALL = {"hidden_layer_sizes": (12, 8), "max_iter": 20, "random_state": 0}


def table(n=120, seed=0):
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "size": rng.normal(size=n) * 100,
            "colour": pd.Categorical(rng.choice(["red", "green", "blue"], n)),
            "kind": rng.choice(["a", "b"], n),
            "grade": pd.Categorical(rng.choice([1, 2, 5, 9], n)),
            "constant": np.ones(n),
        }
    )


def run(model, frame, dtype=np.float32, texts=("colour", "kind")):
    """Outputs by name, for the columns of a frame."""
    written = session(to_onnx(model, dtype))
    given = {each.name: each for each in written.get_inputs()}
    assert list(given) == [str(name) for name in frame]
    assert all(each.shape[1:] == [1] for each in given.values())
    feed = {}
    for name, column in frame.items():
        if name in texts:
            assert given[name].type == "tensor(string)"
            feed[name] = np.array([str(value) for value in column], dtype=object).reshape(-1, 1)
        else:
            feed[name] = column.to_numpy(dtype).reshape(-1, 1)
    names = [each.name for each in written.get_outputs()]
    return dict(zip(names, written.run(None, feed), strict=True))


@pytest.mark.parametrize("n_classes", [2, 3])
@pytest.mark.parametrize("options", [{}, {"n_cv": 2}, {"ensemble": 2, "n_refit": 1}])
def test_classifier(n_classes, options):
    X = table()
    y = np.where(X["colour"] == "red", "yes", np.where((X["size"] > 0) & (n_classes == 3), "maybe", "no"))
    model = RealMLPClassifier(**SMALL, **options).fit(X, y)
    other = table(50, seed=1)
    found = run(model, other)
    assert_array_equal(found["label"], model.predict(other))
    assert_allclose(found["probabilities"], model.predict_proba(other), atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("clamp", [False, True])
def test_regressor(dtype, clamp):
    X = table()
    y = X["size"] + 50 * (X["colour"] == "red") + 1e4
    model = RealMLPRegressor(**SMALL, clamp_output=clamp).fit(X, y)
    other = table(50, seed=1)
    other.loc[0, "size"] = 1e6
    found = run(model, other, dtype)["prediction"]
    assert found.dtype == dtype
    assert_allclose(found, model.predict(other), rtol=1e-5)


def test_unknown_and_missing_categories_are_zeros():
    X = table()
    model = RealMLPRegressor(**SMALL).fit(X, X["size"])
    other = table(20, seed=1)
    other["colour"], other["grade"] = "violet", 7.0
    assert_allclose(run(model, other)["prediction"], model.predict(other), rtol=1e-4, atol=1e-3)


def test_missing_numbers():
    X = table()
    X.loc[::7, "size"] = np.nan
    y = np.nan_to_num(X["size"])
    model = RealMLPRegressor(**SMALL, missing="median").fit(X, y)
    assert_allclose(run(model, X)["prediction"], model.predict(X), rtol=1e-4, atol=1e-2)


def test_arrays_have_names_of_their_own_and_several_outputs():
    rng = np.random.default_rng(0)
    X = rng.normal(size=(60, 3))
    Y = np.column_stack([X[:, 0], 2 * X[:, 1]])
    model = RealMLPRegressor(**SMALL).fit(X, Y)
    written = to_onnx(model)
    assert [each.name for each in written.graph.input] == ["x0", "x1", "x2"]
    assert outputs(written) == {"prediction": ("FLOAT", ["n_samples", 2])}
    found = run(model, pd.DataFrame(X, columns=["x0", "x1", "x2"]), texts=())
    assert_allclose(found["prediction"], model.predict(X), rtol=1e-4, atol=1e-4)


def test_categories_by_the_thousand_need_no_square_of_them():
    rng = np.random.default_rng(0)
    X = pd.DataFrame({"c": rng.integers(0, 3000, 4000).astype(str), "x": rng.normal(size=4000)})
    model = RealMLPRegressor(hidden_layer_sizes=(4,), max_iter=1, random_state=0).fit(X, X["x"])
    written = to_onnx(model)
    assert written.ByteSize() < 1e6
    found = run(model, X[:50], texts=("c",))
    assert_allclose(found["prediction"], model.predict(X[:50]), rtol=1e-4, atol=1e-5)
