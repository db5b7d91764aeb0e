"""Rows of a mini-batch, copied to where they lie one after the other."""

from fastnn.kernels.compiler.linked import linked
from fastnn.kernels.shared.value_types import Int64s, Reals, Reals2D
from fastnn.kernels.simd.tile import prefetch_range

# How far ahead rows are asked for: some 100 ns of copying, in which memory answers, and no more lines at once
# than wait for it without being in each other's way.
_AHEAD_ROWS, _AHEAD_BYTES = 48, 4096


@linked("gather-rows")
def gather_rows(
    first: int, last: int, order: Int64s, X: Reals2D, weights: Reals, X_out: Reals2D, weights_out: Reals,
):  # fmt: skip
    """X_out[i] = X[order[i]] for first <= i < last; the weights too, unless there are none.

    The rows lie anywhere in memory: each is asked for some time before it is read.
    Bytes: X_out once from memory, as much written.
    """
    d = X.shape[1]
    ahead = max(1, min(_AHEAD_ROWS, _AHEAD_BYTES // max(1, d * X.itemsize)))
    asked = first
    for i in range(first, last):
        while asked < min(last, i + ahead + 1):
            prefetch_range(order[asked] * d, (order[asked] + 1) * d, X)
            asked += 1
        row = order[i]
        for f in range(d):
            X_out[i, f] = X[row, f]
        if weights.size > 0:
            weights_out[i] = weights[row]
