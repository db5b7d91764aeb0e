"""A trained scale of each input in front of the first layer, folded into its weights.

The parameters hold U = diag(s) V, by which samples go through the first layer as through any other. What is
trained is s and V: of the gradient G with respect to U theirs are made, ds_j = sum_k V_jk G_jk and
dV_jk = s_j G_jk, and after the step U anew. All of it concerns one row of weights at a time, which lies in
cache when its gradient is there.

The function is reached by its address, so that a process without such a scale does not compile it.
"""

from typing import NamedTuple

import numpy as np

from fastnn.kernels.compiler.jit import sums_in_any_order
from fastnn.kernels.compiler.linked import LoopTable
from fastnn.kernels.cpu.dispatch import update_parameters
from fastnn.kernels.cpu.network.structures import RowTiles
from fastnn.kernels.shared.value_types import Real, Reals, Reals2D
from fastnn.kernels.simd.tile import TILE_ROWS
from fastnn.tables.jitable import register_jitable


class FrontSteps(NamedTuple):
    """What the steps of V and of s are multiplied by."""

    clip: Real  # factor of the gradient
    rate: Real  # numbers of the rule, for V and for s
    epsilon: Real
    scale_rate: Real
    scale_epsilon: Real


@sums_in_any_order
def _sum_of_products(v, g):
    """Sum of v g, in float64."""
    total = 0.0
    for i in range(v.size):
        total += np.float64(v[i]) * np.float64(g[i])
    return total


@register_jitable
def _update_behind_scale(
    loop: int, tiles: RowTiles, steps: FrontSteps, c: Reals, parameters: Reals, gradient: Reals, at: int,
    state: Reals2D, values: Reals,
) -> None:  # fmt: skip
    """The step of row tiles of the first layer's weights, and of the scales of their inputs; biases stay.

    Parameters
    ----------
    loop : int
        Address of that of the update rule.
    c : array
        The other numbers of the rule.
    gradient : array   # INOUT: of U, then of V
    at : int
        Where their gradients begin.
    state : array (n_slots, n_parameters)   # INOUT: of V
    values : array (n_in * (n_out + 4),)   # INOUT: V, s, ds, and two slots of the rule's state for s
    """
    n_out, end, zero = tiles.n_out, tiles.end, parameters.dtype.type(0)
    n_in = end // n_out
    begin, stop = tiles.begin, min(tiles.begin + tiles.n_tiles * TILE_ROWS * n_out, end)
    first, last = begin // n_out, stop // n_out
    scales, slopes = values[end : end + n_in], values[end + n_in : end + 2 * n_in]
    s0, s1 = values[end + 2 * n_in : end + 3 * n_in], values[end + 3 * n_in : end + 4 * n_in]
    for row in range(first, last):
        here = at + row * n_out - begin
        g = gradient[here : here + n_out]
        slopes[row] = _sum_of_products(values[row * n_out : (row + 1) * n_out], g)
        scale = scales[row]
        for i in range(n_out):
            g[i] *= scale
    last_slot = state.shape[0] - 1
    update_parameters(
        loop, zero, zero, zero, steps.clip, steps.rate, c[1], c[2], c[3], c[4], steps.epsilon,
        values[begin:stop], gradient[at : at + stop - begin],
        state[0, begin:stop], state[(last_slot + 1) // 2, begin:stop], state[last_slot, begin:stop],
    )  # fmt: skip
    update_parameters(
        loop, zero, zero, zero, steps.clip, steps.scale_rate, c[1], c[2], c[3], c[4], steps.scale_epsilon,
        scales[first:last], slopes[first:last], s0[first:last], s1[first:last], s1[first:last],
    )  # fmt: skip
    for row in range(first, last):
        u, v, scale = (
            parameters[row * n_out : (row + 1) * n_out],
            values[row * n_out : (row + 1) * n_out],
            scales[row],
        )
        for i in range(n_out):
            u[i] = scale * v[i]


# update_behind_scale(address, ...), with address = front_loops.address(0, dtype).
front_loops = LoopTable("front", {"scale": _update_behind_scale})
update_behind_scale = front_loops.call
