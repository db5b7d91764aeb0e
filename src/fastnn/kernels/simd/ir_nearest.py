"""Distances between rows and centres, and the minimum over the centres, in registers.

``argmin`` has points along the lanes and folds a product's tile into a running minimum; ``distances`` and
``all-distances`` have features along the lanes, of a row and its centre, or of some rows and some centres.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llvmlite import ir

from fastnn.kernels.compiler.targets import ROW
from fastnn.kernels.simd.ir_product import ScalarOperand, emit_product
from fastnn.kernels.simd.ir_vectors import (
    I32,
    I64,
    PIECE_BYTES,
    Vectors,
    emit_loop,
    emit_prefetch,
    emit_row,
    join,
    width_of,
)


def _emit_closer(v: Vectors, value: ir.Value, label: ir.Value, held: Sequence[ir.Value]) -> list[ir.Value]:
    """The minimum, its label, and maybe the second smallest value, after one more value in each lane."""
    builder, (minimum, winner, *others) = v.builder, held
    # Ordered and strict: NaN never wins, and of equals the first does.
    closer = builder.fcmp_ordered("<", value, minimum)
    seconds = []
    for other in others:
        loser = builder.select(closer, minimum, value)
        seconds.append(builder.select(builder.fcmp_ordered("<", loser, other), loser, other))
    return [builder.select(closer, value, minimum), builder.select(closer, label, winner), *seconds]


def _define_argmin(
    function: ir.Function, dtype: Any, *, squares: bool = False, seconds: bool = False
) -> None:
    """The running minimum of start + sum_p A B; with `squares` of start + sum_p (A - B)^2.

    With `seconds` the second smallest value too.
    """
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    count, depth, a, start, b, b_stride, best, labels, first = function.args[:9]
    vectors, full = range(ROW.tile_vectors), ROW.tile_rows
    zero, one, step = (ir.Constant(I64, value) for value in (0, 1, full))
    # What is best so far, in registers: minima, their labels, and the second smallest values.
    places = [(best, v.type), (labels, v.labels), *((second, v.type) for second in function.args[9:])]

    def fold(rows: int, at: ir.Value, state: Sequence[ir.Value]) -> list[ir.Value]:
        """The state after `rows` candidates from `at` on."""
        accumulators = []
        for i in range(rows):
            accumulators += [v.broadcast(start, builder.add(at, ir.Constant(I64, i)))] * len(vectors)
        panel = builder.gep(a, [builder.mul(at, depth)])
        scalars = ScalarOperand(panel, step, one, depth, zero)
        values = emit_product(
            v, accumulators, depth, scalars, b, b_stride, [None] * len(vectors), squares=squares
        )
        base = v.splat(builder.add(first, builder.trunc(at, I32)))
        held = [list(state[j * len(places) : (j + 1) * len(places)]) for j in vectors]
        for i in range(rows):
            # A sum of vectors: to fill a vector from a scalar register takes longer than to compare.
            label = builder.add(base, ir.Constant(v.labels, [i] * v.n))
            for j in vectors:
                held[j] = _emit_closer(v, values[i * len(vectors) + j], label, held[j])
        return [value for part in held for value in part]

    def keep(state: Sequence[ir.Value]) -> None:
        for i, value in enumerate(state):
            j, place = divmod(i, len(places))
            v.store(value, places[place][0], ir.Constant(I64, j * v.n))
        builder.ret_void()

    def carried() -> list[ir.Value]:
        return [builder.phi(I64), *(builder.phi(kind) for _ in vectors for _, kind in places)]

    anew = builder.icmp_signed("==", first, ir.Constant(I32, 0))
    nothing = {v.type: ir.Constant(v.type, [float("inf")] * v.n), v.labels: ir.Constant(v.labels, None)}

    def begun(base: ir.Value, j: int, kind: ir.Type) -> ir.Value:
        """What is best among the candidates before; nothing, if these are the first."""
        pointer = v.address(base, ir.Constant(I64, j * v.n), kind)
        stored = builder.load(pointer, align=4 if kind == v.labels else v.itemsize)
        return builder.select(anew, nothing[kind], stored)

    before = builder.block
    begin = [begun(base, j, kind) for j in vectors for base, kind in places]
    tiles, rest, done = (builder.append_basic_block(part) for part in ("tiles", "rest", "done"))
    builder.cbranch(builder.icmp_signed(">=", count, step), tiles, rest)

    # Whole tiles; what is best so far stays in registers.
    builder.position_at_end(tiles)
    at, *state = carried()
    folded = fold(full, at, state)
    following, tiles_end = builder.add(at, step), builder.block
    join([at, *state], (before, [zero, *begin]), (tiles_end, [following, *folded]))
    builder.cbranch(builder.icmp_signed("<=", builder.add(following, step), count), tiles, rest)

    # The last candidates, fewer than a tile's rows.
    builder.position_at_end(rest)
    at, *state = carried()
    join([at, *state], (before, [zero, *begin]), (tiles_end, [following, *folded]))
    switch = builder.switch(builder.sub(count, at), done)
    builder.position_at_end(done)
    keep(state)
    for rows in range(1, full):
        block = builder.append_basic_block(f"rows.{rows}")
        switch.add_case(ir.Constant(I64, rows), block)
        builder.position_at_end(block)
        keep(fold(rows, at, state))


# Rows and centres of ``tile_all_distances`` at a time: as many sums as leave registers for the differences.
PAIR_ROWS, _PAIR_CENTERS = (3, 8) if ROW.tile_rows * ROW.tile_vectors >= 24 else (2, 4)


# How far ahead rows are asked for: with 4 KiB or more a core reads 15 GB/s while it computes, with 1 KiB 9.
AHEAD_BYTES = 8192


def _define_all_distances(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    several, single = builder.append_basic_block("several"), builder.append_basic_block("single")
    builder.cbranch(builder.icmp_signed("==", function.args[0], ir.Constant(I64, PAIR_ROWS)), several, single)
    for block, n_rows in ((several, PAIR_ROWS), (single, 1)):
        builder.position_at_end(block)
        _emit_groups(v, function, n_rows)
        builder.ret_void()


def _emit_groups(v: Vectors, function: ir.Function, n_rows: int) -> None:
    """All centres: groups of as many as there are accumulators for, then of half as many, and so on."""
    builder, count = v.builder, function.args[1]
    # The sums of a group of centres are the lanes of one vector.
    first, n_centers = ir.Constant(I64, 0), min(_PAIR_CENTERS, v.n)
    while n_centers:
        before = builder.block
        loop, after = builder.append_basic_block("group"), builder.append_basic_block("group.end")
        size = ir.Constant(I64, n_centers)
        builder.cbranch(builder.icmp_signed("<=", builder.add(first, size), count), loop, after)
        builder.position_at_end(loop)
        at = builder.phi(I64)
        _emit_pairs(v, function, n_rows, n_centers, at)
        following = builder.add(at, size)
        join([at], (before, [first]), (builder.block, [following]))
        loop_end = builder.block
        builder.cbranch(builder.icmp_signed("<=", builder.add(following, size), count), loop, after)
        builder.position_at_end(after)
        reached = builder.phi(I64)
        join([reached], (before, [first]), (loop_end, [following]))
        first, n_centers = reached, n_centers // 2


def _emit_pairs(v: Vectors, function: ir.Function, n_rows: int, n_centers: int, first: ir.Value) -> None:
    """The distances of the rows to the centres from `first` on."""
    builder = v.builder
    _, _, depth, x, c, out, out_stride = function.args
    x_rows = [builder.gep(x, [builder.mul(depth, ir.Constant(I64, i))]) for i in range(n_rows)]
    c_rows = [
        builder.gep(c, [builder.mul(depth, builder.add(first, ir.Constant(I64, j)))])
        for j in range(n_centers)
    ]

    group, least = builder.mul(depth, ir.Constant(I64, n_rows)), ir.Constant(I64, AHEAD_BYTES // v.itemsize)
    ahead = builder.select(builder.icmp_signed(">", group, least), group, least)

    def add(at: ir.Value, totals: Sequence[ir.Value], mask: ir.Value | None = None) -> list[ir.Value]:
        points = [v.load(row, at, mask) for row in x_rows]
        # The rows that come next are fetched from memory meanwhile.
        for row in x_rows:
            emit_prefetch(builder, builder.gep(row, [builder.add(at, ahead)]))
        sums = []
        for j, row in enumerate(c_rows):
            center = v.load(row, at, mask)
            for i, point in enumerate(points):
                difference = builder.fsub(point, center)
                sums.append(v.multiply_add(difference, difference, totals[j * n_rows + i]))
        return sums

    def add_last(at: ir.Value, totals: Sequence[ir.Value]) -> list[ir.Value]:
        return add(at, totals, v.mask(builder.sub(depth, at)))

    nothing = [ir.Constant(v.type, None)] * (n_rows * n_centers)
    final = emit_row(v, depth, nothing, add, add_last)
    stored = v.mask(ir.Constant(I64, n_centers))
    for i in range(n_rows):
        at = builder.add(builder.mul(out_stride, ir.Constant(I64, i)), first)
        v.store(_emit_sums_of_lanes(v, final[i::n_rows]), out, at, stored)


def _emit_sums_of_lanes(v: Vectors, vectors: list[ir.Value]) -> ir.Value:
    """Lane i of the result is the sum of the lanes of vector i; there are a power of two of them.

    Neighbours are added, and what is left of two vectors goes into one: first lanes within pieces of 16
    bytes, where shuffles are fast, then the pieces.
    """
    builder, piece = v.builder, PIECE_BYTES // v.itemsize
    indices = ir.VectorType(I32, v.n)
    lanes = v.n  # of a vector that hold its sum
    while lanes > 1:
        within = lanes > v.n // piece
        group, size = (piece, 1) if within else (v.n, piece)
        halves = []
        for first in (0, size):
            order = [
                start + begin + at + i
                for start in range(0, v.n, group)
                for begin in (0, v.n)
                for at in range(first, group, 2 * size)
                for i in range(size)
            ]
            halves.append(ir.Constant(indices, order))
        others = vectors[1::2] or vectors
        vectors = [
            builder.fadd(builder.shuffle_vector(a, b, halves[0]), builder.shuffle_vector(a, b, halves[1]))
            for a, b in zip(vectors[::2], others, strict=True)
        ]
        lanes //= 2
    return vectors[0]


# Vectors of one row that are added up side by side: sums that need not wait for each other.
_CHAINS = 4


def _define_distances(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    depth = function.args[1]
    # Short rows take short vectors: most masked loads of a whole one would reach into the next cache line.
    whole = width_of(dtype)
    for n_lanes in (whole // 4, whole // 2):
        if n_lanes < 2:
            continue
        narrow, wider = builder.append_basic_block("narrow"), builder.append_basic_block("wider")
        builder.cbranch(builder.icmp_signed("<=", depth, ir.Constant(I64, n_lanes)), narrow, wider)
        builder.position_at_end(narrow)
        v = Vectors(builder, dtype, n_lanes)
        _emit_row_distances(v, function, partial(_emit_short_row, v, v.mask(depth)))
        builder.ret_void()
        builder.position_at_end(wider)
    v = Vectors(builder, dtype)
    _emit_row_distances(v, function, partial(_emit_long_row, v, depth))
    builder.ret_void()


def _emit_row_distances(v: Vectors, function: ir.Function, total: Callable[..., ir.Value]) -> None:
    """out[i] = the sum of the lanes of ``total(add)``; ``add`` adds the squares at an offset of the row."""
    builder = v.builder
    rows, depth, x, c, labels, out = function.args

    def row(i: ir.Value, _: Any) -> None:
        label = builder.zext(builder.load(builder.gep(labels, [i])), I64)
        x_row, c_row = (builder.gep(base, [builder.mul(j, depth)]) for base, j in ((x, i), (c, label)))

        def add(offset: ir.Value, total: ir.Value, mask: ir.Value | None = None) -> ir.Value:
            difference = builder.fsub(v.load(x_row, offset, mask), v.load(c_row, offset, mask))
            return v.multiply_add(difference, difference, total)

        builder.store(v.sum_of_lanes(total(add)), builder.gep(out, [i]), align=v.itemsize)

    emit_loop(v, "rows", rows, ir.Constant(I64, 1), None, row)


def _emit_short_row(v: Vectors, mask: ir.Value, add: Callable[..., ir.Value]) -> ir.Value:
    """One vector, masked."""
    return add(ir.Constant(I64, 0), ir.Constant(v.type, None), mask)


def _emit_long_row(v: Vectors, depth: ir.Value, add: Callable[..., ir.Value]) -> ir.Value:
    """Blocks of _CHAINS vectors, then vectors, the last one masked."""
    builder = v.builder
    zero, nothing = ir.Constant(I64, 0), ir.Constant(v.type, None)
    stride = ir.Constant(I64, _CHAINS * v.n)
    before = builder.block
    blocks, folded, tail, end = (
        builder.append_basic_block(part) for part in ("blocks", "folded", "tail", "end")
    )
    builder.cbranch(builder.icmp_signed(">=", depth, stride), blocks, tail)
    builder.position_at_end(blocks)
    at, totals = builder.phi(I64), [builder.phi(v.type) for _ in range(_CHAINS)]
    sums = [add(builder.add(at, ir.Constant(I64, j * v.n)), total) for j, total in enumerate(totals)]
    following = builder.add(at, stride)
    join([at, *totals], (before, [zero, *[nothing] * _CHAINS]), (blocks, [following, *sums]))
    more = builder.icmp_signed("<=", builder.add(following, stride), depth)
    builder.cbranch(more, blocks, folded)
    builder.position_at_end(folded)
    while len(sums) > 1:
        sums = [builder.fadd(a, b) for a, b in zip(sums[::2], sums[1::2], strict=True)]
    builder.cbranch(builder.icmp_signed("<", following, depth), tail, end)

    builder.position_at_end(tail)
    at, total = builder.phi(I64), builder.phi(v.type)
    added = add(at, total, v.mask(builder.sub(depth, at)))
    next_at = builder.add(at, ir.Constant(I64, v.n))
    join([at, total], (before, [zero, nothing]), (folded, [following, *sums]), (tail, [next_at, added]))
    builder.cbranch(builder.icmp_signed("<", next_at, depth), tail, end)

    builder.position_at_end(end)
    lanes = builder.phi(v.type)
    join([lanes], (folded, sums), (tail, [added]))
    return lanes


def _define_lowest(function: ir.Function, dtype: Any, *, seconds: bool = False) -> None:
    """``_define_argmin`` of values that lie in memory."""
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    count, values, best, labels = function.args[:4]
    columns = [ir.Constant(I64, j * v.n) for j in range(ROW.tile_vectors)]
    stride = ir.Constant(I64, len(columns) * v.n)
    infinity, zeros = ir.Constant(v.type, [float("inf")] * v.n), ir.Constant(v.labels, None)
    places = [(best, infinity), (labels, zeros), *((second, infinity) for second in function.args[4:])]
    before = builder.block
    loop, end = builder.append_basic_block("candidates"), builder.append_basic_block("end")
    builder.branch(loop)
    builder.position_at_end(loop)
    at, *state = (builder.phi(kind) for kind in [I64, *(start.type for _ in columns for _, start in places)])
    row, label = builder.gep(values, [builder.mul(at, stride)]), v.splat(builder.trunc(at, I32))
    folded = []
    for j, column in enumerate(columns):
        held = state[j * len(places) : (j + 1) * len(places)]
        folded += _emit_closer(v, v.load(row, column), label, held)
    following = builder.add(at, ir.Constant(I64, 1))
    begin = [ir.Constant(I64, 0), *(start for _ in columns for _, start in places)]
    join([at, *state], (before, begin), (loop, [following, *folded]))
    builder.cbranch(builder.icmp_signed("<", following, count), loop, end)
    builder.position_at_end(end)
    for i, value in enumerate(folded):
        j, place = divmod(i, len(places))
        v.store(value, places[place][0], columns[j])
    builder.ret_void()


LOOPS: dict[str, Any] = {
    "lowest": _define_lowest,
    "lowest-two": partial(_define_lowest, seconds=True),
    "argmin": _define_argmin,
    "argmin-squares": partial(_define_argmin, squares=True),
    "argmin-two": partial(_define_argmin, seconds=True),
    "all-distances": _define_all_distances,
    "distances": _define_distances,
}
