"""The nearest centre of every row, with no distance matrix: plain arithmetic in the dtype of the data.

Of |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x.c) only the bracket depends on the centre. A block has the rows of a
tile (``tile``) and goes through the centres, a tile's columns at a time. A thread has the products of some
rows with some centres in registers, and folds the brackets into the running minima of its rows::

                     centres, a tile's columns at a time
                      +--------------------------+
                 d    |                          |
                      +--------------------------+
         +--------+   +--------------------------+       a thread's least bracket of each of its rows;
    rows |   X    |   |     |c|^2 / 2 - x.c      |  ->   at the end the least of the threads
         +--------+   +--------------------------+       that share a row
             d

The bracket cancels where points lie far from the origin. So rows and centres are both taken from the mean of
the centres first, and the distance that is reported is computed afresh as sum((x - c)^2). Where it is so
small that the bracket's rounding may have chosen the centre, all centres are compared afresh
(``is_certain``). Few centres of few features are compared so throughout (``is_small``).
"""

from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype, types

from fastnn.kernels.cuda.clustering.distances import squared_distance
from fastnn.kernels.cuda.clustering.nearest_tf32 import nearest_tf32
from fastnn.kernels.cuda.runtime.compat import (
    ALIGNMENT,
    block_threads,
    cuda,
    device_function,
    kernel,
    multiprocessors,
)
from fastnn.kernels.cuda.runtime.memory import Scratch, blocks_per_grid
from fastnn.kernels.cuda.tiles.tensor_cores import multiplies_tf32
from fastnn.kernels.cuda.tiles.tile import count_tiles, places, product, shared_lengths, tile_for, tile_kernel
from fastnn.kernels.cuda.tiles.tile_shape import Factor, ProductTiles, Tile
from fastnn.kernels.shared.brackets import BLUR, is_certain, is_small

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


@kernel
def nearest_of_few(X, C, labels, distances):
    """labels[i] = argmin_j |x_i - c_j|^2, and that distance, by the direct form. A thread has a row."""
    i = cuda.grid(1)
    if i < X.shape[0]:
        labels[i], distances[i] = nearest_directly(X, i, C)


@cache
def nearest_kernel(tile: Tile, real: Any, *, listed: bool = False) -> Any:
    """labels[i] = argmin_j |x_i - c_j|^2, and that distance; `blur` as in ``brackets``.

    `x` and `c` are X and the shifted centres as flat arrays. If `listed`, of the rows rows[0] to
    rows[count[0] - 1] only.
    """
    n_rows, n_columns, side, threads = tile.rows, tile.columns, tile.side, tile.threads
    height, width = tile.height, tile.width
    x_length, c_length = shared_lengths(tile, real)
    best_shape, dots_shape = (height, side + 1), (n_rows, n_columns)
    add_up = product(tile, real, turn_b=True, shifted=True, listed=listed)
    origin, own_row, own_column, own_along = places(tile)

    @tile_kernel(tile)
    def nearest(X, C, x, c, shift, starts, blur, rows, count, labels, distances):
        x_tile = cuda.shared.array(x_length, real, alignment=ALIGNMENT)
        c_tile = cuda.shared.array(c_length, real, alignment=ALIGNMENT)
        best = cuda.shared.array(best_shape, real)
        winner = cuda.shared.array(best_shape, types.int32)
        dots = cuda.local.array(dots_shape, real)
        tiles = ProductTiles(x_tile, c_tile, dots)
        first_row, first_column = origin()
        along = own_along()
        d, k = X.shape[1], C.shape[0]
        n = count[0] if listed else X.shape[0]
        for first in range(cuda.blockIdx.x * height, n, cuda.gridDim.x * height):
            for i in range(n_rows):
                at = first_row + own_row(i)
                best[at, along], winner[at, along] = real(np.inf), 0
            for start in range(0, k, width):
                add_up(first, start, n, k, d, Factor(x, 0, d), Factor(c, 0, d), shift, rows, tiles)
                for i in range(n_rows):
                    at = first_row + own_row(i)
                    least, own = best[at, along], winner[at, along]
                    for j in range(n_columns):
                        center = start + first_column + own_column(j)
                        if center < k:
                            bracket = starts[np.uint64(center)] - dots[i, j]
                            if bracket < least:
                                least, own = bracket, center
                    best[at, along], winner[at, along] = least, own
            cuda.syncthreads()
            for at in range(cuda.threadIdx.x, min(height, n - first), threads):
                row = rows[first + at] if listed else first + at
                bracket, label = best[at, 0], winner[at, 0]
                for t in range(1, side):
                    # Of equal ones the lowest index: a thread's centres are not in order of the threads.
                    if best[at, t] < bracket or (best[at, t] == bracket and winner[at, t] < label):
                        bracket, label = best[at, t], winner[at, t]
                distance = squared_distance(X, row, C, label)
                if not _certain(distance, bracket, blur):
                    label, distance = nearest_directly(X, row, C)
                labels[row], distances[row] = label, distance
            if listed:
                cuda.syncthreads()  # before the next rows' minima

    return nearest


def nearest_rows(
    X: Any, C: Any, labels: Any, distances: Any, scratch: Scratch | None = None, precision: str | None = None
) -> None:
    """Nearest centre of every row and the squared distance to it; device arrays of one dtype.

    scratch : work arrays to use again
    precision : "tf32" to multiply float32 on tensor cores; the labels are as exact (``nearest_tf32``)

    FLOPs: 2 n k d. Bytes: X once for each tile's columns of centres, from the second-level cache but for the
    first.
    """
    (n, d), k = X.shape, C.shape[0]
    dtype = np.dtype(X.dtype)
    if not n:
        return
    if is_small(k, d):
        nearest_of_few[blocks_per_grid(n, _THREADS), _THREADS](X, C, labels, distances)
        return
    scratch = scratch or Scratch()
    usable, starts = scratch.array("usable", k, np.int32), scratch.array("starts", k, dtype)
    shift, shifted = scratch.array("shift", max(d, 1), dtype), scratch.array("shifted", (k, d), dtype)
    find_usable[blocks_per_grid(k, _THREADS), _THREADS](C, usable)
    find_shift[blocks_per_grid(max(d, 1), _THREADS), _THREADS](C, usable, shift)
    shift_centers[blocks_per_grid(k, _THREADS), _THREADS](C, usable, shift, shifted, starts)
    real, blur = from_dtype(dtype), dtype.type((BLUR + d) * np.finfo(dtype).eps)
    flat = X.reshape(X.size), shifted.reshape(shifted.size)
    # A block goes through all centres, so the rows alone make the blocks.
    tile = tile_for(n, 1, dtype.itemsize)
    tiles = count_tiles(tile, n, 1)
    # The list counts in int32.
    if multiplies_tf32(precision, dtype) and n <= np.iinfo(np.int32).max:
        rows, count = nearest_tf32(X, C, *flat, usable, shift, starts, labels, distances, scratch)
        tiles = min(tiles, 2 * multiprocessors())  # which are enough to go through a list of any length
        kernel_of = nearest_kernel(tile, real, listed=True)
    else:
        rows = count = usable  # which stand in for a list
        kernel_of = nearest_kernel(tile, real)
    kernel_of[tiles, tile.threads](X, C, *flat, shift, starts, blur, rows, count, labels, distances)
