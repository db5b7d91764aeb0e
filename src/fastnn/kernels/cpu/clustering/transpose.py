"""A tile of rows of the data, transposed so that the rows lie along the lanes of the vectors.

A panel has a row for every feature and a column for every row of the data. Columns without one of their own,
at the end of the data, repeat the last one.
"""

from fastnn.kernels.simd.tile import tile_columns, tile_difference, tile_lanes, vector_width
from fastnn.tables.jitable import register_jitable


@register_jitable
def transpose_rows(X, start, rows, panel):
    """panel[f, i] = X[start + i, f] for i < rows, which are tile_columns at most."""
    d, width, columns = X.shape[1], vector_width(X), tile_columns(X)
    for i in range(0, columns, width):
        lane = min(i, rows - 1)
        tile_lanes(min(width, rows - lane), d, X, (start + lane) * d, panel, i, columns)


@register_jitable
def transpose_differences(X, start, rows, shift, panel):
    """panel[f, i] = X[start + i, f] - shift[f] for i < rows, which are tile_columns at most."""
    d, width, columns = X.shape[1], vector_width(X), tile_columns(X)
    for i in range(0, columns, width):
        lane = min(i, rows - 1)
        tile_difference(min(width, rows - lane), d, X, (start + lane) * d, d, shift, panel, i, columns)
