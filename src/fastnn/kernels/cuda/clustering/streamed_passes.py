"""Whole passes over rows that go to a GPU in blocks: the twins of ``passes``.

The sums of the clusters are added up block by block, in order; whatever each row has for itself is the same
as with all rows on the device.
"""

from collections import defaultdict
from typing import Any

import numpy as np

from fastnn.kernels.cuda.clustering.candidates import (
    find_tasks,
    pick_rows,
    seeding_tasks,
    try_candidates,
)
from fastnn.kernels.cuda.clustering.nearest import nearest_rows
from fastnn.kernels.cuda.clustering.passes import DeviceSeeding, DeviceSweeps
from fastnn.kernels.cuda.clustering.sums import sum_rows
from fastnn.kernels.cuda.reduction import weighted_sum
from fastnn.kernels.cuda.rows.by_blocks import TASK_ROWS
from fastnn.kernels.cuda.rows.gather import gathered
from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, kernel, on_device
from fastnn.kernels.cuda.runtime.memory import Scratch, blocks_per_grid, upload

_THREADS = block_threads(256)


@kernel
def add_to(part, total):
    """total += part. A thread has an element."""
    i = cuda.grid(1)
    if i < total.shape[0]:
        total[i] += part[i]


class StreamedSweeps(DeviceSweeps):
    """Buffers for sweeps over rows that come in blocks; their attributes are those of ``DeviceSweeps``."""

    def __init__(
        self, ordinal: int, n: int, k: int, d: int, dtype: np.dtype, precision: str | None = None
    ) -> None:
        super().__init__(ordinal, n, k, d, dtype, precision)
        # The last block may be shorter: with work arrays of its own, none is made anew in every sweep.
        self._scratch_of: dict[int, Scratch] = defaultdict(Scratch)

    def sweep(self, X: Any, weights: np.ndarray, C: np.ndarray, *, summing: bool) -> float:
        """As ``DeviceSweeps.sweep``."""
        with on_device(self._ordinal):
            w, centers = self._begin(weights, C)
            for first, block in X.iter_blocks():
                rows = slice(first, first + block.shape[0])
                scratch = self._scratch_of[block.shape[0]]
                nearest_rows(
                    block, centers, self._labels[rows], self._distances[rows], scratch, self._precision
                )
                if summing:
                    self._add_block(block, None if w is None else w[rows], first, scratch)
            if summing:
                self._sums_to_host()
            return weighted_sum(self._distances, w, self._scratch)

    def sum_all(self, X: Any) -> None:
        """As ``DeviceSweeps.sum_all``."""
        with on_device(self._ordinal):
            self._on_host.clear()
            self._labels.copy_to_device(np.zeros(self._labels.shape, np.int32))
            for first, block in X.iter_blocks():
                self._add_block(block, None, first, self._scratch_of[block.shape[0]])
            self._sums_to_host()

    def _add_block(self, block: Any, weights: Any, first: int, scratch: Scratch) -> None:
        labels = self._labels[first : first + block.shape[0]]
        if first == 0:
            sum_rows(block, weights, labels, self._sums, self._counts, scratch)
            return
        totals = self._sums, self._counts
        sums, counts = (
            self._scratch.array(name, total.shape, total.dtype)
            for name, total in zip(("block sums", "block counts"), totals, strict=True)
        )
        sum_rows(block, weights, labels, sums, counts, scratch)
        for part, total in zip((sums, counts), totals, strict=True):
            add_to[blocks_per_grid(total.size, _THREADS), _THREADS](
                part.reshape(part.size), total.reshape(total.size)
            )

    def _sums_to_host(self) -> None:
        self._sums.copy_to_host(self.sums)
        self._counts.copy_to_host(self.counts)


class StreamedSeeding(DeviceSeeding):
    """The passes of k-means++ over ``StreamedRows``; arguments as of ``DeviceSeeding``."""

    def try_rows(self, rows: np.ndarray) -> np.ndarray:
        """As ``DeviceSeeding.try_rows``."""
        with on_device(self._ordinal):
            potentials = self._potentials[len(rows)]
            candidates = upload(self._X[rows])
            for first, block in self._X.iter_blocks():
                n = block.shape[0]
                rows_of_block, task = slice(first, first + n), first // TASK_ROWS
                try_candidates(
                    block, self._of_rows(rows_of_block), candidates, self._closest[rows_of_block],
                    potentials[task : task + seeding_tasks(n)],
                )  # fmt: skip
            return potentials.copy_to_host()

    def pick(self, last: int, potential: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """As ``DeviceSeeding.pick``, of which only the tasks that the targets fall in are copied."""
        n = self._X.shape[0]
        tasks, rests = find_tasks(potential, targets)
        # In order, so that only the last of them may have fewer rows.
        wanted, places = np.unique(tasks, return_inverse=True)
        rows = (wanted[:, None] * TASK_ROWS + np.arange(TASK_ROWS)).reshape(-1)
        rows = rows[rows < n]
        with on_device(self._ordinal):
            center = upload(self._X[np.array([last])])
            closest = gathered(self._closest.reshape(n, 1), rows).reshape(rows.size)
            weights = None
            if self._weights is not None:
                weights = gathered(self._weights.reshape(n, 1), rows).reshape(rows.size)
            picked = pick_rows(upload(self._X[rows]), weights, center, closest, places.reshape(-1), rests)
            return rows[picked.copy_to_host()]

    def _of_rows(self, rows: slice) -> Any:
        return None if self._weights is None else self._weights[rows]
