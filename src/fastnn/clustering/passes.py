"""Whole passes over the data: labels and inertia, sums by cluster, the spread that `tol` is measured in."""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse

from fastnn.kernels.clustering import clustering_backend
from fastnn.kernels.contract.clustering import ClusteringBackend, Data, Rows
from fastnn.kernels.shared.arrays import Csr


def as_rows(X: "Data | Rows", dtype: DTypeLike | None = None) -> Rows:
    """Data as the engines take them; in their own dtype, unless another is given."""
    return clustering_backend(X).as_rows(X, dtype)


def some_rows(backend: ClusteringBackend[Rows], X: Data, rows: np.ndarray) -> Rows:
    """A copy of some rows, where these lie, as the engines take it."""
    return backend.as_rows(backend.take(X, rows))


def dense_array(rows: Any) -> np.ndarray:
    """Some rows of an array or a SciPy matrix, as a contiguous array."""
    return rows.toarray() if sparse.issparse(rows) else np.ascontiguousarray(rows)


def total_weight(n: int, weights: np.ndarray | None) -> float:
    """Weight of n rows."""
    return float(n) if weights is None else float(weights.sum(dtype=np.float64))


def nearest_centers(X: Rows, C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centre of every row, and the squared distance to it."""
    sweeps = clustering_backend(X).sweeps(X, 0)
    sweeps.sweep(X, weights_or_empty(None, X), C, summing=False)
    return sweeps.labels, sweeps.distances


def labels_inertia(X: Rows, weights: np.ndarray | None, C: np.ndarray) -> tuple[np.ndarray, float]:
    """Nearest centre of every row and the weighted sum of squared distances to them."""
    sweeps = clustering_backend(X).sweeps(X, 0)
    inertia = sweeps.sweep(X, weights_or_empty(weights, X), C, summing=False)
    return sweeps.labels, inertia


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
    sweeps = clustering_backend(X).sweeps(X, 1)
    sweeps.sum_all(X)
    mean = (sweeps.sums / n).astype(X.dtype)
    return sweeps.sweep(X, weights_or_empty(None, X), mean, summing=False) / (n * d)


def weights_or_empty(weights: np.ndarray | None, X: Rows) -> np.ndarray:
    """Weights as kernels take them: an empty array stands for ones."""
    return np.empty(0, X.dtype) if weights is None else weights
