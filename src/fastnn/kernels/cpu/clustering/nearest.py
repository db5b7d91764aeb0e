"""The nearest centre of each row, with no distance matrix: the leaf loops of ``sweep``.

Of |x - c|^2 = |x|^2 + 2 (|c|^2 / 2 - x.c) only the bracket depends on the centre. Points lie along the vector
lanes and centres are the broadcast rows of a register tile: the accumulators start at |c|^2 / 2, subtract
x.c, and are folded into the running minimum of their lane before they leave the registers::

              32 points (two vectors of 16, float32 on AVX-512)
            +------------------------------------------------+
    12      |  |c|^2/2 - x.c          fold into  best[point]  |
    centres |  in registers          --------->  label[point] |
            +------------------------------------------------+

The bracket cancels where points lie far from the origin. So points and centres are both taken from a point
amid the centres first, and the distance that is reported is computed afresh as sum((x - c)^2) from the data.
Where it is so small that the bracket's rounding may have chosen the centre (clusters of width 1 that lie 10^4
apart, in float32), all centres are compared afresh.
"""

import numpy as np

from fastnn.kernels.compiler.jit import sums_in_any_order
from fastnn.kernels.compiler.linked import linked
from fastnn.kernels.cpu.clustering.distances import squared_distance
from fastnn.kernels.cpu.clustering.pairs import distances_in_lanes
from fastnn.kernels.cpu.clustering.transpose import transpose_differences, transpose_rows
from fastnn.kernels.shared.brackets import BLUR, is_certain, is_small
from fastnn.kernels.shared.value_types import Float64s, Int32s, Real, Reals, Reals2D
from fastnn.kernels.simd.tile import (
    PAIR_ROWS,
    TILE_ROWS,
    TilePanel,
    prefetch,
    tile_argmin,
    tile_argmin_squares,
    tile_columns,
    tile_difference,
    tile_distances,
    tile_lowest,
    vector_width,
)
from fastnn.tables.jitable import register_jitable

# For rows of at least _LONG features and few centres, a sixth of the features and _FEW at most, to put the
# points along the lanes takes longer than the subtractions of the direct form and the sums over the lanes.
_LONG, _FEW = 48, 48
# Centres times features between two requests for the next rows: few enough for the requests to be spread.
_GROUP_ELEMENTS = 1024


