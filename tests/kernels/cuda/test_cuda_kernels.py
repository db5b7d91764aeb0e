"""The CUDA kernels against their naive twins: on a GPU, or in the simulator (NUMBA_ENABLE_CUDASIM=1).

The simulator runs every thread of a block as a thread of Python, so the shapes are tiny and ragged.
"""

import inspect
import os
from importlib.util import find_spec

import numpy as np
import pytest

from fastnn import kernels
from fastnn.kernels.cpu import elementary
from fastnn.kernels.cpu.clustering import kmeans
from fastnn.kernels.cpu.network import linear
from fastnn.tables.activations import ACTIVATIONS
from fastnn.tables.losses import HEADS
from tests import reference
from tests.tables.test_losses import head_name

if find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from fastnn.kernels import cuda as package
from fastnn.kernels.cuda.clustering import candidates, nearest
from fastnn.kernels.cuda.clustering.scan import LENGTH, exclusive_sums
from fastnn.kernels.cuda.clustering.sorting import sort_by_cluster
from fastnn.kernels.cuda.network import output as output_layer
from fastnn.kernels.cuda.reduction import weighted_sum
from fastnn.kernels.cuda.rows.gather import THREADS, gather_rows
from fastnn.kernels.cuda.runtime.compat import SIMULATED, cuda
from fastnn.kernels.cuda.runtime.memory import Scratch
from fastnn.kernels.cuda.tiles.plain_tile import SIDE
from fastnn.kernels.cuda.tiles.tile import TILES

pytestmark = pytest.mark.gpu
needs_device = pytest.mark.skipif(
    not SIMULATED and not cuda.is_available(), reason="no GPU, and NUMBA_ENABLE_CUDASIM is not 1"
)
# Rows and columns of the larger tile of float32; results of several of them take it.
HEIGHT, WIDTH = TILES[4][1].height, TILES[4][1].width
TOLERANCE = {np.float32: 1e-5, np.float64: 1e-13}


@pytest.fixture
def no_shape_is_small(monkeypatch):
    """Few centres of few features go through the tiles too."""
    monkeypatch.setattr(nearest, "is_small", lambda k, d: False)


def close(result, expected, dtype, tolerance=None):
    """Whether the norm of the error is small beside that of the reference."""
    tolerance = tolerance or TOLERANCE[dtype]
    expected = np.asarray(expected, np.float64)
    assert result.shape == expected.shape
    error = np.linalg.norm(result - expected)
    return bool(error <= tolerance * max(1.0, np.linalg.norm(expected)))


def large_tile(dtype):
    """The larger of the tiles for a dtype, outside of training."""
    return TILES[np.dtype(dtype).itemsize][1]


def on_device(array):
    return cuda.to_device(np.ascontiguousarray(array))


ELEMENTARY = ["exp", "log", "logistic", "tanh"]


@pytest.mark.parametrize("name", kernels.__all__)
def test_twins_have_the_same_arguments(name):
    module = linear if name.startswith("linear") else kmeans
    module = elementary if name in ELEMENTARY else module
    ours = inspect.signature(getattr(package, name)).parameters
    ours = {p: v for p, v in ours.items() if p != "precision"}  # which the CPU's have not
    assert {p: (v.kind, v.default) for p, v in ours.items()} == {
        p: (v.kind, v.default) for p, v in inspect.signature(getattr(module, name)).parameters.items()
    }
    multiplies = name == "assign" or name.startswith("linear")
    extra = ["device", "precision"] if multiplies else ["device"]
    assert list(inspect.signature(getattr(kernels, name)).parameters) == [*ours, *extra]


@needs_device
@pytest.mark.parametrize("name", ELEMENTARY)
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_elementary_functions(name, dtype):
    function = getattr(kernels, name)
    x = np.random.default_rng(21).uniform(1, 4, (3, 5, 2)).astype(dtype)
    expected = function(x)
    tolerance = {"rtol": 1e-6 if dtype == np.float32 else 1e-14}
    assert function(x, device="cuda").dtype == expected.dtype
    np.testing.assert_allclose(function(x, device="cuda"), expected, **tolerance)
    # Of an array there, with and without room for the result, in place, and of one that is not contiguous.
    there = on_device(x)
    out = cuda.device_array(x.shape, expected.dtype)
    assert function(there, out) is out
    np.testing.assert_allclose(out.copy_to_host(), expected, **tolerance)
    np.testing.assert_allclose(function(there).copy_to_host(), expected, **tolerance)
    same = on_device(x.astype(expected.dtype))
    np.testing.assert_allclose(function(same, out=same).copy_to_host(), expected, **tolerance)
    columns = on_device(x[0])[:, 1]
    np.testing.assert_allclose(function(columns).copy_to_host(), function(x[0, :, 1]), **tolerance)
    with pytest.raises(ValueError, match="more than two dimensions"):
        function(there[:, ::2])
    for bad in (np.array(["a"]), np.array([1j])):
        with pytest.raises(TypeError, match="real numbers"):
            function(bad, device="cuda")


