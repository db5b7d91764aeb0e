"""Every device gives the engine of k-means what ``kernels.contract.clustering`` says, by the same arguments.

On the processor; on a GPU, with rows that lie there and with rows that go there in blocks: on hardware or in
the simulator. Where a device has no loop for many steps, the engine's own, of single sweeps, stands for it.
"""

import ast
import inspect
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

import fastnn
from fastnn.clustering import epochs, iterations, mini_batch
from fastnn.clustering.rules import center_rule
from fastnn.kernels import device_rows, to_host
from fastnn.kernels.clustering import clustering_backend
from fastnn.kernels.contract import clustering as contract
from fastnn.kernels.cpu.clustering import backend, passes, steps
from fastnn.kernels.shared.center_arguments import MiniBatchRule, Motion
from fastnn.kernels.shared.codes import (
    INERTIA,
    LARGEST_LOSS,
    LOSS_PROGRESS_SIZE,
    PROGRESS_SIZE,
    RUNNING,
    SINCE_REASSIGNED,
    STARVED,
    STEP,
)

IMPLEMENTATIONS = [
    (contract.ClusteringBackend, backend.HostClustering),
    (contract.Sweeps, passes.HostSweeps),
    (contract.Seeding, passes.HostSeeding),
    (contract.MiniBatchSteps, steps.HostMiniBatchSteps),
    (contract.MiniBatchSteps, mini_batch.MiniBatchStepsOneByOne),
    (contract.GradientSteps, steps.HostGradientSteps),
    (contract.GradientSteps, epochs.GradientStepsOneByOne),
    (contract.LloydIterations, iterations.PlainIterations),
    (contract.LloydIterations, iterations.LeadingIterations),
    (contract.LloydIterations, iterations.BoundedIterations),
]
# By name: who has no numba-cuda cannot import them.
ON_A_GPU = [
    (contract.ClusteringBackend, "backend", "DeviceClustering"),
    (contract.Sweeps, "passes", "DeviceSweeps"),
    (contract.Sweeps, "streamed_passes", "StreamedSweeps"),
    (contract.Seeding, "passes", "DeviceSeeding"),
    (contract.Seeding, "streamed_passes", "StreamedSeeding"),
    (contract.MiniBatchSteps, "mini_batch", "DeviceMiniBatchSteps"),
    (contract.GradientSteps, "center_steps", "DeviceGradientSteps"),
    (contract.LloydIterations, "lloyd", "DeviceIterations"),
]
K = 3


def gpu():
    """Skip where there is neither a GPU nor its simulator."""
    pytest.importorskip("numba_cuda")
    from fastnn.kernels.cuda.runtime.compat import SIMULATED, cuda

    if not SIMULATED and not cuda.is_available():
        pytest.skip("no GPU, and no simulator")


@pytest.fixture(
    params=["host", *(pytest.param(kind, marks=pytest.mark.gpu) for kind in ("device", "streamed"))]
)
def rows_there(request, monkeypatch):
    """What makes rows of a device of an array."""
    if request.param == "host":
        return lambda X: X
    gpu()
    if request.param == "streamed":
        from fastnn.kernels.cuda.runtime import capacity

        monkeypatch.setattr(capacity, "SHARE", 0.0)
    return lambda X: device_rows(X, 0)


def blobs(dtype=np.float64):
    generator = np.random.default_rng(0)
    return (np.repeat(4.0 * np.eye(3)[:, :2], 7, axis=0) + generator.normal(size=(21, 2))).astype(dtype)


def weights_of(X):
    return np.random.default_rng(1).integers(0, 4, len(X)).astype(X.dtype)


def close(ours, theirs):
    assert_allclose(ours, theirs, rtol=1e-5 if np.asarray(theirs).dtype == np.float32 else 1e-12)


def nearest(X, C):
    squares = ((X[:, None].astype(np.float64) - C[None]) ** 2).sum(axis=2)
    return squares.argmin(axis=1), squares.min(axis=1)


def summed(X, w, labels, k=K):
    """Sums and weights of the clusters."""
    members = (labels[:, None] == np.arange(k)) * w[:, None].astype(np.float64)
    return members.T @ X.astype(np.float64), members.sum(axis=0)


# --- names, arguments, defaults -----------------------------------------------------------------------


def members(kind):
    return {name for name in vars(kind) if not name.startswith("_")}


