"""What is done to parameters once their gradients are there: penalties, the norm, the step, the average.

The weights' phase does it tile by tile while they lie in cache. With a bound on the gradient's norm a step
waits for the norm, which is summed tile by tile too, in order: then it is a phase of its own.
"""

import numpy as np

from fastnn.kernels.compiler.jit import sums_in_any_order
from fastnn.kernels.compiler.linked import NOTHING, LoopTable
from fastnn.kernels.cpu.dispatch import update_parameters, with_penalties
from fastnn.kernels.cpu.network.front import FrontSteps, update_behind_scale
from fastnn.kernels.cpu.network.panel_products import sum_of_squares
from fastnn.kernels.cpu.network.step_buffers import (
    CLIP,
    GRADIENT_SQUARES,
    MAGNITUDES,
    SHRINK,
    SQUARES,
    WEIGHT,
)
from fastnn.kernels.cpu.network.structures import (
    BIAS_EPSILON,
    BIAS_RATE,
    WEIGHT_EPSILON,
    WEIGHT_RATE,
    RowTiles,
)
from fastnn.kernels.shared.value_types import Float64s, Float64s2D, Real, Reals
from fastnn.kernels.simd.tile import TILE_ROWS
from fastnn.tables.jitable import register_jitable


@sums_in_any_order
def _sum_of_magnitudes(w):
    """Sum of |w|, in float64."""
    total = 0.0
    for i in range(w.size):
        total += abs(w[i])
    return total


@sums_in_any_order
def sum_of_gradient_squares(g, w, decay, l1):
    """Sum of the squares of gradients with penalties, in float64: those of float32 might overflow."""
    total = 0.0
    for i in range(w.size):
        gradient = np.float64(with_penalties(g[i], w[i], decay, l1))
        total += gradient * gradient
    return total


@register_jitable
def _tile_sums(
    tiles: RowTiles, has_bias: bool, with_norm: bool, decay: Real, l1: Real, parameters: Reals,
    gradient: Reals, at: int, sums: Float64s2D,
) -> None:  # fmt: skip
    """What is summed of row tiles before their update: |W|, and the gradient's squares.

    Parameters
    ----------
    has_bias : bool
        Whether b, which moves, is in the last of them.
    with_norm : bool
        Whether the gradient's squares are summed.
    at : int
        Where their gradients begin in `gradient`.
    sums : array (3, n_tiles)   # OUT, see MAGNITUDES
    """
    n_out, end, size = tiles.n_out, tiles.end, TILE_ROWS * tiles.n_out
    for i in range(tiles.n_tiles):
        first = tiles.begin + i * size
        weights = parameters[first : min(first + size, end)]
        sums[MAGNITUDES, tiles.number + i] = _sum_of_magnitudes(weights)
        if with_norm:
            slopes = gradient[at : at + weights.size]
            sums[GRADIENT_SQUARES, tiles.number + i] = sum_of_gradient_squares(slopes, weights, decay, l1)
            at += weights.size
    if with_norm and has_bias:  # which has no penalty
        zero, biases = parameters.dtype.type(0), parameters[end : end + n_out]
        sums[GRADIENT_SQUARES, tiles.number + tiles.n_tiles - 1] += sum_of_gradient_squares(
            gradient[at : at + n_out], biases, zero, zero
        )


# sum_tiles(address, ...), with address = tile_sums_loops.address(0, dtype): compiled where there is an L1
# penalty, or a bound on the gradient's norm.
tile_sums_loops = LoopTable("tile-sums", {"rows": _tile_sums})
_sum_tiles = tile_sums_loops.call


@register_jitable
def _has_bias(tiles):
    """Whether b is in the last of these row tiles."""
    return tiles.begin + tiles.n_tiles * TILE_ROWS * tiles.n_out > tiles.end