@needs_device
@pytest.mark.parametrize("activation", [entry.name for entry in ACTIVATIONS])
def test_layer_of_every_activation(activation):
    generator = np.random.default_rng(0)
    X, W, b, dA = (generator.normal(size=shape) for shape in ((5, 3), (3, 7), (7,), (5, 7)))
    value, derivative = reference.ACTIVATIONS[activation]
    Z = X @ W + b
    dZ = dA * derivative(Z, value(Z))
    A, z = kernels.linear_forward(X, W, b, activation, return_z=True, device="cuda")
    assert close(z, Z, np.float64)
    assert close(A, value(Z), np.float64)
    dX, dW, db = kernels.linear_backward(dA, X, W, A, z, activation, device="cuda")
    assert close(dX, dZ @ W.T, np.float64)
    assert close(dW, X.T @ dZ, np.float64)
    assert close(db, dZ.sum(axis=0), np.float64)


@needs_device
@pytest.mark.parametrize(
    ("n", "n_in", "n_out"),
    [
        (1, 1, 1),
        (SIDE, SIDE + 1, SIDE - 1),
        (HEIGHT + 1, 2 * SIDE + 1, 2 * WIDTH + 1),
        (2 * SIDE + 1, HEIGHT + 1, 2 * WIDTH),
        (0, 3, 2),
        (3, 0, 2),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_layer_of_ragged_shapes(n, n_in, n_out, dtype, chosen_tiles):
    generator = np.random.default_rng(1)
    X, W, dA = (
        generator.normal(size=shape).astype(dtype) for shape in ((n, n_in), (n_in, n_out), (n, n_out))
    )
    A = np.full((n, n_out), np.nan, dtype)
    assert kernels.linear_forward(X, W, out=A, device="cuda") is A
    assert close(A, X.astype(float) @ W, dtype)
    dX, dW, db = kernels.linear_backward(dA, X, W, A, device="cuda")
    assert {array.dtype for array in (A, dX, dW, db)} == {np.dtype(dtype)}
    assert close(dX, dA.astype(float) @ W.T, dtype)
    assert close(dW, X.T.astype(float) @ dA, dtype)
    assert close(db, dA.astype(float).sum(axis=0), dtype)
    assert (large_tile(dtype) in chosen_tiles) == (max(n, n_in) > HEIGHT)


@needs_device
def test_gradients_are_added_to_what_is_there():
    generator = np.random.default_rng(2)
    X, W, dA = (generator.normal(size=shape) for shape in ((4, 3), (3, 2), (4, 2)))
    out = np.full((4, 3), np.nan), np.ones((3, 2)), np.full(2, 2.0)
    result = kernels.linear_backward(dA, X, W, X @ W, accumulate=True, out=out, device="cuda")
    assert all(a is b for a, b in zip(result, out, strict=True))
    assert close(out[0], dA @ W.T, np.float64)
    assert close(out[1], 1 + X.T @ dA, np.float64)
    assert close(out[2], 2 + dA.sum(axis=0), np.float64)


@needs_device
@pytest.mark.parametrize(
    ("n", "d", "k"),
    [
        (1, 1, 1),
        (SIDE + 1, SIDE + 1, 5),
        (3 * HEIGHT + 1, 3, WIDTH + 2),
        (5, 3, WIDTH + 2),
        (0, 3, 2),
        (4, 0, 3),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.usefixtures("no_shape_is_small")
def test_assign(n, d, k, dtype, chosen_tiles):
    generator = np.random.default_rng(3)
    X, C = generator.normal(size=(n, d)).astype(dtype), generator.normal(size=(k, d)).astype(dtype)
    out = np.full(n, -7, np.int32), np.full(n, np.nan, dtype)
    labels, distances = kernels.assign(X, C, out=out, device="cuda")
    assert labels is out[0]
    assert distances is out[1]
    expected, squares = reference.assign(X, C)
    np.testing.assert_array_equal(labels, expected)
    assert close(distances, squares, dtype)
    assert (large_tile(dtype) in chosen_tiles) == (n > HEIGHT)


@needs_device
@pytest.mark.usefixtures("no_shape_is_small")
def test_assign_far_from_the_origin_and_of_equal_centers():
    generator = np.random.default_rng(4)
    X = (1e4 + generator.normal(size=(40, 4))).astype(np.float32)
    C = np.repeat(X[:6], 2, axis=0)
    labels, distances = kernels.assign(X, C, device="cuda")
    expected, squares = reference.assign(X.astype(float), C.astype(float))
    np.testing.assert_array_equal(labels, expected)
    np.testing.assert_allclose(distances, squares, rtol=1e-3)


@needs_device
@pytest.mark.filterwarnings("ignore:.*invalid value")  # of the simulator's scalars
@pytest.mark.usefixtures("no_shape_is_small")
def test_assign_passes_over_what_is_not_finite():
    X = np.array([[0.0, 1.0], [np.nan, 0.0], [5.0, 5.0], [np.inf, 0.0]])
    C = np.array([[np.nan, 0.0], [0.0, np.inf], [4.0, 4.0], [1.0, 1.0]])
    ours = kernels.assign(X, C, device="cuda")
    theirs = kernels.assign(X, C)
    np.testing.assert_array_equal(ours[0], theirs[0])
    np.testing.assert_array_equal(ours[1], theirs[1])


@needs_device
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("n", "d", "k"), [(1, 1, 1), (300, 3, 5), (70, 2, 66), (40, 19, 3), (0, 3, 2), (5, 0, 2)]
)
def test_update_centers(n, d, k, weighted):
    generator = np.random.default_rng(5)
    X = generator.normal(size=(n, d)).astype(np.float32)
    # Some clusters have no rows, and one has more than a piece.
    labels = np.minimum(generator.integers(0, k + 1, n), generator.integers(0, k, n))
    weights = generator.uniform(size=n).astype(np.float32) if weighted else None
    out = np.full((k, d), np.nan), np.full(k, np.nan)
    sums, counts = kernels.update_centers(X, labels, k, weights, out=out, device="cuda")
    expected = reference.update_centers(X, labels, k, weights)
    assert close(sums, expected[0], np.float64)
    assert close(counts, expected[1], np.float64)


@needs_device
def test_sums_are_the_same_at_every_run():
    generator = np.random.default_rng(6)
    X, labels = generator.normal(size=(200, 2)), generator.integers(0, 3, 200)
    first = kernels.update_centers(X, labels, 3, device="cuda")
    second = kernels.update_centers(X, labels, 3, device="cuda")
    np.testing.assert_array_equal(first[0], second[0])


@needs_device
@pytest.mark.parametrize("n", [1, LENGTH, LENGTH + 1, 3 * LENGTH - 1])
def test_prefix_sums(n):
    numbers = np.random.default_rng(7).integers(0, 9, n).astype(np.int32)
    array = on_device(numbers)
    exclusive_sums(array, Scratch())
    np.testing.assert_array_equal(array.copy_to_host(), np.cumsum(numbers) - numbers)


@needs_device
@pytest.mark.parametrize(("n", "k"), [(1, 1), (700, 4), (300, 280)])
def test_sorting_keeps_the_order_of_equal_labels(n, k):
    labels = np.random.default_rng(8).integers(0, k, n).astype(np.int32)
    order, starts = sort_by_cluster(on_device(labels), k, Scratch())
    np.testing.assert_array_equal(order.copy_to_host(), np.argsort(labels, kind="stable"))
    np.testing.assert_array_equal(starts.copy_to_host(), np.searchsorted(np.sort(labels), np.arange(k + 1)))


@needs_device
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("head", HEADS, ids=head_name)
def test_loss_and_its_gradient(head, weighted):
    generator = np.random.default_rng(10)
    head = head._replace(parameter=0.3)
    twin = reference.ReferenceHead(head)
    Z, Y = generator.normal(size=(5, 3)), generator.integers(0, 2, (8, 3)).astype(float)
    order, weights = generator.permutation(8), generator.uniform(size=8)
    chosen = order[2:7]
    A = reference.ACTIVATIONS[twin.output_activation][0](Z)
    # A kernel's loss is the sum over a row, as the gradient is that of the sum.
    losses = twin.row_loss(Y[chosen], A) / head.scale(A.shape[1])
    dZ = twin.dz(Y[chosen], A)
    outputs, row_loss = on_device(A), on_device(np.full(5, np.nan))
    output_layer.loss_kernel(head.code)[1, output_layer.THREADS](
        on_device(Y[chosen].ravel()),
        on_device(weights[chosen]),
        int(weighted),
        outputs.reshape(15),
        3,
        0.3,
        row_loss,
    )
    scale = weights[chosen] if weighted else np.ones(5)
    assert close(row_loss.copy_to_host(), losses * scale, np.float64)
    assert close(outputs.copy_to_host(), dZ * scale[:, None], np.float64)


@needs_device
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax(dtype):
    Z = np.random.default_rng(11).normal(size=(6, 4)).astype(dtype)
    Z[0] *= 1000  # large scores do not overflow
    array = on_device(Z)
    output_layer.softmax[1, output_layer.THREADS](array.reshape(24), 4)
    assert close(array.copy_to_host(), reference.softmax(Z.astype(float)), dtype)


@needs_device
def test_a_single_column_is_contiguous_on_the_device(monkeypatch):
    strides = []
    to_device = cuda.to_device

    def record(array):
        strides.append(array.strides)
        return to_device(array)

    monkeypatch.setattr(cuda, "to_device", record)
    column = np.arange(5.0)[:, None]
    assert column.strides == (8, 0)  # contiguous to NumPy, and not to numba-cuda
    array = package.runtime.memory.upload(column)
    assert strides == [(8,)]
    np.testing.assert_array_equal(array.copy_to_host(), column)
    np.testing.assert_array_equal(kernels.assign(column, column[1:3], device="cuda")[0], [0, 0, 1, 1, 1])
    assert all(0 not in each for each in strides)


@needs_device
def test_gathered_rows():
    generator = np.random.default_rng(13)
    X, order = generator.normal(size=(20, 3)), generator.permutation(20)
    out = on_device(np.full((6, 3), np.nan))
    gather_rows[-(-out.size // THREADS), THREADS](on_device(order), 4, on_device(X), out)
    np.testing.assert_array_equal(out.copy_to_host(), X[order[4:10]])


@needs_device
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("n", [1, 5000])
def test_weighted_sums(n, weighted):
    generator = np.random.default_rng(15)
    values, weights = generator.normal(size=n).astype(np.float32), generator.uniform(size=n)
    total = weighted_sum(on_device(values), on_device(weights.astype(np.float32)) if weighted else None)
    expected = (values.astype(float) * (weights.astype(np.float32) if weighted else 1)).sum()
    assert total == pytest.approx(expected, rel=1e-12, abs=1e-10)


@needs_device
@pytest.mark.parametrize("weighted", [False, True])
def test_candidates_for_a_center(weighted):
    generator = np.random.default_rng(16)
    n, d = candidates.TASK_ROWS + 3, 2
    X, weights = generator.normal(size=(n, d)), generator.uniform(size=n)
    closest, tried = generator.uniform(2, 4, n), generator.normal(size=(3, d))
    squares = ((X[:, None] - tried) ** 2).sum(axis=2)
    least = np.minimum(closest, squares[:, 0])
    terms = np.column_stack([least, np.minimum(least[:, None], squares[:, 1:])])
    terms *= weights[:, None] if weighted else 1
    tasks = candidates.seeding_tasks(n)
    potentials, given = on_device(np.full((tasks, 3), np.nan)), on_device(closest)
    w = on_device(weights) if weighted else None
    candidates.try_candidates(on_device(X), w, on_device(tried), given, potentials)
    potentials = potentials.copy_to_host()
    assert close(given.copy_to_host(), least, np.float64)
    expected = [terms[t * candidates.TASK_ROWS : (t + 1) * candidates.TASK_ROWS].sum(0) for t in range(tasks)]
    assert close(potentials, expected, np.float64)
    # Rows by the running sum; one target beyond the end, as rounding may give.
    sums = np.cumsum(terms[:, 0])
    targets = np.array([0.0, sums[7] - 1e-6, sums[-2] + 1e-6, 2 * sums[-1]])
    tasks = candidates.find_tasks(potentials[:, 0], targets)
    picked = candidates.pick_rows(on_device(X), w, on_device(tried[:1]), on_device(closest), *tasks)
    np.testing.assert_array_equal(picked.copy_to_host(), [0, 7, n - 1, n - 1])


@needs_device
def test_device_arrays_stay_on_the_device():
    generator = np.random.default_rng(9)
    X, C = generator.normal(size=(6, 3)), generator.normal(size=(2, 3))
    # Without a name of a device: the function follows its data. Float32 and float64 are computed in float64.
    labels, distances = kernels.assign(on_device(X), C.astype(np.float32))
    assert package.runtime.memory.is_device_array(labels)
    expected = kernels.assign(X, C.astype(np.float32))
    np.testing.assert_array_equal(labels.copy_to_host(), expected[0])
    assert close(distances.copy_to_host(), expected[1], np.float64)


@needs_device
@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda X: kernels.assign(X, X[:, :2], device="cuda"), ValueError, r"C must have shape \(any, 3\)"),
        (lambda X: kernels.assign(X, X[:0], device="cuda"), ValueError, "at least one row"),
        (lambda X: kernels.update_centers(X, [0, 1], 2, device="cuda"), ValueError, "labels must have shape"),
        (lambda X: kernels.update_centers(X, [0, 1, 2, 0], 2, device="cuda"), ValueError, r"lie in 0\.\.1"),
        (lambda X: kernels.update_centers(X, [0, 1.5, 0, 0], 2, device="cuda"), TypeError, "integers"),
        (lambda X: kernels.update_centers(X, [0] * 4, 0, device="cuda"), ValueError, "at least 1"),
        (
            lambda X: kernels.update_centers(X, [0] * 4, 1, [1, -1, 1, 1], device="cuda"),
            ValueError,
            "Negative",
        ),
        (lambda X: kernels.linear_forward(X, X, device="cuda"), ValueError, r"W must have shape \(3, any\)"),
        (lambda X: kernels.linear_forward(X, X.T, activation="none", device="cuda"), ValueError, "one of"),
        (lambda X: kernels.assign(X, X, device="cuda:9"), RuntimeError, "no device 'cuda:9'"),
    ],
)
def test_bad_arguments(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((4, 3)))


class _Elsewhere:
    """What is asked of an array on a GPU before it is touched."""

    __cuda_array_interface__ = None

    def __init__(self, number):
        self.device = type("Device", (), {"index": number})()


def test_data_on_another_device_are_refused():
    there, elsewhere = _Elsewhere(1), _Elsewhere(2)
    with pytest.raises(ValueError, match="arrays lie on 'cuda:1' and on 'cuda:2'"):
        kernels.assign(there, elsewhere)
    with pytest.raises(ValueError, match="device is 'cuda:0', and an array lies on 'cuda:1'"):
        kernels.assign(there, np.ones((1, 2)), device="cuda:0")


@needs_device
def test_outputs_that_share_memory_are_refused():
    X, out = np.ones((4, 2)), np.empty((3, 2))
    with pytest.raises(ValueError, match="must not share memory"):
        kernels.linear_backward(
            X, np.ones((4, 3)), np.ones((3, 2)), X, out=(np.empty((4, 3)), out, out[0]), device="cuda"
        )
    weights = on_device(np.ones(2))
    data = {"labels": np.zeros(2, int), "n_clusters": 2, "sample_weight": weights}
    sums = on_device(np.empty((2, 3)))
    assert all(map(package.runtime.memory.is_device_array, kernels.update_centers(np.ones((2, 3)), **data)))
    if not SIMULATED:  # whose arrays do not say where they lie
        with pytest.raises(ValueError, match="must not share memory"):
            kernels.update_centers(np.ones((2, 3)), out=(sums, weights), **data)


@pytest.mark.parametrize("device", ["gpu", "cuda:", "cuda:one", "cuda:-1", 0])
def test_names_of_devices(device):
    with pytest.raises(ValueError, match="device must be None, 'cpu', 'cuda'"):
        kernels.assign(np.ones((2, 2)), np.ones((1, 2)), device=device)


@pytest.mark.skipif(SIMULATED or cuda.is_available(), reason="there is a device")
def test_without_a_device_the_error_says_what_is_missing():
    with pytest.raises(RuntimeError, match=r"needs an NVIDIA GPU and its driver.*nvidia\.com/drivers"):
        kernels.assign(np.ones((2, 2)), np.ones((1, 2)), device="cuda")


def test_simulated_if_asked_for():
    assert (os.environ.get("NUMBA_ENABLE_CUDASIM", "0") == "1") == SIMULATED
