"""Whole passes over rows on the host: what a device's ``Sweeps`` and ``Seeding`` are, on the processor."""

import numpy as np

from fastnn.kernels.cpu.clustering.candidates import pick_rows, seeding_tasks, try_candidates
from fastnn.kernels.cpu.clustering.sweep import new_partials, sweep, sweep_flops
from fastnn.kernels.cpu.clustering.sweep_csr import sweep_csr
from fastnn.kernels.shared.arrays import Csr
from fastnn.kernels.shared.threads import threads_for, workers


class HostSweeps:
    """Buffers for sweeps over up to `n` rows of one problem, and what the last one has found.

    Parameters
    ----------
    n, k, d : int
        Rows, centres, features.
    dtype : numpy dtype
        Of the rows.
    """

    def __init__(self, n: int, k: int, d: int, dtype: np.dtype) -> None:
        self.labels = np.empty(n, np.int32)
        self.distances = np.empty(n, dtype)
        self.sums, self.counts = np.empty((k, d)), np.empty(k)
        self.partials = new_partials(n, k, d)

    def sweep(self, X: np.ndarray | Csr, weights: np.ndarray, C: np.ndarray, *, summing: bool) -> float:
        """Assign all rows of X, and add them up if `summing`; the inertia."""
        (n, d), k = X.shape, C.shape[0]
        if isinstance(X, Csr):
            with threads_for(sweep_flops(1, k, X.data.size) + n) as parallel:
                return sweep_csr(
                    parallel, workers(parallel), X, weights, np.ascontiguousarray(C.T),
                    (C.astype(np.float64) ** 2).sum(axis=1), self.labels, self.distances,
                    self.sums, self.counts, self.partials, summing,
                )  # fmt: skip
        with threads_for(sweep_flops(n, k, d)) as parallel:
            return sweep(
                parallel, workers(parallel), X, weights, C, self.labels, self.distances,
                self.sums, self.counts, self.partials, True, summing,
            )  # fmt: skip

    def add_up(self, X: np.ndarray, weights: np.ndarray) -> None:
        """Add all rows up by the labels that they have."""
        with threads_for(sweep_flops(X.shape[0], len(self.counts), X.shape[1])) as parallel:
            sweep(
                parallel, workers(parallel), X, weights, X[:0], self.labels, self.distances,
                self.sums, self.counts, self.partials, False, True,
            )  # fmt: skip

    def sum_all(self, X: np.ndarray | Csr) -> None:
        """Add all rows up, as those of the one cluster of these buffers; dense ones."""
        assert isinstance(X, np.ndarray)
        self.labels[:] = 0
        self.add_up(X, np.empty(0, X.dtype))


class HostSeeding:
    """The passes of k-means++ over rows on the host, each of which keeps the distance to its nearest centre.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous
    weights : ndarray of shape (n,) or None
        None stands for ones.
    n_clusters : int
    n_trials : int
        Candidates for each centre.
    """

    def __init__(self, X: np.ndarray, weights: np.ndarray | None, n_clusters: int, n_trials: int) -> None:
        n, d = X.shape
        self._X, self._weights = X, np.empty(0, X.dtype) if weights is None else weights
        self._closest = np.full(n, np.inf, X.dtype)
        self._potentials = {count: np.empty((seeding_tasks(n), count)) for count in (1, 1 + n_trials)}
        self._drawn = np.empty(n_trials, np.int64)
        self._flops = seeding_flops(n, n_clusters, d)

    def try_rows(self, rows: np.ndarray) -> np.ndarray:
        """Take the first of these rows as a centre; the potentials by task, and with each of the others."""
        potentials = self._potentials[len(rows)]
        with threads_for(self._flops) as parallel:
            try_candidates(
                parallel, workers(parallel), self._X, self._weights, self._X[rows], self._closest, potentials
            )
        return potentials

    def pick(self, last: int, potential: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Rows at which the running sum of the potential, that knows of row `last`, reaches the targets."""
        pick_rows(self._X, self._weights, self._X[last], self._closest, potential, targets, self._drawn)
        return self._drawn


def seeding_flops(n: int, k: int, d: int) -> float:
    """What ``threads_for`` is told about a pass of k-means++ or of its local search: the same about all of
    them, or both forms of their kernels were compiled."""
    return sweep_flops(n, 3 + int(np.log(k)), d)
