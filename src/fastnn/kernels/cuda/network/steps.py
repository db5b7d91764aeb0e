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
from fastnn.kernels.cuda.network.step_arguments import (
    PENALTY,
    SCALE,
    SHRINK,
    Batches,
    DropoutMask,
    LayerLayout,
    Parameters,
    Results,
    Units,
    signature,
)
from fastnn.kernels.cuda.network.step_phases import (
    backward_phase,
    batch_rows,
    forward_phase,
    gather,
    loss_phase,
    update_phase,
)
from fastnn.kernels.cuda.reduction import block_sum
from fastnn.kernels.cuda.runtime.compat import (
    ALIGNMENT,
    block_threads,
    compiled_for,
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
    shared_lengths,
    tile_kernel,
)
from fastnn.kernels.cuda.tiles.tile_shape import ProductTiles, Tile
from fastnn.tables.activations import ACTIVATIONS
from fastnn.tables.dropout import NO_DROPOUT, Dropout
from fastnn.tables.losses import Head
from fastnn.tables.optimizers import RULES

# As ``tile.TILES``; larger ones do not stay in registers here, where a kernel has all products of a step.
TILES = {
    4: (plain_tile.shape(1, 1), plain_tile.shape(4, 4)),
    8: (plain_tile.shape(1, 1), plain_tile.shape(2, 2)),
}
TENSOR_TILES = (tensor_tile.shape(2, 2), tensor_tile.shape(4, 4))

TABLE_THREADS = block_threads(128)


@cache
def table_kernel(rule: int) -> Any:
    """The table of steps, of which the first has number ``before + 1``. A thread has a step.

    rates : (n_steps,) float64, the learning rate of each
    """
    coefficients = device_function(RULES[rule].coefficients)

    @kernel
    def fill_table(rates, hyper, before, scales, penalties, weight_decay, table):
        i = cuda.grid(1)
        if i < table.shape[0]:
            c0, c1, c2, c3, c4, c5 = coefficients(rates[i], hyper, before + i + 1.0)
            table[i, 0], table[i, 1], table[i, 2] = c0, c1, c2
            table[i, 3], table[i, 4], table[i, 5] = c3, c4, c5
            table[i, SCALE], table[i, PENALTY] = scales[i], penalties[i]
            table[i, SHRINK] = rates[i] * weight_decay

    return fill_table


@cache
def train_kernel(hidden: int, head: int, rule: int, tile: Tile, real: Any) -> Any:
    """Steps ``begin`` to ``end`` of a table, each on its batch; the arguments are those of ``Steps.run``.

    In the groups of ``step_arguments``, and `steps`, the table, and `decay`, the L2 penalty.
    """
    forward = forward_phase(hidden, head, tile, real)
    find_losses = loss_phase(head, real)
    backward = backward_phase(hidden, tile, real)
    update_layer = update_phase(rule, tile, real)
    threads, dots_shape = tile.threads, (tile.rows, tile.columns)
    a_length, b_length = shared_lengths(tile, real)

    # Without bounds the assembler takes all registers there are, and some more, for loops over few numbers.
    @tile_kernel(tile, at_once=1)
    def train(batches, layout, parameters, units, dropout, results, steps, decay, begin, end):
        grid = cuda.cg.this_grid()
        shared = cuda.shared.array(threads, types.float64)
        a_tile = cuda.shared.array(a_length, real, alignment=ALIGNMENT)
        b_tile = cuda.shared.array(b_length, real, alignment=ALIGNMENT)
        tiles = ProductTiles(a_tile, b_tile, cuda.local.array(dots_shape, real))
        sizes, a_at = layout.sizes, layout.a_at
        n_layers = sizes.shape[0] - 1
        # The inputs of two batches have places by turns: one is read while the next is gathered.
        turn = batches.size * sizes[0]
        penalty = 0.0
        gather(batches, begin, sizes[0], units.A, 0)
        grid.sync()
        for step in range(begin, end):
            first, n = batch_rows(batches, step)
            inputs = (step - begin) % 2 * turn
            for layer in range(n_layers):
                in_at = a_at[layer] if layer > 0 else inputs
                forward(layer, in_at, n, step, layout, parameters, units, dropout, tiles)
                grid.sync()
            find_losses(first, n, sizes[n_layers], a_at[n_layers], batches, units)
            if step + 1 < end:
                gather(batches, step + 1, sizes[0], units.A, turn - inputs)
            grid.sync()
            # Every block adds the losses up, in one order, and so comes to the same decision.
            own = 0.0
            for i in range(cuda.threadIdx.x, n, threads):
                own += units.row_loss[i]
            total = block_sum(own, shared)
            if cuda.grid(1) == 0:
                results.losses[step] = total
            if math.isnan(total):
                break
            # Phase `layer` goes back through its weights, and updates those of the layer after it.
            for layer in range(n_layers - 1, -1, -1):
                backward(layer, n, step, layout, parameters, units, dropout, tiles)
                # The last phase has the first layer too, whose weights nobody goes back through.
                for last in range(layer + 1, layer if layer > 0 else -1, -1):
                    if last < n_layers:
                        in_at = a_at[last] if last > 0 else inputs
                        penalty = update_layer(
                            last, in_at, n, step, layout, parameters, units, steps, decay, tiles, penalty
                        )
                grid.sync()
            if cuda.grid(1) == 0:
                results.done[0] = step + 1
        total = block_sum(penalty, shared)
        if cuda.threadIdx.x == 0:
            results.squares[cuda.blockIdx.x] += total

    return train


