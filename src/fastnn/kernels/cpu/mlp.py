"""The training step of a multi-layer perceptron, and its forward pass, on the leaf loops of ``linear``.

One step is two parallel regions::

    rows     for each chunk of the batch's rows: gather, forward through every layer, loss and dz,
             backward through every layer down to the first
    weights  for each chunk of the weights' rows: dW over the whole batch, then the update of these weights
             (and of their transposed copy, which the next backward pass reads) while they lie in cache

A row never needs another row's values and a weight never another weight's, so all that crosses chunks is the
loss, one number a row, summed in order. Both cuts depend on shapes alone: the result is bitwise the same for
any number of threads.

Per-layer buffers are flat: layer l of a batch of B rows lies at B * (units of the layers before it).
"""

from typing import NamedTuple

import numpy as np
from numba import prange
from numba.extending import register_jitable

from fastnn.kernels._jit import parallel_jit
from fastnn.kernels.cpu.denormals import flush_subnormals, restore_subnormals
from fastnn.kernels.cpu.dispatch import chain_rule, rule_coefficients, update_parameters
from fastnn.kernels.cpu.gather import gather_rows
from fastnn.kernels.cpu.linear import (
    bias_gradient,
    chunk_bounds,
    forward_rows,
    input_gradient_rows,
    pack_rows,
    panel_size,
    sum_of_squares,
    transpose_rows_into,
    weight_gradient_panel,
)
from fastnn.kernels.cpu.output import loss_rows, softmax_rows
from fastnn.optimizers import N_COEFFICIENTS


class Model(NamedTuple):
    """What a forward pass needs. L layers of weights; T is float32 or float64."""

    sizes: np.ndarray  # IN (L + 1,) int64: units of each layer, inputs first
    w_at: np.ndarray  # IN (L,) int64: offset of each W in the parameters
    b_at: np.ndarray  # IN (L,) int64: offset of each b in the parameters
    parameters: np.ndarray  # IN, and OUT of training (n_parameters,) T
    hidden_code: int  # activation of the hidden layers
    output_code: int  # elementwise activation of the last one
    is_softmax: bool  # softmax instead


class Rows(NamedTuple):
    """The data: a matrix, dense or CSR, in the order in which its rows are taken."""

    is_sparse: bool
    x: np.ndarray  # IN flat (n * n_features,) or (nnz,) T
    indices: np.ndarray  # IN (nnz,) int64 of CSR; empty for a dense matrix
    indptr: np.ndarray  # IN (n + 1,) int64 of CSR; empty for a dense matrix
    order: np.ndarray  # IN (n_used,) int64


class Targets(NamedTuple):
    """What is learned."""

    y: np.ndarray  # IN flat (n * n_outputs,) T
    weights: np.ndarray  # IN (n,) T, or empty: all 1
    loss_code: int
    loss_scale: float  # factor of the summed loss
    alpha: float  # L2 penalty


class Training(NamedTuple):
    """Where gradients and updates go, and the work buffers of a batch of at most B rows."""

    transposed: np.ndarray  # INOUT (sum of n_in * n_out from layer 1 on,) T: W^T of every layer but the first
    gradient: np.ndarray  # OUT (n_parameters,) T
    state: np.ndarray  # INOUT (n_slots, n_parameters) T
    hyper: np.ndarray  # IN (MAX_HYPER,) float64
    rule_code: int
    units: (
        np.ndarray
    )  # IN (n_units, 3) int64: layer, first row, last row (exclusive) of W; row -1 stands for b
    chunks: np.ndarray  # IN (n_weight_chunks + 1,) int64: first unit of each chunk
    acts: np.ndarray  # WORK (B * sum(sizes),) T
    zs: np.ndarray  # WORK as acts where the hidden activation's derivative needs z; else acts itself
    dzs: np.ndarray  # WORK (B * sum(sizes),) T
    panels: np.ndarray  # WORK (n_row_chunks, panel length) T
    row_loss: np.ndarray  # WORK (B,) float64
    squares: np.ndarray  # WORK (n_weight_chunks,) float64
    keep_z: bool


