"""Initial centres for k-means: greedy k-means++ with a local search, or random rows; and new places for
centres that lost all their rows.

References
----------
Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007; the greedy choice among
2 + log(k) candidates, which its last section suggests, is made as in scikit-learn.

Bahmani et al., "Scalable k-means++", VLDB 2012: k-means||.

Lattanzi and Sohler, "A better k-means++ algorithm via local search", ICML 2019, algorithm 2.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import sparse

from fastnn.clustering.lloyd import Rows, nearest_centers
from fastnn.kernels import device
from fastnn.kernels._arrays import Csr
from fastnn.kernels._threads import threads_for

# Seeding costs about log(k) assignments of its rows, so on more rows than this it works on a sample.
# A row in 65,536 stands for clusters of a few dozen rows in a million.
_SAMPLE = 1 << 16
_SAMPLE_PER_CLUSTER = 64
# Swaps tried after k-means++: one per cluster, and not fewer than these. On blobs they take 3 to 12% off the
# final inertia for the time of one to two Lloyd iterations; three times as many take off less than 1% more.
_MIN_SWAPS = 20
# Passes of k-means||, and the candidates that a pass draws on average, for each centre.
_ROUNDS, _OVERSAMPLING = 5, 0.5


class Seeding:
    """Centres chosen among the rows, with the two centres nearest to each row.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        C-contiguous.
    weights : ndarray of shape (n_samples,)
        Not negative and not all zero.
    random_state : RandomState
        Drawn from.
    """

    def __init__(self, X: np.ndarray, weights: np.ndarray, random_state: np.random.RandomState) -> None:
        self.X, self.weights, self.random_state = X, weights, random_state
        n = X.shape[0]
        self.n_tasks = device.seeding_tasks(n)
        # Squared distances and indices; without a centre everything is infinitely far from centre 0.
        self.closest, self.second = np.full(n, np.inf, X.dtype), np.full(n, np.inf, X.dtype)
        self.nearest, self.next_nearest = np.zeros(n, np.int32), np.zeros(n, np.int32)
        self.work = 3.0 * n * X.shape[1]

    def plus_plus(self, n_clusters: int, n_trials: int | None = None) -> None:
        """Greedy k-means++: each new centre is the best of `n_trials` rows drawn by weight times distance.

        None stands for 2 + log(k).

        The random numbers are drawn as scikit-learn's ``kmeans_plusplus`` draws them, so that the same
        `random_state` gives the same rows, rounding aside.
        """
        X, n = self.X, self.X.shape[0]
        n_trials = n_trials or 2 + int(np.log(n_clusters))
        self.indices = np.empty(n_clusters, np.int64)
        self.centers = np.empty((n_clusters, X.shape[1]), X.dtype)
        potentials = np.empty((self.n_tasks, n_trials))
        far = np.zeros((n_trials, n_clusters), X.dtype)
        probability = self.weights.astype(np.float64)
        first = self.random_state.choice(n, p=probability / probability.sum())
        self.indices[0], self.centers[0] = first, X[first]
        self._add(0, -1, far[0])
        current = self._own_potential()
        for j in range(1, n_clusters):
            drawn = self._draw(n_trials, current)
            candidates = X[drawn]
            far[:, :j] = self._quarter_distances(candidates, self.centers[:j])
            parts = self._potential(candidates, far, potentials)
            best = int(parts.sum(axis=0).argmin())
            self.indices[j], self.centers[j] = drawn[best], candidates[best]
            current = parts[:, best].copy()
            self._add(j, -1, far[best])

    def local_search(self, n_steps: int) -> None:
        """Draw a row by weight times distance and swap it for the centre that is least missed, if that lowers
        the potential; `n_steps` times."""
        k = len(self.centers)
        costs = np.empty((self.n_tasks, k + 1))
        if k == 1 or not n_steps:
            return
        current = self._own_potential()
        for _ in range(n_steps):
            candidate = self.X[self._draw(1, current)]
            far = self._quarter_distances(candidate, self.centers)[0]
            with threads_for(self.work) as parallel:
                device.swap_costs(
                    parallel, self.X, self.weights, candidate, far,
                    self.closest, self.nearest, self.second, costs,
                )  # fmt: skip
            total = costs.sum(axis=0)
            j = int(total[:k].argmin())
            if not total[k] + total[j] < current.sum():
                continue
            self.centers[j] = candidate[0]
            # The rows that knew the old centre look at all; for the others only the new one is news.
            self._add(j, j, far)
            current = self._own_potential()

    def _own_potential(self) -> np.ndarray:
        """Each task's part of the potential: what a centre that is there already would leave of it."""
        far = np.zeros((1, len(self.centers)), self.X.dtype)
        return self._potential(self.centers[:1], far, np.empty((self.n_tasks, 1)))[:, 0].copy()

    def _draw(self, size: int, potential: np.ndarray) -> np.ndarray:
        picked = np.empty(size, np.int64)
        targets = self.random_state.uniform(size=size) * potential.sum()
        device.pick_rows(self.weights, self.closest, potential, targets, picked)
        return picked

    def _quarter_distances(self, candidates: np.ndarray, centers: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            squares = (candidates[:, None, :] - centers[None, :, :]) ** 2
        # A hair below the exact bound, so that rounding never discards a row that is nearer.
        return ((0.25 - 1e-5) * squares.sum(axis=2)).astype(self.X.dtype)

    def _potential(self, candidates: np.ndarray, far: np.ndarray, out: np.ndarray) -> np.ndarray:
        with threads_for(self.work) as parallel:
            device.potentials_with(
                parallel, self.X, self.weights, candidates, far, self.closest, self.nearest, out
            )
        return out

    def _add(self, j: int, removed: int, far: np.ndarray) -> None:
        with threads_for(self.work) as parallel:
            device.add_center(
                parallel, self.X, self.centers, j, removed, far,
                self.closest, self.nearest, self.second, self.next_nearest,
            )  # fmt: skip


def plus_plus_rows(
    X: Any,
    n_clusters: int,
    weights: np.ndarray | None,
    random_state: np.random.RandomState,
    n_trials: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Greedy k-means++, with the rows that scikit-learn's would take.

    Parameters
    ----------
    X : ndarray, C-contiguous, or CSR matrix, of shape (n_samples, n_features)
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
    if weights is None:
        weights = np.ones(X.shape[0], X.dtype)
    if sparse.issparse(X):
        from sklearn.cluster import kmeans_plusplus  # a tenth of a second that few need

        return kmeans_plusplus(
            X, n_clusters, sample_weight=weights, random_state=random_state, n_local_trials=n_trials
        )
    seeding = Seeding(X, weights, random_state)
    seeding.plus_plus(n_clusters, n_trials)
    return seeding.centers, seeding.indices


def plus_plus(
    X: Any, n_clusters: int, weights: np.ndarray | None, random_state: np.random.RandomState
) -> np.ndarray:
    """The centres of ``plus_plus_rows``."""
    return plus_plus_rows(X, n_clusters, weights, random_state)[0]


def searched_plus_plus(
    X: Any, n_clusters: int, weights: np.ndarray | None, random_state: np.random.RandomState
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
    if sparse.issparse(X):
        return plus_plus(X, n_clusters, weights, random_state)
    seeding = Seeding(X, np.ones(X.shape[0], X.dtype) if weights is None else weights, random_state)
    seeding.plus_plus(n_clusters)
    seeding.local_search(max(_MIN_SWAPS, n_clusters))
    return seeding.centers


def parallel_plus_plus(
    X: Any, n_clusters: int, weights: np.ndarray | None, random_state: np.random.RandomState
) -> np.ndarray:
    """k-means||: many candidates in a few passes, of which weighted k-means++ takes the centres.

    Each pass draws every row with a probability of ``_OVERSAMPLING k`` times its share of the potential. A
    candidate weighs as much as the rows that are nearest to it.

    Parameters and result are the first ones of ``plus_plus_rows``.
    """
    n, wanted = X.shape[0], _OVERSAMPLING * n_clusters
    w = np.ones(n, X.dtype) if weights is None else weights
    rows: Rows = Csr.of(X, X.dtype, np.int32) if sparse.issparse(X) else X
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
        labels, distances = nearest_centers(rows, _dense(X[drawn]))
        closer = distances < closest
        closest[closer], nearest[closer] = distances[closer], labels[closer] + chosen.size
        chosen = np.concatenate([chosen, drawn])
    if chosen.size <= n_clusters:
        # So few clusters, or so many equal rows, that the passes did not find enough.
        return plus_plus(X, n_clusters, weights, random_state)
    counts = np.bincount(nearest, w, minlength=chosen.size).astype(X.dtype)
    return plus_plus(_dense(X[chosen]), n_clusters, counts, random_state)


def _dense(rows: Any) -> np.ndarray:
    return rows.toarray() if sparse.issparse(rows) else np.ascontiguousarray(rows)


def random_rows(
    X: Any, n_clusters: int, weights: np.ndarray | None, random_state: np.random.RandomState
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
    return _dense(X[random_state.choice(n, n_clusters, replace=False, p=p)])


def farthest_rows(X: Rows, centers: np.ndarray, weights: np.ndarray | None, count: int) -> np.ndarray:
    """Rows for `count` new centres: each the farthest from all centres and from the rows before it.

    Deterministic: of equals the lowest index. Fewer are returned when every row has a centre on it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features), C-contiguous, or Csr
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
