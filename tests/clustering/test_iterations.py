"""Which strategy Lloyd's iterations take, and that all of them are one loop's."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_blobs

from fastnn.clustering import leading
from fastnn.clustering.iterations import (
    BoundedIterations,
    LeadingIterations,
    PlainIterations,
    iterations_over,
)
from fastnn.clustering.lloyd import lloyd
from fastnn.clustering.passes import as_rows


def strategy(X, C, **options):
    options = {"max_iter": 9, "accelerate": True} | options
    return iterations_over(X, None, C, False, **options)


def test_the_strategy_follows_the_rows(monkeypatch):
    X = np.random.default_rng(0).normal(size=(7000, 8))
    assert type(strategy(X, X[:3].copy())) is PlainIterations
    assert type(strategy(X, X[:64].copy())) is BoundedIterations
    assert type(strategy(X, X[:64].copy(), accelerate=False)) is PlainIterations
    assert type(strategy(as_rows(sparse.csr_matrix(X)), X[:64].copy())) is PlainIterations
    monkeypatch.setattr(leading, "_LEAST_TERMS", 1)
    decay = np.arange(1.0, 241) ** -1.5
    long = np.random.default_rng(0).normal(size=(1000, 240)) * decay
    assert type(strategy(long, long[:80].copy())) is LeadingIterations


@pytest.mark.parametrize("k", [3, 64])
def test_the_callers_centers_stay_and_two_arrays_take_turns(k):
    X, _ = make_blobs(7000, 8, centers=k, random_state=0)
    C = X[:k].copy()
    run = strategy(X, C)
    seen = []
    for _ in range(4):
        run.iterate()
        assert run.centers is not C
        seen.append(run.centers)
    assert seen[0] is seen[2]
    assert seen[1] is seen[3]
    assert seen[0] is not seen[1]
    np.testing.assert_array_equal(C, X[:k])


def test_a_watcher_sees_the_centers_of_each_iteration():
    X, _ = make_blobs(7000, 8, centers=64, random_state=0)
    shown = []

    def report(iteration, inertia, centers):
        shown.append((iteration, centers.copy()))
        return iteration == 5

    fit = lloyd(X, None, X[:64].copy(), max_iter=50, tol=0.0, report=report)
    assert [iteration for iteration, _ in shown] == [1, 2, 3, 4, 5]
    assert fit.n_iter == 5
    assert not fit.converged
    np.testing.assert_allclose(fit.centers, shown[-1][1], rtol=1e-12)
