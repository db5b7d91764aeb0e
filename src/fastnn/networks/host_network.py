"""Networks on the CPU: the epoch in compiled calls, the gradient over all rows, prediction."""

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from fastnn.kernels.contract.network import EngineNetwork, NetworkBackend, TargetMatrix
from fastnn.kernels.network import device
from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.pacing import ThreadedChunks, answer_stop
from fastnn.kernels.shared.threads import threads_for, workers
from fastnn.networks.data import batch_entries, entries_of_a_row, kept_targets, rows_of
from fastnn.networks.layout import Layout, layout_of
from fastnn.networks.rows import HostRows
from fastnn.tables.activations import ACTIVATIONS, EXP, IDENTITY, SOFTMAX
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
# Learning rates of a call that updates nothing.
NO_RATES = np.zeros(1)
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
        l1_alpha: float = 0.0,
        optimizer: Optimizer | None = None,
    ) -> "HostNetwork":
        return HostNetwork(network, X, Y, sample_weight, (alpha, l1_alpha), optimizer)

    def outputs(
        self,
        X: HostRows,
        parameters: np.ndarray,
        layer_sizes: Sequence[int],
        *,
        activations: Sequence[str],
    ) -> np.ndarray:
        layout, rows = layout_of(tuple(layer_sizes)), rows_of(X.X, parameters.dtype)
        n = rows.order.size
        out = np.empty((n, int(layout.sizes[-1])), parameters.dtype)
        model = _model(layout, parameters, activations)
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


HOST: NetworkBackend[HostRows] = HostBackend()


