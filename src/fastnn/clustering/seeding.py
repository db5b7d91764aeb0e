"""Initial centres for k-means: greedy k-means++ with a local search, or random rows; and new places for
centres that lost all their rows.

References
----------
Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007; the greedy choice among
2 + log(k) candidates, which its last section suggests, is made as in scikit-learn.

Bahmani et al., "Scalable k-means++", VLDB 2012: k-means||.

"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from fastnn.clustering.local_search import LocalSearch
from fastnn.clustering.passes import (
    Rows,
    as_rows,
    dense_array,
    nearest_centers,
)
from fastnn.kernels.clustering import clustering_backend
from fastnn.kernels.contract.clustering import Data
from fastnn.kernels.shared.arrays import Csr

# Seeding costs about log(k) assignments of its rows, so on more rows than this it works on a sample.
# A row in 65,536 stands for clusters of a few dozen rows in a million.
_SAMPLE = 1 << 16
_SAMPLE_PER_CLUSTER = 64
# Swaps tried after k-means++: one per cluster, and not fewer than these. On blobs they take 3 to 12% off the
# final inertia for the time of one to two Lloyd iterations; three times as many take off less than 1% more.
_MIN_SWAPS = 20
# Passes of k-means||, and the candidates that a pass draws on average, for each centre.
_ROUNDS, _OVERSAMPLING = 5, 0.5


def plus_plus_rows(
    X: Data,
    n_clusters: int,
    weights: np.ndarray | None,
    random_state: np.random.RandomState,
    n_trials: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy k-means++, with the rows that scikit-learn's would take.

    Parameters
    ----------
    X : ndarray, C-contiguous, CSR matrix or DeviceRows, of shape (n_samples, n_features)
    n_clusters : int
        At most n_samples.
    weights : ndarray of shape (n_samples,) or None
        Not negative and not all zero; None stands for ones.
    random_state : RandomState
        Drawn from.
    n_trials : int, default=None
        Candidates for each centre; None stands for 2 + log(k).

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
        A new array.
    indices : ndarray of int64 of shape (n_clusters,)
        The rows that they are.
    """
    if sparse.issparse(X):
        from sklearn.cluster import kmeans_plusplus  # a tenth of a second that few need

        return kmeans_plusplus(
            X, n_clusters, sample_weight=weights, random_state=random_state, n_local_trials=n_trials
        )
    n = X.shape[0]
    n_trials = n_trials or 2 + int(np.log(n_clusters))
    passes = clustering_backend(X).seeding(X, weights, n_clusters, n_trials)
    indices = np.empty(n_clusters, np.int64)
    # The random numbers are drawn as scikit-learn draws them.
    p = np.full(n, 1 / n) if weights is None else weights.astype(np.float64) / weights.sum(dtype=np.float64)
    indices[0] = random_state.choice(n, p=p)
    potential = passes.try_rows(indices[:1])[:, 0]
    for j in range(1, n_clusters):
        targets = random_state.uniform(size=n_trials) * potential.sum()
        drawn = passes.pick(indices[j - 1], potential, targets)
        parts = passes.try_rows(np.append(indices[j - 1], drawn))[:, 1:]
        best = int(parts.sum(axis=0).argmin())
        indices[j], potential = drawn[best], parts[:, best].copy()
    return X[indices], indices


def plus_plus(
    X: Data, n_clusters: int, weights: np.ndarray | None, random_state: np.random.RandomState
) -> np.ndarray:
    """The centres of ``plus_plus_rows``."""
    return plus_plus_rows(X, n_clusters, weights, random_state)[0]


def searched_plus_plus(
    X: Data, n_clusters: int, weights: np.ndarray | None, random_state: np.random.RandomState
) -> np.ndarray:
    """Greedy k-means++ and a local search, on a sample where there are many rows.

    Parameters and result are the first ones of ``plus_plus_rows``. CSR rows get no local search, whose
    kernels take dense ones.
    """
    n = X.shape[0]
    size = max(_SAMPLE, _SAMPLE_PER_CLUSTER * n_clusters)
    if n > size:
        if weights is None:
            rows = random_state.randint(0, n, size)
        else:
            rows = random_state.choice(n, size, p=weights / weights.sum(dtype=np.float64))
        rows.sort()  # read in order of address; the sample is the same
        X, weights = X[rows], None
    else:
        X = clustering_backend(X).on_host(X)  # so few that they may as well be here
    if sparse.issparse(X):
        return plus_plus(X, n_clusters, weights, random_state)
    centers, _ = plus_plus_rows(X, n_clusters, weights, random_state)
    search = LocalSearch(X, weights, centers, random_state)
    search.run(max(_MIN_SWAPS, n_clusters))
    return search.centers


