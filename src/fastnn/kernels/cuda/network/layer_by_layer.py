"""Passes through a network, layer by layer: predictions, and gradients over many rows.

::

    forward, layer by layer -> loss and dz -> dZ, layer by layer back, dW and db

Parameters and gradients are one flat array each, in the layout ``W_1, b_1, ..., W_L, b_L`` of every device; a
layer works on views of them. A pass over many rows is long beside its launches; ``steps`` has the steps of
training.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.cuda.network.linear import forward, input_gradient, weight_gradient
from fastnn.kernels.cuda.network.output import THREADS as OUTPUT_THREADS
from fastnn.kernels.cuda.network.output import loss_kernel, softmax
from fastnn.kernels.cuda.reduction import weighted_sum
from fastnn.kernels.cuda.runtime.compat import cuda
from fastnn.kernels.cuda.runtime.memory import blocks_per_grid
from fastnn.tables.activations import ACTIVATIONS, CODES, IDENTITY, SOFTMAX
from fastnn.tables.losses import Head


class LayerParameters(NamedTuple):
    """A layer's parameters, or what else has their layout, as views of a flat array."""

    W: Any  # (n_in, n_out)
    b: Any  # (n_out,)


def layers_of(flat: Any, layer_sizes: Sequence[int]) -> list[LayerParameters]:
    """The layers of a flat device array."""
    layers, at = [], 0
    for n_in, n_out in pairwise(layer_sizes):
        end = at + n_in * n_out
        layers.append(LayerParameters(flat[at:end].reshape(n_in, n_out), flat[end : end + n_out]))
        at = end + n_out
    return layers


def forward_pass(
    layers: Sequence[LayerParameters],
    hidden: int,
    output: str,
    A: Sequence[Any],
    Z: Sequence[Any],
    precision: str | None = None,
) -> None:
    """``A[i + 1] = act(A[i] W_i + b_i)``, and ``Z[i + 1]`` where the hidden activation's derivative needs it.

    Parameters
    ----------
    layers : sequence of LayerParameters
    hidden : int
        Code of the hidden layers' activation.
    output : str
        Name of the output layer's.
    A, Z : sequences of device arrays (n, n_units)
        The inputs, and room for each layer; Z may be A.
    precision : str or None
        As of the kernels.
    """
    # Of softmax, which is no function of one number, the layer leaves the scores.
    last = CODES[IDENTITY.name if output == SOFTMAX else output]
    for i, (W, b) in enumerate(layers):
        is_last = i == len(layers) - 1
        code = last if is_last else hidden
        keep_z = not is_last and Z is not A and ACTIVATIONS[code].needs_z
        forward(A[i], W, b, code, Z[i + 1] if keep_z else None, A[i + 1], precision)
    if output == SOFTMAX:
        n, n_out = A[-1].shape
        softmax[blocks_per_grid(n, OUTPUT_THREADS), OUTPUT_THREADS](A[-1].reshape(n * n_out), n_out)


class Gradients:
    """The gradient of one network, added up over pieces of the rows, of up to `n` rows each.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, the inputs first.
    hidden : int
        Code of the hidden layers' activation.
    loss : Head
    n : int
    parameters : device array (n_parameters,)
    precision : str or None
        As of the kernels.

    Attributes
    ----------
    sum : device array (n_parameters,)
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        hidden: int,
        loss: Head,
        n: int,
        parameters: Any,
        precision: str | None = None,
    ) -> None:
        dtype = np.dtype(parameters.dtype)
        self._hidden, self._loss, self._precision = hidden, loss, precision
        self._layers = layers_of(parameters, layer_sizes)
        self.sum = cuda.device_array(parameters.shape, dtype)
        self._sums = layers_of(self.sum, layer_sizes)
        self._A = [cuda.device_array((n, units), dtype) for units in layer_sizes[1:]]
        needs_z = ACTIVATIONS[hidden].needs_z
        self._Z = [cuda.device_array(A.shape, dtype) for A in self._A] if needs_z else self._A
        self._dZ = [cuda.device_array(A.shape, dtype) for A in self._A[:-1]]
        self._row_loss = cuda.device_array(n, np.float64)

    def add(self, X: Any, Y: Any, weights: Any, first: int, n: int, *, anew: bool) -> float:
        """Add the gradient of some rows' loss, summed over them, to `sum`, or begin `anew`; that loss.

        Parameters
        ----------
        X, Y : device arrays (n_rows, n_inputs), (n_rows, n_outputs)
        weights : device array (n_rows,), or None for ones
        first, n : int
            The rows are ``first : first + n``; at least one.
        anew : bool
        """
        rows = slice(first, first + n)
        A = [X[rows], *[array[:n] for array in self._A]]
        Z = [A[0], *[array[:n] for array in self._Z]] if self._Z is not self._A else A
        forward_pass(self._layers, self._hidden, self._loss.output_activation, A, Z, self._precision)
        weighted, n_out = weights is not None, Y.shape[1]
        # Where there are no weights an array of their type stands in for them: one kernel for both.
        loss_kernel(self._loss.code)[blocks_per_grid(n, OUTPUT_THREADS), OUTPUT_THREADS](
            Y[rows].reshape(n * n_out), weights[rows] if weighted else self._layers[0].b, int(weighted),
            A[-1].reshape(n * n_out), n_out, A[-1].dtype.type(self._loss.parameter), self._row_loss,
        )  # fmt: skip
        # dz stands where the outputs were.
        after_layer = A[-1]
        for i in range(len(self._layers) - 1, -1, -1):
            W, _ = self._layers[i]
            dW, db = self._sums[i]
            weight_gradient(A[i], after_layer, dW, db, add=not anew, precision=self._precision)
            if i > 0:
                dZ = self._dZ[i - 1][:n]
                input_gradient(after_layer, W, self._hidden, Z[i], A[i], dZ, self._precision)
                after_layer = dZ
        return weighted_sum(self._row_loss[:n], None)
