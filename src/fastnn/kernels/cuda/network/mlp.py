"""Many steps of training in one launch: for networks so small that a launch takes longer than its work.

All blocks of the grid stay for the whole call. A step is a sequence of phases; in each the blocks share the
tiles of a product among them, and between two all blocks wait for each other::

    forward 1 .. L        A_l = act(A_{l-1} W_l + b_l)
    loss                  softmax, loss and dZ_L of each sample; the next batch is gathered
    backward L .. 2       dZ_{l-1} = (dZ_l W_l^T) * act'(Z_{l-1}), and meanwhile the update of layer l + 1
    update                of layers 2 and 1

which is 2 L + 1 waits a step. A gradient is never written: the thread that has added up an element of
``[A; 1]^T dZ``, whose last row is the bias's, updates the parameter. No layer is updated in the phase that
reads its weights. With dropout each thread thins out what it has just written of a hidden layer's A or dZ.

Every sum is added up in an order that depends on the shapes and on the number of blocks alone, which is the
same at every run on a device.
"""

import math
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numba import from_dtype, types

from fastnn.kernels.cuda import scalars as scalars  # what the registry's functions are, in kernels
from fastnn.kernels.cuda.network.output import loss_of_sample, softmax_of_sample
from fastnn.kernels.cuda.reduction import block_sum
from fastnn.kernels.cuda.runtime.compat import (
    ALIGNMENT,
    block_threads,
    cooperative_blocks,
    cuda,
    device_function,
    kernel,
)
from fastnn.kernels.cuda.tiles import plain_tile, tensor_tile
from fastnn.kernels.cuda.tiles.tensor_cores import multiplies_tf32
from fastnn.kernels.cuda.tiles.tile import (
    count_tiles,
    is_enough,
    places,
    product,
    shared_lengths,
    tile_kernel,
)
from fastnn.kernels.cuda.tiles.tile_shape import Tile
from fastnn.tables.activations import ACTIVATIONS, CODES, IDENTITY, SOFTMAX
from fastnn.tables.dropout import NO_DROPOUT, Dropout, is_dropped
from fastnn.tables.losses import LOSSES
from fastnn.tables.optimizers import N_COEFFICIENTS, RULES

# A row of the table of steps: the rule's coefficients, the gradient's factor, the penalty's.
SCALE, PENALTY, ROW = N_COEFFICIENTS, N_COEFFICIENTS + 1, N_COEFFICIENTS + 2

# As ``tile.TILES``; larger ones do not stay in registers here, where a kernel has all products of a step.
TILES = {
    4: (plain_tile.shape(1, 1), plain_tile.shape(4, 4)),
    8: (plain_tile.shape(1, 1), plain_tile.shape(2, 2)),
}
TENSOR_TILES = (tensor_tile.shape(2, 2), tensor_tile.shape(4, 4))


TABLE_THREADS = block_threads(128)


@cache
def table_kernel(rule: int) -> Any:
    """The table of steps, of which the first has number ``before + 1``. A thread has a step."""
    coefficients = device_function(RULES[rule].coefficients)

    @kernel
    def fill_table(learning_rate, hyper, before, scales, penalties, table):
        i = cuda.grid(1)
        if i < table.shape[0]:
            c0, c1, c2, c3, c4, c5 = coefficients(learning_rate, hyper, before + i + 1.0)
            table[i, 0], table[i, 1], table[i, 2] = c0, c1, c2
            table[i, 3], table[i, 4], table[i, 5] = c3, c4, c5
            table[i, SCALE], table[i, PENALTY] = scales[i], penalties[i]

    return fill_table


@device_function
def _tiles(m, n, height, width):
    """Tiles of a result (m, n), and those along its rows."""
    across = (n + width - 1) // width
    return (m + height - 1) // height * across, across