@register_jitable
def _forward_layers(model, keep_z, batch_rows, start, rows, acts, zs, panel):
    """Activations of `rows` rows from `start` on, whose inputs lie in acts; the last layer's offset."""
    at = 0
    n_layers = model.sizes.size - 1
    for layer in range(n_layers):
        n_in, n_out = model.sizes[layer], model.sizes[layer + 1]
        pack_rows(acts, at + start * n_in, n_in, rows, n_in, panel, 0)
        at += batch_rows * n_in
        here = at + start * n_out
        last = layer == n_layers - 1
        with_z = keep_z and not last
        forward_rows(
            panel, rows, n_in, model.parameters, model.w_at[layer], n_out,
            model.parameters, model.b_at[layer], True, zs if with_z else acts, here,
            model.output_code if last else model.hidden_code, acts, with_z,
        )  # fmt: skip
        if last and model.is_softmax:
            softmax_rows(acts, here, rows, n_out)
    return at


@register_jitable
def _rows_task(chunk, model, rows, targets, training, first, n):
    """The rows' region, for one chunk of the n rows that stand at `first` in the order."""
    former = flush_subnormals()
    sizes, acts, dzs = model.sizes, training.acts, training.dzs
    batch_rows = training.row_loss.size
    start, stop = chunk_bounds(chunk, training.panels.shape[0], n)
    count = stop - start
    panel = training.panels[chunk]
    gather_rows(
        rows.is_sparse, rows.x, rows.indices, rows.indptr, sizes[0], rows.order, first + start, first + stop,
        acts, start * sizes[0],
    )  # fmt: skip
    at = _forward_layers(model, training.keep_z, batch_rows, start, count, acts, training.zs, panel)

    n_layers = sizes.size - 1
    n_out = sizes[n_layers]
    loss_rows(
        targets.loss_code, targets.y, rows.order, first, targets.weights, acts, dzs, at, n_out, start, stop,
        training.row_loss,
    )  # fmt: skip

    for layer in range(n_layers - 1, 0, -1):
        n_in, n_out = sizes[layer], sizes[layer + 1]
        pack_rows(dzs, at + start * n_out, n_out, count, n_out, panel, 0)
        at -= batch_rows * n_in
        begin, end = at + start * n_in, at + stop * n_in
        input_gradient_rows(
            panel, count, n_out, training.transposed, model.w_at[layer] - model.w_at[1], n_in, dzs, begin
        )
        chain_rule(model.hidden_code, dzs[begin:end], training.zs[begin:end], acts[begin:end])
    restore_subnormals(former)


@register_jitable
def _weights_task(chunk, model, training, n, learn, c, decay, scale):
    """The weights' region, for one chunk of units: their gradients and, with `learn`, their update."""
    former = flush_subnormals()
    sizes, parameters = model.sizes, model.parameters
    batch_rows = training.row_loss.size
    training.squares[chunk] = 0.0
    for unit in range(training.chunks[chunk], training.chunks[chunk + 1]):
        layer, i, j = training.units[unit, 0], training.units[unit, 1], training.units[unit, 2]
        n_in, n_out = sizes[layer], sizes[layer + 1]
        at = batch_rows * sizes[:layer].sum()
        dz_at = at + batch_rows * n_in
        is_bias = i < 0
        if is_bias:
            begin, end = model.b_at[layer], model.b_at[layer] + n_out
            bias_gradient(training.dzs, dz_at, n_out, n, training.gradient[begin:end], not learn)
        else:
            w_at = model.w_at[layer]
            begin, end = w_at + i * n_out, w_at + j * n_out
            weight_gradient_panel(
                training.acts,
                at,
                n_in,
                i,
                j - i,
                training.dzs,
                dz_at,
                n_out,
                n,
                training.gradient,
                w_at,
                not learn,
            )
        if learn:
            if decay > 0 and not is_bias:
                training.squares[chunk] += sum_of_squares(parameters[begin:end])
            state = training.state
            update_parameters(
                training.rule_code, parameters.dtype.type(0) if is_bias else decay, scale,
                c[0], c[1], c[2], c[3], c[4], c[5], parameters[begin:end], training.gradient[begin:end],
                state[0, begin:end], state[state.shape[0] - 1, begin:end],
            )  # fmt: skip
            if layer > 0 and not is_bias:
                transpose_rows_into(
                    parameters, w_at, n_in, n_out, i, j, training.transposed, w_at - model.w_at[1]
                )
    restore_subnormals(former)


