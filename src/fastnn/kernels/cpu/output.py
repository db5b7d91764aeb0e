"""The output layer: softmax, and the loss with its gradient, row by row of a chunk."""

from numba.extending import register_jitable

from fastnn.elementary import exp
from fastnn.kernels.cpu.dispatch import loss_and_gradient


@register_jitable
def softmax_rows(z, offset, n_rows, n_columns):
    """z <- exp(z) / sum(exp(z)) along each row, in place. Scores are taken from their largest."""
    for i in range(n_rows):
        row = z[offset + i * n_columns : offset + (i + 1) * n_columns]
        largest = row[0]
        for j in range(row.size):
            largest = max(largest, row[j])
        for j in range(row.size):
            row[j] = exp(row[j] - largest)
        total = z.dtype.type(0)
        for j in range(row.size):
            total += row[j]
        for j in range(row.size):
            row[j] /= total


@register_jitable
def loss_rows(code, y, order, first, weights, a, d, offset, n_columns, start, stop, row_loss):
    """Loss and gradient of the rows start : stop of a batch whose row i is ``order[first + i]`` of the data.

    Parameters
    ----------
    code : int
        The loss.
    y : flat array (n, n_columns)   # IN
        Targets of all the data.
    weights : array (n,), or empty   # IN
        Sample weights of all the data.
    a, d : flat arrays   # IN, OUT
        Outputs and dz of the batch, (n_rows, n_columns) at offset.
    row_loss : array (n_rows,) of float64   # OUT
    """
    weight = a.dtype.type(1)
    for i in range(start, stop):
        row = order[first + i]
        if weights.size > 0:
            weight = weights[row]
        begin, end = offset + i * n_columns, offset + (i + 1) * n_columns
        target = y[row * n_columns : (row + 1) * n_columns]
        row_loss[i] = loss_and_gradient(code, weight, target, a[begin:end], d[begin:end])
