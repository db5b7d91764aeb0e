"""precision="tf32": products by tensor cores, and labels as exact as without; on a GPU or simulated."""

from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs

from fastnn import KMeans, MiniBatchKMeans, MLPRegressor, kernels
from tests import reference

if find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from fastnn.kernels.cuda.clustering import nearest
from fastnn.kernels.cuda.clustering.nearest import nearest_rows
from fastnn.kernels.cuda.network import steps
from fastnn.kernels.cuda.runtime.compat import SIMULATED, cuda
from fastnn.kernels.cuda.runtime.memory import Scratch
from fastnn.kernels.cuda.tiles.tensor_cores import TF32_ROUNDING
from fastnn.kernels.cuda.tiles.tile import TENSOR_TILES
from tests.kernels.cuda.network.test_cuda_network import steps_beside_the_reference

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not SIMULATED and not cuda.is_available(), reason="no GPU, and no simulator"),
]


@pytest.fixture(autouse=True)
def no_shape_is_small(monkeypatch):
    """Few centres of few features go through the tiles too."""
    monkeypatch.setattr(nearest, "is_small", lambda k, d: False)


HEIGHT, WIDTH = TENSOR_TILES[1].height, TENSOR_TILES[1].width
LARGE = steps.TENSOR_TILES[1]  # training's


def in_tf32(array):
    """An array of float32 rounded to 11 significant bits, from the middle away from zero."""
    words = np.asarray(array, np.float32).view(np.uint32).astype(np.uint64)
    return ((words + 0x1000) & 0xFFFFE000).astype(np.uint32).view(np.float32)


def norm_of_error(result, expected):
    return np.linalg.norm(result - expected) / np.linalg.norm(expected)


@pytest.mark.parametrize(
    ("n", "n_in", "n_out"),
    [(1, 1, 1), (33, 11, 17), (2 * HEIGHT + 1, 9, WIDTH + 1)],
)
def test_layers(n, n_in, n_out, chosen_tiles):
    generator = np.random.default_rng(0)
    X, W, dA = (
        generator.normal(size=shape).astype(np.float32) for shape in ((n, n_in), (n_in, n_out), (n, n_out))
    )
    b = generator.normal(size=n_out).astype(np.float32)
    how = {"device": "cuda", "precision": "tf32"}
    A = kernels.linear_forward(X, W, b, **how)
    dX, dW, db = kernels.linear_backward(dA, X, W, A, **how)
    x, w, d = (in_tf32(array).astype(float) for array in (X, W, dA))
    for result, expected in ((A, x @ w + b), (dX, d @ w.T), (dW, x.T @ d), (db, d.sum(axis=0))):
        assert norm_of_error(result, expected) < 2e-6
    if n > 1:
        # Or this would be the product of float32.
        assert norm_of_error(A, X.astype(float) @ W + b) > 1e-5
    assert (TENSOR_TILES[1] in chosen_tiles) == (n > HEIGHT)


def test_float64_and_the_cpu_are_as_ever():
    generator = np.random.default_rng(1)
    X, W = generator.normal(size=(5, 4)), generator.normal(size=(4, 3))
    for device in ("cuda", "cpu"):
        A = kernels.linear_forward(X, W, precision="tf32", device=device)
        np.testing.assert_allclose(A, X @ W, rtol=1e-13)
    single = X.astype(np.float32), W.astype(np.float32)
    np.testing.assert_array_equal(
        kernels.linear_forward(*single, precision="tf32"), kernels.linear_forward(*single)
    )
    with pytest.raises(ValueError, match="precision must be None or 'tf32', got 'bf16'"):
        kernels.assign(X, X, precision="bf16")


def rows_between_centers(n, d, k):
    """Rows of which TF32 can tell the nearest centre of some only: every other centre has one beside it."""
    generator = np.random.default_rng(2)
    C = generator.normal(size=(k, d)).astype(np.float32)
    C[1::4] = C[::4][: len(C[1::4])] + np.float32(3e-4)
    X = C[generator.integers(0, k, n)] + 0.1 * generator.normal(size=(n, d)).astype(np.float32)
    return X.astype(np.float32), C


