"""The nearest centre of every row, with no distance matrix: plain arithmetic in the dtype of the data.

Of |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x.c) only the bracket depends on the centre. A block has the rows of a
tile (``tile``) and goes through the centres, a tile's columns at a time. A thread has the products of some
rows with some centres in registers, and folds the brackets into the running minima of its rows::

                     centres, a tile's columns at a time
                      +--------------------------+
                 d    |                          |
                      +--------------------------+
         +--------+   +--------------------------+       a thread's least bracket of each of its rows;
    rows |   X    |   |     |c|^2 / 2 - x.c      |  ->   at the end the least of the SIDE threads
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
from fastnn.kernels.cuda.compat import ALIGNMENT, block_threads, cuda, device_function, kernel
from fastnn.kernels.cuda.distances import squared_distance
from fastnn.kernels.cuda.memory import Scratch, blocks
from fastnn.kernels.cuda.tile import (
    SIDE,
    THREADS,
    Tile,
    count_tiles,
    element,
    own_place,
    product,
    shared_shapes,
    tile_for,
    tile_kernel,
)

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
def nearest_kernel(tile: Tile, real: Any) -> Any:
    """labels[i] = argmin_j |x_i - c_j|^2, and that distance; `blur` as in ``_brackets``.

    `x` and `c` are X and the shifted centres as flat arrays.
    """
    n_rows, n_columns = tile.rows, tile.columns
    block_rows, block_columns = SIDE * n_rows, SIDE * n_columns
    x_shape, c_shape = shared_shapes(tile, real)
    best_shape, dots_shape = (SIDE, block_rows), (n_rows, n_columns)
    add_up, place = product(tile, real, turn_b=True, shifted=True), element(tile.group)

    @tile_kernel
    def nearest(X, C, x, c, shift, starts, blur, labels, distances):
        x_tile = cuda.shared.array(x_shape, real, alignment=ALIGNMENT)
        c_tile = cuda.shared.array(c_shape, real, alignment=ALIGNMENT)
        best = cuda.shared.array(best_shape, real)
        winner = cuda.shared.array(best_shape, types.int32)
        dots = cuda.local.array(dots_shape, real)
        least = cuda.local.array(n_rows, real)
        own = cuda.local.array(n_rows, types.int32)
        along, down = own_place()
        n, d, k = X.shape[0], X.shape[1], C.shape[0]
        first = cuda.blockIdx.x * block_rows
        for i in range(n_rows):
            least[i], own[i] = real(np.inf), 0
        for start in range(0, k, block_columns):
            add_up(first, start, n, k, d, x, 0, d, c, 0, d, shift, x_tile, c_tile, dots)
            for j in range(n_columns):
                center = start + place(along, j)
                if center < k:
                    for i in range(n_rows):
                        bracket = starts[center] - dots[i, j]
                        if bracket < least[i]:
                            least[i], own[i] = bracket, center
        for i in range(n_rows):
            at = place(down, i)
            best[along, at], winner[along, at] = least[i], own[i]
        cuda.syncthreads()
        for at in range(cuda.threadIdx.x, min(block_rows, n - first), THREADS):
            row = first + at
            bracket, label = best[0, at], winner[0, at]
            for t in range(1, SIDE):
                # Of equal ones the lowest index: a thread's centres are not in order of the threads.
                if best[t, at] < bracket or (best[t, at] == bracket and winner[t, at] < label):
                    bracket, label = best[t, at], winner[t, at]
            distance = squared_distance(X, row, C, label)
            if not _certain(distance, bracket, blur):
                label, distance = nearest_directly(X, row, C)
            labels[row], distances[row] = label, distance

    return nearest


def nearest_rows(X: Any, C: Any, labels: Any, distances: Any, scratch: Scratch | None = None) -> None:
    """Nearest centre of every row and the squared distance to it; device arrays of one dtype.

    scratch : work arrays to use again

    FLOPs: 2 n k d. Bytes: X once for each tile's columns of centres, from the second-level cache but for the
    first.
    """
    (n, d), k = X.shape, C.shape[0]
    dtype = np.dtype(X.dtype)
    if not n:
        return
    work = scratch or Scratch()
    usable, starts = work.array("usable", k, np.int32), work.array("starts", k, dtype)
    shift, shifted = work.array("shift", max(d, 1), dtype), work.array("shifted", (k, d), dtype)
    find_usable[blocks(k, _THREADS), _THREADS](C, usable)
    find_shift[blocks(max(d, 1), _THREADS), _THREADS](C, usable, shift)
    shift_centers[blocks(k, _THREADS), _THREADS](C, usable, shift, shifted, starts)
    blur = dtype.type((BLUR + d) * np.finfo(dtype).eps)
    # A block goes through all centres, so the rows alone make the blocks.
    tile = tile_for(n, 1, dtype.itemsize)
    nearest_kernel(tile, from_dtype(dtype))[count_tiles(tile, n, 1), THREADS](
        X, C, X.reshape(X.size), shifted.reshape(shifted.size), shift, starts, blur, labels, distances
    )
