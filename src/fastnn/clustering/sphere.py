"""Rows of unit length, for spherical k-means: there the nearest centre is that of the largest cosine."""

from typing import Any

import numpy as np
from scipy import sparse
from sklearn.utils.extmath import row_norms

from fastnn.kernels.shared.device_rows import UNIT_ROUNDING, DeviceRows


def unit_rows(X: Any) -> Any:
    """The rows divided by their lengths, however small or large these are.

    (scikit-learn's ``normalize`` takes lengths below some eps for zeros.)

    Parameters
    ----------
    X : ndarray, CSR matrix or DeviceRows, of shape (n_samples, n_features)
        float32 or float64.

    Returns
    -------
    X_unit : array of the kind of X
        X itself if all rows have unit length already, else a copy. A row of zeros stays one: its distance is
        the same to all centres.
    """
    if isinstance(X, DeviceRows):
        return X.unit_rows()
    with np.errstate(over="ignore"):
        lengths = row_norms(X)
    finfo = np.finfo(X.dtype)
    if (np.abs(lengths - 1) <= UNIT_ROUNDING * finfo.eps).all():
        return X
    if not ((lengths > np.sqrt(finfo.tiny / finfo.eps)) & (lengths < np.inf)).all():
        # Squares of very small values have lost their digits, those of very large ones are infinite.
        X = _divided(X, abs(X).max(axis=1))
        lengths = row_norms(X)
    return _divided(X, lengths)


def have_direction(X: Any) -> np.ndarray:
    """Which rows are not all zeros: a mask (n_samples,), of any kind of rows."""
    if isinstance(X, DeviceRows):
        return X.have_direction()
    if isinstance(X, np.ndarray):
        return np.asarray(X.any(axis=1))
    row_of = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    return np.bincount(row_of, X.data != 0, minlength=X.shape[0]) > 0


def with_direction(X: Any, weights: np.ndarray | None) -> np.ndarray | None:
    """Weights by which a row of zeros, which has no direction, can not become a centre.

    Parameters
    ----------
    X : ndarray, CSR matrix, Csr or DeviceRows, of shape (n_samples, n_features)
    weights : ndarray of shape (n_samples,) or None
        None stands for ones.

    Returns
    -------
    weights : ndarray of shape (n_samples,) or None
        0 for rows of zeros; those given where there are no such rows, or no others.
    """
    directed = have_direction(X)
    weighing = directed if weights is None else directed & (weights > 0)
    if directed.all() or not weighing.any():
        return weights
    return directed.astype(X.dtype) if weights is None else np.where(directed, weights, 0)


def _divided(X: Any, divisors: Any) -> Any:
    """Each row over its divisor, where that is not 0."""
    divisors = divisors.toarray().ravel() if sparse.issparse(divisors) else divisors
    divisors = np.where(divisors > 0, divisors, 1).astype(X.dtype)
    if not sparse.issparse(X):
        return X / divisors[:, None]
    X = X.copy()
    X.data /= np.repeat(divisors, np.diff(X.indptr))
    return X
