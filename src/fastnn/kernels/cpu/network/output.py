"""The output layer, sample by sample along the lanes: softmax, targets, and the loss with its gradient."""

from typing import NamedTuple

from fastnn.kernels.compiler.linked import NOTHING, LoopTable, linked
from fastnn.kernels.cpu.dispatch import activate, losses_and_dz
from fastnn.kernels.cpu.network.panels import panel_width
from fastnn.kernels.cpu.network.structures import LossTargets
from fastnn.kernels.shared.value_types import Float64s, Int32s, Int64s, Reals
from fastnn.kernels.simd.tile import divide_by_sum, subtract_max, tile_columns, tile_gather, vector_width
from fastnn.tables.activations import SOFTMAX
from fastnn.tables.jitable import register_jitable


@register_jitable
def _softmax(n_units: int, start: int, stop: int, lanes_at: int, exp: int, in_lanes: Reals):
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


# softmax(address, ...), with address = softmax_loops.address(0, dtype): compiled where a layer has softmax.
softmax_loops = LoopTable(SOFTMAX, {"rows": _softmax})
softmax = softmax_loops.call


@register_jitable
def _softmax_back(n_units: int, start: int, stop: int, d_at: int, lanes_at: int, d: Reals, in_lanes: Reals):
    """d <- (diag(a) - a a^T) d over the units of each sample: from softmax's values a to its scores.

    d : array   # INOUT, from `d_at` on
    in_lanes : array   # IN, a from `lanes_at` on
    """
    columns = tile_columns(d)
    for s in range(start, stop, columns):
        panel = panel_width(d, stop - s)
        at, a_at = d_at + s * (n_units + 1), lanes_at + s * (n_units + 1)
        # In the place of the bias's input, which a gradient has none of.
        dots = d[at + n_units * panel : at + (n_units + 1) * panel]
        for i in range(panel):
            dots[i] = 0
        for j in range(n_units):
            of_unit, a = d[at + j * panel : at + (j + 1) * panel], in_lanes[a_at + j * panel :]
            for i in range(panel):
                dots[i] += of_unit[i] * a[i]
        for j in range(n_units):
            of_unit, a = d[at + j * panel : at + (j + 1) * panel], in_lanes[a_at + j * panel :]
            for i in range(panel):
                of_unit[i] = a[i] * (of_unit[i] - dots[i])


# softmax_back(address, ...), with address = softmax_back_loops.address(0, dtype): compiled where a hidden
# layer has softmax.
softmax_back_loops = LoopTable("softmax-back", {"rows": _softmax_back})
softmax_back = softmax_back_loops.call


@register_jitable
def _gather_flags(
    n_units: int, first: int, samples: int, panel: int, order: Int64s, codes: Int32s, values: Reals,
    out: Reals,
):  # fmt: skip
    """out[j, i] = what flag order[first + i] * n_units + j stands for, for i < panel.

    From `samples` on the last sample's again.

    codes : array of int32   # IN: flag f is bit f % 32 of element f // 32
    values : array (2,)   # IN: what flags 0 and 1 stand for
    """
    for i in range(panel):
        at = order[first + min(i, samples - 1)] * n_units
        for j in range(n_units):
            flag = at + j
            out[j * panel + i] = values[(codes[flag // 32] >> (flag % 32)) & 1]


# gather_flags(address, ...), with address = flag_loops.address(0, dtype): compiled where targets are flags.
flag_loops = LoopTable("flags", {"rows": _gather_flags})
gather_flags = flag_loops.call


class TargetPlaces(NamedTuple):
    """The targets of sample i are those from ``starts[first + i] * stride`` on."""

    starts: Int64s  # IN
    first: int
    stride: int


@linked("loss-and-gradient")
def loss_and_gradient(
    n_units: int, first: int, start: int, stop: int, lanes_at: int, order: Int64s, places: TargetPlaces,
    targets: LossTargets, in_lanes: Reals, staging: Reals, row_loss: Float64s,
):  # fmt: skip
    """Loss of each sample, and dz in place of the outputs; sample i is row ``order[first + i]``.

    Parameters
    ----------
    places : TargetPlaces
        Where in ``targets.y`` the samples' targets are; not read where targets are flags.
    in_lanes : array   # INOUT
    staging : array (n_units * tile_columns,)   # WORK
    row_loss : array (n_samples,)   # OUT
        Summed in float64: a batch's loss decides when training stops.
    """
    columns, parameters = tile_columns(in_lanes), targets.parameters
    for s in range(start, stop, columns):
        panel = panel_width(in_lanes, stop - s)
        samples = min(panel, stop - s)
        base, cells = lanes_at + s * (n_units + 1), n_units * panel
        if targets.flags != NOTHING:
            gather_flags(
                targets.flags, n_units, first + s, samples, panel, order, targets.codes, targets.y, staging
            )
        else:
            for block in range(0, panel, vector_width(in_lanes)):
                rows = min(vector_width(in_lanes), samples - block)
                at = places.first + s + block
                tile_gather(rows, places.starts, at, n_units, targets.y, places.stride, staging, block, panel)
        part = cells if parameters.size == 1 else panel
        for j in range(parameters.size):
            outputs = in_lanes[base + j * part : base + (j + 1) * part]
            losses_and_dz(targets.loss, staging[j * part : (j + 1) * part], outputs, parameters[j])
        losses = row_loss[s : s + samples]
        for i in range(samples):
            losses[i] = 0.0
        for j in range(n_units):
            terms = staging[j * panel : j * panel + samples]
            for i in range(samples):
                losses[i] += terms[i]
        if targets.weights.size > 0:
            for i in range(samples):
                weight = targets.weights[order[first + s + i]]
                row_loss[s + i] *= weight
                for j in range(n_units):
                    in_lanes[base + j * panel + i] *= weight
