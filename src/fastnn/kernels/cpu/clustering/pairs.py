"""Distances of some rows to all centres, with the features along the lanes: for long rows, or few of them."""

from fastnn.kernels.simd.tile import PAIR_ROWS, tile_all_distances, tile_columns, tile_lanes, vector_width
from fastnn.tables.jitable import register_jitable


@register_jitable
def distances_of_rows(X, start, rows, C, out):
    """out[i k + j] = |x_{start + i} - c_j|^2 for i < rows.

    A distance has the same bits whichever rows it is computed beside.
    """
    k, d = C.shape
    whole = rows // PAIR_ROWS * PAIR_ROWS
    for i in range(0, whole, PAIR_ROWS):
        tile_all_distances(PAIR_ROWS, k, d, X, (start + i) * d, C, out, i * k, k)
    for i in range(whole, rows):
        tile_all_distances(1, k, d, X, (start + i) * d, C, out, i * k, k)


@register_jitable
def distances_in_lanes(X, start, rows, C, by_row, by_center):
    """by_center[j, i] = |x_{start + i} - c_j|^2 for i < rows, which are tile_columns at most.

    by_center : OUT (k, tile_columns) flat; columns without a row repeat the last one.
    by_row : WORK, as many elements.
    """
    k, width, columns = C.shape[0], vector_width(X), tile_columns(X)
    distances_of_rows(X, start, rows, C, by_row)
    for i in range(0, columns, width):
        lane = min(i, rows - 1)
        tile_lanes(min(width, rows - lane), k, by_row, lane * k, by_center, i, columns)
