"""Initial centres for k-means: greedy k-means++, random rows, and what to do with centres that lost all rows.

References
----------
Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007; its section 5 suggests
the greedy choice among several candidates, here 2 + log(k) as in scikit-learn.
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
def _task_add(X, centers, j, far, closest, nearest, t):
    for i in range(t * _ROWS, min(X.shape[0], (t + 1) * _ROWS)):
        if j == 0 or far[nearest[i]] < closest[i]:
            distance = _squared_distance(X, i, centers, j)
            if j == 0 or distance < closest[i]:
                closest[i] = distance
                nearest[i] = j


@jit(parallel=True)
def _add_center(X, centers, j, far, closest, nearest, parallel):
    """Make centre j one of those that `closest` and `nearest` are about."""
    tasks = (X.shape[0] + _ROWS - 1) // _ROWS
    if parallel:
        for t in prange(tasks):
            _task_add(X, centers, j, far, closest, nearest, np.int64(t))
    else:
        for t in range(tasks):
            _task_add(X, centers, j, far, closest, nearest, t)


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


def kmeans_plusplus(
    X: np.ndarray, n_clusters: int, weights: np.ndarray, random_state: np.random.RandomState
) -> np.ndarray:
    """Greedy k-means++: each new centre is the best of 2 + log(k) rows drawn by weight times distance.

    The random numbers are drawn as scikit-learn's ``kmeans_plusplus`` draws them, so that the same
    `random_state` gives the same rows, rounding aside.

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
    n, d = X.shape
    n_trials = 2 + int(np.log(n_clusters))
    centers = np.empty((n_clusters, d), X.dtype)
    closest, nearest = np.empty(n, X.dtype), np.zeros(n, np.int32)
    potentials = np.empty(((n + _ROWS - 1) // _ROWS, n_trials))
    picked = np.empty(n_trials, np.int64)
    far = np.zeros((n_trials, n_clusters), X.dtype)

    probability = weights.astype(np.float64)
    centers[0] = X[random_state.choice(n, p=probability / probability.sum())]
    with threads_for(3.0 * n * d) as parallel:
        _add_center(X, centers, 0, far[0], closest, nearest, parallel)
        _potentials(X, weights, centers[:1], far[:1], closest, nearest, potentials[:, :1], parallel)
    current = potentials[:, 0].copy()
    for j in range(1, n_clusters):
        _pick(weights, closest, current, random_state.uniform(size=n_trials) * current.sum(), picked)
        candidates = X[picked]
        # A hair below the exact bound, so that rounding never discards a row that is nearer.
        with np.errstate(over="ignore", invalid="ignore"):
            far[:, :j] = (0.25 - 1e-5) * ((candidates[:, None, :] - centers[None, :j, :]) ** 2).sum(axis=2)
        with threads_for(3.0 * n * d) as parallel:
            _potentials(X, weights, candidates, far, closest, nearest, potentials, parallel)
            best = int(potentials.sum(axis=0).argmin())
            centers[j] = candidates[best]
            current = potentials[:, best].copy()
            _add_center(X, centers, j, far[best], closest, nearest, parallel)
    return centers


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