def check_methods(protocol, kind):
    for name in members(protocol):
        wanted = getattr(protocol, name)
        if isinstance(wanted, property):
            continue  # an attribute of the instance may be one: see check_attributes
        have = inspect.getattr_static(kind, name)
        theirs = list(inspect.signature(wanted).parameters.values())
        ours = list(inspect.signature(getattr(kind, name)).parameters.values())
        if isinstance(have, staticmethod):
            theirs = theirs[1:]
        assert [(p.name, p.kind, p.default) for p in ours] == [(p.name, p.kind, p.default) for p in theirs], (
            f"{kind.__name__}.{name}"
        )


@pytest.mark.parametrize(("protocol", "kind"), IMPLEMENTATIONS, ids=lambda kind: kind.__name__)
def test_methods(protocol, kind):
    check_methods(protocol, kind)


@pytest.mark.gpu
@pytest.mark.parametrize(("protocol", "module", "name"), ON_A_GPU, ids=str)
def test_methods_on_a_gpu(protocol, module, name):
    gpu()
    kind = getattr(pytest.importorskip(f"fastnn.kernels.cuda.clustering.{module}"), name)
    check_methods(protocol, kind)


def check_attributes(protocol, instance):
    """What the contract has as properties are arrays of NumPy, whether they are attributes or properties."""
    names = [name for name in members(protocol) if isinstance(getattr(protocol, name), property)]
    assert names
    for name in names:
        assert isinstance(getattr(instance, name), np.ndarray), f"{type(instance).__name__}.{name}"


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_there_is_nothing_that_the_contract_does_not_name(device):
    """What is public in a backend is part of the contract."""
    if device == "cpu":
        kind = backend.HostClustering
    else:
        gpu()
        from fastnn.kernels.cuda.clustering.backend import DeviceClustering as kind
    assert members(kind) == members(contract.ClusteringBackend)


@pytest.mark.parametrize("room", ["clustering", "estimators/kmeans"])
def test_nobody_behind_the_door_asks_where_rows_lie(room):
    for path in (Path(fastnn.__file__).parent / room).glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "isinstance":
                assert "DeviceRows" not in ast.unparse(node), f"{path.name}:{node.lineno}"


# --- rows ---------------------------------------------------------------------------------------------


def test_rows(rows_there):
    X = blobs()
    X[4] = 0
    rows = rows_there(X)
    there = clustering_backend(rows)
    assert there.as_rows(rows) is rows
    assert there.as_rows(rows, np.float32).dtype == np.float32
    assert_array_equal(there.on_host(rows), X)
    assert_array_equal(to_host(there.as_given(rows)), X)
    some = np.array([5, 0, 5])
    taken = there.take(rows, some)
    assert taken.shape == (3, 2)
    assert clustering_backend(taken) is there
    assert_array_equal(there.on_host(taken), X[some])
    assert_array_equal(there.have_direction(rows), np.arange(len(X)) != 4)
    unit = there.unit_rows(rows)
    lengths = np.linalg.norm(there.on_host(unit), axis=1)
    assert_allclose(lengths, np.arange(len(X)) != 4, rtol=1e-15)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_nearest_centers_and_distances(rows_there, dtype):
    X = blobs(dtype)
    rows, C = rows_there(X), X[:K].copy()
    there = clustering_backend(rows)
    labels = there.nearest(rows, C)
    assert labels.dtype == np.int32
    assert_array_equal(labels, nearest(X, C)[0])
    exact = np.sqrt(((X[:, None] - C[None]) ** 2).sum(axis=2))
    distances = there.distances_to(rows, C)
    assert distances.dtype == dtype
    assert_allclose(distances, exact, rtol=1e-5, atol=1e-6)


# --- sweeps and seeding -------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_sweeps(rows_there, dtype, weighted):
    X = blobs(dtype)
    rows, C = rows_there(X), X[[0, 8, 15]] + np.asarray(0.1, dtype)
    w = weights_of(X) if weighted else np.empty(0, dtype)
    ones = w if weighted else np.ones(len(X))
    sweeps = clustering_backend(rows).sweeps(rows, K)
    labels, squares = nearest(X, C)
    for _ in range(2):
        inertia = sweeps.sweep(rows, w, C, summing=True)
        close(inertia, (ones * squares).sum().astype(dtype))
        assert_array_equal(sweeps.labels, labels)
        assert sweeps.labels.dtype == np.int32
        close(sweeps.distances, squares.astype(dtype))
        for ours, theirs in zip((sweeps.sums, sweeps.counts), summed(X, ones, labels), strict=True):
            assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)
    assert sweeps.sweep(rows, w, C, summing=False) == inertia
    check_attributes(contract.Sweeps, sweeps)


