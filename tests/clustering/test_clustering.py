"""The engine: update rules, Lloyd's iterations, epochs, re-seeding, seeding."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import KMeans
from sklearn.cluster import kmeans_plusplus as sklearn_kmeans_plusplus
from sklearn.datasets import load_digits, make_blobs

from fastnn.clustering import seeding
from fastnn.clustering.epochs import step
from fastnn.clustering.gradient import train
from fastnn.clustering.lloyd import lloyd
from fastnn.clustering.local_search import LocalSearch
from fastnn.clustering.passes import labels_inertia, mean_variance
from fastnn.clustering.rules import center_rule
from fastnn.kernels.clustering import device
from fastnn.kernels.shared import pacing
from fastnn.kernels.shared.center_arguments import Motion
from tests import reference


def blobs(n=600, d=3, k=5, seed=0, dtype=np.float64):
    return make_blobs(n, d, centers=k, random_state=seed)[0].astype(dtype)


def run(X, C, rule, weights=None, **changes):
    arguments = {
        "batch_size": 100,
        "max_iter": 5,
        "tol": 0.0,
        "variance": mean_variance(X),
        "patience": None,
        "polish": False,
        "random_state": np.random.RandomState(0),
    }
    return train(X, weights, C, rule, **{**arguments, **changes})


# --- one step -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(("reduction", "factor"), [("sum", 1), ("mean", 2), ("cluster", 3)])
def test_gradient_of_each_reduction(reduction, factor, weighted):
    X = blobs()
    w = np.random.default_rng(0).uniform(0, 3, len(X)) if weighted else None
    C = X[:5].copy()
    labels, _ = reference.assign(X, C)
    sums, counts = reference.update_centers(X, labels, 5, w)
    gradient = 2 * (counts[:, None] * C - sums)
    if reduction == "mean":
        gradient /= counts.sum()
    elif reduction == "cluster":
        gradient = C - sums / counts[:, None]
    moved = C.copy()
    step(X, w, moved, center_rule("sgd", 1e-3, reduction), Motion.zeros(5, 3))
    np.testing.assert_allclose(moved, C - 1e-3 * gradient, rtol=1e-12)


def test_gradient_is_the_central_difference_of_the_piecewise_quadratic_loss():
    X = blobs(200, 4, 6)
    C = X[:6] + 0.1
    labels, _ = reference.assign(X, C)
    moved = C.copy()
    step(X, None, moved, center_rule("sgd", 1.0, "sum"), Motion.zeros(6, 4))
    h = 1e-5
    for j in range(6):
        for f in range(4):
            losses = []
            for sign in (1, -1):
                shifted = C.copy()
                shifted[j, f] += sign * h
                shifted_labels, distances = reference.assign(X, shifted)
                # The derivative exists where no assignment changes, and this is such a place.
                np.testing.assert_array_equal(shifted_labels, labels)
                losses.append(distances.sum())
            assert (C - moved)[j, f] == pytest.approx((losses[0] - losses[1]) / (2 * h), rel=1e-6, abs=1e-6)


def test_count_rule_is_the_running_mean_while_labels_do_not_change():
    X = blobs(300, 2, 3)
    C = np.array([X[reference.assign(X, X[:3])[0] == j].mean(axis=0) for j in range(3)])
    moved, motion, seen = C.copy(), Motion.zeros(3, 2), [[], [], []]
    for batch in np.array_split(X, 10):
        for x, j in zip(batch, reference.assign(batch, moved)[0]):
            seen[j].append(x)
        step(batch, None, moved, center_rule("sgd", "count", "sum"), motion)
    np.testing.assert_allclose(moved, [np.mean(rows, axis=0) for rows in seen])
    np.testing.assert_array_equal(motion.seen, [len(rows) for rows in seen])


def test_forgetting_lets_the_seen_weight_decay():
    X = blobs(400, 2, 3)
    w = np.random.default_rng(0).uniform(0.1, 3, len(X))
    C = X[:3].copy()
    moved, motion, seen = C.copy(), Motion.zeros(3, 2), np.zeros(3)
    labels = reference.assign(X, C)[0]
    # Batches of some centres only: the others forget too.
    for rows in (labels >= 0, labels > 0, labels == 1, labels == 0, labels >= 0):
        batch_labels = reference.assign(X[rows], C)[0]
        sums, counts = reference.update_centers(X[rows], batch_labels, 3, w[rows])
        seen = 0.7 * seen + counts
        there = counts > 0
        means = sums[there] / counts[there, None]
        C[there] += (counts / seen)[there, None] * (means - C[there])
        step(X[rows], w[rows], moved, center_rule("sgd", "count", "sum", 0.3), motion)
        np.testing.assert_allclose(motion.seen, seen, rtol=1e-12)
        np.testing.assert_allclose(moved, C, rtol=1e-12)


def test_sqrt_rule_moves_by_the_root_of_the_share():
    X = blobs()
    w = np.random.default_rng(0).uniform(0, 3, len(X))
    C = X[:5].copy()
    moved, motion = C.copy(), Motion.zeros(5, 3)
    for _ in range(3):  # no step knows of the ones before
        sums, counts = reference.update_centers(X, reference.assign(X, C)[0], 5, w)
        C = C + np.sqrt(counts / w.sum())[:, None] * (sums / counts[:, None] - C)
        step(X, w, moved, center_rule("sgd", "sqrt", "sum"), motion)
        np.testing.assert_allclose(moved, C, rtol=1e-12)
    # The centre of all rows has their mean.
    one = X[:1].copy()
    step(X, w, one, center_rule("sgd", "sqrt", "sum"), Motion.zeros(1, 3))
    np.testing.assert_allclose(one[0], np.average(X, axis=0, weights=w), rtol=1e-12)


@pytest.mark.parametrize("rate", ["count", 1.0])
def test_newton_is_a_lloyd_iteration(rate):
    X = blobs()
    C = X[:5].copy()
    moved = C.copy()
    step(X, None, moved, center_rule("newton", rate, "sum"), Motion.zeros(5, 3))
    np.testing.assert_allclose(moved, reference.lloyd_iteration(X, C), rtol=1e-14)


def test_newton_is_the_gradient_divided_by_the_curvature():
    X = blobs()
    C = X[:5].copy()
    counts = np.bincount(reference.assign(X, C)[0])
    moved = C.copy()
    step(X, None, moved, center_rule("newton", 0.3, "sum"), Motion.zeros(5, 3))
    gradient = reference.kmeans_gradient(X, C)
    np.testing.assert_allclose(moved, C - 0.3 * gradient / (2 * counts[:, None]), rtol=1e-12)


def test_update_rules_follow_their_formulas():
    X = blobs(200, 2, 2)
    start = np.array([X[0], X[1]])
    momentum, v, motion, C = start.copy(), 0, Motion.zeros(2, 2), start.copy()
    for _ in range(4):
        v = 0.9 * v - 1e-3 * reference.kmeans_gradient(X, momentum)
        momentum = momentum + v
        step(X, None, C, center_rule("momentum", 1e-3, "sum"), motion)
    np.testing.assert_allclose(C, momentum, rtol=1e-10)
    adam, m, s, motion, C = start.copy(), 0, 0, Motion.zeros(2, 2), start.copy()
    for t in range(1, 5):
        g = reference.kmeans_gradient(X, adam)
        m, s = 0.9 * m + 0.1 * g, 0.999 * s + 0.001 * g * g
        adam = adam - 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(s) + 1e-8)
        step(X, None, C, center_rule("adam", 0.1, "sum"), motion)
    np.testing.assert_allclose(C, adam, rtol=1e-10)
    rmsprop, v, motion, C = start.copy(), 0, Motion.zeros(2, 2), start.copy()
    for _ in range(4):
        g = reference.kmeans_gradient(X, rmsprop)
        v = 0.99 * v + 0.01 * g * g
        rmsprop = rmsprop - 0.01 * g / (np.sqrt(v) + 1e-8)
        step(X, None, C, center_rule("rmsprop", 0.01, "sum"), motion)
    np.testing.assert_allclose(C, rmsprop, rtol=1e-10)


@pytest.mark.parametrize(
    "rule",
    [
        center_rule("sgd", "count", "sum"),
        center_rule("sgd", "sqrt", "sum"),
        center_rule("sgd", 0.1, "sum"),
        center_rule("sgd", 0.1, "cluster"),
        center_rule("momentum", 0.1, "cluster"),
        center_rule("nesterov", 0.1, "cluster"),
        center_rule("adam", 0.1, "mean"),
        center_rule("rmsprop", 0.1, "mean"),
        center_rule("newton", "count", "sum"),
    ],
)
def test_a_center_without_rows_does_not_move(rule):
    X = blobs(50, 2, 1)
    C = np.vstack([X.mean(axis=0), [1e3, 1e3]])
    motion = Motion.zeros(2, 2)
    motion.slots[:] = 1.0  # even with momentum left from before
    moved = C.copy()
    step(X, None, moved, rule, motion)
    np.testing.assert_array_equal(moved[1], C[1])
    assert (motion.slots[:, 1] == 1).all()
    assert motion.clock[1] == 0
    assert np.isfinite(moved).all()


# --- Lloyd --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("max_iter", [1, 2, 3, 5, 300])
def test_full_batch_newton_is_scikit_learns_lloyd_step_for_step(max_iter):
    X = np.ascontiguousarray(load_digits().data)
    C = X[:10].copy()
    expected = KMeans(10, init=C, n_init=1, algorithm="lloyd", max_iter=max_iter, tol=0).fit(X)
    result = run(X, C, center_rule("newton", "count", "sum"), batch_size=None, max_iter=max_iter)
    np.testing.assert_allclose(result.centers, expected.cluster_centers_, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(result.labels, expected.labels_)
    assert result.inertia == pytest.approx(expected.inertia_, rel=1e-12)
    assert result.n_iter == expected.n_iter_


def test_lloyd_is_the_reference_iterated():
    X = blobs()
    C = X[:5].copy()
    expected = C
    for _ in range(4):
        expected = reference.lloyd_iteration(X, expected)
    fit = lloyd(X, None, C, max_iter=4, tol=0.0)
    centers, labels, inertia, losses = fit.centers, fit.labels, fit.inertia, fit.losses
    np.testing.assert_allclose(centers, expected, rtol=1e-12)
    expected_labels, distances = reference.assign(X, centers)
    np.testing.assert_array_equal(labels, expected_labels)
    assert inertia == pytest.approx(distances.sum())
    assert len(losses) == 4
    assert (np.diff(losses) <= 0).all()


@pytest.mark.parametrize("n_empty", [1, 3])
def test_lloyd_fills_empty_clusters_as_scikit_learn_does(n_empty):
    X = blobs(300, 2, 4)
    C = np.vstack([X[:4], np.full((n_empty, 2), 1e3) + np.arange(n_empty)[:, None]])
    expected = KMeans(4 + n_empty, init=C, n_init=1, algorithm="lloyd", tol=0).fit(X)
    result = run(X, C, center_rule("newton", "count", "sum"), batch_size=None, max_iter=300)
    assert len(np.unique(result.labels)) == 4 + n_empty
    assert result.inertia == pytest.approx(expected.inertia_, rel=1e-9)


def test_weights_are_repetitions_for_lloyd():
    X = blobs(100, 2, 3)
    w = np.random.default_rng(0).integers(0, 4, len(X)).astype(float)
    C = X[w > 0][:3].copy()
    rule = center_rule("newton", "count", "sum")
    weighted = run(X, C, rule, w, batch_size=None, max_iter=50)
    repeated = run(np.repeat(X, w.astype(int), axis=0), C, rule, batch_size=None, max_iter=50)
    np.testing.assert_allclose(weighted.centers, repeated.centers)
    assert weighted.inertia == pytest.approx(repeated.inertia)


def test_more_clusters_than_distinct_rows_end():
    X = np.repeat([[0.0, 0.0], [1.0, 1.0]], 10, axis=0)
    for batch_size in (None, 7):
        for rule in (center_rule("newton", "count", "sum"), center_rule("sgd", "count", "sum")):
            result = run(X, X[[0, 1, 10, 11]], rule, batch_size=batch_size, polish=True)
            assert result.inertia == 0
            assert np.isfinite(result.centers).all()


# --- epochs -------------------------------------------------------------------------------------------


def test_an_epoch_visits_every_row_once_in_a_new_order():
    rows = np.arange(1000, dtype=np.int32)
    device.shuffle(rows, 1)
    once = rows.copy()
    np.testing.assert_array_equal(np.sort(rows), np.arange(1000))
    assert (rows != np.arange(1000)).mean() > 0.99
    device.shuffle(rows, 2)
    assert (rows != once).mean() > 0.99


def test_shuffle_is_uniform():
    counts = np.zeros((4, 4))
    for seed in range(4000):
        rows = np.arange(4, dtype=np.int32)
        device.shuffle(rows, seed)
        counts[np.arange(4), rows] += 1
    # Binomial(4000, 1/4) has a standard deviation of 27.
    assert np.abs(counts - 1000).max() < 5 * 27


def test_batches_are_steps_on_the_permuted_rows():
    X = blobs(250, 3, 4)
    C = X[:4].copy()
    rule = center_rule("sgd", 0.05, "cluster")
    result = run(X, C, rule, max_iter=2)
    rng, rows = np.random.RandomState(0), np.arange(250, dtype=np.int32)
    expected, motion, losses = C.copy(), Motion.zeros(4, 3), []
    for _ in range(2):
        device.shuffle(rows, rng.randint(0, 2**63, dtype=np.int64))
        for batch in (rows[:100], rows[100:200], rows[200:]):
            losses.append(step(X[batch], None, expected, rule, motion)[0])
    np.testing.assert_allclose(result.centers, expected, rtol=1e-12)
    np.testing.assert_allclose(result.losses, losses, rtol=1e-12)
    assert result.n_iter == 2


def test_rows_without_weight_are_in_no_batch():
    X = blobs(300, 2, 3)
    w = (np.arange(300) % 3 > 0).astype(float)
    C = X[w > 0][:3].copy()
    rule = center_rule("sgd", "count", "sum")
    with_zeros = run(X, C, rule, w)
    without = run(X[w > 0], C, rule)
    np.testing.assert_allclose(with_zeros.centers, without.centers)
    assert len(with_zeros.losses) == len(without.losses) == 5 * 2


def test_chunks_of_an_epoch_do_not_change_the_result(monkeypatch):
    X = blobs(1000, 2, 3)
    results = []
    for seconds in (0.0, 1e9):
        monkeypatch.setattr(pacing, "CALL_SECONDS", seconds)
        results.append(run(X, X[:3].copy(), center_rule("sgd", "count", "sum"), batch_size=10, patience=10))
    np.testing.assert_array_equal(results[0].centers, results[1].centers)
    assert results[0].losses == results[1].losses


def test_stops_for_lack_of_improvement_and_for_tol():
    X = blobs(1000, 2, 3)
    C = reference.lloyd_iteration(X, X[:3])
    rule = center_rule("sgd", "count", "sum")
    patient = run(X, C, rule, max_iter=100)
    assert patient.n_iter == 100
    assert len(patient.losses) == 1000
    impatient = run(X, C, rule, max_iter=100, patience=3)
    assert len(impatient.losses) < 1000
    tolerant = run(X, C, rule, max_iter=100, tol=0.1)
    assert tolerant.n_iter < 100


def test_starved_centers_move_to_the_farthest_rows():
    X = np.vstack([blobs(200, 2, 1), [[500.0, 500.0], [-700.0, 0.0]]])
    C = np.vstack([X[:2], [[1e4, 1e4], [1e4, -1e4]]])
    result = run(X, C, center_rule("sgd", 0.01, "cluster"), max_iter=1, batch_size=50)
    np.testing.assert_array_equal(result.centers[2:], [[500.0, 500.0], [-700.0, 0.0]])
    again = run(X, C, center_rule("sgd", 0.01, "cluster"), max_iter=1, batch_size=50)
    np.testing.assert_array_equal(result.centers, again.centers)
    # A new centre has no history.
    assert (result.motion.seen[2:] == 0).all()


@pytest.mark.parametrize("batch_size", [None, 100])
def test_divergence_keeps_the_last_finite_centers(batch_size):
    X = blobs(300, 2, 3)
    result = run(X, X[:3].copy(), center_rule("sgd", 1e3, "sum"), batch_size=batch_size, max_iter=1000)
    assert result.diverged
    assert np.isfinite(result.centers).all()
    assert np.isfinite(result.losses).all()
    labels, inertia = labels_inertia(X, None, result.centers)
    np.testing.assert_array_equal(labels, result.labels)
    assert np.isfinite(inertia)


def test_mean_variance():
    X = blobs() + 100
    assert mean_variance(X) == pytest.approx(X.var(axis=0).mean(), rel=1e-12)
    assert mean_variance(X.astype(np.float32)) == pytest.approx(X.var(axis=0).mean(), rel=1e-4)


# --- seeding ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("k", [1, 2, 10, 40])
def test_plus_plus_draws_scikit_learns_rows(k, weighted):
    X = np.ascontiguousarray(load_digits().data)
    w = np.random.default_rng(0).uniform(size=len(X)) if weighted else np.ones(len(X))
    for seed in range(3):
        ours = seeding.plus_plus(X, k, w if weighted else None, np.random.RandomState(seed))
        expected, _ = sklearn_kmeans_plusplus(X, k, sample_weight=w, random_state=seed)
        np.testing.assert_array_equal(ours, expected)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_parallel_plus_plus_is_as_good_a_start(make):
    X = blobs(4000, 4, 40)
    potentials = {"plus_plus": [], "parallel_plus_plus": [], "random_rows": []}
    for name, found in potentials.items():
        for seed in range(10):
            C = getattr(seeding, name)(make(X), 40, None, np.random.RandomState(seed))
            assert C.shape == (40, 4)
            # Every centre is a row.
            assert (reference.assign(C, X)[1] == 0).all()
            found.append(reference.assign(X, C)[1].sum())
    assert np.median(potentials["parallel_plus_plus"]) < 1.1 * np.median(potentials["plus_plus"])
    assert np.median(potentials["parallel_plus_plus"]) < 0.7 * np.median(potentials["random_rows"])


def test_parallel_plus_plus_draws_by_weight():
    X = blobs(500, 2, 5)
    weights = np.where(np.arange(500) % 2, 1.0, 0.0)
    for k in (3, 60):
        C = seeding.parallel_plus_plus(X, k, weights, np.random.RandomState(0))
        assert (reference.assign(C, X[1::2])[1] == 0).all()
        assert len(np.unique(C, axis=0)) == k
    # Fewer distinct rows than centres, and as many rows as centres.
    equal = np.ones((50, 2))
    assert (seeding.parallel_plus_plus(equal, 4, None, np.random.RandomState(0)) == 1).all()
    every = seeding.parallel_plus_plus(X[:20], 20, None, np.random.RandomState(0))
    assert len(np.unique(every, axis=0)) == 20


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_seeding_knows_the_two_nearest_centers(dtype):
    X = blobs(5000, 3, 10, dtype=dtype)
    state = LocalSearch(X, None, X[:12].copy(), np.random.RandomState(0))
    for _ in range(3):
        distances = np.sort(((X[:, None] - state.centers) ** 2).sum(axis=2), axis=1)
        np.testing.assert_allclose(state.closest, distances[:, 0], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(state.second, distances[:, 1], rtol=1e-4, atol=1e-5)
        for index, distance in [(state.nearest, state.closest), (state.next_nearest, state.second)]:
            expected = ((X - state.centers[index]) ** 2).sum(axis=1)
            np.testing.assert_allclose(distance, expected, rtol=1e-4, atol=1e-5)
        state.run(5)


def test_local_search_lowers_the_potential():
    X = blobs(3000, 2, 20)
    for seed in range(5):
        centers = seeding.plus_plus(X, 20, None, np.random.RandomState(seed))
        state = LocalSearch(X, None, centers, np.random.RandomState(seed))
        before = state.closest.sum()
        state.run(40)
        assert state.closest.sum() <= before
        assert state.closest.sum() == pytest.approx(reference.assign(X, state.centers)[1].sum())


def test_large_data_is_seeded_from_a_sample(monkeypatch):
    monkeypatch.setattr(seeding, "_SAMPLE", 100)
    monkeypatch.setattr(seeding, "_SAMPLE_PER_CLUSTER", 1)
    X = blobs(2000, 2, 3)
    w = np.zeros(2000)
    w[:50] = 1
    for weights in (None, w):
        C = seeding.searched_plus_plus(X, 3, weights, np.random.RandomState(0))
        allowed = X if weights is None else X[:50]
        assert all((c == allowed).all(axis=1).any() for c in C)


@pytest.mark.parametrize("n_weighted", [20, 2])
def test_random_init_takes_distinct_rows(n_weighted):
    X = blobs(20, 2, 3)
    w = np.zeros(20)
    w[:n_weighted] = 1
    C = seeding.random_rows(X, 5, w, np.random.RandomState(0))
    assert len(np.unique(C, axis=0)) == 5
    # Rows without weight only where there are too few others.
    assert sum((c == X[:n_weighted]).all(axis=1).any() for c in C) == min(5, n_weighted)


def test_farthest_rows_are_far_from_each_other():
    X = np.array([[0.0], [1.0], [10.0], [9.9], [-8.0]])
    np.testing.assert_array_equal(seeding.farthest_rows(X, X[:1], None, 2), [2, 4])
    np.testing.assert_array_equal(seeding.farthest_rows(X, X[:1], np.array([1, 1, 0, 1, 1.0]), 1), [3])
    assert len(seeding.farthest_rows(X[:1], X[:1], None, 3)) == 0
