"""The tile of all products here: a block's part of A B, added up in the registers of its threads.

A block of side x side threads goes along the depth in steps of `side`. Its threads copy a tile of each factor
to shared memory; then each multiplies the numbers of its rows of A with those of its columns of B::

                                 B
                       +--------------------+
                       |   tile of B        |  depth k .. k + side
                       +--------------------+
            +------+   +--------------------+
            | tile |   | x                x |     a thread has ROWS x COLUMNS elements, in groups that are
        A   |  of  |   |                    |     spread over the tile (``Places``)
            |   A  |   | x                x |
            +------+   +--------------------+
         k .. k + side

* The next tiles are on their way from memory, in registers, while these are multiplied.
* Whichever way a factor lies in memory, neighbouring threads read neighbouring numbers of it, and it is
  turned on its way into shared memory.
* What multiplies the tiles is ``plain_tile`` or, with factors rounded to TF32, ``tensor_tile``.

Sums are in the order of the depth: the same at every run.
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fastnn.kernels.cuda.runtime.compat import cuda, device_function, kernel, multiprocessors
from fastnn.kernels.cuda.runtime.memory import blocks_per_grid
from fastnn.kernels.cuda.tiles import plain_tile, tensor_tile
from fastnn.kernels.cuda.tiles.tile_shape import Places, Tile

# By the bytes of a number: a small tile, of which a small result has many, and the largest that leaves room
# for two blocks on a multiprocessor, which has 65,536 registers.
TILES = {
    4: (plain_tile.shape(1, 1), plain_tile.shape(8, 4)),
    8: (plain_tile.shape(1, 1), plain_tile.shape(4, 2)),
}
# With factors rounded to TF32.
TENSOR_TILES = (tensor_tile.shape(2, 2), tensor_tile.shape(6, 8))


def tiles_of(itemsize: int, *, tf32: bool = False) -> tuple[Tile, Tile]:
    """The smaller and the larger tile for numbers of so many bytes; TF32 is for those of four."""
    return TENSOR_TILES if tf32 else TILES[itemsize]


def tile_for(m: int, n: int, itemsize: int, *, tf32: bool = False) -> Tile:
    """The larger tile, if enough multiprocessors get one of the result (m, n); else the smaller."""
    small, large = tiles_of(itemsize, tf32=tf32)
    return large if is_enough(count_tiles(large, m, n)) else small


def is_enough(tiles: int) -> bool:
    """Whether so many of a larger tile are better than many small ones.

    A quarter of the multiprocessors is enough: for each number read from shared memory the larger tiles have
    several times as many products. (An estimate: not measured yet.)
    """
    return 4 * tiles >= multiprocessors()


def count_tiles(tile: Tile, m: int, n: int) -> int:
    """Tiles of a result (m, n)."""
    return blocks_per_grid(m, tile.height) * blocks_per_grid(n, tile.width)


def tile_kernel(tile: Tile, at_once: int = 2) -> Callable[[Callable[..., Any]], Any]:
    """A kernel of blocks of a tile's threads, with so few registers that so many blocks fit."""
    return lambda function: kernel(function, launch_bounds=(tile.threads, at_once))


def places(tile: Tile) -> Places:
    """Which elements of a tile a thread has."""
    return (tensor_tile if tile.tensor else plain_tile).places(tile)


def shared_lengths(tile: Tile, real: Any) -> tuple[int, int]:
    """Lengths of the tiles of A and of B in shared memory, as ``cuda.shared.array`` takes them."""
    along_depth = (False, True)
    lengths = (tensor_tile if tile.tensor else plain_tile).shared_length
    return (
        max(lengths(tile, real, tile.height, turned) for turned in along_depth),
        max(lengths(tile, real, tile.width, turned) for turned in along_depth),
    )


