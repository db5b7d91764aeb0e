"""Seeding by Markov chains: the distribution of the rows that it takes, and its corners."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.datasets import make_blobs

from fastnn import GradKMeans, KMeans
from fastnn.clustering import chains, seeding
from fastnn.clustering.chains import markov_chains
from tests import reference

# Six rows, some near each other, some far, one of them without weight.
ROWS = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 3.0], [7.0, 1.0], [8.0, 1.0], [3.0, 4.0]])
WEIGHTS = np.array([1.0, 2.0, 0.5, 1.0, 3.0, 0.0])
SQUARES = ((ROWS[:, None] - ROWS[None]) ** 2).sum(axis=2)


def proposal(first, w):
    mass = w * SQUARES[first]
    return 0.5 * mass / mass.sum() + 0.5 * w / w.sum()


def chain_end(q, p, length):
    """Distribution of the end of a chain with limit p and candidates from q, by its transition matrix."""
    n = len(q)
    move = np.zeros((n, n))
    for x in range(n):
        for y in range(n):
            if x != y and q[x] > 0 and q[y] > 0:
                leaves = float(p[y] > 0)
                move[x, y] = q[y] * (min(1, p[y] * q[x] / (p[x] * q[y])) if p[x] > 0 else leaves)
        move[x, x] = 1 - move[x].sum()
    return q @ np.linalg.matrix_power(move, length - 1)


def joint(w, length, proposal=proposal):
    """Probability of each triple of rows as the first, second and third centre."""
    triples = np.zeros((6, 6, 6))
    for first in range(6):
        if w[first] == 0:
            continue
        q = proposal(first, w)
        seconds = chain_end(q, w * SQUARES[first], length)
        for second in range(6):
            thirds = chain_end(q, w * np.minimum(SQUARES[first], SQUARES[second]), length)
            triples[first, second] = w[first] / w.sum() * seconds[second] * thirds
    return triples


def surprise(counts, probabilities):
    """Chi-square of the counts, in standard deviations above its mean; cells that are rare count as one."""
    expected = counts.sum() * probabilities.ravel()
    rare = expected < 10
    have = np.append(counts.ravel()[~rare], counts.ravel()[rare].sum())
    want = np.append(expected[~rare], max(expected[rare].sum(), 1e-9))
    freedom = len(have) - 1
    return (((have - want) ** 2 / want).sum() - freedom) / np.sqrt(2 * freedom)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(("length", "chains_at_once"), [(1, 64), (2, 64), (3, 1)])
@pytest.mark.parametrize("weighted", [False, True])
def test_distribution(weighted, length, chains_at_once, make, monkeypatch):
    monkeypatch.setattr(chains, "_CHAINS", chains_at_once)
    weights = WEIGHTS if weighted else None
    w = WEIGHTS if weighted else np.ones(6)
    number = {tuple(row): i for i, row in enumerate(ROWS.tolist())}
    random_state, X, counts = np.random.RandomState(0), make(ROWS), np.zeros((6, 6, 6))
    for _ in range(4000):
        C = markov_chains(X, 3, weights, random_state, length=length)
        counts[tuple(number[tuple(row)] for row in C.tolist())] += 1
    assert surprise(counts, joint(w, length)) < 4
    # So many draws tell other proposals, and chains of other lengths, from this one.
    wrong = [lambda first, w: w / w.sum(), lambda first, w: w * SQUARES[first] / (w @ SQUARES[first])]
    if weighted:
        wrong.append(lambda first, w: proposal(first, np.ones(6)))
    assert min(surprise(counts, joint(w, length, q)) for q in wrong) > 12
    assert surprise(counts, joint(w, length + 1)) > 12


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_as_good_a_start_as_plus_plus(make):
    X = make_blobs(4000, 4, centers=40, random_state=0)[0]
    potentials = {}
    for name, seed in [
        ("chains", markov_chains),
        ("plus plus", lambda *arguments: seeding.plus_plus_rows(*arguments, 1)[0]),
        ("random", seeding.random_rows),
    ]:
        found = []
        for state in range(10):
            C = seed(make(X), 40, None, np.random.RandomState(state))
            assert C.shape == (40, 4)
            # Every centre is a row.
            assert (reference.assign(C, X)[1] == 0).all()
            found.append(reference.assign(X, C)[1].sum())
        potentials[name] = np.median(found)
    assert potentials["chains"] < 1.15 * potentials["plus plus"]
    assert potentials["chains"] < 0.8 * potentials["random"]


def test_sparse_and_dense_rows_are_the_same():
    X = sparse.random(500, 30, 0.3, format="csr", random_state=0)
    weights = np.random.default_rng(0).uniform(size=500)
    for k in (1, 2, 100):
        dense, csr = (markov_chains(data, k, weights, np.random.RandomState(0)) for data in (X.toarray(), X))
        np.testing.assert_array_equal(dense, csr)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_rows_without_weight_and_equal_rows(make, dtype):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 2)).astype(dtype)
    weights = np.where(np.arange(500) % 2, 1.0, 0.0).astype(dtype)
    for k in (3, 150):
        C = markov_chains(make(X), k, weights, np.random.RandomState(0))
        assert C.dtype == dtype
        assert (reference.assign(C, X[1::2])[1] == 0).all()
        assert len(np.unique(C, axis=0)) == k
    # Fewer distinct rows than centres: all of them are found.
    few = np.repeat(X[:3], 20, axis=0)
    C = markov_chains(make(few), 8, None, np.random.RandomState(0))
    assert len(np.unique(C, axis=0)) == 3
    equal = np.ones((50, 2), dtype)
    assert (markov_chains(make(equal), 4, None, np.random.RandomState(0)) == 1).all()
    # One row has all the weight.
    alone = markov_chains(make(X), 4, (np.arange(500) == 7).astype(dtype), np.random.RandomState(0))
    assert (alone == X[7]).all()


def test_distances_beyond_the_dtype():
    X = np.array([[1e30], [-1e30], [2e30], [0.0]], np.float32)
    C = markov_chains(X, 3, np.array([1, 1, 1, 0], np.float32), np.random.RandomState(0))
    assert np.isin(C, X[:3]).all()


def test_last_row_and_first_row_can_be_drawn():
    class Edge(np.random.RandomState):
        def random_sample(self, size=None):
            return np.full(size, self.value)

    weights, edge = np.array([0.0, 1.0, 0.5, 0.0]), Edge()
    for edge.value, row in ((0.0, 1), (np.nextafter(1.0, 0.0), 2)):
        assert (chains._draw(np.cumsum(weights), 3, edge) == row).all()


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("kind", [KMeans, GradKMeans])
def test_in_the_estimators(kind, make, any_size_uses_threads):
    X = make_blobs(3000, 3, centers=8, random_state=0)[0]
    model = kind(100, init="afk-mc2", random_state=0, max_iter=5, n_threads=1).fit(make(X))
    again = kind(100, init="afk-mc2", random_state=0, max_iter=5, n_threads=2).fit(make(X))
    np.testing.assert_array_equal(model.cluster_centers_, again.cluster_centers_)
    assert model.inertia_ < 1.1 * KMeans(100, random_state=0, max_iter=5).fit(X).inertia_
    weights = (np.arange(3000) < 200).astype(float)
    assert np.isfinite(kind(8, init="afk-mc2", random_state=0).fit(make(X), sample_weight=weights).inertia_)