@pytest.mark.parametrize(("n", "d", "k"), [(70, 5, 9), (3 * HEIGHT + 1, 9, WIDTH + 6)])
def test_labels_are_exact(n, d, k, chosen_tiles):
    X, C = rows_between_centers(n, d, k)
    expected, squares = reference.assign(X.astype(float), C.astype(float))
    # What the rounded products alone would give.
    brackets = 0.5 * (C.astype(float) ** 2).sum(axis=1) - in_tf32(X).astype(float) @ in_tf32(C).T
    assert (brackets.argmin(axis=1) != expected).sum() > n // 20
    labels, distances = kernels.assign(X, C, device="cuda", precision="tf32")
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(distances, squares, rtol=1e-4)
    assert (TENSOR_TILES[1] in chosen_tiles) == (n > 3 * HEIGHT)


def test_float32_decides_for_few_rows():
    X, C = rows_between_centers(70, 5, 9)
    there = cuda.to_device(X), cuda.to_device(C)
    scratch = Scratch()
    labels, distances = cuda.device_array(70, np.int32), cuda.device_array(70, np.float32)
    nearest_rows(*there, labels, distances, scratch, "tf32")
    count = scratch.array("count of the list", 1, np.int32).copy_to_host()[0]
    listed = set(scratch.array("list", 70, np.int32).copy_to_host()[:count].tolist())
    assert len(listed) == count
    squares = ((X[:, None].astype(float) - C) ** 2).sum(axis=2)
    first, second = np.sort(squares, axis=1)[:, :2].T
    # A bracket is half a squared distance; twice its error is the most that the two may be wrong by together.
    least = 4 * TF32_ROUNDING * np.linalg.norm(X - C.mean(axis=0), axis=1) * np.linalg.norm(C, axis=1).max()
    near = set(np.flatnonzero(second - first < least).tolist())
    far = set(np.flatnonzero(second - first > 4 * least).tolist())
    assert near <= listed
    assert far
    assert not far & listed


@pytest.mark.filterwarnings("ignore:.*invalid value", "ignore:.*overflow")  # of the simulator's scalars
def test_what_is_not_finite_or_too_large():
    X = np.array([[0, 1], [np.nan, 0], [5, 5], [np.inf, 0], [3e38, 3e38], [1e-42, 0]], np.float32)
    C = np.array([[np.nan, 0], [0, np.inf], [4, 4], [1, 1]], np.float32)
    for centers in (C, C[2:], C[2:3], C[:2]):
        ours = kernels.assign(X, centers, device="cuda", precision="tf32")
        plain = kernels.assign(X, centers, device="cuda")
        np.testing.assert_array_equal(ours[0], plain[0])
        np.testing.assert_array_equal(ours[1], plain[1])


def test_kmeans_is_the_same():
    X = make_blobs(60, n_features=4, centers=4, random_state=0)[0].astype(np.float32)
    for model in (KMeans(4, random_state=0), MiniBatchKMeans(4, batch_size=16, max_iter=2, random_state=0)):
        model.set_params(device="cuda")
        fast = clone(model).set_params(precision="tf32").fit(X)
        model.fit(X)
        np.testing.assert_array_equal(fast.labels_, model.labels_)
        np.testing.assert_array_equal(fast.cluster_centers_, model.cluster_centers_)
        np.testing.assert_array_equal(fast.predict(X), model.labels_)


# Of several batches, and of one that takes several of the larger tiles.
@pytest.mark.parametrize(
    ("tile", "sizes", "n", "batch_size", "rate"),
    [
        (steps.TENSOR_TILES[0], (9, 17, 4), 21, 16, 0.0),
        (LARGE, (2, LARGE.width + 1, 3), LARGE.height + 1, LARGE.height + 1, 0.5),
    ],
    ids=["small", "large"],
)
def test_steps_of_training(tile, sizes, n, batch_size, rate, chosen_tiles):
    how = "gelu", "squared_error", np.float32, True, "momentum", sizes, n, batch_size
    steps_beside_the_reference(*how, rate=rate, precision="tf32", tolerance=1e-2)
    # Or this would be training in float32.
    assert chosen_tiles == [tile]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_networks_learn(solver):
    generator = np.random.default_rng(3)
    X = generator.normal(size=(40, 6)).astype(np.float32)
    y = np.tanh(X[:, 0] - X[:, 1])
    model = MLPRegressor(
        hidden_layer_sizes=(9,), solver=solver, max_iter=2, random_state=0, learning_rate_init=0.01
    )
    fast = clone(model).set_params(device="cuda", precision="tf32").fit(X, y)
    model.fit(X, y)
    assert fast.loss_ == pytest.approx(model.loss_, rel=1e-2)
    assert fast.loss_ != pytest.approx(model.loss_, rel=1e-6)  # or TF32 would not be used
    assert norm_of_error(fast.predict(X), model.predict(X)) < 2e-2
