"""Squared errors of a network, and the normal equations of their linearisation, block of rows after block.

With the errors ``e = output - target`` of all rows and outputs and their Jacobian ``J`` with respect to the
parameters, the products of the columns of ``[J e]`` are all that a step of least squares needs::

    [J e]^T [J e] = [J'J  J'e]
                    [e'J  e'e]

A row of J is the back-propagation of one output of one sample: the gradient of each ``[W; b]`` is the outer
product of the layer's input, and 1, with its deltas. Such rows stand in a buffer, as many as the products of
a register tile take at once, and are gone with the next block. Rows and errors are multiplied by the root of
the sample's weight.

The blocks follow from the shape alone, and a number is summed over them in order: it does not depend on the
number of threads.
"""

from typing import NamedTuple

import numpy as np
from numba import prange

from fastnn.kernels.compiler.jit import parallel_jit
from fastnn.kernels.compiler.linked import NOTHING, linked
from fastnn.kernels.cpu.dispatch import activate, chain_rule
from fastnn.kernels.cpu.network.linear import chunk_bounds
from fastnn.kernels.cpu.network.structures import OrderedRows
from fastnn.kernels.shared.value_types import Int64s, Reals
from fastnn.kernels.simd.denormals import flush_subnormals, restore_subnormals
from fastnn.kernels.simd.tile import (
    TILE_ROWS,
    TilePanel,
    scalars_of,
    tile_columns,
    tile_product,
    vector_width,
)
from fastnn.tables.jitable import register_jitable


class SquaredErrors(NamedTuple):
    """A network of L layers of weights, and what its outputs should be."""

    sizes: Int64s  # IN (L + 1,): units of each layer, inputs first
    w_at: Int64s  # IN (L,): offset of each [W; b], (n_in + 1, n_out), in the parameters
    parameters: Reals  # IN (n_parameters,)
    activations: Int64s  # IN (L,): addresses of the loops of the activations
    derivatives: Int64s  # IN (L,): and of their derivatives
    targets: Reals  # IN (n * n_outputs,)
    roots: Reals  # IN (n,): square roots of the samples' weights; or empty: all 1


class LayerValues(NamedTuple):
    """What a worker needs for the samples of a block: rows of each layer, one layer after the other."""

    z: Reals  # arguments of the activations
    a: Reals  # activations, inputs first
    d: Reals  # deltas of one output


@register_jitable
def _forward(first, n, problem, rows, layers):
    """Every layer's values of the n samples that stand at `first`; return where the outputs begin."""
    sizes, a, z = problem.sizes, layers.a, layers.z
    n_in = sizes[0]
    for i in range(n):
        row, at = rows.order[first + i], i * n_in
        if rows.is_sparse:
            a[at : at + n_in] = 0
            for p in range(rows.indptr[row], rows.indptr[row + 1]):
                a[at + rows.indices[p]] = rows.x[p]
        else:
            a[at : at + n_in] = rows.x[row * n_in : (row + 1) * n_in]
    x_at, at = 0, n * n_in
    for layer in range(sizes.size - 1):
        n_in, n_out, w_at = sizes[layer], sizes[layer + 1], problem.w_at[layer]
        parameters, b_at, end = problem.parameters, w_at + n_in * n_out, at + n * n_out
        for i in range(0, n, TILE_ROWS):
            inputs = scalars_of(a, x_at + i * n_in, 1, n_in, n_in)
            for j in range(0, n_out, tile_columns(a)):
                weights, biases = TilePanel(parameters, w_at + j, n_out), TilePanel(parameters, b_at + j, 0)
                out = TilePanel(z, at + i * n_out + j, n_out)
                columns = min(tile_columns(a), n_out - j)
                tile_product(min(TILE_ROWS, n - i), n_in, inputs, weights, biases, out, columns, True)
        a[at:end] = z[at:end]
        if problem.activations[layer] != NOTHING:
            activate(problem.activations[layer], a[at:end])
        x_at, at = at, end
    return x_at


@linked("error-rows")
def _error_rows(
    first: int, n: int, problem: SquaredErrors, rows: OrderedRows, layers: LayerValues, out: Reals
):
    """Weighted errors of the n samples that stand at `first` of the order, into the same place of `out`."""
    former = flush_subnormals()
    at = _forward(first, n, problem, rows, layers)
    n_out = problem.sizes[problem.sizes.size - 1]
    for i in range(n):
        row = rows.order[first + i]
        root = problem.roots[row] if problem.roots.size > 0 else out.dtype.type(1)
        for j in range(n_out):
            error = layers.a[at + i * n_out + j] - problem.targets[row * n_out + j]
            out[(first + i) * n_out + j] = root * error
    restore_subnormals(former)


