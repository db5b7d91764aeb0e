"""Loops of k-means that stay on a GPU beside those on the CPU: on hardware, or in the simulator.

The simulator runs every thread of a block as a thread of Python, so the data are tiny.
"""

from importlib.util import find_spec

import numpy as np
import pytest
from numpy.random import RandomState
from numpy.testing import assert_allclose, assert_array_equal

from fastnn.clustering import mini_batch
from fastnn.clustering.gradient import train
from fastnn.clustering.lloyd import lloyd
from fastnn.clustering.mini_batch import mini_batches
from fastnn.clustering.rules import OPTIMIZERS, center_rule
from fastnn.kernels import device_rows

if find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from fastnn.kernels.cuda.clustering.backend import DeviceClustering
from fastnn.kernels.cuda.clustering.lloyd import _summarize
from fastnn.kernels.cuda.reduction import THREADS
from fastnn.kernels.cuda.runtime.compat import SIMULATED, cuda
from fastnn.kernels.shared import pacing
from fastnn.kernels.shared.center_arguments import Motion

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not SIMULATED and not cuda.is_available(), reason="no GPU, and no simulator"),
]

TOLERANCE = {np.float32: 1e-5, np.float64: 1e-11}


def spots(n=20, d=2, dtype=np.float64):
    """Rows around three places, of which the first rows are not the best centres."""
    generator = np.random.default_rng(0)
    places = 4.0 * np.eye(3)[:, :d] + 1.0
    return (places[generator.integers(0, 3, n)] + generator.normal(size=(n, d))).astype(dtype)


def unit(X):
    return X / np.linalg.norm(X, axis=1, keepdims=True)


def weights_of(X):
    """Weights for the rows, of which some are 0."""
    return np.random.default_rng(1).integers(0, 4, len(X)).astype(X.dtype)


@pytest.fixture(autouse=True)
def long_chunks(monkeypatch):
    """Chunks of several batches, however long one takes."""
    monkeypatch.setattr(pacing, "CALL_SECONDS", 1e6)


@pytest.fixture
def copies(monkeypatch):
    """The copies from the device to the host, as they are made."""
    made = []
    kind = type(cuda.device_array(1))
    copy = kind.copy_to_host

    def counted(array, *arguments, **options):
        made.append(array.shape)
        return copy(array, *arguments, **options)

    monkeypatch.setattr(kind, "copy_to_host", counted)
    return made


def same(ours, theirs, dtype=np.float64):
    """Whether two results are equal but for the rounding of sums."""
    for name, mine, other in zip(theirs._fields, ours, theirs, strict=True):
        if isinstance(other, Motion):
            same(mine, other, dtype)
        elif isinstance(other, (bool, int)):
            assert mine == other, name
        else:
            mine, other = np.asarray(mine), np.asarray(other)
            assert mine.dtype == other.dtype, name
            assert_allclose(mine, other, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype], err_msg=name)


USUAL = {"batch_size": 8, "max_iter": 4, "tol": 0.0, "patience": None, "ratio": 0.0}


