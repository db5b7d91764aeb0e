"""A network in training on rows that go to a GPU in blocks.

An epoch's rows, targets and weights are put in order on the host, in pieces of whole batches; a piece is
copied while the one before it is trained on. The steps are those of ``DeviceTraining``, to the last bit.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from fastnn.kernels.cuda.network.training import DeviceTraining
from fastnn.kernels.cuda.rows.block_pipeline import BlockPipeline
from fastnn.kernels.cuda.runtime.capacity import block_rows
from fastnn.kernels.cuda.runtime.memory import upload


class StreamedTraining(DeviceTraining):
    """A network in training on ``StreamedRows``; arguments as of ``DeviceTraining``."""

    _pipeline: BlockPipeline | None = None

    def _take_targets(self, Y: np.ndarray, weights: np.ndarray | None) -> None:
        self._host_Y, self._host_weights = Y, weights

    def _pieces(
        self, order: np.ndarray, batches: np.ndarray, batch_size: int, at_once: int
    ) -> Iterator[tuple[tuple[Any, Any, Any, Any, Any], int, int]]:
        pipeline = self._pipeline_of(batch_size)
        batches_of_piece = pipeline.n_rows // batch_size
        size = batches_of_piece * batch_size
        # Batches are counted within their piece there, and its rows are in order.
        in_order, numbers = upload(np.arange(size)), upload(batches % batches_of_piece)
        pieces, firsts = np.unique(batches // batches_of_piece, return_index=True)
        cuts = [(begin, min(order.size, begin + size)) for begin in (pieces * size).tolist()]

        def fill(begin: int, end: int, targets: Sequence[np.ndarray]) -> None:
            self._copy_rows(order[begin:end], targets)

        edges = [*firsts.tolist(), batches.size]
        for i, (_, arrays) in enumerate(pipeline.run(cuts, fill)):
            X, Y, weights = self._data_of(arrays)
            for begin in range(edges[i], edges[i + 1], at_once):
                end = min(edges[i + 1], begin + at_once)
                yield (X, in_order[: X.shape[0]], Y, weights, numbers), begin, end

    def _blocks(self, size: int) -> Iterator[tuple[Any, Any, Any]]:
        n = self._X.shape[0]
        pipeline = self._pipeline_of(size)
        step = pipeline.n_rows // size * size
        cuts = [(begin, min(n, begin + step)) for begin in range(0, n, step)]

        def fill(begin: int, end: int, targets: Sequence[np.ndarray]) -> None:
            self._copy_rows(np.arange(begin, end), targets)

        for _, arrays in pipeline.run(cuts, fill):
            yield self._data_of(arrays)

    def _pipeline_of(self, multiple: int) -> BlockPipeline:
        """A pipeline with room for so many rows at least."""
        if self._pipeline is None or self._pipeline.n_rows < multiple:
            widths = [self._X.shape[1], self._host_Y.shape[1]]
            if self._host_weights is not None:
                widths.append(1)
            n_rows = block_rows(sum(widths) * self._X.dtype.itemsize, multiple)
            n_rows = min(n_rows, -(-self._X.shape[0] // multiple) * multiple)
            self._pipeline = BlockPipeline(self._ordinal, n_rows, widths, self._X.dtype)
        return self._pipeline

    def _copy_rows(self, rows: np.ndarray, targets: Sequence[np.ndarray]) -> None:
        self._X.copy_rows(rows, targets[0])
        np.take(self._host_Y, rows, axis=0, out=targets[1], mode="clip")
        if self._host_weights is not None:
            targets[2][:, 0] = self._host_weights[rows]

    def _data_of(self, arrays: Sequence[Any]) -> tuple[Any, Any, Any]:
        weights = arrays[2].reshape(arrays[2].size) if len(arrays) > 2 else None
        return arrays[0], arrays[1], weights
