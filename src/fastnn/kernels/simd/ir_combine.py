"""Weighted sums of rows that a list of indices picks: the products of sparse rows with a dense matrix."""

from typing import Any

from llvmlite import ir

from fastnn.kernels.simd.ir_vectors import I64, Vectors, join, width_of

# Accumulators of one strip of columns: as many as the FMA's latency times its throughput on current cores,
# and half of the registers of the narrowest row of ``targets``.
STRIP_VECTORS = 8


def _define_combine(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    columns = function.args[0]
    width = width_of(dtype)
    vectors = builder.sdiv(builder.add(columns, ir.Constant(I64, width - 1)), ir.Constant(I64, width))
    none = builder.append_basic_block("no.columns")
    switch = builder.switch(vectors, none)
    builder.position_at_end(none)
    builder.ret_void()
    for count in range(1, STRIP_VECTORS + 1):
        block = builder.append_basic_block(f"vectors.{count}")
        switch.add_case(ir.Constant(I64, count), block)
        builder.position_at_end(block)
        left = builder.sub(columns, ir.Constant(I64, width * (count - 1)))
        whole = builder.append_basic_block("whole")
        ragged = builder.append_basic_block("ragged")
        builder.cbranch(builder.icmp_signed("==", left, ir.Constant(I64, width)), whole, ragged)
        builder.position_at_end(whole)
        _emit_combine(v, function, [None] * count)
        builder.position_at_end(ragged)
        _emit_combine(v, function, [*[None] * (count - 1), v.mask(left)])


def _emit_combine(v: Vectors, f: ir.Function, masks: list[ir.Value | None]) -> None:
    """One number of vectors, up to its ``ret``."""
    builder = v.builder
    _, depth, values, indices, b, stride, begin, out, has_begin = f.args
    offsets = [ir.Constant(I64, j * v.n) for j in range(len(masks))]
    zero, one = ir.Constant(I64, 0), ir.Constant(I64, 1)
    before = builder.block
    with builder.if_then(has_begin):
        loaded = [v.load(begin, offset, mask) for offset, mask in zip(offsets, masks, strict=True)]
        inside = builder.block
    start = [builder.phi(v.type) for _ in masks]
    join(start, (before, [ir.Constant(v.type, None)] * len(masks)), (inside, loaded))
    before = builder.block
    loop, after = builder.append_basic_block("combine"), builder.append_basic_block("combine.end")
    builder.cbranch(builder.icmp_signed(">", depth, zero), loop, after)

    builder.position_at_end(loop)
    p, sums = builder.phi(I64), [builder.phi(v.type) for _ in masks]
    index = builder.sext(builder.load(builder.gep(indices, [p])), I64)
    row = builder.gep(b, [builder.mul(index, stride)])
    factor = v.broadcast(values, p)
    results = [
        v.multiply_add(factor, v.load(row, offset, mask), held)
        for offset, mask, held in zip(offsets, masks, sums, strict=True)
    ]
    following = builder.add(p, one)
    join([p, *sums], (before, [zero, *start]), (loop, [following, *results]))
    builder.cbranch(builder.icmp_signed("<", following, depth), loop, after)

    builder.position_at_end(after)
    final = [builder.phi(v.type) for _ in masks]
    join(final, (before, start), (loop, results))
    for value, offset, mask in zip(final, offsets, masks, strict=True):
        v.store(value, out, offset, mask)
    builder.ret_void()


LOOPS: dict[str, Any] = {"combine": _define_combine}
