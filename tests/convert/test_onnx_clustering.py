"""k-means in ONNX gives in onnxruntime what its methods give."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import make_blobs

from fastnn import GradKMeans, KMeans, MiniBatchKMeans
from fastnn.convert import to_onnx
from tests.convert.runtime import onnx, outputs, run

TYPES = pytest.mark.parametrize("dtype", [np.float32, np.float64], ids=lambda dtype: dtype.__name__)
X, _ = make_blobs(300, n_features=5, centers=8, random_state=0)


def check(model, rows, *, ulps=10):
    labels, distances = run(model, rows)
    assert labels.dtype == np.int64
    assert_array_equal(labels, model.predict(rows))
    expected = model.transform(rows)
    assert distances.dtype == expected.dtype == rows.dtype
    eps = np.finfo(rows.dtype).eps
    assert_allclose(distances, expected, rtol=ulps * eps, atol=np.finfo(rows.dtype).tiny)


@TYPES
@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, GradKMeans])
@pytest.mark.parametrize("n_clusters", [1, 8])
def test_labels_and_distances(kind, n_clusters, dtype):
    rows = X.astype(dtype)
    check(kind(n_clusters, random_state=0).fit(rows), rows)


@TYPES
def test_far_from_the_origin(dtype):
    """Where |x|^2 - 2 x c + |c|^2 would have no digit left."""
    rows = (X + 1e6 * (1 if dtype is np.float64 else 1e-2)).astype(dtype)
    check(KMeans(8, random_state=0).fit(rows), rows)


@TYPES
def test_one_feature_and_many(dtype):
    rows = np.random.default_rng(0).normal(size=(40, 700)).astype(dtype)
    check(KMeans(3, random_state=0).fit(rows), rows, ulps=40)
    check(KMeans(3, random_state=0).fit(rows[:, :1]), rows[:, :1])


@TYPES
@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, GradKMeans])
def test_the_cosine(kind, dtype):
    rows = X.astype(dtype)
    model = kind(4, metric="cosine", random_state=0).fit(rows)
    labels, distances = run(model, rows)
    assert_array_equal(labels, model.predict(rows))
    # Of nearly equal unit vectors the difference has the rounding errors of both.
    eps = np.finfo(dtype).eps
    assert_allclose(distances, model.transform(rows), rtol=20 * eps, atol=5 * eps)


@TYPES
def test_lengths_that_have_no_square(dtype):
    rows = X[:20].astype(dtype)
    model = KMeans(4, metric="cosine", random_state=0).fit(rows)
    finfo = np.finfo(dtype)
    largest = float(finfo.max) ** 0.9
    scaled = np.vstack([rows * dtype(largest), rows / dtype(largest), np.zeros((1, 5), dtype)])
    labels, distances = run(model, scaled)
    assert_array_equal(labels[:-1], model.predict(scaled)[:-1])
    assert_array_equal(labels[:20], labels[20:40])
    assert_allclose(distances, model.transform(scaled), rtol=1e3 * finfo.eps, atol=1e3 * finfo.eps)
    # A row without a direction is at unit length from all centres.
    assert_allclose(distances[-1], 1, rtol=10 * finfo.eps)


def test_what_the_user_has_replaced_counts():
    model = KMeans(8, random_state=0).fit(X)
    model.cluster_centers_ = model.cluster_centers_[:3] + 1
    check(model, X)


def test_another_type():
    model = KMeans(8, random_state=0).fit(X)
    labels, distances = run(model, X.astype(np.float32), "float32")
    assert distances.dtype == np.float32
    assert_array_equal(labels, model.predict(X))
    assert_allclose(distances, model.transform(X), rtol=1e-5, atol=1e-4)


def test_no_rows_and_many():
    for metric in ("cosine", "euclidean"):
        model = KMeans(8, metric=metric, random_state=0).fit(X)
        labels, distances = run(model, np.empty((0, 5)))
        assert labels.shape == (0,)
        assert distances.shape == (0, 8)
    check(model, np.random.default_rng(0).normal(size=(5000, 5)) * 10)


def test_what_the_graph_says_of_itself():
    written = to_onnx(KMeans(8, random_state=0).fit(X))
    onnx.checker.check_model(written, full_check=True)
    assert outputs(written) == {"label": ("INT64", ["n_samples"]), "distances": ("DOUBLE", ["n_samples", 8])}
    # No array of all differences, n times k times d: the loop has those of one centre.
    assert "Scan" in {node.op_type for node in written.graph.node}
