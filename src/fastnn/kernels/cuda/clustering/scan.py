"""Prefix sums of whole numbers.

Each block adds up a stretch of LENGTH numbers in shared memory, in log2(LENGTH) rounds: in round r a number
is added to the one 2^r places on. The blocks' totals are summed the same way, and added to all of the next
stretches.
"""

from typing import Any

import numpy as np
from numba import types

from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, kernel
from fastnn.kernels.cuda.runtime.memory import Scratch, blocks_per_grid

LENGTH = block_threads(256)  # threads of a block, and numbers of a stretch


@kernel
def _scan_stretches(numbers, totals):
    """numbers[i] = the sum of those before it in its stretch; totals = the sums of the stretches."""
    sums = cuda.shared.array(LENGTH, types.int32)
    x = cuda.threadIdx.x
    i = cuda.grid(1)
    own = numbers[i] if i < numbers.shape[0] else 0
    sums[x] = own
    cuda.syncthreads()
    distance = 1
    while distance < LENGTH:
        before = sums[x - distance] if x >= distance else 0
        cuda.syncthreads()
        sums[x] += before
        cuda.syncthreads()
        distance *= 2
    if i < numbers.shape[0]:
        numbers[i] = sums[x] - own
    if x == LENGTH - 1:
        totals[cuda.blockIdx.x] = sums[x]


@kernel
def _add_before(numbers, before):
    """Add to every stretch what comes before it."""
    i = cuda.grid(1)
    if i < numbers.shape[0]:
        numbers[i] += before[cuda.blockIdx.x]


def exclusive_sums(numbers: Any, scratch: Scratch) -> None:
    """Every number becomes the sum of those before it; int32, in place."""
    stretches = blocks_per_grid(numbers.shape[0], LENGTH)
    totals = scratch.array(f"totals of {stretches}", stretches, np.int32)
    _scan_stretches[stretches, LENGTH](numbers, totals)
    if stretches > 1:
        exclusive_sums(totals, scratch)
        _add_before[stretches, LENGTH](numbers, totals)
