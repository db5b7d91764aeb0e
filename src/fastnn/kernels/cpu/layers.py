"""The three products of a layer inside a training step, on the layouts of ``panels``.

=========================  ==========================  ======================  =========  ==================
product                    A (scalars)                 B (vectors)             depth      result
=========================  ==========================  ======================  =========  ==================
Z^T = [W; b]^T [X 1]^T     W, TILE_ROWS columns        X in lanes              n_in + 1   lanes of the layer
dX^T = W dZ^T              W, TILE_ROWS rows, packed   dZ in lanes             n_out      lanes of the former
[dW; db] = [X 1]^T dZ      X in units                  dZ in columns           samples    as parameters lie
=========================  ==========================  ======================  =========  ==================

The bias is the weight of an input that is always 1: one more row of W, and its gradient one more row of dW.
Activation and derivative are applied to a tile while it lies in the first-level cache.

Everything of a sample is computed from that sample's lanes by the same chain of operations, wherever a batch
is cut; and every weight's gradient is one chain over ascending samples, wherever the weights are cut.
"""

from numba.extending import register_jitable

from fastnn.kernels._jit import FASTMATH_SUMS
from fastnn.kernels.cpu.dispatch import activate, chain_rule
from fastnn.kernels.cpu.linked import NOTHING, linked
from fastnn.kernels.cpu.packing import DEPTH_BLOCK, pack_rows
from fastnn.kernels.cpu.panels import panel_width, slot
from fastnn.kernels.cpu.tile import TILE_ROWS, tile_columns, tile_product

# Row tiles of dW that share one pass over a panel of dZ: their panels of X, a thousand samples of them, lie
# in the second-level cache together with it.
GROUP_TILES = 4
# Samples of one such pass.
SAMPLE_BLOCK = 1024


@linked("layer-forward", "iiiiiiiiiTTTT")
def layer_forward(
    n_in, n_out, start, stop, w_at, x_at, y_at, activation, keep_z, w, in_lanes, zs, packed
):  # fmt: skip
    """Lanes of a layer, at `y_at`, from those of the layer before it, at `x_at`; with `keep_z`, its z too.

    Parameters
    ----------
    start, stop : int
        Samples; `start` is a multiple of a vector.
    activation : int
        Address of the activation's loop, or NOTHING.
    w : array   # IN
        The parameters: [W; b] of (n_in + 1, n_out) at `w_at`.
    in_lanes : array   # IN at x_at, OUT at y_at
    zs : array   # OUT at y_at, with keep_z
    packed : array (DEPTH_BLOCK * TILE_ROWS,)   # WORK

    Notes
    -----
    FLOPs: 2 (n_in + 1) n_out (stop - start).
    """
    columns = tile_columns(w)
    depth = n_in + 1
    # For one panel of samples the scalars are read where they lie; packing pays from the second one.
    pack = stop - start > columns
    scalars = packed if pack else w
    stride = TILE_ROWS if pack else n_out
    for p in range(0, depth, DEPTH_BLOCK):
        block = min(DEPTH_BLOCK, depth - p)
        for t in range(0, n_out, TILE_ROWS):
            rows = min(TILE_ROWS, n_out - t)
            at = w_at + p * n_out + t
            if pack:
                _pack_columns(w, at, n_out, rows, block, packed)
                at = 0
            for s in range(start, stop, columns):
                panel = panel_width(w, stop - s)
                y = y_at + s * (n_out + 1) + t * panel
                tile_product(
                    rows, block, scalars, at, stride, in_lanes, x_at + s * depth + p * panel, panel,
                    in_lanes, y, panel, in_lanes, y, panel, panel, p > 0,
                )  # fmt: skip
                if p + DEPTH_BLOCK >= depth:
                    cells = rows * panel
                    if keep_z:
                        for i in range(cells):
                            zs[y + i] = in_lanes[y + i]
                    if activation != NOTHING:
                        activate(activation, in_lanes[y : y + cells])
    # The input of the next layer's bias.
    for s in range(start, stop, columns):
        panel = panel_width(w, stop - s)
        y = y_at + s * (n_out + 1) + n_out * panel
        for i in range(panel):
            in_lanes[y + i] = 1


