"""The data of a network as its kernels take them: rows, dense or sparse, and targets, whole or as codes."""

from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from fastnn.kernels.contract.network import EngineRows, TargetMatrix
from fastnn.kernels.network import device
from fastnn.kernels.shared.arrays import plain
from fastnn.networks.one_hot import OneHot

# CSR rows of so many features, with entries in at most this share of their places, are not made dense: the
# first layer reads the entries alone, in at most 0.9 of the time of dense rows. With fewer features or more
# entries it may take longer than these: docs/kernels.md has the figures.
ENTRY_FEATURES, ENTRY_DENSITY = 256, 0.05
_MOST_COLUMNS = np.iinfo(np.int32).max


class Data(NamedTuple):
    """What a network is trained on, or validated by, of the network's dtype."""

    X: EngineRows  # (n, n_features)
    Y: TargetMatrix  # (n, n_outputs), 0 or 1 for classes
    sample_weight: np.ndarray | None  # (n,)

    def take(self, rows: np.ndarray) -> "Data":
        """A copy of some rows."""
        Y = self.Y[rows] if isinstance(self.Y, np.ndarray) else self.Y.take(rows)
        return Data(self.X.take(rows), Y, None if self.sample_weight is None else self.sample_weight[rows])


def rows_of(X: Any, dtype: np.dtype) -> device.OrderedRows:
    """Dense or CSR rows, all in their own order.

    Raises
    ------
    ValueError
        A CSR matrix has more columns than indices of 32 bits can number.
    """
    order = np.arange(X.shape[0], dtype=np.int64)
    if not sparse.issparse(X):
        nothing = np.empty(0, np.int32), np.empty(0, np.int64)
        return device.OrderedRows(False, plain(X, dtype).reshape(-1), *nothing, order, 0, 0)
    if X.shape[1] > _MOST_COLUMNS:
        raise ValueError(f"X has {X.shape[1]} columns; of a sparse matrix at most {_MOST_COLUMNS} are taken.")
    x, indices = plain(X.data, dtype), plain(X.indices, np.int32)
    loops = [0, 0]
    if X.shape[1] >= ENTRY_FEATURES and x.size <= ENTRY_DENSITY * X.shape[0] * X.shape[1]:
        loops = [table.address(0, dtype) for table in (device.csr_forward_loops, device.csr_weights_loops)]
    # Where a row begins may take more bits than the number of a column.
    return device.OrderedRows(True, x, indices, plain(X.indptr, np.int64), order, *loops)


def kept_targets(
    Y: TargetMatrix, dtype: np.dtype, class_targets: tuple[float, float] = (0.0, 1.0)
) -> tuple[np.ndarray, np.ndarray, int]:
    """Targets as the kernels take them, see ``device.LossTargets``: numbers, codes, and the loop of flags.

    class_targets : what 0 and 1 count as where targets are those of classes: a ``OneHot``, or bool
    """
    values = np.array(class_targets, dtype)
    if isinstance(Y, OneHot):
        # A row with its 1 at c is a piece of the vector 0 ... 0 1 0 ... 0.
        y = np.full(2 * Y.n_classes - 1, values[0])
        y[Y.n_classes - 1] = values[1]
        return y, np.subtract(Y.n_classes - 1, Y.codes, dtype=np.int32), 0
    if not isinstance(Y, np.ndarray):
        Y = Y.dense(dtype)
    if Y.dtype != np.bool_:
        return plain(Y, dtype).reshape(-1), np.empty(0, np.int32), 0
    if Y.shape[1] == 1:
        return values, Y.reshape(-1).astype(np.int32), 0
    packed = np.packbits(Y.reshape(-1), bitorder="little")
    packed = np.pad(packed, (0, -packed.size % 4)).view("<i4").astype(np.int32, copy=False)
    return values, packed, device.flag_loops.address(0, dtype)


def dense_targets(
    Y: TargetMatrix, dtype: np.dtype, class_targets: tuple[float, float] = (0.0, 1.0)
) -> np.ndarray:
    """Targets as a matrix of numbers; `class_targets` as of ``kept_targets``."""
    if isinstance(Y, OneHot):
        Y = Y.dense(np.bool_)
    elif not isinstance(Y, np.ndarray):
        Y = Y.dense(dtype)
    if Y.dtype != np.bool_:
        return plain(Y, dtype)
    return np.array(class_targets, dtype)[Y.astype(np.int8)]


def entries_of_a_row(rows: device.OrderedRows) -> float | None:
    """Mean number of entries in a row, where the first layer reads them alone."""
    return rows.x.size / max(1, rows.indptr.size - 1) if rows.forward else None


def batch_entries(rows: device.OrderedRows, batch_size: int) -> int | None:
    """Entries of a batch at most, in the order of the rows; None where they are not read alone."""
    if not rows.forward:
        return None
    lengths = np.diff(rows.indptr)[rows.order]
    return int(np.add.reduceat(lengths, np.arange(0, lengths.size, batch_size)).max())
