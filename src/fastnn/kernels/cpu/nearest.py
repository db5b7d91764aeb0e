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
from numba.extending import register_jitable

from fastnn.kernels.cpu.distances import squared_distance
from fastnn.kernels.cpu.tile import TILE_ROWS, lanes, prefetch, tile_argmin, tile_columns, tile_difference

# A distance below this many eps of |x|^2 is compared with all others in the direct form: the winner of the
# bracket, whose error is a few eps of |x|^2, might be farther than the nearest centre by a hundredth.
BLUR = 400


@register_jitable
def pack_centers(C, shift, panels, half_norms):
    """Prepare centres for ``nearest_rows``.

    Parameters
    ----------
    C : array (k, d)   # IN
    shift : array (d,)   # OUT
        A point amid the centres: the mean of some half of them, those nearest to the mean of all, so that a
        few far ones do not draw it away from the rest.
    panels : array (ceil(k / TILE_ROWS) * TILE_ROWS * d,)   # OUT
        shift - C, in panels of TILE_ROWS centres that are contiguous at each dimension.
    half_norms : array (k,)   # OUT
        |c - shift|^2 / 2; infinite for a centre that is not finite, so that it is never the nearest.
    """
    k, d = C.shape
    mean, spread = np.zeros(d), np.zeros(k)
    usable = 0
    for j in range(k):
        for f in range(d):
            spread[j] += C[j, f] * 0.0  # NaN if the centre is not finite
        if spread[j] == 0.0:
            usable += 1
            for f in range(d):
                mean[f] += C[j, f]
    for j in range(k):
        for f in range(d):
            difference = C[j, f] - mean[f] / usable
            spread[j] += difference * difference
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
        shift[f] = mean[f] / max(inner, 1)
    for j in range(k):
        tile, row = divmod(j, TILE_ROWS)
        start = tile * TILE_ROWS * d + row
        norm = 0.0
        for f in range(d):
            value = C[j, f] - shift[f] if spread[j] < np.inf else C.dtype.type(0)
            panels[start + f * TILE_ROWS] = -value
            norm += value * value
        half_norms[j] = 0.5 * norm if spread[j] < np.inf else np.inf


@register_jitable
def _nearest_directly(x, C):
    """Label and squared distance of the nearest centre by the direct form; 0 where none is finite."""
    nearest, least = np.int32(0), squared_distance(x, C[0])
    for j in range(1, C.shape[0]):
        distance = squared_distance(x, C[j])
        if distance < least or (np.isnan(least) and not np.isnan(distance)):
            nearest, least = np.int32(j), distance
    return nearest, least


@register_jitable
def nearest_rows(X, C, shift, panels, half_norms, first, last, panel, best, index, labels, distances):
    """labels[i] = argmin_j |x_i - c_j|^2 and distances[i] = that minimum, for first <= i < last.

    Ties in the bracket go to the lowest j. A centre that is not finite is passed over, and a row without a
    finite distance gets label 0.

    Parameters
    ----------
    X : array (n, d), C-contiguous   # IN
    C : array (k, d), C-contiguous   # IN
    shift, panels, half_norms   # IN
        Of ``pack_centers``.
    panel : array (d * tile_columns,)   # WORK
        X - shift, a row for every dimension.
    best, index : arrays (tile_columns,) of X's dtype and int32   # WORK
    labels : array (n,) int32   # OUT
    distances : array (n,)   # OUT

    Notes
    -----
    FLOPs: 2 n k d + 3 n d. Bytes: X once from memory; the panels from cache for every tile_columns rows.
    """
    k, d = C.shape
    width, columns = lanes(X), tile_columns(X)
    blur = X.dtype.type(BLUR * np.finfo(X.dtype).eps)
    # While one block of rows is compared with the centres, the next one is fetched from memory, a share of it
    # beside each tile.
    line = 64 // X.itemsize
    share = -(-columns * d // (-(-k // TILE_ROWS) * line)) * line
    for start in range(first, last, columns):
        ahead = (start + columns) * d
        end = min(ahead + columns * d, last * d)
        rows = min(columns, last - start)
        for i in range(0, columns, width):
            # A vector without rows of its own repeats the last row.
            first_lane = min(i, rows - 1)
            tile_difference(
                min(width, rows - first_lane), d, X, (start + first_lane) * d, d, shift, panel, i, columns
            )
        for i in range(columns):
            best[i] = np.inf
            index[i] = 0
        for j in range(0, k, TILE_ROWS):
            tile_argmin(
                min(TILE_ROWS, k - j), d, panels, j * d, TILE_ROWS, half_norms, j, panel, 0, columns,
                best, 0, index, 0, np.int32(j),
            )  # fmt: skip
            for offset in range(ahead, min(ahead + share, end), line):
                prefetch(X, offset)
            ahead += share
        for i in range(rows):
            nearest = index[i]
            distance = squared_distance(X[start + i], C[nearest])
            # |x - shift|^2 = distance - 2 best: the bracket's error is some eps of this.
            if not np.isfinite(distance) or distance < blur * (distance - 2 * best[i]):
                nearest, distance = _nearest_directly(X[start + i], C)
            labels[start + i] = nearest
            distances[start + i] = distance
