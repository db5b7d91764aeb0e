"""The three products of a layer inside a training step, on the layouts of ``panels``.

=========================  ==========================  ======================  =========  ==================
product                    A (scalars)                 B (vectors)             depth      result
=========================  ==========================  ======================  =========  ==================
Z^T = [W; b]^T [X 1]^T     W, TILE_ROWS columns        X in lanes              n_in + 1   lanes of the layer
dX^T = W dZ^T              W, TILE_ROWS rows           dZ in lanes             n_out      lanes of the former
[dW; db] = [X 1]^T dZ      X in lanes                  dZ in columns           samples    as parameters lie
=========================  ==========================  ======================  =========  ==================

The bias is the weight of an input that is always 1: one more row of W, and its gradient one more row of dW.
Activation and derivative are applied to a tile while it lies in the first-level cache.

Everything of a sample is computed from that sample's lanes by the same chain of operations, wherever a batch
is cut; and every weight's gradient is one chain over ascending samples, wherever the weights are cut.
"""

from typing import NamedTuple

from fastnn.kernels.compiler.jit import sums_in_any_order
from fastnn.kernels.compiler.linked import NOTHING, linked
from fastnn.kernels.cpu.dispatch import activate, chain_rule
from fastnn.kernels.cpu.network.packing import DEPTH_BLOCK, must_pack, pack_rows
from fastnn.kernels.cpu.network.panels import (
    chunk_samples,
    copy_elements,
    fill_ones,
    panel_width,
    prefetch_lines,
)
from fastnn.kernels.shared.value_types import Reals
from fastnn.kernels.simd.tile import (
    TILE_ROWS,
    TilePanel,
    TileScalars,
    scalars_of,
    tile_columns,
    tile_dots,
    tile_product,
    vector_width,
)
from fastnn.tables.jitable import register_jitable

# Row tiles of dW that share one pass over a panel of dZ: their rows of X, a chunk's samples, lie in the
# second-level cache together with it.
GROUP_TILES = 4


class LayerPass(NamedTuple):
    """A layer of weights, and the samples that pass it."""

    n_in: int
    n_out: int
    start: int  # of the samples; a multiple of a vector
    stop: int
    w_at: int  # offset of [W; b], (n_in + 1, n_out), in the parameters
    x_at: int  # offset of the lanes of its inputs


class GradientPart(NamedTuple):
    """Some row tiles of a layer's [dW; db], as the sum over some chunks of a batch."""

    n_in: int
    n_out: int
    first_tile: int
    last_tile: int  # exclusive
    # Of the `n_chunks` into which the batch's n samples are cut.
    first_chunk: int
    last_chunk: int  # exclusive
    n_chunks: int
    n: int
    capacity: int
    x_at: int  # offsets: of X in its lanes, of dZ in its columns, and of [dW; db]
    columns_at: int
    w_at: int


@linked("layer-forward")
def layer_forward(
    layer: LayerPass, y_at: int, activation: int, keep_z: bool, w: Reals, in_lanes: Reals, zs: Reals
):  # fmt: skip
    """Lanes of a layer, at `y_at`, from those of the layer before it; with `keep_z`, its z too.

    Parameters
    ----------
    activation : int
        Address of the activation's loop, or NOTHING.
    w : array   # IN, the parameters
    in_lanes : array   # IN at ``layer.x_at``, OUT at y_at
    zs : array   # OUT at y_at, with keep_z

    Notes
    -----
    FLOPs: 2 (n_in + 1) n_out (stop - start).
    """
    n_out, start, stop, w_at, x_at = layer.n_out, layer.start, layer.stop, layer.w_at, layer.x_at
    columns = tile_columns(w)
    depth = layer.n_in + 1
    for p in range(0, depth, DEPTH_BLOCK):
        block = min(DEPTH_BLOCK, depth - p)
        for t in range(0, n_out, TILE_ROWS):
            rows = min(TILE_ROWS, n_out - t)
            for s in range(start, stop, columns):
                panel = panel_width(w, stop - s)
                y = y_at + s * (n_out + 1) + t * panel
                scalars = scalars_of(w, w_at + p * n_out + t, n_out, 1, block)
                x = TilePanel(in_lanes, x_at + s * depth + p * panel, panel)
                out = TilePanel(in_lanes, y, panel)
                tile_product(rows, block, scalars, x, out, out, panel, p > 0)
                if p + DEPTH_BLOCK >= depth:
                    cells = rows * panel
                    if keep_z:
                        copy_elements(cells, y, y, in_lanes, zs)
                    if activation != NOTHING:
                        activate(activation, in_lanes[y : y + cells])
    # The input of the next layer's bias.
    for s in range(start, stop, columns):
        panel = panel_width(w, stop - s)
        y = y_at + s * (n_out + 1) + n_out * panel
        fill_ones(y, y + panel, in_lanes)