def test_sweeps_over_fewer_rows_and_over_one_cluster(rows_there):
    X = blobs()
    rows = rows_there(X)
    there = clustering_backend(rows)
    some = there.take(rows, np.arange(5))
    sweeps = there.sweeps(rows, K, 5)
    sweeps.sweep(some, np.empty(0), X[:K].copy(), summing=True)
    assert sweeps.labels.shape == sweeps.distances.shape == (5,)
    one = there.sweeps(rows, 1)
    one.sum_all(rows)
    assert_allclose(one.sums[0], X.sum(axis=0), rtol=1e-13)
    assert_array_equal(one.counts, [len(X)])


@pytest.mark.parametrize("weighted", [False, True])
def test_seeding(rows_there, weighted):
    X = blobs()
    rows, w = rows_there(X), weights_of(X) if weighted else None
    passes_ = clustering_backend(rows).seeding(rows, w, K, 2)
    ones = np.ones(len(X)) if w is None else w
    potential = passes_.try_rows(np.array([4]))
    closest = nearest(X, X[[4]])[1]
    assert_allclose(potential.sum(), (ones * closest).sum(), rtol=1e-12)
    drawn = passes_.pick(4, potential[:, 0].copy(), np.array([0.3, 0.8]) * potential.sum())
    course = np.cumsum(ones * closest)
    assert_array_equal(drawn, np.searchsorted(course, np.array([0.3, 0.8]) * course[-1]))
    potentials = passes_.try_rows(np.array([4, *drawn]))
    assert potentials.shape[1] == 3
    for column, row in enumerate(drawn, 1):
        left = np.minimum(closest, nearest(X, X[[row]])[1])
        assert_allclose(potentials[:, column].sum(), (ones * left).sum(), rtol=1e-12)


# --- loops --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
def test_iterations(rows_there, weighted):
    X = blobs()
    w = weights_of(X) if weighted else None
    ones = np.ones(len(X)) if w is None else w
    C = X[[0, 1, 8]].copy()
    run = iterations.iterations_over(rows_there(X), w, C, False, max_iter=9, accelerate=True)
    centers = C.copy()
    for _ in range(3):
        inertia, moved, has_empty = run.iterate()
        labels, squares = nearest(X, centers)
        sums, counts = summed(X, ones, labels)
        means = sums / counts[:, None]
        assert not has_empty
        assert_allclose(inertia, (ones * squares).sum(), rtol=1e-12)
        assert_allclose(moved, ((means - centers) ** 2).sum(), rtol=1e-9, atol=1e-25)
        assert run.confirm(inertia, moved) == (inertia, moved)
        assert_allclose(run.centers, means, rtol=1e-12)
        assert_array_equal(run.labels, labels)
        check_attributes(contract.LloydIterations, run)
        centers = run.centers.copy()
    assert_allclose(run.assign(), (ones * nearest(X, centers)[1]).sum(), rtol=1e-12)
    assert_array_equal(C, X[[0, 1, 8]])


def test_iterations_with_an_empty_cluster(rows_there):
    X = blobs()
    C = np.array([X[0], X[8], [90.0, 90.0]])
    run = iterations.iterations_over(rows_there(X), None, C, False, max_iter=9, accelerate=True)
    _, _, has_empty = run.iterate()
    assert has_empty
    assert_array_equal(run.counts == 0, [False, False, True])
    row = int(run.distances.argmax())
    own = run.labels[row]
    run.sums[own] -= X[row]
    run.counts[own] -= 1
    run.sums[2], run.counts[2] = X[row], 1
    means = run.sums / run.counts[:, None]
    moved = run.move_again()
    assert_allclose(moved, ((means - C) ** 2).sum(), rtol=1e-12)
    assert_allclose(run.centers, means, rtol=1e-12)


def mini_batches_over(rows, k, batch_size):
    there = clustering_backend(rows)
    loop = there.mini_batches(rows, k, batch_size)
    return mini_batch.MiniBatchStepsOneByOne(there, rows, k, batch_size) if loop is None else loop


