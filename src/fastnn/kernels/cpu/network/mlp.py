"""The training step of a multi-layer perceptron, and its forward pass, on the products of ``panel_products``.

One step is two phases, which a team of workers goes through (``team``), and a third where gradients are
clipped, whose norm the updates then wait for (``updates``)::

    rows     for each chunk of the batch's samples: gather, forward through every layer, loss and dz,
             backward through every layer down to the first
    weights  for each chunk of the row tiles of all [W; b]: their gradients over the whole batch, then the
             update of these weights while they lie in cache

With dropout the rows' phase thins out every hidden layer, and its gradient (``dropout``). Of sparse rows the
first layer may read the entries alone, in both phases (``csr_layer``).

A small network's weights move between cores more cheaply than its activations. There each chunk of samples
computes a gradient of its own, at the end of the rows' phase, and the weights' phase adds them up.

A sample never needs another sample's values and a weight never another weight's. What crosses chunks is the
loss, one number a sample, and the penalty, one number a tile: both are summed in order. So the result is
bitwise the same however the work is cut, and it is cut to suit the threads at hand; but for the chunks with
gradients of their own, whose number follows from the shape alone.
"""

import numpy as np
from numba import prange

from fastnn.kernels.compiler.jit import parallel_jit
from fastnn.kernels.compiler.linked import NOTHING, linked
from fastnn.kernels.cpu.dispatch import step_coefficients
from fastnn.kernels.cpu.network.csr_layer import csr_forward, csr_weights
from fastnn.kernels.cpu.network.dropout import drop_units
from fastnn.kernels.cpu.network.output import TargetPlaces, loss_and_gradient, softmax, softmax_back
from fastnn.kernels.cpu.network.panel_products import (
    GROUP_TILES,
    GradientPart,
    LayerPass,
    layer_backward,
    layer_forward,
    weight_gradient,
)
from fastnn.kernels.cpu.network.panels import (
    chunk_samples,
    copy_elements,
    gather_lanes,
    lanes_to_columns,
    lanes_to_rows,
)
from fastnn.kernels.cpu.network.step_buffers import (
    CLIP,
    DONE,
    LOSS,
    MAGNITUDES,
    SHARE,
    SHRINK,
    SQUARES,
    STEPS,
    TOTAL,
    TOTAL_WEIGHT,
    WEIGHT,
    StepBuffers,
    scratch_size,
)
from fastnn.kernels.cpu.network.structures import (
    BIAS_RATE,
    SOFTMAX_LOOP,
    BatchRun,
    LayerStack,
    LossTargets,
    OrderedRows,
    RowTiles,
    UpdatePlan,
)
from fastnn.kernels.cpu.network.team import (
    FINISHED,
    begin_phases,
    enter_phase,
    finish_chunk,
    next_chunk,
    open_phase,
    wait_for_phase,
)
from fastnn.kernels.cpu.network.updates import (
    clip_factor,
    step_numbers,
    sums_before_update,
    total_of_tiles,
    update_tiles,
)
from fastnn.kernels.shared.value_types import Reals
from fastnn.kernels.simd.denormals import flush_subnormals, restore_subnormals
from fastnn.kernels.simd.tile import TILE_ROWS, vector_width
from fastnn.tables.jitable import register_jitable
from fastnn.tables.optimizers import average_share

# Phases of a batch. Updates have one where they wait for the gradient's norm.
_ROWS, _WEIGHTS, _UPDATES = range(3)


@register_jitable
def _elementwise(activation):
    """Address of the elementwise activation of a layer; softmax follows when all its units are there."""
    return NOTHING if activation == SOFTMAX_LOOP else activation


@register_jitable
def _drop(dropout, layer, n_units, start, stop, at, step, place, values):
    """Dropout of hidden layer `layer`, whose lanes are at `at` of `values`, before the optimiser's `step`.

    dropout : address of its loop, and its numbers
    place : samples of the step before the batch
    """
    loop, seed, threshold, scale = dropout
    drop_units(
        loop, n_units, place + start, place + stop, at - place * (n_units + 1), seed, step, layer, threshold,
        values.dtype.type(scale), values,
    )  # fmt: skip


