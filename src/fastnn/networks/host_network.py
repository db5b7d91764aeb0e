"""Networks on the CPU: the epoch in compiled calls, the gradient over all rows, prediction."""

from collections.abc import Sequence

import numpy as np

from fastnn.kernels.contract.network import EngineNetwork, TargetMatrix
from fastnn.kernels.network import device
from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.pacing import ThreadedChunks
from fastnn.kernels.shared.threads import threads_for, workers
from fastnn.networks.data import batch_entries, entries_of_a_row, kept_targets, rows_of
from fastnn.networks.layout import Layout, layout_of
from fastnn.networks.rows import HostRows
from fastnn.tables.activations import ACTIVATIONS, EXP, SOFTMAX
from fastnn.tables.activations import CODES as ACTIVATION_CODES
from fastnn.tables.optimizers import MAX_HYPER, Optimizer

# Batches per call on several threads: where the cores turn out to be taken a step lasts 10 ms and more, and
# the call must still end.
MAX_THREADED = 128
# FLOPs of a batch's forward pass below which more threads cost more than they save: a step has two barriers.
MIN_STEP_FLOPS = 5e5
# Rows of one piece of a full-batch gradient: bounds the activation buffers.
GRADIENT_ROWS = 4096
# Rows of one chunk of a prediction.
PREDICT_ROWS = 256
# What an element of the first layer's weights costs a step that reads entries of sparse rows, in FLOPs of
# the forward pass: an update at the pace of memory takes the time of a hundred, and a step counts as three
# forward passes.
UPDATE_FLOPS = 30.0
# FLOPs of a compiled call whose length is not measured: a fraction of a second on one core.
CALL_FLOPS = 2e10


