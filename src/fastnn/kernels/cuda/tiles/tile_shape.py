"""The shape of a tile, and which elements of it a thread has."""

from typing import Any, NamedTuple


class Tile(NamedTuple):
    """Of a result's tile: elements of a thread, and threads of a block along each side."""

    rows: int
    columns: int
    side: int
    tensor: bool  # multiplied by tensor cores

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return self.side * self.side

    @property
    def height(self) -> int:
        """Rows of a block."""
        return self.side * self.rows

    @property
    def width(self) -> int:
        """Columns of a block."""
        return self.side * self.columns


class Factor(NamedTuple):
    """A factor of a product as kernels hand it on."""

    values: Any  # a flat array
    at: Any  # where the factor begins in it
    row: Any  # length of its rows


class ProductTiles(NamedTuple):
    """A block's work arrays for one product at a time."""

    a: Any  # a tile of A, in shared memory
    b: Any  # of B
    dots: Any  # (rows, columns) sums of the thread


class Places(NamedTuple):
    """Device functions: which elements of the tile the calling thread has.

    Its i-th row is the first of `origin` and ``row(i)``; its j-th column the second and ``column(j)``.
    """

    origin: Any
    row: Any
    column: Any
    along: Any  # the thread's number among the `side` that have the same rows