@pytest.mark.parametrize(
    ("options", "ends_early"),
    [
        ({}, False),
        ({"tol": 0.6}, True),
        ({"patience": 2}, True),
        ({"ratio": 0.6, "tol": 1e-9}, False),
        ({"on_sphere": True, "patience": 9}, False),
    ],
    ids=str,
)
@pytest.mark.parametrize(("dtype", "weighted"), [(np.float64, False), (np.float32, True)])
def test_mini_batches(options, ends_early, dtype, weighted, monkeypatch):
    X = spots(dtype=dtype)
    X = unit(X) if options.get("on_sphere") else X
    reassigned = []
    reassign = mini_batch.reassign
    monkeypatch.setattr(mini_batch, "reassign", lambda *a: (reassigned.append(len(a[1])), reassign(*a)))
    theirs, ours = (
        mini_batches(
            rows, weights_of(X) if weighted else None, X[:3], random_state=RandomState(0), **USUAL | options
        )
        for rows in (X, device_rows(X, 0))
    )
    same(ours, theirs, dtype)
    assert (theirs.n_steps < 4 * 20 // 8) == ends_early
    assert bool(reassigned) == ("ratio" in options)


def test_a_run_draws_no_more_than_it_uses():
    X = spots()
    states = [RandomState(0), RandomState(0)]
    for rows, state in zip((X, device_rows(X, 0)), states, strict=True):
        mini_batches(rows, None, X[:3], random_state=state, **USUAL | {"tol": 0.6})
    assert states[0].randint(1 << 30) == states[1].randint(1 << 30)


def test_a_chunk_of_mini_batches_is_one_copy(copies):
    X = spots()
    fit = mini_batches(device_rows(X, 0), None, X[:3], random_state=RandomState(0), **USUAL | {"max_iter": 3})
    assert fit.n_steps == 7
    # Chunks of 1, 2 and 4 batches, and the centres at the end.
    assert len(copies) == 3 + 1


def of(optimizer="sgd", learning_rate="count", reduction="sum", forgetting=0.0, **options):
    return center_rule(optimizer, learning_rate, reduction, forgetting, **options)


def trained(rows, X, rule, weights=None, C=None, **options):
    usual = {"batch_size": 8, "max_iter": 2, "tol": 0.0, "patience": None, "polish": False}
    return train(
        rows,
        weights,
        X[:3] if C is None else C,
        rule,
        variance=float(X.var(axis=0).mean()),
        random_state=RandomState(0),
        **usual | options,
    )


RULES = {
    "count": of(),
    "forgetting": of(forgetting=0.2),
    "sqrt": of(learning_rate="sqrt"),
    "newton": of("newton", 0.5),
    "descent": of("sgd", 0.02),
} | {
    name: of(name, 0.05, reduction)
    for name, reduction in zip(OPTIMIZERS[2:], ["mean", "cluster", "sum", "mean"], strict=True)
}


@pytest.mark.parametrize("name", RULES)
def test_gradient_steps_of_every_rule(name):
    X = spots()
    weights = weights_of(X) if name in ("count", "adam") else None
    theirs, ours = (trained(rows, X, RULES[name], weights) for rows in (X, device_rows(X, 0)))
    same(ours, theirs)
    assert len(theirs.losses) == 2 * -(-np.count_nonzero(X[:, 0] if weights is None else weights) // 8)


@pytest.mark.parametrize(
    "options",
    [
        {"batch_size": None, "weighted": True},
        {"batch_size": None, "rule": of("adam", 0.3), "tol": 10.0, "max_iter": 5},
        {"dtype": np.float32, "polish": True, "weighted": True},
        {"rule": of("momentum", 0.05, "mean", on_sphere=True)},
        {"rule": of(on_sphere=True), "dtype": np.float32},
    ],
    # Not what is in them: a rule has addresses, which are others in every process.
    ids=["whole", "whole by adam", "polish", "sphere by momentum", "sphere"],
)
def test_gradient_steps(options):
    options = dict(options)
    dtype, rule = options.pop("dtype", np.float64), options.pop("rule", of())
    X = spots(dtype=dtype)
    X = unit(X) if rule.on_sphere else X
    weights = weights_of(X) if options.pop("weighted", False) else None
    theirs, ours = (trained(rows, X, rule, weights, **options) for rows in (X, device_rows(X, 0)))
    same(ours, theirs, dtype)


def test_gradient_steps_end_for_want_of_improvement():
    X = spots()
    theirs, ours = (
        trained(rows, X, of(), batch_size=6, patience=2, max_iter=9) for rows in (X, device_rows(X, 0))
    )
    same(ours, theirs)
    assert len(theirs.losses) % 4 > 0  # not at the end of an epoch of four batches


# A step that goes too far, and one that leads to numbers that are not finite.
@pytest.mark.parametrize("rate", [1e4, 1e200])
@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")
def test_gradient_steps_that_diverge(rate):
    X = spots()
    theirs, ours = (
        trained(rows, X, of("momentum", rate), max_iter=5, patience=None) for rows in (X, device_rows(X, 0))
    )
    assert theirs.diverged
    assert ours.diverged
    assert ours.n_iter == theirs.n_iter
    assert len(ours.losses) == len(theirs.losses)
    assert_allclose(ours.losses, theirs.losses, rtol=1e-8)
    assert_allclose(ours.centers, theirs.centers, rtol=1e-8)
    assert_array_equal(ours.labels, theirs.labels)


def test_centers_without_rows_are_put_elsewhere():
    X = spots()
    C = np.array([[0.0, 0.0], [1.0, 2.0], [400.0, 0.0]])
    theirs, ours = (
        trained(rows, X, of("momentum", 0.1, "mean"), C=C, max_iter=3) for rows in (X, device_rows(X, 0))
    )
    same(ours, theirs)
    assert np.abs(theirs.centers).max() < 20
    assert 0 < theirs.motion.clock[2] < theirs.motion.clock.max()


def test_a_chunk_of_gradient_steps_is_one_copy(copies):
    X = spots(40)
    result = trained(device_rows(X, 0), X, of())
    assert len(result.losses) == 10
    # Chunks of 1 and 4 batches, and one of 5; the centres of both epochs; at the end the safe centres and the
    # slots; labels and the inertia of the result.
    assert len(copies) == 3 + 2 + 2 + 2


@pytest.mark.parametrize(
    "options",
    [
        {"tol": 0.0, "max_iter": 50},
        {"tol": 0.05, "max_iter": 50},
        {"tol": 0.0, "max_iter": 2},
        {"tol": 0.0, "max_iter": 9, "on_sphere": True},
    ],
    ids=str,
)
@pytest.mark.parametrize(("dtype", "weighted"), [(np.float64, False), (np.float32, True)])
def test_lloyd(options, dtype, weighted):
    X = spots(dtype=dtype)
    X = unit(X) if options.get("on_sphere") else X
    weights = weights_of(X) if weighted else None
    theirs, ours = (
        lloyd(rows, weights, X[:3], accelerate=False, **options) for rows in (X, device_rows(X, 0))
    )
    same(ours, theirs, dtype)


@pytest.mark.parametrize("weighted", [False, True])
def test_lloyd_fills_empty_clusters(weighted):
    X = spots()
    C = np.concatenate([X[:2], [[90.0, 90.0], [-90.0, 0.0]]])
    weights = weights_of(X) if weighted else None
    theirs, ours = (
        lloyd(rows, weights, C, max_iter=9, tol=0.0, accelerate=False) for rows in (X, device_rows(X, 0))
    )
    same(ours, theirs)
    assert np.abs(theirs.centers).max() < 20


def test_lloyd_shows_its_iterations_and_stops():
    X = spots()
    seen = {}
    for rows in (X, device_rows(X, 0)):
        shown = seen[type(rows)] = []

        def report(i, inertia, centers, shown=shown):
            shown.append((i, inertia, centers.copy()))
            return i == 2

        lloyd(rows, None, X[:3], max_iter=9, tol=0.0, accelerate=False, report=report)
    theirs, ours = seen.values()
    assert len(theirs) == len(ours) == 2
    for mine, other in zip(ours, theirs, strict=True):
        for a, b in zip(mine, other, strict=True):
            assert_allclose(a, b, rtol=1e-12)


def test_an_iteration_of_lloyd_is_one_copy(copies):
    X = spots()
    fit = lloyd(device_rows(X, 0), None, X[:3], max_iter=9, tol=0.0)
    assert fit.n_iter > 2
    # At the end the labels and the centres, and the inertia unless the last iteration moved nothing.
    assert fit.moved == 0
    assert len(copies) == fit.n_iter + 2
    copies.clear()
    fit = lloyd(device_rows(X, 0), None, X[:3], max_iter=2, tol=0.0)
    assert fit.moved > 0
    assert len(copies) == fit.n_iter + 3


def test_more_centers_and_features_than_a_block_has_threads():
    size = THREADS + 3
    X = np.random.default_rng(2).normal(size=(2 * THREADS - 2, size))
    C = X[:size] + 0.1
    theirs, ours = (
        [
            mini_batches(rows, None, C, random_state=RandomState(0), **USUAL | {"max_iter": 1, "tol": 1e-9}),
            trained(rows, X, of("adam", 0.1), C=C, max_iter=1, batch_size=20),
            lloyd(rows, None, C, max_iter=1, tol=0.0, accelerate=False),
        ]
        for rows in (X, device_rows(X, 0))
    )
    for mine, other in zip(ours, theirs, strict=True):
        same(mine, other)


def test_the_numbers_of_an_iteration_are_added_up():
    generator = np.random.default_rng(3)
    inertias, moved = generator.uniform(size=3 * THREADS - 1), generator.uniform(size=THREADS + 1)
    counts = generator.integers(0, 2, THREADS + 1).astype(float)
    told = cuda.device_array(3, np.float64)
    _summarize[1, THREADS](*map(cuda.to_device, (inertias, moved, counts)), told)
    assert_allclose(told.copy_to_host(), [inertias.sum(), moved.sum(), (counts == 0).sum()], rtol=1e-14)


def test_rows_that_do_not_all_lie_there_go_batch_by_batch(monkeypatch):
    X = spots()
    for loop in ("mini_batches", "gradient_steps", "iterations"):
        monkeypatch.setattr(DeviceClustering, loop, lambda *arguments: None)
    theirs, ours = (
        [
            mini_batches(rows, None, X[:3], random_state=RandomState(0), **USUAL | {"max_iter": 1}),
            trained(rows, X, of(), max_iter=1),
            lloyd(rows, None, X[:3], max_iter=2, tol=0.0, accelerate=False),
        ]
        for rows in (X, device_rows(X, 0))
    )
    for mine, other in zip(ours, theirs, strict=True):
        same(mine, other)
