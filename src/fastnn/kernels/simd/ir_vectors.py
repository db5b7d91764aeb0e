"""What the IR of ``tile`` is written with: vectors of one dtype, and loops whose state stays in registers.

Numba cannot be asked to keep values in registers, LLVM can: what a loop carries in phi nodes stays there as
long as the registers last.
"""

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types

from fastnn.kernels.compiler.targets import ROW

I1, I32, I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
# Shuffles within 16 bytes of a vector are the fast ones.
PIECE_BYTES = 16
LLVM_FLOAT = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


def width_of(dtype: Any) -> int:
    return ROW.vector_width(dtype.bitwidth // 8)


class Vectors:
    """Emits vector instructions of one dtype into a builder."""

    def __init__(self, builder: ir.IRBuilder, dtype: Any, n_lanes: int | None = None) -> None:
        self.builder = builder
        self.dtype, self.scalar = dtype, LLVM_FLOAT[dtype]
        self.itemsize = dtype.bitwidth // 8
        self.n = n_lanes or width_of(dtype)
        self.type = ir.VectorType(self.scalar, self.n)
        self.labels = ir.VectorType(I32, self.n)

    def splat(self, value: ir.Value) -> ir.Value:
        vector = ir.VectorType(value.type, self.n)
        first = self.builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(I32, 0))
        zeros = ir.Constant(ir.VectorType(I32, self.n), [0] * self.n)
        return self.builder.shuffle_vector(first, ir.Constant(vector, ir.Undefined), zeros)

    def address(self, base: ir.Value, offset: ir.Value, vector: ir.Type | None = None) -> ir.Value:
        pointer = self.builder.gep(base, [offset])
        return self.builder.bitcast(pointer, (vector or self.type).as_pointer())

    def _llvm(self, name: str, result: ir.Type, arguments: list[ir.Type]) -> ir.Function:
        # LLVM completes the name with the pointers' part, which differs between its versions.
        full = f"llvm.{name}.v{self.n}f{8 * self.itemsize}"
        return cgutils.get_or_insert_function(self.builder.module, ir.FunctionType(result, arguments), full)

    def load(self, base: ir.Value, offset: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        pointer = self.address(base, offset)
        if mask is None:
            return self.builder.load(pointer, align=self.itemsize)
        function = self._llvm("masked.load", self.type, [pointer.type, I32, mask.type, self.type])
        align = ir.Constant(I32, self.itemsize)
        return self.builder.call(function, [pointer, align, mask, ir.Constant(self.type, None)])

    def store(self, value: ir.Value, base: ir.Value, offset: ir.Value, mask: ir.Value | None = None) -> None:
        pointer = self.address(base, offset, value.type)
        if mask is None:
            self.builder.store(value, pointer, align=4 if value.type == self.labels else self.itemsize)
            return
        function = self._llvm("masked.store", ir.VoidType(), [self.type, pointer.type, I32, mask.type])
        self.builder.call(function, [value, pointer, ir.Constant(I32, self.itemsize), mask])

    def broadcast(self, base: ir.Value, offset: ir.Value) -> ir.Value:
        return self.splat(self.builder.load(self.builder.gep(base, [offset]), align=self.itemsize))

    def multiply_add(self, a: ir.Value, b: ir.Value, c: ir.Value) -> ir.Value:
        # fmuladd, not fma: where the processor has no FMA the latter is a call into the C library.
        return self.builder.call(self._llvm("fmuladd", self.type, [self.type] * 3), [a, b, c])

    def sum_of_lanes(self, vector: ir.Value) -> ir.Value:
        """The sum of all lanes: of halves, of their halves, and so on."""
        builder, width = self.builder, self.n
        undefined = ir.Constant(self.type, ir.Undefined)
        while width > 1:
            width //= 2
            lanes = [width + lane if lane < width else lane for lane in range(self.n)]
            order = ir.Constant(ir.VectorType(I32, self.n), lanes)
            vector = builder.fadd(vector, builder.shuffle_vector(vector, undefined, order))
        return builder.extract_element(vector, ir.Constant(I32, 0))

    def mask(self, count: ir.Value) -> ir.Value:
        """Lanes below `count`."""
        index = ir.Constant(ir.VectorType(I64, self.n), list(range(self.n)))
        return self.builder.icmp_signed("<", index, self.splat(count))


def emit_prefetch(builder: ir.IRBuilder, pointer: ir.Value) -> None:
    """Ask for a cache line, into the second level; any address is allowed."""
    pointer = builder.bitcast(pointer, ir.IntType(8).as_pointer())
    # LLVM completes the name, see ``Vectors._llvm``.
    signature = ir.FunctionType(ir.VoidType(), [pointer.type, I32, I32, I32])
    function = cgutils.get_or_insert_function(builder.module, signature, "llvm.prefetch")
    read, locality, data = (ir.Constant(I32, value) for value in (0, 2, 1))
    builder.call(function, [pointer, read, locality, data])


def join(phis: Sequence[Any], *sources: tuple[ir.Block, Sequence[ir.Value]]) -> None:
    """Give each phi its value for every block from which control may come."""
    for block, values in sources:
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, block)


