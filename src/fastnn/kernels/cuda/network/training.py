"""A network in training on rows of a device: epochs of mini-batches, gradients over all rows, predictions.

What is known before an epoch begins (the order of the rows, the weight of each batch, the numbers of each
step) is put on the device at once, and the batches' losses are read after each launch of many steps.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn.kernels.cuda.network.layer_by_layer import Gradients, forward_pass, layers_of
from fastnn.kernels.cuda.network.step_arguments import ROW
from fastnn.kernels.cuda.network.steps import TABLE_THREADS, Steps, table_kernel
from fastnn.kernels.cuda.runtime.compat import cuda, on_device
from fastnn.kernels.cuda.runtime.memory import blocks_per_grid, upload
from fastnn.tables.dropout import Dropout
from fastnn.tables.losses import Head
from fastnn.tables.optimizers import Optimizer

# FLOPs and steps of one launch, which Ctrl-C has to wait for: a fraction of a second at a tenth of what a GPU
# can do, or where a step takes 20 us for its waits alone.
_LAUNCH_FLOPS, _LAUNCH_STEPS = 1e12, 10_000
# Elements of the widest layer in a piece of rows that goes through a network at once.
_WIDEST_ELEMENTS = 1 << 24
# Rows of it, as its gradient is one sum in the dtype of the data.
_MOST_ROWS = 1 << 14


def rows_at_once(n: int, layer_sizes: Sequence[int]) -> int:
    """Rows of a piece that bounds the activation buffers."""
    return max(1, min(n, _MOST_ROWS, _WIDEST_ELEMENTS // max(layer_sizes)))


class DeviceTraining:
    """A network in training.

    Parameters
    ----------
    ordinal : int
        The device.
    X : device array (n, n_inputs)
    Y : ndarray of shape (n, n_outputs), of X's dtype
    weights : ndarray of shape (n,) or None
        None stands for ones.
    layer_sizes : sequence of int
        Units of each layer, the inputs first.
    hidden : int
        Code of the hidden layers' activation.
    loss : Head
    bias_rates : sequence of float
        Factor of the step of each layer's biases; those with 0 stay.
    precision : str or None
        As of the kernels.
    """

    def __init__(
        self,
        ordinal: int,
        X: Any,
        Y: np.ndarray,
        weights: np.ndarray | None,
        layer_sizes: Sequence[int],
        hidden: int,
        loss: Head,
        bias_rates: Sequence[float],
        precision: str | None = None,
    ) -> None:
        self._ordinal, self._X, self._batch_weights = ordinal, X, weights
        self._precision = precision
        self._network, self._bias_rates = (layer_sizes, hidden, loss), bias_rates
        self._loss_scale = loss.scale(layer_sizes[-1])
        n_parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(layer_sizes))
        self._steps: tuple[tuple[int, int], Steps] | None = None
        self._gradients: Gradients | None = None
        self._slots: list[Any] = []
        with on_device(ordinal):
            self._take_targets(Y, weights)
            self._parameters = cuda.device_array(n_parameters, X.dtype)

    def _take_targets(self, Y: np.ndarray, weights: np.ndarray | None) -> None:
        self._Y = upload(Y)
        self._weights = None if weights is None else upload(weights)

    def _pieces(
        self, order: np.ndarray, batches: np.ndarray, batch_size: int, at_once: int
    ) -> Iterator[tuple[tuple[Any, Any, Any, Any, Any], int, int]]:
        """What the launches of an epoch get: X, order, Y, weights and batches, and which steps they are."""
        data = self._X, upload(order), self._Y, self._weights, upload(batches)
        for begin in range(0, batches.size, at_once):
            yield data, begin, min(batches.size, begin + at_once)

    def _blocks(self, size: int) -> Iterator[tuple[Any, Any, Any]]:
        """X, Y and weights of all rows: in one piece, or in several of which all but the last have a multiple
        of `size` rows."""
        yield self._X, self._Y, self._weights

    def load(self, parameters: np.ndarray) -> None:
        """Take these parameters."""
        with on_device(self._ordinal):
            self._parameters.copy_to_device(parameters)

    def save(self, parameters: np.ndarray) -> None:
        """Copy the parameters to where they are wanted."""
        with on_device(self._ordinal):
            self._parameters.copy_to_host(parameters)

    def load_state(self, state: np.ndarray) -> None:
        """Take the state of an update rule (n_slots, n_parameters)."""
        with on_device(self._ordinal):
            self._slots = [upload(slot) for slot in state]

    def save_state(self, state: np.ndarray) -> None:
        """Copy the state of the update rule to where it is wanted."""
        with on_device(self._ordinal):
            for slot, wanted in zip(self._slots, state, strict=True):
                slot.copy_to_host(wanted)

    def epoch(
        self,
        optimizer: Optimizer,
        order: np.ndarray,
        batch_size: int,
        alpha: float,
        dropout: Dropout,
        rates: np.ndarray,
    ) -> float:
        """One pass over the rows of an order in mini-batches; the loss, as ``Network.train_epoch`` gives it.

        The optimiser's count of steps is set; its state is that which has been loaded.

        rates : float64 (n_batches,), the learning rate of each batch
        """
        n = order.size
        firsts = np.arange(0, n, batch_size)
        sizes = np.minimum(batch_size, n - firsts)
        weight = sizes.astype(np.float64)
        if self._batch_weights is not None:
            weight = np.add.reduceat(self._batch_weights[order].astype(np.float64), firsts)
        with np.errstate(divide="ignore", over="ignore"):
            scale = (1.0 / weight).astype(self._X.dtype)
        # A batch none of whose rows counts, or so little that the mean cannot be formed, has no step.
        batches = np.flatnonzero(np.isfinite(scale))
        share = sizes[batches] / weight[batches]
        if not batches.size:
            return 0.0
        row_flops = 6.0 * sum(n_in * n_out for n_in, n_out in pairwise(self._network[0]))
        at_once = max(1, min(_LAUNCH_STEPS, int(_LAUNCH_FLOPS / (row_flops * batch_size))))
        before, loss = optimizer.t, np.zeros(batches.size)
        with on_device(self._ordinal):
            steps = self._steps_of(optimizer.code, batch_size)
            table = cuda.device_array((batches.size, ROW), self._X.dtype)
            table_kernel(optimizer.code)[blocks_per_grid(batches.size, TABLE_THREADS), TABLE_THREADS](
                upload(rates[batches]), upload(optimizer.hyper), float(before),
                upload(scale[batches]), upload(0.5 * alpha * share), optimizer.weight_decay, table,
            )  # fmt: skip
            losses, squares = upload(np.zeros(batches.size)), upload(np.zeros(steps.n_blocks))
            done = upload(np.zeros(1, np.int64))
            for data, begin, end in self._pieces(order, batches, batch_size, at_once):
                try:
                    steps.run(
                        *data, begin, end, table, alpha, self._parameters, self._slots, losses,
                        squares, done, dropout, before,
                    )  # fmt: skip
                    loss[begin:end] = losses[begin:end].copy_to_host() * self._loss_scale
                finally:
                    # Ctrl-C is raised when the launch is over, whose steps are done.
                    optimizer.t = before + int(done.copy_to_host()[0])
                wrong = begin + np.flatnonzero(np.isnan(loss[begin:end]))
                if wrong.size:
                    return float(loss[wrong[0]])
            penalty = float(squares.copy_to_host().sum())
        return (float(loss @ share) + penalty) / n

    def loss_and_gradient(self) -> tuple[float, float, np.ndarray]:
        """Over all rows: the loss summed, the weight of the rows, and the gradient's sum; without penalty."""
        n = self._X.shape[0]
        size = rows_at_once(n, self._network[0])
        with on_device(self._ordinal):
            if self._gradients is None:
                self._gradients = Gradients(*self._network, size, self._parameters, self._precision)
            loss, anew = 0.0, True
            for X, Y, of_rows in self._blocks(size):
                for first in range(0, X.shape[0], size):
                    count = min(size, X.shape[0] - first)
                    loss += self._gradients.add(X, Y, of_rows, first, count, anew=anew)
                    anew = False
            gradient = self._gradients.sum.copy_to_host()
        weights = self._batch_weights
        return (
            loss * self._loss_scale,
            n if weights is None else float(weights.sum(dtype=np.float64)),
            gradient,
        )

    def _steps_of(self, rule: int, batch_size: int) -> Steps:
        if self._steps is None or self._steps[0] != (rule, batch_size):
            steps = Steps(
                *self._network, rule, batch_size, self._X.dtype, self._precision, bias_rates=self._bias_rates
            )
            self._steps = (rule, batch_size), steps
        return self._steps[1]


def outputs(
    X: Any,
    parameters: np.ndarray,
    layer_sizes: Sequence[int],
    activations: Sequence[str],
    precision: str | None = None,
) -> Any:
    """Outputs of a network for all rows of a device array, on the current device."""
    n = X.shape[0]
    size = rows_at_once(n, layer_sizes)
    layers = layers_of(upload(parameters), layer_sizes)
    buffers = [cuda.device_array((size, units), X.dtype) for units in layer_sizes[1:-1]]
    out = cuda.device_array((n, layer_sizes[-1]), X.dtype)
    for first in range(0, n, size):
        count = min(size, n - first)
        A = [
            X[first : first + count],
            *[array[:count] for array in buffers],
            out[first : first + count],
        ]
        forward_pass(layers, activations, A, A, precision)
    return out
