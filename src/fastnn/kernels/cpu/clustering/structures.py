"""The structures of a pass over the rows. n rows, k centres, d features."""

from typing import NamedTuple

from fastnn.kernels.shared.value_types import Float64s, Float64s2D, Float64s3D, Int32s, Int64s, Reals, Reals2D


class SweptRows(NamedTuple):
    """The rows of a pass, and what it finds."""

    X: Reals2D  # IN (n, d)
    weights: Reals  # IN (n,), or (0,) for ones
    labels: Int32s  # OUT (n,), or IN where nothing is assigned
    distances: Reals  # OUT (n,) where something is
    sums: Float64s2D  # OUT (k, d)
    counts: Float64s  # OUT (k,)
    partials: Float64s3D  # WORK, of ``new_partials``


class RowsToCopy(NamedTuple):
    """Where the rows of mini-batches come from: they are copied to ``SweptRows`` first."""

    X: Reals2D  # IN (any, d)
    weights: Reals  # IN, as many; not read where those of ``SweptRows`` are ones
    order: Int64s  # IN: which rows, in their order; or (0,) where nothing is to be copied


class PackedCenters(NamedTuple):
    """The centres as ``pack_centers`` leaves them."""

    shift: Reals  # (d,)
    panels: Reals  # (ceil(k / TILE_ROWS) * TILE_ROWS * d + lanes,)
    starts: Reals  # (k,)


class TileBuffers(NamedTuple):
    """What a thread works with, of a tile of rows."""

    panel: Reals  # (d * tile_columns,): X - shift, a row for every dimension
    best: Reals  # (tile_columns,)
    winner: Int32s  # (tile_columns,)