def emit_loop(
    v: Vectors,
    label: str,
    stop: ir.Value,
    step: ir.Value,
    carry: ir.Value | None,
    body: Callable[[ir.Value, Any], Any],
) -> Any:
    """``for i in range(0, stop, step): carry = body(i, carry)``, done once at least."""
    builder = v.builder
    before = builder.block
    block = builder.append_basic_block(label)
    builder.branch(block)
    builder.position_at_end(block)
    i = builder.phi(I64)
    held = builder.phi(v.type) if carry is not None else None
    result = body(i, held)
    following = builder.add(i, step)
    i.add_incoming(ir.Constant(I64, 0), before)
    i.add_incoming(following, builder.block)
    if held is not None:
        held.add_incoming(carry, before)
        held.add_incoming(result, builder.block)
    after = builder.append_basic_block(label + ".end")
    builder.cbranch(builder.icmp_signed("<", following, stop), block, after)
    builder.position_at_end(after)
    return result


def emit_row(
    v: Vectors,
    n_columns: ir.Value,
    carry: Sequence[ir.Value],
    body: Callable[[ir.Value, Sequence[ir.Value]], Sequence[ir.Value]],
    last: Callable[[ir.Value, Sequence[ir.Value]], Sequence[ir.Value]],
    end: ir.Value | None = None,
) -> list[ir.Value]:
    """Go along a row: ``carry = body(at, carry)`` for its whole vectors, then ``last(at, carry)``.

    The latter for what is left, if anything is up to `end`, where that is not the row's own.
    """
    builder = v.builder
    zero, width = ir.Constant(I64, 0), ir.Constant(I64, v.n)
    before = builder.block
    whole, rest, masked, done = (
        builder.append_basic_block(part) for part in ("whole", "rest", "masked", "end")
    )
    builder.cbranch(builder.icmp_signed(">=", n_columns, width), whole, rest)
    builder.position_at_end(whole)
    at, held = builder.phi(I64), [builder.phi(value.type) for value in carry]
    results = body(at, held)
    following = builder.add(at, width)
    join([at, *held], (before, [zero, *carry]), (whole, [following, *results]))
    builder.cbranch(builder.icmp_signed("<=", builder.add(following, width), n_columns), whole, rest)

    builder.position_at_end(rest)
    at, held = builder.phi(I64), [builder.phi(value.type) for value in carry]
    join([at, *held], (before, [zero, *carry]), (whole, [following, *results]))
    builder.cbranch(builder.icmp_signed("<", at, n_columns if end is None else end), masked, done)
    builder.position_at_end(masked)
    results = last(at, held)
    builder.branch(done)
    builder.position_at_end(done)
    final = [builder.phi(value.type) for value in carry]
    join(final, (rest, held), (masked, results))
    return final
