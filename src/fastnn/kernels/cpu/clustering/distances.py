"""Squared distances from the direct form, sum((x - c)^2), one pair at a time or all of them."""

import numpy as np
from numba import prange

from fastnn.kernels.compiler.jit import parallel_jit, sums_in_any_order
from fastnn.kernels.shared.arrays import plain, working_dtype
from fastnn.kernels.shared.threads import threads_for
from fastnn.tables.jitable import register_jitable

_ROWS = 512  # rows of one task


@sums_in_any_order
def squared_distance(x, c):
    """sum((x - c)^2) of two vectors of one length, in their dtype."""
    total = x.dtype.type(0)
    for f in range(x.size):
        difference = x[f] - c[f]
        total += difference * difference
    return total


@register_jitable
def _distances_task(X, C, out, t):
    for i in range(t * _ROWS, min(X.shape[0], (t + 1) * _ROWS)):
        for j in range(C.shape[0]):
            out[i, j] = np.sqrt(squared_distance(X[i], C[j]))


@parallel_jit
def _distances(X, C, out):
    for t in prange((X.shape[0] + _ROWS - 1) // _ROWS):
        _distances_task(X, C, out, np.int64(t))


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
        _distances(parallel, X, C, out)
    return out
