"""k-means++: what candidates for the next centre would leave of the potential, in one pass over the rows.

Every row keeps the distance to the nearest centre, `closest`. A pass computes a row's distances to the centre
that was chosen last and to some candidates for the next one, in the direct form; the first one goes into
`closest`, the others into sums, one for each candidate and task of rows. Nothing is known of a row but
`closest`, and X is read once for each centre.

Rows of few features lie along the lanes of a register tile of squared differences; for long ones that move
takes longer than the sums over the lanes that it saves, and the features lie there (``pairs``).
"""

import numpy as np
from numba import prange

from fastnn.kernels.compiler.jit import jit, parallel_jit
from fastnn.kernels.compiler.linked import linked
from fastnn.kernels.cpu.clustering.buffers import thread_buffers
from fastnn.kernels.cpu.clustering.distances import squared_distance
from fastnn.kernels.cpu.clustering.pairs import distances_in_lanes
from fastnn.kernels.cpu.clustering.sweep import clear
from fastnn.kernels.cpu.clustering.transpose import transpose_rows
from fastnn.kernels.shared.value_types import Float64s2D, Reals, Reals2D
from fastnn.kernels.simd.tile import (
    AHEAD_BYTES,
    TILE_ROWS,
    TilePanel,
    prefetch_range,
    tile_add_least,
    tile_columns,
    tile_squares,
    vector_width,
)
from fastnn.tables.jitable import register_jitable

# Rows per task. Each has a potential of its own, by which the task of a candidate is found; its row is then
# looked for among half of these on average, on one thread.
TASK_ROWS = 512
# Features from which they lie along the lanes.
_LONG = 48


