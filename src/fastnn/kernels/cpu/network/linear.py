"""Fused linear layer, forward and backward, on matrices as NumPy holds them.

Every product is one of three transposed products of ``tile``, which reads its scalars where they lie:

=======================  ==========================  ===================  =====
product                  A (scalars)                 B (vectors)          depth
=======================  ==========================  ===================  =====
Z = X W                  rows of X                   W as it lies         n_in
dX = dZ W^T              rows of dZ                  W^T, copied once     n_out
dW = X^T dZ              columns of X                dZ as it lies        rows
=======================  ==========================  ===================  =====

Rows that would push each other out of the cache are packed first (``packing``). The work is cut by rows of X
(forward, dX) and by rows of W (dW) into chunks that depend on the shape alone, so the result does not depend
on the number of threads.

Leaf functions (``*_rows``, ``*_panel``) take flat arrays with offsets in elements and check nothing. The
training step has layouts of its own, in ``panel_products``.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from fastnn.kernels.compiler.jit import parallel_jit
from fastnn.kernels.compiler.linked import NOTHING
from fastnn.kernels.cpu.dispatch import activate, activation_loops, chain_rule, derivative_loops
from fastnn.kernels.cpu.network.packing import DEPTH_BLOCK, must_pack, pack_rows, panel_size
from fastnn.kernels.shared.arrays import checked, output_array, plain, working_dtype
from fastnn.kernels.shared.layer_arguments import activation_code, backward_arguments
from fastnn.kernels.shared.threads import threads_for, workers
from fastnn.kernels.shared.value_types import Reals
from fastnn.kernels.simd.tile import (
    TILE_ROWS,
    TilePanel,
    scalars_of,
    tile_columns,
    tile_product,
    tile_transpose,
    vector_width,
)
from fastnn.tables.activations import IDENTITY
from fastnn.tables.jitable import register_jitable

# Rows of X in one chunk of work: several tiles, so that a column group of W read from the second-level cache
# serves all of them, and few enough that a batch of 200 is still cut into pieces for several threads.
CHUNK_ROWS = 4 * TILE_ROWS
# Columns between two applications of bias and activation, in tiles: TILE_ROWS of that many still lie in the
# first-level cache.
GROUP_TILES = 4


def forward_chunks(n_rows: int) -> int:
    """Number of chunks for `n_rows`: even, so that two threads share them equally."""
    return int(max(1, 2 * -(-n_rows // (2 * CHUNK_ROWS)) if n_rows > CHUNK_ROWS // 2 else 1))


@register_jitable
def chunk_bounds(chunk, n_chunks, n):
    """First and last (exclusive) of n items in a chunk: sizes differ by at most one."""
    return chunk * n // n_chunks, (chunk + 1) * n // n_chunks


class LinearForward(NamedTuple):
    """What a forward pass reads and writes; matrices are flat, T is float32 or float64."""

    x: Reals  # IN (n, n_in)
    n: int
    n_in: int
    w: Reals  # IN (n_in, n_out)
    n_out: int
    bias: Reals  # IN (n_out,), with has_bias
    has_bias: bool
    z: Reals  # OUT (n, n_out), with keep_z; else `a` itself
    activation: int  # address of the activation's loop, or NOTHING
    a: Reals  # OUT (n, n_out)
    keep_z: bool


class LinearBackward(NamedTuple):
    """What a backward pass reads and writes."""

    da: Reals  # IN (n, n_out)
    x: Reals  # IN (n, n_in)
    w: Reals  # IN (n_in, n_out)
    z: Reals  # IN (n, n_out), as the derivative needs it
    a: Reals  # IN (n, n_out)
    derivative: int  # address of the loop of the activation's derivative
    n: int
    n_in: int
    n_out: int
    add: bool  # to dW and db
    wt: Reals  # WORK (n_out, n_in)
    dz: Reals  # WORK (n, n_out)
    dx: Reals  # OUT (n, n_in)
    dw: Reals  # OUT, or INOUT with add (n_in, n_out)
    db: Reals  # OUT, or INOUT with add (n_out,)


@register_jitable
def forward_rows(layer, start, rows, panel):
    """a = act(X W + b) for `rows` rows from `start` on, of a ``LinearForward``.

    With `keep_z` the argument of the activation stays in z. panel : WORK, a row of ``_row_panels``.
    """
    x, w, z, a = layer.x, layer.w, layer.z, layer.a
    depth, n_out, activation = layer.n_in, layer.n_out, layer.activation
    z_offset = start * n_out
    columns = tile_columns(x)
    group = GROUP_TILES * columns
    scalars, origin, step, apart = x, start * depth, 1, depth
    if must_pack(x, depth) and rows > 1:
        scalars, origin, step, apart = panel, 0, TILE_ROWS, 1
        pack_rows(x, start * depth, depth, rows, depth, panel)
    for g0 in range(0, n_out, group):
        g1 = min(g0 + group, n_out)
        for p0 in range(0, max(depth, 1), DEPTH_BLOCK):
            block = min(DEPTH_BLOCK, depth - p0)
            last = p0 + DEPTH_BLOCK >= depth
            for first in range(0, rows, TILE_ROWS):
                tile_rows = min(TILE_ROWS, rows - first)
                here = origin + first * depth + p0 * step
                row = z_offset + first * n_out
                for j in range(g0, g1, columns):
                    tile_cols = min(columns, g1 - j)
                    at = p0 * n_out + j
                    left = scalars_of(scalars, here, step, apart, block)
                    right, out = TilePanel(w, at, n_out), TilePanel(z, row + j, n_out)
                    if p0 == 0:
                        bias = TilePanel(layer.bias, j, 0)
                        tile_product(tile_rows, block, left, right, bias, out, tile_cols, layer.has_bias)
                    else:
                        tile_product(tile_rows, block, left, right, out, out, tile_cols, True)
                if last and activation != NOTHING:
                    for i in range(tile_rows):
                        strip, end = row + i * n_out + g0, row + i * n_out + g1
                        if layer.keep_z:
                            for k in range(strip, end):
                                a[k] = z[k]
                        activate(activation, a[strip:end])


@register_jitable
def _row_panels(n_workers, x, depth):
    """Where each thread packs its chunks of rows; empty if they are read where they lie."""
    size = panel_size(CHUNK_ROWS, depth) if must_pack(x, depth) else 0
    return np.empty((n_workers, size), x.dtype)


@register_jitable
def input_gradient_rows(layer, start, rows, panel):
    """dX = dZ W^T for `rows` rows from `start` on, of a ``LinearBackward``: a product with ``layer.wt``."""
    dz, n, n_in, n_out, wt, dx = layer.dz, layer.n, layer.n_in, layer.n_out, layer.wt, layer.dx
    product = LinearForward(dz, n, n_out, wt, n_in, wt, False, dx, NOTHING, dx, False)
    forward_rows(product, start, rows, panel)


@register_jitable
def weight_gradient_panel(x, x_offset, n_in, first, rows, dz, dz_offset, n_out, n, dw, add):
    """Rows first : first + rows (at most TILE_ROWS) of dW = X^T dZ, or dW += ... with `add`."""
    columns = tile_columns(x)
    for s0 in range(0, max(n, 1), DEPTH_BLOCK):
        block = min(DEPTH_BLOCK, n - s0)
        for j in range(0, n_out, columns):
            here = first * n_out + j
            scalars = scalars_of(x, x_offset + s0 * n_in + first, n_in, 1, block)
            out = TilePanel(dw, here, n_out)
            tile_product(
                rows, block, scalars, TilePanel(dz, dz_offset + s0 * n_out + j, n_out), out, out,
                min(columns, n_out - j), add or s0 > 0,
            )  # fmt: skip


@register_jitable
def bias_gradient(dz, dz_offset, n_out, n, db, add):
    """db = the sum of dZ over its rows, or db += ... with `add`."""
    if not add:
        db[:] = 0
    for s in range(n):
        row = dz[dz_offset + s * n_out : dz_offset + (s + 1) * n_out]
        for j in range(n_out):
            db[j] += row[j]


@register_jitable
def transpose_into(w, n_rows, n_columns, target):
    """target = W^T, contiguous, for W of (n_rows, n_columns)."""
    width = vector_width(w)
    i = 0
    while i < n_rows:
        rows = min(width, n_rows - i)
        j = 0
        while rows == width and j + width <= n_columns:
            tile_transpose(width, w, i * n_columns + j, n_columns, target, j * n_rows + i, n_rows)
            j += width
        while j < n_columns:
            for r in range(rows):
                target[j * n_rows + i + r] = w[(i + r) * n_columns + j]
            j += 1
        i += width


@parallel_jit
def _forward(n_workers, n_chunks, X, W, bias, has_bias, Z, activation, A, keep_z):
    # Made here: to take a structure apart costs a small call a microsecond.
    layer = LinearForward(
        X.reshape(-1), X.shape[0], X.shape[1], W.reshape(-1), W.shape[1], bias, has_bias, Z.reshape(-1),
        activation, A.reshape(-1), keep_z,
    )  # fmt: skip
    panels = _row_panels(n_workers, layer.x, layer.n_in)
    for worker in prange(n_workers):
        for chunk in range(worker * n_chunks // n_workers, (worker + 1) * n_chunks // n_workers):
            start, stop = chunk_bounds(np.int64(chunk), n_chunks, layer.n)
            forward_rows(layer, start, stop - start, panels[worker])


@register_jitable
def _backward_rows_chunk(chunk, n_chunks, layer, panel):
    start, stop = chunk_bounds(chunk, n_chunks, layer.n)
    begin, end = start * layer.n_out, stop * layer.n_out
    for i in range(begin, end):
        layer.dz[i] = layer.da[i]
    chain_rule(layer.derivative, layer.dz[begin:end], layer.z[begin:end], layer.a[begin:end])
    input_gradient_rows(layer, start, stop - start, panel)


@register_jitable
def _backward_weights_chunk(chunk, n_chunks, layer, start, stop, add):
    # One unit for each row tile of dW, and one more for db.
    n_in, n_out = layer.n_in, layer.n_out
    n_tiles = -(-n_in // TILE_ROWS)
    first, last = chunk_bounds(chunk, n_chunks, n_tiles + 1)
    rows, dz_at = stop - start, start * n_out
    for unit in range(first, last):
        if unit == n_tiles:
            bias_gradient(layer.dz, dz_at, n_out, rows, layer.db, add)
        else:
            i, j = chunk_bounds(unit, n_tiles, n_in)
            weight_gradient_panel(
                layer.x, start * n_in, n_in, i, j - i, layer.dz, dz_at, n_out, rows, layer.dw, add
            )


@parallel_jit
def _backward(n_workers, n_chunks, w_chunks, layer):
    transpose_into(layer.w, layer.n_in, layer.n_out, layer.wt)
    panels = _row_panels(n_workers, layer.dz, layer.n_out)
    for worker in prange(n_workers):
        for chunk in range(worker * n_chunks // n_workers, (worker + 1) * n_chunks // n_workers):
            _backward_rows_chunk(np.int64(chunk), n_chunks, layer, panels[worker])
    # All row tiles of dW pass over one block of dZ before the next one is read from memory.
    for start in range(0, max(layer.n, 1), DEPTH_BLOCK):
        stop = min(start + DEPTH_BLOCK, layer.n)
        for chunk in prange(w_chunks):
            _backward_weights_chunk(np.int64(chunk), w_chunks, layer, start, stop, layer.add or start > 0)


def _matrix(array: Any, name: str, dtype: np.dtype, shape: tuple[int | None, ...]) -> np.ndarray:
    return plain(checked(array, name, shape), dtype)


def linear_forward(
    X: Any,
    W: Any,
    b: Any = None,
    activation: str = IDENTITY.name,
    *,
    return_z: bool = False,
    out: Any = None,
) -> Any:
    """Fused linear layer, ``A = act(X W + b)``.

    The bias starts the accumulators of each register tile, and the activation is applied to a strip of
    finished tiles while it lies in the first-level cache: X, W and A cross the memory bus once.

    Parameters
    ----------
    X : array-like of shape (n_samples, n_in)
        Inputs. float32 if every argument is; anything else is computed in float64.
    W : array-like of shape (n_in, n_out)
        Weights.
    b : array-like of shape (n_out,), default=None
        Bias; None stands for no bias.
    activation : str, default="identity"
        Name of an entry of ``fastnn.tables.activations.ACTIVATIONS``.
    return_z : bool, default=False
        Also return ``Z = X W + b``, which the derivative of some activations needs.
    out : ndarray of shape (n_samples, n_out), default=None
        Takes A; C-contiguous, of the working dtype, sharing no memory with the inputs.

    Returns
    -------
    A : ndarray of shape (n_samples, n_out)
    Z : ndarray of shape (n_samples, n_out)
        Only with `return_z`.

    Raises
    ------
    ValueError
        Shapes that do not fit each other, an unknown activation, an unfit `out`.

    Notes
    -----
    FLOPs: 2 n_samples n_in n_out. Bytes: (n_samples n_in + n_in n_out + n_samples n_out) times the item size,
    and n_samples n_out more with `return_z`.
    """
    code = activation_code(activation)
    dtype = working_dtype(X, W) if b is None else working_dtype(X, W, b)
    X = _matrix(X, "X", dtype, (None, None))
    n, depth = X.shape
    W = _matrix(W, "W", dtype, (depth, None))
    n_out = W.shape[1]
    has_bias = b is not None
    bias = _matrix(b, "b", dtype, (n_out,)) if has_bias else W.reshape(-1)  # any array
    A = output_array(out, (n, n_out), dtype, others=(X, W, bias))
    keep_z = return_z and activation != IDENTITY.name
    Z = np.empty_like(A) if keep_z else A
    if A.size:
        n_chunks = forward_chunks(n)
        with threads_for(2.0 * n * max(depth, 1) * n_out) as parallel:
            _forward(
                parallel, workers(parallel), n_chunks, X, W, bias, has_bias, Z,
                activation_loops.address(code, dtype), A, keep_z,
            )  # fmt: skip
    if not return_z:
        return A
    return A, (Z if keep_z else A.copy())


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
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gradients of ``A = act(X W + b)`` from the gradient `dA` of its output.

    ``dZ = dA * act'(Z)``, ``dX = dZ W^T``, ``dW = X^T dZ``, ``db = sum of dZ over its rows``. The derivative
    is applied to a chunk of rows while it lies in cache, on the way into dX.

    Parameters
    ----------
    dA : array-like of shape (n_samples, n_out)
        Gradient of the loss with respect to A.
    X : array-like of shape (n_samples, n_in)
        Inputs of the forward pass.
    W : array-like of shape (n_in, n_out)
        Weights.
    A : array-like of shape (n_samples, n_out)
        Outputs of the forward pass.
    Z : array-like of shape (n_samples, n_out), default=None
        ``X W + b``; needed where the derivative is no function of the output (``needs_z`` of the activation).
    activation : str, default="identity"
        As in the forward pass.
    accumulate : bool, default=False
        Add to dW and db of `out` instead of overwriting them, for a layer used several times in one pass. dX
        belongs to one use and is always overwritten.
    out : tuple of three ndarrays, default=None
        Take dX (n_samples, n_in), dW (n_in, n_out) and db (n_out,). Required with `accumulate`.

    Returns
    -------
    dX : ndarray of shape (n_samples, n_in)
    dW : ndarray of shape (n_in, n_out)
    db : ndarray of shape (n_out,)

    Raises
    ------
    ValueError
        Shapes that do not fit each other, an unknown activation, a missing `Z` or `out`, an unfit `out`.
    TypeError
        An array does not hold real numbers.

    Notes
    -----
    Computed in float32 if every input is float32, else in float64.
    FLOPs: 4 n_samples n_in n_out. Bytes: (2 n_samples n_in + 3 n_in n_out + 4 n_samples n_out) times the item
    size: X, W and the results once, dZ and a transposed copy of W written and read.
    """
    code, needs_z, given = backward_arguments(activation, Z, accumulate, out)
    dtype = working_dtype(dA, X, W, A, Z) if needs_z else working_dtype(dA, X, W, A)
    X = _matrix(X, "X", dtype, (None, None))
    n, n_in = X.shape
    W = _matrix(W, "W", dtype, (n_in, None))
    n_out = W.shape[1]
    dA = _matrix(dA, "dA", dtype, (n, n_out))
    A = _matrix(A, "A", dtype, (n, n_out))
    Z = _matrix(Z, "Z", dtype, (n, n_out)) if needs_z else A
    inputs = (dA, X, W, A, Z)
    dX = output_array(given[0], (n, n_in), dtype, "out[0] (dX)", inputs)
    dW = output_array(given[1], (n_in, n_out), dtype, "out[1] (dW)", (*inputs, dX))
    db = output_array(given[2], (n_out,), dtype, "out[2] (db)", (*inputs, dX, dW))
    dZ = np.empty(n * n_out, dtype)
    Wt = np.empty(n_in * n_out, dtype)
    w_chunks = min(-(-n_in // TILE_ROWS) + 1, 64)
    with threads_for(2.0 * n * n_in * n_out) as parallel:
        layer = LinearBackward(
            dA.reshape(-1), X.reshape(-1), W.reshape(-1), Z.reshape(-1), A.reshape(-1),
            derivative_loops.address(code, dtype), n, n_in, n_out, accumulate, Wt, dZ,
            dX.reshape(-1), dW.reshape(-1), db,
        )  # fmt: skip
        _backward(parallel, workers(parallel), forward_chunks(n), w_chunks, layer)
    return dX, dW, db
