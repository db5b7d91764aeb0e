"""The output layer, sample by sample along the lanes: softmax, and the loss with its gradient."""

from fastnn.elementary import exp
from fastnn.kernels.cpu.dispatch import losses_and_dz
from fastnn.kernels.cpu.linked import linked
from fastnn.kernels.cpu.panels import panel_width
from fastnn.kernels.cpu.tile import tile_columns


@linked("softmax", "iiiiTT")
def softmax(n_units, start, stop, lanes_at, in_lanes, work):
    """z <- exp(z) / sum(exp(z)) over the units of each sample, in place. Scores are taken from their largest.

    work : array (2 * tile_columns,)   # WORK
    """
    columns = tile_columns(in_lanes)
    for s in range(start, stop, columns):
        panel = panel_width(in_lanes, stop - s)
        base = lanes_at + s * (n_units + 1)
        for i in range(panel):
            work[i] = in_lanes[base + i]
        for j in range(1, n_units):
            for i in range(panel):
                work[i] = max(work[i], in_lanes[base + j * panel + i])
        for i in range(panel):
            work[columns + i] = 0
        for j in range(n_units):
            for i in range(panel):
                value = exp(in_lanes[base + j * panel + i] - work[i])
                in_lanes[base + j * panel + i] = value
                work[columns + i] += value
        for j in range(n_units):
            for i in range(panel):
                in_lanes[base + j * panel + i] /= work[columns + i]


@linked("loss", "iiiiiiiITTTTD")
def loss_and_gradient(
    n_units, first, start, stop, lanes_at, loss, weighted, order, y, weights, in_lanes, targets, row_loss
):  # fmt: skip
    """Loss of each sample, and dz in place of the outputs, for a batch whose sample i is row ``order[first + i]``.

    Parameters
    ----------
    loss : int
        Address of the loss's loop.
    weighted : int
        Whether the samples have weights.
    y : flat array (n_rows, n_units)   # IN
    weights : array (n_rows,)   # IN
    in_lanes : array   # INOUT
    targets : array (n_units * tile_columns,)   # WORK
    row_loss : array (n_samples,)   # OUT
        Summed in float64: a batch's loss decides when training stops.
    """
    columns = tile_columns(in_lanes)
    for s in range(start, stop, columns):
        panel = panel_width(in_lanes, stop - s)
        samples = min(panel, stop - s)
        base, cells = lanes_at + s * (n_units + 1), n_units * panel
        for i in range(panel):
            row = order[first + s + min(i, samples - 1)]
            for j in range(n_units):
                targets[j * panel + i] = y[row * n_units + j]
        losses_and_dz(loss, targets[:cells], in_lanes[base : base + cells])
        for i in range(samples):
            row_loss[s + i] = 0.0
        for j in range(n_units):
            for i in range(samples):
                row_loss[s + i] += targets[j * panel + i]
        if weighted:
            for i in range(samples):
                weight = weights[order[first + s + i]]
                row_loss[s + i] *= weight
                for j in range(n_units):
                    in_lanes[base + j * panel + i] *= weight
