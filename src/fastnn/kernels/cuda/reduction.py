"""Sums of a block's threads and of long arrays, in float64 and always in the same order."""

from typing import Any

import numpy as np
from numba import types

from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, device_function, kernel
from fastnn.kernels.cuda.runtime.memory import Scratch, blocks_per_grid

THREADS = block_threads(256)
# Elements of one block: its threads add up some each before they add to each other.
_STRETCH = 16 * THREADS


@device_function
def block_sum(own, shared):
    """The sum of a number of each of a block's threads, known to all; shared : WORK (threads,) float64."""
    x = cuda.threadIdx.x
    cuda.syncthreads()  # whoever still reads the sum before
    shared[x] = own
    cuda.syncthreads()
    half = shared.shape[0] // 2
    while half > 0:
        if x < half:
            shared[x] += shared[x + half]
        cuda.syncthreads()
        half //= 2
    return shared[0]


@device_function
def block_largest(own, shared):
    """The largest of the numbers of a block's threads, as ``block_sum``."""
    x = cuda.threadIdx.x
    cuda.syncthreads()
    shared[x] = own
    cuda.syncthreads()
    half = shared.shape[0] // 2
    while half > 0:
        if x < half:
            shared[x] = max(shared[x], shared[x + half])
        cuda.syncthreads()
        half //= 2
    return shared[0]


@kernel
def _sum_products(weights, weighted, values, totals):
    """totals[b] = sum of weights times values, or of the values, over the stretch of block b."""
    shared = cuda.shared.array(THREADS, types.float64)
    own = 0.0
    begin = cuda.blockIdx.x * _STRETCH
    for i in range(begin + cuda.threadIdx.x, min(values.shape[0], begin + _STRETCH), THREADS):
        value = np.float64(values[i])
        own += np.float64(weights[i]) * value if weighted else value
    total = block_sum(own, shared)
    if cuda.threadIdx.x == 0:
        totals[cuda.blockIdx.x] = total


def partial_sums(values: Any, weights: Any, scratch: Scratch) -> Any:
    """Sums of weights times values over stretches of them, in float64: a device array.

    Device arrays (n,), n >= 1; no weights stand for ones. Bytes: both arrays once.
    """
    totals = scratch.array("sums", blocks_per_grid(values.shape[0], _STRETCH), np.float64)
    weighted = weights is not None
    _sum_products[totals.shape[0], THREADS](weights if weighted else values, int(weighted), values, totals)
    return totals


def weighted_sum(values: Any, weights: Any, scratch: Scratch | None = None) -> float:
    """The sum of weights times values, or 0 of none; a number for each 4096 is copied to the host."""
    if not values.shape[0]:
        return 0.0
    return float(partial_sums(values, weights, scratch or Scratch()).copy_to_host().sum())
