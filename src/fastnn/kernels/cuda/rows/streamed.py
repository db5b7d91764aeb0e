"""Rows that are too many for a GPU's memory: they stay on the host and go to the device in blocks.

What is of one word or two a row (labels, distances, weights) lies on the device all the time.
"""

import copy
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from fastnn.kernels.cuda.rows.block_pipeline import BlockPipeline
from fastnn.kernels.cuda.rows.by_blocks import TASK_ROWS, Change, RowsByBlocks
from fastnn.kernels.cuda.runtime.capacity import block_rows, fits, rows_with_results
from fastnn.kernels.cuda.runtime.compat import on_device
from fastnn.kernels.cuda.runtime.memory import as_dtype, upload


class StreamedRows(RowsByBlocks):
    """Rows on the host, of which a device has two blocks at a time.

    Parameters
    ----------
    array : ndarray of shape (n, d), of real numbers
        May be memory-mapped.
    ordinal : int
        The device.
    dtype : numpy dtype
        float32 or float64, in which the rows are worked on.
    make : callable
        Makes rows that lie on the device as a whole, of a device array and of what the user gave.
    precision : str or None
        As of the kernels.
    """

    def __init__(
        self,
        array: np.ndarray,
        ordinal: int,
        dtype: Any,
        make: Callable[..., RowsByBlocks],
        precision: str | None = None,
    ) -> None:
        self.given, self.ordinal, self.precision = array, ordinal, precision
        self.shape, self.dtype = (array.shape[0], array.shape[1]), np.dtype(dtype)
        self._host, self._make = np.asarray(array), make
        # In which they are copied, and what is done to each block then, before it gets another dtype.
        self._copied_as = self.dtype
        self._changes: list[Change] = []
        self._pipeline: BlockPipeline | None = None

    def iter_blocks(self, columns: int = 0) -> Iterator[tuple[int, Any]]:
        n, d = self.shape
        if self._pipeline is None:
            size = min(block_rows(d * self._copied_as.itemsize, TASK_ROWS), n)
            self._pipeline = BlockPipeline(self.ordinal, size, [d], self._copied_as)
        size = self._pipeline.n_rows
        cuts = [(begin, min(n, begin + size)) for begin in range(0, n, size)]
        at_once = rows_with_results(columns, self.dtype.itemsize) if columns else size
        for begin, (array,) in self._pipeline.run(cuts, self._fill):
            block = self._finished(array)
            for first in range(0, block.shape[0], at_once):
                yield begin + first, block[first : first + at_once]

    def copy_rows(self, rows: np.ndarray, target: np.ndarray) -> None:
        """Write some rows, as they are on the host, to an array."""
        if self._host.dtype == target.dtype:
            np.take(self._host, rows, axis=0, out=target, mode="clip")  # "raise" would copy them twice
        else:
            target[...] = self._host[rows]

    def _fill(self, begin: int, end: int, targets: Sequence[np.ndarray]) -> None:
        np.copyto(targets[0], self._host[begin:end], casting="same_kind")

    def _finished(self, array: Any) -> Any:
        """What was copied to the device as the rows that are worked on; it may change in place."""
        for change in self._changes:
            change(array, array)
        return array if array.dtype == self.dtype else as_dtype(array, self.dtype)

    def __getitem__(self, rows: Any) -> np.ndarray:
        found = np.array(self._host[rows], self._copied_as)
        if not self._changes:
            return found
        some = self._like(np.atleast_2d(found))
        with on_device(self.ordinal):
            if fits(some.shape, self.dtype):
                worked_on = self._finished(upload(some._host)).copy_to_host()
            else:
                worked_on = some.on_host(self.shape[1], lambda block: block)
        return worked_on.reshape(found.shape)

    def take(self, rows: np.ndarray) -> RowsByBlocks:
        found = self._like(self._host[rows])
        with on_device(self.ordinal):
            if not fits(found.shape, self.dtype):
                return found
            array = self._finished(upload(found._host, self._copied_as))
            return self._make(array, self.ordinal, self.given, precision=self.precision)

    def astype(self, dtype: Any, copy: bool = False) -> "StreamedRows":
        dtype = np.dtype(dtype)
        if dtype == self.dtype and not copy:
            return self
        found = self._like(self._host)
        found.dtype = dtype
        if not self._changes and found._copied_as != dtype:
            found._copied_as, found._pipeline = dtype, None
        return found

    def _like(self, host: np.ndarray) -> "StreamedRows":
        """Other rows of the host, treated as these."""
        found = copy.copy(self)
        found._host, found.shape = host, (host.shape[0], host.shape[1])
        if found.shape != self.shape:
            found._pipeline = None
        return found

    def as_given(self) -> np.ndarray:
        is_same = self._host.dtype == self.dtype and not self._changes
        return self._host if is_same else self[:]

    def changed(self, change: Change) -> "StreamedRows":
        found = self._like(self._host)
        found._changes = [*self._changes, change]
        return found