@linked("rows-task")
def _rows_task(
    worker: int, chunk: int, model: LayerStack, rows: OrderedRows, targets: LossTargets, training: UpdatePlan,
    buffers: StepBuffers, first: int, n: int, place: int,
):  # fmt: skip
    """The rows' phase, for one chunk of the n samples that stand at `first` in the order.

    The worker's number says whose buffers to use; `place`, how many samples of the step came before.
    """
    sizes, at, in_lanes = model.sizes, buffers.lanes_at, buffers.in_lanes
    start, stop = chunk_samples(chunk, buffers.row_chunks, n, in_lanes)
    if start == stop:
        return
    former = flush_subnormals()
    n_layers, capacity, scratch = sizes.size - 1, buffers.capacity, buffers.scratch[worker]
    step, width = buffers.counts[STEPS], vector_width(in_lanes)
    drops, dropout = (
        training.drop != NOTHING,
        (training.drop, training.seed, training.threshold, training.scale),
    )
    on_entries = rows.forward != NOTHING
    if not on_entries:
        gather_lanes(
            rows.is_sparse, sizes[0], first, start, stop,
            rows.order, rows.indices, rows.x, rows.indptr, scratch, in_lanes,
        )  # fmt: skip
    for layer in range(n_layers):
        last = layer == n_layers - 1
        activation, keep_z = _elementwise(model.activations[layer]), not last and training.keep_z[layer] != 0
        if layer == 0 and on_entries:
            csr_forward(
                rows.forward, model, rows, first, start, stop, at[1], activation, keep_z,
                scratch, in_lanes, buffers.zs,
            )  # fmt: skip
        else:
            passed = LayerPass(sizes[layer], sizes[layer + 1], start, stop, model.w_at[layer], at[layer])
            layer_forward(passed, at[layer + 1], activation, keep_z, model.parameters, in_lanes, buffers.zs)
        if model.activations[layer] == SOFTMAX_LOOP:
            softmax(model.softmax, sizes[layer + 1], start, stop, at[layer + 1], model.exp, in_lanes)
        if drops and not last:
            # The way back takes the derivative at the activations as they are now.
            height, y = sizes[layer + 1] + 1, at[layer + 1]
            begin, cells = y + start * height, (stop - start + width - 1) // width * width * height
            copy_elements(cells, begin, begin, in_lanes, buffers.whole)
            _drop(dropout, layer, height - 1, start, stop, y, step, place, in_lanes)
    n_out = sizes[n_layers]
    places = TargetPlaces(rows.order, first, n_out)
    if targets.codes.size > 0 and targets.flags == NOTHING:
        for i in range(start, stop):
            buffers.places[i] = targets.codes[rows.order[first + i]]
        places = TargetPlaces(buffers.places, 0, 1)
    loss_and_gradient(
        n_out, first, start, stop, at[n_layers], rows.order, places, targets,
        in_lanes, scratch, buffers.row_loss,
    )  # fmt: skip
    # dz of the last layer stands in place of the outputs, that of the others in two places by turns.
    d, d_at = in_lanes, at[n_layers]
    whole = buffers.whole if drops else in_lanes
    for layer in range(n_layers, 0, -1):
        n_in, n_out = sizes[layer - 1], sizes[layer]
        if layer < n_layers:
            here, here_at = buffers.dz[worker, layer % 2], -start * (n_out + 1)
            passed = LayerPass(n_out, sizes[layer + 1], start, stop, model.w_at[layer], at[layer])
            layer_backward(
                passed, d_at, here_at, training.derivatives[layer - 1], model.parameters,
                whole, buffers.zs, d, here, scratch,
            )  # fmt: skip
            if drops:
                _drop(dropout, layer - 1, n_out, start, stop, here_at, step, place, here)
            if model.activations[layer - 1] == SOFTMAX_LOOP:
                softmax_back(training.softmax_back, n_out, start, stop, here_at, at[layer], here, whole)
            d, d_at = here, here_at
        lanes_to_columns(
            on_entries and layer == 1, n_out, start, stop, capacity, d_at, buffers.columns_at[layer],
            d, buffers.in_columns,
        )  # fmt: skip
        if buffers.partials.size > 0:
            part = GradientPart(
                n_in, n_out, 0, n_in // TILE_ROWS + 1, chunk, chunk + 1, buffers.row_chunks, n,
                capacity, at[layer - 1], buffers.columns_at[layer], model.w_at[layer - 1],
            )  # fmt: skip
            weight_gradient(part, False, in_lanes, buffers.in_columns, buffers.partials[chunk], scratch)
    restore_subnormals(former)


