"""Networks in ONNX give in onnxruntime what their methods give."""

import sys
from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_iris, make_multilabel_classification
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LinearRegression

from fastnn import Autoencoder, KMeans, MLPClassifier, MLPRegressor
from fastnn.convert import to_onnx
from fastnn.tables.activations import ACTIVATIONS, LAYER_ACTIVATIONS, NAMES, RELU_AT_ZERO
from fastnn.tables.losses import HEADS
from tests.convert.runtime import onnx, outputs, run, writer

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
X, Y = load_iris(return_X_y=True)
USUAL = {"hidden_layer_sizes": (6,), "max_iter": 20, "random_state": 0}


def close(found, expected, *, ulps=20):
    """Equal to rounding, in the type of what is expected."""
    assert found.dtype == expected.dtype
    assert found.shape == expected.shape
    eps = np.finfo(expected.dtype).eps
    assert_allclose(found, expected, rtol=ulps * eps, atol=eps * max(1, np.abs(expected).max(initial=0)))


def network(kind, sizes, dtype, **parameters):
    rng = np.random.default_rng(0)
    coefs = [rng.normal(size=shape).astype(dtype) for shape in pairwise(sizes)]
    return kind.from_weights(coefs, [rng.normal(size=n).astype(dtype) for n in sizes[1:]], **parameters)


@TYPES
@pytest.mark.parametrize("name", LAYER_ACTIVATIONS)
def test_an_activation_at_any_argument(name, dtype):
    """Far out too, where exp overflows, and near 0, where 1 + exp(z) - 1 would lose all digits."""
    sizes = [0, 1e-30, 1e-10, 1e-4, 0.3, 0.9, 1.1, 2, 3, 5, 9, 15, 30, 60, 86, 120, 1000]
    z = np.array([[sign * size] for size in sizes for sign in (1, -1)], dtype)
    one = np.ones((1, 1), dtype)
    model = MLPRegressor.from_weights([one, one], [np.zeros(1, dtype)] * 2, activation=name)
    (found,) = run(model, z)
    expected = model.predict(z)
    # The units in the last place of functions here and there add up; gelu is exact to the eps of 1 below 0.
    # Some versions of onnxruntime have no smaller exp than the smallest normal number.
    eps, smallest = np.finfo(dtype).eps, np.finfo(dtype).tiny
    assert_allclose(found, expected, rtol=16 * eps, atol=4 * eps if name == "gelu" else 1000 * smallest)
    assert np.isfinite(found).all()


@TYPES
@pytest.mark.parametrize("name", LAYER_ACTIVATIONS)
def test_hidden_layers(name, dtype):
    model = network(MLPRegressor, [4, 7, 5, 3], dtype, activation=name)
    rows = X.astype(dtype)
    close(run(model, rows)[0], model.predict(rows), ulps=100)


@TYPES
def test_each_layer_its_own(dtype):
    model = network(MLPRegressor, [4, 5, 4, 3, 2], dtype, activation=("mish", "softmax", "hard_limit"))
    close(run(model, X.astype(dtype))[0], model.predict(X.astype(dtype)), ulps=100)


@pytest.mark.parametrize("slope", RELU_AT_ZERO)
def test_relu_with_any_derivative_at_zero(slope):
    model = network(MLPRegressor, [4, 5, 1], np.float64, relu_grad_at_zero=slope)
    close(run(model, X)[0], model.predict(X))


def test_every_entry_of_the_table_can_be_written():
    for entry in ACTIVATIONS:
        assert callable(writer(entry.name))
    with pytest.raises(ValueError, match="'nonsense' is unknown, or cannot be written"):
        writer("nonsense")


@TYPES
@pytest.mark.parametrize(
    "head", [h for h in HEADS if h.loss.regression], ids=lambda h: f"{h.loss.name}-{h.output_activation}"
)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_heads_of_a_regressor(head, n_outputs, dtype):
    model = network(
        MLPRegressor,
        [4, 5, n_outputs],
        dtype,
        activation="tanh",
        loss=head.loss.name,
        out_activation=head.output_activation,
    )
    rows = X.astype(dtype)
    close(run(model, rows)[0], model.predict(rows), ulps=100)


