"""The tile of all products here: a block's part of A B, added up in the registers of its threads.

A block of SIDE x SIDE threads goes along the depth in steps of DEPTH. Its threads copy a tile of each factor
to shared memory; then each multiplies the numbers of its rows of A with those of its columns of B::

                                 B
                       +--------------------+
                       |   tile of B        |  depth k .. k + DEPTH
                       +--------------------+
            +------+   +--------------------+
            | tile |   | x                x |     a thread has ROWS x COLUMNS elements, in groups of
        A   |  of  |   |                    |     GROUP rows and GROUP columns; the groups are spread
            |   A  |   | x                x |     over the tile
            +------+   +--------------------+
         k .. k + DEPTH

* A group's numbers lie side by side in shared memory and come in one load of 16 bytes. The groups of the 16
  threads along a side are side by side too, so that a load takes all banks once.
* The next tiles are on their way from memory, in registers, while these are multiplied.
* Whichever way a factor lies in memory, neighbouring threads read neighbouring numbers of it, and it is
  turned on its way into shared memory.

Sums are in the order of the depth: the same at every run.
"""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

from fastnn.kernels.cuda.compat import block_side, cuda, device_function, kernel, multiprocessors
from fastnn.kernels.cuda.memory import blocks

SIDE = block_side(16)  # threads of a block along each side
THREADS = SIDE * SIDE
DEPTH = SIDE  # so that a thread copies one column of each tile


class Tile(NamedTuple):
    """Elements of a thread. A block has ``SIDE rows`` x ``SIDE columns`` of them."""

    rows: int
    columns: int
    group: int  # numbers in 16 bytes, or 1


# By the bytes of a number: a small tile, of which a small result has many, and the largest that leaves room
# for two blocks on a multiprocessor, which has 65,536 registers.
TILES = {4: (Tile(1, 1, 1), Tile(8, 4, 4)), 8: (Tile(1, 1, 1), Tile(4, 2, 2))}
_SHARED_BYTES = 16


def tile_for(m: int, n: int, itemsize: int) -> Tile:
    """The larger tile, if enough multiprocessors get one of the result (m, n); else the smaller."""
    small, large = TILES[itemsize]
    return large if is_enough(count_tiles(large, m, n)) else small


def is_enough(tiles: int) -> bool:
    """Whether so many of a larger tile are better than many small ones.

    A quarter of the multiprocessors is enough: for each number read from shared memory the larger tiles have
    several times as many products. (An estimate: not measured yet.)
    """
    return 4 * tiles >= multiprocessors()


def count_tiles(tile: Tile, m: int, n: int) -> int:
    """Tiles of a result (m, n)."""
    return blocks(m, SIDE * tile.rows) * blocks(n, SIDE * tile.columns)


def shared_shapes(tile: Tile, real: Any) -> tuple[tuple[int, int], tuple[int, int]]:
    """Shapes of the tiles of A and of B in shared memory, as ``cuda.shared.array`` takes them.

    Rows are longer by 16 bytes: threads that write along a column meet different banks, and a row still
    begins where 16 bytes do.
    """
    more = _SHARED_BYTES * 8 // real.bitwidth
    return (DEPTH, SIDE * tile.rows + more), (DEPTH, SIDE * tile.columns + more)


def tile_kernel(function: Callable[..., Any]) -> Any:
    """A kernel of blocks of THREADS threads, with so few registers that two blocks fit."""
    return kernel(function, launch_bounds=(THREADS, 2))


@device_function
def own_place():
    """Place of the thread along the columns, and down the rows."""
    return cuda.threadIdx.x % SIDE, cuda.threadIdx.x // SIDE


@cache
def element(group: int) -> Any:
    """The device function that says where in the tile element i of the thread at `place` of a side is."""

    @device_function
    def where(place, i):
        return i // group * (SIDE * group) + place * group + i % group

    return where


@cache
def product(
    tile: Tile,
    real: Any,
    *,
    turn_a: bool = False,
    turn_b: bool = False,
    ones: bool = False,
    shifted: bool = False,
) -> Any:
    """The device function that adds up a tile of A B, into an array (rows, columns) of each thread.

    Its arguments: row and column where the tile begins; the shape (m, n) of the result and the depth; each
    factor as a flat array, with the place where it begins and the length of its rows; a vector (depth,); the
    tiles in shared memory, and the sums.

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
    """
    n_rows, n_columns, group = tile
    place = element(group)

    @device_function
    def fetch_a(row, k, m, depth, A, a_at, a_row, vector, x, y, numbers):
        there = m - 1 if ones else m
        for e in range(n_rows):
            if turn_a:
                i, f = row + x + SIDE * e, k + y
            else:
                i, f = row + y + SIDE * e, k + x
            value = real(0)
            if f < depth and i < there:
                value = A[a_at + f * a_row + i] if turn_a else A[a_at + i * a_row + f]
                if shifted:
                    value -= vector[f]
            elif ones and f < depth and i == there:
                value = real(1)
            numbers[e] = value

    @device_function
    def fetch_b(column, k, n, depth, B, b_at, b_row, x, y, numbers):
        for e in range(n_columns):
            if turn_b:
                j, f = column + y + SIDE * e, k + x
            else:
                j, f = column + x + SIDE * e, k + y
            value = real(0)
            if f < depth and j < n:
                value = B[b_at + j * b_row + f] if turn_b else B[b_at + f * b_row + j]
            numbers[e] = value

    @device_function
    def add_up(
        row, column, m, n, depth, A, a_at, a_row, B, b_at, b_row, vector, a_tile, b_tile, dots,
    ):  # fmt: skip
        x, y = own_place()
        next_a = cuda.local.array(n_rows, real)
        next_b = cuda.local.array(n_columns, real)
        for i in range(n_rows):
            for j in range(n_columns):
                dots[i, j] = real(0)
        fetch_a(row, 0, m, depth, A, a_at, a_row, vector, x, y, next_a)
        fetch_b(column, 0, n, depth, B, b_at, b_row, x, y, next_b)
        for k in range(0, depth, DEPTH):
            for e in range(n_rows):
                if turn_a:
                    a_tile[y, x + SIDE * e] = next_a[e]
                else:
                    a_tile[x, y + SIDE * e] = next_a[e]
            for e in range(n_columns):
                if turn_b:
                    b_tile[x, y + SIDE * e] = next_b[e]
                else:
                    b_tile[y, x + SIDE * e] = next_b[e]
            cuda.syncthreads()
            fetch_a(row, k + DEPTH, m, depth, A, a_at, a_row, vector, x, y, next_a)
            fetch_b(column, k + DEPTH, n, depth, B, b_at, b_row, x, y, next_b)
            # Also where fewer are left, which are zeros: a loop of known length is unrolled.
            for g in range(DEPTH):
                for i in range(n_rows):
                    a = a_tile[g, place(y, i)]
                    for j in range(n_columns):
                        dots[i, j] += a * b_tile[g, place(x, j)]
            cuda.syncthreads()

    return add_up
