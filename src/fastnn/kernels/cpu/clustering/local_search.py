"""Local search after k-means++: what each row knows of the two centres nearest to it, over tasks of rows.

Most rows are decided by the triangle inequality, without reading their features.
"""

import numpy as np
from numba import prange

from fastnn.kernels.compiler.jit import parallel_jit
from fastnn.kernels.cpu.clustering.distances import squared_distance
from fastnn.tables.jitable import register_jitable

# Rows per task. Each has a cost for every centre: 131,072 numbers at 4096 centres and 65,536 rows.
_ROWS = 2048


def swap_tasks(n: int) -> int:
    """Number of tasks that `n` rows are cut into."""
    return -(-n // _ROWS)


@register_jitable
def _offer(X, i, centers, j, closest, nearest, second, next_nearest):
    """Centre j becomes one of the two that row i knows, if it is near enough."""
    distance = squared_distance(X[i], centers[j])
    if distance < closest[i]:
        second[i] = closest[i]
        next_nearest[i] = nearest[i]
        closest[i] = distance
        nearest[i] = j
    elif distance < second[i]:
        second[i] = distance
        next_nearest[i] = j


@register_jitable
def _task_place(t, X, centers, j, far, closest, nearest, second, next_nearest):
    for i in range(t * _ROWS, min(X.shape[0], (t + 1) * _ROWS)):
        first, last = j, j + 1
        if j < 0 or nearest[i] == j or next_nearest[i] == j:
            first, last = 0, centers.shape[0]
            closest[i] = np.inf
            second[i] = np.inf
            nearest[i] = 0
            next_nearest[i] = 0
        elif not far[nearest[i]] < second[i]:
            continue
        for c in range(first, last):
            _offer(X, i, centers, c, closest, nearest, second, next_nearest)


@parallel_jit
def place_center(X, centers, j, far, closest, nearest, second, next_nearest):
    """Centre j has moved elsewhere: the rows that knew it look at all, for the others the new place is news.

    j : -1 for rows that know none yet: all look at all.
    far : IN (k,), a quarter of the squared distance from its new place to each centre. Where half
    the distance from a row's nearest centre is more than the row's to its second one, the new place is none
    of its two (triangle inequality).
    closest, nearest, second, next_nearest : IN/OUT (n,), the two centres nearest to every row, and how far
    they are, squared.
    """
    tasks = (X.shape[0] + _ROWS - 1) // _ROWS
    for t in prange(tasks):
        _task_place(np.int64(t), X, centers, j, far, closest, nearest, second, next_nearest)


@register_jitable
def _task_swap(t, X, weights, candidate, far, closest, nearest, second, costs):
    k = far.shape[0]
    costs[t] = 0
    for i in range(t * _ROWS, min(X.shape[0], (t + 1) * _ROWS)):
        j = nearest[i]
        with_nearest, without = closest[i], second[i]
        if far[j] < without:
            distance = squared_distance(X[i], candidate[0])
            with_nearest, without = min(with_nearest, distance), min(without, distance)
        w = np.float64(weights[i]) if weights.size > 0 else 1.0
        costs[t, k] += w * np.float64(with_nearest)
        costs[t, j] += w * (np.float64(without) - np.float64(with_nearest))


@parallel_jit
def swap_costs(X, weights, candidate, far, closest, nearest, second, costs):
    """costs[t, k] = task t's part of the potential with the candidate as one more centre; costs[t, j] = what
    leaving out centre j then adds to it.

    far : as in ``place_center``.
    FLOPs: at most 3 n d. Bytes: X, closest, nearest, second and weights once.
    """
    tasks = costs.shape[0]
    for t in prange(tasks):
        _task_swap(np.int64(t), X, weights, candidate, far, closest, nearest, second, costs)
