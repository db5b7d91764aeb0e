"""Tiles multiplied by each thread's own multiplications and additions.

A thread's rows and columns are in groups of numbers that lie side by side in shared memory and come in one
load of 16 bytes. The groups of the threads along a side are side by side too, so that a load takes all banks
once.
"""

from functools import cache
from typing import Any

import numpy as np

from fastnn.kernels.cuda.runtime.compat import block_side, cuda, device_function
from fastnn.kernels.cuda.tiles.tile_shape import Places, Tile

SIDE = block_side(16)
_LOAD_BYTES = 16


def shape(rows: int, columns: int) -> Tile:
    """The tile of so many elements a thread."""
    return Tile(rows, columns, SIDE, tensor=False)


def _group(tile: Tile) -> int:
    """Numbers of a group: as many as the fewer of a thread's rows and columns, and one load at most."""
    return min(tile.rows, tile.columns)


@cache
def places(tile: Tile) -> Places:
    """Which elements of a tile a thread has."""
    side, group = tile.side, _group(tile)

    @device_function
    def origin():
        return cuda.threadIdx.x // side * group, cuda.threadIdx.x % side * group

    @device_function
    def step(i):
        return i // group * (side * group) + i % group

    @device_function
    def along():
        return cuda.threadIdx.x % side

    return Places(origin, step, step, along)


def _row_length(real: Any, length: int) -> int:
    """Longer by 16 bytes: threads that write along a column meet different banks, and a row still begins at a
    multiple of 16 bytes."""
    return length + _LOAD_BYTES * 8 // real.bitwidth


def shared_length(tile: Tile, real: Any, length: int, turned: bool) -> int:
    """Numbers in shared memory of a factor's tile, of `length` rows of A or columns of B."""
    return tile.side * _row_length(real, length)


@cache
def shared_place(tile: Tile, real: Any, length: int, *, turned: bool) -> Any:
    """The device function that says where in shared memory the number of row or column i at depth k is.

    As (depth, length), whichever way it lies in memory.
    """
    row = _row_length(real, length)

    @device_function
    def place(i, k):
        return np.uint64(k * row + i)

    return place


@device_function
def rounded(value):
    """A number as the tile in shared memory has it."""
    return value


@cache
def multiply(tile: Tile, real: Any, a_place: Any, b_place: Any) -> Any:
    """The device function that adds to the thread's elements their products over one step of the depth."""
    n_rows, n_columns, depth = tile.rows, tile.columns, tile.side
    origin, row, column, _ = places(tile)

    @device_function
    def add_products(a_tile, b_tile, dots):
        y, x = origin()
        for k in range(depth):
            for i in range(n_rows):
                a = a_tile[a_place(y + row(i), k)]
                for j in range(n_columns):
                    dots[i, j] += a * b_tile[b_place(x + column(j), k)]

    return add_products