class HostNetwork:
    """The ``BoundNetwork`` of the CPU; parameters as of ``HostBackend.bind``.

    penalties : alpha and l1_alpha
    """

    def __init__(
        self,
        network: EngineNetwork,
        X: HostRows,
        Y: TargetMatrix,
        sample_weight: np.ndarray | None,
        penalties: tuple[float, float],
        optimizer: Optimizer | None,
    ) -> None:
        self._parameters, self._penalties, self._optimizer = network.parameters, penalties, optimizer
        self._bias_rates = network.bias_rates
        self._layout = layout_of(network.layer_sizes)
        self._rows = rows_of(X.X, network.dtype)
        self._targets = _targets(network, Y, sample_weight, *penalties)
        self._model = _model(
            self._layout, network.parameters, (*network.hidden_activations, network.loss.output_activation)
        )
        self._gradients = _gradients(network)
        self._thinned = _with_dropout(network, self._gradients)
        self._steps: device.UpdatePlan | None = None
        if optimizer is not None:
            self._steps = _steps(network, optimizer, self._thinned, l1_alpha=penalties[1])
        self._buffers = _Buffers(
            self._layout, network.dtype, bool(self._gradients.keep_z.any()), network.dropout.threshold > 0
        )
        self._last: tuple[device.StepBuffers, int] | None = None  # those of the last batch, and its rows
        # Lasts from epoch to epoch.
        self._chunks = ThreadedChunks(MAX_THREADED)

    def run_epoch(
        self,
        order: np.ndarray | None,
        batch_size: int,
        accumulate: int = 1,
        rates: np.ndarray | None = None,
    ) -> float:
        rows, optimizer = self._rows, self._optimizer
        assert optimizer is not None
        # One rate is that of all updates.
        rates = np.array([optimizer.learning_rate]) if rates is None else plain(rates, np.float64)
        if order is not None:
            rows = rows._replace(order=plain(order, np.int64))
        n = rows.order.size
        batch_size = min(int(batch_size), n)
        n_batches = -(-n // batch_size)
        accumulate = min(int(accumulate), n_batches)
        step_flops = self._step_flops(batch_size)
        patience = _patience(step_flops)
        n_entries = batch_entries(rows, batch_size)
        chunks, self._last = self._chunks, None
        total, batch = 0.0, 0
        while batch < n_batches:
            # A call does whole steps.
            stop = batch + -(-chunks.begin(n_batches - batch) // accumulate) * accumulate
            stop = min(stop, n_batches)
            threaded = step_flops >= MIN_STEP_FLOPS and chunks.allow_threads()
            with threads_for(step_flops * (stop - batch) if threaded else 0.0) as parallel:
                buffers, n_workers = self._buffers.for_batches(batch_size, workers(parallel), n_entries)
                buffers.counts[device.STEPS] = optimizer.t
                buffers.sums[device.TOTAL] = total
                chunks.start()
                try:
                    run = device.BatchRun(
                        n_workers,
                        patience,
                        batch,
                        stop,
                        batch_size,
                        n,
                        True,
                        rates,
                        accumulate,
                    )
                    device.run_batches(parallel, run, self._model, rows, self._targets, self._steps, buffers)
                finally:
                    # Ctrl-C is raised when the compiled call is over, whose steps are done.
                    optimizer.t = int(buffers.counts[device.STEPS])
            chunks.end(int(buffers.counts[device.DONE]), parallel)
            total, loss = buffers.sums[device.TOTAL], buffers.sums[device.LOSS]
            if np.isnan(loss):
                return float(loss)
            batch = stop
        self._last = buffers, n - (n_batches - 1) * batch_size
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
        total, weight, self._last = 0.0, 0.0, None
        for first in range(0, n_blocks, at_once):
            answer_stop()
            stop = min(n_blocks, first + at_once)
            with threads_for(step_flops * (stop - first)) as parallel:
                buffers, n_workers = self._buffers.for_batches(block, workers(parallel), n_entries)
                buffers.sums[[device.TOTAL, device.TOTAL_WEIGHT]] = total, weight
                run = device.BatchRun(
                    n_workers, _patience(step_flops), first, stop, block, n, False, NO_RATES, 1
                )
                device.run_batches(parallel, run, self._model, rows, self._targets, gradients, buffers)
            loss, total, weight = buffers.sums[[device.LOSS, device.TOTAL, device.TOTAL_WEIGHT]]
            if np.isnan(loss):
                break
        gradient = gradients.gradient.copy() if copy else gradients.gradient
        if np.isnan(loss):
            return float(loss), gradient
        # There is no dropout, be there some in epochs.
        self._last = buffers._replace(whole=buffers.in_lanes), n - (n_blocks - 1) * block
        return self._layout.mean_with_penalty(
            self._parameters, total, weight, gradient, *self._penalties, self._bias_rates
        )

    def hidden_panels(self, layer: int, most: int) -> Iterable[np.ndarray]:
        if self._last is None:
            return ()
        buffers, n = self._last
        return device.hidden_panels(buffers, self._layout.sizes, layer, n, most)

    def batch_gradients(
        self, order: np.ndarray | None, batch_size: int, optimizer: Optimizer
    ) -> Iterator[tuple[int, int, float, float, np.ndarray]]:
        """Gradients of the batches of an epoch, for updates that are made elsewhere between them.

        Parameters
        ----------
        order, batch_size
            As of ``run_epoch``.
        optimizer : Optimizer
            Whose count of steps says which units dropout leaves out.

        Yields
        ------
        batch, n, loss, weight, gradient
            Number of the batch, and its rows; and summed over these the loss, which may be NaN, the weights
            and the gradient, which the next batch overwrites, all without the penalty. None where a batch
            has no weight.
        """
        rows, plan = self._rows, self._thinned
        if order is not None:
            rows = rows._replace(order=plain(order, np.int64))
        n = rows.order.size
        batch_size = min(int(batch_size), n)
        step_flops, n_entries = self._step_flops(batch_size), batch_entries(rows, batch_size)
        for batch in range(-(-n // batch_size)):
            plan.gradient[:] = 0
            self._chunks.begin(1)
            threaded = step_flops >= MIN_STEP_FLOPS and self._chunks.allow_threads()
            with threads_for(step_flops if threaded else 0.0) as parallel:
                buffers, n_workers = self._buffers.for_batches(batch_size, workers(parallel), n_entries)
                buffers.counts[device.STEPS] = optimizer.t
                buffers.sums[[device.TOTAL, device.TOTAL_WEIGHT]] = 0
                run = device.BatchRun(
                    n_workers, _patience(step_flops), batch, batch + 1, batch_size, n, False, NO_RATES, 1
                )
                self._chunks.start()
                device.run_batches(parallel, run, self._model, rows, self._targets, plan, buffers)
            self._chunks.end(1, parallel)
            loss, weight = buffers.sums[[device.LOSS, device.TOTAL_WEIGHT]]
            if weight > 0 or np.isnan(loss):
                n_here = min(batch_size, n - batch * batch_size)
                yield batch, n_here, float(loss), float(weight), plan.gradient

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
        self._buffers: device.StepBuffers | None = None
        self._made_for: tuple[int, int, int | None] = 0, 0, None

    def for_batches(
        self, n_rows: int, n_workers: int, n_entries: int | None
    ) -> tuple[device.StepBuffers, int]:
        """Buffers for batches of `n_rows`, and how many of the `n_workers` have places in them."""
        held_rows, held_workers, held_entries = self._made_for
        # One worker can use what was made for several, and few entries what was made for many.
        wanted = n_workers if n_workers > 1 else max(1, held_workers)
        fits = held_entries == n_entries
        if held_entries is not None and n_entries is not None:
            fits = held_entries >= n_entries
        if self._buffers is None or not fits or (held_rows, held_workers) != (n_rows, wanted):
            # The next epoch's longest batch may be somewhat longer.
            held_entries = n_entries if n_entries is None else n_entries + n_entries // 8
            self._buffers = device.new_step_buffers(
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
            return self._buffers.on_one_thread(), 1
        return self._buffers, min(n_workers, len(self._buffers.scratch))


def _patience(step_flops: float) -> int:
    """Turns that a thread waits for the others in a phase, where a forward pass has this many FLOPs.

    No phase has more than three times as many: 0.1 ms, and what they take on a slow core, of 6 GFLOP/s.
    """
    milliseconds = 0.1 + 3e3 * step_flops / 6e9
    return int(milliseconds * device.TURNS_PER_MS)


def _model(layout: Layout, parameters: np.ndarray, activations: Sequence[str]) -> device.LayerStack:
    loop_of, dtype = device.activation_loops.address, parameters.dtype
    loops = [
        device.SOFTMAX_LOOP if name == SOFTMAX else loop_of(ACTIVATION_CODES[name], dtype)
        for name in activations
    ]
    softmax = exp = 0
    if SOFTMAX in activations:
        softmax = device.softmax_loops.address(0, dtype)
        exp = loop_of(ACTIVATION_CODES[EXP.name], dtype)
    return device.LayerStack(
        layout.sizes, layout.w_at, plain(parameters, dtype), np.array(loops, np.int64), softmax, exp
    )


def _targets(
    network: EngineNetwork,
    Y: TargetMatrix,
    sample_weight: np.ndarray | None,
    alpha: float,
    l1_alpha: float,
) -> device.LossTargets:
    weights = np.empty(0, network.dtype)
    if sample_weight is not None:
        weights = plain(sample_weight, network.dtype)
    return device.LossTargets(
        *kept_targets(Y, network.dtype, network.loss.class_targets),
        weights,
        device.loss_loops.address(network.loss.code, network.dtype),
        np.atleast_1d(np.asarray(network.loss.parameter, network.dtype)),
        network.loss.scale(network.layer_sizes[-1]),
        float(alpha),
        float(l1_alpha),
    )


def _gradients(network: EngineNetwork) -> device.UpdatePlan:
    """What makes gradients and updates nothing."""
    gradient, dtype = np.empty_like(network.parameters), network.dtype
    by_row = SOFTMAX in network.hidden_activations
    # Softmax's Jacobian follows when the gradient of all units is there.
    codes = [
        ACTIVATION_CODES[IDENTITY.name if name == SOFTMAX else name] for name in network.hidden_activations
    ]
    loops = [device.derivative_loops.address(code, dtype) for code in codes]
    return device.UpdatePlan(
        derivatives=np.array(loops, np.int64),
        keep_z=np.array([ACTIVATIONS[code].needs_z for code in codes], np.int64),
        softmax_back=device.softmax_back_loops.address(0, dtype) if by_row else 0,
        factors=network.step_factors.astype(dtype),
        front=0,
        front_values=gradient[:0],
        update=0,
        coefficients=0,
        hyper=np.zeros(MAX_HYPER),
        gradient=gradient,
        state=gradient.reshape(1, -1),  # a view to pass
        tile_sums=0,
        weight_decay=0.0,
        max_norm=np.inf,
        average_rate=0.0,
        averaging=0,
        average=np.empty(0),
        drop=0,
        threshold=0,
        scale=1.0,
        seed=0,
    )


def _with_dropout(network: EngineNetwork, gradients: device.UpdatePlan) -> device.UpdatePlan:
    """The same with dropout."""
    dtype, dropout = network.dtype, network.dropout
    return gradients._replace(
        drop=device.dropout_loops.address(0, dtype) if dropout.threshold else 0,
        threshold=dropout.threshold,
        scale=dropout.scale,
        seed=dropout.seed,
    )


def _steps(
    network: EngineNetwork, optimizer: Optimizer, gradients: device.UpdatePlan, *, l1_alpha: float
) -> device.UpdatePlan:
    """The same with the updates of an optimiser."""
    shrinks = optimizer.weight_decay > 0 or l1_alpha > 0
    needs_sums = optimizer.max_norm < np.inf or l1_alpha > 0
    if network.front_values is not None:
        assert not shrinks, "the weights behind a scale have no penalty"
        front = device.front_loops.address(0, network.dtype)
        gradients = gradients._replace(front=front, front_values=network.front_values)
    return gradients._replace(
        update=device.update_address(optimizer.code, network.dtype, shrinks=shrinks),
        coefficients=device.coefficient_loops.address(optimizer.code, network.dtype),
        hyper=optimizer.hyper,
        state=optimizer.state,
        tile_sums=device.tile_sums_loops.address(0, network.dtype) if needs_sums else 0,
        weight_decay=optimizer.weight_decay,
        max_norm=optimizer.max_norm,
        average_rate=optimizer.average_rate,
        averaging=device.average_loops.address(0, network.dtype) if optimizer.average_rate else 0,
        average=optimizer.average,
    )
