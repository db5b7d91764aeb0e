"""What is done to parameters once their gradients are there: penalties, the norm, the step, the average.

The weights' phase does it tile by tile while they lie in cache. With a bound on the gradient's norm a step
waits for the norm, which is summed tile by tile too, in order: then it is a phase of its own.
"""

import numpy as np
from numba.extending import register_jitable

from fastnn.kernels.compiler.jit import sums_in_any_order
from fastnn.kernels.compiler.linked import linked
from fastnn.kernels.cpu.dispatch import update_parameters, with_penalties
from fastnn.kernels.cpu.network.panel_products import GROUP_TILES
from fastnn.kernels.cpu.network.step_buffers import CLIP, SHARE, SHRINK, WEIGHT, StepBuffers
from fastnn.kernels.cpu.network.structures import LayerStack, LossTargets, UpdatePlan
from fastnn.kernels.shared.value_types import Reals
from fastnn.kernels.simd.denormals import flush_subnormals, restore_subnormals
from fastnn.kernels.simd.tile import TILE_ROWS


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


@register_jitable(forceinline=True)
def clips(training):
    """Whether the norm of the gradient is bounded."""
    return training.max_norm < np.inf


@linked("tile-sums")
def tile_sums(
    layer: int, tile: int, t: int, count: int, model: LayerStack, targets: LossTargets, training: UpdatePlan,
    buffers: StepBuffers, gradient: Reals, at: int,
):  # fmt: skip
    """What is summed of `count` row tiles of a layer before their update: |W|, and the gradient's squares.

    From tile t of the layer on, which is number `tile` of all; their gradients begin at `at` of `gradient`.
    """
    parameters = model.parameters
    real = parameters.dtype.type
    n_in, n_out = model.sizes[layer], model.sizes[layer + 1]
    for i in range(count):
        first = (t + i) * TILE_ROWS
        begin = model.w_at[layer] + first * n_out
        # Of the rows of W: b has no penalty.
        n_weights = (min(first + TILE_ROWS, n_in) - first) * n_out
        weights = parameters[begin : begin + n_weights]
        if targets.l1_alpha > 0:
            buffers.magnitudes[tile + i] = _sum_of_magnitudes(weights)
        if clips(training):
            total = sum_of_gradient_squares(
                gradient[at : at + n_weights], weights, real(targets.alpha), real(targets.l1_alpha)
            )
            at += n_weights
            # Biases that stay have no gradient.
            if first + TILE_ROWS > n_in and training.bias_rates[layer] > 0:
                biases = parameters[begin + n_weights : begin + n_weights + n_out]
                total += sum_of_gradient_squares(gradient[at : at + n_out], biases, real(0), real(0))
            buffers.gradient_squares[tile + i] = total


@register_jitable
def needs_sums(targets, training):
    """Whether a step needs ``tile_sums``."""
    return targets.l1_alpha > 0 or training.max_norm < np.inf


@register_jitable
def add_to_average(share, w, average):
    """average += share * (w - average), in float64."""
    for i in range(w.size):
        average[i] += share * (w[i] - average[i])


@register_jitable
def step_numbers(model, targets, buffers):
    """What a step does to weights: L2 and L1 penalty, the share that they lose, the gradient's factor."""
    real, sums = model.parameters.dtype.type, buffers.sums
    return real(targets.alpha), real(targets.l1_alpha), real(sums[SHRINK]), real(sums[CLIP] / sums[WEIGHT])


# Inlined: the structures' arrays take longer to hand over than small tiles to update.
@register_jitable(forceinline=True)
def update_tiles(numbers, model, training, buffers, layer, t, count, gradient, at):
    """The step of `count` row tiles of a layer from tile t on, with gradients from `at` on.

    numbers : of ``step_numbers``
    """
    parameters, state, c, average = model.parameters, training.state, buffers.step, training.average
    real = parameters.dtype.type
    n_in, n_out = model.sizes[layer], model.sizes[layer + 1]
    begin = model.w_at[layer] + t * TILE_ROWS * n_out
    end = model.w_at[layer] + min((t + count) * TILE_ROWS, n_in) * n_out
    # The rows of W, then b, if its row is among these tiles: b has no penalty, and does not decay.
    decay, l1, shrink, scale = numbers
    rate, last = c[0], state.shape[0] - 1
    has_bias = (t + count) * TILE_ROWS > n_in and training.bias_rates[layer] > 0
    for is_bias in range(2 if has_bias else 1):
        if is_bias:
            rate, decay, l1, shrink = c[0] * training.bias_rates[layer], real(0), real(0), real(0)
        update_parameters(
            training.update, decay, l1, shrink, scale, rate, c[1], c[2], c[3], c[4], c[5],
            parameters[begin:end], gradient[at : at + end - begin],
            state[0, begin:end], state[(last + 1) // 2, begin:end], state[last, begin:end],
        )  # fmt: skip
        if average.size > 0:
            add_to_average(buffers.sums[SHARE], parameters[begin:end], average[begin:end])
        at, begin, end = at + end - begin, end, end + n_out


@linked("update-task")
def update_task(
    tile: int, stop: int, model: LayerStack, targets: LossTargets, training: UpdatePlan, buffers: StepBuffers
):  # fmt: skip
    """The step of the tiles tile : stop of all, whose gradients are in ``training.gradient``."""
    former = flush_subnormals()
    tiles, numbers = buffers.tiles, step_numbers(model, targets, buffers)
    while tile < stop:
        layer, t = tiles[tile, 0], tiles[tile, 1]
        count = 1
        while count < GROUP_TILES and tile + count < stop and tiles[tile + count, 0] == layer:
            count += 1
        at = model.w_at[layer] + t * TILE_ROWS * model.sizes[layer + 1]
        update_tiles(numbers, model, training, buffers, layer, t, count, training.gradient, at)
        tile += count
    restore_subnormals(former)


@register_jitable
def set_clip(training, buffers):
    """The factor of the step's gradient by which its norm stays within the bound."""
    total = 0.0
    for tile in range(buffers.gradient_squares.size):
        total += buffers.gradient_squares[tile]
    norm = np.sqrt(total) / buffers.sums[WEIGHT]
    buffers.sums[CLIP] = training.max_norm / norm if norm > training.max_norm else 1.0
