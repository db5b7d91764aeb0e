"""Dropout of a hidden layer in lanes (``panels``): of its values on the way forth, of their gradient back.

On the way back the random numbers are computed once more: that is cheaper than to keep them. The loop is
reached by its address, so that a process without dropout does not compile it.
"""

import numpy as np

from fastnn.kernels.compiler.linked import LoopTable
from fastnn.kernels.cpu.network.panels import panel_width
from fastnn.kernels.shared.value_types import Real, Reals
from fastnn.kernels.simd.tile import tile_columns
from fastnn.tables.dropout import WORDS, is_dropped, random_words
from fastnn.tables.jitable import register_jitable


@register_jitable(forceinline=True)
def _thinned(value, dropped, scale):
    return type(value)(0) if dropped else value * scale


@register_jitable
def _drop_units(
    n_units: int, start: int, stop: int, at: int, seed: int, step: int, layer: int, threshold: int,
    scale: Real, values: Reals,
):  # fmt: skip
    """values[unit, sample] <- 0 where the unit is dropped for the sample, else times `scale`.

    Parameters
    ----------
    start, stop : int
        Samples; `start` is a multiple of a vector.
    at : int
        Offset of the layer's lanes.
    seed, step, layer, threshold, scale
        See ``fastnn.tables.dropout``.
    values : array   # INOUT
    """
    columns, limit = tile_columns(values), np.uint64(threshold)
    rest = n_units % WORDS
    for s in range(start, stop, columns):
        panel = panel_width(values, stop - s)
        base = at + s * (n_units + 1)
        for unit in range(0, n_units - rest, WORDS):
            here = base + unit * panel
            a0, a1 = values[here : here + panel], values[here + panel : here + 2 * panel]
            here += 2 * panel
            a2, a3 = values[here : here + panel], values[here + panel : here + 2 * panel]
            for i in range(panel):
                w0, w1, w2, w3 = random_words(seed, step, layer, s + i, unit // WORDS)
                a0[i] = _thinned(a0[i], w0 < limit, scale)
                a1[i] = _thinned(a1[i], w1 < limit, scale)
                a2[i] = _thinned(a2[i], w2 < limit, scale)
                a3[i] = _thinned(a3[i], w3 < limit, scale)
        for unit in range(n_units - rest, n_units):
            a0 = values[base + unit * panel : base + (unit + 1) * panel]
            for i in range(panel):
                a0[i] = _thinned(a0[i], is_dropped(seed, step, layer, s + i, unit, threshold), scale)


# drop_units(address, ...), with address = dropout_loops.address(0, dtype).
dropout_loops = LoopTable("dropout", {"units": _drop_units})
drop_units = dropout_loops.call
