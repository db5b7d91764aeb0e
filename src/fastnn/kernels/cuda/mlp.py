"""Many steps of training in one launch: for networks so small that a launch takes longer than its work.

All blocks of the grid stay for the whole call. A step is a sequence of phases; in each the blocks share the
tiles of a product among them, and between two all blocks wait for each other::

    forward 1 .. L        A_l = act(A_{l-1} W_l + b_l)
    loss                  softmax, loss and dZ_L of each sample; the next batch is gathered
    backward L .. 2       dZ_{l-1} = (dZ_l W_l^T) * act'(Z_{l-1}), and meanwhile the update of layer l + 1
    update                of layers 2 and 1

which is 2 L + 1 waits a step. A gradient is never written: the thread that has added up an element of
``[A; 1]^T dZ``, whose last row is the bias's, updates the parameter. No layer is updated in the phase that
reads its weights.

Every sum is added up in an order that depends on the shapes and on the number of blocks alone, which is the
same at every run on a device.
"""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
from numba import from_dtype, types

from fastnn.activations import ACTIVATIONS, CODES, IDENTITY, SOFTMAX
from fastnn.elementary import exp
from fastnn.kernels.cuda import scalars as scalars  # what the registry's functions are, in kernels
from fastnn.kernels.cuda.compat import block_side, cooperative_blocks, cuda, device_function, kernel
from fastnn.kernels.cuda.memory import blocks
from fastnn.kernels.cuda.reduction import THREADS, block_sum
from fastnn.losses import LOSSES
from fastnn.optimizers import N_COEFFICIENTS, RULES

# A row of the table of steps: the rule's coefficients, the gradient's factor, the penalty's.
SCALE, PENALTY, ROW = N_COEFFICIENTS, N_COEFFICIENTS + 1, N_COEFFICIENTS + 2

SIDE = block_side(16)  # a block's threads are SIDE x SIDE in a tile, and THREADS in a row elsewhere
DEPTH = SIDE  # of a tile in shared memory
# Elements of a thread's part of a tile along each side, by the bytes of a number: few for small layers, whose
# tiles are to be many; as many as registers take.
EACH = {4: (1, 4), 8: (1, 2)}


@cache
def _product(each: int, real: Any, turn_a: bool, turn_b: bool, ones: bool) -> Any:
    """The device function that adds up a tile of A B, into an (each, each) array of each thread.

    Its arguments: where the tile begins, the shape of the result, the depth, and the two factors, each a flat
    array with the place where it begins and the length of its rows. ``turn_a`` and ``turn_b`` say that A lies
    in memory as (depth, m), and B as (n, depth). With ``ones`` the last row of A is of ones, and not there.
    At last a tile of each in shared memory, and the sums.
    """

    @device_function
    def product(row, column, m, n, depth, A, a_at, a_row, B, b_at, b_row, a_tile, b_tile, dots):
        x, y = _own_place()
        there = m - 1 if ones else m
        for i in range(each):
            for j in range(each):
                dots[i, j] = real(0)
        for k in range(0, depth, DEPTH):
            for e in range(each):
                # Neighbouring threads read neighbouring numbers, whichever way a factor lies.
                if turn_a:
                    i, f = x + SIDE * e, y
                else:
                    i, f = y + SIDE * e, x
                value = real(0)
                if k + f < depth and row + i < there:
                    if turn_a:
                        value = A[a_at + (k + f) * a_row + row + i]
                    else:
                        value = A[a_at + (row + i) * a_row + k + f]
                elif ones and k + f < depth and row + i == there:
                    value = real(1)
                a_tile[f, i] = value
                if turn_b:
                    j, f = y + SIDE * e, x
                else:
                    j, f = x + SIDE * e, y
                value = real(0)
                if k + f < depth and column + j < n:
                    if turn_b:
                        value = B[b_at + (column + j) * b_row + k + f]
                    else:
                        value = B[b_at + (k + f) * b_row + column + j]
                b_tile[f, j] = value
            cuda.syncthreads()
            for g in range(DEPTH):
                for i in range(each):
                    a = a_tile[g, y + SIDE * i]
                    for j in range(each):
                        dots[i, j] += a * b_tile[g, x + SIDE * j]
            cuda.syncthreads()

    return product


@device_function
def _own_place():
    """Place of the thread in a tile: along the columns, and down the rows."""
    return cuda.threadIdx.x % SIDE, cuda.threadIdx.x // SIDE


@device_function
def _tiles(rows, columns, side):
    """Tiles of a result, and those along its rows."""
    across = (columns + side - 1) // side
    return (rows + side - 1) // side * across, across


