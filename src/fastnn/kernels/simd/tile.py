"""The tile layer: the few loops that must live in registers, as functions that kernels call.

Every product of the package has one form. B is read along rows of memory, A's scalars may lie anywhere::

    C[i, j] = sum over p of A[p, i] * B[p, j]          i < tile_rows,  j < tile_columns

              B[p, :]   tile_vectors vectors, loaded
            +--------+--------+
    A[p, :] |        |        |    one accumulator register per cell; a step of p is
    scalars,|  acc   |  acc   |    tile_vectors loads, tile_rows broadcasts and
    broadcast        |        |    tile_rows * tile_vectors FMAs
            +--------+--------+

The FMAs are the limit: no operand is loaded more often than the tile's shape forces, and nothing spills,
because ``targets`` keeps the cells below the number of registers.

Ragged edges. A tile of fewer rows is a loop of its own with fewer accumulators (a switch picks it), so no
FMA is wasted on rows that do not exist. The last columns use masked lanes. Each element is the same chain of
FMAs over ascending p whichever loop computes it: results do not depend on how a matrix is cut into tiles.

Arrays are C-contiguous and passed with offsets and strides in elements. Nothing is checked here. The loops
themselves stand in ``tile_ir``.
"""

from typing import NamedTuple

from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

from fastnn.kernels.compiler.targets import ROW
from fastnn.kernels.shared.value_types import Float64s, Int32, Int32s, Int64s, Offset, Reals
from fastnn.kernels.simd.ir_combine import STRIP_VECTORS
from fastnn.kernels.simd.ir_nearest import AHEAD_BYTES, PAIR_ROWS
from fastnn.kernels.simd.ir_vectors import emit_prefetch, width_of
from fastnn.kernels.simd.tile_ir import pointer, tile_function
from fastnn.tables.jitable import register_jitable

TILE_ROWS = ROW.tile_rows
# Elements of a vector of float64, in which sums are kept.
SUM_LANES = ROW.vector_width(8)

_I64 = ir.IntType(64)


@intrinsic
def vector_width(typingctx, array):
    """Elements of `array`'s dtype in one vector, a compile-time constant."""
    value = width_of(array.dtype)

    def codegen(context, builder, signature, args):
        return ir.Constant(_I64, value)

    return types.int64(array), codegen


@intrinsic
def tile_columns(typingctx, array):
    """Columns of a full tile for `array`'s dtype, a compile-time constant."""
    value = width_of(array.dtype) * ROW.tile_vectors

    def codegen(context, builder, signature, args):
        return ir.Constant(_I64, value)

    return types.int64(array), codegen


class TilePanel(NamedTuple):
    """A matrix that is read or written along its rows: element [i, j] is array[at + i * stride + j]."""

    array: Reals
    at: Offset
    stride: int


class TileScalars(NamedTuple):
    """A matrix of which scalars are read, in blocks of `block` steps of p, `jump` elements apart.

    A[p, i] = array[at + p // block * jump + p % block * step + i * row].
    """

    array: Reals
    at: Offset
    step: int
    row: int
    block: int
    jump: int


@tile_function("product")
def tile_product(
    rows: int, depth: int, a: TileScalars, b: TilePanel, begin: TilePanel, c: TilePanel, columns: int,
    has_begin: bool,
):  # fmt: skip
    """C[i, j] = begin[i, j] + sum_p A[p, i] B[p, j] for one tile; begin counts as 0 without `has_begin`.

    With `begin` = C the product is added to C; with a vector and stride 0 every row starts from a bias.
    1 <= rows <= TILE_ROWS, 1 <= columns <= tile_columns(a), depth >= 0.
    FLOPs: 2 rows columns depth. Bytes: (rows + columns) depth + rows columns elements.
    """


@tile_function("squares")
def tile_squares(rows: int, depth: int, a: Reals, a_offset: Offset, b: TilePanel, c: TilePanel):
    """C[i, j] = sum_p (A[p, i] - B[p, j])^2 for a full tile's columns; A is a panel (depth, TILE_ROWS).

    1 <= rows <= TILE_ROWS. FLOPs: 3 rows tile_columns depth.
    """


@register_jitable
def scalars_of(array, at, step, row, depth):
    """``TileScalars`` that lie in one block, of `depth` steps: A[p, i] = array[at + p * step + i * row]."""
    return TileScalars(array, at, step, row, depth, 0)


@tile_function("combine")
def _tile_combine(
    columns: int, depth: int, values: Reals, values_offset: Offset, indices: Int32s, indices_offset: Offset,
    b: TilePanel, begin: Reals, begin_offset: Offset, out: Reals, out_offset: Offset, has_begin: bool,
):  # fmt: skip
    """``combine_rows`` of STRIP_VECTORS vectors of columns at most."""