def test_mini_batch_steps(rows_there):
    X = blobs()
    run = mini_batches_over(rows_there(X), K, 6)
    C, seen, progress = X[[0, 8, 15]].copy(), np.full(K, 2.0), mini_batch._progress()
    expected, before = C.copy(), C.copy()
    run.load(C)
    rule = MiniBatchRule(1e9, 0.0, 0.5, 1e-9, -1)
    order = np.random.default_rng(2).integers(0, len(X), 12)
    done = 0
    while done < 2:
        reached, status = run.run(order[6 * done :], 2 - done, rule, seen, progress)
        assert status == RUNNING
        done += reached
    own = np.full(K, 2.0)
    for batch in (X[order[:6]], X[order[6:]]):
        before = expected.copy()
        labels, squares = nearest(batch, expected)
        sums, counts = summed(batch, np.ones(6), labels)
        expected = (expected * own[:, None] + sums) / (own + counts)[:, None]
        own += counts
    saved, saved_before = np.empty((2, K, 2))
    run.save(saved, saved_before)
    assert_allclose(saved, expected, rtol=1e-12)
    assert_allclose(saved_before, before, rtol=1e-12)
    assert_array_equal(seen, own)
    assert progress.shape == (PROGRESS_SIZE,)
    assert progress[STEP] == 2
    assert progress[SINCE_REASSIGNED] == 12
    assert_allclose(progress[INERTIA], squares.mean(), rtol=1e-12)


def test_mini_batch_steps_end_for_starved_centers(rows_there):
    X = blobs()
    run = mini_batches_over(rows_there(X), 2, 5)
    C, seen, progress = np.array([X[0], [90.0, 90.0]]), np.zeros(2), mini_batch._progress()
    run.load(C)
    order = np.arange(10)
    assert run.run(order, 2, MiniBatchRule(20.0, 0.5, 0.5, 0.0, -1), seen, progress) == (1, STARVED)
    assert_array_equal(seen, [5, 0])
    assert progress[STEP] == 0


@pytest.mark.parametrize("batch_size", [8, None])
def test_gradient_steps(rows_there, batch_size):
    """Newton's steps, each of which leads to the means of the batch."""
    X = blobs()
    w = weights_of(X)
    numbers = np.flatnonzero(w)
    rows = rows_there(X)
    where = rows, w, K, len(numbers), batch_size
    there = clustering_backend(rows)
    run = there.gradient_steps(*where) or epochs.GradientStepsOneByOne(there, *where)
    C = X[[0, 8, 15]].copy()
    expected, safe, motion = C.copy(), C.copy(), Motion.zeros(K, 2)
    progress = epochs._progress(1e6)
    assert progress.shape == (LOSS_PROGRESS_SIZE,)
    rule = center_rule("newton", 1.0, "sum")
    run.load(C, safe, *motion)
    run.begin(numbers, rule.hyper, progress)
    batches = [slice(None)] if batch_size is None else np.split(numbers, range(8, len(numbers), 8))
    losses = np.empty(len(batches))
    assert run.run(0, len(batches), rule, -1, losses) == (len(batches), RUNNING)
    touched, moves = np.zeros(K), np.zeros(K)
    for batch, loss in zip(batches, losses, strict=True):
        labels, squares = nearest(X[batch], expected)
        sums, counts = summed(X[batch], w[batch], labels)
        assert_allclose(loss, (w[batch] * squares).sum() / counts.sum(), rtol=1e-12)
        last = expected.copy()
        expected[counts > 0] = (sums / np.where(counts > 0, counts, 1)[:, None])[counts > 0]
        touched += counts
        moves += counts > 0
    saved, weight = np.empty((K, 2)), np.empty(K)
    run.save(saved, weight)
    assert_allclose(saved, expected, rtol=1e-12)
    assert_array_equal(weight, touched)
    saved_safe, saved_motion = np.empty((K, 2)), Motion.zeros(K, 2)
    run.save_state(saved_safe, *saved_motion)
    assert_allclose(saved_safe, last, rtol=1e-12)
    assert_array_equal(saved_motion.seen, touched)
    assert_array_equal(saved_motion.clock, moves)
    assert progress[LARGEST_LOSS] >= 1e6
