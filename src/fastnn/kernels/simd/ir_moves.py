"""Moves between rows and lanes: transposition in registers, of rows that lie anywhere."""

from typing import Any

from llvmlite import ir

from fastnn.kernels.simd.ir_vectors import I32, I64, PIECE_BYTES, Vectors, join

# A load may put 16 bytes anywhere in a vector. So rows are loaded in such pieces, each into the place of its
# row, and are turned within these places.


def _piece(v: Vectors) -> int:
    """Elements of a piece."""
    return PIECE_BYTES // v.itemsize


def _emit_turn(v: Vectors, rows: list[ir.Value]) -> list[ir.Value]:
    """Vectors of one feature each, of the pieces of as many rows as a vector has lanes."""
    builder, piece = v.builder, _piece(v)
    indices = ir.VectorType(I32, v.n)
    # Vector i takes the pieces of the rows i, i + piece, ...: row l of a piece's place ends on its lane l.
    vectors = [_joined(v, rows[i::piece]) for i in range(piece)]
    # An element's address in its place is the bits of its vector followed by the bits of its lane. To
    # interleave vector i with vector i + piece/2 into vectors 2i and 2i + 1 rotates these bits left by one;
    # log2(piece) rotations exchange the two.
    half = piece // 2
    for _ in range(piece.bit_length() - 1):
        turned = []
        for i in range(half):
            for begin in (0, half):
                order = [
                    lane
                    for place in range(0, v.n, piece)
                    for k in range(place + begin, place + begin + half)
                    for lane in (k, v.n + k)
                ]
                mask = ir.Constant(indices, order)
                turned.append(builder.shuffle_vector(vectors[i], vectors[i + half], mask))
        vectors = turned
    return vectors


def _joined(v: Vectors, pieces: list[ir.Value]) -> ir.Value:
    """The pieces, end to end."""
    while len(pieces) > 1:
        size = pieces[0].type.count
        order = ir.Constant(ir.VectorType(I32, 2 * size), list(range(2 * size)))
        pieces = [
            v.builder.shuffle_vector(a, b, order) for a, b in zip(pieces[::2], pieces[1::2], strict=True)
        ]
    return pieces[0]


def _emit_columns(
    v: Vectors,
    pointers: list[ir.Value],
    first: ir.Value,
    count: int,
    target: ir.Value,
    stride: ir.Value,
    origin: ir.Value | None = None,
) -> None:
    """target[j, i] = pointers[i][j] for every lane i and `count` columns j from `first` on, whole pieces.

    Less origin[j], where there is an origin.
    """
    builder, piece = v.builder, Vectors(v.builder, v.dtype, _piece(v))
    for begin in range(0, count, piece.n):
        column = builder.add(first, ir.Constant(I64, begin))
        turned = _emit_turn(v, [piece.load(pointer, column) for pointer in pointers])
        for i, vector in enumerate(turned):
            _store_column(v, vector, builder.add(column, ir.Constant(I64, i)), target, stride, origin)


def _store_column(
    v: Vectors,
    vector: ir.Value,
    column: ir.Value,
    target: ir.Value,
    stride: ir.Value,
    origin: ir.Value | None,
) -> None:
    if origin is not None:
        vector = v.builder.fsub(vector, v.broadcast(origin, column))
    v.store(vector, target, v.builder.mul(stride, column))


def _rows_or_last(builder: ir.IRBuilder, rows: ir.Value, n: int) -> list[ir.Value]:
    """The numbers 0 to n - 1, where beyond `rows` the last row stands for all."""
    last = builder.sub(rows, ir.Constant(I64, 1))
    numbers = [ir.Constant(I64, i) for i in range(n)]
    return [builder.select(builder.icmp_signed("<", i, last), i, last) for i in numbers]


