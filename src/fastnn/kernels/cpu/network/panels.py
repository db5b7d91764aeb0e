"""Layouts of a mini-batch inside a training step, and the moves between them.

A product reads one operand as vectors, the other as scalars, which may lie anywhere (see ``tile``). So only
the gradients dZ are needed twice, with the samples along the lanes of a vector and with the units there::

    lanes   one panel for every tile_columns samples, (n_units + 1, width), samples contiguous.
            What a layer makes is what the next one reads; the last row is 1, the input of the bias.
    columns one panel for every tile_columns units, (n_samples, width): the vectors of dW = X^T dZ. A single
            unit is no panel, but a vector of its samples.
    rows    one panel for all units, as wide as the vectors that hold them: dZ of a first layer on sparse rows
            (``csr_layer``), which picks samples.

A panel is contiguous, so a product streams through memory whatever the width of the layer; rows of a wide
matrix whose length is a power of two would fall on the same few lines of the cache.

Width: a panel of the batch's last samples is as wide as the vectors that hold them. A batch may be cut
between threads at any multiple of a vector. Lanes without a sample repeat the last one: nobody reads them.

All buffers are flat, with offsets in elements; `capacity` is the number of samples that they have room for, a
multiple of a vector.
"""

from fastnn.kernels.compiler.linked import linked
from fastnn.kernels.shared.value_types import Int32s, Int64s, Reals
from fastnn.kernels.simd.tile import prefetch_range, tile_columns, tile_gather, tile_transpose, vector_width
from fastnn.tables.jitable import register_jitable


@register_jitable
def panel_of(remaining, width, columns):
    """``panel_width`` for vectors of `width` and tiles of `columns`: of numbers alone, for Python too."""
    return columns if remaining > columns - width else (remaining + width - 1) // width * width


@register_jitable
def panel_width(array, remaining):
    """Width of the next panel when `remaining` samples (or units) are left: a full tile, or whole vectors."""
    return panel_of(remaining, vector_width(array), tile_columns(array))


