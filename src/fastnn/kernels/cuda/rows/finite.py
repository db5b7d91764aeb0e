"""Whether the values of a device array are finite."""

from typing import Any

import numpy as np

from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, kernel
from fastnn.kernels.cuda.runtime.memory import blocks_per_grid

_THREADS = block_threads(256)


@kernel
def _find_not_finite(X, found):
    """found[0] = 1 where there is a NaN, found[1] = 1 where there is an infinity. A thread has an element."""
    at = cuda.grid(1)
    d = X.shape[1]
    if at < X.shape[0] * d:
        value = X[at // d, at % d]
        if value != value:
            found[0] = 1
        elif not abs(value) < np.inf:
            found[1] = 1


def check_finite(X: Any) -> None:
    """Make sure that a device array (n, d) holds no NaN and no infinity.

    Raises
    ------
    ValueError
        It does.
    """
    found = cuda.to_device(np.zeros(2, np.int32))
    if X.size:
        _find_not_finite[blocks_per_grid(X.size, _THREADS), _THREADS](X, found)
    missing, infinite = found.copy_to_host()
    if infinite:
        raise ValueError(f"Input X contains infinity or a value too large for {np.dtype(X.dtype)!r}.")
    if missing:
        raise ValueError("Input X contains NaN.")