@register_jitable
def combine_rows(
    columns, depth, values, values_offset, indices, indices_offset, b, out, out_offset, has_begin
):  # fmt: skip
    """out[j] = begin[j] + sum_p values[p] B[indices[p], j] for j < columns; begin is out itself, or 0.

    A sparse row times a matrix: each of the `depth` rows of B that it picks is read once, in order, and the
    sums of a strip of columns stay in registers. `indices` are int32.
    FLOPs: 2 columns depth. Bytes: columns depth elements.
    """
    strip = vector_width(out) * STRIP_VECTORS
    for j in range(0, columns, strip):
        _tile_combine(
            min(strip, columns - j), depth, values, values_offset, indices, indices_offset,
            TilePanel(b.array, b.at + j, b.stride), out, out_offset + j, out, out_offset + j, has_begin,
        )  # fmt: skip


@tile_function("argmin")
def tile_argmin(
    count: int, depth: int, a: Reals, a_offset: Offset, start: Reals, start_offset: Offset, b: TilePanel,
    best: Reals, best_offset: Offset, labels: Int32s, labels_offset: Offset, first: Int32,
):  # fmt: skip
    """Fold `count` candidates into the running minimum of every column of a full tile.

    value[i, j] = start[i] + sum_p A[p, i] B[p, j]; where it is below best[j], best[j] takes it and labels[j]
    becomes first + i. With first = 0 the minimum begins anew: with infinity, and label 0.
    A lies in panels of TILE_ROWS candidates, each (depth, TILE_ROWS).
    FLOPs: 2 count tile_columns depth. The values never leave the registers.
    """


@tile_function("argmin-squares")
def tile_argmin_squares(
    count: int, depth: int, a: Reals, a_offset: Offset, start: Reals, start_offset: Offset, b: TilePanel,
    best: Reals, best_offset: Offset, labels: Int32s, labels_offset: Offset, first: Int32,
):  # fmt: skip
    """``tile_argmin`` with value[i, j] = start[i] + sum_p (A[p, i] - B[p, j])^2.

    FLOPs: 3 count tile_columns depth.
    """


@tile_function("argmin-two")
def tile_argmin_two(
    count: int, depth: int, a: Reals, a_offset: Offset, start: Reals, start_offset: Offset, b: TilePanel,
    best: Reals, best_offset: Offset, labels: Int32s, labels_offset: Offset, first: Int32, second: Reals,
    second_offset: Offset,
):  # fmt: skip
    """``tile_argmin`` that keeps the second smallest value of every column too."""


@tile_function("lowest")
def tile_lowest(count: int, values: Reals, values_offset: Offset, best: Reals, labels: Int32s):
    """best[j] = min_i values[i, j] and labels[j] = the first i that has it, for a full tile's columns.

    Infinity and 0 where no value is below infinity; count >= 1.
    """


@tile_function("lowest-two")
def tile_lowest_two(
    count: int, values: Reals, values_offset: Offset, best: Reals, labels: Int32s, second: Reals,
):  # fmt: skip
    """``tile_lowest``, and second[j] = the least of the other values; infinity if there are none."""


@tile_function("distances")
def tile_distances(
    rows: int, depth: int, x: Reals, x_offset: Offset, centers: Reals, labels: Int32s, labels_offset: Offset,
    out: Reals, out_offset: Offset,
):  # fmt: skip
    """out[i] = sum_p (x[i, p] - centers[labels[i], p])^2 for i < rows, at least one, and p < depth.

    FLOPs: 3 rows depth. Bytes: 2 rows depth elements.
    """


@tile_function("all-distances")
def tile_all_distances(
    rows: int, count: int, depth: int, x: Reals, x_offset: Offset, centers: Reals, out: Reals,
    out_offset: Offset, out_stride: int,
):  # fmt: skip
    """out[i, j] = sum_p (x[i, p] - centers[j, p])^2 for i < rows and j < count, of rows of `depth` elements.

    `rows` is PAIR_ROWS or 1. The features lie along the lanes: for long rows and few centres.
    FLOPs: 3 rows count depth. Bytes: (rows + count) depth elements.
    """


@tile_function("add-rows")
def tile_add_rows(
    rows: int, n_columns: int, x: TilePanel, labels: Int32s, labels_offset: Offset, weights: Reals,
    weights_offset: Offset, is_weighted: bool, counting: bool, sums: Float64s, sums_offset: Offset,
    sums_stride: int,
):  # fmt: skip
    """sums[labels[i], f] += weights[i] x[i, f] for i < rows, at least one, and f < n_columns; in float64.

    With `counting` sums[labels[i], n_columns] += weights[i] too. `weights` are not read, and count as 1,
    without `is_weighted`. A row of `sums` holds whole vectors.
    FLOPs: 2 rows n_columns.
    """