def parallel_plus_plus(
    X: Data, n_clusters: int, weights: np.ndarray | None, random_state: np.random.RandomState
) -> np.ndarray:
    """k-means||: many candidates in a few passes, of which weighted k-means++ takes the centres.

    Each pass draws every row with a probability of ``_OVERSAMPLING k`` times its share of the potential. A
    candidate weighs as much as the rows that are nearest to it.

    Parameters and result are the first ones of ``plus_plus_rows``.
    """
    n, wanted = X.shape[0], _OVERSAMPLING * n_clusters
    w = np.ones(n, X.dtype) if weights is None else weights
    rows = as_rows(X)
    probability = w.astype(np.float64)
    drawn = np.array([random_state.choice(n, p=probability / probability.sum())])
    chosen = np.empty(0, np.int64)
    closest, nearest = np.full(n, np.inf, X.dtype), np.zeros(n, np.int32)
    for turn in range(_ROUNDS + 1):
        if turn > 0:
            mass = w * closest.astype(np.float64)
            drawn = np.flatnonzero(random_state.random_sample(n) * mass.sum() < wanted * mass)
        if drawn.size == 0:
            continue
        labels, distances = nearest_centers(rows, dense_array(X[drawn]))
        closer = distances < closest
        closest[closer], nearest[closer] = distances[closer], labels[closer] + chosen.size
        chosen = np.concatenate([chosen, drawn])
    if chosen.size <= n_clusters:
        # So few clusters, or so many equal rows, that the passes did not find enough.
        return plus_plus(X, n_clusters, weights, random_state)
    counts = np.bincount(nearest, w, minlength=chosen.size).astype(X.dtype)
    return plus_plus(dense_array(X[chosen]), n_clusters, counts, random_state)


def random_rows(
    X: Data, n_clusters: int, weights: np.ndarray | None, random_state: np.random.RandomState
) -> np.ndarray:
    """Rows at random, those that scikit-learn would take; no row twice.

    Parameters and result are the first ones of ``plus_plus_rows``.
    """
    n = X.shape[0]
    p = np.full(n, 1 / n) if weights is None else weights.astype(np.float64) / weights.sum(dtype=np.float64)
    if np.count_nonzero(p) < n_clusters:
        # choice refuses to draw more rows than have a weight; the rest come from those without.
        p = p + np.finfo(np.float64).tiny
        p /= p.sum()
    return dense_array(X[random_state.choice(n, n_clusters, replace=False, p=p)])


def farthest_rows(X: Rows, centers: np.ndarray, weights: np.ndarray | None, count: int) -> np.ndarray:
    """Rows for `count` new centres: each the farthest from all centres and from the rows before it.

    Deterministic: of equals the lowest index. Fewer are returned when every row has a centre on it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), C-contiguous, Csr or DeviceRows
        Rows.
    centers : ndarray of shape (n_centers, n_features)
        Centres that stay.
    weights : ndarray of shape (n_samples,) or None
        Rows without weight are not chosen.
    count : int
        Number of rows wanted.

    Returns
    -------
    rows : ndarray of int
    """
    distances = nearest_centers(X, centers)[1]
    if weights is not None:
        distances[weights == 0] = 0
    least = _rounding(X) if isinstance(X, Csr) else 0.0
    rows: list[int] = []
    while len(rows) < count:
        row = int(distances.argmax())
        if not distances[row] > least:
            break
        rows.append(row)
        np.minimum(distances, nearest_centers(X, dense_rows(X, [row]))[1], out=distances)
    return np.array(rows, dtype=np.intp)


def _rounding(X: Csr) -> float:
    """What rounding may leave of the distance between a row and a centre that is equal to it."""
    if not X.data.size:
        return 0.0
    stored = int(np.diff(X.indptr).max())
    # A row's squared norm is at most `stored` largest squares, and is added up in as many steps.
    return float(np.finfo(np.float64).eps * stored**2 * float(np.abs(X.data).max()) ** 2)


def dense_rows(X: Rows, rows: Sequence[int] | np.ndarray) -> np.ndarray:
    """Some rows, as a new dense array."""
    if isinstance(X, Csr):
        return np.array([X.row(i) for i in rows], X.dtype).reshape(len(rows), X.shape[1])
    return X[rows]
