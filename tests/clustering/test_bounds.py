"""Lloyd's iterations with bounds: the bounds hold, and nothing but the time differs from the plain pass."""

import numpy as np
import pytest
from sklearn.datasets import load_digits, make_blobs

from fastnn import KMeans
from fastnn.clustering import bounds
from fastnn.clustering.lloyd import lloyd
from fastnn.kernels import assign
from fastnn.kernels.clustering import device
from tests.kernels.cpu.clustering.test_kmeans_kernels import on_threads

DTYPES = [np.float32, np.float64]


@pytest.fixture
def bounds_may_pay(monkeypatch):
    """However small the data are."""
    for name in ("_LEAST_TERMS", "_LEAST_ROW", "_LEAST_SHARE", "_LEAST_PASSES", "_FETCH"):
        monkeypatch.setattr(bounds, name, 0)


def rows_of(kind, n, d, dtype):
    rng = np.random.default_rng(0)
    if kind == "normal":
        X = rng.normal(size=(n, d))
    elif kind == "blobs":
        X = make_blobs(n, d, centers=30, cluster_std=2.0, random_state=0)[0]
    elif kind == "far":  # from the origin, so that float32 cannot tell the centres apart by the bracket
        X = make_blobs(n, d, centers=30, random_state=0)[0] + 1e4
    else:  # rows and centres that coincide
        X = rng.integers(0, 3, size=(n, d)).astype(float)
    return X.astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("kind", "d", "k"),
    [
        ("normal", 8, 64),
        ("blobs", 3, 70),
        ("blobs", 33, 25),
        ("blobs", 100, 40),
        ("blobs", 100, 12),
        ("normal", 300, 10),
        ("far", 5, 40),
        ("far", 60, 9),
        ("grid", 6, 30),
    ],
)
def test_bounds_hold_and_labels_are_the_nearest(kind, d, k, dtype):
    """After every pass `upper` is at least the distance to the own centre, `lower` at most the next one."""
    n = 3000
    X = rows_of(kind, n, d, dtype)
    C = X[:k].copy()
    labels = np.zeros(n, np.int32)
    upper, lower = np.full((2, n), np.nan, dtype)
    searched, changed = np.empty((2, device.bound_tasks(n)), np.int64)
    movement = device.Movement(*np.zeros((4, k), dtype))
    before, counts = C, []
    eps = np.finfo(dtype).eps
    for turn in range(12):
        device.center_movement(False, 1, C, before, movement)
        old = labels.copy()
        device.bounded_assign(
            False, 1, X, C, movement, labels, upper, lower, searched, changed, int(turn == 0)
        )
        assert changed.sum() == np.count_nonzero(labels != old)
        counts.append(searched.sum())
        exact = np.sqrt(((X[:, None].astype(np.float64) - C[None].astype(np.float64)) ** 2).sum(axis=2))
        own = exact[np.arange(n), labels]
        others = exact.copy()
        others[np.arange(n), labels] = np.inf
        assert (upper >= own * (1 - 2 * eps)).all()
        assert (lower <= others.min(axis=1) * (1 + 2 * eps)).all()
        wanted, distances = assign(X, C)
        differ = labels != wanted
        # Only where two centres are equally near but for rounding.
        np.testing.assert_allclose(own[differ], np.sqrt(distances[differ].astype(float)), rtol=1e3 * eps)
        assert differ.mean() < (0.01 if kind != "grid" else 0.2)
        before = C
        sums = np.array([X[labels == j].sum(axis=0) if (labels == j).any() else C[j] for j in range(k)])
        C = (sums / np.maximum(1, np.bincount(labels, minlength=k))[:, None]).astype(dtype)
    assert counts[0] == n
    if kind == "blobs":
        assert counts[-1] < n / 2