@cache
def train_kernel(hidden: int, loss: int, rule: int, tile: Tile, real: Any) -> Any:
    """Steps ``begin`` to ``end`` of a table, each on its batch; the arguments are those of ``Steps.run``."""
    forward_product = product(tile, real)
    backward_product = product(tile, real, turn_b=True)
    update_product = product(tile, real, turn_a=True, ones=True)
    output = LOSSES[loss].output_activation
    is_softmax = output == SOFTMAX
    hidden_value = device_function(ACTIVATIONS[hidden].value)
    output_value = device_function(ACTIVATIONS[CODES[IDENTITY.name if is_softmax else output]].value)
    derivative = device_function(ACTIVATIONS[hidden].derivative)
    needs_z = ACTIVATIONS[hidden].needs_z
    loss_and_dz = loss_of_sample(loss)
    update = device_function(RULES[rule].update)
    two = RULES[rule].n_slots == 2
    n_rows, n_columns = tile.rows, tile.columns
    height, width, threads = tile.height, tile.width, tile.threads
    a_length, b_length = shared_lengths(tile, real)
    dots_shape, (origin, own_row, own_column, _) = (n_rows, n_columns), places(tile)
    dropped = device_function(is_dropped)

    @device_function
    def gather(X, order, first, n, d, A, at):
        """A's first layer of the batch, by all threads of the grid."""
        for i in range(cuda.grid(1), n * d, cuda.gridsize(1)):
            A[at + i] = X[order[first + i // d] * d + i % d]

    @device_function
    def forward(
        at, across, n, n_in, n_out, w_at, in_at, out_at, is_last, w, A, Z, a_tile, b_tile, dots,
    ):  # fmt: skip
        row, column = at // across * height, at % across * width
        forward_product(
            row, column, n, n_out, n_in, A, in_at, n_in, w, w_at, n_out, w, w, a_tile, b_tile, dots
        )
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
                            Z[out_at + r * n_out + c] = z
                        A[out_at + r * n_out + c] = hidden_value(z)

    @device_function
    def backward(
        at, across, n, n_in, n_out, w_at, in_at, out_at, w, A, Z, D, kept, a_tile, b_tile, dots,
    ):  # fmt: skip
        row, column = at // across * height, at % across * width
        backward_product(
            row, column, n, n_in, n_out, D, out_at, n_out, w, w_at, n_out, w, w, a_tile, b_tile, dots
        )
        y, x = origin()
        for i in range(n_rows):
            for j in range(n_columns):
                r, c = row + y + own_row(i), column + x + own_column(j)
                if r < n and c < n_in:
                    e = in_at + r * n_in + c
                    a = A[e] * kept  # as it was before dropout, if the unit was kept
                    D[e] = dots[i, j] * derivative(Z[e] if needs_z else a, a)

    @device_function
    def drop_units(at, across, n, n_units, values_at, seed, step, layer, threshold, scale, values):
        """Dropout of a tile of a hidden layer, or of its gradient, which the block has just written."""
        row, column = at // across * height, at % across * width
        cuda.syncthreads()
        # One element after the other, not a thread's own: a loop that is not unrolled takes no registers.
        for e in range(cuda.threadIdx.x, height * width, threads):
            r, c = row + e // width, column + e % width
            if r < n and c < n_units:
                own = values_at + r * n_units + c
                out = dropped(seed, step, layer, r, c, threshold)
                values[own] = real(0) if out else values[own] * scale

    @device_function
    def learn(
        at, across, n, n_in, n_out, w_at, in_at, out_at, step, steps, decay, w, s0, s1, A, D,
        a_tile, b_tile, dots,
    ):  # fmt: skip
        """Update a tile of [W; b]; the sum of the squares of its W, of this thread's elements."""
        row, column = at // across * height, at % across * width
        update_product(
            row, column, n_in + 1, n_out, n, A, in_at, n_in, D, out_at, n_out, w, w, a_tile, b_tile, dots
        )
        scale = steps[step, SCALE]
        c0, c1, c2 = steps[step, 0], steps[step, 1], steps[step, 2]
        c3, c4, c5 = steps[step, 3], steps[step, 4], steps[step, 5]
        squares = 0.0
        y, x = origin()
        for i in range(n_rows):
            for j in range(n_columns):
                r, c = row + y + own_row(i), column + x + own_column(j)
                if r <= n_in and c < n_out:
                    e = w_at + r * n_out + c
                    old = w[e]
                    gradient = dots[i, j]
                    if r < n_in:
                        gradient += decay * old
                        squares += np.float64(old) * np.float64(old)
                    gradient *= scale
                    second = s1[e] if two else gradient
                    w[e], s0[e], second = update(old, gradient, s0[e], second, c0, c1, c2, c3, c4, c5)
                    if two:
                        s1[e] = second
        return squares

    @device_function
    def judge(order, first, n, n_out, at, Y, weights, weighted, A, D, row_loss):
        """Softmax, loss and dZ; a sample has one thread, and the samples are dealt out to the blocks."""
        for i in range(cuda.threadIdx.x * cuda.gridDim.x + cuda.blockIdx.x, n, cuda.gridsize(1)):
            row, here = order[first + i], at + i * n_out
            if is_softmax:
                softmax_of_sample(A, here, n_out)
            weight = weights[row] if weighted else real(1)
            row_loss[i] = loss_and_dz(Y, row * n_out, A, here, n_out, weight, D)

    # Without bounds the assembler takes all registers there are, and some more, for loops over few numbers.
    @tile_kernel(tile, at_once=1)
    def train(
        X, order, Y, weights, weighted, batches, batch_size, n_rows, begin, end, steps, decay,
        sizes, w_at, a_at, w, s0, s1, A, Z, D, row_loss, losses, squares, done,
        before, seed, threshold, scale, kept,
    ):  # fmt: skip
        grid = cuda.cg.this_grid()
        shared = cuda.shared.array(threads, types.float64)
        a_tile = cuda.shared.array(a_length, real, alignment=ALIGNMENT)
        b_tile = cuda.shared.array(b_length, real, alignment=ALIGNMENT)
        dots = cuda.local.array(dots_shape, real)
        n_layers = sizes.shape[0] - 1
        n_out = sizes[n_layers]
        # The inputs of two batches have places by turns: one is read while the next is gathered.
        turn = batch_size * sizes[0]
        penalty = 0.0
        first = batches[begin] * batch_size
        gather(X, order, first, min(batch_size, n_rows - first), sizes[0], A, 0)
        grid.sync()
        for step in range(begin, end):
            first = batches[step] * batch_size
            n = min(batch_size, n_rows - first)
            inputs = (step - begin) % 2 * turn
            for layer in range(n_layers):
                in_at = a_at[layer] if layer > 0 else inputs
                count, across = _tiles(n, sizes[layer + 1], height, width)
                for at in range(cuda.blockIdx.x, count, cuda.gridDim.x):
                    forward(
                        at, across, n, sizes[layer], sizes[layer + 1], w_at[layer], in_at,
                        a_at[layer + 1], layer == n_layers - 1, w, A, Z, a_tile, b_tile, dots,
                    )  # fmt: skip
                    if threshold > 0 and layer < n_layers - 1:
                        drop_units(
                            at, across, n, sizes[layer + 1], a_at[layer + 1],
                            seed, before + step, layer, threshold, scale, A,
                        )  # fmt: skip
                grid.sync()
            judge(order, first, n, n_out, a_at[n_layers], Y, weights, weighted, A, D, row_loss)
            if step + 1 < end:
                following = batches[step + 1] * batch_size
                gather(X, order, following, min(batch_size, n_rows - following), sizes[0], A, turn - inputs)
            grid.sync()
            # Every block adds the losses up, in one order, and so comes to the same decision.
            own = 0.0
            for i in range(cuda.threadIdx.x, n, threads):
                own += row_loss[i]
            total = block_sum(own, shared)
            if cuda.grid(1) == 0:
                losses[step] = total
            if math.isnan(total):
                break
            # Phase `layer` goes back through its weights, and updates those of the layer after it.
            for layer in range(n_layers - 1, -1, -1):
                count, across = 0, 1
                if layer > 0:
                    count, across = _tiles(n, sizes[layer], height, width)
                for at in range(cuda.blockIdx.x, count, cuda.gridDim.x):
                    backward(
                        at, across, n, sizes[layer], sizes[layer + 1], w_at[layer], a_at[layer],
                        a_at[layer + 1], w, A, Z, D, kept, a_tile, b_tile, dots,
                    )  # fmt: skip
                    if threshold > 0:
                        drop_units(
                            at, across, n, sizes[layer], a_at[layer],
                            seed, before + step, layer - 1, threshold, scale, D,
                        )  # fmt: skip
                # The last phase has the first layer too, whose weights nobody goes back through.
                for last in range(layer + 1, layer if layer > 0 else -1, -1):
                    if last < n_layers:
                        in_at = a_at[last] if last > 0 else inputs
                        count, across = _tiles(sizes[last] + 1, sizes[last + 1], height, width)
                        for at in range(cuda.gridDim.x - 1 - cuda.blockIdx.x, count, cuda.gridDim.x):
                            penalty += np.float64(steps[step, PENALTY]) * learn(
                                at, across, n, sizes[last], sizes[last + 1], w_at[last], in_at,
                                a_at[last + 1], step, steps, decay, w, s0, s1, A, D, a_tile, b_tile, dots,
                            )  # fmt: skip
                grid.sync()
            if cuda.grid(1) == 0:
                done[0] = step + 1
        total = block_sum(penalty, shared)
        if cuda.threadIdx.x == 0:
            squares[cuda.blockIdx.x] += total

    return train


def signature(real: Any) -> tuple[Any, ...]:
    """Types of the arguments of ``train_kernel``."""
    vector, whole = types.Array(real, 1, "C"), types.Array(types.int64, 1, "C")
    double, number = types.Array(types.float64, 1, "C"), types.int64
    return (
        vector, whole, vector, vector, number, whole, number, number, number, number,
        types.Array(real, 2, "C"), real, whole, whole, whole, *[vector] * 6, double, double, double, whole,
        number, number, number, real, real,
    )  # fmt: skip


class Steps:
    """Steps of one network, many to a launch, on batches of up to `batch_size` rows.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, the inputs first.
    hidden : int
        Code of the hidden layers' activation.
    loss, rule : int
        Places in ``LOSSES`` and ``RULES``.
    batch_size : int
    dtype : numpy dtype
    precision : str or None
        As of the kernels.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        hidden: int,
        loss: int,
        rule: int,
        batch_size: int,
        dtype: Any,
        precision: str | None = None,
    ) -> None:
        sizes = np.asarray(layer_sizes, np.int64)
        real = from_dtype(np.dtype(dtype))
        ends = np.cumsum((sizes[:-1] + 1) * sizes[1:])
        # Two places for the inputs, then a place for each layer.
        places = np.concatenate([[0, 2 * sizes[0]], 2 * sizes[0] + np.cumsum(sizes[1:])]) * batch_size
        tf32 = multiplies_tf32(precision, dtype)
        tile, tiles = _tile_for(sizes.tolist(), batch_size, np.dtype(dtype).itemsize, tf32=tf32)
        self._train = train_kernel(hidden, loss, rule, tile, real)
        self._threads = tile.threads
        self.n_blocks = min(tiles, cooperative_blocks(self._train, signature(real), tile.threads))
        self._batch_size, self._real = batch_size, np.dtype(dtype).type
        starts = ends - (sizes[:-1] + 1) * sizes[1:]
        self._sizes, self._w_at, self._a_at = map(cuda.to_device, (sizes, starts, places[:-1].copy()))
        size = int(places[-1])
        self._A, self._D = cuda.device_array(size, dtype), cuda.device_array(size, dtype)
        self._Z = cuda.device_array(size, dtype) if ACTIVATIONS[hidden].needs_z else self._A
        self._row_loss = cuda.device_array(batch_size, np.float64)

    def run(
        self, X: Any, order: Any, Y: Any, weights: Any, batches: Any, begin: int, end: int, steps: Any,
        decay: float, parameters: Any, slots: Sequence[Any], losses: Any, squares: Any, done: Any,
        dropout: Dropout = NO_DROPOUT, before: int = 0,
    ) -> None:  # fmt: skip
        """Steps begin to end (exclusive) of a table, until one whose loss is NaN; device arrays.

        Parameters
        ----------
        X, Y : (n_rows, n_inputs), (n_rows, n_outputs)   # IN
        order : (n,) int64   # IN
            The rows in the order of training.
        weights : (n_rows,), or None for ones   # IN
        batches : (n_steps,) int64   # IN
            Number of the batch of each step.
        begin, end : int
        steps : (n_steps, ROW)   # IN
            A row: the rule's coefficients, the factor of the gradient's sum (``SCALE``) and that of the
            squares (``PENALTY``).
        decay : float
            The L2 penalty.
        parameters : (n_parameters,)   # IN/OUT
        slots : sequence of (n_parameters,)   # IN/OUT
        losses : (n_steps,) float64   # OUT
            Sum of the rows' losses of each step that is reached.
        squares : (n_blocks,) float64   # IN/OUT
            The squares of W before each step times the step's factor are added.
        done : (1,) int64   # OUT
            ``end``, or the number of the step that was not done.
        dropout : Dropout, default=NO_DROPOUT
        before : int, default=0
            Steps that the optimiser had done before the first of the table; dropout's numbers depend on it.
        """
        weighted = weights is not None
        self._train[self.n_blocks, self._threads](
            X.reshape(X.size), order, Y.reshape(Y.size), weights if weighted else parameters, int(weighted),
            batches, self._batch_size, order.shape[0], begin, end, steps, self._real(decay),
            self._sizes, self._w_at, self._a_at, parameters, slots[0], slots[-1],
            self._A, self._Z, self._D, self._row_loss, losses, squares, done,
            before, dropout.seed, dropout.threshold, self._real(dropout.scale), self._real(dropout.kept),
        )  # fmt: skip


def _tile_for(layer_sizes: Sequence[int], batch_size: int, itemsize: int, *, tf32: bool) -> tuple[Tile, int]:
    """The tile, as ``tile.tile_for`` chooses it for the largest product, and how many of it that has."""
    products = [(m, n_out) for n_in, n_out in pairwise(layer_sizes) for m in (batch_size, n_in + 1)]
    for tile in reversed(TENSOR_TILES if tf32 else TILES[itemsize]):
        tiles = max(count_tiles(tile, m, n) for m, n in products)
        if is_enough(tiles):
            break
    return tile, tiles