@parallel_jit
def run_batches(
    first_batch, last_batch, batch_size, n_samples, model, rows, targets, training,
    learn, learning_rate, t,
):  # fmt: skip
    """Batches first_batch to last_batch (exclusive): train on each or, without `learn`, add their gradients.

    Returns
    -------
    loss : float
        With `learn` the sum over batches of mean loss (with penalty) times rows; without, the summed loss.
        The first non-finite loss, where there is one: its batch changes nothing.
    weight : float
        Sum of the rows' weights.
    done : int
        Batches before the end or the non-finite loss.
    t : int
        Steps of the optimiser so far; `t` at the start.
    """
    total, weight_total = 0.0, 0.0
    dtype = model.parameters.dtype
    c = np.zeros(N_COEFFICIENTS, dtype)
    decay = dtype.type(targets.alpha)
    row_chunks, weight_chunks = training.panels.shape[0], training.chunks.size - 1
    for batch in range(first_batch, last_batch):
        first = batch * batch_size
        n = min(batch_size, n_samples - first)
        for chunk in prange(row_chunks):
            _rows_task(np.int64(chunk), model, rows, targets, training, first, n)
        loss, weight = 0.0, float(n)
        for i in range(n):
            loss += training.row_loss[i]
        if targets.weights.size > 0:
            weight = 0.0
            for i in range(n):
                weight += targets.weights[rows.order[first + i]]
        loss *= targets.loss_scale
        if not np.isfinite(loss):
            return loss, weight_total, batch - first_batch, t
        # No row of this batch counts, or so little that the mean cannot be formed.
        if not np.isfinite(dtype.type(1.0 / weight)):
            continue
        if learn:
            t += 1
            rule_coefficients(training.rule_code, learning_rate, training.hyper, t, c)
        scale = dtype.type(1.0 / weight)
        for chunk in prange(weight_chunks):
            _weights_task(np.int64(chunk), model, training, n, learn, c, decay, scale)
        if learn:
            penalty = 0.0
            for chunk in range(weight_chunks):
                penalty += training.squares[chunk]
            loss = (loss + 0.5 * targets.alpha * penalty) / weight * n
        total += loss
        weight_total += weight
    return total, weight_total, last_batch - first_batch, t


@register_jitable
def _predict_task(chunk, n_chunks, model, rows, out):
    start, stop = chunk_bounds(chunk, n_chunks, rows.order.size)
    count = stop - start
    sizes = model.sizes
    acts = np.empty(count * sizes.sum(), out.dtype)
    panel = np.empty(panel_size(count, sizes[:-1].max()), out.dtype)
    gather_rows(rows.is_sparse, rows.x, rows.indices, rows.indptr, sizes[0], rows.order, start, stop, acts, 0)
    at = _forward_layers(model, False, count, 0, count, acts, acts, panel)
    n_out = sizes[sizes.size - 1]
    out[start * n_out : stop * n_out] = acts[at : at + count * n_out]


@parallel_jit
def predict_rows(n_chunks, model, rows, out):
    """Output layer of every row, into the flat `out`."""
    for chunk in prange(n_chunks):
        _predict_task(np.int64(chunk), n_chunks, model, rows, out)
