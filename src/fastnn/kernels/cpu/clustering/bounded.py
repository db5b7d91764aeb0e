"""Lloyd's pass over the rows that leaves out those whose centre cannot have changed.

Every row keeps two distances, in the order of Hamerly (2010): at most `upper` to its own centre, at least
`lower` to any other. When the centres move, the triangle inequality says by how much these may have changed
(``movement``)::

    upper += how far its own centre has moved
    lower -= how far another centre may have moved         upper < lower: the row stays where it is

Most rows are settled by these two numbers, without a look at their features. For the others the distance to
their own centre is computed; those that are still open wait in a queue, until there are enough of them for
the register tile to compare them with all centres (``nearest``), which also finds the second smallest
distance.

References
----------
Hamerly, "Making k-means even faster", SIAM International Conference on Data Mining 2010.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from fastnn.kernels.compiler.jit import jit, parallel_jit
from fastnn.kernels.compiler.linked import linked
from fastnn.kernels.cpu.clustering.buffers import thread_buffers
from fastnn.kernels.cpu.clustering.movement import ROUNDING, Movement, distance_margin
from fastnn.kernels.cpu.clustering.nearest import is_long, settle_rows
from fastnn.kernels.cpu.clustering.pairs import distances_in_lanes
from fastnn.kernels.cpu.clustering.structures import PackedCenters
from fastnn.kernels.cpu.clustering.sweep import prepare_centers
from fastnn.kernels.cpu.clustering.transpose import transpose_differences
from fastnn.kernels.shared.brackets import BLUR, is_certain
from fastnn.kernels.shared.value_types import Int32s, Int64s, Reals, Reals2D
from fastnn.kernels.simd.tile import (
    TilePanel,
    prefetch_range,
    tile_argmin_two,
    tile_columns,
    tile_distances,
    tile_lowest_two,
)
from fastnn.tables.jitable import register_jitable

# Rows of one task: its open rows fill the queue's tiles, and there are enough tasks for the threads.
_ROWS = 2048
# Elements of the rows of a queue, which stays in the second-level cache; a block has as many rows.
_BLOCK = 1 << 14
# Error of the bracket, in eps of |x|^2: this and as many as there are features, more than it can be.
_SLACK = 32


def bound_tasks(n: int) -> int:
    """Number of tasks that `n` rows are cut into."""
    return -(-n // _ROWS)


@register_jitable
def _block_rows(X):
    """Rows of a block and of the queue: whole tiles."""
    columns = tile_columns(X)
    return max(columns, min(_ROWS, _BLOCK // max(1, X.shape[1])) // columns * columns)


class Buffers(NamedTuple):
    """What a thread works with: which rows of a block are open, rows that wait in the queue, and a tile."""

    found: Int32s  # (block rows,) int32: which rows of the task these are
    queue: Reals2D  # (block rows, d)
    waiting: Int32s  # (block rows,) int32: which rows of the task these are
    owner: Int32s  # (block rows,) int32: their labels
    panel: Reals  # (d * tile_columns,)
    best: Reals  # (tile_columns,), as the others of a tile
    second: Reals
    nearest: Reals
    winner: Int32s  # int32
    labels: Int32s  # int32


@register_jitable
def _search(X, first, count, C, packed, buffers, labels, upper, lower):
    """Compare `count` rows with all centres: their labels and bounds. X : IN, rows of buffers.waiting."""
    (k, d), columns = C.shape, tile_columns(C)
    real = C.dtype.type
    eps = np.finfo(C.dtype).eps
    blur, slack, zero, one = real((BLUR + d) * eps), real((_SLACK + d) * eps), real(0), real(1)
    infinity = real(np.inf)
    grow, shrink = real(1 + distance_margin(C)), real(1 - distance_margin(C))
    for start in range(0, count, columns):
        rows = min(columns, count - start)
        transpose_differences(X, start, rows, packed.shift, buffers.panel)
        tile_argmin_two(
            k, d, packed.panels, 0, packed.starts, 0, TilePanel(buffers.panel, 0, columns),
            buffers.best, 0, buffers.winner, 0, np.int32(0), buffers.second, 0,
        )  # fmt: skip
        tile_distances(rows, d, X, start * d, C, buffers.winner, 0, buffers.nearest, 0)
        doubtful = 0
        for i in range(rows):
            buffers.labels[i] = buffers.winner[i]
            doubtful += 0 if is_certain(buffers.nearest[i], buffers.best[i], blur) else 1
        if doubtful > 0:
            settle_rows(np.int64(0), rows, X[start:], C, buffers.best, blur, buffers.labels, buffers.nearest)
        for i in range(rows):
            # |x - shift|^2 is the distance less twice the bracket, for the second nearest centre as well.
            distance, best = buffers.nearest[i], buffers.best[i]
            gap = buffers.second[i] - best
            other = (distance + (gap + gap)) * (one - slack) - slack * (distance - (best + best))
            # Where another centre than the bracket's was nearest the brackets say nothing about the others.
            known = (buffers.labels[i] == buffers.winner[i]) & (other > zero) & (other < infinity)
            row = first + buffers.waiting[start + i]
            labels[row] = buffers.labels[i]
            upper[row] = np.sqrt(distance) * grow
            lower[row] = np.sqrt(other) * shrink if known else zero


@register_jitable
def _search_along_features(X, first, count, C, buffers, labels, upper, lower):
    """``_search`` where ``nearest_rows`` does without the bracket: the same distances as there."""
    k = C.shape[0]
    grow, shrink = C.dtype.type(1 + distance_margin(C)), C.dtype.type(1 - distance_margin(C))
    columns = tile_columns(C)
    by_row, by_center = buffers.panel[: k * columns], buffers.panel[k * columns :]
    for start in range(0, count, columns):
        rows = min(columns, count - start)
        distances_in_lanes(X, start, rows, C, by_row, by_center)
        tile_lowest_two(k, by_center, 0, buffers.best, buffers.winner, buffers.second)
        for i in range(rows):
            row, second = first + buffers.waiting[start + i], buffers.second[i]
            labels[row], upper[row] = buffers.winner[i], np.sqrt(buffers.best[i]) * grow
            # An infinite bound would never fall again.
            lower[row] = np.sqrt(second) * shrink if second < C.dtype.type(np.inf) else C.dtype.type(0)


@register_jitable
def _search_rows(rows, first, count, C, packed, buffers, labels, upper, lower):
    """``_search`` by the form that suits the shapes; how many of the rows change their centre."""
    for i in range(count):
        buffers.owner[i] = labels[first + buffers.waiting[i]]
    if is_long(C.shape[0], C.shape[1]):
        _search_along_features(rows, first, count, C, buffers, labels, upper, lower)
    else:
        _search(rows, first, count, C, packed, buffers, labels, upper, lower)
    changed = 0
    for i in range(count):
        changed += 0 if labels[first + buffers.waiting[i]] == buffers.owner[i] else 1
    return changed


@register_jitable
def _follow(own, upper, lower, movement):
    """The bounds of a tile of rows after the centres have moved; how many rows are open.

    Branch-free, in the dtype of the rows; `moved` and `far` are rounded to the safe side.
    """
    eps = np.finfo(upper.dtype).eps
    more, less = upper.dtype.type(1 + ROUNDING * eps), upper.dtype.type(1 - ROUNDING * eps)
    zero, hits = upper.dtype.type(0), 0
    for i in range(tile_columns(upper)):
        # Unsigned: of one that might be negative Numba asks whether it is.
        j = np.uint32(own[i])
        above, below = (upper[i] + movement.moved[j]) * more, lower[i]
        near = min(below - movement.near_moved[j], movement.far[j] - above)
        below = max(max(below - movement.others_moved[j], near), zero) * less
        upper[i], lower[i] = above, below
        hits += 0 if above < below else 1  # one that is not a number is open
    return hits


@linked("bounded-task")
def _task(
    t: int, X: Reals2D, C: Reals2D, packed: PackedCenters, movement: Movement, labels: Int32s, upper: Reals,
    lower: Reals, buffers: Buffers, searched: Int64s, changed: Int64s, fresh: int,
):  # fmt: skip
    """The rows of task t.

    searched, changed : OUT (tasks,), how many of them were compared with all centres, and changed theirs.
    """
    n, d = X.shape
    first, last = t * _ROWS, min(n, (t + 1) * _ROWS)
    room, columns = buffers.queue.shape[0], tile_columns(X)
    grow = X.dtype.type(1 + distance_margin(X))
    count, total, moved = 0, 0, 0
    for start in range(first, last, room):
        open_rows = 0
        if fresh:
            block = min(room, last - start)
            for i in range(block):
                buffers.waiting[i] = start - first + i
            moved += _search_rows(X[start:], first, block, C, packed, buffers, labels, upper, lower)
            total += block
            continue
        for tile in range(start, min(start + room, last), columns):
            rows = min(columns, last - tile)
            own = labels[tile : tile + rows]
            above, below = upper[tile : tile + rows], lower[tile : tile + rows]
            if rows < columns:
                # A tile's copy: what lies behind the rows is not theirs.
                for i in range(columns):
                    buffers.labels[i], buffers.best[i], buffers.second[i] = own[0], above[0], below[0]
                for i in range(rows):
                    buffers.labels[i], buffers.best[i], buffers.second[i] = own[i], above[i], below[i]
                hits = _follow(buffers.labels, buffers.best, buffers.second, movement)
                for i in range(rows):
                    above[i], below[i] = buffers.best[i], buffers.second[i]
            else:
                hits = _follow(own, above, below, movement)
            if hits > 0:
                known = open_rows
                for i in range(rows):
                    buffers.found[open_rows] = tile - first + i
                    open_rows += 0 if above[i] < below[i] else 1
                # They are read when the block has been gone through: no sooner than memory answers.
                for i in range(known, open_rows):
                    at = (first + buffers.found[i]) * d
                    prefetch_range(at, at + d, X)
        for i in range(open_rows):
            row = first + buffers.found[i]
            tile_distances(1, d, X, row * d, C, labels, row, buffers.nearest, 0)
            above = np.sqrt(buffers.nearest[0]) * grow
            upper[row] = above
            if above < lower[row]:
                continue
            for f in range(d):
                buffers.queue[count, f] = X[row, f]
            buffers.waiting[count] = buffers.found[i]
            count += 1
            if count == room:
                moved += _search_rows(buffers.queue, first, count, C, packed, buffers, labels, upper, lower)
                total += count
                count = 0
    moved += _search_rows(buffers.queue, first, count, C, packed, buffers, labels, upper, lower)
    searched[t], changed[t] = total + count, moved


@parallel_jit
def bounded_assign(n_workers, X, C, movement, labels, upper, lower, searched, changed, fresh):
    """The nearest centre of every row, of which bounds are known; not for ``is_small`` shapes.

    Parameters
    ----------
    n_workers : int
        Threads.
    X : array (n, d)   # IN
    C : array (k, d)   # IN
    movement : Movement   # IN
        Since `upper` and `lower` were right.
    labels : array (n,) int32   # IN/OUT
    upper, lower : arrays (n,) of X's dtype   # IN/OUT
        Nothing is read of them if `fresh`.
    searched, changed : arrays (bound_tasks(n),) int64   # OUT
        How many rows of each task were compared with all centres, and how many changed theirs.
    fresh : int
        Whether there are no bounds yet: all rows are compared with all centres.

    Notes
    -----
    FLOPs: 2 k d for a row that is compared with all centres, 3 d for one whose distance is computed.
    """
    d, tasks = X.shape[1], searched.size
    columns, room = tile_columns(X), _block_rows(X)
    shift, panels, starts = prepare_centers(C, True)
    packed = PackedCenters(shift, panels, starts)
    queue = np.empty((n_workers, room, d), X.dtype)
    numbers, panel = thread_buffers(3 * n_workers, room, labels), thread_buffers(n_workers, d * columns, X)
    tile, indices = thread_buffers(3 * n_workers, columns, X), thread_buffers(2 * n_workers, columns, labels)
    for w in prange(n_workers):
        buffers = Buffers(
            numbers[3 * w], queue[w], numbers[3 * w + 1], numbers[3 * w + 2], panel[w],
            tile[3 * w], tile[3 * w + 1], tile[3 * w + 2], indices[2 * w], indices[2 * w + 1],
        )  # fmt: skip
        # Tasks by turns: open rows may come in crowds.
        for t in range(w, tasks, n_workers):
            _task(
                np.int64(t), X, C, packed, movement, labels, upper, lower, buffers, searched, changed, fresh
            )  # fmt: skip


@jit
def move_rows(X, before, labels, sums, counts):
    """Take every row whose label has changed out of one cluster's sum and add it to another's.

    Parameters
    ----------
    X : array (n, d)   # IN
    before : array (n,) int32   # IN/OUT
        The labels that `sums` and `counts` are of; then `labels`.
    labels : array (n,) int32   # IN
    sums, counts : arrays (k, d) and (k,) float64   # IN/OUT

    Notes
    -----
    Bytes: both arrays of labels, and the rows that have changed.
    """
    (n, d), some = X.shape, 64
    for start in range(0, n, some):
        old, new = before[start : start + some], labels[start : start + some]
        differ = 0
        for i in range(new.size):
            differ += 0 if old[i] == new[i] else 1
        if differ == 0:
            continue
        for i in range(new.size):
            a, b = old[i], new[i]
            if a == b:
                continue
            # Two loops: in one, the compiler would have to know that a is not b.
            for f in range(d):
                sums[a, f] -= np.float64(X[start + i, f])
            for f in range(d):
                sums[b, f] += np.float64(X[start + i, f])
            counts[a] -= 1.0
            counts[b] += 1.0
            old[i] = b
