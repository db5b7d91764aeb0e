"""Whole passes over rows on a GPU: ``Sweeps`` and ``Seeding`` of the contract of k-means.

Centres, their sums and their weights are on the host between two passes, as they are few; rows, labels and
distances stay on the device until somebody asks for them.
"""

from typing import Any

import numpy as np

from fastnn.kernels.cuda.clustering.candidates import find_tasks, pick_rows, seeding_tasks, try_candidates
from fastnn.kernels.cuda.clustering.nearest import nearest_rows
from fastnn.kernels.cuda.clustering.sums import sum_rows
from fastnn.kernels.cuda.reduction import weighted_sum
from fastnn.kernels.cuda.rows.gather import gathered
from fastnn.kernels.cuda.runtime.compat import cuda, on_device
from fastnn.kernels.cuda.runtime.memory import Scratch, upload


class DeviceSweeps:
    """Buffers on a device for sweeps over n rows, and what a sweep leaves on the host.

    Attributes
    ----------
    sums : ndarray of shape (k, d)
    counts : ndarray of shape (k,)
    """

    def __init__(
        self, ordinal: int, n: int, k: int, d: int, dtype: np.dtype, precision: str | None = None
    ) -> None:
        self._ordinal, self._precision = ordinal, precision
        self.sums, self.counts = np.zeros((k, d)), np.zeros(k)
        self._on_host: dict[str, np.ndarray] = {}
        self._weights: tuple[Any, Any] = (None, None)
        self._scratch = Scratch()
        with on_device(ordinal):
            self._labels, self._distances = cuda.device_array(n, np.int32), cuda.device_array(n, dtype)
            self._sums, self._counts = (cuda.device_array(a.shape, a.dtype) for a in (self.sums, self.counts))

    @property
    def labels(self) -> np.ndarray:
        """Nearest centre of each row in the last sweep (n,) int32."""
        return self._copied("labels", self._labels)

    @property
    def distances(self) -> np.ndarray:
        """Squared distance to it (n,)."""
        return self._copied("distances", self._distances)

    def sweep(self, X: Any, weights: np.ndarray, C: np.ndarray, *, summing: bool) -> float:
        """Assign all rows of X, and add them up if `summing`; the inertia."""
        with on_device(self._ordinal):
            w, centers = self._begin(weights, C)
            nearest_rows(X.array, centers, self._labels, self._distances, self._scratch, self._precision)
            if summing:
                self._add_up(X, w)
            return weighted_sum(self._distances, w, self._scratch)

    def sum_all(self, X: Any) -> None:
        """Add all rows up, as those of the one cluster of these buffers."""
        with on_device(self._ordinal):
            self._on_host.clear()
            self._labels.copy_to_device(np.zeros(self._labels.shape, np.int32))
            self._add_up(X, None)

    def _begin(self, weights: np.ndarray, C: np.ndarray) -> tuple[Any, Any]:
        """Weights and centres on the device; what the last sweep left on the host is forgotten."""
        self._on_host.clear()
        centers = self._scratch.array("centers", C.shape, C.dtype)
        centers.copy_to_device(np.ascontiguousarray(C))
        return self._weights_there(weights), centers

    def _add_up(self, X: Any, weights: Any) -> None:
        sum_rows(X.array, weights, self._labels, self._sums, self._counts, self._scratch)
        self._sums.copy_to_host(self.sums)
        self._counts.copy_to_host(self.counts)

    def _copied(self, name: str, array: Any) -> np.ndarray:
        if name not in self._on_host:
            with on_device(self._ordinal):
                self._on_host[name] = array.copy_to_host()
        return self._on_host[name]

    def _weights_there(self, weights: np.ndarray) -> Any:
        """Weights on the device, copied when they are first seen; an empty array stands for ones."""
        if not weights.size:
            return None
        if self._weights[0] is not weights:
            self._weights = weights, upload(weights)
        return self._weights[1]


class DeviceSeeding:
    """The passes of k-means++ over rows on a device, each of which keeps the distance to its nearest centre.

    Parameters
    ----------
    ordinal : int
        The device.
    X : device array (n, d)
    weights : ndarray of shape (n,) or None
        None stands for ones.
    n_trials : int
        Candidates for each centre.
    """

    def __init__(self, ordinal: int, X: Any, weights: np.ndarray | None, n_trials: int) -> None:
        self._ordinal, self._X = ordinal, X
        n = X.shape[0]
        with on_device(ordinal):
            self._weights = None if weights is None else upload(weights)
            self._closest = upload(np.full(n, np.inf, X.dtype))
            self._potentials = {
                count: cuda.device_array((seeding_tasks(n), count), np.float64) for count in (1, 1 + n_trials)
            }

    def try_rows(self, rows: np.ndarray) -> np.ndarray:
        """Take the first of these rows as a centre; the potentials by task, and with each of the others."""
        with on_device(self._ordinal):
            potentials = self._potentials[len(rows)]
            try_candidates(self._X, self._weights, gathered(self._X, rows), self._closest, potentials)
            return potentials.copy_to_host()

    def pick(self, last: int, potential: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Rows at which the running sum of the potential, that knows of row `last`, reaches the targets."""
        with on_device(self._ordinal):
            center = gathered(self._X, np.array([last]))
            tasks = find_tasks(potential, targets)
            return pick_rows(self._X, self._weights, center, self._closest, *tasks).copy_to_host()
