"""A GPU as a device for networks, over rows that lie there, or go there in blocks."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.kernels.cuda.network.streamed_training import StreamedTraining
from fastnn.kernels.cuda.network.training import DeviceTraining
from fastnn.kernels.cuda.network.training import outputs as outputs_of_a_block
from fastnn.kernels.cuda.rows.by_blocks import RowsByBlocks
from fastnn.kernels.cuda.rows.streamed import StreamedRows
from fastnn.kernels.cuda.runtime.capacity import fits
from fastnn.kernels.cuda.runtime.compat import on_device
from fastnn.tables.losses import Head


def training(
    X: Any, Y: np.ndarray, weights: np.ndarray | None, layer_sizes: Sequence[int], hidden: int, loss: Head
) -> DeviceTraining:
    """A network in training on these rows; arguments as of ``DeviceTraining``."""
    network = layer_sizes, hidden, loss, X.precision
    if not isinstance(X, StreamedRows):
        with on_device(X.ordinal):
            # Rows go there in blocks with their targets, where these are too many.
            in_blocks = None if fits(Y.shape, Y.dtype) else X.in_blocks()
        if in_blocks is None:
            return DeviceTraining(X.ordinal, X.array, Y, weights, *network)
        X = in_blocks
    return StreamedTraining(X.ordinal, X, Y, weights, *network)


def outputs(
    X: RowsByBlocks, parameters: np.ndarray, layer_sizes: Sequence[int], hidden: int, output: str
) -> np.ndarray:
    """Outputs (n, n_outputs) of a network for these rows."""
    with on_device(X.ordinal):
        return X.on_host(
            layer_sizes[-1],
            lambda block: outputs_of_a_block(block, parameters, layer_sizes, hidden, output, X.precision),
        )
