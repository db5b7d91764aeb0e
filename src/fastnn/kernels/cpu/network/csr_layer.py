"""The first layer of a network on CSR rows, of which the entries alone are read.

==========================  ======================  ======================  =======================
product                     rows that are added up  picked and weighted by  result
==========================  ======================  ======================  =======================
z_i = X_i W + b             W, as it lies           the entries of row i    lanes of the layer
dW_j = sum_i X_ij dz_i      dZ, in rows             those of column j       as the parameters lie
==========================  ======================  ======================  =======================

No dense batch exists. The columns' entries are found anew for every batch, a range of features at a time
(``columns_of_batch``): a counting sort, by the worker that then updates these features' weights.

Every sum is the chain of fused multiply-adds over ascending features, or samples, that the dense products
are, less the terms that are zero.

The functions are reached by their addresses, so that a process without sparse rows does not compile them.
"""

from typing import NamedTuple

import numpy as np

from fastnn.kernels.compiler.linked import NOTHING, LoopTable
from fastnn.kernels.cpu.dispatch import activate
from fastnn.kernels.cpu.network.panels import copy_elements, fill_ones, lanes_of_rows, panel_width, row_stride
from fastnn.kernels.cpu.network.step_buffers import SHARE, StepBuffers
from fastnn.kernels.cpu.network.structures import (
    BIAS_RATE,
    LayerStack,
    LossTargets,
    OrderedRows,
    RowTiles,
    UpdatePlan,
)
from fastnn.kernels.cpu.network.updates import step_numbers, sums_before_update, update_tiles
from fastnn.kernels.shared.value_types import Int32s, Int64s, Reals
from fastnn.kernels.simd.denormals import flush_subnormals, restore_subnormals
from fastnn.kernels.simd.tile import TILE_ROWS, TilePanel, combine_rows, tile_columns, vector_width
from fastnn.tables.jitable import register_jitable


@register_jitable
def _csr_forward(
    model: LayerStack, rows: OrderedRows, first: int, start: int, stop: int, y_at: int, activation: int,
    keep_z: bool, staging: Reals, in_lanes: Reals, zs: Reals,
):  # fmt: skip
    """Lanes of the first layer, at `y_at`, of the samples start : stop; sample i is row ``order[first + i]``.

    Parameters
    ----------
    start : int
        A multiple of a vector.
    activation, keep_z, in_lanes, zs
        As in ``layer_forward``.
    staging : array (vector_width * n_out,)   # WORK

    Notes
    -----
    FLOPs: 2 n_out for each entry and sample. Bytes: a row of W for each entry.
    """
    w, w_at, n_out = model.parameters, model.w_at[0], model.sizes[1]
    width, columns = vector_width(w), tile_columns(w)
    bias = w_at + model.sizes[0] * n_out
    for s in range(start, stop, columns):
        panel = panel_width(w, stop - s)
        y = y_at + s * (n_out + 1)
        for block in range(0, panel, width):
            count = min(width, stop - s - block)
            for i in range(count):
                row, at = rows.order[first + s + block + i], i * n_out
                begin, end = rows.indptr[row], rows.indptr[row + 1]
                combine_rows(
                    n_out, end - begin, rows.x, begin, rows.indices, begin, TilePanel(w, w_at, n_out),
                    staging, at, False,
                )  # fmt: skip
                for j in range(n_out):
                    staging[at + j] += w[bias + j]
            lanes_of_rows(staging, n_out, count, in_lanes, y + block, panel)
        cells = n_out * panel
        if keep_z:
            copy_elements(cells, y, y, in_lanes, zs)
        if activation != NOTHING:
            activate(activation, in_lanes[y : y + cells])
        fill_ones(y + cells, y + cells + panel, in_lanes)


@register_jitable
def _first_entry(indices, begin, end, feature):
    """Place of the first of the ascending indices[begin:end] that is at least `feature`."""
    while begin < end:
        middle = (begin + end) // 2
        if indices[middle] < feature:
            begin = middle + 1
        else:
            end = middle
    return begin


class BatchEntries(NamedTuple):
    """The entries of a batch by features, for a range of features.

    Those of feature j, by ascending samples, are numbers ``places[at + j]`` to ``places[at + j + 1]``, behind
    all those of smaller features. A range has one place more than features.
    """

    at: int
    places: Int64s
    samples: Int32s  # sample of every entry
    values_at: int
    values: Reals  # from `values_at` on, value of every entry


