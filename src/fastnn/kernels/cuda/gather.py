"""Rows of a mini-batch, copied to where they lie one after the other. A thread has an element."""

from fastnn.kernels.cuda.compat import cuda, kernel

THREADS = 256


@kernel
def gather_rows(order, first, X, X_out):
    """X_out[i] = X[order[first + i]]: neighbouring threads copy neighbouring elements of a row."""
    at = cuda.grid(1)
    d = X_out.shape[1]
    if at < X_out.shape[0] * d:
        X_out[at // d, at % d] = X[order[first + at // d], at % d]