@TYPES
@pytest.mark.parametrize("quantile", [(0.3,), (0.1, 0.5, 0.9)])
def test_quantiles_do_not_cross(quantile, dtype):
    model = network(MLPRegressor, [4, 5, len(quantile)], dtype, loss="quantile", quantile=quantile)
    rows = X.astype(dtype)
    found = run(model, rows)[0]
    assert found.shape == (150, len(quantile))
    assert (np.diff(found) >= 0).all()
    close(found, model.predict(rows), ulps=100)


@TYPES
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("n_outputs", [1, 3])
def test_outputs_of_a_classifier_may_be_replaced(name, n_outputs, dtype):
    model = network(MLPClassifier, [4, 5, n_outputs], dtype, activation="tanh")
    model.out_activation_ = name
    rows = X.astype(dtype)
    labels, probabilities = run(model, rows)
    assert_array_equal(labels, model.predict(rows))
    close(probabilities, model.predict_proba(rows), ulps=100)


CLASSES = {
    "two": np.minimum(Y, 1),
    "three": Y - 1,
    "strings": np.array(["setosa", "versicolor", "virginica"])[Y],
    "objects": np.array(["ä", "ö", "ü"], object)[Y],
    "two strings": np.array(["no", "yes"])[np.minimum(Y, 1)],
    "truth values": Y > 0,
    "floats": Y * 1.0,
    "bytes in size": Y.astype(np.uint8),
    "one": np.full(len(Y), 7),
}


@TYPES
@pytest.mark.parametrize("kind", CLASSES)
@pytest.mark.parametrize("out_activation", ["auto", "logistic"])
def test_classes(kind, out_activation, dtype):
    rows, y = X.astype(dtype), CLASSES[kind]
    model = MLPClassifier(out_activation=out_activation, **USUAL).fit(rows, y)
    labels, probabilities = run(model, rows)
    assert_array_equal(labels, model.predict(rows))
    assert labels.dtype.kind == {"u": "i", "U": "O"}.get(y.dtype.kind, y.dtype.kind)
    close(probabilities, model.predict_proba(rows), ulps=100)


@TYPES
def test_probabilities_where_no_class_is_likely(dtype):
    """Outputs that sum to 0 make all classes equally probable."""
    b = [np.array([-1e4, -1e4, -1e4], dtype)]
    model = MLPClassifier.from_weights([np.eye(3, dtype=dtype)], b, out_activation="logistic")
    rows = np.array([[0, 0, 0], [2e4, 0, 0]], dtype)
    close(run(model, rows)[1], model.predict_proba(rows))
    assert_allclose(run(model, rows)[1], [[1 / 3] * 3, [1, 0, 0]], rtol=1e-6, atol=1e-37)


@TYPES
def test_small_probabilities_keep_their_digits(dtype):
    model = MLPClassifier.from_weights([np.ones((1, 1), dtype)], [np.zeros(1, dtype)])
    z = np.array([-60.0, -20, 1])
    found = run(model, z[:, None].astype(dtype))[1]
    assert_allclose(found[:, 1], 1 / (1 + np.exp(-z)), rtol=50 * np.finfo(dtype).eps)


@TYPES
def test_several_labels(dtype):
    rows, Y = make_multilabel_classification(60, n_features=5, n_classes=3, random_state=0)
    rows = rows.astype(dtype)
    model = MLPClassifier(**USUAL).fit(rows, Y)
    labels, probabilities = run(model, rows)
    assert_array_equal(labels, model.predict(rows))
    close(probabilities, model.predict_proba(rows), ulps=100)


@TYPES
def test_an_autoencoder(dtype):
    rows = X.astype(dtype)
    model = Autoencoder((5, 2), activation=("gelu", "tanh"), max_iter=5, random_state=0).fit(rows)
    codes, reconstruction = run(model, rows)
    close(codes, model.transform(rows), ulps=100)
    close(reconstruction, model.inverse_transform(model.transform(rows)), ulps=100)