@register_jitable
def columns_of_batch(first_feature, last_feature, first, n, rows, entries):
    """The entries of a batch by features, first_feature : last_feature; sample i is ``order[first + i]``.

    Parameters
    ----------
    rows : OrderedRows   # IN
    entries : BatchEntries   # OUT

    Notes
    -----
    Bytes: indices and values of the entries twice, and as many written.
    """
    order, indices, indptr, x = rows.order, rows.indices, rows.indptr, rows.x
    places, samples, values = entries.places, entries.samples, entries.values
    at, n_features = entries.at + first_feature, last_feature - first_feature
    for j in range(at, at + n_features + 1):
        places[j] = 0
    # The place behind a feature's counts its entries, then moves on with each, to become the next one's.
    behind = entries.at + 1
    total = 0
    for i in range(n):
        row = order[first + i]
        begin, end = indptr[row], indptr[row + 1]
        p = _first_entry(indices, begin, end, first_feature)
        total += p - begin
        while p < end and indices[p] < last_feature:
            places[behind + indices[p]] += 1
            p += 1
    places[at] = total
    for j in range(at + 1, at + n_features + 1):
        count = places[j]
        places[j] = total
        total += count
    for i in range(n):
        row = order[first + i]
        end = indptr[row + 1]
        p = _first_entry(indices, indptr[row], end, first_feature)
        while p < end and indices[p] < last_feature:
            entry = places[behind + indices[p]]
            samples[entry], values[entries.values_at + entry] = i, x[p]
            places[behind + indices[p]] = entry + 1
            p += 1


@register_jitable
def gradient_of_rows(
    first_row, last_row, n_in, n_out, n, entries, dz_at, stride, add, gradient, gradient_at
):  # fmt: skip
    """Rows first_row : last_row of [dW; db] = [X 1]^T dZ, into `gradient` from `gradient_at`; += with `add`.

    Parameters
    ----------
    entries : BatchEntries   # IN, of ``columns_of_batch``
    dz_at, stride : int
        Where dZ begins, in the array of the entries' values, and from one sample to the next.
    gradient : array   # OUT, or INOUT with `add`

    Notes
    -----
    FLOPs: 2 n_out for each entry. Bytes: a row of dZ, in cache, for each entry; the gradient.
    """
    places, in_rows = entries.places, entries.values
    for row in range(first_row, last_row):
        g = gradient_at + (row - first_row) * n_out
        if row < n_in:
            begin, end = places[entries.at + row], places[entries.at + row + 1]
            combine_rows(
                n_out, end - begin, in_rows, entries.values_at + begin, entries.samples, begin,
                TilePanel(in_rows, dz_at, stride), gradient, g, add,
            )  # fmt: skip
        else:
            total = gradient[g : g + n_out]
            if not add:
                for j in range(n_out):
                    total[j] = 0
            for i in range(n):
                dz = in_rows[dz_at + i * stride : dz_at + i * stride + n_out]
                for j in range(n_out):
                    total[j] += dz[j]


@register_jitable
def _csr_weights(
    worker: int, chunk: int, model: LayerStack, rows: OrderedRows, targets: LossTargets, training: UpdatePlan,
    buffers: StepBuffers, first: int, n: int, add: bool, update: bool,
):  # fmt: skip
    """The weights' phase of the first layer, for the tiles of it that are in one chunk.

    Of a batch whose n samples stand at `first` in the order. With `add` gradients are added to those in
    ``training.gradient``; where an update follows at once they go no farther than the first-level cache.

    Notes
    -----
    Bytes: the parameters and the optimiser's state, read and written, whatever the batch; that is the limit.
    """
    former = flush_subnormals()
    n_in, n_out = model.sizes[0], model.sizes[1]
    tile, stop = buffers.cuts[chunk], min(buffers.cuts[chunk + 1], n_in // TILE_ROWS + 1)
    first_feature, last_feature = tile * TILE_ROWS, min(stop * TILE_ROWS, n_in)
    values_at = buffers.columns_at[buffers.columns_at.size - 1]
    entries = BatchEntries(
        buffers.capacity + chunk, buffers.places, buffers.samples, values_at, buffers.in_columns
    )
    if first_feature < last_feature:
        columns_of_batch(first_feature, last_feature, first, n, rows, entries)
    stride, bias_rate = row_stride(n_out, model.parameters), training.factors[BIAS_RATE, 0]
    sums, clipped = buffers.sums, training.max_norm < np.inf
    numbers = step_numbers(targets.alpha, targets.l1_alpha, sums, model.parameters)
    averaging = training.averaging, sums[SHARE], training.average
    while tile < stop:
        row, end = tile * TILE_ROWS, min((tile + 1) * TILE_ROWS, n_in + 1)
        begin = model.w_at[0] + row * n_out
        passing = update and not add and not clipped
        gradient, at = (buffers.scratch[worker], np.int64(0)) if passing else (training.gradient, begin)
        gradient_of_rows(row, end, n_in, n_out, n, entries, buffers.columns_at[1], stride, add, gradient, at)
        if update:
            group = RowTiles(tile, 1, n_out, begin, model.w_at[0] + n_in * n_out)
            sums_before_update(
                training.tile_sums, numbers, clipped, group, bias_rate, model.parameters, gradient, at,
                buffers.tile_sums,
            )  # fmt: skip
            if not clipped:
                update_tiles(
                    training.update, numbers, buffers.step, averaging, group,
                    training.factors, 0, (training.front, training.front_values),
                    model.parameters, training.state, gradient, at,
                )  # fmt: skip
        tile += 1
    restore_subnormals(former)


csr_forward_loops = LoopTable("csr-forward", {"rows": _csr_forward})
csr_weights_loops = LoopTable("csr-weights", {"rows": _csr_weights})
# What kernels call; Numba knows no attributes of Python objects.
csr_forward = csr_forward_loops.call
csr_weights = csr_weights_loops.call
