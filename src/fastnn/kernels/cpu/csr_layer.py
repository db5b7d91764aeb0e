"""The first layer of a network on CSR rows, of which the entries alone are read.

==========================  ======================  ======================  =======================
product                     rows that are added up  picked and weighted by  result
==========================  ======================  ======================  =======================
z_i = X_i W + b             W, as it lies           the entries of row i    lanes of the layer
dW_j = sum_i X_ij dz_i      dZ, in rows             those of column j       as the parameters lie
==========================  ======================  ======================  =======================

No dense batch exists. The columns' entries are found anew for every batch, a range of features at a time
(``csr_columns``): a counting sort, by the worker that then updates these features' weights.

Every sum is the chain of fused multiply-adds over ascending features, or samples, that the dense products
are, less the terms that are zero.

The functions are reached by their addresses, so that a process without sparse rows does not compile them.
"""

from numba.extending import register_jitable

from fastnn.kernels.cpu.dispatch import activate
from fastnn.kernels.cpu.linked import NOTHING, LoopTable
from fastnn.kernels.cpu.panels import copy_elements, fill_ones, lanes_of_rows, panel_width
from fastnn.kernels.cpu.tile import combine_rows, lanes, tile_columns


@register_jitable
def _csr_forward(
    n_in, n_out, first, start, stop, w_at, y_at, activation, keep_z,
    order, indices, indptr, x, w, staging, in_lanes, zs,
):  # fmt: skip
    """Lanes of the first layer, at `y_at`, of the samples start : stop; sample i is row ``order[first + i]``.

    Parameters
    ----------
    start : int
        A multiple of a vector.
    activation, keep_z, w, in_lanes, zs
        As in ``layer_forward``.
    indices, indptr, x : arrays of shape (nnz,), (n_rows + 1,), (nnz,)   # IN
    staging : array (lanes * n_out,)   # WORK

    Notes
    -----
    FLOPs: 2 n_out for each entry and sample. Bytes: a row of W for each entry.
    """
    width, columns = lanes(w), tile_columns(w)
    bias = w_at + n_in * n_out
    for s in range(start, stop, columns):
        panel = panel_width(w, stop - s)
        y = y_at + s * (n_out + 1)
        for block in range(0, panel, width):
            rows = min(width, stop - s - block)
            for i in range(rows):
                row, at = order[first + s + block + i], i * n_out
                begin = indptr[row]
                combine_rows(
                    n_out, indptr[row + 1] - begin, x, begin, indices, begin, w, w_at, n_out,
                    staging, at, False,
                )  # fmt: skip
                for j in range(n_out):
                    staging[at + j] += w[bias + j]
            lanes_of_rows(staging, n_out, rows, in_lanes, y + block, panel)
        cells = n_out * panel
        if keep_z:
            copy_elements(cells, y, y, in_lanes, zs)
        if activation != NOTHING:
            activate(activation, in_lanes[y : y + cells])
        fill_ones(y + cells, y + cells + panel, in_lanes)


@register_jitable
def _first_entry(indices, begin, end, feature):
    """Place of the first of the ascending indices[begin:end] that is at least `feature`."""
    while begin < end:
        middle = (begin + end) // 2
        if indices[middle] < feature:
            begin = middle + 1
        else:
            end = middle
    return begin


@register_jitable
def _csr_columns(
    first_feature, last_feature, offsets_at, first, n, order, indices, indptr, x, offsets, samples, values
):  # fmt: skip
    """The entries of a batch by features, first_feature : last_feature; sample i is ``order[first + i]``.

    Those of feature ``first_feature + j``, by ascending samples, stand at
    ``offsets[offsets_at + j] : offsets[offsets_at + j + 1]``, behind all those of smaller features.

    Parameters
    ----------
    offsets_at : int
        Where this range's offsets begin, of which there is one more than features.
    offsets : array   # OUT
    samples, values : arrays (entries of the batch,)   # OUT: sample and value of every entry

    Notes
    -----
    Bytes: indices and values of the entries twice, and as many written.
    """
    # What is behind an offset here is moved on by what it counts, to become the next one's place.
    place = offsets_at + 1 - first_feature
    for j in range(offsets_at, offsets_at + last_feature - first_feature + 1):
        offsets[j] = 0
    total = 0
    for i in range(n):
        row = order[first + i]
        begin, end = indptr[row], indptr[row + 1]
        p = _first_entry(indices, begin, end, first_feature)
        total += p - begin
        while p < end and indices[p] < last_feature:
            offsets[place + indices[p]] += 1
            p += 1
    offsets[offsets_at] = total
    for j in range(offsets_at + 1, offsets_at + last_feature - first_feature + 1):
        count = offsets[j]
        offsets[j] = total
        total += count
    for i in range(n):
        row = order[first + i]
        end = indptr[row + 1]
        p = _first_entry(indices, indptr[row], end, first_feature)
        while p < end and indices[p] < last_feature:
            j = place + indices[p]
            samples[offsets[j]], values[offsets[j]] = i, x[p]
            offsets[j] += 1
            p += 1


@register_jitable
def _csr_gradient(
    first_row, last_row, n_in, n_out, n, offsets_at, dz_at, stride, add,
    offsets, samples, values, in_rows, gradient, gradient_at,
):  # fmt: skip
    """Rows first_row : last_row of [dW; db] = [X 1]^T dZ, into `gradient` from `gradient_at`; += with `add`.

    Parameters
    ----------
    offsets_at : int
        Place of the offset of feature `first_row`.
    dz_at, stride : int
        Where dZ begins in `in_rows`, and from one sample to the next.
    offsets, samples, values : arrays   # IN, of ``csr_columns``
    in_rows : array   # IN
    gradient : array   # OUT, or INOUT with `add`

    Notes
    -----
    FLOPs: 2 n_out for each entry. Bytes: a row of dZ, in cache, for each entry; the gradient.
    """
    for row in range(first_row, last_row):
        g = gradient_at + (row - first_row) * n_out
        if row < n_in:
            at = offsets_at + row - first_row
            begin = offsets[at]
            combine_rows(
                n_out, offsets[at + 1] - begin, values, begin, samples, begin, in_rows, dz_at, stride,
                gradient, g, add,
            )  # fmt: skip
        else:
            total = gradient[g : g + n_out]
            if not add:
                for j in range(n_out):
                    total[j] = 0
            for i in range(n):
                dz = in_rows[dz_at + i * stride : dz_at + i * stride + n_out]
                for j in range(n_out):
                    total[j] += dz[j]


csr_forward_loops = LoopTable("csr-forward", {"rows": _csr_forward}, "iiiiiiiiiIJITTTTT")
csr_columns_loops = LoopTable("csr-columns", {"rows": _csr_columns}, "iiiiiIJITIJT")
csr_gradient_loops = LoopTable("csr-gradient", {"rows": _csr_gradient}, "iiiiiiiiiIJTTTi")
# What kernels call; Numba knows no attributes of Python objects.
csr_forward = csr_forward_loops.call
csr_columns = csr_columns_loops.call
csr_gradient = csr_gradient_loops.call