@register_jitable
def chunk_of(chunk, n_chunks, n, width):
    """``chunk_samples`` for vectors of `width`: of numbers alone, for Python too."""
    vectors = (n + width - 1) // width
    return min(n, chunk * vectors // n_chunks * width), min(n, (chunk + 1) * vectors // n_chunks * width)


@register_jitable
def chunk_samples(chunk, n_chunks, n, array):
    """First and last (exclusive) of n samples in a chunk: whole vectors, as evenly as they go.

    A chunk's panels begin with it.
    """
    return chunk_of(chunk, n_chunks, n, vector_width(array))


# LLVM spends a third of a second on a loop of this kind, wherever it stands: here it does so once.


@linked("fill-ones")
def fill_ones(start: int, stop: int, array: Reals):
    """array[start:stop] = 1."""
    for i in range(start, stop):
        array[i] = 1


@linked("copy-elements")
def copy_elements(n: int, source_at: int, target_at: int, source: Reals, target: Reals):
    """n elements of `source` into other memory."""
    for i in range(n):
        target[target_at + i] = source[source_at + i]


@linked("prefetch-lines")
def prefetch_lines(start: int, stop: int, array: Reals):
    """Ask for the cache lines of array[start:stop]."""
    prefetch_range(start, stop, array)


@linked("gather-lanes")
def gather_lanes(
    is_sparse: bool, n_features: int, first: int, start: int, stop: int, order: Int64s, indices: Int32s,
    x: Reals, indptr: Int64s, staging: Reals, in_lanes: Reals,
):  # fmt: skip
    """Lanes of the samples start : stop of a batch whose sample i is row ``order[first + i]`` of X.

    Parameters
    ----------
    is_sparse : int
        Whether `x` holds the values of a CSR matrix, or a dense matrix, flat.
    start, stop : int
        `start` is a multiple of a vector.
    x, indices, indptr : arrays of shape (nnz,), (nnz,), (n_rows + 1,)   # IN
        CSR arrays; `indices` and `indptr` are not read for a dense matrix.
    staging : array (vector_width * n_features,)   # WORK
    in_lanes : array   # OUT

    Notes
    -----
    Bytes: X once from memory, as much written.
    """
    width, columns = vector_width(x), tile_columns(x)
    for s in range(start, stop, columns):
        panel = panel_width(x, stop - s)
        base = s * (n_features + 1)
        for block in range(0, panel, width):
            rows = min(width, stop - s - block)
            at = first + s + block
            if is_sparse:
                for i in range(rows):
                    row = order[at + i]
                    _expand_row(indices, x, indptr[row], indptr[row + 1], staging, i * n_features, n_features)
                lanes_of_rows(staging, n_features, rows, in_lanes, base + block, panel)
            else:
                # Rows of a shuffled batch lie anywhere: the next ones are asked for before these are read.
                for i in range(at + rows, min(at + rows + width, first + stop)):
                    prefetch_lines(order[i] * n_features, (order[i] + 1) * n_features, x)
                tile_gather(rows, order, at, n_features, x, n_features, in_lanes, base + block, panel)
        ones = base + n_features * panel
        fill_ones(ones, ones + panel, in_lanes)


@register_jitable
def _expand_row(indices, values, begin, end, target, target_at, n):
    for i in range(n):
        target[target_at + i] = 0
    for p in range(begin, end):
        target[target_at + indices[p]] = values[p]


@register_jitable
def lanes_of_rows(source, n_columns, rows, target, target_at, target_stride):
    """target[j, i] = source[i, j] for rows <= vector_width; lanes beyond `rows` repeat the last row."""
    width = vector_width(source)
    j = 0
    while j + width <= n_columns:
        tile_transpose(rows, source, j, n_columns, target, target_at + j * target_stride, target_stride)
        j += width
    while j < n_columns:
        for i in range(width):
            target[target_at + j * target_stride + i] = source[min(i, rows - 1) * n_columns + j]
        j += 1


@register_jitable
def row_stride(n_units, array):
    """From one sample to the next in the layout rows."""
    width = vector_width(array)
    return 1 if n_units == 1 else (n_units + width - 1) // width * width


@linked("lanes-to-columns")
def lanes_to_columns(
    in_rows: bool, n_units: int, start: int, stop: int, capacity: int, d_at: int, columns_at: int, d: Reals,
    in_columns: Reals,
):  # fmt: skip
    """The columns layout of a gradient (n_units, n_samples), or with `in_rows` rows, from its lanes."""
    width, columns = vector_width(d), tile_columns(d)
    row = row_stride(n_units, d)
    for s in range(start, stop, columns):
        panel = panel_width(d, stop - s)
        base = d_at + s * (n_units + 1)
        if n_units == 1:
            copy_elements(panel, base, columns_at + s, d, in_columns)
            continue
        for u in range(0, n_units, columns):
            wide = panel_width(d, n_units - u)
            tile_at, stride = columns_at + u * capacity + s * wide, wide
            if in_rows:
                tile_at, stride = columns_at + s * row + u, row
            for b in range(0, min(wide, n_units - u), width):
                for sub in range(0, panel, width):
                    tile_transpose(
                        min(width, n_units - u - b), d, base + (u + b) * panel + sub, panel,
                        in_columns, tile_at + sub * stride + b, stride,
                    )  # fmt: skip


@linked("lanes-to-rows")
def lanes_to_rows(
    n_units: int, start: int, stop: int, lanes_at: int, first: int, in_lanes: Reals, out: Reals,
):  # fmt: skip
    """out[first + s, :] = the values of sample s, for a flat `out` of n_units columns."""
    columns = tile_columns(in_lanes)
    for s in range(start, stop, columns):
        panel = panel_width(in_lanes, stop - s)
        base = lanes_at + s * (n_units + 1)
        for i in range(min(panel, stop - s)):
            row = (first + s + i) * n_units
            for j in range(n_units):
                out[row + j] = in_lanes[base + j * panel + i]