@register_jitable
def _add_partials(partials, n_chunks, n, add, begin, end, gradient):
    """gradient[begin:end] = the sum of the chunks' gradients, in the order of the chunks; += with `add`."""
    # Slices that start at 0: an index that might be negative keeps a loop from becoming vector code.
    total = gradient[begin:end]
    for chunk in range(n_chunks):
        first, last = chunk_samples(chunk, n_chunks, n, gradient)
        partial = partials[chunk][begin:end]
        if first == last:
            continue
        if add:
            for i in range(total.size):
                total[i] += partial[i]
        else:
            for i in range(total.size):
                total[i] = partial[i]
        add = True


@linked("weights-task")
def _weights_task(
    worker: int, tile: int, stop: int, model: LayerStack, targets: LossTargets, training: UpdatePlan,
    buffers: StepBuffers, phase: int, n: int, add: bool, update: bool,
):  # fmt: skip
    """The weights' phase, or the updates', for the tiles tile : stop.

    The first makes their gradients, += with `add`. Where these make an `update` it follows, at once or in the
    other phase.
    """
    former = flush_subnormals()
    gradient, tiles, sums = training.gradient, buffers.tiles, buffers.sums
    numbers = step_numbers(targets.alpha, targets.l1_alpha, sums, gradient)
    clipped = training.max_norm < np.inf
    averaging = training.averaging, sums[SHARE], training.average
    while tile < stop:
        layer, t = tiles[tile, 0], tiles[tile, 1]
        count = 1
        while count < GROUP_TILES and tile + count < stop and tiles[tile + count, 0] == layer:
            count += 1
        n_in, n_out, w_at = model.sizes[layer], model.sizes[layer + 1], model.w_at[layer]
        begin, end = w_at + t * TILE_ROWS * n_out, w_at + min((t + count) * TILE_ROWS, n_in + 1) * n_out
        group = RowTiles(tile, count, n_out, begin, w_at + n_in * n_out)
        if phase == _WEIGHTS:
            if buffers.partials.size > 0:
                _add_partials(buffers.partials, buffers.row_chunks, n, add, begin, end, gradient)
            else:
                part = GradientPart(
                    n_in, n_out, t, t + count, 0, buffers.row_chunks, buffers.row_chunks, n,
                    buffers.capacity, buffers.lanes_at[layer], buffers.columns_at[layer + 1], w_at,
                )  # fmt: skip
                weight_gradient(
                    part, add, buffers.in_lanes, buffers.in_columns, gradient, buffers.scratch[worker]
                )
            if update:
                sums_before_update(
                    training.tile_sums, numbers, clipped, group, training.factors[BIAS_RATE, layer],
                    model.parameters, gradient, begin, buffers.tile_sums,
                )  # fmt: skip
        if update and clipped == (phase == _UPDATES):
            update_tiles(
                training.update, numbers, buffers.step, averaging, group,
                training.factors, layer, (NOTHING if layer > 0 else training.front, training.front_values),
                model.parameters, training.state, gradient, begin,
            )  # fmt: skip
        tile += count
    restore_subnormals(former)


@register_jitable
def _add_batch(row_loss, weights, order, first, n, place, loss_scale, numbers, sums):
    """Add a batch's loss and weight to the step's, of which `place` rows came before.

    Return whether they have a mean: where no row counts, or so little that the precision of `numbers` has no
    number for it, they have none.
    """
    loss, weight = 0.0, float(n)
    for i in range(n):
        loss += row_loss[i]
    if weights.size > 0:
        weight = 0.0
        for i in range(n):
            weight += weights[order[first + i]]
    if place > 0:
        sums[LOSS] += loss * loss_scale
        sums[WEIGHT] += weight
    else:
        sums[LOSS], sums[WEIGHT] = loss * loss_scale, weight
    return not np.isnan(sums[LOSS]) and np.isfinite(numbers.dtype.type(1.0 / sums[WEIGHT]))