@pytest.mark.parametrize("dtype", DTYPES)
def test_moved_rows_correct_the_sums(dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(300, 7)).astype(dtype)
    before, labels = rng.integers(0, 5, size=(2, 300)).astype(np.int32)
    labels[:200] = before[:200]
    sweeps, after = (device.HostSweeps(300, 5, 7, np.dtype(dtype)) for _ in range(2))
    for each, own in ((sweeps, before), (after, labels)):
        each.labels[:] = own
        each.add_up(X, np.empty(0, dtype))
    device.move_rows(X, before, labels, sweeps.sums, sweeps.counts)
    np.testing.assert_array_equal(before, labels)
    np.testing.assert_allclose(sweeps.sums, after.sums, atol=1e-12)
    np.testing.assert_array_equal(sweeps.counts, after.counts)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("kind", "d", "k"), [("blobs", 8, 64), ("blobs", 33, 100), ("far", 5, 90), ("grid", 6, 64)]
)
def test_a_run_is_that_of_the_plain_passes(kind, d, k, weighted, dtype, monkeypatch, bounds_may_pay):
    passes = []
    assigned = bounds.Bounds._assign
    monkeypatch.setattr(
        bounds.Bounds,
        "_assign",
        lambda self, *a: (assigned(self, *a), passes.append(self._searched.sum()))[0],
    )
    X = rows_of(kind, 4000, d, dtype)
    weights = np.random.default_rng(1).uniform(0, 2, 4000).astype(dtype) if weighted else None
    plain = lloyd(X, weights, X[:k].copy(), max_iter=100, tol=0.0, accelerate=False)
    fast = lloyd(X, weights, X[:k].copy(), max_iter=100, tol=0.0)
    np.testing.assert_array_equal(fast.labels, plain.labels)
    np.testing.assert_array_equal(fast.centers, plain.centers)
    assert fast.inertia == plain.inertia
    assert (fast.n_iter, fast.moved, fast.converged) == (plain.n_iter, plain.moved, plain.converged)
    if kind == "blobs":
        assert len(passes) > 3
        assert min(passes) < 1000


def test_bounds_change_nothing_for_any_number_of_threads(bounds_may_pay):
    X = rows_of("blobs", 20000, 16, np.float32)
    runs = [
        on_threads(count, lambda: lloyd(X, None, X[:100].copy(), max_iter=60, tol=0.0)) for count in (1, 2, 3)
    ]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.labels, runs[0].labels)
        np.testing.assert_array_equal(run.centers, runs[0].centers)
        assert run.n_iter == runs[0].n_iter


def test_clusters_that_become_empty_among_bounds(monkeypatch, bounds_may_pay):
    """A centre that loses its rows late is moved as in the plain passes."""
    monkeypatch.setattr(bounds, "_CHANGING", 1.0)
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(size=(2000, 4)), rng.normal(size=(30, 4)) * 20])
    C = np.concatenate([X[:60], X[:60] + 1e-3, np.full((8, 4), 200.0)])
    plain = lloyd(X, None, C, max_iter=50, tol=0.0, accelerate=False)
    fast = lloyd(X, None, C, max_iter=50, tol=0.0)
    np.testing.assert_array_equal(fast.labels, plain.labels)
    np.testing.assert_array_equal(fast.centers, plain.centers)


def test_any_number_of_iterations_ends_as_the_plain_passes(monkeypatch, bounds_may_pay):
    """Also where the last one has moved a centre without rows, or was the user's wish."""
    monkeypatch.setattr(bounds, "_CHANGING", 1.0)
    rng = np.random.default_rng(3)
    X = np.concatenate([rng.normal(size=(600, 4)), rng.normal(size=(30, 4)) * 20])
    C = np.concatenate([X[:60], X[:60] + 1e-3, np.full((8, 4), 200.0)])
    for count in range(1, 12):
        for report in (None, lambda i, inertia, means, count=count: i == count):
            most = 50 if report else count
            plain = lloyd(X, None, C, max_iter=most, tol=0.0, report=report, accelerate=False)
            fast = lloyd(X, None, C, max_iter=most, tol=0.0, report=report)
            np.testing.assert_array_equal(fast.centers, plain.centers)
            np.testing.assert_array_equal(fast.labels, plain.labels)
            assert fast.n_iter == plain.n_iter


