"""Whole passes over the data: labels and inertia, sums by cluster, the spread that `tol` is measured in."""

from typing import Any

import numpy as np
from scipy import sparse

from fastnn.kernels import device
from fastnn.kernels.shared.arrays import Csr, plain
from fastnn.kernels.shared.device_rows import DeviceRows
from fastnn.kernels.shared.threads import threads_for, workers

Rows = np.ndarray | Csr | DeviceRows


def as_rows(X: Any, dtype: Any = None) -> Rows:
    """An array or a SciPy matrix as the engines take it; in its own dtype, unless another is given."""
    dtype = X.dtype if dtype is None else dtype
    if isinstance(X, DeviceRows):
        return X.astype(dtype)
    return Csr.of(X, dtype, np.int32) if sparse.issparse(X) else plain(X, dtype)


def some_rows(X: Any, rows: np.ndarray) -> Rows:
    """A copy of some rows of an array or a SciPy matrix, where these lie, as the engines take it."""
    return X.take(rows) if isinstance(X, DeviceRows) else as_rows(X[rows])


def dense_array(rows: Any) -> np.ndarray:
    """Some rows of an array or a SciPy matrix, as a contiguous array."""
    return rows.toarray() if sparse.issparse(rows) else np.ascontiguousarray(rows)


def total_weight(n: int, weights: np.ndarray | None) -> float:
    """Weight of n rows."""
    return float(n) if weights is None else float(weights.sum(dtype=np.float64))


def seeding_work(n: int, k: int, d: int) -> float:
    """What ``threads_for`` is told about a pass of k-means++ or of its local search: the same about all of
    them, or both forms of their kernels were compiled."""
    return device.sweep_work(n, 3 + int(np.log(k)), d)


class Workspace:
    """Buffers for sweeps over up to `n` rows of one problem, on the host."""

    def __init__(self, n: int, k: int, d: int, dtype: np.dtype) -> None:
        self.labels = np.empty(n, np.int32)
        self.distances = np.empty(n, dtype)
        self.sums, self.counts = np.empty((k, d)), np.empty(k)
        self.partials = device.new_partials(n, k, d)

    @staticmethod
    def of(X: Any, k: int, n: int | None = None) -> Any:
        """Buffers, where X lies, for sweeps over its rows or over `n` of them."""
        n = X.shape[0] if n is None else n
        return X.workspace(n, k) if isinstance(X, DeviceRows) else Workspace(n, k, X.shape[1], X.dtype)

    def sweep(
        self, X: Rows, weights: np.ndarray, C: np.ndarray, *, summing: bool, assigning: bool = True
    ) -> float:
        """Assign all rows of X, and add them up if `summing`; the inertia."""
        n, d = X.shape
        k = C.shape[0]
        if isinstance(X, Csr):
            with threads_for(device.sweep_work(1, k, X.data.size) + n) as parallel:
                n_workers = workers(parallel)
                return device.sweep_csr(
                    parallel, n_workers, X.data, X.indices, X.indptr, weights, np.ascontiguousarray(C.T),
                    (C.astype(np.float64) ** 2).sum(axis=1), self.labels, self.distances,
                    self.sums, self.counts, self.partials, np.empty((n_workers, k), X.dtype),
                    assigning, summing,
                )  # fmt: skip
        with threads_for(device.sweep_work(n, k, d)) as parallel:
            return device.sweep(
                parallel, workers(parallel), X, weights, C, self.labels, self.distances,
                self.sums, self.counts, self.partials, assigning, summing,
            )  # fmt: skip

    def sum_all(self, X: np.ndarray) -> None:
        """Add all rows up, as those of the one cluster of this workspace."""
        self.labels[:] = 0
        C = np.empty((1, X.shape[1]), X.dtype)
        self.sweep(X, weights_or_empty(None, X), C, summing=True, assigning=False)


def nearest_centers(X: Rows, C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centre of every row, and the squared distance to it."""
    work = Workspace.of(X, 0)
    work.sweep(X, weights_or_empty(None, X), C, summing=False)
    return work.labels, work.distances


def labels_inertia(X: Rows, weights: np.ndarray | None, C: np.ndarray) -> tuple[np.ndarray, float]:
    """Nearest centre of every row and the weighted sum of squared distances to them."""
    work = Workspace.of(X, 0)
    inertia = work.sweep(X, weights_or_empty(weights, X), C, summing=False)
    return work.labels, inertia


def mean_variance(X: Rows) -> float:
    """Mean over the columns of their variance, the unit of `tol`."""
    n, d = X.shape
    if isinstance(X, Csr):
        # Not stored values are zeros; the mean is subtracted before squaring, as it may be far from zero.
        columns = X.indices
        values = X.data.astype(np.float64)
        mean = np.bincount(columns, values, minlength=d) / n
        stored = np.bincount(columns, minlength=d)
        squares = np.bincount(columns, (values - mean[columns]) ** 2, minlength=d)
        return float((squares + (n - stored) * mean**2).mean() / n)
    work = Workspace.of(X, 1)
    work.sum_all(X)
    mean = (work.sums / n).astype(X.dtype)
    return work.sweep(X, weights_or_empty(None, X), mean, summing=False) / (n * d)


def weights_or_empty(weights: np.ndarray | None, X: Rows) -> np.ndarray:
    """Weights as kernels take them: an empty array stands for ones."""
    return np.empty(0, X.dtype) if weights is None else weights
