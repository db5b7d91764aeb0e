"""The register tile: a loop over p whose accumulators are the phi nodes of one basic block."""

from typing import Any, NamedTuple

from llvmlite import ir

from fastnn.kernels.compiler.targets import ROW
from fastnn.kernels.simd.ir_vectors import I64, Vectors, join


class ScalarOperand(NamedTuple):
    """Where the scalars A[p, i] lie: in blocks of `block` steps of p, `jump` elements apart.

    A[p, i] stands `p % block * step + i * row` elements after the start of block p // block.
    """

    base: ir.Value
    step: ir.Value
    row: ir.Value
    block: ir.Value
    jump: ir.Value


def emit_product(
    v: Vectors,
    accumulators: list[ir.Value],
    depth: ir.Value,
    a: ScalarOperand,
    b: ir.Value,
    b_stride: ir.Value,
    masks: list[ir.Value | None],
    *,
    squares: bool = False,
) -> list[ir.Value]:
    """The loop over p: accumulators[i * len(masks) + j] += A[p, i] * B[p, j], or (B - A)^2 with `squares`."""
    builder, vectors = v.builder, len(masks)
    rows = len(accumulators) // vectors
    zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
    row_offsets = [builder.mul(a.row, ir.Constant(I64, i)) for i in range(rows)]
    before = builder.block
    blocks, loop, block_end, after = (
        builder.append_basic_block(f"product{part}") for part in (".blocks", "", ".block.end", ".end")
    )
    builder.cbranch(builder.icmp_signed(">", depth, zero), blocks, after)

    builder.position_at_end(blocks)
    outer = [builder.phi(kind) for kind in (I64, I64, I64)]
    left, a_block, b_block = outer
    held = [builder.phi(v.type) for _ in accumulators]
    steps = builder.select(builder.icmp_signed("<", left, a.block), left, a.block)
    builder.branch(loop)

    builder.position_at_end(loop)
    p, a_at, b_at = builder.phi(I64), builder.phi(I64), builder.phi(I64)
    phis = [builder.phi(v.type) for _ in accumulators]
    right = [
        v.load(b, builder.add(b_at, ir.Constant(I64, j * v.n)), mask=mask) for j, mask in enumerate(masks)
    ]
    results: list[ir.Value] = []
    for i in range(rows):
        scalar = v.broadcast(a.base, builder.add(a_at, row_offsets[i]))
        for vector in right:
            difference = builder.fsub(vector, scalar) if squares else None
            factors = (difference, difference) if squares else (scalar, vector)
            results.append(v.multiply_add(factors[0], factors[1], phis[len(results)]))
    p_next, b_next = builder.add(p, one), builder.add(b_at, b_stride)
    join(
        [p, a_at, b_at, *phis],
        (blocks, [zero, a_block, b_block, *held]),
        (loop, [p_next, builder.add(a_at, a.step), b_next, *results]),
    )
    builder.cbranch(builder.icmp_signed("<", p_next, steps), loop, block_end)

    builder.position_at_end(block_end)
    left_next = builder.sub(left, steps)
    join(
        [left, a_block, b_block, *held],
        (before, [depth, zero, zero, *accumulators]),
        (block_end, [left_next, builder.add(a_block, a.jump), b_next, *results]),
    )
    builder.cbranch(builder.icmp_signed(">", left_next, zero), blocks, after)

    builder.position_at_end(after)
    final = [builder.phi(v.type) for _ in accumulators]
    join(final, (before, accumulators), (block_end, results))
    return final


def _emit_store_tile(v: Vectors, f: ir.Function, rows: int, masks: list[ir.Value | None]) -> None:
    """One row count and one column pattern of ``tile_product``, up to its ``ret``."""
    builder = v.builder
    _, depth, a, step, row, block, jump, b, b_stride, begin, begin_stride, c, c_stride, _, has_begin = f.args

    def offsets(stride: ir.Value) -> list[ir.Value]:
        starts = [builder.mul(stride, ir.Constant(I64, i)) for i in range(rows)]
        return [builder.add(s, ir.Constant(I64, j * v.n)) for s in starts for j in range(len(masks))]

    cell_masks = masks * rows
    zero = ir.Constant(v.type, None)
    before = builder.block
    with builder.if_then(has_begin):
        loaded = [v.load(begin, o, mask) for o, mask in zip(offsets(begin_stride), cell_masks, strict=True)]
        inside = builder.block
    start = []
    for value in loaded:
        phi = builder.phi(v.type)
        phi.add_incoming(zero, before)
        phi.add_incoming(value, inside)
        start.append(phi)
    scalars = ScalarOperand(a, step, row, block, jump)
    final = emit_product(v, start, depth, scalars, b, b_stride, masks)
    for value, offset, mask in zip(final, offsets(c_stride), cell_masks, strict=True):
        v.store(value, c, offset, mask)
    builder.ret_void()


def _emit_row_switch(builder: ir.IRBuilder, rows: ir.Value, emit: Any) -> None:
    """Emit ``emit(r)`` for every possible number of tile rows, and the switch that picks one."""
    unreachable = builder.append_basic_block("no.rows")
    switch = builder.switch(rows, unreachable)
    builder.position_at_end(unreachable)
    builder.ret_void()
    for r in range(1, ROW.tile_rows + 1):
        block = builder.append_basic_block(f"rows.{r}")
        switch.add_case(ir.Constant(I64, r), block)
        builder.position_at_end(block)
        emit(r)


def _define_product(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    columns = function.args[13]

    def emit(rows: int) -> None:
        # All vectors full; else as many vectors as hold the columns, the last one masked.
        full = ir.Constant(I64, v.n * ROW.tile_vectors)
        patterns = [(builder.icmp_signed("==", columns, full), ROW.tile_vectors, False)]
        for width in range(1, ROW.tile_vectors + 1):
            fits = builder.icmp_signed("<=", columns, ir.Constant(I64, v.n * width))
            patterns.append((fits, width, True))
        for fits, width, masked in patterns:
            chosen, other = builder.append_basic_block("width"), builder.append_basic_block("wider")
            builder.cbranch(fits, chosen, other)
            builder.position_at_end(chosen)
            masks: list[ir.Value | None] = [None] * width
            if masked:
                masks[-1] = v.mask(builder.sub(columns, ir.Constant(I64, v.n * (width - 1))))
            _emit_store_tile(v, function, rows, masks)
            builder.position_at_end(other)
        builder.ret_void()

    _emit_row_switch(builder, function.args[0], emit)


def _define_squares(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    rows, depth, a, b, b_stride, c, c_stride = function.args
    zero, one, step = (ir.Constant(I64, value) for value in (0, 1, ROW.tile_rows))

    def emit(r: int) -> None:
        cells = [divmod(cell, ROW.tile_vectors) for cell in range(r * ROW.tile_vectors)]
        nothing = [ir.Constant(v.type, None)] * len(cells)
        scalars = ScalarOperand(a, step, one, depth, zero)
        masks: list[ir.Value | None] = [None] * ROW.tile_vectors
        sums = emit_product(v, nothing, depth, scalars, b, b_stride, masks, squares=True)
        for (i, j), value in zip(cells, sums, strict=True):
            offset = builder.mul(c_stride, ir.Constant(I64, i))
            v.store(value, c, builder.add(offset, ir.Constant(I64, j * v.n)))
        builder.ret_void()

    _emit_row_switch(builder, rows, emit)


LOOPS: dict[str, Any] = {
    "product": _define_product,
    "squares": _define_squares,
}
