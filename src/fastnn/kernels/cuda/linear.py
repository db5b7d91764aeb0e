"""Fused linear layer, forward and backward, on a GPU: plain arithmetic in the dtype of the data.

A block of TILE x TILE threads has one tile of the result, a thread one element of it. The block goes along
the depth in steps of TILE: its threads copy a tile of each factor to shared memory, where each number is read
TILE times, and add up the products in the order of the depth::

                          B
                       +------+
                       | tile |  depth k .. k + TILE
                       +------+
            +------+   +------+
        A   | tile |   |result|    thread (row, column): sum over k of A[row, k] B[k, column]
            +------+   +------+
          k .. k + TILE

The three products of a layer are one loop that reads its factors in three ways:

=======================  ==================  ===================
product                  A[row, k]           B[k, column]
=======================  ==================  ===================
Z = X W                  X[row, k]           W[k, column]
dX = dZ W^T              dZ[row, k]          W[column, k]
dW = X^T dZ              X[k, row]           dZ[k, column]
=======================  ==================  ===================

Whichever way a factor lies, neighbouring threads read neighbouring numbers of it, and it is turned on its way
into shared memory. Nothing is added up in an order that could change: results are the same at every run.
"""

from functools import cache
from typing import Any

from numba import from_dtype

from fastnn.activations import ACTIVATIONS, IDENTITY
from fastnn.kernels._layer_arguments import activation_code, backward_arguments
from fastnn.kernels.cuda import scalars as scalars  # what the registry's functions are, in kernels
from fastnn.kernels.cuda.compat import block_side, cuda, device_function, kernel
from fastnn.kernels.cuda.memory import Arguments, blocks

# Threads of a block along each side.
TILE = block_side(16)
# A tile in shared memory: by the one more, threads that read along a column meet different banks.
_SHAPE = (TILE, TILE + 1)
_MAX_COLUMNS = 65535 * TILE  # of a grid's second dimension


@cache
def product_tile(real: Any, turn_a: bool, turn_b: bool) -> Any:
    """The device function ``sum over k of A[row, k] B[k, column]``, an element of (m, n) to each thread.

    Parameters
    ----------
    real : numba type
        Of the numbers.
    turn_a, turn_b : bool
        Whether A lies in memory as (depth, m), and B as (n, depth).
    """

    @device_function
    def product(m, n, depth, A, B):
        a_tile = cuda.shared.array(_SHAPE, real)
        b_tile = cuda.shared.array(_SHAPE, real)
        # x is the place along the direction in which a factor is contiguous.
        x, y = cuda.threadIdx.x, cuda.threadIdx.y
        row, column = cuda.blockIdx.x * TILE, cuda.blockIdx.y * TILE
        total = real(0)
        for k in range(0, depth, TILE):
            if turn_a:
                a_tile[x, y] = A[k + y, row + x] if k + y < depth and row + x < m else real(0)
            else:
                a_tile[y, x] = A[row + y, k + x] if row + y < m and k + x < depth else real(0)
            if turn_b:
                b_tile[x, y] = B[column + y, k + x] if column + y < n and k + x < depth else real(0)
            else:
                b_tile[y, x] = B[k + y, column + x] if k + y < depth and column + x < n else real(0)
            cuda.syncthreads()
            for f in range(TILE):
                total += a_tile[y, f] * b_tile[f, x]
            cuda.syncthreads()
        return total

    return product


@device_function
def own_element():
    """Row and column of the thread's element: blocks along x go down the rows, of which there may be many."""
    row = cuda.blockIdx.x * TILE + cuda.threadIdx.y
    return row, cuda.blockIdx.y * TILE + cuda.threadIdx.x


@cache
def forward_kernel(activation: int, real: Any) -> Any:
    """``A = act(X W + b)``; Z is written if `keep_z`, and `b` read if `has_bias`."""
    product = product_tile(real, False, False)
    value = device_function(ACTIVATIONS[activation].value)

    @kernel
    def forward(X, W, b, has_bias, Z, keep_z, A):
        total = product(A.shape[0], A.shape[1], W.shape[0], X, W)
        row, column = own_element()
        if row < A.shape[0] and column < A.shape[1]:
            if has_bias:
                total += b[column]
            if keep_z:
                Z[row, column] = total
            A[row, column] = value(total)

    return forward


@cache
def derivative_kernel(activation: int) -> Any:
    """``dZ = dA * act'(Z)``."""
    derivative = device_function(ACTIVATIONS[activation].derivative)

    @kernel
    def chain_rule(dA, Z, A, dZ):
        row, column = own_element()
        if row < dA.shape[0] and column < dA.shape[1]:
            dZ[row, column] = dA[row, column] * derivative(Z[row, column], A[row, column])

    return chain_rule


@cache
def input_gradient_kernel(real: Any) -> Any:
    """``dX = dZ W^T``."""
    product = product_tile(real, False, True)

    @kernel
    def input_gradient(dZ, W, dX):
        total = product(dX.shape[0], dX.shape[1], dZ.shape[1], dZ, W)
        row, column = own_element()
        if row < dX.shape[0] and column < dX.shape[1]:
            dX[row, column] = total

    return input_gradient


