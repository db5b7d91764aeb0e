"""Sweeps that leave all they find on the device: nearest centres, sums by cluster, parts of the inertia."""

from typing import Any

import numpy as np

from fastnn.kernels.cuda.clustering.nearest import nearest_rows
from fastnn.kernels.cuda.clustering.sums import sum_rows
from fastnn.kernels.cuda.reduction import partial_sums
from fastnn.kernels.cuda.rows.gather import THREADS, gather_rows, gather_weighted
from fastnn.kernels.cuda.runtime.compat import cuda
from fastnn.kernels.cuda.runtime.memory import Scratch, blocks_per_grid


class SweepBuffers:
    """Buffers on the current device for sweeps over n rows, with what the last one found.

    Parameters
    ----------
    n, k, d : int
        Rows, centres, features.
    dtype : numpy dtype
    precision : str or None
        As of the kernels.

    Attributes
    ----------
    labels, distances : device arrays (n,)
    sums, counts : device arrays (k, d) and (k,) float64
    """

    def __init__(self, n: int, k: int, d: int, dtype: np.dtype, precision: str | None) -> None:
        self._shape, self._dtype, self._scratch = (n, d), dtype, Scratch()
        self._precision = precision
        self.labels, self.distances = cuda.device_array(n, np.int32), cuda.device_array(n, dtype)
        self.sums, self.counts = cuda.device_array((k, d), np.float64), cuda.device_array(k, np.float64)

    def assign_and_sum(self, X: Any, weights: Any, C: Any) -> Any:
        """A sweep over n rows; sums over parts of them of the weighted squared distances, float64."""
        inertias = self.assign(X, weights, C)
        sum_rows(X, weights, self.labels, self.sums, self.counts, self._scratch)
        return inertias

    def assign(self, X: Any, weights: Any, C: Any) -> Any:
        """The same without the sums by cluster."""
        nearest_rows(X, C, self.labels, self.distances, self._scratch, self._precision)
        return partial_sums(self.distances, weights, self._scratch)

    def assign_and_sum_batch(self, order: Any, first: int, X: Any, weights: Any, C: Any) -> Any:
        """The same over the n rows of X that `order` has from `first` on."""
        batch = self._scratch.array("rows", self._shape, self._dtype)
        grid = blocks_per_grid(batch.size, THREADS), THREADS
        if weights is None:
            gather_rows[grid](order, first, X, batch)
            return self.assign_and_sum(batch, None, C)
        batch_weights = self._scratch.array("weights", self._shape[0], self._dtype)
        gather_weighted[grid](order, first, X, weights, batch, batch_weights)
        return self.assign_and_sum(batch, batch_weights, C)
