"""Lloyd's iterations whose centres stay on the device: the twin of the CPU's ``cluster_means``, and its loop.

An iteration tells the host three numbers: the inertia, how far the centres have moved, and how many clusters
are empty. Labels, distances, sums and centres are copied when they are asked for::

    sweep           nearest centres, sums by cluster      (sweep_buffers)
    _find_means     the new centres, a block each; how far each has moved
    _summarize           one block: the three numbers
"""

import math
from typing import Any

import numpy as np
from numba import types

from fastnn.kernels.cuda.clustering.sweep_buffers import SweepBuffers
from fastnn.kernels.cuda.reduction import THREADS, block_sum
from fastnn.kernels.cuda.runtime.compat import cuda, device_function, kernel, on_device
from fastnn.kernels.cuda.runtime.memory import upload
from fastnn.kernels.shared import centers

_mean_or_same = device_function(centers.mean_or_same)
_squared_change = device_function(centers.squared_change)


@kernel
def _find_means(C, sums, counts, on_sphere, means, moved):
    """means[j] = sums[j] / counts[j], or C[j] where there are no rows; moved[j] = |means[j] - C[j]|^2.

    on_sphere : whether a mean is divided by its length; where that is 0, C[j] stays.
    """
    shared = cuda.shared.array(THREADS, types.float64)
    d = C.shape[1]
    j, x = cuda.blockIdx.x, cuda.threadIdx.x
    divisor = counts[j]
    if on_sphere:
        square = 0.0
        for f in range(x, d, THREADS):
            square += sums[j, f] * sums[j, f]
        divisor = math.sqrt(block_sum(square, shared))
    own = 0.0
    for f in range(x, d, THREADS):
        mean = C.dtype.type(_mean_or_same(sums[j, f], divisor, C[j, f]))
        means[j, f] = mean
        own += _squared_change(mean, C[j, f])
    own = block_sum(own, shared)
    if x == 0:
        moved[j] = own


@kernel
def _summarize(inertias, moved, counts, summary):
    """summary = the inertia, the squared movement of all centres, the number of empty clusters. One block."""
    shared = cuda.shared.array(THREADS, types.float64)
    x = cuda.threadIdx.x
    inertia, movement, empty = 0.0, 0.0, 0.0
    for i in range(x, inertias.shape[0], THREADS):
        inertia += inertias[i]
    for j in range(x, counts.shape[0], THREADS):
        movement += moved[j]
        empty += 1.0 if counts[j] == 0.0 else 0.0
    inertia = block_sum(inertia, shared)
    movement = block_sum(movement, shared)
    empty = block_sum(empty, shared)
    if x == 0:
        summary[0], summary[1], summary[2] = inertia, movement, empty


class DeviceIterations:
    """Lloyd's iterations over rows on a device.

    Parameters
    ----------
    ordinal : int
        The device.
    X : device array (n, d)
    weights : ndarray of shape (n,), of X's dtype, or None
        None stands for ones.
    C : ndarray of shape (k, d)
        Initial centres.
    on_sphere : bool
        Spherical k-means.
    precision : str or None
        As of the kernels.

    Attributes
    ----------
    sums, counts : ndarrays of shape (k, d) and (k,)
        Of an iteration that has found empty clusters.
    """

    def __init__(
        self,
        ordinal: int,
        X: Any,
        weights: np.ndarray | None,
        C: np.ndarray,
        on_sphere: bool,
        precision: str | None,
    ) -> None:
        self._ordinal, self._X, self._on_sphere = ordinal, X, on_sphere
        k, d = C.shape
        self.sums, self.counts = np.zeros((k, d)), np.zeros(k)
        with on_device(ordinal):
            self._weights = None if weights is None else upload(weights)
            self._C, self._means = upload(C, X.dtype), cuda.device_array((k, d), X.dtype)
            self._sweep = SweepBuffers(X.shape[0], k, d, np.dtype(X.dtype), precision)
            self._moved, self._summary = (cuda.device_array(size, np.float64) for size in (k, 3))

    @property
    def labels(self) -> np.ndarray:
        """Nearest centre of each row in the last sweep (n,) int32."""
        with on_device(self._ordinal):
            return self._sweep.labels.copy_to_host()

    @property
    def distances(self) -> np.ndarray:
        """Squared distance to it (n,)."""
        with on_device(self._ordinal):
            return self._sweep.distances.copy_to_host()

    @property
    def centers(self) -> np.ndarray:
        """The centres: those that the last iteration has led to."""
        with on_device(self._ordinal):
            return self._C.copy_to_host()

    def iterate(self) -> tuple[float, float, bool]:
        """One iteration; the inertia before it, the squared movement, and whether clusters are empty.

        If some are, `sums` and `counts` are those of the clusters, to be changed and given to ``move_again``.
        """
        with on_device(self._ordinal):
            self._inertias = self._sweep.assign_and_sum(self._X, self._weights, self._C)
            inertia, moved, empty = self._move()
            if empty:
                self._sweep.sums.copy_to_host(self.sums)
                self._sweep.counts.copy_to_host(self.counts)
        return inertia, moved, empty > 0

    def move_again(self) -> float:
        """Let the last iteration's centres be those of `sums` and `counts`; their squared movement."""
        with on_device(self._ordinal):
            self._C, self._means = self._means, self._C
            self._sweep.sums.copy_to_device(self.sums)
            self._sweep.counts.copy_to_device(self.counts)
            return self._move()[1]

    def confirm(self, inertia: float, moved: float) -> tuple[float, float]:
        """What is given: nothing has been left out."""
        return inertia, moved

    def assign(self) -> float:
        """Assign the rows to the centres; the inertia."""
        with on_device(self._ordinal):
            return float(self._sweep.assign(self._X, self._weights, self._C).copy_to_host().sum())

    def _move(self) -> tuple[float, float, float]:
        sums, counts = self._sweep.sums, self._sweep.counts
        _find_means[counts.shape[0], THREADS](
            self._C, sums, counts, int(self._on_sphere), self._means, self._moved
        )
        _summarize[1, THREADS](self._inertias, self._moved, counts, self._summary)
        self._C, self._means = self._means, self._C
        inertia, moved, empty = self._summary.copy_to_host().tolist()
        return inertia, moved, empty
