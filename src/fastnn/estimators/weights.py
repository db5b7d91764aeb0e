"""Sample weights: none negative, none missing, and not all zero."""

from typing import Any

import numpy as np
from sklearn.utils.validation import _check_sample_weight, _num_samples

from fastnn.estimators.sparse_rows import dense_only
from fastnn.kernels import to_host


def checked_weights(sample_weight: Any, X: Any, dtype: Any = None) -> np.ndarray:
    """The weights of the rows of `X`.

    Parameters
    ----------
    sample_weight : array-like of shape (n_samples,) or float
        Weights.
    X : array-like or sparse matrix of shape (n_samples, n_features)
        Data.
    dtype : numpy dtype, default=None
        In which the weights will be used: what is too small for it counts as zero. None keeps theirs.

    Returns
    -------
    weights : ndarray of shape (n_samples,)

    Raises
    ------
    ValueError
        Wrong shape, a weight that is negative or not finite, no weight above zero, or an infinite sum.
    """
    X = np.empty((_num_samples(X), 0))  # which may lie on a GPU: only the number of rows counts
    dense_only(sample_weight, "sample_weight")
    weights = _check_sample_weight(to_host(sample_weight), X, dtype=dtype, ensure_non_negative=True)
    with np.errstate(divide="ignore", over="ignore"):
        usable = np.isfinite(1 / weights.sum())
    # A subnormal sum has no reciprocal.
    if not usable:
        raise ValueError("Sample weights must contain at least one non-zero number.")
    if not np.isfinite(weights.sum(dtype=np.float64)):
        raise ValueError("Sample weights must have a finite sum.")
    return weights
