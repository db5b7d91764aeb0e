"""How much of a GPU's memory rows may take, and how many of them are a block where they are too many."""

from typing import Any

import numpy as np

from fastnn.kernels.cuda.runtime.compat import free_memory

# Share of the free memory that rows may take to lie on the device as a whole; the rest is for what does not
# depend on their number: centres, networks, a batch's activations.
SHARE = 0.8
# Bytes that the work needs for each row beside its features: label, distance, weight, place in the order of
# the clusters, its part of their sums, targets.
ROW_BYTES = 64
# Bytes of a block: a few milliseconds on the bus, beside which the launches of its kernels are short.
BLOCK_BYTES = 1 << 28
# Of the free memory, so that the two blocks take a quarter of a small device.
_BLOCK_SHARE = 0.125


def fits(shape: tuple[int, int], dtype: Any) -> bool:
    """Whether rows of this shape, and the work on them, have room on the current device."""
    n, d = shape
    n_bytes = n * d * np.dtype(dtype).itemsize
    # What is no more than a block would gain nothing; the driver need not be asked.
    return n_bytes <= BLOCK_BYTES or n_bytes + n * ROW_BYTES <= SHARE * free_memory()


def block_rows(row_bytes: int, multiple: int) -> int:
    """Rows of a block on the current device: a multiple of some number, and at least that."""
    n_bytes = min(BLOCK_BYTES, _BLOCK_SHARE * free_memory())
    return max(1, int(n_bytes // (row_bytes * multiple))) * multiple


def rows_with_results(columns: int, itemsize: int) -> int:
    """Rows whose results, of so many columns, take as much room as a block."""
    return max(1, BLOCK_BYTES // (columns * itemsize))