class HostBackend:
    """The ``NetworkBackend`` of the CPU, for ``HostRows``."""

    def bind(
        self,
        network: EngineNetwork,
        X: HostRows,
        Y: TargetMatrix,
        *,
        sample_weight: np.ndarray | None = None,
        alpha: float = 0.0,
        optimizer: Optimizer | None = None,
    ) -> "HostNetwork":
        return HostNetwork(network, X, Y, sample_weight, alpha, optimizer)

    def outputs(
        self,
        X: HostRows,
        parameters: np.ndarray,
        layer_sizes: Sequence[int],
        *,
        hidden_activation: str,
        output_activation: str,
    ) -> np.ndarray:
        layout, rows = layout_of(tuple(layer_sizes)), rows_of(X.X, parameters.dtype)
        n = rows.order.size
        out = np.empty((n, int(layout.sizes[-1])), parameters.dtype)
        model = _model(layout, parameters, hidden_activation, output_activation)
        entries = entries_of_a_row(rows)
        flops = layout.flops_of_a_row(entries)
        chunk_rows = layout.piece_rows(entries, PREDICT_ROWS)
        at_once = max(PREDICT_ROWS, int(CALL_FLOPS / flops))
        for first in range(0, n, at_once):
            count = min(at_once, n - first)
            with threads_for(count * flops) as parallel:
                n_workers = workers(parallel)
                n_chunks = n_workers * -(-count // (chunk_rows * n_workers))
                device.predict_rows(parallel, n_workers, n_chunks, first, count, model, rows, out.reshape(-1))
        return out


HOST = HostBackend()


class HostNetwork:
    """The ``BoundNetwork`` of the CPU; parameters as of ``HostBackend.bind``."""

    def __init__(
        self,
        network: EngineNetwork,
        X: HostRows,
        Y: TargetMatrix,
        sample_weight: np.ndarray | None,
        alpha: float,
        optimizer: Optimizer | None,
    ) -> None:
        self._parameters, self._alpha, self._optimizer = network.parameters, alpha, optimizer
        self._layout = layout_of(network.layer_sizes)
        self._rows = rows_of(X.X, network.dtype)
        self._targets = _targets(network, Y, sample_weight, alpha)
        self._model = _model(
            self._layout, network.parameters, network.hidden_activation, network.loss.output_activation
        )
        self._gradients = _gradients(network)
        self._steps = None if optimizer is None else _steps(network, optimizer, self._gradients)
        self._buffers = _Buffers(
            self._layout, network.dtype, self._gradients.keep_z, network.dropout.threshold > 0
        )
        # Lasts from epoch to epoch.
        self._chunks = ThreadedChunks(MAX_THREADED)

    def run_epoch(self, order: np.ndarray | None, batch_size: int) -> float:
        rows, optimizer = self._rows, self._optimizer
        assert optimizer is not None
        if order is not None:
            rows = rows._replace(order=plain(order, np.int64))
        n = rows.order.size
        batch_size = min(int(batch_size), n)
        n_batches = -(-n // batch_size)
        step_flops = self._step_flops(batch_size)
        patience = _patience(step_flops)
        n_entries = batch_entries(rows, batch_size)
        chunks = self._chunks
        total, batch = 0.0, 0
        while batch < n_batches:
            stop = batch + chunks.begin(n_batches - batch)
            threaded = step_flops >= MIN_STEP_FLOPS and chunks.allow_threads()
            with threads_for(step_flops * (stop - batch) if threaded else 0.0) as parallel:
                workspace, n_workers = self._buffers.for_batches(batch_size, workers(parallel), n_entries)
                workspace.counts[device.STEPS] = optimizer.t
                workspace.sums[device.TOTAL] = total
                chunks.start()
                try:
                    device.run_batches(
                        parallel, n_workers, patience, batch, stop, batch_size, n, self._model, rows,
                        self._targets, self._steps, workspace, True, optimizer.learning_rate,
                    )  # fmt: skip
                finally:
                    # Ctrl-C is raised when the compiled call is over, whose steps are done.
                    optimizer.t = int(workspace.counts[device.STEPS])
            chunks.end(int(workspace.counts[device.DONE]), parallel)
            total, loss = workspace.sums[device.TOTAL], workspace.sums[device.LOSS]
            if np.isnan(loss):
                return float(loss)
            batch = stop
        return float(total / n)

    def loss_and_gradient(self, *, copy: bool = True) -> tuple[float, np.ndarray]:
        rows, gradients = self._rows, self._gradients
        n = rows.order.size
        # In blocks of at most GRADIENT_ROWS.
        block = min(n, self._layout.piece_rows(entries_of_a_row(rows), GRADIENT_ROWS))
        gradients.gradient[:] = 0
        n_blocks = -(-n // block)
        step_flops = self._step_flops(block)
        n_entries = batch_entries(rows, block)
        at_once = max(1, int(CALL_FLOPS / (3 * step_flops)))
        total, weight = 0.0, 0.0
        for first in range(0, n_blocks, at_once):
            stop = min(n_blocks, first + at_once)
            with threads_for(step_flops * (stop - first)) as parallel:
                workspace, n_workers = self._buffers.for_batches(block, workers(parallel), n_entries)
                workspace.sums[[device.TOTAL, device.TOTAL_WEIGHT]] = total, weight
                device.run_batches(
                    parallel, n_workers, _patience(step_flops), first, stop, block, n,
                    self._model, rows, self._targets, gradients, workspace, False, 0.0,
                )  # fmt: skip
            loss, total, weight = workspace.sums[[device.LOSS, device.TOTAL, device.TOTAL_WEIGHT]]
            if np.isnan(loss):
                break
        gradient = gradients.gradient.copy() if copy else gradients.gradient
        if np.isnan(loss):
            return float(loss), gradient
        return self._layout.mean_with_penalty(self._parameters, total, weight, gradient, self._alpha)

    def finish(self) -> None:
        pass

    def _step_flops(self, n_rows: int) -> float:
        """FLOPs of the forward pass, a third of a step's: what ``threads_for`` is told of a batch."""
        entries, sizes = entries_of_a_row(self._rows), self._layout.sizes
        update = 0.0 if entries is None else UPDATE_FLOPS * float(sizes[0] * sizes[1])
        return n_rows * self._layout.flops_of_a_row(entries) + update


class _Buffers:
    """Buffers of the steps, kept until batches of another size come."""

    def __init__(self, layout: Layout, dtype: np.dtype, keep_z: bool, keep_whole: bool) -> None:
        self._layout, self._dtype, self._keep_z, self._keep_whole = layout, dtype, keep_z, keep_whole
        self._workspace: device.StepBuffers | None = None
        self._made_for: tuple[int, int, int | None] = 0, 0, None

    def for_batches(
        self, n_rows: int, n_workers: int, n_entries: int | None
    ) -> tuple[device.StepBuffers, int]:
        """A workspace for batches of `n_rows`, and how many of the `n_workers` have places in it."""
        held_rows, held_workers, held_entries = self._made_for
        # One worker can use what was made for several, and few entries what was made for many.
        wanted = n_workers if n_workers > 1 else max(1, held_workers)
        fits = held_entries == n_entries
        if held_entries is not None and n_entries is not None:
            fits = held_entries >= n_entries
        if self._workspace is None or not fits or (held_rows, held_workers) != (n_rows, wanted):
            # The next epoch's longest batch may be somewhat longer.
            held_entries = n_entries if n_entries is None else n_entries + n_entries // 8
            self._workspace = device.new_step_buffers(
                self._layout.sizes,
                n_rows,
                self._dtype,
                keep_z=self._keep_z,
                n_threads=wanted,
                keep_whole=self._keep_whole,
                n_entries=held_entries,
            )
            self._made_for = n_rows, wanted, held_entries
        if n_workers == 1:
            return self._workspace.on_one_thread(), 1
        return self._workspace, min(n_workers, len(self._workspace.scratch))


def _patience(step_flops: float) -> int:
    """Turns that a thread waits for the others in a phase, where a forward pass has this many FLOPs.

    No phase has more than three times as many: 0.1 ms, and what they take on a slow core, of 6 GFLOP/s.
    """
    milliseconds = 0.1 + 3e3 * step_flops / 6e9
    return int(milliseconds * device.TURNS_PER_MS)


def _model(layout: Layout, parameters: np.ndarray, hidden: str, output: str) -> device.LayerStack:
    is_softmax = output == SOFTMAX
    names = hidden, EXP.name if is_softmax else output
    inner, last = (
        device.activation_loops.address(ACTIVATION_CODES[name], parameters.dtype) for name in names
    )
    return device.LayerStack(
        layout.sizes, layout.w_at, plain(parameters, parameters.dtype), inner, last, is_softmax
    )


def _targets(
    network: EngineNetwork, Y: TargetMatrix, sample_weight: np.ndarray | None, alpha: float
) -> device.LossTargets:
    weights = np.empty(0, network.dtype)
    if sample_weight is not None:
        weights = plain(sample_weight, network.dtype)
    return device.LossTargets(
        *kept_targets(Y, network.dtype),
        weights,
        device.loss_loops.address(network.loss.code, network.dtype),
        float(network.loss.parameter),
        network.loss.scale(network.layer_sizes[-1]),
        float(alpha),
    )


def _gradients(network: EngineNetwork) -> device.UpdatePlan:
    """What makes gradients and updates nothing."""
    gradient = np.empty_like(network.parameters)
    code = ACTIVATION_CODES[network.hidden_activation]
    return device.UpdatePlan(
        derivative=device.derivative_loops.address(code, network.dtype),
        keep_z=ACTIVATIONS[code].needs_z,
        update=0,
        coefficients=0,
        hyper=np.zeros(MAX_HYPER),
        gradient=gradient,
        state=gradient.reshape(1, -1),  # a view to pass
        drop=0,
        threshold=0,
        scale=1.0,
        seed=0,
    )


def _steps(network: EngineNetwork, optimizer: Optimizer, gradients: device.UpdatePlan) -> device.UpdatePlan:
    """The same with the updates of an optimiser, and with dropout."""
    dtype, dropout = network.dtype, network.dropout
    return gradients._replace(
        update=device.update_loops.address(optimizer.code, dtype),
        coefficients=device.coefficient_loops.address(optimizer.code, dtype),
        hyper=optimizer.hyper,
        state=optimizer.state,
        drop=device.dropout_loops.address(0, dtype) if dropout.threshold else 0,
        threshold=dropout.threshold,
        scale=dropout.scale,
        seed=dropout.seed,
    )
