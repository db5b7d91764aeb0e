"""The phases of a training step, each a device function for one network: a factory closes over what it needs.

All blocks of the grid go through a phase together. The tiles of its product are dealt out to the blocks; a
phase ends where the kernel (``steps``) lets all blocks wait for each other.
"""

from functools import cache
from typing import Any

import numpy as np

from fastnn.kernels.cuda import scalars as scalars  # what the registry's functions are, in kernels
from fastnn.kernels.cuda.network.output import loss_of_sample, softmax_of_sample
from fastnn.kernels.cuda.network.step_arguments import PENALTY, SCALE, SHRINK
from fastnn.kernels.cuda.runtime.compat import cuda, device_function
from fastnn.kernels.cuda.tiles.tile import places, product
from fastnn.kernels.cuda.tiles.tile_shape import Factor, Tile
from fastnn.tables.activations import ACTIVATIONS, CODES, IDENTITY, SOFTMAX
from fastnn.tables.dropout import is_dropped
from fastnn.tables.losses import HEADS
from fastnn.tables.optimizers import RULES, on_three_slots

_dropped = device_function(is_dropped)


@device_function
def count_tiles(m, n, height, width):
    """Tiles of a result (m, n), and those along its rows."""
    across = (n + width - 1) // width
    return (m + height - 1) // height * across, across


@device_function
def batch_rows(batches, step):
    """Where a step's batch begins in the order of the rows, and how many it has."""
    first = batches.numbers[step] * batches.size
    return first, min(batches.size, batches.n - first)


