"""Assignment by leading dimensions: the bounds hold, and the labels are those of all features."""

import numpy as np
import pytest

from fastnn import KMeans
from fastnn.clustering import leading
from fastnn.clustering.lloyd import lloyd
from fastnn.clustering.passes import labels_inertia
from fastnn.kernels.clustering import device
from tests.kernels.cpu.clustering.test_kmeans_kernels import on_threads

DTYPES = [np.float32, np.float64]


def rows_that_decay(n, d, dtype, *, power=0.7, offset=0.0):
    """Rows whose variance falls along the axes of a random rotation."""
    rng = np.random.default_rng(0)
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return ((rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -power) @ rotation + offset).astype(dtype)


@pytest.fixture
def always(monkeypatch):
    """Leading dimensions for any data, however many centres they leave."""
    for name, value in (("_LONG", 1), ("_MANY", 1), ("_LEAST_TERMS", 1), ("_WORTH", np.inf)):
        monkeypatch.setattr(leading, name, value)
    monkeypatch.setattr(leading, "_directions", lambda X: 0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(
    ("n", "d", "k", "power", "offset"),
    [(700, 200, 67, 0.7, 0.0), (513, 192, 64, 0.0, 0.0), (300, 30, 12, 0.7, 0.0), (600, 100, 25, 0.7, 100.0)],
)
def test_labels_are_the_nearest(n, d, k, power, offset, dtype, always):
    """Also where all features vary alike, or lie far from the origin, and nothing is ruled out."""
    X = rows_that_decay(n, d, dtype, power=power, offset=offset)
    C = X[:k] + np.asarray(0.01, dtype)
    turned = leading.Leading.of(X, C)
    sweeps = device.HostSweeps(n, 0, d, X.dtype)
    inertia = turned.sweep(np.empty(0, dtype), C, sweeps, summing=False)
    exact = ((X[:, None].astype(np.float64) - C[None].astype(np.float64)) ** 2).sum(axis=2)
    own = exact[np.arange(n), sweeps.labels]
    np.testing.assert_allclose(own, exact.min(axis=1), rtol=d * np.finfo(dtype).eps)
    np.testing.assert_allclose(sweeps.distances, own, rtol=d * np.finfo(dtype).eps)
    np.testing.assert_allclose(inertia, own.sum(), rtol=1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_bounds_are_below_the_distances(dtype, always):
    """|x|^2 + 2 value <= |x - c|^2 for every pair, where the rest of a row is nearly nothing as well."""
    X = rows_that_decay(400, 60, dtype, power=3.0)
    C = X[:40].copy()
    turned = leading.Leading(X, *leading._axes(X), 10)
    slack = turned._slack
    panels = device.pack_leading(*turned._turn(C), slack)
    columns = panels.transpose(0, 2, 1).reshape(-1, panels.shape[1])[:40].astype(np.float64)
    lead = np.column_stack([turned._lead, np.ones(400)]).astype(np.float64)
    squares = turned._squares.astype(np.float64)[:, None]
    bound = squares + 2 * (lead @ columns.T) - 2 * slack * squares
    exact = ((X[:, None].astype(np.float64) - C[None].astype(np.float64)) ** 2).sum(axis=2)
    assert (bound <= exact).all()
    assert (bound > exact - 0.2 * squares).mean() > 0.9


def test_centers_that_are_equal_share_the_lowest_label(always):
    X = rows_that_decay(500, 64, np.float32)
    C = np.repeat(X[:20], 2, axis=0)
    sweeps = device.HostSweeps(500, 0, 64, X.dtype)
    leading.Leading.of(X, C).sweep(np.empty(0, X.dtype), C, sweeps, summing=False)
    assert (sweeps.labels % 2 == 0).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
def test_a_run_is_that_of_the_plain_passes(weighted, dtype, monkeypatch):
    monkeypatch.setattr(leading, "_LEAST_TERMS", 1)
    used = []
    assigned = leading.Leading._assign
    monkeypatch.setattr(
        leading.Leading, "_assign", lambda self, *a: (used.append(assigned(self, *a)), used[-1])[1]
    )
    X = rows_that_decay(3000, 240, dtype)
    weights = np.random.default_rng(1).uniform(0, 2, 3000).astype(dtype) if weighted else None
    plain = lloyd(X, weights, X[:80].copy(), max_iter=12, tol=0.0, accelerate=False)
    fast = lloyd(X, weights, X[:80].copy(), max_iter=12, tol=0.0)
    assert len(used) > fast.n_iter
    assert max(used[-fast.n_iter :]) < leading._WORTH
    assert (fast.labels != plain.labels).mean() < 1e-3
    np.testing.assert_allclose(fast.inertia, plain.inertia, rtol=1e-5)
    if dtype == np.float64:
        np.testing.assert_array_equal(fast.labels, plain.labels)
        np.testing.assert_allclose(fast.centers, plain.centers, atol=1e-12)
    np.testing.assert_array_equal(labels_inertia(X, weights, fast.centers)[0], fast.labels)


def test_rows_that_vary_in_all_directions_are_left_to_the_plain_pass(monkeypatch):
    monkeypatch.setattr(leading, "_LEAST_TERMS", 1)
    X = np.random.default_rng(0).normal(size=(2000, 240)).astype(np.float32)
    assert leading.Leading.of(X, X[:80]) is None
    # Two directions hold most of the variance, but do not tell the centres apart.
    X[:, :2] *= 100
    X[:, :2] = np.round(X[:, :2] / 100) * 100
    assert leading._directions(X) < 20
    C = X[:80].copy()
    C[:, :2] = 0
    assert leading.Leading.of(X, C) is None


def test_any_number_of_threads(always):
    X = rows_that_decay(5000, 120, np.float32)
    runs = [
        on_threads(count, lambda: lloyd(X, None, X[:60].copy(), max_iter=5, tol=0.0)) for count in (1, 2, 3)
    ]
    for run in runs[1:]:
        np.testing.assert_array_equal(run.labels, runs[0].labels)
        np.testing.assert_array_equal(run.centers, runs[0].centers)
        assert run.inertia == runs[0].inertia


def test_kmeans_takes_the_short_way(monkeypatch):
    monkeypatch.setattr(leading, "_LEAST_TERMS", 1)
    X = rows_that_decay(2000, 256, np.float64)
    fast = KMeans(70, init=X[:70], tol=0, max_iter=6).fit(X)
    plain = KMeans(70, init=X[:70], tol=0, max_iter=6, algorithm="plain").fit(X)
    np.testing.assert_array_equal(fast.labels_, plain.labels_)
    np.testing.assert_allclose(fast.inertia_, plain.inertia_, rtol=1e-12)