def test_what_the_user_has_replaced_counts():
    model = MLPRegressor(max_iter=2, random_state=0).fit(X, Y)
    model.coefs_[0] = model.coefs_[0] * 2
    model.intercepts_ = [b + 1 for b in model.intercepts_]
    model.out_activation_ = "softplus"
    close(run(model, X)[0], model.predict(X), ulps=100)


def test_no_rows_and_many():
    for n_outputs, columns in ((3, 3), (1, 2)):
        model = network(MLPClassifier, [4, 5, n_outputs], np.float64)
        labels, probabilities = run(model, np.empty((0, 4)))
        assert labels.shape == (0,)
        assert probabilities.shape == (0, columns)
    assert run(network(MLPRegressor, [4, 1], np.float64), np.empty((0, 4)))[0].shape == (0,)
    rows = np.random.default_rng(1).normal(size=(3000, 4))
    assert_array_equal(run(model, rows)[0], model.predict(rows))


def test_a_type_of_ones_own():
    model = network(MLPRegressor, [4, 5, 2], np.float64, activation="gelu")
    for dtype in ("float32", np.float32, np.dtype(np.float32)):
        (found,) = run(model, X.astype(np.float32), dtype)
        assert found.dtype == np.float32
        assert_allclose(found, model.predict(X), rtol=1e-4, atol=1e-5)
    for dtype in ("float16", int, "nonsense"):
        with pytest.raises(ValueError, match="dtype must be float32, float64 or None"):
            to_onnx(model, dtype)


def test_what_the_graph_says_of_itself():
    classifier = MLPClassifier(**USUAL).fit(X.astype(np.float32), CLASSES["strings"])
    written = to_onnx(classifier)
    onnx.checker.check_model(written, full_check=True)
    assert [each.name for each in written.graph.input] == ["X"]
    assert outputs(written) == {
        "label": ("STRING", ["n_samples"]),
        "probabilities": ("FLOAT", ["n_samples", 3]),
    }
    # No ZipMap, which is of another domain.
    assert {node.domain for node in written.graph.node} == {""}
    assert [(each.domain, each.version) for each in written.opset_import] == [("", 17)]
    assert written.producer_name == "fastnn"
    # Weights are known by their names.
    names = {each.name for each in written.graph.initializer}
    assert names >= {"coefs_1", "intercepts_1", "coefs_2", "intercepts_2", "classes"}
    regressor = network(MLPRegressor, [4, 1], np.float64)
    assert outputs(to_onnx(regressor)) == {"prediction": ("DOUBLE", ["n_samples"])}
    regressor = network(MLPRegressor, [4, 2], np.float64)
    assert outputs(to_onnx(regressor)) == {"prediction": ("DOUBLE", ["n_samples", 2])}


def test_what_cannot_be_written():
    with pytest.raises(TypeError, match=r"got one of sklearn\.linear_model\._base\.LinearRegression"):
        to_onnx(LinearRegression().fit(X, Y))
    with pytest.raises(TypeError, match=r"builtins\.int"):
        to_onnx(3)
    for unfitted in (MLPClassifier(), MLPRegressor(), Autoencoder(), KMeans()):
        with pytest.raises(NotFittedError):
            to_onnx(unfitted)
    model = network(MLPRegressor, [4, 1], np.float64)
    model.out_activation_ = "nonsense"
    with pytest.raises(ValueError, match="'nonsense' is unknown, or cannot be written"):
        to_onnx(model)
    model = network(MLPClassifier, [4, 3], np.float64)
    model.classes_ = np.array([1 + 2j, 2, 3])
    with pytest.raises(ValueError, match="no class labels of dtype complex128"):
        to_onnx(model)


def test_without_the_package_it_says_what_to_install(monkeypatch):
    model = network(MLPRegressor, [4, 1], np.float64)
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install '\.\[onnx\]'"):
        to_onnx(model)
