"""Rows of the host, by the methods that rows of a GPU have."""

from typing import Any, Self

import numpy as np
from numpy.typing import DTypeLike
from scipy import sparse


class HostRows:
    """Rows (n, d) of an array or of a CSR matrix.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, d)

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy dtype
    """

    def __init__(self, X: Any) -> None:
        self.X = X
        self.shape: tuple[int, int] = X.shape
        self.dtype: np.dtype = X.dtype

    def take(self, rows: np.ndarray) -> Self:
        """A copy of some rows."""
        return type(self)(self.X[rows])

    def astype(self, dtype: DTypeLike) -> Self:
        """The rows in another dtype, C-contiguous; without a copy where they are."""
        if sparse.issparse(self.X):
            return type(self)(self.X.astype(dtype, copy=False))
        return type(self)(np.ascontiguousarray(self.X, dtype))
