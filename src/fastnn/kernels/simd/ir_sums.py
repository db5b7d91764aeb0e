"""Sums: rows by label, least values, products of rows with a vector, and the scales of a panel's columns."""

from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import types

from fastnn.kernels.compiler.targets import ROW
from fastnn.kernels.simd.ir_vectors import (
    I64,
    Vectors,
    emit_loop,
    emit_row,
    join,
    width_of,
)


def _define_add_rows(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    whole = width_of(types.float64)
    # Short rows take short vectors, as in ``_define_distances``.
    narrow, wide = builder.append_basic_block("narrow"), builder.append_basic_block("wide")
    builder.cbranch(builder.icmp_signed("<", function.args[1], ir.Constant(I64, whole // 2)), narrow, wide)
    for block, n_lanes in ((narrow, whole // 2), (wide, whole)):
        builder.position_at_end(block)
        _emit_add_rows(Vectors(builder, types.float64, n_lanes), Vectors(builder, dtype, n_lanes), function)
        builder.ret_void()


def _emit_add_rows(v: Vectors, narrow: Vectors, function: ir.Function) -> None:
    builder = v.builder
    rows, n_columns, x, x_stride, labels, weights, is_weighted, counting, sums, sums_stride = function.args
    one = ir.Constant(v.scalar, 1.0)
    end_of_row = builder.add(n_columns, builder.zext(counting, I64))

    def widened(value: ir.Value, kind: ir.Type) -> ir.Value:
        return value if value.type == kind else builder.fpext(value, kind)

    def row(i: ir.Value, _: Any) -> None:
        label = builder.zext(builder.load(builder.gep(labels, [i])), I64)
        target = builder.gep(sums, [builder.mul(label, sums_stride)])
        source = builder.gep(x, [builder.mul(i, x_stride)])
        before = builder.block
        with builder.if_then(is_weighted):
            given = widened(builder.load(builder.gep(weights, [i])), v.scalar)
            inside = builder.block
        weight = builder.phi(v.scalar)
        join([weight], (before, [one]), (inside, [given]))
        factor = v.splat(weight)

        def add(at: ir.Value, values: ir.Value) -> None:
            v.store(v.multiply_add(values, factor, v.load(target, at)), target, at)

        def add_vector(at: ir.Value, _: Any) -> list[ir.Value]:
            add(at, widened(narrow.load(source, at), v.type))
            return []

        def add_last(at: ir.Value, _: Any) -> list[ir.Value]:
            # What is left of the row, and a 1 behind it. A sum's row has room for a whole vector: a store
            # that is masked would make the next load of the same row wait.
            left = builder.sub(n_columns, at)
            values = widened(narrow.load(source, at, narrow.mask(left)), v.type)
            is_one = builder.and_(
                v.mask(builder.add(left, builder.zext(counting, I64))), builder.not_(v.mask(left))
            )
            add(at, builder.select(is_one, v.splat(one), values))
            return []

        emit_row(v, n_columns, [], add_vector, add_last, end_of_row)

    emit_loop(v, "rows", rows, ir.Constant(I64, 1), None, row)


def _define_dots(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    rows, count, x, x_stride, y, sums = function.args
    width = ir.Constant(I64, v.n)

    def row(i: ir.Value, _: Any) -> None:
        x_row = builder.gep(x, [builder.mul(i, x_stride)])
        at = builder.mul(i, width)

        def add(s: ir.Value, held: ir.Value) -> ir.Value:
            mask = v.mask(builder.sub(count, s))
            return v.multiply_add(v.load(x_row, s), v.load(y, s, mask), held)

        v.store(emit_loop(v, "samples", count, width, v.load(sums, at), add), sums, at)

    emit_loop(v, "rows", rows, ir.Constant(I64, 1), None, row)
    builder.ret_void()


def _define_fold(function: ir.Function, dtype: Any, *, fold: str, apply: str) -> None:
    """For each column of a panel: fold its rows into one value, then apply that to every row."""
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    rows, width, panel = function.args
    cells = builder.mul(rows, width)

    def column(i: ir.Value, _: Any) -> None:
        top = builder.gep(panel, [i])

        def accumulate(offset: ir.Value, held: ir.Value) -> ir.Value:
            value = v.load(top, offset)
            if fold == "max":
                # Ordered: NaN in a later row is passed over here, and comes back when it is subtracted from.
                return builder.select(builder.fcmp_ordered(">", value, held), value, held)
            return builder.fadd(held, value)

        def change(offset: ir.Value, _: Any) -> None:
            value = v.load(top, offset)
            result = builder.fsub(value, total) if apply == "subtract" else builder.fdiv(value, total)
            v.store(result, top, offset)

        start = ir.Constant(v.type, None) if fold == "sum" else v.load(top, ir.Constant(I64, 0))
        total = emit_loop(v, "fold", cells, width, start, accumulate)
        emit_loop(v, "apply", cells, width, None, change)

    emit_loop(v, "columns", width, ir.Constant(I64, v.n), None, column)
    builder.ret_void()


def _define_add_least(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v, wide = Vectors(builder, dtype), Vectors(builder, types.float64, width_of(dtype))
    count, values, closest, weights, is_weighted, sums, sums_stride = function.args
    offsets = [ir.Constant(I64, j * v.n) for j in range(ROW.tile_vectors)]
    columns = ir.Constant(I64, ROW.tile_vectors * v.n)

    def lower(a: ir.Value, b: ir.Value) -> ir.Value:
        return builder.select(builder.fcmp_ordered("<", a, b), a, b)

    near = [lower(v.load(values, at), v.load(closest, at)) for at in offsets]
    for at, vector in zip(offsets, near, strict=True):
        v.store(vector, closest, at)

    def widened(value: ir.Value) -> ir.Value:
        return value if v.type == wide.type else builder.fpext(value, wide.type)

    def added(terms: list[ir.Value]) -> ir.Value:
        while len(terms) > 1:
            terms = [builder.fadd(terms[0], terms[1]), *terms[2:]]
        return terms[0]

    def candidates(factors: list[ir.Value] | None) -> None:
        def candidate(c: ir.Value, _: Any) -> None:
            row = builder.gep(values, [builder.mul(c, columns)])
            terms = [lower(v.load(row, at), vector) for at, vector in zip(offsets, near, strict=True)]
            if factors is None:
                # Added before they become float64, which takes longer than all the rest.
                total = widened(added(terms))
            else:
                # Not multiplied before: large weights times large distances may be infinite in float32.
                pairs = zip(factors, terms, strict=True)
                total = added([builder.fmul(factor, widened(term)) for factor, term in pairs])
            target = builder.mul(c, sums_stride)
            wide.store(builder.fadd(wide.load(sums, target), total), sums, target)

        emit_loop(v, "candidates", count, ir.Constant(I64, 1), None, candidate)

    with builder.if_else(is_weighted) as (weighted, unweighted):
        with weighted:
            candidates([widened(v.load(weights, at)) for at in offsets])
        with unweighted:
            candidates(None)
    builder.ret_void()


LOOPS: dict[str, Any] = {
    "add-least": _define_add_least,
    "add-rows": _define_add_rows,
    "dots": _define_dots,
    "subtract-max": partial(_define_fold, fold="max", apply="subtract"),
    "divide-sum": partial(_define_fold, fold="sum", apply="divide"),
}
