"""The nearest centre of every row, with no distance matrix: plain arithmetic in the dtype of the data.

Of |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x.c) only the bracket depends on the centre. A block of TILE x TILE
threads has ROWS rows and goes through the centres, CENTERS at a time. A thread has the products of EACH rows
with EACH centres in registers, and folds the brackets into the running minima of its rows::

                       centres, CENTERS at a time
                      +--------------------------+
                 d    |                          |
                      +--------------------------+
         +--------+   +--------------------------+       a thread's least bracket of each of its rows;
    ROWS |   X    |   |     |c|^2 / 2 - x.c      |  ->   at the end the least of the TILE threads
         +--------+   +--------------------------+       that share a row
             d

The bracket cancels where points lie far from the origin. So rows and centres are both taken from the mean of
the centres first, and the distance that is reported is computed afresh as sum((x - c)^2). Where it is so
small that the bracket's rounding may have chosen the centre, all centres are compared afresh
(``is_certain``).
"""

from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, types

from fastnn.kernels._brackets import BLUR, is_certain
from fastnn.kernels.cuda.compat import block_side, block_threads, cuda, device_function, kernel
from fastnn.kernels.cuda.distances import squared_distance
from fastnn.kernels.cuda.memory import blocks

TILE = block_side(16)  # threads of a block along each side
EACH = 4  # rows, and centres, of one thread: two numbers read from shared memory make EACH / 2 products
ROWS = CENTERS = TILE * EACH
DEPTH = TILE  # features in shared memory at once
# Tiles in shared memory; by the one more, threads that write along a column meet different banks.
_X_SHAPE, _C_SHAPE = (DEPTH, ROWS + 1), (DEPTH, CENTERS + 1)
_BEST_SHAPE, _DOTS_SHAPE = (TILE, ROWS), (EACH, EACH)
_THREADS = block_threads(128)

_certain = device_function(is_certain)


@kernel
def find_usable(C, usable):
    """usable[j] = whether all of centre j is finite. A thread has a centre."""
    j = cuda.grid(1)
    if j < C.shape[0]:
        finite = 1
        for f in range(C.shape[1]):
            if not abs(C[j, f]) < np.inf:
                finite = 0
        usable[j] = finite


@kernel
def find_shift(C, usable, shift):
    """shift = mean of the usable centres. A thread has a feature."""
    f = cuda.grid(1)
    if f < C.shape[1]:
        total, count = 0.0, 0
        for j in range(C.shape[0]):
            if usable[j] == 1:
                total += C[j, f]
                count += 1
        shift[f] = total / max(count, 1)


@kernel
def shift_centers(C, usable, shift, shifted, starts):
    """shifted = C - shift; starts = |c - shift|^2 / 2, infinite for a centre that can not be the nearest."""
    j = cuda.grid(1)
    if j < C.shape[0]:
        total = 0.0
        for f in range(C.shape[1]):
            difference = C[j, f] - shift[f] if usable[j] == 1 else C.dtype.type(0)
            shifted[j, f] = difference
            total += difference * difference
        starts[j] = 0.5 * total if usable[j] == 1 else np.inf


@device_function
def nearest_directly(X, i, C):
    """The nearest centre of row i by the direct form, and its squared distance; 0 if none is finite."""
    nearest, least = 0, squared_distance(X, i, C, 0)
    for j in range(1, C.shape[0]):
        distance = squared_distance(X, i, C, j)
        if distance < least or (least != least and distance < np.inf):
            nearest, least = j, distance
    return nearest, least


@cache
def nearest_kernel(real: Any) -> Any:
    """labels[i] = argmin_j |x_i - c_j|^2, and that distance; `blur` as in ``_brackets``."""

    @kernel
    def nearest(X, C, shift, shifted, starts, blur, labels, distances):
        x_tile = cuda.shared.array(_X_SHAPE, real)
        c_tile = cuda.shared.array(_C_SHAPE, real)
        best = cuda.shared.array(_BEST_SHAPE, real)
        winner = cuda.shared.array(_BEST_SHAPE, types.int32)
        dots = cuda.local.array(_DOTS_SHAPE, real)
        least = cuda.local.array(EACH, real)
        own = cuda.local.array(EACH, types.int32)
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        n, d, k = X.shape[0], X.shape[1], C.shape[0]
        first = cuda.blockIdx.x * ROWS
        for i in range(EACH):
            least[i], own[i] = real(np.inf), 0
        for start in range(0, k, CENTERS):
            for i in range(EACH):
                for j in range(EACH):
                    dots[i, j] = real(0)
            for f in range(0, d, DEPTH):
                for i in range(EACH):
                    at = y + TILE * i
                    # Not `else 0`: of a float32 and an integer Numba makes a float64.
                    inside = first + at < n and f + x < d
                    x_tile[x, at] = X[first + at, f + x] - shift[f + x] if inside else real(0)
                    inside = start + at < k and f + x < d
                    c_tile[x, at] = shifted[start + at, f + x] if inside else real(0)
                cuda.syncthreads()
                for g in range(DEPTH):
                    for i in range(EACH):
                        a = x_tile[g, y + TILE * i]
                        for j in range(EACH):
                            dots[i, j] += a * c_tile[g, x + TILE * j]
                cuda.syncthreads()
            for j in range(EACH):
                center = start + x + TILE * j
                if center < k:
                    for i in range(EACH):
                        bracket = starts[center] - dots[i, j]
                        if bracket < least[i]:
                            least[i], own[i] = bracket, center
        for i in range(EACH):
            best[x, y + TILE * i], winner[x, y + TILE * i] = least[i], own[i]
        cuda.syncthreads()
        at = y * TILE + x
        row = first + at
        if at < ROWS and row < n:
            bracket, label = best[0, at], winner[0, at]
            for t in range(1, TILE):
                # Of equal ones the lowest index: a thread's centres are not in order of the threads.
                if best[t, at] < bracket or (best[t, at] == bracket and winner[t, at] < label):
                    bracket, label = best[t, at], winner[t, at]
            distance = squared_distance(X, row, C, label)
            if not _certain(distance, bracket, blur):
                label, distance = nearest_directly(X, row, C)
            labels[row], distances[row] = label, distance

    return nearest


def nearest_rows(X: Any, C: Any, labels: Any, distances: Any) -> None:
    """Nearest centre of every row and the squared distance to it; device arrays of one dtype.

    FLOPs: 2 n k d. Bytes: X once for every CENTERS centres, from the second-level cache but for the first.
    """
    (n, d), k = X.shape, C.shape[0]
    dtype = np.dtype(X.dtype)
    if not n:
        return
    usable, starts = cuda.device_array(k, np.int32), cuda.device_array(k, dtype)
    shift, shifted = cuda.device_array(max(d, 1), dtype), cuda.device_array(C.shape, dtype)
    find_usable[blocks(k, _THREADS), _THREADS](C, usable)
    find_shift[blocks(max(d, 1), _THREADS), _THREADS](C, usable, shift)
    shift_centers[blocks(k, _THREADS), _THREADS](C, usable, shift, shifted, starts)
    blur = dtype.type((BLUR + d) * np.finfo(dtype).eps)
    nearest_kernel(from_dtype(dtype))[blocks(n, ROWS), (TILE, TILE)](
        X, C, shift, shifted, starts, blur, labels, distances
    )
