"""Targets of classes: a one-hot matrix that is kept as the place of the 1 in each row."""

from typing import NamedTuple

import numpy as np
from numpy.typing import DTypeLike


class OneHot(NamedTuple):
    """A matrix (n, n_classes) with a single 1 in each row, and zeros: n numbers instead of n * n_classes."""

    codes: np.ndarray  # (n,) int32: column of the 1
    n_classes: int

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""
        return self.codes.size, self.n_classes

    def take(self, rows: np.ndarray) -> "OneHot":
        """Some of the rows."""
        return self._replace(codes=self.codes[rows])

    def dense(self, dtype: DTypeLike) -> np.ndarray:
        """The matrix itself."""
        matrix = np.zeros(self.shape, dtype)
        matrix[np.arange(self.codes.size), self.codes] = 1
        return matrix
