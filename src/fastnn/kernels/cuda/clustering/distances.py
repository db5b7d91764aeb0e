"""Squared distances from the direct form, sum((x - c)^2), one pair at a time or all of them."""

import math
from typing import Any

from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, device_function, kernel
from fastnn.kernels.cuda.runtime.memory import Arguments, blocks_per_grid

_THREADS = block_threads(256)


@device_function
def squared_distance(X, i, C, j):
    """sum((x_i - c_j)^2), in order."""
    total = X.dtype.type(0)
    for f in range(X.shape[1]):
        difference = X[i, f] - C[j, f]
        total += difference * difference
    return total


@kernel
def _find_distances(X, C, out):
    """out[i, j] = |x_i - c_j|. A thread has an element."""
    at = cuda.grid(1)
    k = C.shape[0]
    if at < X.shape[0] * k:
        out[at // k, at % k] = math.sqrt(squared_distance(X, at // k, C, at % k))


def distances_to(X: Any, C: Any) -> Any:
    """The twin of the CPU's ``distances_to``, on the current device."""
    arguments = Arguments(X, C)
    X = arguments.matrix(X, "X", (None, None))
    C = arguments.matrix(C, "C", (None, X.shape[1]))
    out = arguments.output(None, (X.shape[0], C.shape[0]), arguments.dtype, "out")
    if out.size:
        _find_distances[blocks_per_grid(out.size, _THREADS), _THREADS](X, C, out)
    return arguments.result(out)