def seeding_tasks(n: int) -> int:
    """Number of tasks that `n` rows are cut into."""
    return -(-n // TASK_ROWS)


@register_jitable
def _note(weights, start, rows, count, values, closest, sums):
    """The distances of a tile of rows, into `closest` and the sums; no weights stand for ones."""
    columns, weighted = tile_columns(closest), weights.size > 0
    if rows == columns:
        tile_add_least(
            count, values, 0, closest, start, weights, start if weighted else 0, weighted,
            sums, 0, sums.shape[1],
        )  # fmt: skip
        return
    for i in range(rows):
        closest[start + i] = min(closest[start + i], values[i])
    for c in range(count):
        for i in range(rows):
            w = np.float64(weights[start + i]) if weighted else 1.0
            sums[c, 0] += w * np.float64(min(closest[start + i], values[c * columns + i]))


@register_jitable
def _total(count, sums, t, potentials):
    for c in range(count):
        total = 0.0
        for i in range(sums.shape[1]):
            total += sums[c, i]
        potentials[t, c] = total


@linked("candidates-short")
def _task_of_short_rows(
    t: int, X: Reals2D, weights: Reals, count: int, panels: Reals, closest: Reals, panel: Reals,
    values: Reals, sums: Float64s2D, potentials: Float64s2D,
):  # fmt: skip
    """The rows of task t, of few features: points along the lanes.

    panel, values, sums : WORK, (d, columns), (candidates, columns), and (candidates, lanes): a sum is kept
    for every lane, and they are added up at the end.
    """
    (n, d), columns = X.shape, tile_columns(X)
    clear(sums)
    for start in range(t * TASK_ROWS, min(n, (t + 1) * TASK_ROWS), columns):
        rows = min(columns, n - start)
        ahead = start * d + AHEAD_BYTES // X.itemsize
        prefetch_range(ahead, ahead + columns * d, X)
        transpose_rows(X, start, rows, panel)
        for c in range(0, count, TILE_ROWS):
            tile_squares(
                min(TILE_ROWS, count - c), d, panels, c * d, TilePanel(panel, 0, columns),
                TilePanel(values, c * columns, columns),
            )  # fmt: skip
        _note(weights, start, rows, count, values, closest, sums)
    _total(count, sums, t, potentials)


@linked("candidates-long")
def _task_of_long_rows(
    t: int, X: Reals2D, weights: Reals, candidates: Reals2D, closest: Reals, by_row: Reals, values: Reals,
    sums: Float64s2D, potentials: Float64s2D,
):  # fmt: skip
    """The rows of task t, of many features: these along the lanes. by_row, values, sums : WORK, as above."""
    n, count, columns = X.shape[0], candidates.shape[0], tile_columns(X)
    clear(sums)
    for start in range(t * TASK_ROWS, min(n, (t + 1) * TASK_ROWS), columns):
        rows = min(columns, n - start)
        distances_in_lanes(X, start, rows, candidates, by_row, values)
        _note(weights, start, rows, count, values, closest, sums)
    _total(count, sums, t, potentials)


@parallel_jit
def _try_short_rows(n_workers, X, weights, candidates, closest, potentials):
    (count, d), columns = candidates.shape, tile_columns(X)
    tiles = (count + TILE_ROWS - 1) // TILE_ROWS
    panels = np.zeros(tiles * TILE_ROWS * d, X.dtype)
    for c in range(count):
        for f in range(d):
            panels[(c // TILE_ROWS * d + f) * TILE_ROWS + c % TILE_ROWS] = candidates[c, f]
    panel, values = thread_buffers(n_workers, d * columns, X), thread_buffers(n_workers, count * columns, X)
    sums, tasks = thread_buffers(n_workers * count, vector_width(X), potentials), potentials.shape[0]
    for w in prange(n_workers):
        for t in range(w * tasks // n_workers, (w + 1) * tasks // n_workers):
            _task_of_short_rows(
                np.int64(t), X, weights, count, panels, closest, panel[w], values[w],
                sums[w * count : (w + 1) * count], potentials,
            )  # fmt: skip


@parallel_jit
def _try_long_rows(n_workers, X, weights, candidates, closest, potentials):
    count, tasks = candidates.shape[0], potentials.shape[0]
    size = count * tile_columns(X)
    values, by_row = thread_buffers(n_workers, size, X), thread_buffers(n_workers, size, X)
    sums = thread_buffers(n_workers * count, vector_width(X), potentials)
    for w in prange(n_workers):
        for t in range(w * tasks // n_workers, (w + 1) * tasks // n_workers):
            _task_of_long_rows(
                np.int64(t), X, weights, candidates, closest, by_row[w], values[w],
                sums[w * count : (w + 1) * count], potentials,
            )  # fmt: skip


def try_candidates(
    parallel: bool,
    n_workers: int,
    X: np.ndarray,
    weights: np.ndarray,
    candidates: np.ndarray,
    closest: np.ndarray,
    potentials: np.ndarray,
) -> None:
    """Fold the centre chosen last into `closest`, and sum what each candidate would leave.

    Parameters
    ----------
    parallel : bool
        Of ``threads_for``.
    n_workers : int
        Threads.
    X : ndarray of shape (n, d)   # IN
    weights : ndarray of shape (n,), or (0,) for ones   # IN
    candidates : ndarray of shape (1 + n_candidates, d)   # IN
        The centre chosen last, then the candidates.
    closest : ndarray of shape (n,)   # IN/OUT
        Squared distance to the nearest centre.
    potentials : ndarray of shape (seeding_tasks(n), 1 + n_candidates), float64   # OUT
        Weighted sums over a task's rows of the squared distance to the nearest centre: without a candidate,
        and were candidate c one of them.

    Notes
    -----
    FLOPs: 3 n d (1 + n_candidates). Bytes: X, closest and weights once.
    """
    try_rows = _try_long_rows if X.shape[1] >= _LONG else _try_short_rows
    try_rows(parallel, n_workers, X, weights, candidates, closest, potentials)


@jit
def pick_rows(X, weights, last, closest, potentials, targets, picked):
    """picked[c] = first row at which the running sum of the potential reaches targets[c].

    last : IN (d,), a centre that `closest` does not know of yet. potentials : IN (tasks,), which do.
    """
    n = X.shape[0]
    for c in range(targets.shape[0]):
        t, below = 0, 0.0
        while t < potentials.shape[0] - 1 and below + potentials[t] < targets[c]:
            below += potentials[t]
            t += 1
        for i in range(t * TASK_ROWS, n):
            w = np.float64(weights[i]) if weights.size > 0 else 1.0
            below += w * np.float64(min(closest[i], squared_distance(X[i], last)))
            picked[c] = i
            if below >= targets[c]:
                break
