"""A training step of a network: a kernel after the other on buffers that last for a fit.

::

    gather -> forward, layer by layer -> loss and dz -> dZ, layer by layer back -> dW, db -> update

Parameters, gradients and each slot of the update rule's state are one flat array each, in the layout
``W_1, b_1, ..., W_L, b_L`` of every device; a layer works on views of them.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numba import from_dtype

from fastnn.activations import ACTIVATIONS, CODES, IDENTITY, SOFTMAX
from fastnn.kernels.cuda.compat import cuda
from fastnn.kernels.cuda.gather import THREADS as GATHER_THREADS
from fastnn.kernels.cuda.gather import gather_rows
from fastnn.kernels.cuda.linear import (
    forward_kernel,
    hidden_gradient_kernel,
    tile_grid,
    weight_gradient_kernel,
)
from fastnn.kernels.cuda.memory import blocks
from fastnn.kernels.cuda.output import THREADS as OUTPUT_THREADS
from fastnn.kernels.cuda.output import loss_kernel, softmax
from fastnn.kernels.cuda.updates import update_range
from fastnn.losses import LOSSES


class Layer(NamedTuple):
    """A layer's parameters, or what else has their layout, as views of a flat array."""

    W: Any  # (n_in, n_out)
    b: Any  # (n_out,)


def layers_of(flat: Any, layer_sizes: Sequence[int]) -> list[Layer]:
    """The layers of a flat device array."""
    layers, at = [], 0
    for n_in, n_out in pairwise(layer_sizes):
        end = at + n_in * n_out
        layers.append(Layer(flat[at:end].reshape(n_in, n_out), flat[end : end + n_out]))
        at = end + n_out
    return layers


class TrainingStep:
    """Steps of one network on batches of up to `batch_size` rows.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, the inputs first.
    hidden : int
        Code of the hidden layers' activation.
    loss : int
        Place in ``LOSSES``.
    batch_size : int
        Rows of a batch at most.
    parameters : device array (n_parameters,)
        Changed in place.
    """

    def __init__(
        self, layer_sizes: Sequence[int], hidden: int, loss: int, batch_size: int, parameters: Any
    ) -> None:
        dtype = np.dtype(parameters.dtype)
        self._sizes, self._hidden, self._loss = list(layer_sizes), hidden, loss
        self._real = from_dtype(dtype)
        self._layers = layers_of(parameters, layer_sizes)
        self._output = LOSSES[loss].output_activation
        self.gradient = cuda.device_array(parameters.shape, dtype)
        self._gradients = layers_of(self.gradient, layer_sizes)
        self._A = [cuda.device_array((batch_size, size), dtype) for size in layer_sizes]
        needs_z = ACTIVATIONS[hidden].needs_z
        self._Z = [cuda.device_array(A.shape, dtype) if needs_z else A for A in self._A]
        self._dZ = [cuda.device_array(A.shape, dtype) for A in self._A[:-1]]
        self.row_loss = cuda.device_array(batch_size, np.float64)

    def gradients(self, X: Any, Y: Any, weights: Any, order: Any, first: int, n: int) -> None:
        """The loss of each row of a batch, into `row_loss`, and its gradient's sum, into `gradient`.

        Parameters
        ----------
        X, Y : device arrays (n_rows, n_inputs), (n_rows, n_outputs)
        weights : device array (n_rows,), or None for ones
        order : device array (n_rows,) int64
            Row i of the batch is ``order[first + i]``.
        first, n : int
            Where the batch begins, and its rows.
        """
        if n == 0:
            self.gradient.copy_to_device(np.zeros(self.gradient.shape, self.gradient.dtype))
            return
        A, Z, dZ = ([array[:n] for array in arrays] for arrays in (self._A, self._Z, self._dZ))
        gather_rows[blocks(n * X.shape[1], GATHER_THREADS), GATHER_THREADS](order, first, X, A[0])
        for i, (W, b) in enumerate(self._layers):
            last = i == len(self._layers) - 1
            # Of softmax, which is no function of one number, the layer leaves the scores.
            after = CODES[IDENTITY.name if self._output == SOFTMAX else self._output]
            code = after if last else self._hidden
            forward = forward_kernel(code, self._real)
            keep_z = int(not last and ACTIVATIONS[code].needs_z)
            forward[tile_grid(n, W.shape[1])](A[i], W, b, 1, Z[i + 1], keep_z, A[i + 1])
        grid = blocks(n, OUTPUT_THREADS), OUTPUT_THREADS
        if self._output == SOFTMAX:
            softmax[grid](A[-1])
        weighted = weights is not None
        loss_kernel(self._loss)[grid](
            order, first, Y, weights if weighted else self._layers[0].b, int(weighted), A[-1], self.row_loss
        )
        # dz stands where the outputs were.
        after_layer = A[-1]
        for i in range(len(self._layers) - 1, -1, -1):
            W, _ = self._layers[i]
            dW, db = self._gradients[i]
            add_up = weight_gradient_kernel(self._real)
            add_up[tile_grid(W.shape[0], W.shape[1])](A[i], after_layer, dW, db, 0)
            if i > 0:
                back = hidden_gradient_kernel(self._hidden, self._real)
                back[tile_grid(n, W.shape[0])](after_layer, W, Z[i], A[i], dZ[i])
                after_layer = dZ[i]

    def update(
        self,
        rule: int,
        learning_rate: float,
        hyper: Any,
        t: int,
        alpha: float,
        scale: float,
        slots: Sequence[Any],
    ) -> None:
        """Step t of an update rule, by the gradient ``(gradient + alpha W) scale``; no alpha for biases."""
        state = [layers_of(slot, self._sizes) for slot in slots]
        for i, (layer, gradient) in enumerate(zip(self._layers, self._gradients, strict=True)):
            for w, g, s, decay in self._ranges(layer, gradient, [slot[i] for slot in state], alpha):
                update_range(rule, learning_rate, hyper, t, decay, scale, w, g, s)

    @staticmethod
    def _ranges(
        layer: Layer, gradient: Layer, state: Sequence[Layer], alpha: float
    ) -> Iterator[tuple[Any, Any, list[Any], float]]:
        n = layer.W.size
        yield layer.W.reshape(n), gradient.W.reshape(n), [slot.W.reshape(n) for slot in state], alpha
        yield layer.b, gradient.b, [slot.b for slot in state], 0.0
