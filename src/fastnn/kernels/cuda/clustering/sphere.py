"""Rows of unit length on a GPU: the twin of the CPU's ``sphere``."""

import math
from typing import Any

import numpy as np

from fastnn.kernels.cuda.rows.by_blocks import RowsByBlocks
from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, kernel, on_device
from fastnn.kernels.cuda.runtime.memory import blocks_per_grid
from fastnn.kernels.shared.centers import UNIT_ROUNDING

_THREADS = block_threads(256)


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


def _have_unit_length(X: Any) -> bool:
    """Whether all rows of a device array (n, d) have length 1."""
    return not _measured(X)[2].copy_to_host()[0]


def divide_by_lengths(X: Any, out: Any) -> None:
    """The rows of a device array (n, d) over their lengths; `out` may be X."""
    scales, lengths, _ = _measured(X)
    if X.size:
        _divide[blocks_per_grid(X.size, _THREADS), _THREADS](X, scales, lengths, out)


def unit_rows(X: RowsByBlocks) -> RowsByBlocks:
    """The rows divided by their lengths, where these are not 0; X itself if all have unit length already."""
    with on_device(X.ordinal):
        if all(_have_unit_length(block) for _, block in X.iter_blocks()):
            return X
    return X.changed(divide_by_lengths)


def have_direction(X: RowsByBlocks) -> np.ndarray:
    """Which rows are not all zeros: a mask (n,) on the host."""
    with on_device(X.ordinal):
        return np.concatenate([_measured(block)[0].copy_to_host() > 0 for _, block in X.iter_blocks()])