@register_jitable
def is_long(k, d):
    """Whether rows are so long, and centres so few, that the features lie along the lanes."""
    return d >= _LONG and k <= min(_FEW, d // 6 + 4) and not is_small(k, d)


# Sums along a centre, in vectors: in order each addition would wait for the one before, for 1 ns.


@sums_in_any_order
def _blemish(c):
    """0 where all of c is finite, else NaN."""
    total = 0.0
    for f in range(c.size):
        total += c[f] * 0.0
    return total


@sums_in_any_order
def _square_from(c, point):
    """|c - point|^2 in float64."""
    total = 0.0
    for f in range(c.size):
        difference = c[f] - point[f]
        total += difference * difference
    return total


@register_jitable
def _point_amid(C, spread, mean):
    """mean : OUT (d,), of some half of the usable centres, those nearest to the mean of all: a few far
    ones shall not draw it away from the rest. spread : IN/OUT (k,), infinite for one that is not finite.
    """
    k, d = C.shape
    for f in range(d):
        mean[f] = 0
    usable = 0
    for j in range(k):
        if spread[j] == 0.0:
            usable += 1
            for f in range(d):
                mean[f] += C[j, f]
    for f in range(d):
        mean[f] /= usable
    for j in range(k):
        spread[j] += _square_from(C[j], mean)
        if np.isnan(spread[j]):
            spread[j] = np.inf
    # Who is farther than the average drops out, until no more than half are left: a few rounds, where a
    # median would have to sort.
    limit, kept = np.inf, usable
    while 2 * kept > usable:
        average = 0.0
        for j in range(k):
            if spread[j] <= limit and spread[j] < np.inf:
                average += spread[j] / kept
        limit = average * (1 + 1e-9)  # all may be equally far
        fewer = 0
        for j in range(k):
            if spread[j] <= limit:
                fewer += 1
        if fewer == kept:
            break
        kept = fewer
    for f in range(d):
        mean[f] = 0
    inner = 0
    for j in range(k):
        if spread[j] <= limit and spread[j] < np.inf:
            inner += 1
            for f in range(d):
                mean[f] += C[j, f]
    for f in range(d):
        mean[f] /= max(inner, 1)


@linked("pack-centers")
def pack_centers(C: Reals2D, shift: Reals, panels: Reals, starts: Reals, spread: Float64s, mean: Float64s):
    """Prepare centres for ``nearest_rows``.

    Parameters
    ----------
    C : array (k, d)   # IN
    shift : array (d,)   # OUT
        A point amid the centres.
    panels : array (ceil(k / TILE_ROWS) * TILE_ROWS * d + lanes,)   # OUT
        shift - C, in panels of TILE_ROWS centres that are contiguous at each dimension; C if ``is_small``.
    starts : array (k,)   # OUT
        |c - shift|^2 / 2, or 0 if ``is_small``; infinite for a centre that is not finite, so that it is
        never the nearest.
    spread, mean : arrays (k,), (d,) float64   # WORK
    """
    k, d = C.shape
    if is_long(k, d):
        return
    direct = is_small(k, d)
    for j in range(k):
        spread[j] = _blemish(C[j])
        if np.isnan(spread[j]):
            spread[j] = np.inf
    if not direct:
        _point_amid(C, spread, mean)
    for f in range(d):
        shift[f] = 0.0 if direct else mean[f]
    width = vector_width(C)
    for first in range(0, k, TILE_ROWS):
        rows = min(TILE_ROWS, k - first)
        # Whole vectors are written, and the lanes behind a panel's rows are the next column's first ones: so
        # these come last.
        for i in range((TILE_ROWS - 1) // width * width, -1, -width):
            row = min(i, rows - 1)
            tile_difference(
                min(width, rows - row), d, C, (first + row) * d, d, shift, panels, first * d + i, TILE_ROWS
            )
    if not direct:
        for i in range(panels.size):
            panels[i] = -panels[i]
    for j in range(k):
        if spread[j] < np.inf:
            starts[j] = 0.0 if direct else 0.5 * _square_from(C[j], shift)
        else:
            starts[j] = np.inf
            for f in range(d):
                panels[j // TILE_ROWS * TILE_ROWS * d + f * TILE_ROWS + j % TILE_ROWS] = 0


@linked("settle-rows")
def settle_rows(
    first: int, last: int, X: Reals2D, C: Reals2D, brackets: Reals, blur: Real, labels: Int32s,
    distances: Reals,
):  # fmt: skip
    """Compare all centres in the direct form, for the rows whose label is not certain.

    A row without a finite distance gets label 0. brackets : IN (last - first,), or (0,) if distances were
    compared. Rarely called: compiled by itself.
    """
    for i in range(first, last):
        bracket = brackets[i - first] if brackets.size > 0 else distances[i]
        if is_certain(distances[i], bracket, blur):
            continue
        nearest, least = np.int32(0), squared_distance(X[i], C[0])
        for j in range(1, C.shape[0]):
            distance = squared_distance(X[i], C[j])
            if distance < least or (np.isnan(least) and distance < np.inf):
                nearest, least = np.int32(j), distance
        labels[i], distances[i] = nearest, least


# A loop over all columns of a tile has a constant number of turns: it becomes a few vector instructions. One
# over some of them would be vectorised for longer ones, and run number by number. So would one that does not
# begin where its array does: of an index that might be negative Numba asks at every turn whether it is.


@register_jitable
def _are_finite(distances):
    """Whether all distances of a tile are."""
    infinite = 0
    for i in range(tile_columns(distances)):
        infinite += 0 if distances[i] < distances.dtype.type(np.inf) else 1
    return infinite == 0


@register_jitable
def _are_certain(distances, brackets, blur):
    """Whether those of a tile are, see ``is_certain``."""
    doubtful = 0
    for i in range(tile_columns(distances)):
        doubtful += 0 if is_certain(distances[i], brackets[i], blur) else 1
    return doubtful == 0


@register_jitable
def _nearest_of_few(X, C, packed, first, last, buffers, labels, distances):
    """``nearest_rows`` in the direct form: what is compared is the distance."""
    (k, d), columns = C.shape, tile_columns(X)
    panels, starts, zero = packed.panels, packed.starts, X.dtype.type(0)
    panel, best, winner = buffers.panel, buffers.best, buffers.winner
    lanes = TilePanel(panel, 0, tile_columns(X))
    for start in range(first, last, columns):
        rows = min(columns, last - start)
        own, near = labels[start : start + rows], distances[start : start + rows]
        transpose_rows(X, start, rows, panel)
        if rows == columns:
            tile_argmin_squares(k, d, panels, 0, starts, 0, lanes, near, 0, own, 0, np.int32(0))
            finite = _are_finite(near)
        else:
            tile_argmin_squares(k, d, panels, 0, starts, 0, lanes, best, 0, winner, 0, np.int32(0))
            for i in range(rows):
                own[i], near[i] = winner[i], best[i]
            finite = _are_finite(best)
        if not finite:
            settle_rows(start, start + rows, X, C, best[:0], zero, labels, distances)


@register_jitable
def _nearest_along_features(X, C, first, last, buffers, labels, distances):
    """``nearest_rows`` in the direct form, for long rows and few centres."""
    k, columns = C.shape[0], tile_columns(X)
    whole, zero = columns // PAIR_ROWS * PAIR_ROWS, X.dtype.type(0)
    best, winner = buffers.best, buffers.winner
    # Two buffers: twice the centres are not more than the features.
    by_row, by_center = buffers.panel[: k * columns], buffers.panel[k * columns :]
    for start in range(first, last, whole):
        rows = min(whole, last - start)
        own, near = labels[start : start + rows], distances[start : start + rows]
        distances_in_lanes(X, start, rows, C, by_row, by_center)
        tile_lowest(k, by_center, 0, best, winner)
        for i in range(rows):
            own[i], near[i] = winner[i], best[i]
        if not _are_finite(best):
            settle_rows(start, start + rows, X, C, best[:0], zero, labels, distances)


@register_jitable
def nearest_rows(X, C, packed, first, last, buffers, labels, distances):
    """labels[i] = argmin_j |x_i - c_j|^2 and distances[i] = that minimum, for first <= i < last.

    Ties in the bracket go to the lowest j. A centre that is not finite is passed over, and a row without a
    finite distance gets label 0.

    Parameters
    ----------
    X : array (n, d), C-contiguous   # IN
    C : array (k, d), C-contiguous   # IN
    packed : PackedCenters   # IN
    buffers : TileBuffers   # WORK
    labels : array (n,) int32   # OUT
    distances : array (n,)   # OUT

    Notes
    -----
    FLOPs: 2 n k d + 3 n d. Bytes: X once from memory; the panels from cache for every tile_columns rows.
    """
    k, d = C.shape
    if is_small(k, d):
        _nearest_of_few(X, C, packed, first, last, buffers, labels, distances)
        return
    if is_long(k, d):
        _nearest_along_features(X, C, first, last, buffers, labels, distances)
        return
    shift, panels, starts = packed.shift, packed.panels, packed.starts
    panel, best, winner = buffers.panel, buffers.best, buffers.winner
    lanes = TilePanel(panel, 0, tile_columns(X))
    columns = tile_columns(X)
    blur = X.dtype.type((BLUR + d) * np.finfo(X.dtype).eps)
    # While one block of rows is compared with the centres, the next one is fetched from memory, a share of it
    # beside each group of centres.
    line = 64 // X.itemsize
    group = (_GROUP_ELEMENTS // max(1, d) // TILE_ROWS + 1) * TILE_ROWS
    share = -(-columns * d // (-(-k // group) * line)) * line
    for start in range(first, last, columns):
        ahead = (start + columns) * d
        end = min(ahead + columns * d, X.size)
        rows = min(columns, last - start)
        own, near = labels[start : start + rows], distances[start : start + rows]
        transpose_differences(X, start, rows, shift, panel)
        for j in range(0, k, group):
            tile_argmin(
                min(group, k - j), d, panels, j * d, starts, j, lanes,
                best, 0, winner, 0, np.int32(j),
            )  # fmt: skip
            for offset in range(ahead, min(ahead + share, end), line):
                prefetch(X, offset)
            ahead += share
        tile_distances(rows, d, X, start * d, C, winner, 0, near, 0)
        if rows == columns:
            for i in range(columns):
                own[i] = winner[i]
            certain = _are_certain(near, best, blur)
        else:
            for i in range(rows):
                own[i] = winner[i]
            certain = False
        if not certain:
            settle_rows(start, start + rows, X, C, best, blur, labels, distances)