class Steps:
    """Steps of one network, many to a launch, on batches of up to `batch_size` rows.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, the inputs first.
    hidden : int
        Code of the hidden layers' activation.
    loss : Head
    rule : int
        Place in ``RULES``.
    batch_size : int
    dtype : numpy dtype
    precision : str or None
        As of the kernels.
    bias_rates : sequence of float, default=None
        Factor of the step of each layer's biases; those with 0 stay. None: all 1.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        hidden: int,
        loss: Head,
        rule: int,
        batch_size: int,
        dtype: Any,
        precision: str | None = None,
        *,
        bias_rates: Sequence[float] | None = None,
    ) -> None:
        sizes = np.asarray(layer_sizes, np.int64)
        real = from_dtype(np.dtype(dtype))
        ends = np.cumsum((sizes[:-1] + 1) * sizes[1:])
        # Two places for the inputs, then a place for each layer.
        places = np.concatenate([[0, 2 * sizes[0]], 2 * sizes[0] + np.cumsum(sizes[1:])]) * batch_size
        tf32 = multiplies_tf32(precision, dtype)
        tile, tiles = _tile_for(sizes.tolist(), batch_size, np.dtype(dtype).itemsize, tf32=tf32)
        function = train_kernel(hidden, loss.code, rule, tile, real)
        self._train = compiled_for(function, signature(real))
        self._threads = tile.threads
        self.n_blocks = min(tiles, cooperative_blocks(self._train, signature(real), tile.threads))
        self._batch_size, self._real = batch_size, np.dtype(dtype).type
        self._p = self._real(loss.parameter)
        starts = ends - (sizes[:-1] + 1) * sizes[1:]
        rates = np.ones(sizes.size - 1, dtype) if bias_rates is None else np.asarray(bias_rates, dtype)
        self._layout = LayerLayout(*map(cuda.to_device, (sizes, starts, places[:-1].copy(), rates)))
        size = int(places[-1])
        A, D = cuda.device_array(size, dtype), cuda.device_array(size, dtype)
        Z = cuda.device_array(size, dtype) if ACTIVATIONS[hidden].needs_z else A
        self._units = Units(A, Z, D, cuda.device_array(batch_size, np.float64))

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
            A row: the rule's coefficients, the factor of the gradient's sum (``SCALE``), that of the squares
            (``PENALTY``), and the share that weights lose (``SHRINK``).
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
            Batches(
                X.reshape(X.size), order, Y.reshape(Y.size), weights if weighted else parameters,
                int(weighted), self._p, batches, self._batch_size, order.shape[0],
            ),
            self._layout,
            Parameters(parameters, slots[0], slots[len(slots) // 2], slots[-1]),
            self._units,
            DropoutMask(
                before, dropout.seed, dropout.threshold, self._real(dropout.scale), self._real(dropout.kept)
            ),
            Results(losses, squares, done),
            steps, self._real(decay), begin, end,
        )  # fmt: skip


def _tile_for(layer_sizes: Sequence[int], batch_size: int, itemsize: int, *, tf32: bool) -> tuple[Tile, int]:
    """The tile, as ``tile.tile_for`` chooses it for the largest product, and how many of it that has."""
    products = [(m, n_out) for n_in, n_out in pairwise(layer_sizes) for m in (batch_size, n_in + 1)]
    for tile in reversed(TENSOR_TILES if tf32 else TILES[itemsize]):
        tiles = max(count_tiles(tile, m, n) for m, n in products)
        if is_enough(tiles):
            break
    return tile, tiles
