"""k-means: the nearest centre of every row, and the sum of the rows of every cluster.

Both are halves of one function, which reads a block of rows once for the two of them::

    sweep_rows ── task of rows ── block that fits the L2 cache ──┬── gather_rows      of a mini-batch
                                                                 ├── nearest_rows     labels, distances
                                                                 └── accumulate_rows  sums, counts

How the rows are cut into chunks depends on the shapes alone and the chunks' sums are added in order, so the
result is bitwise the same for any number of threads.
"""

import numpy as np
from numba import njit, prange

from fastnn.kernels.compiler.jit import parallel_jit, sums_in_any_order
from fastnn.kernels.compiler.linked import linked
from fastnn.kernels.cpu.clustering.buffers import thread_buffers
from fastnn.kernels.cpu.clustering.gather import gather_rows
from fastnn.kernels.cpu.clustering.nearest import nearest_rows, pack_centers
from fastnn.kernels.cpu.clustering.structures import PackedCenters, RowsToCopy, SweptRows, TileBuffers
from fastnn.kernels.shared.value_types import Float64s, Reals2D
from fastnn.kernels.simd.tile import (
    SUM_LANES,
    TILE_ROWS,
    TilePanel,
    tile_add_rows,
    tile_columns,
    vector_width,
)
from fastnn.tables.jitable import register_jitable

# Rows per task when nothing has to be summed: enough to hide the launch, few enough to balance the threads.
_ROWS = 256
# Partial sums are kept per chunk; together they may take 8 MiB, and a quarter of what the rows take.
_MAX_PARTIALS = 1 << 20
_MAX_CHUNKS = 64
# Bytes of X in one block: half of the smallest L2 cache in use.
_BLOCK_BYTES = 1 << 17
# Rows of a block at least: whole tiles for every row of ``targets``.
_BLOCK_ROWS = 64
# Where the sums are cut by columns: two cache lines of float64.
_COLUMNS = 16
# Partial sums that one thread adds up in the time that others take to begin.
_FEW_PARTIALS = 1 << 14


