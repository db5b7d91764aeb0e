"""The processor as a device for k-means: ``ClusteringBackend`` over arrays, CSR matrices and ``Csr``."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import DTypeLike

from fastnn.kernels.contract.clustering import ClusteringBackend
from fastnn.kernels.cpu.clustering.distances import distances_to
from fastnn.kernels.cpu.clustering.passes import HostSeeding, HostSweeps
from fastnn.kernels.cpu.clustering.sphere import have_direction, unit_rows
from fastnn.kernels.cpu.clustering.steps import HostGradientSteps, HostMiniBatchSteps
from fastnn.kernels.shared.arrays import Csr, plain

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

# Kinds of rows, the sparse ones by their parts.
PlainRows = np.ndarray | Csr


class HostClustering:
    """What the engine of k-means asks of a device, on the processor; see ``ClusteringBackend``."""

    have_direction = staticmethod(have_direction)
    unit_rows = staticmethod(unit_rows)

    def as_rows(self, X: "PlainRows | csr_matrix", dtype: DTypeLike | None = None) -> PlainRows:
        """An array or a SciPy matrix as kernels take it; in its own dtype, unless another is given."""
        dtype = X.dtype if dtype is None else dtype
        return plain(X, dtype) if isinstance(X, np.ndarray) else Csr.of(X, dtype, np.int32)

    def take(self, X: "np.ndarray | csr_matrix", rows: np.ndarray) -> "np.ndarray | csr_matrix":
        """A copy of some rows."""
        return X[rows]

    def on_host(self, X: "np.ndarray | csr_matrix") -> "np.ndarray | csr_matrix":
        """The rows themselves."""
        return X

    def as_given(self, X: "np.ndarray | csr_matrix") -> "np.ndarray | csr_matrix":
        """The rows themselves."""
        return X

    def nearest(self, X: PlainRows, C: np.ndarray) -> np.ndarray:
        """Number of the nearest centre of every row (n,) int32."""
        sweeps = self.sweeps(X, 0)
        sweeps.sweep(X, np.empty(0, X.dtype), C, summing=False)
        return sweeps.labels

    def distances_to(self, X: PlainRows, C: np.ndarray) -> np.ndarray:
        """Distance of every row to every centre (n, k), of dense rows."""
        assert isinstance(X, np.ndarray)
        return distances_to(X, C)

    def sweeps(self, X: PlainRows, k: int, n: int | None = None) -> HostSweeps:
        """Passes over rows like those of X: over all of them, or over `n`."""
        return HostSweeps(X.shape[0] if n is None else n, k, X.shape[1], X.dtype)

    def iterations(self, X: PlainRows, weights: np.ndarray | None, C: np.ndarray, on_sphere: bool) -> None:
        """None: the centres of a sweep are on the host anyway."""

    def mini_batches(self, X: PlainRows, k: int, batch_size: int) -> HostMiniBatchSteps | None:
        """Steps of mini-batch k-means, many to a call; None for sparse rows."""
        return HostMiniBatchSteps(X, k, batch_size) if isinstance(X, np.ndarray) else None

    def gradient_steps(
        self, X: PlainRows, weights: np.ndarray | None, k: int, n_rows: int, batch_size: int | None
    ) -> HostGradientSteps | None:
        """Gradient steps, many to a call; None for sparse rows, and for steps on all rows in place."""
        if batch_size is None or not isinstance(X, np.ndarray):
            return None
        return HostGradientSteps(X, weights, k, batch_size)

    def seeding(
        self, X: PlainRows, weights: np.ndarray | None, n_clusters: int, n_trials: int
    ) -> HostSeeding:
        """The passes of k-means++ over dense rows."""
        assert isinstance(X, np.ndarray)
        return HostSeeding(X, weights, n_clusters, n_trials)


host_clustering: ClusteringBackend[PlainRows] = HostClustering()