@tile_function("add-least")
def tile_add_least(
    count: int, values: Reals, values_offset: Offset, closest: Reals, closest_offset: Offset, weights: Reals,
    weights_offset: Offset, is_weighted: bool, sums: Float64s, sums_offset: Offset, sums_stride: int,
):  # fmt: skip
    """Of a full tile's columns i: closest[i] = min(closest[i], values[0, i]), and then for each c < count
    sums[c, i % vector_width] += weights[i] min(closest[i], values[c, i]).

    `values` is (count, tile_columns). `weights` are not read, and count as 1, without `is_weighted`: then the
    values of a lane are added in their own type first. Sums are float64.
    """


@tile_function("transpose")
def tile_transpose(
    rows: int, source: Reals, source_offset: Offset, source_stride: int, target: Reals, target_offset: Offset,
    target_stride: int,
):  # fmt: skip
    """target[j, i] = source[i, j] for i < rows <= vector_width and j < vector_width.

    Lanes i >= rows of each target row get copies of the last source row: write blocks of ascending address
    so that a later one overwrites them, and leave `vector_width` elements of slack behind the last.
    """


@tile_function("gather")
def tile_gather(
    rows: int, order: Int64s, first: Offset, n_columns: int, source: Reals, stride: int, target: Reals,
    target_offset: Offset, target_stride: int,
):  # fmt: skip
    """target[j, i] = source[order[first + i], j] for i < rows <= vector_width and j < n_columns.

    Lanes i >= rows get copies of the last row, as in ``tile_transpose``; `stride` is the length of a row of
    `source`.
    Bytes: rows n_columns elements read, vector_width n_columns written.
    """


@tile_function("lanes")
def tile_lanes(
    rows: int, n_columns: int, source: Reals, source_offset: Offset, target: Reals, target_offset: Offset,
    target_stride: int,
):  # fmt: skip
    """target[j, i] = source[i, j] for i < rows <= vector_width and j < n_columns, of contiguous rows.

    Lanes i >= rows get copies of the last row, as in ``tile_transpose``.
    """


@tile_function("difference")
def tile_difference(
    rows: int, n_columns: int, source: Reals, source_offset: Offset, stride: int, origin: Reals,
    target: Reals, target_offset: Offset, target_stride: int,
):  # fmt: skip
    """target[j, i] = source[i, j] - origin[j] for i < rows <= vector_width and j < n_columns.

    Lanes i >= rows get copies of the last row, as in ``tile_gather``.
    """


@tile_function("dots")
def tile_dots(
    rows: int, count: int, x: Reals, x_offset: Offset, x_stride: int, y: Reals, y_offset: Offset, sums: Reals,
):  # fmt: skip
    """sums[i, l] += sum of x[i, s] y[s] over the s < count that fall on lane l, for i < rows.

    A row of `sums` is a vector. Rows of x hold whole vectors; y is not read beyond `count`.
    FLOPs: 2 rows count.
    """


@tile_function("subtract-max")
def subtract_max(rows: int, width: int, panel: Reals, offset: Offset):
    """From every element the largest of its column, for a contiguous panel (rows, width) of whole vectors."""


@tile_function("divide-sum")
def divide_by_sum(rows: int, width: int, panel: Reals, offset: Offset):
    """Every element over the sum of its column, for a panel as in ``subtract_max``."""


@register_jitable
def prefetch_range(start, stop, array):
    """Ask for the cache lines of the elements start : stop of an array, counted in C order."""
    for i in range(start, stop, 64 // array.itemsize):
        prefetch(array, i)
    # The first element seldom begins a line.
    prefetch(array, stop - 1)


@intrinsic
def prefetch(typingctx, array, offset):
    """Ask for the cache line of an element, into the second level; any offset is allowed."""

    def codegen(context, builder, signature, args):
        emit_prefetch(builder, pointer(context, builder, signature.args[0], args[0], args[1]))
        return context.get_dummy_value()

    return types.void(array, types.int64), codegen


__all__ = [
    "AHEAD_BYTES",
    "PAIR_ROWS",
    "STRIP_VECTORS",
    "SUM_LANES",
    "TILE_ROWS",
    "TilePanel",
    "TileScalars",
    "combine_rows",
    "divide_by_sum",
    "prefetch",
    "prefetch_range",
    "scalars_of",
    "subtract_max",
    "tile_add_least",
    "tile_add_rows",
    "tile_all_distances",
    "tile_argmin",
    "tile_argmin_squares",
    "tile_argmin_two",
    "tile_columns",
    "tile_difference",
    "tile_distances",
    "tile_dots",
    "tile_gather",
    "tile_lanes",
    "tile_lowest",
    "tile_lowest_two",
    "tile_product",
    "tile_squares",
    "tile_transpose",
    "vector_width",
]
