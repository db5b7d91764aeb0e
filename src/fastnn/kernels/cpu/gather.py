"""Gather the rows of a mini-batch by index, from a dense matrix or from CSR."""

from numba.extending import register_jitable


@register_jitable
def gather_rows(is_sparse, x, indices, indptr, n_columns, order, first, stop, target, offset):
    """target[i, :] = X[order[first + i], :] for the rows first : stop; target is contiguous at offset.

    Parameters
    ----------
    is_sparse : bool
        Whether `x` holds the values of a CSR matrix, or a dense matrix, flat.
    x, indices, indptr : arrays of shape (nnz,), (nnz,), (n_rows + 1,)   # IN
        CSR arrays; `indices` and `indptr` are not read for a dense matrix.
    order : array of int64   # IN
        Row numbers.
    target : flat array   # OUT
    """
    for i in range(first, stop):
        row = order[i]
        start = offset + (i - first) * n_columns
        out = target[start : start + n_columns]
        if is_sparse:
            out[:] = 0
            for p in range(indptr[row], indptr[row + 1]):
                # Duplicate entries of a CSR row add up.
                out[indices[p]] += x[p]
        else:
            out[:] = x[row * n_columns : (row + 1) * n_columns]