@register_jitable
def _begin_update(learning_rate, t, coefficients, hyper, weight_decay, average_rate, numbers, sums):
    """The numbers of the optimiser's step t."""
    step_coefficients(coefficients, learning_rate, t, hyper, numbers)
    sums[CLIP] = 1.0
    sums[SHRINK] = learning_rate * weight_decay
    sums[SHARE] = average_share(average_rate, t)


@register_jitable
def _add_step(alpha, l1_alpha, n, learn, tile_sums, sums):
    """After a step of n rows: add its loss to the totals."""
    loss, weight = sums[LOSS], sums[WEIGHT]
    if learn:
        if l1_alpha > 0:
            loss += l1_alpha * total_of_tiles(tile_sums, MAGNITUDES)
        loss = (loss + 0.5 * alpha * total_of_tiles(tile_sums, SQUARES)) / weight * n
    sums[TOTAL] += loss
    sums[TOTAL_WEIGHT] += weight


@register_jitable
def _phase_or_end(phase, n_phases, n_batches, sums, counts):
    """The phase, counting the batches before it; FINISHED if there is none or the loss is NaN."""
    if np.isnan(sums[LOSS]):
        return FINISHED
    counts[DONE] = phase // n_phases
    return phase if phase // n_phases < n_batches else FINISHED


