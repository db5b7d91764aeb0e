"""The k-means pass over the rows of a CSR matrix: what ``sweep`` does, without making the rows dense.

A row's products with all centres are sums over its stored values::

    scores[j] = |c_j|^2 / 2 - sum over stored (f, v) of v * C[j, f]       j = 0 .. k-1, along the lanes

so with the centres feature by feature, (d, k), each stored value costs k FMAs on contiguous memory. Where the
rounding of a score may have chosen the centre (``is_certain``), the row is compared with all centres in the
direct form, in float64.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from fastnn.kernels.compiler.jit import parallel_jit
from fastnn.kernels.compiler.linked import linked
from fastnn.kernels.cpu.clustering.sweep import add_partials, clear
from fastnn.kernels.shared.brackets import BLUR, is_certain
from fastnn.kernels.shared.value_types import Float64s, Float64s3D, Int32s, Reals, Reals2D
from fastnn.tables.jitable import register_jitable

# Rows per task when nothing has to be summed.
_ROWS = 512
# Error of |c|^2 as it is given, in eps of float64; one more for each feature that is taken away from it.
_ROUNDING = 32


@register_jitable
def _remainder(rest, norm, n_stored):
    """What is left of |c|^2 without the features that x has: 0 where it may be rounding alone."""
    return rest if rest > (n_stored + _ROUNDING) * np.finfo(np.float64).eps * norm else 0.0


@register_jitable
def _squared_distance(data, indices, begin, end, by_feature, j, norm):
    """|x - c_j|^2 in float64: (v - c)^2 where x has a value v, c^2 elsewhere."""
    stored, rest = 0.0, norm
    for p in range(begin, end):
        c = np.float64(by_feature[indices[p], j])
        difference = np.float64(data[p]) - c
        stored += difference * difference
        rest -= c * c
    return stored + _remainder(rest, norm, end - begin)


@register_jitable
def _nearest_directly(data, indices, begin, end, by_feature, norms, stored, rest):
    """The nearest centre by ``_squared_distance``, and that distance. stored, rest : WORK (k,) float64."""
    k = norms.size
    for j in range(k):
        stored[j], rest[j] = 0.0, norms[j]
    for p in range(begin, end):
        value, row = np.float64(data[p]), by_feature[indices[p]]
        for j in range(k):
            c = np.float64(row[j])
            stored[j] += (value - c) * (value - c)
            rest[j] -= c * c
    nearest, least = 0, stored[0] + _remainder(rest[0], norms[0], end - begin)
    for j in range(1, k):
        distance = stored[j] + _remainder(rest[j], norms[j], end - begin)
        if distance < least or (np.isnan(least) and distance < np.inf):
            nearest, least = j, distance
    return nearest, least


class CsrRows(NamedTuple):
    """CSR rows and their weights."""

    data: Reals  # IN (nnz,)
    indices: Int32s  # IN (nnz,)
    indptr: Int32s  # IN (n + 1,)
    weights: Reals  # IN (n,), or (0,) for ones


class CsrBuffers(NamedTuple):
    """What a thread works with."""

    scores: Reals  # (k,)
    stored: Float64s  # (k,)
    rest: Float64s  # (k,)


@linked("csr-task")
def _row_task(
    t: int, rows: CsrRows, by_feature: Reals2D, norms: Float64s, labels: Int32s, distances: Reals,
    partials: Float64s3D, inertias: Float64s, buffers: CsrBuffers, summing: bool,
):  # fmt: skip
    """Rows of task t: assign them, and add them up in partials[t] if `summing`; their part of the inertia.

    by_feature : IN (d, k), the centres. norms : IN (k,), |c|^2.
    """
    data, indices, indptr, scores = rows.data, rows.indices, rows.indptr, buffers.scores
    eps = np.finfo(data.dtype).eps
    if not norms.max() < np.finfo(data.dtype).max:
        eps = np.inf  # scores overflow: none is certain
    tasks, n, k = inertias.size, labels.size, by_feature.shape[1]
    weighted = rows.weights.size > 0
    sums, d = partials[t if summing else np.int64(0)], by_feature.shape[0]
    if summing:
        clear(sums)
    inertia = 0.0
    for i in range(n * t // tasks, n * (t + 1) // tasks):
        begin, end = np.int64(indptr[i]), np.int64(indptr[i + 1])
        w = np.float64(rows.weights[i]) if weighted else 1.0
        for j in range(k):
            scores[j] = scores.dtype.type(0.5 * norms[j])
        for q in range(begin, end):
            value, row = data[q], by_feature[indices[q]]
            for j in range(k):
                scores[j] -= value * row[j]
        nearest = 0
        for j in range(1, k):
            if scores[j] < scores[nearest]:
                nearest = j
        distance = _squared_distance(data, indices, begin, end, by_feature, nearest, norms[nearest])
        if not is_certain(distance, np.float64(scores[nearest]), (BLUR + end - begin) * eps):
            nearest, distance = _nearest_directly(
                data, indices, begin, end, by_feature, norms, buffers.stored, buffers.rest
            )
        labels[i], distances[i] = nearest, distance
        inertia += w * distance
        if summing:
            sums[nearest, d] += w
            for q in range(begin, end):
                sums[nearest, indices[q]] += w * np.float64(data[q])
    inertias[t] = inertia


@parallel_jit
def sweep_csr(n_workers, X, weights, by_feature, norms, labels, distances, sums, counts, partials, summing):
    """Assign all rows to their centres, and add them up by label if `summing`; returns the inertia.

    X : IN, Csr. by_feature : IN (d, k), the centres. norms : IN (k,) float64, their squared lengths. The rest
    as in ``sweep.sweep``.
    """
    n, k, chunks = labels.size, norms.size, partials.shape[0]
    tasks = chunks if summing else max(1, (n + _ROWS - 1) // _ROWS)
    rows = CsrRows(X.data, X.indices, X.indptr, weights)
    inertias, direct = np.empty(tasks), np.empty((n_workers, 2, k))
    scores = np.empty((n_workers, k), distances.dtype)
    for w in prange(n_workers):
        for t in range(w * tasks // n_workers, (w + 1) * tasks // n_workers):
            buffers = CsrBuffers(scores[w], direct[w, 0], direct[w, 1])
            _row_task(
                np.int64(t), rows, by_feature, norms, labels, distances, partials, inertias, buffers, summing
            )
    if summing:
        add_partials(partials, sums, counts, 0, counts.size)
    inertia = 0.0
    for t in range(tasks):
        inertia += inertias[t]
    return inertia
