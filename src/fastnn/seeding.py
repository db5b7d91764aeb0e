"""Initial centres for k-means: greedy k-means++ with a local search, or random rows; and new places for
centres that lost all their rows.

References
----------
Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007; the greedy choice among
2 + log(k) candidates, which its last section suggests, is made as in scikit-learn.

Lattanzi and Sohler, "A better k-means++ algorithm via local search", ICML 2019, algorithm 2.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import prange

from fastnn.kernels._jit import jit
from fastnn.kernels._threads import threads_for
from fastnn.kernels.cpu.kmeans import assign

# Rows per task. Each has a partial potential, among which the next candidates are looked up.
_ROWS = 2048
# Seeding costs about log(k) assignments of its rows, so on more rows than this it works on a sample.
# A row in 65,536 stands for clusters of a few dozen rows in a million.
_SAMPLE = 1 << 16
_SAMPLE_PER_CLUSTER = 64
# Swaps tried after k-means++: one per cluster, and not fewer than these. On blobs they take 3 to 12% off the
# final inertia for the time of one to two Lloyd iterations; three times as many take off less than 1% more.
_MIN_SWAPS = 20


@jit(sums=True)
def _squared_distance(X, i, C, j):
    total = X.dtype.type(0)
    for f in range(X.shape[1]):
        difference = X[i, f] - C[j, f]
        total += difference * difference
    return total


@jit
def _task_potentials(X, weights, candidates, far, closest, nearest, potentials, t):
    potentials[t] = 0
    for i in range(t * _ROWS, min(X.shape[0], (t + 1) * _ROWS)):
        for c in range(candidates.shape[0]):
            distance = closest[i]
            if far[c, nearest[i]] < distance:
                distance = min(distance, _squared_distance(X, i, candidates, c))
            potentials[t, c] += np.float64(weights[i]) * np.float64(distance)


@jit(parallel=True)
def _potentials(X, weights, candidates, far, closest, nearest, potentials, parallel):
    """potentials[t, c] = weighted sum over task t's rows of the distance to the nearest centre, were
    candidate c one of them.

    far : IN (n_candidates, n_centers), a quarter of the squared distance between candidate and centre. A row
    closer than half that distance to its centre cannot be nearer to the candidate (triangle inequality), so
    most rows are decided without looking at them once there are many centres.
    FLOPs: at most 3 n d n_candidates. Bytes: X, closest, nearest and weights once.
    """
    tasks = potentials.shape[0]
    if parallel:
        for t in prange(tasks):
            _task_potentials(X, weights, candidates, far, closest, nearest, potentials, np.int64(t))
    else:
        for t in range(tasks):
            _task_potentials(X, weights, candidates, far, closest, nearest, potentials, t)


@jit
def _offer(X, i, centers, j, closest, nearest, second, next_nearest):
    """Centre j becomes one of the two that row i knows, if it is near enough."""
    distance = _squared_distance(X, i, centers, j)
    if distance < closest[i]:
        second[i] = closest[i]
        next_nearest[i] = nearest[i]
        closest[i] = distance
        nearest[i] = j
    elif distance < second[i]:
        second[i] = distance
        next_nearest[i] = j


@jit
def _task_add(X, centers, j, removed, far, closest, nearest, second, next_nearest, t):
    for i in range(t * _ROWS, min(X.shape[0], (t + 1) * _ROWS)):
        if removed >= 0 and (nearest[i] == removed or next_nearest[i] == removed):
            closest[i] = np.inf
            second[i] = np.inf
            nearest[i] = 0
            for c in range(centers.shape[0]):
                _offer(X, i, centers, c, closest, nearest, second, next_nearest)
        elif far[nearest[i]] < second[i]:
            _offer(X, i, centers, j, closest, nearest, second, next_nearest)


@jit(parallel=True)
def _add_center(X, centers, j, removed, far, closest, nearest, second, next_nearest, parallel):
    """Make centre j one of those that each row's two nearest are about, in place of centre `removed`.

    removed : IN, j if centre j has replaced another one, -1 if it is new.
    """
    tasks = (X.shape[0] + _ROWS - 1) // _ROWS
    if parallel:
        for t in prange(tasks):
            _task_add(X, centers, j, removed, far, closest, nearest, second, next_nearest, np.int64(t))
    else:
        for t in range(tasks):
            _task_add(X, centers, j, removed, far, closest, nearest, second, next_nearest, t)


@jit
def _task_swap(X, weights, candidate, far, closest, nearest, second, costs, t):
    k = far.shape[0]
    costs[t] = 0
    for i in range(t * _ROWS, min(X.shape[0], (t + 1) * _ROWS)):
        j = nearest[i]
        with_nearest, without = closest[i], second[i]
        if far[j] < without:
            distance = _squared_distance(X, i, candidate, 0)
            with_nearest, without = min(with_nearest, distance), min(without, distance)
        w = np.float64(weights[i])
        costs[t, k] += w * np.float64(with_nearest)
        costs[t, j] += w * (np.float64(without) - np.float64(with_nearest))


@jit(parallel=True)
def _swap_costs(X, weights, candidate, far, closest, nearest, second, costs, parallel):
    """costs[t, k] = task t's part of the potential with the candidate as one more centre; costs[t, j] = what
    leaving out centre j then adds to it.

    FLOPs: at most 3 n d. Bytes: X, closest, nearest, second and weights once.
    """
    tasks = costs.shape[0]
    if parallel:
        for t in prange(tasks):
            _task_swap(X, weights, candidate, far, closest, nearest, second, costs, np.int64(t))
    else:
        for t in range(tasks):
            _task_swap(X, weights, candidate, far, closest, nearest, second, costs, t)


@jit
def _pick(weights, closest, potentials, targets, picked):
    """picked[c] = first row at which the running sum of the potential reaches targets[c]."""
    n = weights.shape[0]
    for c in range(targets.shape[0]):
        t, below = 0, 0.0
        while t < potentials.shape[0] - 1 and below + potentials[t] < targets[c]:
            below += potentials[t]
            t += 1
        i = t * _ROWS
        below += np.float64(weights[i]) * np.float64(closest[i])
        while below < targets[c] and i < n - 1:
            i += 1
            below += np.float64(weights[i]) * np.float64(closest[i])
        picked[c] = i


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
        self.n_tasks = (n + _ROWS - 1) // _ROWS
        # Squared distances and indices; without a centre everything is infinitely far from centre 0.
        self.closest, self.second = np.full(n, np.inf, X.dtype), np.full(n, np.inf, X.dtype)
        self.nearest, self.next_nearest = np.zeros(n, np.int32), np.zeros(n, np.int32)
        self.work = 3.0 * n * X.shape[1]

    def plus_plus(self, n_clusters: int) -> None:
        """Greedy k-means++: each new centre is the best of 2 + log(k) rows drawn by weight times distance.

        The random numbers are drawn as scikit-learn's ``kmeans_plusplus`` draws them, so that the same
        `random_state` gives the same rows, rounding aside.
        """
        X, n = self.X, self.X.shape[0]
        n_trials = 2 + int(np.log(n_clusters))
        self.centers = np.empty((n_clusters, X.shape[1]), X.dtype)
        potentials = np.empty((self.n_tasks, n_trials))
        far = np.zeros((n_trials, n_clusters), X.dtype)
        probability = self.weights.astype(np.float64)
        first = self.random_state.choice(n, p=probability / probability.sum())
        self.centers[0] = X[first]
        self._add(0, -1, far[0])
        current = self._own_potential()
        for j in range(1, n_clusters):
            candidates = X[self._draw(n_trials, current)]
            far[:, :j] = self._quarter_distances(candidates, self.centers[:j])
            parts = self._potential(candidates, far, potentials)
            best = int(parts.sum(axis=0).argmin())
            self.centers[j] = candidates[best]
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
                _swap_costs(
                    self.X, self.weights, candidate, far,
                    self.closest, self.nearest, self.second, costs, parallel,
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
        _pick(self.weights, self.closest, potential, targets, picked)
        return picked

    def _quarter_distances(self, candidates: np.ndarray, centers: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            squares = (candidates[:, None, :] - centers[None, :, :]) ** 2
        # A hair below the exact bound, so that rounding never discards a row that is nearer.
        return ((0.25 - 1e-5) * squares.sum(axis=2)).astype(self.X.dtype)

    def _potential(self, candidates: np.ndarray, far: np.ndarray, out: np.ndarray) -> np.ndarray:
        with threads_for(self.work) as parallel:
            _potentials(self.X, self.weights, candidates, far, self.closest, self.nearest, out, parallel)
        return out

    def _add(self, j: int, removed: int, far: np.ndarray) -> None:
        with threads_for(self.work) as parallel:
            _add_center(
                self.X, self.centers, j, removed, far,
                self.closest, self.nearest, self.second, self.next_nearest, parallel,
            )  # fmt: skip


def kmeans_plusplus(
    X: np.ndarray, n_clusters: int, weights: np.ndarray, random_state: np.random.RandomState
) -> np.ndarray:
    """Greedy k-means++ and a local search.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        C-contiguous.
    n_clusters : int
        At most n_samples.
    weights : ndarray of shape (n_samples,)
        Not negative and not all zero.
    random_state : RandomState
        Drawn from.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
    """
    seeding = Seeding(X, weights, random_state)
    seeding.plus_plus(n_clusters)
    seeding.local_search(max(_MIN_SWAPS, n_clusters))
    return seeding.centers


def initial_centers(
    init: str | np.ndarray | Callable[..., Any],
    X: np.ndarray,
    n_clusters: int,
    weights: np.ndarray | None,
    random_state: np.random.RandomState,
) -> np.ndarray:
    """A new array of initial centres.

    Parameters
    ----------
    init : {"k-means++", "random"}, ndarray or callable
        As in ``GradKMeans``; an array has been checked.
    X : ndarray of shape (n_samples, n_features)
        C-contiguous; n_samples >= n_clusters.
    n_clusters : int
        Number of centres.
    weights : ndarray of shape (n_samples,) or None
        None stands for ones.
    random_state : RandomState
        Drawn from.

    Returns
    -------
    centers : ndarray of shape (n_clusters, n_features)
        For a callable what it returned, unchecked.
    """
    n = X.shape[0]
    if isinstance(init, np.ndarray):
        return init.astype(X.dtype, order="C", copy=True)
    if callable(init):
        return init(X, n_clusters, random_state=random_state)
    if init == "random":
        p = None if weights is None else weights / weights.sum(dtype=np.float64)
        if p is not None and np.count_nonzero(p) < n_clusters:
            # choice refuses to draw more rows than have a weight; the rest come from those without.
            p = p + np.finfo(np.float64).tiny
            p /= p.sum()
        return np.ascontiguousarray(X[random_state.choice(n, n_clusters, replace=False, p=p)])
    size = max(_SAMPLE, _SAMPLE_PER_CLUSTER * n_clusters)
    if n <= size:
        return kmeans_plusplus(
            X, n_clusters, np.ones(n, X.dtype) if weights is None else weights, random_state
        )
    if weights is None:
        rows = random_state.randint(0, n, size)
    else:
        rows = random_state.choice(n, size, p=weights / weights.sum(dtype=np.float64))
    rows.sort()  # read in order of address; the sample is the same
    return kmeans_plusplus(X[rows], n_clusters, np.ones(size, X.dtype), random_state)


def farthest_rows(X: np.ndarray, centers: np.ndarray, weights: np.ndarray | None, count: int) -> np.ndarray:
    """Rows for `count` new centres: each the farthest from all centres and from the rows before it.

    Deterministic: of equals the lowest index. Fewer are returned when every row has a centre on it.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
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
    _, distances = assign(X, centers)
    if weights is not None:
        distances[weights == 0] = 0
    rows: list[int] = []
    while len(rows) < count:
        row = int(distances.argmax())
        if not distances[row] > 0:
            break
        rows.append(row)
        np.minimum(distances, assign(X, X[row : row + 1])[1], out=distances)
    return np.array(rows, dtype=np.intp)
