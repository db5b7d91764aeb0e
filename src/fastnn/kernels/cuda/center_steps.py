"""New centres from the sums of their rows. A thread has a centre."""

import math
from typing import Any

import numpy as np

from fastnn.kernels.cuda.compat import block_threads, cuda, kernel
from fastnn.kernels.cuda.memory import blocks

_THREADS = block_threads(64)


@kernel
def _find_means(C, sums, counts, on_sphere, means, moved):
    """means[j] = sums[j] / counts[j], or C[j] where there are no rows; moved[j] = |means[j] - C[j]|^2."""
    j = cuda.grid(1)
    if j < C.shape[0]:
        divisor = counts[j]
        if on_sphere:
            divisor = 0.0
            for f in range(C.shape[1]):
                divisor += sums[j, f] * sums[j, f]
            divisor = math.sqrt(divisor)
        total = 0.0
        for f in range(C.shape[1]):
            means[j, f] = C[j, f] if divisor == 0.0 else sums[j, f] / divisor
            difference = np.float64(means[j, f]) - np.float64(C[j, f])
            total += difference * difference
        moved[j] = total


def cluster_means(C: Any, sums: Any, counts: Any, on_sphere: bool, means: Any) -> float:
    """The twin of the CPU's ``cluster_means``, on device arrays: the means, and how far all moved, squared.

    Bytes: one number for each centre is copied to the host.
    """
    moved = cuda.device_array(C.shape[0], np.float64)
    _find_means[blocks(C.shape[0], _THREADS), _THREADS](C, sums, counts, int(on_sphere), means, moved)
    return float(moved.copy_to_host().sum())