@register_jitable
def sums_before_update(loop, numbers, with_norm, tiles, bias_rate, parameters, gradient, at, sums):
    """What a step sums of row tiles whose gradients begin at `at`.

    loop : address of that of ``tile_sums_loops``, or NOTHING
    numbers : of ``step_numbers``
    sums : OUT, ``StepBuffers.tile_sums``
    """
    decay, l1, _, _ = numbers
    size = TILE_ROWS * tiles.n_out
    if decay > 0:
        for i in range(tiles.n_tiles):
            first = tiles.begin + i * size
            sums[SQUARES, tiles.number + i] = sum_of_squares(parameters[first : min(first + size, tiles.end)])
    if loop != NOTHING:
        has_bias = _has_bias(tiles) and bias_rate > 0
        _sum_tiles(loop, tiles, has_bias, with_norm, decay, l1, parameters, gradient, at, sums)


@register_jitable
def add_to_average(share: float, w: Reals, average: Float64s) -> None:
    """average += share * (w - average), in float64."""
    for i in range(w.size):
        average[i] += share * (w[i] - average[i])


# With address = average_loops.address(0, dtype): compiled where there is an average.
average_loops = LoopTable("average", {"float64": add_to_average})
_add_to_average = average_loops.call


@register_jitable
def step_numbers(alpha, l1_alpha, sums, parameters):
    """What a step does to weights: L2 and L1 penalty, the share that they lose, the gradient's factor."""
    real = parameters.dtype.type
    return real(alpha), real(l1_alpha), real(sums[SHRINK]), real(sums[CLIP] / sums[WEIGHT])


# Inlined: its arrays take longer to hand over than small tiles to update.
@register_jitable(forceinline=True)
def update_tiles(loop, numbers, c, averaging, tiles, factors, layer, front, parameters, state, gradient, at):
    """The step of row tiles of a layer whose gradients begin at `at`.

    loop : address of that of the update rule
    numbers : of ``step_numbers``
    c : numbers of the rule
    averaging : address of the loop of the average, or NOTHING, the parameters' share in it, and the average
    factors : of ``UpdatePlan``
    front : address of the loop of weights behind a scale, or NOTHING, and its ``front_values``
    """
    real = parameters.dtype.type
    begin, end = tiles.begin, min(tiles.begin + tiles.n_tiles * TILE_ROWS * tiles.n_out, tiles.end)
    # The rows of W, then b, if its row is among these tiles: b has no penalty, and does not decay.
    decay, l1, shrink, scale = numbers
    averages, share, average = averaging
    behind_scale, front_values = front
    last, bias_rate = state.shape[0] - 1, factors[BIAS_RATE, layer]
    rate, epsilon = c[0] * factors[WEIGHT_RATE, layer], c[5] * factors[WEIGHT_EPSILON, layer]
    for is_bias in range(2 if _has_bias(tiles) and bias_rate > 0 else 1):
        if is_bias:
            rate, epsilon = c[0] * bias_rate, c[5] * factors[BIAS_EPSILON, layer]
            decay, l1, shrink = real(0), real(0), real(0)
        if behind_scale != NOTHING and not is_bias:
            own = factors.shape[1] - 1
            steps = FrontSteps(
                scale, rate, epsilon, c[0] * factors[WEIGHT_RATE, own], c[5] * factors[WEIGHT_EPSILON, own]
            )
            update_behind_scale(
                behind_scale, loop, tiles, steps, c, parameters, gradient, at, state, front_values
            )
        else:
            update_parameters(
                loop, decay, l1, shrink, scale, rate, c[1], c[2], c[3], c[4], epsilon,
                parameters[begin:end], gradient[at : at + end - begin],
                state[0, begin:end], state[(last + 1) // 2, begin:end], state[last, begin:end],
            )  # fmt: skip
        if averages != NOTHING:
            _add_to_average(averages, share, parameters[begin:end], average[begin:end])
        at, begin, end = at + end - begin, end, end + tiles.n_out


@register_jitable
def total_of_tiles(tile_sums, row):
    """Sum of a row of ``StepBuffers.tile_sums``, in order."""
    total = 0.0
    for tile in range(tile_sums.shape[1]):
        total += tile_sums[row, tile]
    return total


@register_jitable
def clip_factor(max_norm, weight, tile_sums):
    """The factor of the step's gradient by which its norm stays within the bound."""
    norm = np.sqrt(total_of_tiles(tile_sums, GRADIENT_SQUARES)) / weight
    return max_norm / norm if norm > max_norm else 1.0
