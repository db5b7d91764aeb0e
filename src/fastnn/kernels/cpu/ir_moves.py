"""Moves between rows and lanes: transposition in registers, of rows that lie anywhere."""

from collections.abc import Callable
from typing import Any

from llvmlite import ir

from fastnn.kernels.cpu.ir_vectors import I32, I64, LLVM_FLOAT, Vectors, define


def _emit_transposition(v: Vectors, vectors: list[ir.Value]) -> list[ir.Value]:
    """The transpose of as many vectors as they have lanes."""
    builder = v.builder
    # An element's address is the bits of its row followed by the bits of its column. Interleaving row i with
    # row i + n/2 into rows 2i and 2i + 1 rotates these bits left by one; log2(n) rotations exchange the two.
    half = v.n // 2
    low = [lane for k in range(half) for lane in (k, v.n + k)]
    high = [lane for k in range(half, v.n) for lane in (k, v.n + k)]
    indices = ir.VectorType(I32, v.n)
    for _ in range(v.n.bit_length() - 1):
        vectors = [
            builder.shuffle_vector(vectors[i], vectors[i + half], ir.Constant(indices, lanes_))
            for i in range(half)
            for lanes_ in (low, high)
        ]
    return vectors


def _store_rows(v: Vectors, vectors: list[ir.Value], target: ir.Value, stride: ir.Value) -> None:
    for i, vector in enumerate(vectors):
        v.store(vector, target, v.builder.mul(stride, ir.Constant(I64, i)))


def _rows_or_last(builder: ir.IRBuilder, rows: ir.Value, n: int) -> list[ir.Value]:
    """The numbers 0 to n - 1, where beyond `rows` the last row stands for all."""
    last = builder.sub(rows, ir.Constant(I64, 1))
    numbers = [ir.Constant(I64, i) for i in range(n)]
    return [builder.select(builder.icmp_signed("<", i, last), i, last) for i in numbers]


def _transpose_type(dtype: Any) -> ir.FunctionType:
    pointer = LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [I64, pointer, I64, pointer, I64])


def _define_transpose(module: ir.Module, name: str, dtype: Any) -> None:
    function = define(module, name, _transpose_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    rows, source, source_stride, target, target_stride = function.args
    offsets = [builder.mul(row, source_stride) for row in _rows_or_last(builder, rows, v.n)]
    _store_rows(
        v, _emit_transposition(v, [v.load(source, offset) for offset in offsets]), target, target_stride
    )
    builder.ret_void()


def _gather_type(dtype: Any) -> ir.FunctionType:
    pointer = LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [I64, I64.as_pointer(), I64, pointer, I64, pointer, I64])


def _define_gather(module: ir.Module, name: str, dtype: Any) -> None:
    function = define(module, name, _gather_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    rows, order, n_columns, source, stride, target, target_stride = function.args
    pointers = [
        builder.gep(source, [builder.mul(builder.load(builder.gep(order, [row])), stride)])
        for row in _rows_or_last(builder, rows, v.n)
    ]
    _emit_rows_to_lanes(v, pointers, n_columns, target, target_stride, v.load)
    builder.ret_void()


def _difference_type(dtype: Any) -> ir.FunctionType:
    pointer = LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [I64, I64, pointer, I64, pointer, pointer, I64])