def _define_transpose(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    rows, source, source_stride, target, target_stride = function.args
    pointers = [
        builder.gep(source, [builder.mul(row, source_stride)]) for row in _rows_or_last(builder, rows, v.n)
    ]
    _emit_columns(v, pointers, ir.Constant(I64, 0), v.n, target, target_stride)
    builder.ret_void()


def _define_gather(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    rows, order, n_columns, source, stride, target, target_stride = function.args
    pointers = [
        builder.gep(source, [builder.mul(builder.load(builder.gep(order, [row])), stride)])
        for row in _rows_or_last(builder, rows, v.n)
    ]
    _emit_rows_to_lanes(v, pointers, n_columns, target, target_stride)
    builder.ret_void()


def _define_difference(function: ir.Function, dtype: Any) -> None:
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    v = Vectors(builder, dtype)
    rows, n_columns, source, stride, origin, target, target_stride = function.args
    pointers = [builder.gep(source, [builder.mul(row, stride)]) for row in _rows_or_last(builder, rows, v.n)]
    _emit_rows_to_lanes(v, pointers, n_columns, target, target_stride, origin)
    builder.ret_void()


# Features up to which the lanes of contiguous rows are picked out of whole vectors: d (d - 1) shuffles for d
# of them, where a transposition takes as many for two as for a vector full.
_FEW = 4


def _define_lanes(function: ir.Function, dtype: Any) -> None:
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
    _emit_rows_to_lanes(v, pointers, n_columns, target, target_stride)
    builder.ret_void()


def _emit_rows_to_lanes(
    v: Vectors,
    pointers: list[ir.Value],
    n_columns: ir.Value,
    target: ir.Value,
    stride: ir.Value,
    origin: ir.Value | None = None,
) -> None:
    """As ``_emit_columns``, for all columns from 0 on. The last ones overlap those before them."""
    builder, function, piece = v.builder, v.builder.function, _piece(v)
    few, some, many, end = (function.append_basic_block(name) for name in ("few", "some", "many", "end"))
    whole_pieces = builder.icmp_signed(">=", n_columns, ir.Constant(I64, piece))
    whole_vectors = builder.icmp_signed(">=", n_columns, ir.Constant(I64, v.n))
    switch = builder.append_basic_block("switch")
    builder.cbranch(whole_vectors, many, switch)
    builder.position_at_end(switch)
    builder.cbranch(whole_pieces, some, few)

    # Fewer columns than a piece has: nothing beyond them may be read or written.
    builder.position_at_end(few)
    short = Vectors(builder, v.dtype, piece)
    mask = short.mask(n_columns)
    zero = ir.Constant(I64, 0)
    turned = _emit_turn(v, [short.load(pointer, zero, mask) for pointer in pointers])
    for j, vector in enumerate(turned):
        store, after = builder.append_basic_block("store"), builder.append_basic_block("next")
        column = ir.Constant(I64, j)
        builder.cbranch(builder.icmp_signed("<", column, n_columns), store, end)
        builder.position_at_end(store)
        _store_column(v, vector, column, target, stride, origin)
        builder.branch(after)
        builder.position_at_end(after)
    builder.branch(end)

    for block, count in ((some, piece), (many, v.n)):
        builder.position_at_end(block)
        final = builder.sub(n_columns, ir.Constant(I64, count))
        loop = builder.append_basic_block("columns")
        builder.branch(loop)
        builder.position_at_end(loop)
        column = builder.phi(I64)
        _emit_columns(v, pointers, column, count, target, stride, origin)
        following = builder.add(column, ir.Constant(I64, count))
        shifted = builder.select(builder.icmp_signed("<", following, final), following, final)
        join([column], (block, [zero]), (builder.block, [shifted]))
        builder.cbranch(builder.icmp_signed("<", column, final), loop, end)
    builder.position_at_end(end)


LOOPS: dict[str, Any] = {
    "transpose": _define_transpose,
    "gather": _define_gather,
    "lanes": _define_lanes,
    "difference": _define_difference,
}
