"""The output layer, sample by sample along the lanes: softmax, and the loss with its gradient."""

from numba.extending import register_jitable

from fastnn.activations import SOFTMAX
from fastnn.kernels.cpu.dispatch import activate, losses_and_dz
from fastnn.kernels.cpu.linked import linked
from fastnn.kernels.cpu.panels import panel_width
from fastnn.kernels.cpu.tile import divide_by_sum, lanes, subtract_max, tile_columns, tile_gather


@linked(SOFTMAX, "iiiiiT")
def softmax(n_units, start, stop, lanes_at, exp, in_lanes):
    """z <- exp(z) / sum(exp(z)) over the units of each sample, in place. Scores are taken from their largest.

    exp : int
        Address of the loop of the exponential function.
    """
    columns = tile_columns(in_lanes)
    for s in range(start, stop, columns):
        panel = panel_width(in_lanes, stop - s)
        at = lanes_at + s * (n_units + 1)
        subtract_max(n_units, panel, in_lanes, at)
        activate(exp, in_lanes[at : at + n_units * panel])
        divide_by_sum(n_units, panel, in_lanes, at)


@register_jitable
def _gather_targets(n_units, first, samples, panel, order, y, codes, flags, targets):
    """A panel (n_units, panel) of the targets of samples from `first` on, from the one of three that is."""
    if y.size > 0:
        for block in range(0, panel, lanes(targets)):
            rows = min(lanes(targets), samples - block)
            tile_gather(rows, order, first + block, n_units, y, n_units, targets, block, panel)
        return
    of_classes = codes.size > 0
    units = targets[n_units * panel : (n_units + 1) * panel]
    for i in range(panel):
        row = order[first + min(i, samples - 1)]
        if of_classes:
            units[i] = codes[row]
        else:
            for j in range(n_units):
                targets[j * panel + i] = flags[row * n_units + j]
    if of_classes:
        for j in range(n_units):
            # Compared lane by lane: a single 1 that is stored makes the next load of its vector wait.
            unit, ones = targets.dtype.type(j), targets[j * panel : (j + 1) * panel]
            for i in range(panel):
                ones[i] = 1 if units[i] == unit else 0


@linked("loss-and-gradient", "iiiiiiiITJBTTTD")
def loss_and_gradient(
    n_units, first, start, stop, lanes_at, loss, weighted,
    order, y, codes, flags, weights, in_lanes, targets, row_loss,
):  # fmt: skip
    """Loss of each sample, and dz in place of the outputs; sample i is row ``order[first + i]``.

    Parameters
    ----------
    loss : int
        Address of the loss's loop.
    weighted : int
        Whether the samples have weights.
    y : flat array (n_rows, n_units)   # IN, the targets; or empty, and one of the next two not
    codes : array (n_rows,) of int32   # IN: the unit whose target is 1, where those of the others are 0
    flags : flat array (n_rows, n_units) of uint8   # IN
    weights : array (n_rows,)   # IN
    in_lanes : array   # INOUT
    targets : array ((n_units + 1) * tile_columns,)   # WORK
    row_loss : array (n_samples,)   # OUT
        Summed in float64: a batch's loss decides when training stops.
    """
    columns = tile_columns(in_lanes)
    for s in range(start, stop, columns):
        panel = panel_width(in_lanes, stop - s)
        samples = min(panel, stop - s)
        base, cells = lanes_at + s * (n_units + 1), n_units * panel
        _gather_targets(n_units, first + s, samples, panel, order, y, codes, flags, targets)
        losses_and_dz(loss, targets[:cells], in_lanes[base : base + cells])
        losses = row_loss[s : s + samples]
        for i in range(samples):
            losses[i] = 0.0
        for j in range(n_units):
            terms = targets[j * panel : j * panel + samples]
            for i in range(samples):
                losses[i] += terms[i]
        if weighted:
            for i in range(samples):
                weight = weights[order[first + s + i]]
                row_loss[s + i] *= weight
                for j in range(n_units):
                    in_lanes[base + j * panel + i] *= weight
