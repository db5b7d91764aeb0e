"""Tiles multiplied by tensor cores, from factors that are rounded to TF32 on their way to shared memory.

A warp has (8 rows, 4 columns) of the tile, of the rows and columns of a thread, in products of (16, 8)::

    warp 0  |  warp 1  |  warp 2  |  warp 3          side / 4 warps along the columns
    --------+----------+----------+--------
    warp 4  |  warp 5  |  warp 6  |  warp 7          side / 8 warps down the rows

In shared memory a factor lies as in memory, along the depth or across it, so that its numbers are written
side by side; by the length of a row the 32 numbers that a warp reads at once are in 32 banks both ways.
"""

from functools import cache
from typing import Any

import numpy as np

from fastnn.kernels.cuda.runtime.compat import block_side, cuda, device_function
from fastnn.kernels.cuda.tiles.tensor_cores import mma
from fastnn.kernels.cuda.tiles.tensor_cores import rounded as rounded  # as a number stands in shared memory
from fastnn.kernels.cuda.tiles.tile_shape import Places, Tile

# At least one product's rows, and two warps, in the simulator too.
SIDE = max(8, block_side(16))
_DEPTH = 8  # of one product of the tensor cores


def shape(rows: int, columns: int) -> Tile:
    """The tile of so many elements a thread, both even numbers."""
    return Tile(rows, columns, SIDE, tensor=True)


@device_function
def _lane():
    """The numbers g and t of the thread, as in ``tensor_cores``."""
    lane = cuda.threadIdx.x % 32
    return lane // 4, lane % 4


@cache
def _corner(tile: Tile) -> Any:
    """The device function that says at which row and column of the tile the warp begins."""
    n_rows, n_columns, across = tile.rows, tile.columns, tile.side // 4

    @device_function
    def corner():
        warp = cuda.threadIdx.x // 32
        return warp // across * 8 * n_rows, warp % across * 4 * n_columns

    return corner


@cache
def places(tile: Tile) -> Places:
    """Which elements of a tile a thread has."""
    corner, across = _corner(tile), tile.side // 4

    @device_function
    def origin():
        first_row, first_column = corner()
        g, t = _lane()
        return first_row + g, first_column + 2 * t

    @device_function
    def row(i):
        return i // 2 * 16 + i % 2 * 8

    @device_function
    def column(j):
        return j // 2 * 8 + j % 2

    @device_function
    def along():
        return cuda.threadIdx.x // 32 % across * 4 + _lane()[1]

    return Places(origin, row, column, along)


def _row_length(tile: Tile, length: int, turned: bool) -> int:
    """Eight lanes read down the rows and four along them: rows of 8, or of 4 and a multiple of 8, do it."""
    return length + 8 if turned else tile.side + 4


def shared_length(tile: Tile, real: Any, length: int, turned: bool) -> int:
    """Numbers in shared memory of a factor's tile, of `length` rows of A or columns of B."""
    return (tile.side if turned else length) * _row_length(tile, length, turned)


@cache
def shared_place(tile: Tile, real: Any, length: int, *, turned: bool) -> Any:
    """The device function that says where in shared memory the number of row or column i at depth k is.

    As (depth, length) if `turned`, else as (length, depth).
    """
    row = _row_length(tile, length, turned)

    @device_function
    def place(i, k):
        return np.uint64(k * row + i if turned else i * row + k)

    return place


@cache
def multiply(tile: Tile, real: Any, a_place: Any, b_place: Any) -> Any:
    """The device function that adds to the thread's elements their products over one step of the depth."""
    down, across, steps = tile.rows // 2, tile.columns // 2, tile.side // _DEPTH
    corner, n_columns = _corner(tile), tile.columns

    @device_function
    def add_products(a_tile, b_tile, dots):
        b = cuda.local.array(n_columns, real)
        first_row, first_column = corner()
        g, t = _lane()
        for step in range(steps):
            k = step * _DEPTH + t
            for j in range(across):
                column = first_column + j * 8 + g
                b[2 * j] = b_tile[b_place(column, k)]
                b[2 * j + 1] = b_tile[b_place(column, k + 4)]
            for i in range(down):
                row = first_row + i * 16 + g
                a0, a1 = a_tile[a_place(row, k)], a_tile[a_place(row + 8, k)]
                a2, a3 = a_tile[a_place(row, k + 4)], a_tile[a_place(row + 8, k + 4)]
                for j in range(across):
                    c0, c1, c2, c3 = mma(
                        a0, a1, a2, a3, b[2 * j], b[2 * j + 1],
                        dots[2 * i, 2 * j], dots[2 * i, 2 * j + 1],
                        dots[2 * i + 1, 2 * j], dots[2 * i + 1, 2 * j + 1],
                    )  # fmt: skip
                    dots[2 * i, 2 * j], dots[2 * i, 2 * j + 1] = c0, c1
                    dots[2 * i + 1, 2 * j], dots[2 * i + 1, 2 * j + 1] = c2, c3

    return add_products