@cache
def train_kernel(hidden: int, loss: int, rule: int, each: int, real: Any) -> Any:
    """Steps ``begin`` to ``end`` of a table, each on its batch; the arguments are those of ``Steps.run``."""
    forward_product = _product(each, real, False, False, False)
    backward_product = _product(each, real, False, True, False)
    update_product = _product(each, real, True, False, True)
    output = LOSSES[loss].output_activation
    is_softmax = output == SOFTMAX
    hidden_value = device_function(ACTIVATIONS[hidden].value)
    output_value = device_function(ACTIVATIONS[CODES[IDENTITY.name if is_softmax else output]].value)
    derivative = device_function(ACTIVATIONS[hidden].derivative)
    needs_z = ACTIVATIONS[hidden].needs_z
    loss_value, loss_dz = device_function(LOSSES[loss].value), device_function(LOSSES[loss].dz)
    update = device_function(RULES[rule].update)
    two = RULES[rule].n_slots == 2
    side, shape = SIDE * each, (each, each)
    tile_shape = DEPTH, side + 1  # by the one more, threads that write along a column meet different banks

    @device_function
    def gather(X, order, first, n, d, A, at):
        """A's first layer of the batch, by all threads of the grid."""
        for i in range(cuda.grid(1), n * d, cuda.gridsize(1)):
            A[at + i] = X[order[first + i // d] * d + i % d]

    @device_function
    def forward(
        tile, across, n, n_in, n_out, w_at, in_at, out_at, is_last, w, A, Z, a_tile, b_tile, dots,
    ):  # fmt: skip
        row, column = tile // across * side, tile % across * side
        forward_product(row, column, n, n_out, n_in, A, in_at, n_in, w, w_at, n_out, a_tile, b_tile, dots)
        x, y = _own_place()
        for i in range(each):
            for j in range(each):
                r, c = row + y + SIDE * i, column + x + SIDE * j
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
        tile, across, n, n_in, n_out, w_at, in_at, out_at, w, A, Z, D, a_tile, b_tile, dots,
    ):  # fmt: skip
        row, column = tile // across * side, tile % across * side
        backward_product(row, column, n, n_in, n_out, D, out_at, n_out, w, w_at, n_out, a_tile, b_tile, dots)
        x, y = _own_place()
        for i in range(each):
            for j in range(each):
                r, c = row + y + SIDE * i, column + x + SIDE * j
                if r < n and c < n_in:
                    at = in_at + r * n_in + c
                    D[at] = dots[i, j] * derivative(Z[at] if needs_z else A[at], A[at])

    @device_function
    def learn(
        tile, across, n, n_in, n_out, w_at, in_at, out_at, step, steps, decay, w, s0, s1, A, D,
        a_tile, b_tile, dots,
    ):  # fmt: skip
        """Update a tile of [W; b]; the sum of the squares of its W, of this thread's elements."""
        row, column = tile // across * side, tile % across * side
        update_product(
            row, column, n_in + 1, n_out, n, A, in_at, n_in, D, out_at, n_out, a_tile, b_tile, dots
        )
        x, y = _own_place()
        squares = 0.0
        for i in range(each):
            for j in range(each):
                r, c = row + y + SIDE * i, column + x + SIDE * j
                if r <= n_in and c < n_out:
                    at = w_at + r * n_out + c
                    old = w[at]
                    gradient = dots[i, j]
                    if r < n_in:
                        gradient += decay * old
                        squares += np.float64(old) * np.float64(old)
                    gradient *= steps[step, SCALE]
                    second = s1[at] if two else gradient
                    w[at], s0[at], second = update(
                        old, gradient, s0[at], second,
                        steps[step, 0], steps[step, 1], steps[step, 2],
                        steps[step, 3], steps[step, 4], steps[step, 5],
                    )  # fmt: skip
                    if two:
                        s1[at] = second
        return squares

    @device_function
    def judge(order, first, n, n_out, at, Y, weights, weighted, A, D, row_loss):
        """Softmax, loss and dZ; a sample has one thread, and the samples are dealt out to the blocks."""
        for i in range(cuda.threadIdx.x * cuda.gridDim.x + cuda.blockIdx.x, n, cuda.gridsize(1)):
            row, here = order[first + i], at + i * n_out
            if is_softmax:
                most = A[here]
                for j in range(1, n_out):
                    most = most if A[here + j] < most else A[here + j]
                total = real(0)
                for j in range(n_out):
                    A[here + j] = exp(A[here + j] - most)
                    total += A[here + j]
                for j in range(n_out):
                    A[here + j] /= total
            weight = weights[row] if weighted else real(1)
            own = 0.0
            for j in range(n_out):
                y, a = Y[row * n_out + j], A[here + j]
                own += np.float64(loss_value(y, a))
                D[here + j] = loss_dz(y, a) * weight
            row_loss[i] = own * np.float64(weight)

    @kernel
    def train(
        X, order, Y, weights, weighted, batches, batch_size, n_rows, begin, end, steps, decay,
        sizes, w_at, a_at, w, s0, s1, A, Z, D, row_loss, losses, squares,
    ):  # fmt: skip
        grid = cuda.cg.this_grid()
        shared = cuda.shared.array(THREADS, types.float64)
        a_tile = cuda.shared.array(tile_shape, real)
        b_tile = cuda.shared.array(tile_shape, real)
        dots = cuda.local.array(shape, real)
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
                count, across = _tiles(n, sizes[layer + 1], side)
                for tile in range(cuda.blockIdx.x, count, cuda.gridDim.x):
                    forward(
                        tile, across, n, sizes[layer], sizes[layer + 1], w_at[layer], in_at,
                        a_at[layer + 1], layer == n_layers - 1, w, A, Z, a_tile, b_tile, dots,
                    )  # fmt: skip
                grid.sync()
            judge(order, first, n, n_out, a_at[n_layers], Y, weights, weighted, A, D, row_loss)
            if step + 1 < end:
                following = batches[step + 1] * batch_size
                gather(X, order, following, min(batch_size, n_rows - following), sizes[0], A, turn - inputs)
            grid.sync()
            # Every block adds the losses up, in one order, and so comes to the same decision.
            own = 0.0
            for i in range(cuda.threadIdx.x, n, THREADS):
                own += row_loss[i]
            total = block_sum(own, shared)
            if cuda.grid(1) == 0:
                losses[step] = total
            if not abs(total) < np.inf:
                break
            # Phase `layer` goes back through its weights, and updates those of the layer after it.
            for layer in range(n_layers - 1, -1, -1):
                count, across = 0, 1
                if layer > 0:
                    count, across = _tiles(n, sizes[layer], side)
                for tile in range(cuda.blockIdx.x, count, cuda.gridDim.x):
                    backward(
                        tile, across, n, sizes[layer], sizes[layer + 1], w_at[layer], a_at[layer],
                        a_at[layer + 1], w, A, Z, D, a_tile, b_tile, dots,
                    )  # fmt: skip
                # The last phase has the first layer too, whose weights nobody goes back through.
                for last in range(layer + 1, layer if layer > 0 else -1, -1):
                    if last < n_layers:
                        in_at = a_at[last] if last > 0 else inputs
                        count, across = _tiles(sizes[last] + 1, sizes[last + 1], side)
                        for tile in range(cuda.gridDim.x - 1 - cuda.blockIdx.x, count, cuda.gridDim.x):
                            penalty += np.float64(steps[step, PENALTY]) * learn(
                                tile, across, n, sizes[last], sizes[last + 1], w_at[last], in_at,
                                a_at[last + 1], step, steps, decay, w, s0, s1, A, D, a_tile, b_tile, dots,
                            )  # fmt: skip
                grid.sync()
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
        types.Array(real, 2, "C"), real, whole, whole, whole, *[vector] * 6, double, double, double,
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
    """

    def __init__(
        self, layer_sizes: Sequence[int], hidden: int, loss: int, rule: int, batch_size: int, dtype: Any
    ) -> None:
        sizes = np.asarray(layer_sizes, np.int64)
        real = from_dtype(np.dtype(dtype))
        ends = np.cumsum((sizes[:-1] + 1) * sizes[1:])
        # Two places for the inputs, then a place for each layer.
        places = np.concatenate([[0, 2 * sizes[0]], 2 * sizes[0] + np.cumsum(sizes[1:])]) * batch_size
        # The largest tiles of which all blocks have one.
        for each in reversed(EACH[np.dtype(dtype).itemsize]):
            self._train = train_kernel(hidden, loss, rule, each, real)
            room = cooperative_blocks(self._train, signature(real), THREADS)
            tiles = _most_tiles(sizes, batch_size, SIDE * each)
            if tiles >= room:
                break
        self.n_blocks = min(tiles, room)
        self._batch_size, self._real = batch_size, np.dtype(dtype).type
        starts = ends - (sizes[:-1] + 1) * sizes[1:]
        self._sizes, self._w_at, self._a_at = map(cuda.to_device, (sizes, starts, places[:-1].copy()))
        size = int(places[-1])
        self._A, self._D = cuda.device_array(size, dtype), cuda.device_array(size, dtype)
        self._Z = cuda.device_array(size, dtype) if ACTIVATIONS[hidden].needs_z else self._A
        self._row_loss = cuda.device_array(batch_size, np.float64)

    def run(
        self, X: Any, order: Any, Y: Any, weights: Any, batches: Any, begin: int, end: int, steps: Any,
        decay: float, parameters: Any, slots: Sequence[Any], losses: Any, squares: Any,
    ) -> None:  # fmt: skip
        """Steps begin to end (exclusive) of a table, until one whose loss is not finite; device arrays.

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
        """
        weighted = weights is not None
        self._train[self.n_blocks, THREADS](
            X.reshape(X.size), order, Y.reshape(Y.size), weights if weighted else parameters, int(weighted),
            batches, self._batch_size, order.shape[0], begin, end, steps, self._real(decay),
            self._sizes, self._w_at, self._a_at, parameters, slots[0], slots[-1],
            self._A, self._Z, self._D, self._row_loss, losses, squares,
        )  # fmt: skip


def _most_tiles(sizes: np.ndarray, batch_size: int, side: int) -> int:
    """Tiles of the phase that has the most, of those of one product."""
    return max(
        max(blocks(batch_size, side), blocks(int(n_in) + 1, side)) * blocks(int(n_out), side)
        for n_in, n_out in pairwise(sizes.tolist())
    )
