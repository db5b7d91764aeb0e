"""k-means++ and local search: what each row knows of the centres chosen so far, over tasks of rows.

Every row keeps the two centres nearest to it, with their squared distances; most rows are decided by the
triangle inequality, without reading their features.
"""

import numpy as np
from numba import prange
from numba.extending import register_jitable

from fastnn.kernels._jit import jit, parallel_jit
from fastnn.kernels.cpu.distances import squared_distance

# Rows per task. Each has a partial potential, among which the next candidates are looked up.
TASK_ROWS = 2048


def seeding_tasks(n: int) -> int:
    """Number of tasks that `n` rows are cut into."""
    return -(-n // TASK_ROWS)


@register_jitable
def _task_potentials(t, X, weights, candidates, far, closest, nearest, potentials):
    potentials[t] = 0
    for i in range(t * TASK_ROWS, min(X.shape[0], (t + 1) * TASK_ROWS)):
        for c in range(candidates.shape[0]):
            distance = closest[i]
            if far[c, nearest[i]] < distance:
                distance = min(distance, squared_distance(X[i], candidates[c]))
            potentials[t, c] += np.float64(weights[i]) * np.float64(distance)


@parallel_jit
def potentials_with(X, weights, candidates, far, closest, nearest, potentials):
    """potentials[t, c] = weighted sum over task t's rows of the distance to the nearest centre, were
    candidate c one of them.

    far : IN (n_candidates, n_centers), a quarter of the squared distance between candidate and centre. A row
    closer than half that distance to its centre cannot be nearer to the candidate (triangle inequality), so
    most rows are decided without looking at them once there are many centres.
    FLOPs: at most 3 n d n_candidates. Bytes: X, closest, nearest and weights once.
    """
    tasks = potentials.shape[0]
    for t in prange(tasks):
        _task_potentials(np.int64(t), X, weights, candidates, far, closest, nearest, potentials)


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
def _task_add(t, X, centers, j, removed, far, closest, nearest, second, next_nearest):
    for i in range(t * TASK_ROWS, min(X.shape[0], (t + 1) * TASK_ROWS)):
        if removed >= 0 and (nearest[i] == removed or next_nearest[i] == removed):
            closest[i] = np.inf
            second[i] = np.inf
            nearest[i] = 0
            for c in range(centers.shape[0]):
                _offer(X, i, centers, c, closest, nearest, second, next_nearest)
        elif far[nearest[i]] < second[i]:
            _offer(X, i, centers, j, closest, nearest, second, next_nearest)


@parallel_jit
def add_center(X, centers, j, removed, far, closest, nearest, second, next_nearest):
    """Make centre j one of those that each row's two nearest are about, in place of centre `removed`.

    removed : IN, j if centre j has replaced another one, -1 if it is new.
    """
    tasks = (X.shape[0] + TASK_ROWS - 1) // TASK_ROWS
    for t in prange(tasks):
        _task_add(np.int64(t), X, centers, j, removed, far, closest, nearest, second, next_nearest)


@register_jitable
def _task_swap(t, X, weights, candidate, far, closest, nearest, second, costs):
    k = far.shape[0]
    costs[t] = 0
    for i in range(t * TASK_ROWS, min(X.shape[0], (t + 1) * TASK_ROWS)):
        j = nearest[i]
        with_nearest, without = closest[i], second[i]
        if far[j] < without:
            distance = squared_distance(X[i], candidate[0])
            with_nearest, without = min(with_nearest, distance), min(without, distance)
        w = np.float64(weights[i])
        costs[t, k] += w * np.float64(with_nearest)
        costs[t, j] += w * (np.float64(without) - np.float64(with_nearest))


@parallel_jit
def swap_costs(X, weights, candidate, far, closest, nearest, second, costs):
    """costs[t, k] = task t's part of the potential with the candidate as one more centre; costs[t, j] = what
    leaving out centre j then adds to it.

    FLOPs: at most 3 n d. Bytes: X, closest, nearest, second and weights once.
    """
    tasks = costs.shape[0]
    for t in prange(tasks):
        _task_swap(np.int64(t), X, weights, candidate, far, closest, nearest, second, costs)


@jit
def pick_rows(weights, closest, potentials, targets, picked):
    """picked[c] = first row at which the running sum of the potential reaches targets[c]."""
    n = weights.shape[0]
    for c in range(targets.shape[0]):
        t, below = 0, 0.0
        while t < potentials.shape[0] - 1 and below + potentials[t] < targets[c]:
            below += potentials[t]
            t += 1
        i = t * TASK_ROWS
        below += np.float64(weights[i]) * np.float64(closest[i])
        while below < targets[c] and i < n - 1:
            i += 1
            below += np.float64(weights[i]) * np.float64(closest[i])
        picked[c] = i
