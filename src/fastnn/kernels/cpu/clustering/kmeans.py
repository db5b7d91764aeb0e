"""k-means on arrays: the nearest centre of every row, and the sum of the rows of every cluster.

Both are halves of one pass over the rows, ``sweep``.
"""

import operator
from typing import Any

import numpy as np

from fastnn.kernels.cpu.clustering.sweep import new_partials, sweep, sweep_flops
from fastnn.kernels.shared.arrays import checked, output_array, plain, several, working_dtype
from fastnn.kernels.shared.threads import threads_for, workers

# Weights that are all one, as kernels take them.
_ONES = {np.dtype(t): np.empty(0, t) for t in (np.float32, np.float64)}


def assign(X: Any, C: Any, *, out: Any = None) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centre of every row: ``labels[i] = argmin_j |x_i - c_j|^2``.

    The n x k matrix of distances is never held. Where distances are equal after rounding the lowest
    index wins. A centre with NaN or infinity is never the nearest; a row without a finite distance gets
    label 0.

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
    both arrays taken from a point amid the centres first. Where its rounding may have decided, that is where
    the distance is below some hundred eps of the row's squared norm, all centres are compared in the direct
    form (3 k d FLOPs for such a row).
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
    with threads_for(sweep_flops(n, k, d)) as parallel:
        sweep(
            parallel, workers(parallel), X, _ONES[dtype], C, labels, distances,
            np.empty((0, d)), np.empty(0), new_partials(0, 0, d), True, False,
        )  # fmt: skip
    return labels, distances


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
    k = operator.index(n_clusters)
    if k < 1:
        raise ValueError(f"n_clusters must be at least 1, got {n_clusters}.")
    labels = checked(labels, "labels", (n,))
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got dtype {labels.dtype}.")
    if n and not (labels.min() >= 0 and labels.max() < k):
        raise ValueError(f"labels must lie in 0..{k - 1}.")
    labels = plain(labels, np.int32)
    weights: Any = _ONES[dtype]
    if sample_weight is not None:
        weights = plain(checked(sample_weight, "sample_weight", (n,)), dtype)
        if not (weights >= 0).all():
            raise ValueError("Negative or missing values in data passed to `sample_weight`")
    given, inputs = several(out, 2), (X, labels, weights)
    sums = output_array(given[0], (k, d), np.float64, "out[0] (sums)", inputs)
    counts = output_array(given[1], (k,), np.float64, "out[1] (counts)", (*inputs, sums))
    with threads_for(2.0 * n * d + 10.0 * n) as parallel:
        sweep(
            parallel, workers(parallel), X, weights, X[:0], labels, np.empty(0, dtype),
            sums, counts, new_partials(n, k, d), False, True,
        )  # fmt: skip
    return sums, counts
