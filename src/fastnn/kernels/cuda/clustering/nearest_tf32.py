"""The nearest centre of every row by tensor cores, of the rows where TF32 can tell; and a list of the others.

The brackets of ``nearest`` from products with factors rounded to TF32 are wrong by a share of |x| |c|. So a
thread keeps its two least, and where the two least of a row are farther apart than their errors can be, the
lesser one's centre is the nearest. The other rows, few unless clusters overlap much, go through the plain
tiles afterwards: all labels are as exact as without tensor cores.

The error of a bracket |c|^2 / 2 - x.c, for x of length |x| and centres of lengths up to `reach`, is at most::

    |x| reach (2 u + u^2)    u = TF32_ROUNDING, of both factors
    |x| reach d 2^-22        the sum, in d / 8 steps of 9 numbers: see _STEP
    reach^2 (d + 4) eps      |c|^2 / 2 in float32
    d tiny                   what is too small for float32's exponents

as the sum of |x_f c_f| is at most |x| |c|. (2 u + u^2 is more by 2^-21 than what two factors rounded by
u / (1 + u), to the nearest, can do: that is for the rounding of x - shift and c - shift and of the last
subtraction.) How tensor cores round their sums is not specified. _STEP supposes that they lose no more than
the last place of the largest number for each of the nine, which is what has been seen of them.

References
----------
Fasi, Higham, Mikaitis and Pranesh, "Numerical behavior of NVIDIA tensor cores", PeerJ Computer Science 7,
2021: products are exact, and of the numbers of a step what lies below the largest's last places is cut off.
"""

import math
from functools import cache
from typing import Any, NamedTuple

import numpy as np
from numba import types

from fastnn.kernels.cuda.reduction import THREADS, block_largest
from fastnn.kernels.cuda.runtime.compat import ALIGNMENT, cuda, kernel
from fastnn.kernels.cuda.runtime.memory import Scratch
from fastnn.kernels.cuda.tiles.tensor_cores import TF32_ROUNDING
from fastnn.kernels.cuda.tiles.tile import (
    count_tiles,
    places,
    product,
    shared_lengths,
    tile_for,
    tile_kernel,
)
from fastnn.kernels.cuda.tiles.tile_shape import Factor, ProductTiles, Tile
from fastnn.kernels.shared.value_types import Real

# Tensor cores cut off the ends of the 9 numbers that they add in a step of 8 of the depth: less than 9 units
# in the last place of the largest, or 1.2 * 2^-23 of |x| |c| for each of the depth. Here it is more.
_STEP = 2.0**-22


class ErrorBound(NamedTuple):
    """By how much a bracket may be wrong, at most: these three added up."""

    share: Real  # of |x| reach
    share_of_square: Real  # of reach^2
    least: Real


@kernel
def find_reach(usable, starts, reach, count):
    """reach[0] = length of the longest shifted centre; the list is begun anew. One block."""
    shared = cuda.shared.array(THREADS, types.float64)
    longest = 0.0
    for j in range(cuda.threadIdx.x, starts.shape[0], THREADS):
        if usable[j] == 1:
            longest = max(longest, np.float64(starts[j]))
    longest = block_largest(longest, shared)
    if cuda.threadIdx.x == 0:
        reach[0] = math.sqrt(2.0 * longest)
        count[0] = 0


