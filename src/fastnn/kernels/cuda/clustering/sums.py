"""The sum of the rows of every cluster, without atomic additions: the same at every run.

The order of the rows by cluster (``sorting``) is cut into pieces of equal length. A block goes along a piece
with a feature to each thread, so that a row is read in one request, and writes down a sum where the cluster
changes. The sum of a cluster that lies in one piece is finished then. Of one that is cut, each of its pieces
keeps a part, and the parts are added in order::

    order      0 0 0 0 0 0 | 0 1 1 1 2 2 | 2 2 3 3 3 4 | ...
    pieces          0      |      1      |      2
    parts      first: 0      first: 0      first: 2            of the cluster that a piece begins with
                             last: 2       last: 4             and of the one that it ends with
    finished                 1             3

The weights are a feature more, of which every row has 1.

To sort takes many launches, each longer than the sums of a small batch. So where there are few rows, a block
has a cluster, and goes through the labels of all.
"""

from typing import Any

import numpy as np
from numba import types

from fastnn.kernels.cuda.clustering.sorting import sort_by_cluster
from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, kernel
from fastnn.kernels.cuda.runtime.memory import Scratch, blocks_per_grid

# Rows of a piece: many for long rows, whose two parts take as much memory as two rows, few for short ones, as
# there are few threads to a piece.
_LEAST, _MOST, _BY_FEATURE = 64, 1024, 8
_MAX_ROWS = 2**31 - 1  # of what is counted in int32
_FEATURES = block_threads(128)  # threads of a block at most
THREADS = block_threads(256)  # of a block that has few rows
_WARP = block_threads(32)
# Few rows: so few that a thread has seen its part of the labels before a sort would have been launched; and
# turns of all threads that take a device with 10,000 lanes as long.
_FEW_ROWS, _FEW_TURNS = block_threads(4096), 1 << 26


@kernel
def _sum_few(X, weights, weighted, labels, width, part_rows, sums, counts):
    """The rows of one cluster, out of few. `width` threads share a row; each such group has a part.

    width : power of 2, THREADS at most. part_rows : rows of a group.
    """
    n, d = X.shape
    shared_sums = cuda.shared.array(THREADS, types.float64)
    shared_weights = cuda.shared.array(THREADS, types.float64)
    x = cuda.threadIdx.x
    cluster, group = cuda.blockIdx.x, x // width
    f = cuda.blockIdx.y * width + x % width
    total, weight = 0.0, 0.0
    for i in range(group * part_rows, min(n, (group + 1) * part_rows)):
        if labels[i] == cluster:
            w = np.float64(weights[i]) if weighted else 1.0
            weight += w
            if f < d:
                total += w * np.float64(X[i, f])
    shared_sums[x], shared_weights[x] = total, weight
    cuda.syncthreads()
    if group == 0:
        for other in range(x + width, THREADS, width):
            total += shared_sums[other]
            weight += shared_weights[other]
        if f < d:
            sums[cluster, f] = total
        if f == 0:
            counts[cluster] = weight


@kernel
def _sum_pieces(X, weights, weighted, labels, order, starts, piece_rows, sums, counts, parts):
    """Add up the rows of one piece. parts : OUT (pieces, 2, d + 1) float64."""
    n, d = X.shape
    piece = cuda.blockIdx.x
    f = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    if f > d:
        return
    first, last = piece * piece_rows, min(n, (piece + 1) * piece_rows)
    begin, cluster, total = first, labels[order[first]], 0.0
    for at in range(first, last + 1):
        row = order[at] if at < last else 0
        following = labels[row] if at < last else -1
        if following != cluster:
            if starts[cluster] < first or starts[cluster + 1] > last:
                parts[piece, 0 if begin == first else 1, f] = total
            elif f < d:
                sums[cluster, f] = total
            else:
                counts[cluster] = total
            begin, cluster, total = at, following, 0.0
        if at < last:
            weight = np.float64(weights[row]) if weighted else 1.0
            total += weight * np.float64(X[row, f]) if f < d else weight


@kernel
def _join_parts(starts, piece_rows, parts, sums, counts):
    """The sums of the clusters that are cut, and of those without rows. A thread has a cluster's feature."""
    cluster = cuda.blockIdx.x
    d = sums.shape[1]
    f = cuda.blockIdx.y * cuda.blockDim.x + cuda.threadIdx.x
    if f > d:
        return
    begin, end = starts[cluster], starts[cluster + 1]
    total = 0.0
    if begin < end:
        first, last = begin // piece_rows, (end - 1) // piece_rows
        if first == last:
            return
        total = parts[first, 0 if begin == first * piece_rows else 1, f]
        for piece in range(first + 1, last + 1):
            total += parts[piece, 0, f]
    if f < d:
        sums[cluster, f] = total
    else:
        counts[cluster] = total


def sum_rows(
    X: Any, weights: Any, labels: Any, sums: Any, counts: Any, scratch: Scratch | None = None
) -> None:
    """Weighted sum and weight of the rows of every cluster, in float64; device arrays.

    Parameters
    ----------
    X : (n, d), n >= 1
    weights : (n,) of X's dtype, or None for ones
    labels : (n,) int32, in 0..k-1
    sums, counts : (k, d) and (k,) float64
        Written.
    scratch : Scratch, default=None
        Work arrays to use again.

    Raises
    ------
    ValueError
        There are more rows than int32 counts.
    """
    n, d = X.shape
    if n > _MAX_ROWS:
        raise ValueError(
            f"X has {n} rows; on a GPU the rows of clusters are added up for {_MAX_ROWS} at most."
        )
    k = counts.shape[0]
    weighted = weights is not None
    scratch = scratch or Scratch()
    # Where there are no weights an array of their type stands in for them: one kernel for both.
    row_weights = weights if weighted else scratch.array("no weights", 1, X.dtype)
    width = min(THREADS, 1 << (max(d, 1) - 1).bit_length())
    slabs = blocks_per_grid(max(d, 1), width)
    if n <= _FEW_ROWS and n * k * slabs * width <= _FEW_TURNS:
        part_rows = blocks_per_grid(n, THREADS // width)
        _sum_few[(k, slabs), THREADS](X, row_weights, int(weighted), labels, width, part_rows, sums, counts)
        return
    order, starts = sort_by_cluster(labels, k, scratch)
    piece_rows = max(_LEAST, min(_MOST, _BY_FEATURE * d))
    pieces = blocks_per_grid(n, piece_rows)
    parts = scratch.array("parts", (pieces, 2, d + 1), np.float64)
    threads = min(_FEATURES, blocks_per_grid(d + 1, _WARP) * _WARP)
    across = blocks_per_grid(d + 1, threads)
    _sum_pieces[(pieces, across), threads](
        X,
        row_weights,
        int(weighted),
        labels,
        order,
        starts,
        piece_rows,
        sums,
        counts,
        parts,
    )
    _join_parts[(k, across), threads](starts, piece_rows, parts, sums, counts)
