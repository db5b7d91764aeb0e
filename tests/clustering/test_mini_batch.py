"""The engine of mini-batches: which rows are drawn, a step, reassigning, nested batches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse
from sklearn.datasets import make_blobs

from fastnn.clustering import mini_batch
from fastnn.clustering.draws import Draws, EvenSums
from fastnn.clustering.mini_batch import mini_batches, partial_step, reassign
from fastnn.clustering.nested import nested_batches
from fastnn.clustering.passes import labels_inertia
from fastnn.clustering.starts import init_rows
from fastnn.kernels.clustering import device
from fastnn.kernels.shared.center_arguments import MiniBatchRule
from fastnn.kernels.shared.codes import (
    INERTIA,
    NO_IMPROVEMENT,
    PROGRESS_SIZE,
    RUNNING,
    SETTLED,
    SINCE_REASSIGNED,
)
from tests import reference

FLOAT32, FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


def blobs(n=600, d=3, k=5, seed=0, dtype=np.float64):
    return make_blobs(n, d, centers=k, random_state=seed)[0].astype(dtype)


def run(X, C, weights=None, **changes):
    arguments = {
        "batch_size": 50,
        "max_iter": 3,
        "tol": 0.0,
        "patience": None,
        "ratio": 0.01,
        "random_state": np.random.RandomState(0),
    }
    return mini_batches(X, weights, C, **{**arguments, **changes})


# --- draws --------------------------------------------------------------------------------------------


def check_even_sums(n, dtype):
    share = dtype.type(1) / dtype.type(n)
    expected = np.full(n, share).cumsum(dtype=np.float64)
    np.testing.assert_array_equal(EvenSums(float(share), n)(np.arange(n)), expected / expected[-1])


@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
@settings(deadline=None, max_examples=200)
@given(n=st.integers(1, 5000))
def test_even_sums_are_those_of_cumsum(dtype, n):
    check_even_sums(n, dtype)


@pytest.mark.parametrize("n", [65_536, 99_999, 1_000_000, 1_234_567])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
def test_even_sums_of_many_rows(dtype, n):
    check_even_sums(n, dtype)
    assert EvenSums(1 / n, n)._sums.size < 100


@pytest.mark.parametrize("n", [1, 2, 3, 1000, 100_003])
@pytest.mark.parametrize("dtype", [FLOAT32, FLOAT64])
@pytest.mark.parametrize("weighted", [False, True])
def test_draws_are_those_of_choice(weighted, dtype, n):
    weights = np.ones(n, dtype)
    if weighted:
        weights = np.random.default_rng(0).integers(0, 3, n).astype(dtype) + (n < 3)
    draws = Draws(n, weights if weighted else None, dtype, np.random.RandomState(1))
    other = np.random.RandomState(1)
    for size in (1, 100, 1000):
        expected = other.choice(n, size, p=weights / weights.sum(), replace=True)
        np.testing.assert_array_equal(draws.rows(size), expected)


def test_numbers_between_two_rows_are_settled_by_the_sums():
    n = 1_000_000
    share = 1 / n
    sums = np.full(n, share).cumsum()
    sums /= sums[-1]
    # Where the rounded sums have drifted farthest away from i / n, at them and beside them.
    at = np.argsort(-np.abs(sums - np.arange(1, n + 1) / n))[:1000]
    drawn = np.concatenate([sums[at], np.nextafter(sums[at], 0), (at + 1) / n, [0.0, np.nextafter(1, 0)]])
    drawn = drawn[drawn < 1]

    class Given:
        def get_state(self, legacy):
            return {}

        def random_sample(self, size):
            return drawn

    rows = Draws(n, None, FLOAT64, Given()).rows(drawn.size)
    np.testing.assert_array_equal(rows, sums.searchsorted(drawn, side="right"))
    assert (rows != np.floor(drawn * n)).any()


def test_what_is_given_back_is_drawn_again():
    a, b = np.random.RandomState(0), np.random.RandomState(0)
    draws = Draws(1000, None, FLOAT64, a)
    rows = draws.rows(500)
    draws.give_back(200)
    np.testing.assert_array_equal(draws.rows(300), rows[200:])
    b.random_sample(500)
    assert a.randint(2**31) == b.randint(2**31)


# --- a step -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None, max_examples=30)
@given(
    n=st.sampled_from([1, 2, 63, 64, 65, 300]),
    d=st.sampled_from([1, 2, 17, 60]),
    k=st.sampled_from([1, 2, 12, 13]),
    weighted=st.booleans(),
)
def test_a_step_is_that_of_the_twin(make, dtype, n, d, k, weighted):
    rng = np.random.default_rng(n + d + k)
    X, C = rng.normal(size=(n, d)).astype(dtype), rng.normal(size=(k, d)).astype(dtype)
    w = rng.uniform(0, 2, n).astype(dtype) if weighted else None
    seen = rng.uniform(0, 9, k)
    expected, expected_seen = reference.mini_batch_step(X, C.astype(float), seen, w)
    since = partial_step(
        make(X), w, C, seen, 3, batch_size=7, ratio=0.0, random_state=np.random.RandomState(0)
    )
    np.testing.assert_allclose(C, expected, rtol=10 * np.finfo(dtype).eps, atol=10 * np.finfo(dtype).eps)
    np.testing.assert_allclose(seen, expected_seen, rtol=1e-12)
    assert since == (10 if k > 1 else 0)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weighted", [False, True])
def test_steps_are_those_of_the_twin(weighted, dtype):
    X = blobs(dtype=dtype)
    w = np.random.default_rng(0).uniform(0, 3, len(X)).astype(dtype) if weighted else None
    p = (np.ones(len(X), dtype) if w is None else w) / (len(X) if w is None else w.sum())
    rng = np.random.RandomState(0)
    C, seen = X[:5].astype(float), np.zeros(5)
    for _ in range(36):
        C, seen = reference.mini_batch_step(X[rng.choice(len(X), 50, p=p)], C, seen)
    fit = run(X, X[:5], w, ratio=0.0)
    np.testing.assert_allclose(fit.centers, C, rtol=1e-4 if dtype == np.float32 else 1e-12)
    np.testing.assert_array_equal(fit.seen, seen)
    assert (fit.n_steps, fit.n_iter) == (36, 3)


@pytest.mark.parametrize("drawn", [1, 50, 1000])
@pytest.mark.parametrize("ratio", [0.01, 0.4])
def test_chunks_change_nothing(ratio, drawn, monkeypatch):
    X = blobs(k=9)
    expected = run(X, X[:9], ratio=ratio)
    monkeypatch.setattr(mini_batch, "_DRAWN", drawn)
    fit = run(X, X[:9], ratio=ratio)
    np.testing.assert_array_equal(fit.centers, expected.centers)
    assert fit[2:] == expected[2:]


def test_the_generator_goes_on_where_the_steps_have_ended():
    X = blobs()
    for patience in (None, 3):
        a, b = np.random.RandomState(0), np.random.RandomState(0)
        fit = run(X, X[:5], patience=patience, ratio=0.0, random_state=a)
        b.random_sample(fit.n_steps * 50)
        assert a.randint(2**31) == b.randint(2**31)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(3000, 2, 10), (3000, 70, 40), (2000, 100, 5)])
def test_same_bits_for_any_number_of_threads(shape, dtype, any_size_uses_threads, one_thread):
    X = blobs(*shape, dtype=dtype)
    same = {"batch_size": 700, "tol": 1e-9, "ratio": 0.1}
    two = run(X, X[: shape[2]], **same)
    nested = {"batch_size": 700, "max_iter": 5, "tol": 0.0}
    two_nested = nested_batches(X, None, X[: shape[2]], random_state=np.random.RandomState(0), **nested)
    with one_thread():
        one = run(X, X[: shape[2]], **same)
        one_nested = nested_batches(X, None, X[: shape[2]], random_state=np.random.RandomState(0), **nested)
    for a, b in ((one, two), (one_nested, two_nested)):
        np.testing.assert_array_equal(a.centers, b.centers)
        np.testing.assert_array_equal(a.seen, b.seen)
        assert a[2:] == b[2:]


# --- when to stop, and reassigning --------------------------------------------------------------------


def judged(inertias, moved=0.0, alpha=0.5, tol=0.0, patience=-1):
    progress = np.zeros(PROGRESS_SIZE)
    return [device.judge_batch(float(i), moved, alpha, tol, patience, progress) for i in inertias]


def test_steps_end_for_lack_of_improvement_or_of_movement():
    assert judged([9, 5, 4, 4, 4]) == [RUNNING] * 5
    # The first batch does not count; the second sets the mark.
    assert judged([1, 5, 5, 5], patience=2) == [RUNNING] * 3 + [NO_IMPROVEMENT]
    assert judged([1, 5, 4, 9, 5, 3], patience=3) == [RUNNING] * 6
    assert judged([1, 5, 4, 9, 5, 4], patience=3) == [RUNNING] * 5 + [NO_IMPROVEMENT]
    assert judged([1, 5], patience=0) == [RUNNING, NO_IMPROVEMENT]
    assert judged([1, 5], moved=0.1, tol=0.1) == [RUNNING, SETTLED]
    assert judged([1, 5], moved=0.2, tol=0.1) == [RUNNING] * 2


def test_starved_centers_are_looked_for_now_and_then():
    progress = np.zeros(PROGRESS_SIZE)
    sums, counts = np.zeros((2, 1)), np.array([1.0, 0.0])
    C, before = np.zeros((2, 1)), np.empty((0, 1))

    def absorb(seen):
        return device.absorb_batch(C, before, sums, counts, seen, 7.0, 20.0, 0.5, False, progress)

    seen = np.array([8.0, 4.6])
    assert [absorb(seen) for _ in range(4)] == [False, False, True, False]
    assert progress[SINCE_REASSIGNED] == 7
    assert absorb(np.array([8.0, 0.0]))
    assert progress[SINCE_REASSIGNED] == 0
    assert not absorb(np.array([1.0, 4.6]))


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_reassign_takes_half_of_the_batch_at_most(make):
    X = blobs(20)
    rows = np.arange(10, 16)
    C = np.zeros((9, 3))
    seen = np.array([100.0, 1, 1, 1, 1, 1, 50, 0.5, 0.2])
    reassign(make(X), rows, C, seen, 0.1, np.random.RandomState(0), False)
    moved = np.flatnonzero(C.any(axis=1))
    assert moved.size == 3
    assert {7, 8} < set(moved)
    assert all(any((x == c).all() for x in X[rows]) for c in C[moved])
    np.testing.assert_array_equal(seen[moved], 1.0)


def test_reassign_where_all_are_starved():
    X, C, seen = blobs(20), np.zeros((3, 3)), np.array([1.0, 2, 3])
    reassign(X, np.arange(20), C, seen, 2.0, np.random.RandomState(0), False)
    assert C.any(axis=1).all()
    np.testing.assert_array_equal(seen, [1, 2, 3])


def test_the_inertia_without_labels():
    X = blobs()
    w = np.random.default_rng(0).uniform(0, 3, len(X))
    inertia = labels_inertia(X, w, X[:5])[1]
    fit = run(X, X[:5], w, batch_size=600, max_iter=1)
    assert fit.n_steps == 1
    assert fit.inertia == pytest.approx(inertia, rel=0.3)
    assert run(X, X[:5], batch_size=600, max_iter=9).inertia < labels_inertia(X, None, X[:5])[1]


def test_number_of_rows_for_the_start():
    assert init_rows(10_000, 8, 1024, None) == 3072
    assert init_rows(10_000, 4000, 1024, None) == 10_000
    assert init_rows(10_000, 8, 2, None) == 24
    assert init_rows(10_000, 8, 1024, 50) == 50
    assert init_rows(10_000, 80, 1024, 50) == 240
    assert init_rows(100, 80, 1024, 50) == 100


def test_progress_of_a_run_shows_the_last_batch():
    X = np.ones((100, 2))
    steps = mini_batch._Run(
        X,
        np.zeros((1, 2)),
        10,
        MiniBatchRule(10.0, 0.0, 0.1, 0.0, -1),
        Draws(100, None, FLOAT64, np.random.RandomState(0)),
    )
    assert steps.until(1, False) == 1
    assert steps.progress[INERTIA] == 2
    np.testing.assert_array_equal(steps.C, [[1.0, 1]])


# --- nested batches -----------------------------------------------------------------------------------


def nested(X, C, weights=None, **changes):
    arguments = {"batch_size": 50, "max_iter": 100, "tol": 0.0, "random_state": np.random.RandomState(0)}
    return nested_batches(X, weights, C, **{**arguments, **changes})


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("weighted", [False, True])
def test_nested_batches_end_where_lloyd_does_not_move(weighted, make):
    X = blobs(2000)
    w = np.random.default_rng(0).integers(0, 3, len(X)).astype(float) if weighted else None
    fit = nested(make(X), X[:5], w)
    expected = reference.lloyd_iteration(X, fit.centers, w)
    np.testing.assert_allclose(fit.centers, expected, rtol=1e-12, atol=1e-12)
    labels, inertia = labels_inertia(X, w, fit.centers)
    assert fit.inertia == pytest.approx(inertia, rel=1e-12)
    np.testing.assert_array_equal(fit.seen, np.bincount(labels, w, minlength=5))


def test_a_round_is_an_iteration_on_the_batch():
    X = blobs(1000)
    order = np.random.RandomState(0).permutation(1000)
    for batch_size in (64, 1000):
        # So few that one round is all there may be.
        fit = nested(X, X[:5], batch_size=batch_size, max_iter=1)
        if batch_size == 1000:
            expected = reference.lloyd_iteration(X, X[:5])
            np.testing.assert_allclose(fit.centers, expected, rtol=1e-12)
            assert (fit.n_steps, fit.n_iter) == (1, 1)
        else:
            assert fit.n_iter == 1
    one = nested(X[order[:64]], X[:5], batch_size=64, max_iter=1)
    np.testing.assert_allclose(one.centers, reference.lloyd_iteration(X[order[:64]], X[:5]), rtol=1e-12)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_blocks_change_nothing_but_rounding(make, monkeypatch):
    X = blobs(2000)
    expected = nested(make(X), X[:5])
    monkeypatch.setattr("fastnn.clustering.nested._BLOCK", 1)
    monkeypatch.setattr("fastnn.clustering.nested._BLOCK_ROWS", 300)
    fit = nested(make(X), X[:5])
    np.testing.assert_allclose(fit.centers, expected.centers, rtol=1e-12)
    assert fit.n_steps == expected.n_steps


def test_nested_batches_grow(capsys):
    X = np.random.default_rng(0).normal(size=(4000, 3))

    def sizes(max_iter):
        fit = nested(X, X[:5], max_iter=max_iter, verbose=True)
        found = [int(line.split()[3]) for line in capsys.readouterr().out.splitlines()]
        assert len(found) == fit.n_steps
        assert -(-sum(found) // 4000) == fit.n_iter <= max_iter
        return found

    found = sizes(100)
    assert found == sorted(found)
    assert found[0] == 50
    assert found[-1] == 4000
    assert set(found) <= {50 * 2**i for i in range(7)} | {4000}
    # No more rows than `max_iter` allows.
    few = sizes(1)
    assert sum(few) <= 4000
    assert few == found[: len(few)]