@linked("layer-backward")
def layer_backward(
    layer: LayerPass, d_at: int, out_at: int, derivative: int, w: Reals, in_lanes: Reals, zs: Reals, d: Reals,
    out: Reals, packed: Reals,
):  # fmt: skip
    """Lanes of dz of a layer's inputs, at `out_at` of `out`, from those of its outputs, at `d_at` of `d`.

    Parameters
    ----------
    derivative : int
        Address of the loop of the derivative of the inputs' activation.
    in_lanes : array   # IN at ``layer.x_at``: the inputs
    zs : array   # IN there: the arguments of their activation, where the derivative needs them
    d : array   # IN
    out : array   # OUT, other memory than d's
    packed : array (DEPTH_BLOCK * TILE_ROWS and a vector,)   # WORK

    Notes
    -----
    FLOPs: 2 n_in n_out (stop - start).
    """
    n_in, n_out, start, stop = layer.n_in, layer.n_out, layer.start, layer.stop
    w_at, x_at = layer.w_at, layer.x_at
    columns = tile_columns(w)
    pack = must_pack(w, n_out) and stop - start > columns
    scalars = packed if pack else w
    step, row = (TILE_ROWS, 1) if pack else (1, n_out)
    for t in range(0, n_in, TILE_ROWS):
        rows = min(TILE_ROWS, n_in - t)
        for p in range(0, n_out, DEPTH_BLOCK):
            block = min(DEPTH_BLOCK, n_out - p)
            at = w_at + t * n_out + p
            if pack:
                pack_rows(w, at, n_out, rows, block, packed)
                at = 0
            for s in range(start, stop, columns):
                panel = panel_width(w, stop - s)
                here = s * (n_in + 1) + t * panel
                dz = TilePanel(d, d_at + s * (n_out + 1) + p * panel, panel)
                dx = TilePanel(out, out_at + here, panel)
                tile_product(rows, block, scalars_of(scalars, at, step, row, block), dz, dx, dx, panel, p > 0)
                if p + DEPTH_BLOCK >= n_out:
                    z, x, cells = out_at + here, x_at + here, rows * panel
                    chain_rule(derivative, out[z : z + cells], zs[x : x + cells], in_lanes[x : x + cells])


@linked("weight-gradient")
def weight_gradient(
    part: GradientPart, add: bool, in_lanes: Reals, in_columns: Reals, gradient: Reals, sums: Reals
):  # fmt: skip
    """A part of [dW; db] = [X 1]^T dZ; += with `add`.

    Parameters
    ----------
    in_lanes, in_columns : arrays   # IN
    gradient : array   # OUT, or INOUT with `add`
    sums : array (TILE_ROWS vectors,)   # WORK, for one unit only

    Notes
    -----
    FLOPs: 2 n_out TILE_ROWS (last_tile - first_tile) for each sample.
    """
    n_out, n, n_chunks, last_tile = part.n_out, part.n, part.n_chunks, part.last_tile
    capacity, x_at, columns_at, w_at = part.capacity, part.x_at, part.columns_at, part.w_at
    columns, depth = tile_columns(gradient), part.n_in + 1
    if n_out == 1:
        _unit_gradient(part, add, in_lanes, in_columns, gradient, sums)
        return
    for group in range(part.first_tile, last_tile, GROUP_TILES):
        group_end = min(group + GROUP_TILES, last_tile)
        ahead_rows = min(GROUP_TILES * TILE_ROWS, depth - group_end * TILE_ROWS)
        every = (n_out + columns - 1) // columns * columns
        added = add
        for chunk in range(part.first_chunk, part.last_chunk):
            start, stop = chunk_samples(chunk, n_chunks, n, gradient)
            # The samples in panels of full width, and those of a narrower panel behind them.
            rest = (stop - start) % columns
            narrow = panel_width(gradient, rest)
            rest = 0 if narrow == columns else rest
            wide = stop - start - rest
            for u in range(0, n_out if stop > start else 0, columns):
                panel = panel_width(gradient, n_out - u)
                d = columns_at + u * capacity + start * panel
                # The next group's rows of X (maybe of the next call) are short pieces, far apart, which other
                # cores have made: a share of them is asked for with every panel of dZ.
                for s in range(start + u, start + wide, every):
                    ahead = x_at + s * depth + group_end * TILE_ROWS * columns
                    prefetch_lines(ahead, ahead + ahead_rows * columns, in_lanes)
                for t in range(group, group_end):
                    x, c = x_at + start * depth, w_at + t * TILE_ROWS * n_out + u
                    rows, units = min(TILE_ROWS, depth - t * TILE_ROWS), min(columns, n_out - u)
                    for is_rest in range(2):
                        first, count, across = (wide, rest, narrow) if is_rest else (0, wide, columns)
                        if count > 0:
                            at = x + first * depth + t * TILE_ROWS * across
                            samples = TileScalars(in_lanes, at, 1, across, across, depth * across)
                            dz = TilePanel(in_columns, d + first * panel, panel)
                            dw = TilePanel(gradient, c, n_out)
                            tile_product(rows, count, samples, dz, dw, dw, units, added or first > 0)
            added = added or stop > start


@register_jitable
def _unit_gradient(part, add, in_lanes, dz, gradient, sums):
    """``weight_gradient`` of one unit (two classes, one target): all lanes but one would be empty there.

    Here lane l sums every sample of the batch that falls on it, wherever it is cut; then lanes are summed.
    """
    depth, x_at, w_at, dz_at = part.n_in + 1, part.x_at, part.w_at, part.columns_at
    width, columns = vector_width(gradient), tile_columns(gradient)
    for t in range(part.first_tile, part.last_tile):
        rows = min(TILE_ROWS, depth - t * TILE_ROWS)
        for i in range(rows * width):
            sums[i] = 0
        for chunk in range(part.first_chunk, part.last_chunk):
            start, stop = chunk_samples(chunk, part.n_chunks, part.n, gradient)
            for s in range(start, stop, columns):
                panel = panel_width(gradient, stop - s)
                tile_dots(
                    rows, min(panel, stop - s), in_lanes, x_at + s * depth + t * TILE_ROWS * panel, panel,
                    dz, dz_at + s, sums,
                )  # fmt: skip
        for i in range(rows):
            total = gradient[w_at + t * TILE_ROWS + i] if add else gradient.dtype.type(0)
            for lane in range(width):
                total += sums[i * width + lane]
            gradient[w_at + t * TILE_ROWS + i] = total


@sums_in_any_order
def sum_of_squares(w):
    """Sum of w^2, in float64."""
    total = 0.0
    for i in range(w.size):
        total += w[i] * w[i]
    return total
