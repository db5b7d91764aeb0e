"""Fused linear layer, forward and backward, on a GPU, in the dtype of the data.

The three products of a layer are one loop (``tile``) that reads its factors in three ways; what follows a
product is done to its elements while they are in registers:

==========================  ==================  =====================  ===========================
product                     A[row, k]           B[k, column]           then
==========================  ==================  =====================  ===========================
Z = X W                     X[row, k]           W[k, column]           + b, the activation
dX = dZ W^T                 dZ[row, k]          W[column, k]           the derivative, of a hidden
                                                                       layer
[dW; db] = [X 1]^T dZ       [X 1][k, row]       dZ[k, column]          + what is there
==========================  ==================  =====================  ===========================
"""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import from_dtype

from fastnn.kernels.cuda import scalars as scalars  # what the registry's functions are, in kernels
from fastnn.kernels.cuda.runtime.compat import ALIGNMENT, block_threads, cuda, device_function, kernel
from fastnn.kernels.cuda.runtime.memory import Arguments, blocks_per_grid
from fastnn.kernels.cuda.tiles.tensor_cores import multiplies_tf32
from fastnn.kernels.cuda.tiles.tile import places, product, shared_lengths, tile_for, tile_kernel
from fastnn.kernels.cuda.tiles.tile_shape import Factor, ProductTiles, Tile
from fastnn.kernels.shared.layer_arguments import activation_code, backward_arguments
from fastnn.tables.activations import ACTIVATIONS, CODES, IDENTITY

_ELEMENT_THREADS = block_threads(256)
_MAX_BLOCKS = 65535  # along a grid's second dimension


@cache
def forward_kernel(activation: int, tile: Tile, real: Any) -> Any:
    """``A = act(X W + b)``; Z is written if `keep_z`, and `b` read if `has_bias`."""
    n_rows, n_columns = tile.rows, tile.columns
    x_length, w_length = shared_lengths(tile, real)
    dots_shape, height, width = (n_rows, n_columns), tile.height, tile.width
    origin, own_row, own_column, _ = places(tile)
    add_up = product(tile, real)
    value = device_function(ACTIVATIONS[activation].value)

    @tile_kernel(tile)
    def forward(n, n_in, n_out, X, W, b, has_bias, Z, keep_z, A):
        x_tile = cuda.shared.array(x_length, real, alignment=ALIGNMENT)
        w_tile = cuda.shared.array(w_length, real, alignment=ALIGNMENT)
        dots = cuda.local.array(dots_shape, real)
        tiles = ProductTiles(x_tile, w_tile, dots)
        row, column = cuda.blockIdx.x * height, cuda.blockIdx.y * width
        add_up(row, column, n, n_out, n_in, Factor(X, 0, n_in), Factor(W, 0, n_out), W, W, tiles)
        y, x = origin()
        for i in range(n_rows):
            for j in range(n_columns):
                r, c = row + y + own_row(i), column + x + own_column(j)
                if r < n and c < n_out:
                    z = dots[i, j]
                    if has_bias:
                        z += b[c]
                    if keep_z:
                        Z[r * n_out + c] = z
                    A[r * n_out + c] = value(z)

    return forward


@cache
def derivative_kernel(activation: int) -> Any:
    """``dZ = dA * act'(Z)``. A thread has an element."""
    derivative = device_function(ACTIVATIONS[activation].derivative)

    @kernel
    def chain_rule(dA, Z, A, dZ):
        i = cuda.grid(1)
        if i < dZ.shape[0]:
            dZ[i] = dA[i] * derivative(Z[i], A[i])

    return chain_rule


@cache
def input_gradient_kernel(activation: int, tile: Tile, real: Any) -> Any:
    """``dX = (dZ W^T) * act'(Z)``, Z and A being those of the layer that X comes from."""
    n_rows, n_columns = tile.rows, tile.columns
    z_length, w_length = shared_lengths(tile, real)
    dots_shape, height, width = (n_rows, n_columns), tile.height, tile.width
    origin, own_row, own_column, _ = places(tile)
    add_up = product(tile, real, turn_b=True)
    derivative = device_function(ACTIVATIONS[activation].derivative)

    @tile_kernel(tile)
    def input_gradient(n, n_in, n_out, dZ, W, Z, A, dX):
        z_tile = cuda.shared.array(z_length, real, alignment=ALIGNMENT)
        w_tile = cuda.shared.array(w_length, real, alignment=ALIGNMENT)
        dots = cuda.local.array(dots_shape, real)
        tiles = ProductTiles(z_tile, w_tile, dots)
        row, column = cuda.blockIdx.x * height, cuda.blockIdx.y * width
        add_up(row, column, n, n_in, n_out, Factor(dZ, 0, n_out), Factor(W, 0, n_out), W, W, tiles)
        y, x = origin()
        for i in range(n_rows):
            for j in range(n_columns):
                r, c = row + y + own_row(i), column + x + own_column(j)
                if r < n and c < n_in:
                    e = r * n_in + c
                    dX[e] = dots[i, j] * derivative(Z[e], A[e])

    return input_gradient


