"""Rows as blocks of a device, and what goes from these to an array of the host."""

from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from fastnn.kernels.cuda.reduction import THREADS
from fastnn.kernels.shared.device_rows import DeviceRows

# Rows of a task, of which a block of rows has several whole ones: what is added up by tasks, as the potential
# of k-means++, is the same however rows are cut into blocks.
TASK_ROWS = 2 * THREADS

# Writes what becomes of a device array of whole rows to another one of its shape, which may be the same.
Change = Callable[[Any, Any], None]


class RowsByBlocks(DeviceRows):
    """Rows that come in blocks: results of many columns take no more room there than a block.

    Attributes
    ----------
    ordinal : int
        The device.
    precision : str or None
        As of the kernels.
    """

    ordinal: int
    precision: str | None

    @abstractmethod
    def take(self, rows: np.ndarray) -> "RowsByBlocks": ...

    @abstractmethod
    def astype(self, dtype: Any, copy: bool = False) -> "RowsByBlocks": ...

    @abstractmethod
    def iter_blocks(self, columns: int = 0) -> Iterator[tuple[int, Any]]:
        """The number of the first row of each block, and the block as a device array; on the current device.

        A block may be read by what is queued before the next one is asked for. With `columns` there is room
        for so many results of each of its rows; without, all blocks but the last have a multiple of
        ``TASK_ROWS`` rows.
        """

    @abstractmethod
    def changed(self, change: Change) -> "RowsByBlocks":
        """The rows as this leaves them: at once and in place if they lie on the device and are no user's, for
        which there may be no other room; of rows on the host, each block when it has been copied."""

    def on_host(self, columns: int, work: Callable[[Any], Any]) -> np.ndarray:
        """What is computed from the rows: from a block an array of its rows and so many columns."""
        out = np.empty((self.shape[0], columns), self.dtype)
        for first, block in self.iter_blocks(columns):
            work(block).copy_to_host(out[first : first + block.shape[0]])
        return out