@device_function
def gather(batches, step, n_inputs, A, at):
    """A's first layer of a step's batch, by all threads of the grid."""
    first, n = batch_rows(batches, step)
    X, order = batches.X, batches.order
    for i in range(cuda.grid(1), n * n_inputs, cuda.gridsize(1)):
        A[at + i] = X[order[first + i // n_inputs] * n_inputs + i % n_inputs]


@cache
def dropout_of_tile(tile: Tile, real: Any) -> Any:
    """Dropout of a tile of a hidden layer, or of its gradient, which the block has just written.

    The arguments of the device function: row and column where the tile begins; rows and units of the layer,
    and where it begins in `values`; the number of the hidden layer; the step; ``DropoutMask``; and `values`.
    """
    height, width, threads = tile.height, tile.width, tile.threads

    @device_function
    def drop_units(row, column, n, n_units, at, hidden_layer, step, dropout, values):
        cuda.syncthreads()
        # One element after the other, not a thread's own: a loop that is not unrolled takes no registers.
        for e in range(cuda.threadIdx.x, height * width, threads):
            r, c = row + e // width, column + e % width
            if r < n and c < n_units:
                own = at + r * n_units + c
                out = _dropped(dropout.seed, dropout.before + step, hidden_layer, r, c, dropout.threshold)
                values[own] = real(0) if out else values[own] * dropout.scale

    return drop_units


@cache
def forward_phase(hidden: int, head: int, tile: Tile, real: Any) -> Any:
    """``A_l = act(A_{l-1} W_l + b_l)`` of one layer, and dropout of a hidden one."""
    add_up, drop_units = product(tile, real), dropout_of_tile(tile, real)
    output = HEADS[head].output_activation
    # Of softmax, which is no function of one number, the layer leaves the scores.
    output_code = CODES[IDENTITY.name if output == SOFTMAX else output]
    hidden_value = device_function(ACTIVATIONS[hidden].value)
    output_value = device_function(ACTIVATIONS[output_code].value)
    needs_z = ACTIVATIONS[hidden].needs_z
    n_rows, n_columns, height, width = tile.rows, tile.columns, tile.height, tile.width
    origin, own_row, own_column, _ = places(tile)

    @device_function
    def forward(layer, in_at, n, step, layout, parameters, units, dropout, tiles):
        n_in, n_out = layout.sizes[layer], layout.sizes[layer + 1]
        w_at, out_at = layout.w_at[layer], layout.a_at[layer + 1]
        is_last = layer == layout.sizes.shape[0] - 2
        w, A, dots = parameters.w, units.A, tiles.dots
        count, across = count_tiles(n, n_out, height, width)
        for at in range(cuda.blockIdx.x, count, cuda.gridDim.x):
            row, column = at // across * height, at % across * width
            add_up(row, column, n, n_out, n_in, Factor(A, in_at, n_in), Factor(w, w_at, n_out), w, w, tiles)
            y, x = origin()
            for i in range(n_rows):
                for j in range(n_columns):
                    r, c = row + y + own_row(i), column + x + own_column(j)
                    if r < n and c < n_out:
                        z = dots[i, j] + w[w_at + n_in * n_out + c]
                        if is_last:
                            A[out_at + r * n_out + c] = output_value(z)
                        else:
                            if needs_z:
                                units.Z[out_at + r * n_out + c] = z
                            A[out_at + r * n_out + c] = hidden_value(z)
            if dropout.threshold > 0 and not is_last:
                drop_units(row, column, n, n_out, out_at, layer, step, dropout, A)

    return forward


@cache
def loss_phase(head: int, real: Any) -> Any:
    """Softmax, loss and dZ; a sample has one thread, and the samples are dealt out to the blocks."""
    is_softmax = HEADS[head].output_activation == SOFTMAX
    loss_and_dz = loss_of_sample(head)

    @device_function
    def find_losses(first, n, n_out, out_at, batches, units):
        A = units.A
        for i in range(cuda.threadIdx.x * cuda.gridDim.x + cuda.blockIdx.x, n, cuda.gridsize(1)):
            row, own = batches.order[first + i], out_at + i * n_out
            if is_softmax:
                softmax_of_sample(A, own, n_out)
            weight = batches.weights[row] if batches.weighted else real(1)
            units.row_loss[i] = loss_and_dz(batches.Y, row * n_out, A, own, n_out, weight, batches.p, units.D)

    return find_losses


@cache
def backward_phase(hidden: int, tile: Tile, real: Any) -> Any:
    """``dZ_{l-1} = (dZ_l W_l^T) * act'(Z_{l-1})`` of one layer, and dropout of the gradient.

    The first layer's has no tile: nobody goes back to the inputs.
    """
    add_up, drop_units = product(tile, real, turn_b=True), dropout_of_tile(tile, real)
    derivative = device_function(ACTIVATIONS[hidden].derivative)
    needs_z = ACTIVATIONS[hidden].needs_z
    n_rows, n_columns, height, width = tile.rows, tile.columns, tile.height, tile.width
    origin, own_row, own_column, _ = places(tile)

    @device_function
    def backward(layer, n, step, layout, parameters, units, dropout, tiles):
        n_in, n_out = layout.sizes[layer], layout.sizes[layer + 1]
        w_at, in_at, out_at = layout.w_at[layer], layout.a_at[layer], layout.a_at[layer + 1]
        w, D, dots = parameters.w, units.D, tiles.dots
        count, across = count_tiles(n if layer > 0 else 0, n_in, height, width)
        for at in range(cuda.blockIdx.x, count, cuda.gridDim.x):
            row, column = at // across * height, at % across * width
            add_up(row, column, n, n_in, n_out, Factor(D, out_at, n_out), Factor(w, w_at, n_out), w, w, tiles)
            y, x = origin()
            for i in range(n_rows):
                for j in range(n_columns):
                    r, c = row + y + own_row(i), column + x + own_column(j)
                    if r < n and c < n_in:
                        e = in_at + r * n_in + c
                        a = units.A[e] * dropout.kept  # as it was before dropout, if the unit was kept
                        D[e] = dots[i, j] * derivative(units.Z[e] if needs_z else a, a)
            if dropout.threshold > 0:
                drop_units(row, column, n, n_in, in_at, layer - 1, step, dropout, D)

    return backward


@cache
def update_phase(rule: int, tile: Tile, real: Any) -> Any:
    """The update of one layer's [W; b], where their gradients have been added up.

    The device function returns `penalty` and the squares of the thread's elements of W, times the factor of
    the step.
    """
    add_up = product(tile, real, turn_a=True, ones=True)
    update = device_function(on_three_slots(RULES[rule]))
    n_slots = RULES[rule].n_slots
    n_rows, n_columns, height, width = tile.rows, tile.columns, tile.height, tile.width
    origin, own_row, own_column, _ = places(tile)

    @device_function
    def update_layer(layer, in_at, n, step, layout, parameters, units, steps, decay, tiles, penalty):
        n_in, n_out = layout.sizes[layer], layout.sizes[layer + 1]
        w_at, out_at = layout.w_at[layer], layout.a_at[layer + 1]
        w, dots = parameters.w, tiles.dots
        s0, s1, s2 = parameters.first_slot, parameters.second_slot, parameters.third_slot
        bias_rate = layout.bias_rates[layer]
        count, across = count_tiles(n_in + 1, n_out, height, width)
        for at in range(cuda.gridDim.x - 1 - cuda.blockIdx.x, count, cuda.gridDim.x):
            row, column = at // across * height, at % across * width
            inputs, gradients = Factor(units.A, in_at, n_in), Factor(units.D, out_at, n_out)
            add_up(row, column, n_in + 1, n_out, n, inputs, gradients, w, w, tiles)
            scale, shrink = steps[step, SCALE], steps[step, SHRINK]
            c0, c1, c2 = steps[step, 0], steps[step, 1], steps[step, 2]
            c3, c4, c5 = steps[step, 3], steps[step, 4], steps[step, 5]
            squares = 0.0
            y, x = origin()
            for i in range(n_rows):
                for j in range(n_columns):
                    r, c = row + y + own_row(i), column + x + own_column(j)
                    # The last row is the biases'.
                    if c < n_out and (r < n_in or (r == n_in and bias_rate > 0)):
                        e = w_at + r * n_out + c
                        old = w[e]
                        gradient = dots[i, j]
                        if r < n_in:
                            gradient += decay * old
                            squares += np.float64(old) * np.float64(old)
                            old -= shrink * old
                        gradient *= scale
                        second = s1[e] if n_slots > 1 else gradient
                        third = s2[e] if n_slots > 2 else gradient
                        rate = c0 if r < n_in else c0 * bias_rate
                        w[e], s0[e], second, third = update(
                            old, gradient, s0[e], second, third, rate, c1, c2, c3, c4, c5
                        )
                        if n_slots > 1:
                            s1[e] = second
                        if n_slots > 2:
                            s2[e] = third
            penalty += np.float64(steps[step, PENALTY]) * squares
        return penalty

    return update_layer