@cache
def weight_gradient_kernel(tile: Tile, real: Any) -> Any:
    """``dW = X^T dZ`` and ``db``, the row of ones' product; added to what is there if `add`."""
    n_rows, n_columns = tile.rows, tile.columns
    x_length, z_length = shared_lengths(tile, real)
    dots_shape, height, width = (n_rows, n_columns), tile.height, tile.width
    origin, own_row, own_column, _ = places(tile)
    add_up = product(tile, real, turn_a=True, ones=True)

    @tile_kernel(tile)
    def weight_gradient(n, n_in, n_out, X, dZ, dW, db, add):
        x_tile = cuda.shared.array(x_length, real, alignment=ALIGNMENT)
        z_tile = cuda.shared.array(z_length, real, alignment=ALIGNMENT)
        dots = cuda.local.array(dots_shape, real)
        tiles = ProductTiles(x_tile, z_tile, dots)
        row, column = cuda.blockIdx.x * height, cuda.blockIdx.y * width
        add_up(row, column, n_in + 1, n_out, n, Factor(X, 0, n_in), Factor(dZ, 0, n_out), dZ, dZ, tiles)
        y, x = origin()
        for i in range(n_rows):
            for j in range(n_columns):
                r, c = row + y + own_row(i), column + x + own_column(j)
                if r < n_in and c < n_out:
                    e = r * n_out + c
                    dW[e] = dW[e] + dots[i, j] if add else dots[i, j]
                elif r == n_in and c < n_out:
                    db[c] = db[c] + dots[i, j] if add else dots[i, j]

    return weight_gradient


def _on_tiles(factory: Callable[..., Any], m: int, n: int, dtype: Any, precision: str | None) -> Any:
    """The kernel that `factory` makes for a tile, and its launch configuration for a result (m, n).

    Raises
    ------
    ValueError
        There are more columns than a grid can have.
    """
    tile = tile_for(m, n, np.dtype(dtype).itemsize, tf32=multiplies_tf32(precision, dtype))
    grid = blocks_per_grid(m, tile.height), blocks_per_grid(n, tile.width)
    if grid[1] > _MAX_BLOCKS:
        raise ValueError(f"a layer has {n} units; on a GPU it can have {_MAX_BLOCKS * tile.width}.")
    return factory(tile, from_dtype(np.dtype(dtype)))[grid, tile.threads]


def _flat(array: Any) -> Any:
    return array.reshape(array.size)


def forward(X: Any, W: Any, b: Any, activation: int, Z: Any, A: Any, precision: str | None = None) -> None:
    """``A = act(X W + b)`` on device arrays; b may be None, and so may Z, which is kept if given."""
    (n, n_in), n_out = X.shape, W.shape[1]
    if not A.size:
        return
    launch = _on_tiles(lambda *how: forward_kernel(activation, *how), n, n_out, A.dtype, precision)
    # Where there is no bias, and no Z, arrays of their type stand in for them: one kernel for all.
    bias, kept = _flat(W) if b is None else b, _flat(A if Z is None else Z)
    launch(n, n_in, n_out, _flat(X), _flat(W), bias, int(b is not None), kept, int(Z is not None), _flat(A))


def input_gradient(
    dZ: Any, W: Any, activation: int, Z: Any, A: Any, dX: Any, precision: str | None = None
) -> None:
    """``dX = (dZ W^T) * act'(Z)`` on device arrays; Z and A of dX's shape."""
    n, n_in = dX.shape
    if dX.size:
        launch = _on_tiles(lambda *how: input_gradient_kernel(activation, *how), n, n_in, dX.dtype, precision)
        launch(n, n_in, W.shape[1], _flat(dZ), _flat(W), _flat(Z), _flat(A), _flat(dX))


def weight_gradient(X: Any, dZ: Any, dW: Any, db: Any, *, add: bool, precision: str | None = None) -> None:
    """``dW = X^T dZ`` and ``db = sum dZ``, on device arrays; added to what is there if `add`."""
    (n, n_in), n_out = X.shape, dZ.shape[1]
    if n_out:
        launch = _on_tiles(weight_gradient_kernel, n_in + 1, n_out, dZ.dtype, precision)
        launch(n, n_in, n_out, _flat(X), _flat(dZ), _flat(dW), db, int(add))


def linear_forward(
    X: Any,
    W: Any,
    b: Any = None,
    activation: str = IDENTITY.name,
    *,
    return_z: bool = False,
    out: Any = None,
    precision: str | None = None,
) -> Any:
    """The twin of the CPU's ``linear_forward``, on the current device."""
    code = activation_code(activation)
    arguments = Arguments(X, W, b)
    dtype = arguments.dtype
    X = arguments.matrix(X, "X", (None, None))
    n, depth = X.shape
    W = arguments.matrix(W, "W", (depth, None))
    n_out = W.shape[1]
    bias = None if b is None else arguments.matrix(b, "b", (n_out,))
    A = arguments.output(out, (n, n_out), dtype, "out", (X, W) if bias is None else (X, W, bias))
    Z = cuda.device_array((n, n_out), dtype) if return_z else None
    forward(X, W, bias, code, Z, A, precision)
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
    precision: str | None = None,
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
    dZ = cuda.device_array((n, n_out), dtype)
    if dZ.size:
        grid = blocks_per_grid(dZ.size, _ELEMENT_THREADS), _ELEMENT_THREADS
        derivative_kernel(code)[grid](_flat(dA), _flat(Z), _flat(A), _flat(dZ))
    input_gradient(dZ, W, CODES[IDENTITY.name], dX, dX, dX, precision)
    weight_gradient(X, dZ, dW, db, add=accumulate, precision=precision)
    return arguments.result(dX, given[0]), arguments.result(dW, given[1]), arguments.result(db, given[2])
