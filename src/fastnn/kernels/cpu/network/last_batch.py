"""What the buffers of a step still hold when it is over, read by Python: nothing is compiled for it."""

from collections.abc import Iterator

import numpy as np

from fastnn.kernels.compiler.targets import ROW
from fastnn.kernels.cpu.network.panels import chunk_of, panel_of
from fastnn.kernels.cpu.network.step_buffers import StepBuffers


def hidden_panels(
    buffers: StepBuffers, sizes: np.ndarray, layer: int, n: int, most: int
) -> Iterator[np.ndarray]:
    """A hidden layer's activations in the last batch, before dropout.

    Parameters
    ----------
    buffers : StepBuffers
        As the step had them: what is cut for one thread lies elsewhere.
    sizes : ndarray of shape (L + 1,)
        Units of each layer, inputs first.
    layer : int
        0 is the first hidden layer.
    n : int
        Rows of that batch.
    most : int
        Rows to read at most: the first ones.

    Yields
    ------
    panel : ndarray of shape (n_units, rows of the panel)
        A view of the buffers.
    """
    width = ROW.vector_width(buffers.whole.itemsize)
    columns, n_units, at = width * ROW.tile_vectors, int(sizes[layer + 1]), int(buffers.lanes_at[layer + 1])
    for chunk in range(buffers.row_chunks):
        start, stop = chunk_of(chunk, buffers.row_chunks, n, width)
        for s in range(start, min(stop, most), columns):
            panel, base = panel_of(stop - s, width, columns), at + s * (n_units + 1)
            values = buffers.whole[base : base + n_units * panel].reshape(n_units, panel)
            yield values[:, : min(stop, most) - s]
