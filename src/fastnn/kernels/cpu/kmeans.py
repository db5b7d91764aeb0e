"""k-means: the nearest centre of every row, and the sum of the rows of every cluster.

Both are halves of one compiled function, ``sweep``, which reads a block of rows once for the two of them::

    sweep ── chunk of rows ── block that fits the L2 cache ──┬── nearest_rows     labels, distances
                                                             └── accumulate_rows  sums, counts

How the rows are cut into chunks depends on the shapes alone and the chunks' sums are added in order, so the
result is bitwise the same for any number of threads.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange
from numba.extending import register_jitable

from fastnn.kernels._arrays import checked, output_array, plain, several, working_dtype
from fastnn.kernels._jit import jit
from fastnn.kernels._threads import threads_for
from fastnn.kernels.cpu.nearest import nearest_rows, pack_centers
from fastnn.kernels.cpu.tile import TILE_ROWS, tile_columns

# Rows per task when nothing has to be summed: enough to hide the launch, few enough to balance the threads.
_ROWS = 512
# Partial sums are kept per chunk; together they may take 8 MiB, and a quarter of what the rows take.
_MAX_PARTIALS = 1 << 20
_MAX_CHUNKS = 64
# Bytes of X in one block: half of the smallest L2 cache in use.
_BLOCK_BYTES = 1 << 17
# Columns of one task where the sums are cut by columns; two cache lines of float64 or more.
_COLUMNS = 64


class Centers(NamedTuple):
    """The centres of a sweep, and what ``nearest.pack_centers`` made of them."""

    C: np.ndarray  # (k, d)
    shift: np.ndarray  # (d,)
    panels: np.ndarray
    half_norms: np.ndarray  # (k,)


@register_jitable
def prepare_centers(C, assigning):
    """The centres as ``nearest_rows`` takes them; empty where nothing is assigned."""
    k, d = (C.shape[0], C.shape[1]) if assigning else (0, 0)
    shift = np.empty(d, C.dtype)
    panels = np.empty(-(-k // TILE_ROWS) * TILE_ROWS * d, C.dtype)
    half_norms = np.empty(k, C.dtype)
    if assigning:
        pack_centers(C, shift, panels, half_norms)
    return Centers(C, shift, panels, half_norms)


@jit
def accumulate_rows(X, weights, labels, first, last, begin, end, sums, counts):
    """sums[l_i] += w_i x_i on columns begin..end, counts[l_i] += w_i, for first <= i < last; one thread.

    X : IN (n, d). weights : IN (n,), or (0,) for ones. labels : IN (n,).
    sums : OUT (k, d) float64. counts : OUT (k,) float64, untouched unless begin is 0.
    """
    weighted = weights.size > 0
    for i in range(first, last):
        j = labels[i]
        w = np.float64(weights[i]) if weighted else 1.0
        if begin == 0:
            counts[j] += w
        for f in range(begin, end):
            sums[j, f] += w * np.float64(X[i, f])


@jit
def _sweep_rows(X, weights, centers, labels, distances, first, last, assigning, summing, sums, counts):
    """One chunk of ``sweep``; returns its part of the inertia."""
    d = X.shape[1]
    block = max(128, _BLOCK_BYTES // max(1, d * X.itemsize))
    weighted = weights.size > 0
    columns = tile_columns(X)
    panel = np.empty(d * columns if assigning else 0, X.dtype)
    best, index = np.empty(columns, X.dtype), np.empty(columns, np.int32)
    inertia = 0.0
    for start in range(first, last, block):
        stop = min(start + block, last)
        if assigning:
            nearest_rows(
                X, centers.C, centers.shift, centers.panels, centers.half_norms, start, stop,
                panel, best, index, labels, distances,
            )  # fmt: skip
            for i in range(start, stop):
                inertia += (np.float64(weights[i]) if weighted else 1.0) * np.float64(distances[i])
        if summing:
            accumulate_rows(X, weights, labels, start, stop, np.int64(0), d, sums, counts)
    return inertia


@jit
def _row_task(
    X, weights, centers, labels, distances, partials, partial_counts, inertias, t, assigning, summing
):
    n, tasks = X.shape[0], inertias.shape[0]
    first, last = n * t // tasks, n * (t + 1) // tasks
    # Without sums the first partials stand for an argument that nobody touches.
    p = t if summing else np.int64(0)
    if summing:
        partials[p] = 0
        partial_counts[p] = 0
    inertias[t] = _sweep_rows(
        X,
        weights,
        centers,
        labels,
        distances,
        first,
        last,
        assigning,
        summing,
        partials[p],
        partial_counts[p],
    )


@jit(parallel=True)
def _row_tasks(
    X, weights, centers, labels, distances, partials, partial_counts, inertias, assigning, summing, parallel
):
    # Nothing but the loop stands in a parallel function: Numba would make regions of array expressions too.
    # The body is one call, so that it is compiled once for both loops; a prange index is unsigned.
    if parallel:
        for t in prange(inertias.shape[0]):
            _row_task(
                X, weights, centers, labels, distances, partials, partial_counts, inertias,
                np.int64(t), assigning, summing,
            )  # fmt: skip
    else:
        for t in range(inertias.shape[0]):
            _row_task(
                X,
                weights,
                centers,
                labels,
                distances,
                partials,
                partial_counts,
                inertias,
                t,
                assigning,
                summing,
            )


@jit
def _column_task(X, weights, labels, sums, counts, s):
    begin, end = s * _COLUMNS, min(X.shape[1], (s + 1) * _COLUMNS)
    accumulate_rows(X, weights, labels, np.int64(0), X.shape[0], begin, end, sums, counts)


@jit(parallel=True)
def _column_tasks(X, weights, labels, sums, counts, tasks, parallel):
    if parallel:
        for s in prange(tasks):
            _column_task(X, weights, labels, sums, counts, np.int64(s))
    else:
        for s in range(tasks):
            _column_task(X, weights, labels, sums, counts, s)


@jit
def sweep(
    X, weights, C, labels, distances, sums, counts, partials, partial_counts, assigning, summing, parallel
):
    """Assign all rows to their centres, or add them up by label, or both; returns the inertia.

    X : IN (n, d). weights : IN (n,), or (0,) for ones. C : IN (k, d), read if `assigning`.
    labels : OUT (n,) int32, or IN if not `assigning`. distances : OUT (n,) if `assigning`.
    sums : OUT (k, d) float64. counts : OUT (k,) float64.
    partials, partial_counts : work, of ``new_partials``.
    """
    n, d = X.shape
    chunks = partials.shape[0]
    by_rows = summing and chunks > 1
    inertias = np.zeros(chunks if by_rows else (n + _ROWS - 1) // _ROWS)
    if by_rows or assigning:
        _row_tasks(
            X, weights, prepare_centers(C, assigning), labels, distances, partials, partial_counts, inertias,
            assigning, by_rows, parallel,
        )  # fmt: skip
    if by_rows:
        _add_partials(partials, partial_counts, sums, counts)
    elif summing:
        # Few rows for so many sums: partial sums would cost more than the rows, so columns are shared out.
        sums[:] = 0
        counts[:] = 0
        _column_tasks(X, weights, labels, sums, counts, max(1, (d + _COLUMNS - 1) // _COLUMNS), parallel)
    return inertias.sum()


@jit
def _add_partials(partials, partial_counts, sums, counts):
    sums[:] = partials[0]
    counts[:] = partial_counts[0]
    for t in range(1, partials.shape[0]):
        for j in range(sums.shape[0]):
            for f in range(sums.shape[1]):
                sums[j, f] += partials[t, j, f]
            counts[j] += partial_counts[t, j]


@jit
def _gather_rows(X, weights, rows, start, n, t, X_out, weights_out):
    d = X.shape[1]
    for i in range(t * 256, min(n, (t + 1) * 256)):
        row = rows[start + i]
        for f in range(d):
            X_out[i, f] = X[row, f]
        if weights.size > 0:
            weights_out[i] = weights[row]


@jit(parallel=True)
def gather(X, weights, rows, start, n, X_out, weights_out, parallel):
    """X_out[i] = X[rows[start + i]] for i < n, and the same for the weights unless there are none.

    X : IN (n_samples, d). weights : IN (n_samples,) or (0,). rows : IN. X_out : OUT (>= n, d).
    Bytes: 2 n d elements.
    """
    tasks = (n + 255) // 256
    if parallel:
        for t in prange(tasks):
            _gather_rows(X, weights, rows, start, n, np.int64(t), X_out, weights_out)
    else:
        for t in range(tasks):
            _gather_rows(X, weights, rows, start, n, t, X_out, weights_out)


@jit(parallel=True)
def _distances_kernel(X, C, out, parallel):
    tasks = (X.shape[0] + _ROWS - 1) // _ROWS
    if parallel:
        for t in prange(tasks):
            _distances_rows(X, C, out, np.int64(t))
    else:
        for t in range(tasks):
            _distances_rows(X, C, out, t)


@jit(sums=True)
def _distances_rows(X, C, out, t):
    for i in range(t * _ROWS, min(X.shape[0], (t + 1) * _ROWS)):
        for j in range(C.shape[0]):
            total = X.dtype.type(0)
            for f in range(X.shape[1]):
                difference = X[i, f] - C[j, f]
                total += difference * difference
            out[i, j] = np.sqrt(total)


def sum_chunks(n: int, k: int, d: int) -> int:
    """Number of chunks with sums of their own: a function of the shape, so that results are too."""
    by_memory = _MAX_PARTIALS // max(1, k * (d + 1))
    by_rows = n // (8 * max(1, k))
    return max(1, min(_MAX_CHUNKS, by_memory, by_rows, n // 256))


def new_partials(n: int, k: int, d: int) -> tuple[np.ndarray, np.ndarray]:
    """The partial sums and counts that ``sweep`` works with for these shapes."""
    chunks = sum_chunks(n, k, d)
    return np.empty((chunks, k, d)), np.empty((chunks, k))


def sweep_work(n: int, k: int, d: int) -> float:
    """What ``threads_for`` is told about a sweep over n rows: an eighth of its FLOPs.

    A fit is thousands of sweeps. On few rows a second thread saves 10 us of each, but where another process
    keeps the second core busy it costs milliseconds.
    """
    return (3.0 * n * d * k + 10.0 * n) / 8


def assign(X: Any, C: Any, *, out: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centre of every row: ``labels[i] = argmin_j |x_i - c_j|^2``.

    The n x k matrix of distances is never held. Ties go to the lowest index.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Rows. float32 and float64 are kept, anything else becomes float64, and so do both arrays if their
        dtypes differ.
    C : array-like of shape (k, d)
        Centres, k >= 1.
    out : tuple of ndarray, default=None
        C-contiguous arrays for the results.

    Returns
    -------
    labels : ndarray of shape (n,), int32
        Index of the nearest centre.
    distances : ndarray of shape (n,), dtype of X
        Squared Euclidean distance to it, from the direct form ``sum((x - c) ** 2)``.

    Raises
    ------
    ValueError
        The shapes do not fit.

    Notes
    -----
    FLOPs: 2 n k d + 3 n d. Bytes: X once, (4 + itemsize) n written. The winner is found by the expanded form,
    both arrays taken from the mean of the centres first.
    """
    X = checked(X, "X", (None, None))
    C = checked(C, "C", (None, X.shape[1]))
    if C.shape[0] == 0:
        raise ValueError("C must have at least one row")
    dtype = working_dtype(X, C)
    X, C = plain(X, dtype), plain(C, dtype)
    (n, d), k = X.shape, C.shape[0]
    given = several(out, 2)
    labels = output_array(given[0], (n,), np.int32, "out[0] (labels)", (X, C))
    distances = output_array(given[1], (n,), dtype, "out[1] (distances)", (X, C, labels))
    with threads_for(sweep_work(n, k, d)) as parallel:
        sweep(
            X, _NONE[dtype], C, labels, distances,
            np.empty((0, d)), np.empty(0), *new_partials(0, 0, d), True, False, parallel,
        )  # fmt: skip
    return labels, distances


