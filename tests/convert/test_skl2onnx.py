"""skl2onnx writes pipelines with our estimators once ``fastnn.convert`` is imported."""

import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_iris
from sklearn.ensemble import VotingClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import Autoencoder, GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor
from fastnn.convert.registration import register
from tests.convert.runtime import session, skl2onnx

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
X32 = X.astype(np.float32)
NAMES = np.array(["setosa", "versicolor", "virginica"])[Y]
USUAL = {"hidden_layer_sizes": (6,), "max_iter": 30, "random_state": 0}
# The oldest operators that skl2onnx may be asked for, and those since axes are inputs.
OPSETS = pytest.mark.parametrize("opset", [12, 21])


def run(model, rows, **options):
    return session(skl2onnx.to_onnx(model, rows[:1], **options)).run(None, {"X": rows})


@OPSETS
@pytest.mark.parametrize("y", [NAMES, Y, Y > 0, Y * 1.0], ids=["str", "int", "bool", "float"])
def test_a_classifier_in_a_pipeline(y, opset):
    model = make_pipeline(StandardScaler(), MLPClassifier(**USUAL)).fit(X, y)
    labels, probabilities = run(model, X, options={"zipmap": False}, target_opset=opset)
    assert_array_equal(labels, model.predict(X))
    assert_allclose(probabilities, model.predict_proba(X), rtol=1e-9)


def test_options_of_a_classifier():
    model = make_pipeline(StandardScaler(), MLPClassifier(**USUAL)).fit(X32, NAMES)
    expected = model.predict_proba(X32)
    labels, mappings = run(model, X32)  # zipmap, as for scikit-learn's classifiers
    assert_array_equal(labels, model.predict(X32))
    assert list(mappings[0]) == ["setosa", "versicolor", "virginica"]
    assert_allclose([list(row.values()) for row in mappings], expected, rtol=1e-4, atol=1e-6)
    columns = run(model, X32, options={"zipmap": "columns"})
    assert_allclose(np.column_stack(columns[1:]), expected, rtol=1e-4, atol=1e-6)
    *_, classes = run(model[-1], X32, options={"zipmap": False, "output_class_labels": True})
    assert_array_equal(classes, model.classes_)


@OPSETS
@pytest.mark.parametrize("n_outputs", [1, 2])
def test_a_regressor(n_outputs, opset):
    y = X[:, :n_outputs] if n_outputs > 1 else X[:, 0]
    model = make_pipeline(StandardScaler(), MLPRegressor(**USUAL)).fit(X, y)
    (found,) = run(model, X, target_opset=opset)
    assert found.shape == (len(X), n_outputs)
    assert_allclose(found, model.predict(X).reshape(found.shape), rtol=1e-9)


@OPSETS
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, GradKMeans])
def test_k_means(kind, metric, opset):
    model = make_pipeline(StandardScaler(), kind(3, metric=metric, random_state=0)).fit(X)
    labels, distances = run(model, X, target_opset=opset)
    assert_array_equal(labels, model.predict(X))
    assert_allclose(distances, model.transform(X), rtol=1e-9, atol=1e-12)


def test_an_autoencoder_is_a_transformer():
    model = make_pipeline(Autoencoder((2,), activation="tanh", max_iter=5, random_state=0), KMeans(3)).fit(X)
    labels, distances = run(model, X)
    assert_array_equal(labels, model.predict(X))
    assert_allclose(distances, model.transform(X), rtol=1e-9)


def test_integers_are_taken_as_float32():
    rows = np.arange(12).reshape(-1, 2)
    model = MLPRegressor(**USUAL).fit(rows, rows[:, 0])
    (found,) = run(model, rows)
    assert found.dtype == np.float32
    assert_allclose(found[:, 0], model.predict(rows), rtol=1e-5)


def test_several_in_one_graph():
    """Names do not meet."""
    members = [(str(seed), MLPClassifier((4,), max_iter=20, random_state=seed)) for seed in range(3)]
    model = VotingClassifier(members, voting="soft", flatten_transform=False).fit(X32, Y)
    labels, probabilities = run(model, X32, options={"zipmap": False})
    assert_array_equal(labels, model.predict(X32))
    assert_allclose(probabilities, model.predict_proba(X32), rtol=1e-4, atol=1e-6)
    columns = ColumnTransformer(
        [
            ("first", Autoencoder((1,), activation="tanh", max_iter=5, random_state=0), [0, 1]),
            ("second", Autoencoder((2,), activation="mish", max_iter=5, random_state=1), [1, 2, 3]),
        ]
    ).fit(X)
    assert_allclose(run(columns, X)[0], columns.transform(X), rtol=1e-9)


def test_nothing_is_registered_without_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    register()
    code = (
        "import sys; sys.modules['skl2onnx'] = None; sys.modules['onnx'] = None; import fastnn.convert;"
        "print(fastnn.convert.__all__, 'fastnn.convert.values' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "['to_onnx'] False\n"
