"""Packing: rows of a matrix as the broadcast scalars of a register tile.

The scalars that a tile multiplies at one depth must lie beside each other: with a pointer for each row the
addresses alone would fill the register file.
"""

from numba.extending import register_jitable

from fastnn.kernels.cpu.tile import TILE_ROWS, lanes, tile_transpose

# Terms of a sum before the partial result goes back to memory: depth * tile_columns elements of B (64 KB)
# then stay in the second-level cache while every row tile passes over them.
DEPTH_BLOCK = 512


@register_jitable
def panel_size(rows, depth):
    """Elements that ``pack_rows`` may write for `rows` x `depth`."""
    return -(-rows // TILE_ROWS) * TILE_ROWS * depth + 64


@register_jitable
def pack_rows(x, offset, stride, rows, depth, panel):
    """panel[t, p, i] = x[t * TILE_ROWS + i, p]: a panel of depth * TILE_ROWS for each row tile t."""
    width = lanes(x)
    for first in range(0, rows, TILE_ROWS):
        tile_rows = min(TILE_ROWS, rows - first)
        here = first * depth
        # Blocks from the last row up: the lanes beyond a block's rows land where a later write puts the
        # right value (tile_transpose).
        block = (tile_rows - 1) // width * width
        while block >= 0:
            block_rows = min(width, tile_rows - block)
            source = offset + (first + block) * stride
            p = 0
            while p + width <= depth:
                tile_transpose(
                    block_rows, x, source + p, stride, panel, here + p * TILE_ROWS + block, TILE_ROWS
                )
                p += width
            while p < depth:
                for i in range(block_rows):
                    panel[here + p * TILE_ROWS + block + i] = x[source + i * stride + p]
                p += 1
            block -= width
