"""Engine of the multi-layer perceptron: parameter layout, the epoch in compiled chunks, prediction.

All parameters lie in one flat vector, ``W_1, b_1, ..., W_L, b_L``, each in C order; so do gradients and each
slot of the optimiser's state. An update is then one loop, L-BFGS gets a vector, and b is one more row of W.
"""

import time
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from fastnn.kernels import device
from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.device_rows import DeviceRows
from fastnn.kernels.shared.threads import CALL_SECONDS, Pace, threads_for, workers
from fastnn.networks.data import Targets, batch_entries, entries_of_a_row, kept_targets, rows_of
from fastnn.tables.activations import ACTIVATIONS, EXP, SOFTMAX
from fastnn.tables.activations import CODES as ACTIVATION_CODES
from fastnn.tables.dropout import NO_DROPOUT, Dropout
from fastnn.tables.losses import CODES as LOSS_CODES
from fastnn.tables.losses import LOSSES
from fastnn.tables.optimizers import MAX_HYPER, Optimizer

# Batches per call on several threads: where the cores turn out to be taken a step lasts 10 ms and more, and
# the call must still end.
MAX_THREADED = 128
# FLOPs of a batch's forward pass below which more threads cost more than they save: a step has two barriers.
MIN_STEP_WORK = 5e5
# Rows of one piece of a full-batch gradient: bounds the activation buffers.
GRADIENT_ROWS = 4096
# Rows of one chunk of a prediction.
PREDICT_ROWS = 256
# Elements of either's widest layer: sparse data, of which a piece is made dense, may have a million columns.
WIDEST_ELEMENTS = 1 << 24
# Weights whose penalty is added at a time, beside which no copy of all of them is made.
PENALTY_ELEMENTS = 1 << 16
# What an element of the first layer's weights then costs a step, in FLOPs of the forward pass: an update at
# the pace of memory takes the time of a hundred, and a step counts as three forward passes.
UPDATE_FLOPS = 30.0
# FLOPs of a compiled call whose length is not measured: a fraction of a second on one core.
CALL_FLOPS = 2e10


def _patience(work: float) -> int:
    """Turns that a thread waits for the others in a phase, where a forward pass has this many FLOPs.

    No phase has more than three times as many: 0.1 ms, and what they take on a slow core, of 6 GFLOP/s.
    """
    milliseconds = 0.1 + 3e3 * work / 6e9
    return int(milliseconds * device.TURNS_PER_MS)


class Layout:
    """Where every layer lies in the flat parameter vector.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, inputs first.

    Attributes
    ----------
    sizes : ndarray of shape (L + 1,)
    w_at, b_at : ndarray of shape (L,)
        Offsets of W and b of each layer.
    n_parameters : int
    widest : int
        Units of the widest layer.
    row_flops : float
        FLOPs of a row's forward pass.
    """

    def __init__(self, layer_sizes: Sequence[int]) -> None:
        self.sizes = np.asarray(layer_sizes, np.int64)
        n_in, n_out = self.sizes[:-1], self.sizes[1:]
        ends = np.cumsum((n_in + 1) * n_out)
        self.b_at = ends - n_out
        self.w_at = self.b_at - n_in * n_out
        self.n_parameters = int(ends[-1])
        self.widest = int(self.sizes.max())
        self.row_flops = 2.0 * max(1.0, float(n_in @ n_out))

    def weights(self, flat: np.ndarray) -> list[np.ndarray]:
        """Views of every W in a flat vector."""
        shapes = zip(self.w_at, self.sizes[:-1], self.sizes[1:], strict=True)
        return [flat[at : at + m * n].reshape(m, n) for at, m, n in shapes]

    def biases(self, flat: np.ndarray) -> list[np.ndarray]:
        """Views of every b in a flat vector."""
        return [flat[at : at + n] for at, n in zip(self.b_at, self.sizes[1:], strict=True)]


# A prediction for one row takes not much longer than to build one. They are shared: nobody writes to one.
_layout = lru_cache(maxsize=32)(Layout)


