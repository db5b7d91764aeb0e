"""How the loops of ``tile`` are emitted: LLVM IR whose accumulators are the phi nodes of one basic block.

Numba cannot be asked to keep values in registers, LLVM can: what a loop carries in phi nodes stays there as
long as the registers last. Each kind of loop is compiled once per float type, as a C function with a symbol
(``_link``).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.core.registry import cpu_target

from fastnn.kernels import _link as link
from fastnn.kernels._jit import library_cache
from fastnn.kernels.cpu.targets import ROW

_I1, _I32, _I64 = ir.IntType(1), ir.IntType(32), ir.IntType(64)
_LLVM_FLOAT = {types.float32: ir.FloatType(), types.float64: ir.DoubleType()}


def vector_lanes(dtype: Any) -> int:
    return ROW.lanes(dtype.bitwidth // 8)


class _Vectors:
    """Emits vector instructions of one dtype into a builder."""

    def __init__(self, builder: ir.IRBuilder, dtype: Any, n_lanes: int | None = None) -> None:
        self.builder = builder
        self.scalar = _LLVM_FLOAT[dtype]
        self.itemsize = dtype.bitwidth // 8
        self.n = n_lanes or vector_lanes(dtype)
        self.type = ir.VectorType(self.scalar, self.n)
        self.labels = ir.VectorType(_I32, self.n)

    def splat(self, value: ir.Value) -> ir.Value:
        vector = ir.VectorType(value.type, self.n)
        first = self.builder.insert_element(ir.Constant(vector, ir.Undefined), value, ir.Constant(_I32, 0))
        zeros = ir.Constant(ir.VectorType(_I32, self.n), [0] * self.n)
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
        function = self._llvm("masked.load", self.type, [pointer.type, _I32, mask.type, self.type])
        align = ir.Constant(_I32, self.itemsize)
        return self.builder.call(function, [pointer, align, mask, ir.Constant(self.type, None)])

    def store(self, value: ir.Value, base: ir.Value, offset: ir.Value, mask: ir.Value | None = None) -> None:
        pointer = self.address(base, offset, value.type)
        if mask is None:
            self.builder.store(value, pointer, align=4 if value.type == self.labels else self.itemsize)
            return
        function = self._llvm("masked.store", ir.VoidType(), [self.type, pointer.type, _I32, mask.type])
        self.builder.call(function, [value, pointer, ir.Constant(_I32, self.itemsize), mask])

    def prefetch(self, base: ir.Value, offset: ir.Value) -> None:
        """Ask for the cache line of an element, into the second level; any offset is allowed."""
        pointer = self.address(base, offset, ir.IntType(8))
        # LLVM completes the name, see ``_llvm``.
        signature = ir.FunctionType(ir.VoidType(), [pointer.type, _I32, _I32, _I32])
        function = cgutils.get_or_insert_function(self.builder.module, signature, "llvm.prefetch")
        read, locality, data = (ir.Constant(_I32, value) for value in (0, 2, 1))
        self.builder.call(function, [pointer, read, locality, data])

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
            order = ir.Constant(ir.VectorType(_I32, self.n), lanes)
            vector = builder.fadd(vector, builder.shuffle_vector(vector, undefined, order))
        return builder.extract_element(vector, ir.Constant(_I32, 0))

    def mask(self, count: ir.Value) -> ir.Value:
        """Lanes below `count`."""
        index = ir.Constant(ir.VectorType(_I64, self.n), list(range(self.n)))
        return self.builder.icmp_signed("<", index, self.splat(count))


def _join(phis: Sequence[Any], *sources: tuple[ir.Block, Sequence[ir.Value]]) -> None:
    """Give each phi its value for every block from which control may come."""
    for block, values in sources:
        for phi, value in zip(phis, values, strict=True):
            phi.add_incoming(value, block)


class _Left(NamedTuple):
    """Where the scalars A[p, i] lie: in blocks of `block` steps of p, `jump` elements apart.

    A[p, i] stands `p % block * step + i * row` elements after the start of block p // block.
    """

    base: ir.Value
    step: ir.Value
    row: ir.Value
    block: ir.Value
    jump: ir.Value


def _emit_product(
    v: _Vectors,
    accumulators: list[ir.Value],
    depth: ir.Value,
    a: _Left,
    b: ir.Value,
    b_stride: ir.Value,
    masks: list[ir.Value | None],
    *,
    squares: bool = False,
) -> list[ir.Value]:
    """The loop over p: accumulators[i * len(masks) + j] += A[p, i] * B[p, j], or (B - A)^2 with `squares`."""
    builder, vectors = v.builder, len(masks)
    rows = len(accumulators) // vectors
    zero, one = ir.Constant(_I64, 0), ir.Constant(_I64, 1)
    row_offsets = [builder.mul(a.row, ir.Constant(_I64, i)) for i in range(rows)]
    before = builder.block
    blocks, loop, block_end, after = (
        builder.append_basic_block(f"product{part}") for part in (".blocks", "", ".block.end", ".end")
    )
    builder.cbranch(builder.icmp_signed(">", depth, zero), blocks, after)

    builder.position_at_end(blocks)
    outer = [builder.phi(kind) for kind in (_I64, _I64, _I64)]
    left, a_block, b_block = outer
    held = [builder.phi(v.type) for _ in accumulators]
    steps = builder.select(builder.icmp_signed("<", left, a.block), left, a.block)
    builder.branch(loop)

    builder.position_at_end(loop)
    p, a_at, b_at = builder.phi(_I64), builder.phi(_I64), builder.phi(_I64)
    phis = [builder.phi(v.type) for _ in accumulators]
    right = [
        v.load(b, builder.add(b_at, ir.Constant(_I64, j * v.n)), mask=mask) for j, mask in enumerate(masks)
    ]
    results: list[ir.Value] = []
    for i in range(rows):
        scalar = v.broadcast(a.base, builder.add(a_at, row_offsets[i]))
        for vector in right:
            difference = builder.fsub(vector, scalar) if squares else None
            factors = (difference, difference) if squares else (scalar, vector)
            results.append(v.multiply_add(factors[0], factors[1], phis[len(results)]))
    p_next, b_next = builder.add(p, one), builder.add(b_at, b_stride)
    _join(
        [p, a_at, b_at, *phis],
        (blocks, [zero, a_block, b_block, *held]),
        (loop, [p_next, builder.add(a_at, a.step), b_next, *results]),
    )
    builder.cbranch(builder.icmp_signed("<", p_next, steps), loop, block_end)

    builder.position_at_end(block_end)
    left_next = builder.sub(left, steps)
    _join(
        [left, a_block, b_block, *held],
        (before, [depth, zero, zero, *accumulators]),
        (block_end, [left_next, builder.add(a_block, a.jump), b_next, *results]),
    )
    builder.cbranch(builder.icmp_signed(">", left_next, zero), blocks, after)

    builder.position_at_end(after)
    final = [builder.phi(v.type) for _ in accumulators]
    _join(final, (before, accumulators), (block_end, results))
    return final


def _emit_store_tile(v: _Vectors, f: ir.Function, rows: int, masks: list[ir.Value | None]) -> None:
    """One row count and one column pattern of ``tile_blocks_product``, up to its ``ret``."""
    builder = v.builder
    _, depth, a, step, row, block, jump, b, b_stride, begin, begin_stride, c, c_stride, _, has_begin = f.args

    def offsets(stride: ir.Value) -> list[ir.Value]:
        starts = [builder.mul(stride, ir.Constant(_I64, i)) for i in range(rows)]
        return [builder.add(s, ir.Constant(_I64, j * v.n)) for s in starts for j in range(len(masks))]

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
    final = _emit_product(v, start, depth, _Left(a, step, row, block, jump), b, b_stride, masks)
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
        switch.add_case(ir.Constant(_I64, r), block)
        builder.position_at_end(block)
        emit(r)


def _define(module: ir.Module, name: str, signature: ir.FunctionType) -> ir.Function:
    function = ir.Function(module, signature, name)
    function.attributes.add("nounwind")
    return function


def _product_type(dtype: Any) -> ir.FunctionType:
    pointer = _LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [_I64, _I64, pointer, *[_I64] * 4, *[pointer, _I64] * 3, _I64, _I1])


def _define_product(module: ir.Module, name: str, dtype: Any) -> None:
    function = _define(module, name, _product_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = _Vectors(builder, dtype)
    columns = function.args[13]

    def emit(rows: int) -> None:
        # All vectors full; else as many vectors as hold the columns, the last one masked.
        full = ir.Constant(_I64, v.n * ROW.tile_vectors)
        patterns = [(builder.icmp_signed("==", columns, full), ROW.tile_vectors, False)]
        for width in range(1, ROW.tile_vectors + 1):
            fits = builder.icmp_signed("<=", columns, ir.Constant(_I64, v.n * width))
            patterns.append((fits, width, True))
        for fits, width, masked in patterns:
            chosen, other = builder.append_basic_block("width"), builder.append_basic_block("wider")
            builder.cbranch(fits, chosen, other)
            builder.position_at_end(chosen)
            masks: list[ir.Value | None] = [None] * width
            if masked:
                masks[-1] = v.mask(builder.sub(columns, ir.Constant(_I64, v.n * (width - 1))))
            _emit_store_tile(v, function, rows, masks)
            builder.position_at_end(other)
        builder.ret_void()

    _emit_row_switch(builder, function.args[0], emit)


def _argmin_type(dtype: Any) -> ir.FunctionType:
    pointer = _LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(
        ir.VoidType(),
        [_I64, _I64, pointer, pointer, pointer, _I64, pointer, _I32.as_pointer(), _I32],
    )


def _define_argmin(module: ir.Module, name: str, dtype: Any, *, squares: bool) -> None:
    """The running minimum of start + sum_p A B; with `squares` of start + sum_p (A - B)^2."""
    function = _define(module, name, _argmin_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = _Vectors(builder, dtype)
    count, depth, a, start, b, b_stride, best, labels, first = function.args
    vectors, full = range(ROW.tile_vectors), ROW.tile_rows
    zero, one, step = (ir.Constant(_I64, value) for value in (0, 1, full))

    def fold(rows: int, at: ir.Value, minima: Sequence[ir.Value], winners: Sequence[ir.Value]) -> Any:
        """The running minima and their labels after `rows` candidates from `at` on."""
        accumulators = []
        for i in range(rows):
            accumulators += [v.broadcast(start, builder.add(at, ir.Constant(_I64, i)))] * len(vectors)
        panel = builder.gep(a, [builder.mul(at, depth)])
        left = _Left(panel, step, one, depth, zero)
        values = _emit_product(
            v, accumulators, depth, left, b, b_stride, [None] * len(vectors), squares=squares
        )
        base = v.splat(builder.add(first, builder.trunc(at, _I32)))
        minima, winners = list(minima), list(winners)
        for i in range(rows):
            # A sum of vectors: to fill a vector from a scalar register takes longer than to compare.
            label = builder.add(base, ir.Constant(v.labels, [i] * v.n))
            for j in vectors:
                # Ordered and strict: NaN never wins, and of equals the first does.
                closer = builder.fcmp_ordered("<", values[i * len(vectors) + j], minima[j])
                minima[j] = builder.select(closer, values[i * len(vectors) + j], minima[j])
                winners[j] = builder.select(closer, label, winners[j])
        return minima, winners

    def keep(minima: Sequence[ir.Value], winners: Sequence[ir.Value]) -> None:
        for j in vectors:
            v.store(minima[j], best, ir.Constant(_I64, j * v.n))
            v.store(winners[j], labels, ir.Constant(_I64, j * v.n))
        builder.ret_void()

    def carried() -> tuple[ir.Value, list[ir.Value], list[ir.Value]]:
        return (
            builder.phi(_I64),
            [builder.phi(v.type) for _ in vectors],
            [builder.phi(v.labels) for _ in vectors],
        )

    offsets = [ir.Constant(_I64, j * v.n) for j in vectors]
    before = builder.block
    begin = [v.load(best, offset) for offset in offsets]
    begin += [builder.load(v.address(labels, offset, v.labels), align=4) for offset in offsets]
    tiles, rest, done = (builder.append_basic_block(part) for part in ("tiles", "rest", "done"))
    builder.cbranch(builder.icmp_signed(">=", count, step), tiles, rest)

    # Whole tiles; what is best so far stays in registers.
    builder.position_at_end(tiles)
    at, *state = carried()
    minima, winners = fold(full, at, *state)
    following, tiles_end = builder.add(at, step), builder.block
    _join([at, *state[0], *state[1]], (before, [zero, *begin]), (tiles_end, [following, *minima, *winners]))
    builder.cbranch(builder.icmp_signed("<=", builder.add(following, step), count), tiles, rest)

    # The last candidates, fewer than a tile's rows.
    builder.position_at_end(rest)
    at, *state = carried()
    _join([at, *state[0], *state[1]], (before, [zero, *begin]), (tiles_end, [following, *minima, *winners]))
    switch = builder.switch(builder.sub(count, at), done)
    builder.position_at_end(done)
    keep(*state)
    for rows in range(1, full):
        block = builder.append_basic_block(f"rows.{rows}")
        switch.add_case(ir.Constant(_I64, rows), block)
        builder.position_at_end(block)
        keep(*fold(rows, at, *state))


def _distances_type(dtype: Any) -> ir.FunctionType:
    pointer = _LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [_I64, _I64, pointer, pointer, _I32.as_pointer(), pointer])


# Rows and centres of ``tile_all_distances`` at a time: as many sums as leave registers for the differences.
PAIR_ROWS, _PAIR_CENTERS = (3, 8) if ROW.tile_rows * ROW.tile_vectors >= 24 else (2, 4)


def _all_distances_type(dtype: Any) -> ir.FunctionType:
    pointer = _LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [_I64, _I64, _I64, pointer, pointer, pointer, _I64])


def _define_all_distances(module: ir.Module, name: str, dtype: Any) -> None:
    function = _define(module, name, _all_distances_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = _Vectors(builder, dtype)
    rows, count, depth, x, c, out, out_stride = function.args
    zero, width = ir.Constant(_I64, 0), ir.Constant(_I64, v.n)

    def pairs(n_rows: int, n_centers: int, first: ir.Value) -> None:
        """The distances of the rows to the centres from `first` on."""
        x_rows = [builder.gep(x, [builder.mul(depth, ir.Constant(_I64, i))]) for i in range(n_rows)]
        c_rows = [
            builder.gep(c, [builder.mul(depth, builder.add(first, ir.Constant(_I64, j)))])
            for j in range(n_centers)
        ]

        def add(at: ir.Value, totals: Sequence[ir.Value], mask: ir.Value | None) -> list[ir.Value]:
            points = [v.load(row, at, mask) for row in x_rows]
            # The rows that come next are fetched from memory meanwhile.
            for row in x_rows:
                v.prefetch(row, builder.add(at, builder.mul(depth, ir.Constant(_I64, n_rows))))
            sums = []
            for j, row in enumerate(c_rows):
                center = v.load(row, at, mask)
                for i, point in enumerate(points):
                    difference = builder.fsub(point, center)
                    sums.append(v.multiply_add(difference, difference, totals[j * n_rows + i]))
            return sums

        nothing = [ir.Constant(v.type, None)] * (n_rows * n_centers)
        before = builder.block
        whole, rest, masked, end = (
            builder.append_basic_block(part) for part in ("whole", "rest", "masked", "end")
        )
        builder.cbranch(builder.icmp_signed(">=", depth, width), whole, rest)
        builder.position_at_end(whole)
        at, totals = builder.phi(_I64), [builder.phi(v.type) for _ in nothing]
        sums = add(at, totals, None)
        following = builder.add(at, width)
        _join([at, *totals], (before, [zero, *nothing]), (whole, [following, *sums]))
        builder.cbranch(builder.icmp_signed("<=", builder.add(following, width), depth), whole, rest)
        builder.position_at_end(rest)
        at, totals = builder.phi(_I64), [builder.phi(v.type) for _ in nothing]
        _join([at, *totals], (before, [zero, *nothing]), (whole, [following, *sums]))
        builder.cbranch(builder.icmp_signed("<", at, depth), masked, end)
        builder.position_at_end(masked)
        sums = add(at, totals, v.mask(builder.sub(depth, at)))
        builder.branch(end)
        builder.position_at_end(end)
        final = [builder.phi(v.type) for _ in nothing]
        _join(final, (rest, totals), (masked, sums))
        stored = v.mask(ir.Constant(_I64, n_centers))
        for i in range(n_rows):
            at = builder.add(builder.mul(out_stride, ir.Constant(_I64, i)), first)
            v.store(_emit_sums_of_lanes(v, final[i::n_rows]), out, at, stored)

    def all_centers(n_rows: int) -> None:
        # The sums of a group of centres are the lanes of one vector.
        first, n_centers = zero, min(_PAIR_CENTERS, v.n)
        while n_centers:
            # Groups of as many as there are accumulators for, then of half as many, and so on.
            before = builder.block
            loop, after = builder.append_basic_block("group"), builder.append_basic_block("group.end")
            size = ir.Constant(_I64, n_centers)
            fits = builder.icmp_signed("<=", builder.add(first, size), count)
            builder.cbranch(fits, loop, after)
            builder.position_at_end(loop)
            at = builder.phi(_I64)
            pairs(n_rows, n_centers, at)
            following = builder.add(at, size)
            _join([at], (before, [first]), (builder.block, [following]))
            loop_end = builder.block
            more = builder.icmp_signed("<=", builder.add(following, size), count)
            builder.cbranch(more, loop, after)
            builder.position_at_end(after)
            reached = builder.phi(_I64)
            _join([reached], (before, [first]), (loop_end, [following]))
            first, n_centers = reached, n_centers // 2
        builder.ret_void()

    several, single = builder.append_basic_block("several"), builder.append_basic_block("single")
    builder.cbranch(builder.icmp_signed("==", rows, ir.Constant(_I64, PAIR_ROWS)), several, single)
    for block, n_rows in ((several, PAIR_ROWS), (single, 1)):
        builder.position_at_end(block)
        all_centers(n_rows)


def _emit_sums_of_lanes(v: _Vectors, vectors: list[ir.Value]) -> ir.Value:
    """Lane i of the result is the sum of the lanes of vector i; there are a power of two of them."""
    builder = v.builder
    indices = ir.VectorType(_I32, v.n)
    even, odd = (ir.Constant(indices, list(range(first, 2 * v.n, 2))) for first in (0, 1))
    lanes = v.n  # of a vector that hold its sum
    while lanes > 1:
        # Neighbouring lanes are added, and what is left of two vectors goes into one.
        others = vectors[1::2] or vectors
        vectors = [
            builder.fadd(builder.shuffle_vector(a, b, even), builder.shuffle_vector(a, b, odd))
            for a, b in zip(vectors[::2], others, strict=True)
        ]
        lanes //= 2
    return vectors[0]


# Vectors of one row that are added up side by side: sums that need not wait for each other.
_CHAINS = 4


def _define_distances(module: ir.Module, name: str, dtype: Any) -> None:
    function = _define(module, name, _distances_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    depth = function.args[1]
    # Short rows take short vectors: most masked loads of a whole one would reach into the next cache line.
    whole = vector_lanes(dtype)
    for n_lanes in (whole // 4, whole // 2):
        if n_lanes < 2:
            continue
        narrow, wider = builder.append_basic_block("narrow"), builder.append_basic_block("wider")
        builder.cbranch(builder.icmp_signed("<=", depth, ir.Constant(_I64, n_lanes)), narrow, wider)
        builder.position_at_end(narrow)
        v = _Vectors(builder, dtype, n_lanes)
        _emit_row_distances(v, function, partial(_emit_short_row, v, v.mask(depth)))
        builder.ret_void()
        builder.position_at_end(wider)
    v = _Vectors(builder, dtype)
    _emit_row_distances(v, function, partial(_emit_long_row, v, depth))
    builder.ret_void()


def _emit_row_distances(v: _Vectors, function: ir.Function, total: Callable[..., ir.Value]) -> None:
    """out[i] = the sum of the lanes of ``total(add)``; ``add`` adds the squares at an offset of the row."""
    builder = v.builder
    rows, depth, x, c, labels, out = function.args

    def row(i: ir.Value, _: Any) -> None:
        label = builder.zext(builder.load(builder.gep(labels, [i])), _I64)
        x_row, c_row = (builder.gep(base, [builder.mul(j, depth)]) for base, j in ((x, i), (c, label)))

        def add(offset: ir.Value, total: ir.Value, mask: ir.Value | None = None) -> ir.Value:
            difference = builder.fsub(v.load(x_row, offset, mask), v.load(c_row, offset, mask))
            return v.multiply_add(difference, difference, total)

        builder.store(v.sum_of_lanes(total(add)), builder.gep(out, [i]), align=v.itemsize)

    _emit_loop(v, "rows", rows, ir.Constant(_I64, 1), None, row)


def _emit_short_row(v: _Vectors, mask: ir.Value, add: Callable[..., ir.Value]) -> ir.Value:
    """One vector, masked."""
    return add(ir.Constant(_I64, 0), ir.Constant(v.type, None), mask)


def _emit_long_row(v: _Vectors, depth: ir.Value, add: Callable[..., ir.Value]) -> ir.Value:
    """Blocks of _CHAINS vectors, then vectors, the last one masked."""
    builder = v.builder
    zero, nothing = ir.Constant(_I64, 0), ir.Constant(v.type, None)
    stride = ir.Constant(_I64, _CHAINS * v.n)
    before = builder.block
    blocks, folded, tail, end = (
        builder.append_basic_block(part) for part in ("blocks", "folded", "tail", "end")
    )
    builder.cbranch(builder.icmp_signed(">=", depth, stride), blocks, tail)
    builder.position_at_end(blocks)
    at, totals = builder.phi(_I64), [builder.phi(v.type) for _ in range(_CHAINS)]
    sums = [add(builder.add(at, ir.Constant(_I64, j * v.n)), total) for j, total in enumerate(totals)]
    following = builder.add(at, stride)
    _join([at, *totals], (before, [zero, *[nothing] * _CHAINS]), (blocks, [following, *sums]))
    more = builder.icmp_signed("<=", builder.add(following, stride), depth)
    builder.cbranch(more, blocks, folded)
    builder.position_at_end(folded)
    while len(sums) > 1:
        sums = [builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
    builder.cbranch(builder.icmp_signed("<", following, depth), tail, end)

    builder.position_at_end(tail)
    at, total = builder.phi(_I64), builder.phi(v.type)
    added = add(at, total, v.mask(builder.sub(depth, at)))
    next_at = builder.add(at, ir.Constant(_I64, v.n))
    _join([at, total], (before, [zero, nothing]), (folded, [following, *sums]), (tail, [next_at, added]))
    builder.cbranch(builder.icmp_signed("<", next_at, depth), tail, end)

    builder.position_at_end(end)
    lanes = builder.phi(v.type)
    _join([lanes], (folded, sums), (tail, [added]))
    return lanes


def _add_rows_type(dtype: Any) -> ir.FunctionType:
    pointer, double = _LLVM_FLOAT[dtype].as_pointer(), ir.DoubleType().as_pointer()
    return ir.FunctionType(
        ir.VoidType(), [_I64, _I64, pointer, _I64, _I32.as_pointer(), pointer, _I1, _I1, double, _I64]
    )


def _define_add_rows(module: ir.Module, name: str, dtype: Any) -> None:
    function = _define(module, name, _add_rows_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    whole = vector_lanes(types.float64)
    # Short rows take short vectors, as in ``_define_distances``.
    narrow, wide = builder.append_basic_block("narrow"), builder.append_basic_block("wide")
    builder.cbranch(builder.icmp_signed("<", function.args[1], ir.Constant(_I64, whole // 2)), narrow, wide)
    for block, n_lanes in ((narrow, whole // 2), (wide, whole)):
        builder.position_at_end(block)
        _emit_add_rows(_Vectors(builder, types.float64, n_lanes), _Vectors(builder, dtype, n_lanes), function)
        builder.ret_void()


def _emit_add_rows(v: _Vectors, narrow: _Vectors, function: ir.Function) -> None:
    builder = v.builder
    rows, n_columns, x, x_stride, labels, weights, is_weighted, counting, sums, sums_stride = function.args
    zero, width, one = ir.Constant(_I64, 0), ir.Constant(_I64, v.n), ir.Constant(v.scalar, 1.0)
    end_of_row = builder.add(n_columns, builder.zext(counting, _I64))

    def widened(value: ir.Value, kind: ir.Type) -> ir.Value:
        return value if value.type == kind else builder.fpext(value, kind)

    def row(i: ir.Value, _: Any) -> None:
        label = builder.zext(builder.load(builder.gep(labels, [i])), _I64)
        target = builder.gep(sums, [builder.mul(label, sums_stride)])
        source = builder.gep(x, [builder.mul(i, x_stride)])
        before = builder.block
        with builder.if_then(is_weighted):
            given = widened(builder.load(builder.gep(weights, [i])), v.scalar)
            inside = builder.block
        weight = builder.phi(v.scalar)
        _join([weight], (before, [one]), (inside, [given]))
        factor = v.splat(weight)

        def add(at: ir.Value, values: ir.Value) -> None:
            v.store(v.multiply_add(values, factor, v.load(target, at)), target, at)

        before = builder.block
        whole, rest, last, end = (
            builder.append_basic_block(part) for part in ("whole", "rest", "last", "end")
        )
        builder.cbranch(builder.icmp_signed(">=", n_columns, width), whole, rest)
        builder.position_at_end(whole)
        at = builder.phi(_I64)
        add(at, widened(narrow.load(source, at), v.type))
        following = builder.add(at, width)
        _join([at], (before, [zero]), (whole, [following]))
        builder.cbranch(builder.icmp_signed("<=", builder.add(following, width), n_columns), whole, rest)

        builder.position_at_end(rest)
        at = builder.phi(_I64)
        _join([at], (before, [zero]), (whole, [following]))
        builder.cbranch(builder.icmp_signed("<", at, end_of_row), last, end)
        # What is left of the row, and a 1 behind it. A sum's row has room for a whole vector: a store that is
        # masked would make the next load of the same row wait.
        builder.position_at_end(last)
        left = builder.sub(n_columns, at)
        values = widened(narrow.load(source, at, narrow.mask(left)), v.type)
        is_one = builder.and_(
            v.mask(builder.add(left, builder.zext(counting, _I64))), builder.not_(v.mask(left))
        )
        add(at, builder.select(is_one, v.splat(one), values))
        builder.branch(end)
        builder.position_at_end(end)

    _emit_loop(v, "rows", rows, ir.Constant(_I64, 1), None, row)


def _emit_transposition(v: _Vectors, vectors: list[ir.Value]) -> list[ir.Value]:
    """The transpose of as many vectors as they have lanes."""
    builder = v.builder
    # An element's address is the bits of its row followed by the bits of its column. Interleaving row i with
    # row i + n/2 into rows 2i and 2i + 1 rotates these bits left by one; log2(n) rotations exchange the two.
    half = v.n // 2
    low = [lane for k in range(half) for lane in (k, v.n + k)]
    high = [lane for k in range(half, v.n) for lane in (k, v.n + k)]
    indices = ir.VectorType(_I32, v.n)
    for _ in range(v.n.bit_length() - 1):
        vectors = [
            builder.shuffle_vector(vectors[i], vectors[i + half], ir.Constant(indices, lanes_))
            for i in range(half)
            for lanes_ in (low, high)
        ]
    return vectors


def _store_rows(v: _Vectors, vectors: list[ir.Value], target: ir.Value, stride: ir.Value) -> None:
    for i, vector in enumerate(vectors):
        v.store(vector, target, v.builder.mul(stride, ir.Constant(_I64, i)))


def _rows_or_last(builder: ir.IRBuilder, rows: ir.Value, n: int) -> list[ir.Value]:
    """The numbers 0 to n - 1, where beyond `rows` the last row stands for all."""
    last = builder.sub(rows, ir.Constant(_I64, 1))
    numbers = [ir.Constant(_I64, i) for i in range(n)]
    return [builder.select(builder.icmp_signed("<", i, last), i, last) for i in numbers]


def _transpose_type(dtype: Any) -> ir.FunctionType:
    pointer = _LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [_I64, pointer, _I64, pointer, _I64])


def _define_transpose(module: ir.Module, name: str, dtype: Any) -> None:
    function = _define(module, name, _transpose_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = _Vectors(builder, dtype)
    rows, source, source_stride, target, target_stride = function.args
    offsets = [builder.mul(row, source_stride) for row in _rows_or_last(builder, rows, v.n)]
    _store_rows(
        v, _emit_transposition(v, [v.load(source, offset) for offset in offsets]), target, target_stride
    )
    builder.ret_void()


def _gather_type(dtype: Any) -> ir.FunctionType:
    pointer = _LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [_I64, _I64.as_pointer(), _I64, pointer, _I64, pointer, _I64])


def _define_gather(module: ir.Module, name: str, dtype: Any) -> None:
    function = _define(module, name, _gather_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = _Vectors(builder, dtype)
    rows, order, n_columns, source, stride, target, target_stride = function.args
    pointers = [
        builder.gep(source, [builder.mul(builder.load(builder.gep(order, [row])), stride)])
        for row in _rows_or_last(builder, rows, v.n)
    ]
    _emit_rows_tovector_lanes(v, pointers, n_columns, target, target_stride, v.load)
    builder.ret_void()


def _difference_type(dtype: Any) -> ir.FunctionType:
    pointer = _LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [_I64, _I64, pointer, _I64, pointer, pointer, _I64])


def _define_difference(module: ir.Module, name: str, dtype: Any) -> None:
    function = _define(module, name, _difference_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = _Vectors(builder, dtype)
    rows, n_columns, source, stride, origin, target, target_stride = function.args
    pointers = [builder.gep(source, [builder.mul(row, stride)]) for row in _rows_or_last(builder, rows, v.n)]

    def load(pointer: ir.Value, column: ir.Value, mask: ir.Value | None = None) -> ir.Value:
        return builder.fsub(v.load(pointer, column, mask), v.load(origin, column, mask))

    _emit_rows_tovector_lanes(v, pointers, n_columns, target, target_stride, load)
    builder.ret_void()


# Features up to which the lanes of contiguous rows are picked out of whole vectors: d (d - 1) shuffles for d
# of them, where a transposition takes as many for two as for a vector full.
_FEW = 4


def _lanes_type(dtype: Any) -> ir.FunctionType:
    pointer = _LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [_I64, _I64, pointer, pointer, _I64])


def _define_lanes(module: ir.Module, name: str, dtype: Any) -> None:
    function = _define(module, name, _lanes_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = _Vectors(builder, dtype)
    rows, n_columns, source, target, target_stride = function.args
    many = builder.append_basic_block("many")
    indices = ir.VectorType(_I32, v.n)
    full = builder.icmp_signed("==", rows, ir.Constant(_I64, v.n))
    switch = builder.switch(builder.select(full, n_columns, ir.Constant(_I64, 0)), many)
    for d in range(1, _FEW + 1):
        block = builder.append_basic_block(f"columns.{d}")
        switch.add_case(ir.Constant(_I64, d), block)
        builder.position_at_end(block)
        loaded = [v.load(source, ir.Constant(_I64, i * v.n)) for i in range(d)]
        for f in range(d):
            # Lane l is element l d + f of the loaded vectors, put end to end.
            wanted = [divmod(lane * d + f, v.n) for lane in range(v.n)]
            picked = loaded[0]
            for i in range(d):
                # Lanes of earlier vectors stand in their places already.
                order = [v.n + lane if at == i else position for position, (at, lane) in enumerate(wanted)]
                picked = builder.shuffle_vector(picked, loaded[i], ir.Constant(indices, order))
            v.store(picked, target, builder.mul(target_stride, ir.Constant(_I64, f)))
        builder.ret_void()
    builder.position_at_end(many)
    pointers = [
        builder.gep(source, [builder.mul(row, n_columns)]) for row in _rows_or_last(builder, rows, v.n)
    ]
    _emit_rows_tovector_lanes(v, pointers, n_columns, target, target_stride, v.load)
    builder.ret_void()


def _emit_rows_tovector_lanes(
    v: _Vectors,
    pointers: list[ir.Value],
    n_columns: ir.Value,
    target: ir.Value,
    target_stride: ir.Value,
    load: Callable[..., ir.Value],
) -> None:
    """target[j, i] = load(pointers[i], j) for every lane i and j < n_columns."""
    builder, function = v.builder, v.builder.function
    narrow, wide, end = (function.append_basic_block(name) for name in ("narrow", "wide", "end"))
    builder.cbranch(builder.icmp_signed("<", n_columns, ir.Constant(_I64, v.n)), narrow, wide)

    # Fewer columns than lanes: nothing beyond them may be read or written.
    builder.position_at_end(narrow)
    mask = v.mask(n_columns)
    zero = ir.Constant(_I64, 0)
    transposed = _emit_transposition(v, [load(pointer, zero, mask) for pointer in pointers])
    for j, vector in enumerate(transposed):
        store, after = builder.append_basic_block("store"), builder.append_basic_block("next")
        column = ir.Constant(_I64, j)
        builder.cbranch(builder.icmp_signed("<", column, n_columns), store, end)
        builder.position_at_end(store)
        v.store(vector, target, builder.mul(target_stride, column))
        builder.branch(after)
        builder.position_at_end(after)
    builder.branch(end)

    # Blocks of columns, the last one shifted back so that it ends with the row: it repeats some columns.
    builder.position_at_end(wide)
    final = builder.sub(n_columns, ir.Constant(_I64, v.n))
    loop = builder.append_basic_block("columns")
    builder.branch(loop)
    builder.position_at_end(loop)
    column = builder.phi(_I64)
    here = builder.gep(target, [builder.mul(column, target_stride)])
    transposed = _emit_transposition(v, [load(pointer, column) for pointer in pointers])
    _store_rows(v, transposed, here, target_stride)
    following = builder.add(column, ir.Constant(_I64, v.n))
    shifted = builder.select(builder.icmp_signed("<", following, final), following, final)
    column.add_incoming(zero, wide)
    column.add_incoming(shifted, builder.block)
    builder.cbranch(builder.icmp_signed("<", column, final), loop, end)
    builder.position_at_end(end)


def _emit_loop(
    v: _Vectors,
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
    i = builder.phi(_I64)
    held = builder.phi(v.type) if carry is not None else None
    result = body(i, held)
    following = builder.add(i, step)
    i.add_incoming(ir.Constant(_I64, 0), before)
    i.add_incoming(following, builder.block)
    if held is not None:
        held.add_incoming(carry, before)
        held.add_incoming(result, builder.block)
    after = builder.append_basic_block(label + ".end")
    builder.cbranch(builder.icmp_signed("<", following, stop), block, after)
    builder.position_at_end(after)
    return result


def _dots_type(dtype: Any) -> ir.FunctionType:
    pointer = _LLVM_FLOAT[dtype].as_pointer()
    return ir.FunctionType(ir.VoidType(), [_I64, _I64, pointer, _I64, pointer, pointer])


def _define_dots(module: ir.Module, name: str, dtype: Any) -> None:
    function = _define(module, name, _dots_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = _Vectors(builder, dtype)
    rows, count, x, x_stride, y, sums = function.args
    width = ir.Constant(_I64, v.n)

    def row(i: ir.Value, _: Any) -> None:
        x_row = builder.gep(x, [builder.mul(i, x_stride)])
        at = builder.mul(i, width)

        def add(s: ir.Value, held: ir.Value) -> ir.Value:
            mask = v.mask(builder.sub(count, s))
            return v.multiply_add(v.load(x_row, s), v.load(y, s, mask), held)

        v.store(_emit_loop(v, "samples", count, width, v.load(sums, at), add), sums, at)

    _emit_loop(v, "rows", rows, ir.Constant(_I64, 1), None, row)
    builder.ret_void()


def _fold_type(dtype: Any) -> ir.FunctionType:
    return ir.FunctionType(ir.VoidType(), [_I64, _I64, _LLVM_FLOAT[dtype].as_pointer()])


def _define_fold(module: ir.Module, name: str, dtype: Any, *, fold: str, apply: str) -> None:
    """For each column of a panel: fold its rows into one value, then apply that to every row."""
    function = _define(module, name, _fold_type(dtype))
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = _Vectors(builder, dtype)
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

        start = ir.Constant(v.type, None) if fold == "sum" else v.load(top, ir.Constant(_I64, 0))
        total = _emit_loop(v, "fold", cells, width, start, accumulate)
        _emit_loop(v, "apply", cells, width, None, change)

    _emit_loop(v, "columns", width, ir.Constant(_I64, v.n), None, column)
    builder.ret_void()


_KINDS: dict[str, tuple[Callable[..., None], Callable[..., Any]]] = {
    "product": (_define_product, _product_type),
    "argmin": (partial(_define_argmin, squares=False), _argmin_type),
    "argmin-squares": (partial(_define_argmin, squares=True), _argmin_type),
    "all-distances": (_define_all_distances, _all_distances_type),
    "distances": (_define_distances, _distances_type),
    "add-rows": (_define_add_rows, _add_rows_type),
    "transpose": (_define_transpose, _transpose_type),
    "gather": (_define_gather, _gather_type),
    "lanes": (_define_lanes, _lanes_type),
    "difference": (_define_difference, _difference_type),
    "dots": (_define_dots, _dots_type),
    "subtract-max": (partial(_define_fold, fold="max", apply="subtract"), _fold_type),
    "divide-sum": (partial(_define_fold, fold="sum", apply="divide"), _fold_type),
}


def _compile(kind: str, dtype_name: str) -> tuple[int, Any]:
    """Address of one tile function, from the disk cache or compiled, and the library that holds it."""
    context = cpu_target.target_context
    name = link.symbol(kind, dtype_name)
    cache = library_cache(_compile)
    library = cache.load_overload(name, context)
    if library is None:
        library = context.codegen().create_library(name)
        library.enable_object_caching()
        module = library.create_ir_module(name)
        _KINDS[kind][0](module, name, getattr(types, dtype_name))
        library.add_ir_module(module)
        library.finalize()
        cache.save_overload(name, library)
    return library.get_pointer_to_function(name), library


for _kind in _KINDS:
    link.provide(_kind, partial(_compile, _kind))


def declare(builder: ir.IRBuilder, kind: str, dtype: Any) -> ir.Function:
    """The function of this kind for a Numba float type, known to the module that `builder` writes."""
    return link.declare(builder.module, link.symbol(kind, dtype), _KINDS[kind][1](dtype))
