"""Rows of a matrix as the broadcast scalars of a register tile: where they lie, or packed.

Packed, the scalars of one depth stand beside each other. That costs a pass over the matrix, and gains
something only where the rows lie apart by a multiple of some power of two: then the lines of all of them fall
into the same few places of the first-level cache, and none stays there until its next scalar is wanted.
"""

from fastnn.kernels.simd.tile import TILE_ROWS, tile_transpose, vector_width
from fastnn.tables.jitable import register_jitable

# Terms of a sum before the partial result goes back to memory: depth * tile_columns elements of B (64 KB)
# then stay in the second-level cache while every row tile passes over them.
DEPTH_BLOCK = 512
# Distance of rows, in bytes, whose multiples are packed: a first-level cache of 32 to 48 KB has places for 8
# to 12 lines at a distance of 4 KB, and the vectors of B pass through it too.
_ALIAS = 2048


@register_jitable
def must_pack(x, stride):
    """Whether rows `stride` elements apart would push each other out of the first-level cache."""
    return stride * x.itemsize % _ALIAS == 0


@register_jitable
def panel_size(rows, depth):
    """Elements that ``pack_rows`` may write for `rows` x `depth`."""
    return -(-rows // TILE_ROWS) * TILE_ROWS * depth + 64


@register_jitable
def pack_rows(x, offset, stride, rows, depth, panel):
    """panel[t, p, i] = x[t * TILE_ROWS + i, p]: a panel of depth * TILE_ROWS for each row tile t."""
    width = vector_width(x)
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
