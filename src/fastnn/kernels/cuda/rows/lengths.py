"""Rows by their values: whether these are finite, how long a row is, and rows of unit length."""

import math
from typing import Any

import numpy as np

from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, kernel
from fastnn.kernels.cuda.runtime.memory import blocks_per_grid
from fastnn.kernels.shared.device_rows import UNIT_ROUNDING

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


@kernel
def _measure(X, scales, lengths, rounding, uneven):
    """A row's length is scales[i] * lengths[i]: no square overflows, or loses its digits.

    uneven[0] = 1 if a length differs from 1 by more than `rounding`. A thread has a row.
    """
    i = cuda.grid(1)
    if i < X.shape[0]:
        largest = 0.0
        for f in range(X.shape[1]):
            largest = max(largest, abs(np.float64(X[i, f])))
        total = 0.0
        if largest > 0.0:
            for f in range(X.shape[1]):
                part = np.float64(X[i, f]) / largest
                total += part * part
        scales[i], lengths[i] = largest, math.sqrt(total)
        if not abs(largest * math.sqrt(total) - 1.0) <= rounding:
            uneven[0] = 1


@kernel
def _divide(X, scales, lengths, out):
    """out = X over the rows' lengths; a row of zeros stays one. A thread has an element."""
    at = cuda.grid(1)
    d = X.shape[1]
    if at < X.shape[0] * d:
        i, f = at // d, at % d
        value = np.float64(X[i, f])
        out[i, f] = value / scales[i] / lengths[i] if scales[i] > 0.0 else value


def _measured(X: Any) -> tuple[Any, Any, Any]:
    n = X.shape[0]
    scales, lengths = cuda.device_array(n, np.float64), cuda.device_array(n, np.float64)
    uneven = cuda.to_device(np.zeros(1, np.int32))
    rounding = UNIT_ROUNDING * float(np.finfo(X.dtype).eps)
    if n:
        _measure[blocks_per_grid(n, _THREADS), _THREADS](X, scales, lengths, rounding, uneven)
    return scales, lengths, uneven


def have_direction(X: Any) -> np.ndarray:
    """Which rows of a device array (n, d) are not all zeros: a mask on the host."""
    return _measured(X)[0].copy_to_host() > 0


def have_unit_length(X: Any) -> bool:
    """Whether all rows of a device array (n, d) have length 1."""
    return not _measured(X)[2].copy_to_host()[0]


def divide_by_lengths(X: Any, out: Any) -> None:
    """The rows of a device array (n, d) over their lengths; `out` may be X."""
    scales, lengths, _ = _measured(X)
    if X.size:
        _divide[blocks_per_grid(X.size, _THREADS), _THREADS](X, scales, lengths, out)


def unit_rows(X: Any) -> Any:
    """The twin of ``clustering.sphere.unit_rows``: a device array (n, d), X itself if all lengths are 1."""
    if have_unit_length(X):
        return X
    out = cuda.device_array(X.shape, X.dtype)
    divide_by_lengths(X, out)
    return out