@cache
def _fetch_of_a(tile: Tile, real: Any, *, turn: bool, ones: bool, shifted: bool, listed: bool) -> Any:
    """The device function that reads the thread's numbers of the next tile of A, as ``product`` is asked."""
    side, n_rows = tile.side, tile.rows

    @device_function
    def fetch_a(row, k, m, depth, A, vector, list_, x, y, numbers):
        n_stored = m - 1 if ones else m
        step = side if turn else side * A.row
        at = A.at + ((k + y) * A.row + row + x if turn else (row + y) * A.row + k + x)
        for e in range(n_rows):
            if turn:
                i, f = row + x + side * e, k + y
            else:
                i, f = row + y + side * e, k + x
            value = real(0)
            if f < depth and i < n_stored:
                value = A.values[np.uint64(A.at + list_[i] * A.row + f if listed else at + e * step)]
                if shifted:
                    value -= vector[np.uint64(f)]
            elif ones and f < depth and i == n_stored:
                value = real(1)
            numbers[e] = value

    return fetch_a


@cache
def _fetch_of_b(tile: Tile, real: Any, *, turn: bool) -> Any:
    """As ``_fetch_of_a``, of B."""
    side, n_columns = tile.side, tile.columns

    @device_function
    def fetch_b(column, k, n, depth, B, x, y, numbers):
        step = side * B.row if turn else side
        at = B.at + ((column + y) * B.row + k + x if turn else (k + y) * B.row + column + x)
        for e in range(n_columns):
            if turn:
                j, f = column + y + side * e, k + x
            else:
                j, f = column + x + side * e, k + y
            value = real(0)
            if f < depth and j < n:
                value = B.values[np.uint64(at + e * step)]
            numbers[e] = value

    return fetch_b


@cache
def product(
    tile: Tile,
    real: Any,
    *,
    turn_a: bool = False,
    turn_b: bool = False,
    ones: bool = False,
    shifted: bool = False,
    listed: bool = False,
) -> Any:
    """The device function that adds up a tile of A B, into an array (rows, columns) of each thread.

    Its arguments: row and column where the tile begins; the shape (m, n) of the result and the depth; A and
    B, each a ``Factor``; a vector (depth,) and a list (m,); and the ``ProductTiles``.

    Parameters
    ----------
    tile : Tile
    real : numba type
        Of the numbers.
    turn_a, turn_b : bool
        Whether A lies in memory as (depth, m), and B as (n, depth).
    ones : bool
        The last row of A is of ones, and not there.
    shifted : bool
        Subtract the vector from the rows of A.
    listed : bool
        Row i of A is the one that the list says.
    """
    side, n_rows, n_columns = tile.side, tile.rows, tile.columns
    how = tensor_tile if tile.tensor else plain_tile
    a_place = how.shared_place(tile, real, tile.height, turned=turn_a)
    b_place = how.shared_place(tile, real, tile.width, turned=not turn_b)
    multiply, rounded = how.multiply(tile, real, a_place, b_place), how.rounded
    fetch_a = _fetch_of_a(tile, real, turn=turn_a, ones=ones, shifted=shifted, listed=listed)
    fetch_b = _fetch_of_b(tile, real, turn=turn_b)

    @device_function
    def add_up(row, column, m, n, depth, A, B, vector, list_, tiles):
        x, y = cuda.threadIdx.x % side, cuda.threadIdx.x // side
        next_a = cuda.local.array(n_rows, real)
        next_b = cuda.local.array(n_columns, real)
        for i in range(n_rows):
            for j in range(n_columns):
                tiles.dots[i, j] = real(0)
        fetch_a(row, 0, m, depth, A, vector, list_, x, y, next_a)
        fetch_b(column, 0, n, depth, B, x, y, next_b)
        for k in range(0, depth, side):
            for e in range(n_rows):
                if turn_a:
                    tiles.a[a_place(x + side * e, y)] = rounded(next_a[e])
                else:
                    tiles.a[a_place(y + side * e, x)] = rounded(next_a[e])
            for e in range(n_columns):
                if turn_b:
                    tiles.b[b_place(y + side * e, x)] = rounded(next_b[e])
                else:
                    tiles.b[b_place(x + side * e, y)] = rounded(next_b[e])
            cuda.syncthreads()
            fetch_a(row, k + side, m, depth, A, vector, list_, x, y, next_a)
            fetch_b(column, k + side, n, depth, B, x, y, next_b)
            # All of the step, also where less of the depth is left, and zeros then: the loop is unrolled.
            multiply(tiles.a, tiles.b, tiles.dots)
            cuda.syncthreads()

    return add_up