@linked("jacobian-rows")
def _jacobian_rows(
    first: int, n: int, problem: SquaredErrors, rows: OrderedRows, layers: LayerValues, stride: int, at: int,
    out: Reals,
):  # fmt: skip
    """Rows of ``[J e]`` of the n samples that stand at `first` of the order, `stride` apart from `at` on.

    Notes
    -----
    FLOPs: 4 n_parameters for each output of a sample. Bytes: the rows, written.
    """
    former = flush_subnormals()
    sizes, z, a, d = problem.sizes, layers.z, layers.a, layers.d
    n_layers, one = sizes.size - 1, out.dtype.type(1)
    outputs_at, n_outputs = _forward(first, n, problem, rows, layers), sizes[n_layers]
    for output in range(n_outputs):
        y_at = outputs_at
        for i in range(n):
            row, delta = rows.order[first + i], y_at + i * n_outputs
            root = problem.roots[row] if problem.roots.size > 0 else one
            error = a[delta + output] - problem.targets[row * n_outputs + output]
            out[at + (i * n_outputs + output) * stride + problem.parameters.size] = root * error
            d[delta : delta + n_outputs] = 0
            d[delta + output] = root
        for layer in range(n_layers - 1, -1, -1):
            n_in, n_out, w_at = sizes[layer], sizes[layer + 1], problem.w_at[layer]
            end, x_at = y_at + n * n_out, y_at - n * n_in
            chain_rule(problem.derivatives[layer], d[y_at:end], z[y_at:end], a[y_at:end])
            for i in range(n):
                deltas = d[y_at + i * n_out : y_at + (i + 1) * n_out]
                target = at + (i * n_outputs + output) * stride + w_at
                for k in range(n_in + 1):
                    x = a[x_at + i * n_in + k] if k < n_in else one
                    line = out[target + k * n_out : target + (k + 1) * n_out]
                    for j in range(n_out):
                        line[j] = x * deltas[j]
                if layer == 0:
                    continue
                for k in range(n_in):
                    weights = problem.parameters[w_at + k * n_out : w_at + (k + 1) * n_out]
                    delta_in = out.dtype.type(0)
                    for j in range(n_out):
                        delta_in += weights[j] * deltas[j]
                    d[x_at + i * n_in + k] = delta_in
            y_at = x_at
    restore_subnormals(former)


@linked("add-products")
def _add_products(pair: int, depth: int, n_columns: int, stride: int, block: Reals, products: Reals):
    """products += A^T A for two tiles of its rows, from their diagonal on, of a block A of `depth` rows.

    Of n tiles these are number `pair` and n - 1 - `pair`: every pair costs the same.

    Notes
    -----
    FLOPs: 2 depth for each of the elements. Bytes: the block from the tile's first column on, in cache.
    """
    n_tiles = (n_columns + TILE_ROWS - 1) // TILE_ROWS
    other, width = n_tiles - 1 - pair, tile_columns(block)
    for tile in (pair, other):
        begin = tile * TILE_ROWS
        rows, columns = min(TILE_ROWS, n_columns - begin), scalars_of(block, begin, stride, 1, depth)
        for j in range(begin, n_columns, width):
            out = TilePanel(products, begin * n_columns + j, n_columns)
            panel = TilePanel(block, j, stride)
            tile_product(rows, depth, columns, panel, out, out, min(width, n_columns - j), True)
        if tile == other:  # a middle tile is no pair, and is done once
            return


@register_jitable
def _layer_values(n_workers, n, problem):
    """Buffers of LayerValues of n samples for each worker: (n_workers, 3, size of each)."""
    return np.empty((n_workers, 3, n * problem.sizes.sum()), problem.parameters.dtype)


@parallel_jit
def weighted_errors(n_workers, first, last, block, problem, rows, out):
    """Errors of the rows first : last of the order, times the roots of their weights.

    Parameters
    ----------
    n_workers : int
        Threads.
    block : int
        Rows that are worked on at once.
    problem : SquaredErrors   # IN
    rows : OrderedRows   # IN
    out : array (n * n_outputs,)   # OUT
    """
    values = _layer_values(n_workers, block, problem)
    n_blocks = (last - first + block - 1) // block
    for worker in prange(n_workers):
        layers = LayerValues(values[worker, 0], values[worker, 1], values[worker, 2])
        for number in range(worker * n_blocks // n_workers, (worker + 1) * n_blocks // n_workers):
            start = first + number * block
            _error_rows(start, min(block, last - start), problem, rows, layers, out)


@parallel_jit
def add_normal_products(n_workers, first, last, block, problem, rows, products):
    """products += ``[J e]^T [J e]`` of the rows first : last of the order, in blocks of so many rows.

    Parameters
    ----------
    n_workers, block, problem, rows
        As in ``weighted_errors``.
    products : array ((n_parameters + 1)^2,)   # INOUT, of which what stands below the diagonal is undefined

    Notes
    -----
    FLOPs: n_parameters^2 for each output of a row. Bytes: the products, read and written for each block.
    """
    n_outputs, n_columns = problem.sizes[problem.sizes.size - 1], problem.parameters.size + 1
    width = vector_width(products)
    # An odd number of vectors: rows a power of two apart would push each other out of the cache.
    stride = ((n_columns + width - 1) // width | 1) * width
    jacobian = np.empty(block * n_outputs * stride, products.dtype)
    values = _layer_values(n_workers, block, problem)
    n_pairs = ((n_columns + TILE_ROWS - 1) // TILE_ROWS + 1) // 2
    for start in range(first, last, block):
        n = min(block, last - start)
        for worker in prange(n_workers):
            layers = LayerValues(values[worker, 0], values[worker, 1], values[worker, 2])
            begin, end = chunk_bounds(np.int64(worker), n_workers, n)
            if begin < end:
                at = begin * n_outputs * stride
                _jacobian_rows(start + begin, end - begin, problem, rows, layers, stride, at, jacobian)
        for worker in prange(n_workers):
            for pair in range(worker * n_pairs // n_workers, (worker + 1) * n_pairs // n_workers):
                _add_products(pair, n * n_outputs, n_columns, stride, jacobian, products)