@cache
def hidden_gradient_kernel(activation: int, real: Any) -> Any:
    """``dZ = (dZ_next W_next^T) * act'(Z)``, of a hidden layer from that of the next one."""
    product = product_tile(real, False, True)
    derivative = device_function(ACTIVATIONS[activation].derivative)

    @kernel
    def hidden_gradient(dZ_next, W_next, Z, A, dZ):
        total = product(dZ.shape[0], dZ.shape[1], dZ_next.shape[1], dZ_next, W_next)
        row, column = own_element()
        if row < dZ.shape[0] and column < dZ.shape[1]:
            dZ[row, column] = total * derivative(Z[row, column], A[row, column])

    return hidden_gradient


@cache
def weight_gradient_kernel(real: Any) -> Any:
    """``dW = X^T dZ``, and ``db`` by the blocks of the first rows; added to what is there if `add`."""
    product = product_tile(real, True, False)

    @kernel
    def weight_gradient(X, dZ, dW, db, add):
        total = product(dW.shape[0], dW.shape[1], X.shape[0], X, dZ)
        row, column = own_element()
        if row < dW.shape[0] and column < dW.shape[1]:
            dW[row, column] = dW[row, column] + total if add else total
        if row == 0 and column < db.shape[0]:
            total = db[column] if add else real(0)
            for i in range(dZ.shape[0]):
                total += dZ[i, column]
            db[column] = total

    return weight_gradient


def tile_grid(rows: int, columns: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Launch configuration of a result of this shape.

    Raises
    ------
    ValueError
        There are more columns than a grid can have.
    """
    if columns > _MAX_COLUMNS:
        raise ValueError(f"a layer has {columns} units; on a GPU it can have {_MAX_COLUMNS}.")
    return (blocks(rows, TILE), blocks(columns, TILE)), (TILE, TILE)


def linear_forward(
    X: Any,
    W: Any,
    b: Any = None,
    activation: str = IDENTITY.name,
    *,
    return_z: bool = False,
    out: Any = None,
) -> Any:
    """The twin of the CPU's ``linear_forward``, on the current device."""
    code = activation_code(activation)
    arguments = Arguments(X, W, b)
    dtype = arguments.dtype
    X = arguments.matrix(X, "X", (None, None))
    n, depth = X.shape
    W = arguments.matrix(W, "W", (depth, None))
    n_out = W.shape[1]
    has_bias = b is not None
    bias = arguments.matrix(b, "b", (n_out,)) if has_bias else cuda.device_array(1, dtype)
    A = arguments.output(out, (n, n_out), dtype, "out", (X, W, bias))
    Z = cuda.device_array((n, n_out), dtype) if return_z else A
    if n and n_out:
        forward = forward_kernel(code, from_dtype(dtype))
        forward[tile_grid(n, n_out)](X, W, bias, int(has_bias), Z, int(return_z), A)
    if not return_z:
        return arguments.result(A, out)
    return arguments.result(A, out), arguments.result(Z)


def linear_backward(
    dA: Any,
    X: Any,
    W: Any,
    A: Any,
    Z: Any = None,
    activation: str = IDENTITY.name,
    *,
    accumulate: bool = False,
    out: Any = None,
) -> tuple[Any, Any, Any]:
    """The twin of the CPU's ``linear_backward``, on the current device."""
    code, needs_z, given = backward_arguments(activation, Z, accumulate, out)
    arguments = Arguments(dA, X, W, A, Z if needs_z else None)
    dtype = arguments.dtype
    X = arguments.matrix(X, "X", (None, None))
    n, n_in = X.shape
    W = arguments.matrix(W, "W", (n_in, None))
    n_out = W.shape[1]
    dA = arguments.matrix(dA, "dA", (n, n_out))
    A = arguments.matrix(A, "A", (n, n_out))
    Z = arguments.matrix(Z, "Z", (n, n_out)) if needs_z else A
    inputs = (dA, X, W, A, Z)
    dX = arguments.output(given[0], (n, n_in), dtype, "out[0] (dX)", inputs)
    dW = arguments.output(given[1], (n_in, n_out), dtype, "out[1] (dW)", (*inputs, dX), keep=accumulate)
    db = arguments.output(given[2], (n_out,), dtype, "out[2] (db)", (*inputs, dX, dW), keep=accumulate)
    real = from_dtype(dtype)
    dZ = cuda.device_array((n, n_out), dtype)
    if n and n_out:
        derivative_kernel(code)[tile_grid(n, n_out)](dA, Z, A, dZ)
    if n and n_in:
        input_gradient_kernel(real)[tile_grid(n, n_in)](dZ, W, dX)
    if n_out:
        # One row of blocks at least: without inputs there still is a bias.
        weight_gradient_kernel(real)[tile_grid(max(n_in, 1), n_out)](X, dZ, dW, db, int(accumulate))
    return arguments.result(dX, given[0]), arguments.result(dW, given[1]), arguments.result(db, given[2])