@register_jitable
def prepare_centers(C, assigning):
    """What ``pack_centers`` makes of the centres; empty where nothing is assigned."""
    k, d = (C.shape[0], C.shape[1]) if assigning else (0, 0)
    shift = np.empty(d, C.dtype)
    panels = np.empty(-(-k // TILE_ROWS) * TILE_ROWS * d + vector_width(C), C.dtype)
    starts = np.empty(k, C.dtype)
    if assigning:
        pack_centers(C, shift, panels, starts, np.empty(k), np.empty(d))
    return shift, panels, starts


@register_jitable
def accumulate_rows(X, weights, labels, first, last, begin, end, sums):
    """sums[l_i] += w_i x_i on columns begin..end for first <= i < last; one thread.

    X : IN (n, d). weights : IN (n,), or (0,) for ones. labels : IN (n,).
    sums : OUT (k, sum_columns(d)) float64; where `end` is d, column d counts the weights.
    """
    weighted, d = weights.size > 0, X.shape[1]
    if last > first:
        tile_add_rows(
            last - first, end - begin, TilePanel(X, first * d + begin, d), labels, first,
            weights, first if weighted else 0, weighted, end == d, sums, begin, sums.shape[1],
        )  # fmt: skip


@sums_in_any_order
def _weighted_sum(weights, distances, start, stop):
    """Sum of weights times distances over a range of rows, in float64."""
    total, some = 0.0, distances[start:stop]
    if weights.size > 0:
        own = weights[start:stop]
        for i in range(some.size):
            total += np.float64(own[i]) * np.float64(some[i])
    else:
        for i in range(some.size):
            total += np.float64(some[i])
    return total


@register_jitable
def _whole_tiles(row, n, columns):
    """The row where a tile begins, at or before this one; n for the end."""
    return n if row == n else row // columns * columns


@linked("sweep-task")
def _row_task(
    t: int, rows: SweptRows, source: RowsToCopy, C: Reals2D, packed: PackedCenters, inertias: Float64s,
    buffers: TileBuffers, assigning: bool, summing: bool,
):  # fmt: skip
    """Rows of task t: assign them, or add them up in partials[t], or both; their part of the inertia."""
    X, weights, labels, distances = rows.X, rows.weights, rows.labels, rows.distances
    (n, d), tasks, columns = X.shape, inertias.shape[0], tile_columns(X)
    first, last = _whole_tiles(n * t // tasks, n, columns), _whole_tiles(n * (t + 1) // tasks, n, columns)
    block = max(_BLOCK_ROWS, _BLOCK_BYTES // max(1, d * X.itemsize) // columns * columns)
    # Without sums the first partials stand for an argument that nobody touches.
    sums = rows.partials[t if summing else np.int64(0)]
    if summing:
        clear(sums)
    inertia = 0.0
    for start in range(first, last, block):
        stop = min(start + block, last)
        if source.order.size > 0:
            gather_rows(start, stop, source.order, source.X, source.weights, X, weights)
        if assigning:
            nearest_rows(X, C, packed, start, stop, buffers, labels, distances)
            inertia += _weighted_sum(weights, distances, start, stop)
        if summing:
            accumulate_rows(X, weights, labels, start, stop, np.int64(0), d, sums)
    inertias[t] = inertia


@linked("sum-task")
def _sum_task(s: int, tasks: int, rows: SweptRows, by_rows: bool):
    """Share s of the sums: of the clusters, from the chunks' sums; or of the columns, from all rows."""
    X, partials, sums, counts = rows.X, rows.partials, rows.sums, rows.counts
    d, k = X.shape[1], counts.size
    if by_rows:
        add_partials(partials, sums, counts, k * s // tasks, k * (s + 1) // tasks)
        return
    width = (d + tasks * _COLUMNS - 1) // (tasks * _COLUMNS) * _COLUMNS
    begin, end = s * width, min(d, (s + 1) * width)
    if begin >= d and s > 0:
        return
    # Slices: of an index that might be negative Numba asks at every turn whether it is.
    for j in range(k):
        own = partials[0, j, begin : end + 1 if end == d else end]
        for f in range(own.size):
            own[f] = 0.0
    accumulate_rows(X, rows.weights, rows.labels, np.int64(0), X.shape[0], begin, end, partials[0])
    for j in range(k):
        own, target = partials[0, j, begin:end], sums[j, begin:end]
        for f in range(target.size):
            target[f] = own[f]
        if end == d:
            counts[j] = partials[0, j, d]


@njit(inline="always")
def sweep_rows(n_workers, rows, source, C, assigning, summing):
    """Assign all rows to their centres, or add them up by label, or both; returns the inertia.

    Inlined into its callers before Numba looks for `prange`, so that the loops are theirs; and, by ``njit``,
    before it looks at types: ``register_jitable`` would have it compiled by itself too, for 0.8 s.

    rows : IN/OUT, SweptRows. C : IN (k, d), read if `assigning`.
    source : IN, RowsToCopy. Only when `assigning` are there any, and the rows and their weights OUT.
    n_workers : threads, each with buffers of its own for task after task.
    """
    X = rows.X
    n, d = X.shape
    chunks = rows.partials.shape[0]
    by_rows = summing and chunks > 1
    tasks = 0
    if by_rows:
        tasks = chunks
    elif assigning:
        tasks = (n + _ROWS - 1) // _ROWS
    inertias = np.empty(tasks)
    # Numba takes a tuple into `prange` where it sees how it was made, not as a function has returned it.
    shift, panels, starts = prepare_centers(C, assigning)
    packed, columns = PackedCenters(shift, panels, starts), tile_columns(X)
    panel = thread_buffers(n_workers, d * columns if assigning else 0, X)
    best, winner = thread_buffers(n_workers, columns, X), thread_buffers(n_workers, columns, rows.labels)
    for w in prange(n_workers):
        for t in range(w * tasks // n_workers, (w + 1) * tasks // n_workers):
            buffers = TileBuffers(panel[w], best[w], winner[w])
            _row_task(np.int64(t), rows, source, C, packed, inertias, buffers, assigning, by_rows)
    if summing and by_rows and rows.partials.size < _FEW_PARTIALS:
        _sum_task(np.int64(0), np.int64(1), rows, by_rows)
    elif summing:
        # Of few rows in many clusters no partial sums are made, these would cost more than the rows.
        for s in prange(n_workers):
            _sum_task(np.int64(s), np.int64(n_workers), rows, by_rows)
    inertia = 0.0
    for t in range(tasks):
        inertia += inertias[t]
    return inertia


@parallel_jit
def sweep(n_workers, X, weights, C, labels, distances, sums, counts, partials, assigning, summing):
    """``sweep_rows``, for callers in Python: a structure would cost them a microsecond."""
    rows = SweptRows(X, weights, labels, distances, sums, counts, partials)
    nothing = RowsToCopy(X, weights, np.empty(0, np.int64))
    return sweep_rows(n_workers, rows, nothing, C, assigning, summing)


# Loops, where an assignment to a slice would do: Numba compiles the check of its shapes and the message of
# its error along, for three seconds.
@register_jitable
def clear(sums):
    """Set all to 0."""
    for j in range(sums.shape[0]):
        for f in range(sums.shape[1]):
            sums[j, f] = 0


@register_jitable
def add_partials(partials, sums, counts, first, last):
    """The sums and counts of all chunks, in the order of the chunks, for first <= j < last."""
    d = sums.shape[1]
    for j in range(first, last):
        for f in range(d):
            sums[j, f] = 0.0
        counts[j] = 0.0
    for t in range(partials.shape[0]):
        for j in range(first, last):
            for f in range(d):
                sums[j, f] += partials[t, j, f]
            counts[j] += partials[t, j, d]


def sum_columns(d: int) -> int:
    """Columns of a row of partial sums: the features and the count, in whole vectors."""
    return -(-(d + 1) // SUM_LANES) * SUM_LANES


def sum_chunks(n: int, k: int, d: int) -> int:
    """Number of chunks with sums of their own: a function of the shape, so that results are too."""
    by_memory = _MAX_PARTIALS // max(1, k * sum_columns(d))
    by_rows = n // (8 * max(1, k))
    return max(1, min(_MAX_CHUNKS, by_memory, by_rows, n // 256))


def new_partials(n: int, k: int, d: int) -> np.ndarray:
    """The partial sums that ``sweep`` works with for these shapes."""
    return np.empty((sum_chunks(n, k, d), k, sum_columns(d)))


def sweep_flops(n: int, k: int, d: int) -> float:
    """What ``threads_for`` is told about a sweep over n rows: an eighth of its FLOPs.

    A fit is thousands of sweeps. On few rows a second thread saves 10 us of each, but where another process
    keeps the second core busy it costs milliseconds.
    """
    return (3.0 * n * d * k + 10.0 * n) / 8
