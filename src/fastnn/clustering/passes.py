"""Whole passes over the data: labels and inertia, sums by cluster, the spread that `tol` is measured in."""

from typing import Any

import numpy as np
from scipy import sparse

from fastnn.kernels import device
from fastnn.kernels._arrays import Csr, plain
from fastnn.kernels._threads import threads_for, workers

Rows = np.ndarray | Csr


def as_rows(X: Any, dtype: Any = None) -> Rows:
    """An array or a SciPy matrix as the engines take it; in its own dtype, unless another is given."""
    dtype = X.dtype if dtype is None else dtype
    return Csr.of(X, dtype, np.int32) if sparse.issparse(X) else plain(X, dtype)


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
    """Buffers for sweeps over up to `n` rows of one problem."""

    def __init__(self, n: int, k: int, d: int, dtype: np.dtype) -> None:
        self.labels = np.empty(n, np.int32)
        self.distances = np.empty(n, dtype)
        self.sums, self.counts = np.empty((k, d)), np.empty(k)
        self.partials = device.new_partials(n, k, d)

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


def nearest_centers(X: Rows, C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centre of every row, and the squared distance to it."""
    work = Workspace(X.shape[0], 0, X.shape[1], X.dtype)
    work.sweep(X, weights_or_empty(None, X), C, summing=False)
    return work.labels, work.distances


def labels_inertia(X: Rows, weights: np.ndarray | None, C: np.ndarray) -> tuple[np.ndarray, float]:
    """Nearest centre of every row and the weighted sum of squared distances to them."""
    n, d = X.shape
    work = Workspace(n, 0, d, X.dtype)
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
    work = Workspace(n, 1, d, X.dtype)
    none = weights_or_empty(None, X)
    work.labels[:] = 0
    work.sweep(X, none, np.empty((1, d), X.dtype), summing=True, assigning=False)
    mean = (work.sums / n).astype(X.dtype)
    return work.sweep(X, none, mean, summing=False) / (n * d)


def weights_or_empty(weights: np.ndarray | None, X: Rows) -> np.ndarray:
    """Weights as kernels take them: an empty array stands for ones."""
    return np.empty(0, X.dtype) if weights is None else weights