@linked("train-worker")
def _train_worker(
    worker: int, run: BatchRun, model: LayerStack, rows: OrderedRows, targets: LossTargets,
    training: UpdatePlan, buffers: StepBuffers,
):  # fmt: skip
    """A worker's part of ``run_batches``.

    Of the phases of a batch the first is the rows', the second the weights', and a third the updates', where
    these do not follow in the second.
    """
    signals, learn, tile_sums = buffers.signals, run.learn, buffers.tile_sums
    sums, counts, numbers = buffers.sums, buffers.counts, buffers.step
    clipped = training.max_norm < np.inf
    n_phases = 3 if clipped else 2
    phase = open_phase(signals)
    while phase != FINISHED:
        kind = phase % n_phases
        n_chunks = buffers.row_chunks if kind == _ROWS else buffers.cuts.size - 1
        chunk = next_chunk(signals, phase, worker * n_chunks // run.n_workers, n_chunks)
        if chunk < 0:
            if not wait_for_phase(signals, phase, run.patience):
                return
        else:
            batch = run.first_batch + phase // n_phases
            first = batch * run.batch_size
            n = min(run.batch_size, run.n_samples - first)
            # Batches whose gradients make an update together begin where the first of them does.
            place = batch % run.accumulate * run.batch_size
            update = learn and (
                place + run.batch_size == run.accumulate * run.batch_size or first + n == run.n_samples
            )
            add = place > 0 or not learn
            if kind == _ROWS:
                _rows_task(worker, chunk, model, rows, targets, training, buffers, first, n, place)
            else:
                tile, stop = buffers.cuts[chunk], buffers.cuts[chunk + 1]
                if kind == _WEIGHTS and rows.weights != NOTHING:
                    csr_weights(
                        rows.weights, worker, chunk, model, rows, targets, training, buffers, first, n,
                        add, update,
                    )  # fmt: skip
                    tile = max(tile, min(stop, model.sizes[0] // TILE_ROWS + 1))
                _weights_task(worker, tile, stop, model, targets, training, buffers, kind, n, add, update)
            if finish_chunk(signals, n_chunks):
                following = phase + 1
                if kind == _ROWS:
                    has_mean = _add_batch(
                        buffers.row_loss, targets.weights, rows.order, first, n, place, targets.loss_scale,
                        numbers, sums,
                    )  # fmt: skip
                    if (update or not learn) and not has_mean:
                        following = phase + n_phases
                    elif update:
                        counts[STEPS] += 1
                        _begin_update(
                            run.rates[min(batch // run.accumulate, run.rates.size - 1)], counts[STEPS],
                            training.coefficients, training.hyper, training.weight_decay,
                            training.average_rate, numbers, sums,
                        )  # fmt: skip
                elif kind == _WEIGHTS:
                    if update or not learn:
                        _add_step(targets.alpha, targets.l1_alpha, place + n, learn, tile_sums, sums)
                    if update and clipped:
                        sums[CLIP] = clip_factor(training.max_norm, sums[WEIGHT], tile_sums)
                    else:
                        following = phase + n_phases - 1
                enter_phase(
                    signals,
                    _phase_or_end(following, n_phases, run.last_batch - run.first_batch, sums, counts),
                )
        phase = open_phase(signals)


@parallel_jit
def run_batches(run, model, rows, targets, training, buffers):
    """Batches of a BatchRun: train on each or, without `learn`, add their gradients.

    What it reports stands in ``buffers.sums`` and ``buffers.counts``. Sums go on from what is there: they do
    not depend on where an epoch is cut into calls.
    """
    buffers.counts[DONE] = 0
    begin_phases(buffers.signals)
    for worker in prange(run.n_workers):
        _train_worker(np.int64(worker), run, model, rows, targets, training, buffers)


@register_jitable
def _softmax_of(model, layer, n, at, in_lanes):
    """Softmax of the first n samples of a layer that has it."""
    if model.activations[layer] == SOFTMAX_LOOP:
        softmax(model.softmax, model.sizes[layer + 1], np.int64(0), n, at, model.exp, in_lanes)


@linked("predict-task")
def _predict_task(
    chunk: int, n_chunks: int, model: LayerStack, rows: OrderedRows, first: int, n: int, in_lanes: Reals,
    scratch: Reals, out: Reals,
):  # fmt: skip
    start, stop = chunk_samples(chunk, n_chunks, n, out)
    if start == stop:
        return
    # Samples are numbered from the chunk's first one, and layers are kept in two places by turns.
    count = stop - start
    sizes = model.sizes
    n_layers = sizes.size - 1
    half = in_lanes.size // 2
    first_layer = 0
    if rows.forward != NOTHING:
        first_layer = 1
        csr_forward(
            rows.forward, model, rows, first + start, np.int64(0), count, half,
            _elementwise(model.activations[0]), False, scratch, in_lanes, in_lanes,
        )  # fmt: skip
        _softmax_of(model, 0, count, half, in_lanes)
    else:
        gather_lanes(
            rows.is_sparse, sizes[0], first + start, np.int64(0), count,
            rows.order, rows.indices, rows.x, rows.indptr, scratch, in_lanes,
        )  # fmt: skip
    for layer in range(first_layer, n_layers):
        passed = LayerPass(sizes[layer], sizes[layer + 1], 0, count, model.w_at[layer], layer % 2 * half)
        layer_forward(
            passed, (layer + 1) % 2 * half, _elementwise(model.activations[layer]), False,
            model.parameters, in_lanes, in_lanes,
        )  # fmt: skip
        _softmax_of(model, layer, count, (layer + 1) % 2 * half, in_lanes)
    n_out, at = sizes[n_layers], n_layers % 2 * half
    lanes_to_rows(n_out, np.int64(0), count, at, first + start, in_lanes, out)


@parallel_jit
def predict_rows(n_workers, n_chunks, first, n, model, rows, out):
    """Output layer of the rows first : first + n of the order, into the flat `out`.

    n_workers : threads, each with buffers of its own for chunk after chunk.
    """
    width = vector_width(out)
    most = ((n + width - 1) // width + n_chunks - 1) // n_chunks * width  # samples of a chunk
    on_entries = rows.forward != NOTHING
    widest = model.sizes[1 if on_entries else 0 :].max()
    in_lanes = np.empty((n_workers, 2 * most * (widest + 1)), out.dtype)
    scratch = np.empty((n_workers, scratch_size(model.sizes, width, on_entries)), out.dtype)
    for worker in prange(n_workers):
        for chunk in range(worker * n_chunks // n_workers, (worker + 1) * n_chunks // n_workers):
            _predict_task(
                np.int64(chunk), n_chunks, model, rows, first, n, in_lanes[worker], scratch[worker], out
            )