def _model(layout: Layout, parameters: np.ndarray, hidden: str, output: str) -> device.LayerStack:
    is_softmax = output == SOFTMAX
    names = hidden, EXP.name if is_softmax else output
    inner, last = (
        device.activation_loops.address(ACTIVATION_CODES[name], parameters.dtype) for name in names
    )
    return device.LayerStack(
        layout.sizes, layout.w_at, plain(parameters, parameters.dtype), inner, last, is_softmax
    )


def _row_flops(layout: Layout, entries: float | None) -> float:
    """FLOPs of a row's forward pass; the first layer's by its entries, where it reads these alone."""
    if entries is None:
        return layout.row_flops
    return max(1.0, layout.row_flops - 2.0 * (float(layout.sizes[0]) - entries) * float(layout.sizes[1]))


def _piece_rows(layout: Layout, entries: float | None, most: int) -> int:
    """Rows of a piece, `most` or fewer: WIDEST_ELEMENTS bounds what their widest layer takes."""
    widest = layout.widest if entries is None else max(int(layout.sizes[1:].max()), int(entries))
    return max(16, min(most, WIDEST_ELEMENTS // widest))


class Network:
    """A dense network and the compiled work on it.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, inputs first: at least two numbers.
    hidden_activation : str
        Name of a hidden activation of ``fastnn.tables.activations``.
    loss : str
        Name of an entry of ``fastnn.tables.losses``; the output activation follows from it.
    dtype : numpy dtype
        float32 or float64: of parameters, activations and gradients.
    dropout : Dropout, default=NO_DROPOUT
        Of every hidden layer in ``train_epoch``, and nowhere else. Its random numbers follow from the number
        of the optimiser's step.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
        All parameters: W and b of every layer, one layer after the other.
    coefs : list of ndarray of shape (n_in, n_out)
        Views of the weights.
    intercepts : list of ndarray of shape (n_out,)
        Views of the biases.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        *,
        hidden_activation: str,
        loss: str,
        dtype: Any,
        dropout: Dropout = NO_DROPOUT,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.dropout = dropout
        self.layout = _layout(tuple(layer_sizes))
        self.hidden_activation = hidden_activation
        self.loss = LOSSES[LOSS_CODES[loss]]
        self.parameters = np.zeros(self.layout.n_parameters, self.dtype)
        self.coefs = self.layout.weights(self.parameters)
        self.intercepts = self.layout.biases(self.parameters)
        # Batches per compiled call; adjusted to CALL_SECONDS from epoch to epoch.
        self._batches_per_call = 1
        self._called = {True: False, False: False}
        self._pace = Pace()
        self._gradient = np.empty_like(self.parameters)
        self._no_state = self._gradient.reshape(1, -1)  # a view to pass where nothing is updated
        self._work: tuple[tuple[int, int, int | None], Any] = ((0, 0, None), None)
        self._prepared: tuple[device.LayerStack, device.UpdatePlan] | None = None
        # The data of the last call and what the kernels take for them: made once a fit.
        self._data: tuple[tuple[Any, ...], device.OrderedRows, device.LossTargets] | None = None

    def load(self, coefs: Sequence[Any], intercepts: Sequence[Any]) -> None:
        """Copy the given weights and biases into the parameters."""
        for view, values in zip(self.coefs + self.intercepts, [*coefs, *intercepts], strict=True):
            view[...] = values

    def train_epoch(
        self,
        optimizer: Optimizer,
        X: Any,
        Y: Targets,
        order: np.ndarray | None,
        batch_size: int,
        *,
        sample_weight: np.ndarray | None = None,
        alpha: float = 0.0,
    ) -> float:
        """One pass over the rows in mini-batches, updating the parameters after each.

        X, Y and the weights are prepared when these objects are first seen: a change in place afterwards may
        go unnoticed.

        Parameters
        ----------
        optimizer : Optimizer
            Its state and step count are updated too.
        X : ndarray of shape (n, n_features), C-contiguous, or CSR matrix
        Y : ndarray of shape (n, n_outputs), or OneHot
            Targets; 0 or 1 for classes. Those of bool take a bit each.
        order : ndarray of int64 or None
            The rows in the order of training; None stands for all in their own order.
        batch_size : int
            Rows a batch; the last one of the epoch may be shorter.
        sample_weight : ndarray of shape (n,), default=None
            A batch's loss is the weighted mean over its rows. A batch of zero weight changes nothing.
        alpha : float, default=0.0
            L2 penalty on the weights, ``0.5 alpha sum(W^2)``, divided by the batch's weight.

        Returns
        -------
        loss : float
            Mean over rows of their batch's loss. If a batch's loss is NaN the epoch stops before that batch's
            update and returns NaN. An infinite loss may have a finite gradient, and the epoch goes on.
        """
        rows, targets = self._prepare_data(X, Y, sample_weight, alpha)
        if order is not None:
            rows = rows._replace(order=plain(order, np.int64))
        n = rows.order.size
        batch_size = min(int(batch_size), n)
        n_batches = -(-n // batch_size)
        model, training = self._prepare(optimizer)
        step_work = self._step_work(rows, batch_size)
        patience = _patience(step_work)
        n_entries = batch_entries(rows, batch_size)
        pace = self._pace
        total, batch = 0.0, 0
        while batch < n_batches:
            threads = pace.allows()
            at_once = min(self._batches_per_call, MAX_THREADED) if threads else self._batches_per_call
            stop = min(n_batches, batch + pace.steps(at_once))
            call_work = step_work * (stop - batch) if threads and step_work >= MIN_STEP_WORK else 0.0
            with threads_for(call_work) as parallel:
                work, n_workers = self._workspace(batch_size, workers(parallel), n_entries)
                work.counts[device.STEPS] = optimizer.t
                work.sums[device.TOTAL] = total
                started = time.perf_counter()
                try:
                    device.run_batches(
                        parallel, n_workers, patience, batch, stop, batch_size, n,
                        model, rows, targets, training, work, True, optimizer.learning_rate,
                    )  # fmt: skip
                finally:
                    # Ctrl-C is raised when the compiled call is over, whose steps are done.
                    optimizer.t = int(work.counts[device.STEPS])
            done = work.counts[device.DONE]
            total, loss = work.sums[device.TOTAL], work.sums[device.LOSS]
            per_batch = (time.perf_counter() - started) / max(done, 1)
            if self._called[parallel]:  # the first call may have compiled
                pace.report(parallel, per_batch)
            self._called[parallel] = True
            if np.isnan(loss):
                return float(loss)
            self._batches_per_call = max(1, int(CALL_SECONDS / max(per_batch, 1e-7)))
            batch = stop
        return float(total / n)

    def loss_and_gradient(
        self,
        X: Any,
        Y: Targets,
        *,
        sample_weight: np.ndarray | None = None,
        alpha: float = 0.0,
        copy: bool = True,
    ) -> tuple[float, np.ndarray]:
        """Loss and its gradient over all rows, in blocks of at most ``GRADIENT_ROWS``; changes nothing.

        Parameters
        ----------
        X, Y, sample_weight, alpha
            As in ``train_epoch``.
        copy : bool
            Without a copy the gradient may be the network's own, which the next call overwrites.

        Returns
        -------
        loss : float
        gradient : ndarray of shape (n_parameters,)
            In the order of ``parameters``. Meaningless where the loss is NaN.
        """
        rows, targets = self._prepare_data(X, Y, sample_weight, alpha)
        n = rows.order.size
        block = min(n, _piece_rows(self.layout, entries_of_a_row(rows), GRADIENT_ROWS))
        model, training = self._prepare(None)
        training.gradient[:] = 0
        n_blocks = -(-n // block)
        step_work = self._step_work(rows, block)
        n_entries = batch_entries(rows, block)
        at_once = max(1, int(CALL_FLOPS / (3 * step_work)))
        total, weight = 0.0, 0.0
        for first in range(0, n_blocks, at_once):
            stop = min(n_blocks, first + at_once)
            with threads_for(step_work * (stop - first)) as parallel:
                work, n_workers = self._workspace(block, workers(parallel), n_entries)
                work.sums[[device.TOTAL, device.TOTAL_WEIGHT]] = total, weight
                device.run_batches(
                    parallel, n_workers, _patience(step_work), first, stop, block, n,
                    model, rows, targets, training, work, False, 0.0,
                )  # fmt: skip
            loss, total, weight = work.sums[[device.LOSS, device.TOTAL, device.TOTAL_WEIGHT]]
            if np.isnan(loss):
                break
        gradient = training.gradient.copy() if copy else training.gradient
        if np.isnan(loss):
            return float(loss), gradient
        return self._with_penalty(total, weight, gradient, alpha)

    def finish(self, optimizer: Optimizer) -> None:
        """To be called after the last epoch with an optimiser: its state is that of the training then."""

    def _with_penalty(
        self, total: float, weight: float, gradient: np.ndarray, alpha: float
    ) -> tuple[float, np.ndarray]:
        """The mean of a loss that is summed, and its gradient's, which changes in place, with the penalty."""
        for W, dW in zip(self.coefs, self.layout.weights(gradient), strict=True):
            rows = max(1, PENALTY_ELEMENTS // W.shape[1])
            for first in range(0, W.shape[0], rows):
                dW[first : first + rows] += alpha * W[first : first + rows]
            total += 0.5 * alpha * np.vdot(W, W)
        gradient /= weight
        return float(total / weight), gradient

    def _step_work(self, rows: device.OrderedRows, n_rows: int) -> float:
        """FLOPs of the forward pass, a third of a step's: what ``threads_for`` is told of a batch."""
        entries, sizes = entries_of_a_row(rows), self.layout.sizes
        update = 0.0 if entries is None else UPDATE_FLOPS * float(sizes[0] * sizes[1])
        return n_rows * _row_flops(self.layout, entries) + update

    def _prepare_data(
        self, X: Any, Y: Targets, sample_weight: Any, alpha: float
    ) -> tuple[device.OrderedRows, device.LossTargets]:
        given = (X, Y, sample_weight, alpha)
        if self._data is not None and all(a is b for a, b in zip(given, self._data[0], strict=True)):
            return self._data[1:]
        rows = rows_of(X, self.dtype)
        n_outputs = int(self.layout.sizes[-1])
        weights = np.empty(0, self.dtype)
        if sample_weight is not None:
            weights = plain(sample_weight, self.dtype)
        targets = device.LossTargets(
            *kept_targets(Y, self.dtype),
            weights,
            device.loss_loops.address(LOSS_CODES[self.loss.name], self.dtype),
            1.0 / n_outputs if self.loss.mean_over_outputs else 1.0,
            float(alpha),
        )
        self._data = (given, rows, targets)
        return rows, targets

    def _prepare(self, optimizer: Optimizer | None) -> tuple[device.LayerStack, device.UpdatePlan]:
        state = optimizer.state if optimizer else self._no_state
        if self._prepared is not None and self._prepared[1].state is state:
            return self._prepared
        model = _model(self.layout, self.parameters, self.hidden_activation, self.loss.output_activation)
        code = ACTIVATION_CODES[self.hidden_activation]
        dropout = self.dropout if optimizer else NO_DROPOUT
        training = device.UpdatePlan(
            derivative=device.derivative_loops.address(code, self.dtype),
            keep_z=ACTIVATIONS[code].needs_z,
            update=device.update_loops.address(optimizer.code, self.dtype) if optimizer else 0,
            coefficients=device.coefficient_loops.address(optimizer.code, self.dtype) if optimizer else 0,
            hyper=optimizer.hyper if optimizer else np.zeros(MAX_HYPER),
            gradient=self._gradient,
            state=state,
            drop=device.dropout_loops.address(0, self.dtype) if dropout.threshold else 0,
            threshold=dropout.threshold,
            scale=dropout.scale,
            seed=dropout.seed,
        )
        self._prepared = model, training
        return model, training

    def _workspace(
        self, n_rows: int, n_workers: int, n_entries: int | None
    ) -> tuple[device.StepBuffers, int]:
        """Work buffers for batches of `n_rows`, kept until another size is asked for.

        And how many of the `n_workers` have places in them.
        """
        held_rows, held_workers, held_entries = self._work[0]
        # One worker can use what was made for several, and few entries what was made for many.
        wanted = n_workers if n_workers > 1 else max(1, held_workers)
        fits = held_entries == n_entries
        if held_entries is not None and n_entries is not None:
            fits = held_entries >= n_entries
        if not fits or (held_rows, held_workers) != (n_rows, wanted):
            # The next epoch's longest batch may be somewhat longer.
            held_entries = n_entries if n_entries is None else n_entries + n_entries // 8
            keep_z = ACTIVATIONS[ACTIVATION_CODES[self.hidden_activation]].needs_z
            work = device.new_step_buffers(
                self.layout.sizes,
                n_rows,
                self.dtype,
                keep_z=keep_z,
                n_threads=wanted,
                keep_whole=self.dropout.threshold > 0,
                n_entries=held_entries,
            )
            self._work = ((n_rows, wanted, held_entries), work)
        work = self._work[1]
        if n_workers == 1:
            return work.on_one_thread(), 1
        return work, min(n_workers, len(work.scratch))


def _flat(layout: Layout, arrays: list[np.ndarray], dtype: np.dtype) -> np.ndarray:
    """The arrays as one flat vector: their common base, if they are the views that ``Network`` makes."""
    base = arrays[0].base
    if isinstance(base, np.ndarray) and base.shape == (layout.n_parameters,) and base.dtype == dtype:
        first = base.__array_interface__["data"][0]
        starts = [first + at * dtype.itemsize for at in (*layout.w_at.tolist(), *layout.b_at.tolist())]
        if all(
            array.base is base and array.__array_interface__["data"][0] == start and array.flags.c_contiguous
            for array, start in zip(arrays, starts, strict=True)
        ):
            return base
    flat = np.empty(layout.n_parameters, dtype)
    for view, array in zip(layout.weights(flat) + layout.biases(flat), arrays, strict=True):
        view[...] = array
    return flat


def predict(
    X: Any,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    *,
    hidden_activation: str,
    output_activation: str,
) -> np.ndarray:
    """Output of the network with the given weights.

    Parameters
    ----------
    X : ndarray of shape (n, n_features), CSR matrix or DeviceRows
        Rows; float32 is kept if the weights are float32 too, anything else is computed in float64.
    coefs : sequence of ndarray of shape (n_in, n_out)
        Weights of each layer.
    intercepts : sequence of ndarray of shape (n_out,)
        Biases of each layer.
    hidden_activation, output_activation : str
        Names from ``fastnn.tables.activations``; the output's may also be ``SOFTMAX``.

    Returns
    -------
    out : ndarray of shape (n, n_outputs)
    """
    dtype = np.result_type(X.dtype, *(W.dtype for W in coefs))
    dtype = np.dtype(np.float32 if dtype == np.float32 else np.float64)
    layout = _layout((coefs[0].shape[0], *[W.shape[1] for W in coefs]))
    parameters = _flat(layout, [*coefs, *intercepts], dtype)
    if isinstance(X, DeviceRows):
        hidden = ACTIVATION_CODES[hidden_activation]
        return X.astype(dtype).outputs(parameters, layout.sizes.tolist(), hidden, output_activation)
    rows = rows_of(X, dtype)
    n = rows.order.size
    out = np.empty((n, int(layout.sizes[-1])), dtype)
    model = _model(layout, parameters, hidden_activation, output_activation)
    flops = _row_flops(layout, entries_of_a_row(rows))
    chunk_rows = _piece_rows(layout, entries_of_a_row(rows), PREDICT_ROWS)
    at_once = max(PREDICT_ROWS, int(CALL_FLOPS / flops))
    for first in range(0, n, at_once):
        count = min(at_once, n - first)
        with threads_for(count * flops) as parallel:
            n_workers = workers(parallel)
            n_chunks = n_workers * -(-count // (chunk_rows * n_workers))
            device.predict_rows(parallel, n_workers, n_chunks, first, count, model, rows, out.reshape(-1))
    return out