def _define_difference(module: ir.Module, name: str, dtype: Any) -> None:
    function = define(module, name, _difference_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    rows, n_columns, source, stride, origin, target, target_stride = function.args
    pointers = [builder.gep(source, [builder.mul(row, stride)]) for row in _rows_or_last(builder, rows, v.n)]

    def load(pointer: ir.Value, column: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        return builder.fsub(v.load(pointer, column, mask), v.load(origin, column, mask))

    _emit_rows_to_lanes(v, pointers, n_columns, target, target_stride, load)
    builder.ret_void()


# Features up to which the lanes of contiguous rows are picked out of whole vectors: d (d - 1) shuffles for d
# of them, where a transposition takes as many for two as for a vector full.
_FEW = 4


def _lanes_type(dtype: Any) -> ir.FunctionType:
    pointer = LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [I64, I64, pointer, pointer, I64])


def _define_lanes(module: ir.Module, name: str, dtype: Any) -> None:
    function = define(module, name, _lanes_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    rows, n_columns, source, target, target_stride = function.args
    many = builder.append_basic_block("many")
    indices = ir.VectorType(I32, v.n)
    full = builder.icmp_signed("==", rows, ir.Constant(I64, v.n))
    switch = builder.switch(builder.select(full, n_columns, ir.Constant(I64, 0)), many)
    for d in range(1, _FEW + 1):
        block = builder.append_basic_block(f"columns.{d}")
        switch.add_case(ir.Constant(I64, d), block)
        builder.position_at_end(block)
        loaded = [v.load(source, ir.Constant(I64, i * v.n)) for i in range(d)]
        for f in range(d):
            # Lane l is element l d + f of the loaded vectors, put end to end.
            wanted = [divmod(lane * d + f, v.n) for lane in range(v.n)]
            picked = loaded[0]
            for i in range(d):
                # Lanes of earlier vectors stand in their places already.
                order = [v.n + lane if at == i else position for position, (at, lane) in enumerate(wanted)]
                picked = builder.shuffle_vector(picked, loaded[i], ir.Constant(indices, order))
            v.store(picked, target, builder.mul(target_stride, ir.Constant(I64, f)))
        builder.ret_void()
    builder.position_at_end(many)
    pointers = [
        builder.gep(source, [builder.mul(row, n_columns)]) for row in _rows_or_last(builder, rows, v.n)
    ]
    _emit_rows_to_lanes(v, pointers, n_columns, target, target_stride, v.load)
    builder.ret_void()


def _emit_rows_to_lanes(
    v: Vectors,
    pointers: list[ir.Value],
    n_columns: ir.Value,
    target: ir.Value,
    target_stride: ir.Value,
    load: Callable[..., ir.Value],
) -> None:
    """target[j, i] = load(pointers[i], j) for every lane i and j < n_columns."""
    builder, function = v.builder, v.builder.function
    narrow, wide, end = (function.append_basic_block(name) for name in ("narrow", "wide", "end"))
    builder.cbranch(builder.icmp_signed("<", n_columns, ir.Constant(I64, v.n)), narrow, wide)

    # Fewer columns than lanes: nothing beyond them may be read or written.
    builder.position_at_end(narrow)
    mask = v.mask(n_columns)
    zero = ir.Constant(I64, 0)
    transposed = _emit_transposition(v, [load(pointer, zero, mask) for pointer in pointers])
    for j, vector in enumerate(transposed):
        store, after = builder.append_basic_block("store"), builder.append_basic_block("next")
        column = ir.Constant(I64, j)
        builder.cbranch(builder.icmp_signed("<", column, n_columns), store, end)
        builder.position_at_end(store)
        v.store(vector, target, builder.mul(target_stride, column))
        builder.branch(after)
        builder.position_at_end(after)
    builder.branch(end)

    # Blocks of columns, the last one shifted back so that it ends with the row: it repeats some columns.
    builder.position_at_end(wide)
    final = builder.sub(n_columns, ir.Constant(I64, v.n))
    loop = builder.append_basic_block("columns")
    builder.branch(loop)
    builder.position_at_end(loop)
    column = builder.phi(I64)
    here = builder.gep(target, [builder.mul(column, target_stride)])
    transposed = _emit_transposition(v, [load(pointer, column) for pointer in pointers])
    _store_rows(v, transposed, here, target_stride)
    following = builder.add(column, ir.Constant(I64, v.n))
    shifted = builder.select(builder.icmp_signed("<", following, final), following, final)
    column.add_incoming(zero, wide)
    column.add_incoming(shifted, builder.block)
    builder.cbranch(builder.icmp_signed("<", column, final), loop, end)
    builder.position_at_end(end)


LOOPS = {
    "transpose": (_define_transpose, _transpose_type),
    "gather": (_define_gather, _gather_type),
    "lanes": (_define_lanes, _lanes_type),
    "difference": (_define_difference, _difference_type),
}