# Stands for weights that are all one.
_NONE = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}


def update_centers(
    X: Any, labels: Any, n_clusters: int, sample_weight: Any = None, *, out: Any = None
) -> tuple[np.ndarray, np.ndarray]:
    """Weighted sum and weight of every cluster: ``sums[j] = sum of w_i x_i over labels[i] == j``.

    Parameters
    ----------
    X : array-like of shape (n, d)
        Rows.
    labels : array-like of int of shape (n,)
        Cluster of each row, in 0..n_clusters-1.
    n_clusters : int
        Number of clusters k.
    sample_weight : array-like of shape (n,), default=None
        Weight of each row; None for ones.
    out : tuple of ndarray, default=None
        C-contiguous float64 arrays for the results.

    Returns
    -------
    sums : ndarray of shape (n_clusters, d), float64
        Added in float64 in a fixed order: bitwise the same for any number of threads.
    counts : ndarray of shape (n_clusters,), float64
        Weight of each cluster; an empty one has 0.

    Raises
    ------
    ValueError
        The shapes do not fit, a label is out of range, or a weight is negative or missing.

    Notes
    -----
    FLOPs: 2 n d. Bytes: X, labels and weights once; partial sums of at most 8 MiB.
    """
    X = checked(X, "X", (None, None))
    dtype = working_dtype(X)
    X = plain(X, dtype)
    n, d = X.shape
    k = int(n_clusters)
    if k < 1:
        raise ValueError(f"n_clusters must be at least 1, got {n_clusters}.")
    labels = checked(labels, "labels", (n,))
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}.")
    if n and not (labels.min() >= 0 and labels.max() < k):
        raise ValueError(f"labels must lie in 0..{k - 1}.")
    labels = plain(labels, np.int32)
    weights: Any = _NONE[dtype]
    if sample_weight is not None:
        weights = plain(checked(sample_weight, "sample_weight", (n,)), dtype)
        if not (weights >= 0).all():
            raise ValueError("Negative or missing values in data passed to `sample_weight`")
    given, inputs = several(out, 2), (X, labels, weights)
    sums = output_array(given[0], (k, d), np.float64, "out[0] (sums)", inputs)
    counts = output_array(given[1], (k,), np.float64, "out[1] (counts)", (*inputs, sums))
    with threads_for(2.0 * n * d + 10.0 * n) as parallel:
        sweep(
            X, weights, X[:0], labels, np.empty(0, dtype),
            sums, counts, *new_partials(n, k, d), False, True, parallel,
        )  # fmt: skip
    return sums, counts


def distances_to(X: np.ndarray, C: np.ndarray) -> np.ndarray:
    """Euclidean distance of every row of X to every row of C, from the direct form.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        Rows.
    C : ndarray of shape (k, d)
        Centres.

    Returns
    -------
    out : ndarray of shape (n, k), common dtype of X and C
        Distances, not squared.

    Notes
    -----
    FLOPs: 3 n k d. Bytes: X once, n k elements written.
    """
    dtype = working_dtype(X, C)
    X, C = plain(X, dtype), plain(C, dtype)
    out = np.empty((X.shape[0], C.shape[0]), dtype)
    with threads_for(3.0 * out.size * X.shape[1]) as parallel:
        _distances_kernel(X, C, out, parallel)
    return out