def test_a_row_beside_which_all_others_vanish(monkeypatch, bounds_may_pay):
    """When it leaves its cluster, after some passes, what the corrected sum has of the others is rounding."""
    monkeypatch.setattr(bounds, "_CHANGING", 1.0)
    far = np.array([1.0, 1.9, 3.0, 3.4, 5.0, 5.4])
    X = np.random.default_rng(0).normal(size=(500 + far.size, 64))
    X[500:] = 0
    X[500:, 0] = far * 1e18
    C = np.zeros((4, 64))
    C[:, 0] = np.array([0, 2.45, 4.2, 6.0]) * 1e18
    fast = lloyd(X, None, C, max_iter=100, tol=0.0)
    plain = lloyd(X, None, C, max_iter=100, tol=0.0, accelerate=False)
    assert plain.n_iter > 4
    np.testing.assert_array_equal(fast.labels, plain.labels)
    np.testing.assert_array_equal(fast.centers, plain.centers)
    assert fast.inertia == plain.inertia


def test_equal_rows_and_centres_that_lose_theirs(bounds_may_pay):
    """Iterations that end where a centre was moved, whatever the passes were."""
    rng = np.random.default_rng(0)
    X = np.repeat(rng.normal(size=(70, 8)), 100, axis=0)
    C = X[rng.integers(0, 3, 64) * 100] + 1e-3 * rng.normal(size=(64, 8))
    for most in range(3, 17):
        fast, plain = (lloyd(X, None, C, max_iter=most, tol=0.0, accelerate=a) for a in (True, False))
        assert fast.inertia == plain.inertia
        np.testing.assert_array_equal(fast.centers, plain.centers)


@pytest.mark.parametrize("seed", range(12))
def test_bounds_that_are_given_up_cost_no_iteration(seed, bounds_may_pay):
    """Corrected sums and added ones differ by rounding, which is no movement of the centres."""
    rng = np.random.default_rng(seed)
    X = rng.standard_cauchy(size=(2833, 65))
    C = X.mean(axis=0) + rng.normal(size=(24, 65)) * X.std(axis=0) * rng.choice([0.1, 1, 5])
    fast, plain = (lloyd(X, None, C, max_iter=300, tol=0.0, accelerate=a) for a in (True, False))
    assert fast.n_iter == plain.n_iter
    np.testing.assert_array_equal(fast.centers, plain.centers)
    assert fast.inertia == plain.inertia


def test_sums_are_added_up_again_after_many_corrections(monkeypatch, bounds_may_pay):
    monkeypatch.setattr(bounds, "_CHANGING", 1.0)
    monkeypatch.setattr(bounds, "_MOVED", 1.0)
    added = []
    add_up = bounds.Bounds.add_up
    monkeypatch.setattr(bounds.Bounds, "add_up", lambda self, *a: (added.append(1), add_up(self, *a)))
    X = np.random.default_rng(0).normal(size=(3000, 8)).astype(np.float32)
    fast = lloyd(X, None, X[:64].copy(), max_iter=300, tol=0.0)
    plain = lloyd(X, None, X[:64].copy(), max_iter=300, tol=0.0, accelerate=False)
    np.testing.assert_array_equal(fast.labels, plain.labels)
    assert 2 < len(added) < fast.n_iter / 2


@pytest.mark.parametrize("algorithm", ["lloyd", "elkan", "plain"])
def test_every_algorithm_gives_the_same(algorithm):
    X = np.tile(load_digits().data, (3, 1)) + np.random.default_rng(0).normal(size=(5391, 64))
    model = KMeans(60, algorithm=algorithm, init=X[:60], tol=0).fit(X)
    plain = KMeans(60, algorithm="plain", init=X[:60], tol=0).fit(X)
    np.testing.assert_array_equal(model.labels_, plain.labels_)
    np.testing.assert_array_equal(model.cluster_centers_, plain.cluster_centers_)
    assert model.inertia_ == plain.inertia_
    assert model.n_iter_ == plain.n_iter_
