"""How far the centres have moved, for the bounds that rows have on their distances to them (``bounded``).

With hundreds of clusters one of them nearly always moves, far from most rows. So every centre has some of
its nearest ones as neighbours: a row's lower bound falls with the movement of these only; all others are at
least as far away as the nearest of them is from the row's own centre, less the row's distance to that.

References
----------
Ryšavý and Hamerly, "Geometric methods to accelerate k-means algorithms", SDM 2016.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from fastnn.kernels.compiler.jit import parallel_jit
from fastnn.kernels.cpu.clustering.buffers import thread_buffers
from fastnn.kernels.cpu.clustering.pairs import distances_of_rows
from fastnn.kernels.shared.value_types import Reals
from fastnn.kernels.simd.tile import PAIR_ROWS
from fastnn.tables.jitable import register_jitable

# The least distance of each of 16 groups of centres, in order: below the one of this rank are about 22.
_GROUPS, _RANK = 16, 12
_NEIGHBORS = 22
# What a bound may lose or gain by rounding in an iteration, in eps.
ROUNDING = 4


@register_jitable
def distance_margin(C):
    """Relative error of a distance between rows like those of C: more than any order of its sum can give."""
    return (C.shape[1] + 8) * np.finfo(C.dtype).eps


class Movement(NamedTuple):
    """What ``center_movement`` finds, (k,) of the centres' dtype each, rounded to the safe side."""

    moved: Reals  # |c_j - before|
    others_moved: Reals  # the largest of `moved` among all other centres
    near_moved: Reals  # the same among the neighbours
    far: Reals  # distance to the nearest centre that is no neighbour; infinite if there is none


@register_jitable
def _movements(C, before, moved, others_moved):
    """The first two of a ``Movement``."""
    k, d = C.shape
    eps = np.finfo(C.dtype).eps
    farthest, next_farthest = moved.dtype.type(0), moved.dtype.type(0)
    for j in range(k):
        total = 0.0
        for f in range(d):
            difference = np.float64(C[j, f]) - np.float64(before[j, f])
            total += difference * difference
        moved[j] = np.sqrt(total) * (1.0 + ROUNDING * eps)
        if moved[j] > farthest:
            farthest, next_farthest = moved[j], farthest
        else:
            next_farthest = max(next_farthest, moved[j])
    for j in range(k):
        others_moved[j] = next_farthest if moved[j] == farthest else farthest


@register_jitable
def _limit(distances, minima):
    """What about _NEIGHBORS of the distances are below. minima : WORK (_GROUPS,).

    Of the least ones of some groups, a middle one: to select the n-th of all takes ten times as long.
    """
    k = distances.size
    if k <= _NEIGHBORS:
        return np.inf
    for g in range(_GROUPS):
        least = distances[k * g // _GROUPS]
        for c in range(k * g // _GROUPS + 1, k * (g + 1) // _GROUPS):
            least = min(least, distances[c])
        # Into its place among those before it.
        place = g
        while place > 0 and minima[place - 1] > least:
            minima[place] = minima[place - 1]
            place -= 1
        minima[place] = least
    return minima[_RANK]


@register_jitable
def _neighborhoods(first, rows, C, distances, minima, moved, near_moved, far):
    """The rest of a ``Movement``, for centres first : first + rows, PAIR_ROWS at most.

    distances, minima : WORK, (PAIR_ROWS * k,) and (_GROUPS,).
    """
    k = C.shape[0]
    distances_of_rows(C, first, rows, C, distances)
    shrink = 1.0 - distance_margin(C)  # below the exact distance
    for i in range(rows):
        own = distances[i * k : (i + 1) * k]
        own[first + i] = np.inf
        limit = _limit(own, minima)
        near, nearest_far = moved.dtype.type(0), moved.dtype.type(np.inf)
        for c in range(k):
            if own[c] < limit:
                near = max(near, moved[c])
            elif c != first + i:
                nearest_far = min(nearest_far, own[c])
        near_moved[first + i] = near
        far[first + i] = np.sqrt(np.float64(nearest_far)) * shrink


@parallel_jit
def center_movement(n_workers, C, before, movement):
    """How far each centre has moved, how far the others have, and how near those are.

    n_workers : threads.
    C, before : IN (k, d). movement : OUT.
    FLOPs: 3 d k^2.
    """
    k = C.shape[0]
    _movements(C, before, movement.moved, movement.others_moved)
    distances, minima = thread_buffers(n_workers, PAIR_ROWS * k, C), thread_buffers(n_workers, _GROUPS, C)
    groups = (k + PAIR_ROWS - 1) // PAIR_ROWS
    for w in prange(n_workers):
        for group in range(w * groups // n_workers, (w + 1) * groups // n_workers):
            first = np.int64(group * PAIR_ROWS)
            _neighborhoods(
                first, min(PAIR_ROWS, k - first), C, distances[w], minima[w], movement.moved,
                movement.near_moved, movement.far,
            )  # fmt: skip
