"""A GPU as a device for k-means: ``ClusteringBackend`` over rows that lie there, or go there in blocks.

Loops that stay on the GPU need rows that all lie there: for others there are sweeps alone.
"""

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastnn.kernels.contract.clustering import ClusteringBackend
from fastnn.kernels.cuda.clustering.center_steps import DeviceGradientSteps
from fastnn.kernels.cuda.clustering.distances import distances_to
from fastnn.kernels.cuda.clustering.kmeans import assign
from fastnn.kernels.cuda.clustering.lloyd import DeviceIterations
from fastnn.kernels.cuda.clustering.mini_batch import DeviceMiniBatchSteps
from fastnn.kernels.cuda.clustering.passes import DeviceSeeding, DeviceSweeps
from fastnn.kernels.cuda.clustering.sphere import have_direction, unit_rows
from fastnn.kernels.cuda.clustering.streamed_passes import StreamedSeeding, StreamedSweeps
from fastnn.kernels.cuda.rows.by_blocks import RowsByBlocks
from fastnn.kernels.cuda.rows.resident import ResidentRows
from fastnn.kernels.cuda.runtime.compat import on_device
from fastnn.kernels.cuda.runtime.memory import as_kind_of, upload
from fastnn.kernels.shared.device_rows import is_device_array


class DeviceClustering:
    """What the engine of k-means asks of a device, on a GPU; see ``ClusteringBackend``."""

    have_direction = staticmethod(have_direction)
    unit_rows = staticmethod(unit_rows)

    def as_rows(self, X: RowsByBlocks, dtype: DTypeLike | None = None) -> RowsByBlocks:
        """The rows; in their own dtype, unless another is given."""
        return X if dtype is None else X.astype(dtype)

    def take(self, X: RowsByBlocks, rows: np.ndarray) -> RowsByBlocks:
        """A copy of some rows, on the GPU if there is room."""
        return X.take(rows)

    def on_host(self, X: RowsByBlocks) -> np.ndarray:
        """All rows as an array of NumPy."""
        return X[:]

    def as_given(self, X: RowsByBlocks) -> Any:
        """The rows as an array of the kind that the user gave."""
        return X.as_given()

    def nearest(self, X: RowsByBlocks, C: np.ndarray) -> Any:
        """Number of the nearest centre of every row (n,) int32, as an array of the user's kind."""
        if not isinstance(X, ResidentRows):
            sweeps = self.sweeps(X, 0)
            sweeps.sweep(X, np.empty(0, X.dtype), C, summing=False)
            return sweeps.labels
        with on_device(X.ordinal):
            return as_kind_of(X.given, assign(X.array, C, precision=X.precision)[0])

    def distances_to(self, X: RowsByBlocks, C: np.ndarray) -> Any:
        """Distance of every row to every centre (n, k), as an array of the user's kind."""
        with on_device(X.ordinal):
            if isinstance(X, ResidentRows) and is_device_array(X.given):
                return as_kind_of(X.given, distances_to(X.array, C))
            # Results of many columns take no more room there than a block.
            centers = upload(C, X.dtype)
            return X.on_host(len(C), lambda block: distances_to(block, centers))

    def sweeps(self, X: RowsByBlocks, k: int, n: int | None = None) -> DeviceSweeps:
        """Passes over rows like those of X: over all of them, or over `n`."""
        (rows, d), kind = X.shape, DeviceSweeps if isinstance(X, ResidentRows) else StreamedSweeps
        return kind(X.ordinal, rows if n is None else n, k, d, X.dtype, X.precision)

    def iterations(
        self, X: RowsByBlocks, weights: np.ndarray | None, C: np.ndarray, on_sphere: bool
    ) -> DeviceIterations | None:
        """Lloyd's iterations whose centres stay on the GPU."""
        if not isinstance(X, ResidentRows):
            return None
        return DeviceIterations(X.ordinal, X.array, weights, C, on_sphere, X.precision)

    def mini_batches(self, X: RowsByBlocks, k: int, batch_size: int) -> DeviceMiniBatchSteps | None:
        """Steps of mini-batch k-means that stay on the GPU."""
        if not isinstance(X, ResidentRows):
            return None
        return DeviceMiniBatchSteps(X.ordinal, X.array, k, batch_size, X.precision)

    def gradient_steps(
        self, X: RowsByBlocks, weights: np.ndarray | None, k: int, n_rows: int, batch_size: int | None
    ) -> DeviceGradientSteps | None:
        """Gradient steps that stay on the GPU."""
        if not isinstance(X, ResidentRows):
            return None
        return DeviceGradientSteps(X.ordinal, X.array, weights, k, n_rows, batch_size, X.precision)

    def seeding(
        self, X: RowsByBlocks, weights: np.ndarray | None, n_clusters: int, n_trials: int
    ) -> DeviceSeeding:
        """The passes of k-means++."""
        if not isinstance(X, ResidentRows):
            return StreamedSeeding(X.ordinal, X, weights, n_trials)
        return DeviceSeeding(X.ordinal, X.array, weights, n_trials)


device_clustering: ClusteringBackend[RowsByBlocks] = DeviceClustering()