@cache
def two_nearest_kernel(tile: Tile, real: Any) -> Any:
    """labels[i] and distances[i] as in ``nearest``, where the two least brackets tell; else rows[..] = i.

    `bound` is an ``ErrorBound``.
    """
    n_rows, n_columns, side, threads = tile.rows, tile.columns, tile.side, tile.threads
    height, width = tile.height, tile.width
    x_length, c_length = shared_lengths(tile, real)
    best_shape, dots_shape = (height, side + 1), (n_rows, n_columns)
    add_up = product(tile, real, turn_b=True, shifted=True)
    origin, own_row, own_column, own_along = places(tile)

    @tile_kernel(tile)
    def two_nearest(X, C, x, c, shift, starts, reach, bound, labels, distances, rows, count):
        x_tile = cuda.shared.array(x_length, real, alignment=ALIGNMENT)
        c_tile = cuda.shared.array(c_length, real, alignment=ALIGNMENT)
        best = cuda.shared.array(best_shape, real)
        runner_up = cuda.shared.array(best_shape, real)
        winner = cuda.shared.array(best_shape, types.int32)
        dots = cuda.local.array(dots_shape, real)
        tiles = ProductTiles(x_tile, c_tile, dots)
        first_row, first_column = origin()
        along = own_along()
        n, d, k = X.shape[0], X.shape[1], C.shape[0]
        first = cuda.blockIdx.x * height
        for i in range(n_rows):
            at = first_row + own_row(i)
            best[at, along], runner_up[at, along], winner[at, along] = real(np.inf), real(np.inf), 0
        for start in range(0, k, width):
            add_up(first, start, n, k, d, Factor(x, 0, d), Factor(c, 0, d), shift, x, tiles)
            for i in range(n_rows):
                at = first_row + own_row(i)
                least, second, own = best[at, along], runner_up[at, along], winner[at, along]
                for j in range(n_columns):
                    center = start + first_column + own_column(j)
                    if center < k:
                        bracket = starts[np.uint64(center)] - dots[i, j]
                        second = min(second, max(bracket, least))
                        if bracket < least:
                            least, own = bracket, center
                best[at, along], runner_up[at, along], winner[at, along] = least, second, own
        cuda.syncthreads()
        for at in range(cuda.threadIdx.x, min(height, n - first), threads):
            row = first + at
            bracket, next_one, label = best[at, 0], runner_up[at, 0], winner[at, 0]
            for t in range(1, side):
                next_one = min(min(next_one, runner_up[at, t]), max(bracket, best[at, t]))
                if best[at, t] < bracket:
                    bracket, label = best[at, t], winner[at, t]
            distance, squares = real(0), real(0)
            for f in range(d):
                value = X[row, f]
                difference, shifted = value - C[label, f], value - shift[f]
                distance += difference * difference
                squares += shifted * shifted
            error = (
                reach[0] * (bound.share * math.sqrt(squares) + bound.share_of_square * reach[0]) + bound.least
            )
            # False where one of them is not a number.
            if next_one - bracket > error + error and distance < np.inf:
                labels[row], distances[row] = label, distance
            else:
                rows[cuda.atomic.add(count, 0, 1)] = row

    return two_nearest


def nearest_tf32(
    X: Any, C: Any, x: Any, c: Any, usable: Any, shift: Any, starts: Any, labels: Any, distances: Any,
    scratch: Scratch,
) -> tuple[Any, Any]:  # fmt: skip
    """Labels and distances of the rows that TF32 can tell; which ones are left; device arrays of float32.

    Parameters
    ----------
    X, C : (n, d), (k, d)   # IN
    x, c : the rows, and the centres less `shift`, as flat arrays   # IN
    usable, shift, starts : as in ``nearest``   # IN
    labels, distances : (n,)   # OUT
    scratch : Scratch

    Returns
    -------
    rows : (n,) int32
        The rows that are left, in no order: each is a row of its own for what comes next.
    count : (1,) int32
        Their number.
    """
    n, d = X.shape
    real = types.float32
    reach, count = scratch.array("reach", 1, np.float32), scratch.array("count of the list", 1, np.int32)
    rows = scratch.array("list", n, np.int32)
    find_reach[1, THREADS](usable, starts, reach, count)
    bound = ErrorBound(
        np.float32((2.0 + TF32_ROUNDING) * TF32_ROUNDING + d * _STEP),
        np.float32((d + 4) * np.finfo(np.float32).eps),
        np.float32(d * np.finfo(np.float32).tiny),
    )
    tile = tile_for(n, 1, X.dtype.itemsize, tf32=True)
    two_nearest_kernel(tile, real)[count_tiles(tile, n, 1), tile.threads](
        X, C, x, c, shift, starts, reach, bound, labels, distances, rows, count
    )
    return rows, count