@register_jitable
def _pack_columns(w, at, stride, rows, depth, packed):
    if rows == TILE_ROWS:
        for p in range(depth):
            # A constant number of elements: no loop remains of this one.
            for i in range(TILE_ROWS):
                packed[p * TILE_ROWS + i] = w[at + p * stride + i]
    else:
        for p in range(depth):
            for i in range(rows):
                packed[p * TILE_ROWS + i] = w[at + p * stride + i]


@linked("layer-backward", "iiiiiiiiTTTTT")
def layer_backward(
    n_in, n_out, start, stop, w_at, x_at, d_at, derivative, w, in_lanes, zs, products, packed
):  # fmt: skip
    """dz of a layer of `n_in` units, in place of its activations at `x_at`, from the next layer's at `d_at`.

    Parameters
    ----------
    derivative : int
        Address of the loop of the activation's derivative.
    in_lanes : array   # IN at d_at, INOUT at x_at
    zs : array   # IN at x_at: the activation's arguments, where the derivative needs them
    products : array (TILE_ROWS * (stop - start) in whole panels,)   # WORK
    packed : array (DEPTH_BLOCK * TILE_ROWS and a vector,)   # WORK

    Notes
    -----
    FLOPs: 2 n_in n_out (stop - start).
    """
    columns = tile_columns(w)
    for t in range(0, n_in, TILE_ROWS):
        rows = min(TILE_ROWS, n_in - t)
        for p in range(0, n_out, DEPTH_BLOCK):
            block = min(DEPTH_BLOCK, n_out - p)
            pack_rows(w, w_at + t * n_out + p, n_out, rows, block, packed)
            for s in range(start, stop, columns):
                panel = panel_width(w, stop - s)
                here = (s - start) * TILE_ROWS
                tile_product(
                    rows, block, packed, 0, TILE_ROWS, in_lanes, d_at + s * (n_out + 1) + p * panel, panel,
                    products, here, panel, products, here, panel, panel, p > 0,
                )  # fmt: skip
        for s in range(start, stop, columns):
            panel = panel_width(w, stop - s)
            cells = rows * panel
            here, x = (s - start) * TILE_ROWS, x_at + s * (n_in + 1) + t * panel
            chain_rule(derivative, products[here : here + cells], zs[x : x + cells], in_lanes[x : x + cells])


@linked("weight-gradient", "iiiiiiiiiiiTTT")
def weight_gradient(
    n_in, n_out, first_tile, last_tile, start, stop, capacity, units_at, columns_at, w_at, add,
    in_units, in_columns, gradient,
):  # fmt: skip
    """Row tiles first_tile : last_tile of [dW; db] = [X 1]^T dZ over the samples start : stop; += with `add`.

    FLOPs: 2 (stop - start) n_out TILE_ROWS (last_tile - first_tile).
    """
    columns, wide = tile_columns(gradient), slot(gradient)
    if n_out == 1:
        # One unit (two classes, one target) would leave all lanes but one empty: here X is the vector.
        dz_wide = panel_width(gradient, n_out)
        for t in range(first_tile, last_tile):
            c = w_at + t * TILE_ROWS
            tile_product(
                1, stop - start, in_columns, columns_at + start * dz_wide, dz_wide,
                in_units, units_at + (t * capacity + start) * wide, wide,
                gradient, c, 0, gradient, c, 0, min(TILE_ROWS, n_in + 1 - t * TILE_ROWS), add,
            )  # fmt: skip
        return
    for group in range(first_tile, last_tile, GROUP_TILES):
        group_end = min(group + GROUP_TILES, last_tile)
        for s in range(start, stop, SAMPLE_BLOCK):
            block = min(SAMPLE_BLOCK, stop - s)
            for u in range(0, n_out, columns):
                panel = panel_width(gradient, n_out - u)
                for t in range(group, group_end):
                    c = w_at + t * TILE_ROWS * n_out + u
                    tile_product(
                        min(TILE_ROWS, n_in + 1 - t * TILE_ROWS), block,
                        in_units, units_at + (t * capacity + s) * wide, wide,
                        in_columns, columns_at + u * capacity + s * panel, panel,
                        gradient, c, n_out, gradient, c, n_out, min(columns, n_out - u), add or s > start,
                    )  # fmt: skip


@register_jitable(fastmath=set(FASTMATH_SUMS))
def sum_of_squares(w):
    """Sum of w^2, in float64."""
    total = 0.0
    for i in range(w.size):
        total += w[i] * w[i]
    return total
