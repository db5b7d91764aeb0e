"""Rows of unit length on the host, dense or sparse."""

from typing import Any

import numpy as np

from fastnn.kernels.shared.centers import UNIT_ROUNDING


def unit_rows(X: Any) -> Any:
    """The rows divided by their lengths, however small or large these are.

    (scikit-learn's ``normalize`` takes lengths below some eps for zeros.)

    Parameters
    ----------
    X : ndarray or CSR matrix, of shape (n_samples, n_features)
        float32 or float64.

    Returns
    -------
    X_unit : array of the kind of X
        X itself if all rows have unit length already, else a copy. A row of zeros stays one: its distance is
        the same to all centres.
    """
    from sklearn.utils.extmath import row_norms  # which kernels do without

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
    """Which rows of an array, a CSR matrix or a Csr are not all zeros: a mask (n_samples,)."""
    if isinstance(X, np.ndarray):
        return np.asarray(X.any(axis=1))
    row_of = np.repeat(np.arange(X.shape[0]), np.diff(X.indptr))
    return np.bincount(row_of, X.data != 0, minlength=X.shape[0]) > 0


def _divided(X: Any, divisors: Any) -> Any:
    """Each row over its divisor, where that is not 0."""
    divisors = divisors if isinstance(divisors, np.ndarray) else divisors.toarray().ravel()
    divisors = np.where(divisors > 0, divisors, 1).astype(X.dtype)
    if isinstance(X, np.ndarray):
        return X / divisors[:, None]
    X = X.copy()
    X.data /= np.repeat(divisors, np.diff(X.indptr))
    return X
