"""The nearest centre of each row by its leading dimensions, for long rows that vary in few directions.

Rows and centres are turned so that most of the variance lies in the first m of d dimensions. Of a row x and a
centre c, taken from the mean of the rows, these are y and z; of the d - m others nothing but their length is
kept, s and t. As two vectors are at most as alike as they are long,

    |x - c|^2  >=  |x|^2 + |c|^2 - 2 (y.z + s t)

and that is a product of m + 1 features where the distance has d. The centre that has the lowest bound is most
often the nearest; its distance, computed in full, rules out all centres whose bound is higher. The few others
are compared in full too, so the result is exact: the bound is a lower one also in floating point.

    32 rows      all centres                 the lowest         the others at or below
    m + 1  --->  bounds, in a panel   --->   in full     --->   this distance: in full
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from fastnn.kernels.compiler.jit import parallel_jit
from fastnn.kernels.compiler.linked import linked
from fastnn.kernels.cpu.clustering.buffers import thread_buffers
from fastnn.kernels.cpu.clustering.transpose import transpose_rows
from fastnn.kernels.shared.value_types import Int32s, Int64s, Real, Reals, Reals2D, Reals3D
from fastnn.kernels.simd.tile import (
    TILE_ROWS,
    TilePanel,
    scalars_of,
    tile_columns,
    tile_distances,
    tile_lowest,
    tile_product,
)

# Rows of one task.
_ROWS = 512


def leading_tasks(n: int) -> int:
    """Number of tasks that `n` rows are cut into."""
    return -(-n // _ROWS)


def leading_slack(d: int, dtype: np.dtype) -> float:
    """Rounding of the bounds of d features, relative to |x|^2 + |c|^2.

    Of sums over the features in vectors, and of axes that are orthogonal but for rounding.
    """
    return (64 + d / 8) * float(np.finfo(dtype).eps)


def pack_leading(turned: np.ndarray, lengths: np.ndarray, squares: np.ndarray, slack: float) -> np.ndarray:
    """Panels of TILE_ROWS centres for ``leading_assign``: what its rows are multiplied with.

    Parameters
    ----------
    turned : ndarray of shape (k, m)
        z of the centres.
    lengths : ndarray of shape (k,)
        t, not below the exact value.
    squares : ndarray of shape (k,)
        |c|^2.
    slack : float
        Of ``leading_slack``.

    Returns
    -------
    panels : ndarray of shape (ceil(k / TILE_ROWS), m + 2, TILE_ROWS)
    """
    k, m = turned.shape
    tiles = -(-k // TILE_ROWS)
    rows = np.zeros((tiles * TILE_ROWS, m + 2), turned.dtype)
    rows[:k, :m], rows[:k, m], rows[:k, m + 1] = -turned, -lengths, (0.5 - slack) * squares
    return np.ascontiguousarray(rows.reshape(tiles, TILE_ROWS, m + 2).transpose(0, 2, 1))


class LeadingBuffers(NamedTuple):
    """What a thread works with, of a tile of rows; `near` and `winner` have a place more."""

    panel: Reals  # (m + 2, columns), flat
    values: Reals  # (k, columns), flat
    near: Reals  # (columns + 1,)
    limits: Reals  # (columns,)
    winner: Int32s  # (columns + 1,)


@linked("leading-task")
def _task(
    t: int, X: Reals2D, C: Reals2D, lead: Reals2D, squares: Reals, panels: Reals3D, slack: Real,
    buffers: LeadingBuffers, labels: Int32s, distances: Reals, counts: Int64s,
):  # fmt: skip
    """The rows of task t.

    counts : OUT (tasks,), comparisons in full besides those with the lowest bound.
    """
    panel, values, near, limits, winner = buffers
    (n, d), k, depth = X.shape, C.shape[0], panels.shape[1]
    columns = tile_columns(X)
    half, one, zero = X.dtype.type(0.5), X.dtype.type(1), X.dtype.type(0)
    m, count = lead.shape[1], np.int64(0)
    for i in range(columns):
        panel[m * columns + i] = one
    for start in range(t * _ROWS, min(n, (t + 1) * _ROWS), columns):
        rows = min(columns, n - start)
        transpose_rows(lead, start, rows, panel)
        for tile in range(panels.shape[0]):
            scalars = scalars_of(panels, tile * depth * TILE_ROWS, TILE_ROWS, 1, depth)
            out = TilePanel(values, tile * TILE_ROWS * columns, columns)
            tile_product(
                min(TILE_ROWS, k - tile * TILE_ROWS), depth, scalars, TilePanel(panel, 0, columns), out, out,
                columns, False,
            )  # fmt: skip
        tile_lowest(k, values, 0, limits, winner)
        tile_distances(rows, d, X, start * d, C, winner, 0, near, 0)
        for i in range(rows):
            labels[start + i] = winner[i]
            square = squares[start + i]
            limits[i] = half * (near[i] * (one + slack) - square) + slack * square
        for j in range(k):
            some, hits = values[j * columns : (j + 1) * columns], zero
            for i in range(tile_columns(X)):
                hits += one if some[i] <= limits[i] else zero
            if hits == zero:
                continue
            for i in range(rows):
                if j == winner[i] or not some[i] <= limits[i]:
                    continue
                count += 1
                # By the same loop as the one that it is compared with: those to equal centres are equal.
                winner[columns] = j
                tile_distances(1, d, X, (start + i) * d, C, winner, columns, near, columns)
                distance = near[columns]
                if distance < near[i] or (distance == near[i] and j < labels[start + i]):
                    square = squares[start + i]
                    near[i], labels[start + i] = distance, j
                    limits[i] = half * (distance * (one + slack) - square) + slack * square
        for i in range(rows):
            distances[start + i] = near[i]
    counts[t] = count


@parallel_jit
def leading_assign(n_workers, X, C, lead, squares, panels, slack, labels, distances, counts):
    """The nearest centre of every row and the squared distance to it.

    Parameters
    ----------
    n_workers : int
        Threads.
    X : array (n, d)   # IN
    C : array (k, d)   # IN
    lead : array (n, m + 1)   # IN
        y of the rows, and s, not below the exact value.
    squares : array (n,)   # IN
        |x|^2, from the same point as `lead`.
    panels : array (tiles, m + 2, TILE_ROWS)   # IN
        Of ``pack_leading``.
    slack : float of X's dtype
        Of ``leading_slack``.
    labels : array (n,) int32   # OUT
    distances : array (n,)   # OUT
    counts : array (leading_tasks(n),) int64   # OUT
        Comparisons in full of each task, besides those of a row with the centre of its lowest bound.

    Notes
    -----
    FLOPs: 2 n k (m + 2), and 3 d for each comparison in full.
    """
    k, depth, columns = C.shape[0], panels.shape[1], tile_columns(X)
    panel, values = thread_buffers(n_workers, depth * columns, X), thread_buffers(n_workers, k * columns, X)
    near, limits = thread_buffers(n_workers, columns + 1, X), thread_buffers(n_workers, columns, X)
    winner = thread_buffers(n_workers, columns + 1, labels)
    tasks = counts.size
    for w in prange(n_workers):
        for t in range(w, tasks, n_workers):
            buffers = LeadingBuffers(panel[w], values[w], near[w], limits[w], winner[w])
            _task(np.int64(t), X, C, lead, squares, panels, slack, buffers, labels, distances, counts)
