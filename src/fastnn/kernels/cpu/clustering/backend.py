"""The processor as a device for k-means: ``ClusteringBackend`` over arrays, CSR matrices and ``Csr``."""

from typing import Any

import numpy as np

from fastnn.kernels.contract.clustering import ClusteringBackend
from fastnn.kernels.cpu.clustering.distances import distances_to
from fastnn.kernels.cpu.clustering.passes import HostSeeding, HostSweeps
from fastnn.kernels.cpu.clustering.sphere import have_direction, unit_rows
from fastnn.kernels.cpu.clustering.steps import HostGradientSteps, HostMiniBatchSteps
from fastnn.kernels.shared.arrays import Csr, plain


class HostClustering:
    """What the engine of k-means asks of a device, on the processor; see ``ClusteringBackend``."""

    have_direction = staticmethod(have_direction)
    unit_rows = staticmethod(unit_rows)
    distances_to = staticmethod(distances_to)

    def as_rows(self, X: Any, dtype: Any = None) -> np.ndarray | Csr:
        """An array or a SciPy matrix as kernels take it; in its own dtype, unless another is given."""
        dtype = X.dtype if dtype is None else dtype
        return plain(X, dtype) if isinstance(X, np.ndarray) else Csr.of(X, dtype, np.int32)

    def take(self, X: Any, rows: np.ndarray) -> Any:
        """A copy of some rows."""
        return X[rows]

    def on_host(self, X: Any) -> Any:
        """The rows themselves."""
        return X

    def as_given(self, X: Any) -> Any:
        """The rows themselves."""
        return X

    def nearest(self, X: np.ndarray | Csr, C: np.ndarray) -> np.ndarray:
        """Number of the nearest centre of every row (n,) int32."""
        sweeps = self.sweeps(X, 0)
        sweeps.sweep(X, np.empty(0, X.dtype), C, summing=False)
        return sweeps.labels

    def sweeps(self, X: Any, k: int, n: int | None = None) -> HostSweeps:
        """Passes over rows like those of X: over all of them, or over `n`."""
        return HostSweeps(X.shape[0] if n is None else n, k, X.shape[1], X.dtype)

    def iterations(self, X: Any, weights: np.ndarray | None, C: np.ndarray, on_sphere: bool) -> None:
        """None: the centres of a sweep are on the host anyway."""

    def mini_batches(self, X: Any, k: int, batch_size: int) -> HostMiniBatchSteps | None:
        """Steps of mini-batch k-means, many to a call; None for sparse rows."""
        return HostMiniBatchSteps(X, k, batch_size) if isinstance(X, np.ndarray) else None

    def gradient_steps(
        self, X: Any, weights: np.ndarray | None, k: int, n_rows: int, batch_size: int | None
    ) -> HostGradientSteps | None:
        """Gradient steps, many to a call; None for sparse rows, and for steps on all rows in place."""
        if batch_size is None or not isinstance(X, np.ndarray):
            return None
        return HostGradientSteps(X, weights, k, batch_size)

    def seeding(self, X: Any, weights: np.ndarray | None, n_clusters: int, n_trials: int) -> HostSeeding:
        """The passes of k-means++ over dense rows."""
        return HostSeeding(X, weights, n_clusters, n_trials)


host_clustering: ClusteringBackend = HostClustering()
