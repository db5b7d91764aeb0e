"""Rows of a mini-batch, copied to where they lie one after the other. A thread has an element."""

from typing import Any

import numpy as np

from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, kernel
from fastnn.kernels.cuda.runtime.memory import blocks_per_grid, upload

THREADS = block_threads(256)


@kernel
def gather_rows(order, first, X, X_out):
    """X_out[i] = X[order[first + i]]: neighbouring threads copy neighbouring elements of a row."""
    at = cuda.grid(1)
    d = X_out.shape[1]
    if at < X_out.shape[0] * d:
        X_out[at // d, at % d] = X[order[first + at // d], at % d]


@kernel
def gather_weighted(order, first, X, weights, X_out, weights_out):
    """As ``gather_rows``, and the weights of the rows."""
    at = cuda.grid(1)
    d = X_out.shape[1]
    if at < X_out.shape[0] * d:
        row = order[first + at // d]
        X_out[at // d, at % d] = X[row, at % d]
        if at % d == 0:
            weights_out[at // d] = weights[row]


def gathered(X: Any, rows: np.ndarray) -> Any:
    """Some rows of a device array (n, d), by their numbers, as a new one.

    Raises
    ------
    IndexError
        There is no such row, or these are no whole numbers.
    """
    rows = np.asarray(rows)
    if rows.dtype.kind not in "iu" or (rows.size and not 0 <= rows.min() <= rows.max() < X.shape[0]):
        raise IndexError(f"rows must be whole numbers in 0..{X.shape[0] - 1}")
    out = cuda.device_array((len(rows), X.shape[1]), X.dtype)
    if out.size:
        order = upload(rows, np.int64)
        gather_rows[blocks_per_grid(out.size, THREADS), THREADS](order, 0, X, out)
    return out
