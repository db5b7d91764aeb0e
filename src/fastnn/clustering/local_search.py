"""Local search after k-means++: swaps of centres for drawn rows that lower the potential.

References
----------
Lattanzi and Sohler, "A better k-means++ algorithm via local search", ICML 2019, algorithm 2.
"""

import numpy as np

from fastnn.clustering.passes import weights_or_empty
from fastnn.kernels.clustering import device
from fastnn.kernels.shared.threads import threads_for, workers


class LocalSearch:
    """Centres, with the two of them nearest to each row.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        C-contiguous.
    weights : ndarray of shape (n_samples,) or None
        Not negative and not all zero; None stands for ones.
    centers : ndarray of shape (n_clusters, n_features)
        Changed in place.
    random_state : RandomState
        Drawn from.
    """

    def __init__(
        self,
        X: np.ndarray,
        weights: np.ndarray | None,
        centers: np.ndarray,
        random_state: np.random.RandomState,
    ) -> None:
        self.X, self.weights = X, weights_or_empty(weights, X)
        self.centers, self.random_state = centers, random_state
        n = X.shape[0]
        self.closest, self.second = np.empty((2, n), X.dtype)
        self.nearest, self.next_nearest = np.empty((2, n), np.int32)
        self._flops = device.seeding_flops(n, *centers.shape)
        with threads_for(self._flops) as parallel:
            self._place(parallel, -1, np.empty(0, X.dtype))

    def run(self, n_steps: int) -> None:
        """Draw a row by weight times distance and swap it for the centre that is least missed, if that lowers
        the potential; `n_steps` times."""
        k = len(self.centers)
        if k == 1 or not n_steps:
            return
        costs, picked = np.empty((device.swap_tasks(len(self.X)), k + 1)), np.empty(1, np.int64)
        potential = self._potential()
        for _ in range(n_steps):
            targets = self.random_state.uniform(size=1) * potential.sum()
            device.pick_rows(self.X, self.weights, self.centers[0], self.closest, potential, targets, picked)
            candidate = self.X[picked]
            far = self._quarter_distances(candidate)
            with threads_for(self._flops) as parallel:
                device.swap_costs(
                    parallel, self.X, self.weights, candidate, far,
                    self.closest, self.nearest, self.second, costs,
                )  # fmt: skip
            total = costs.sum(axis=0)
            j = int(total[:k].argmin())
            if not total[k] + total[j] < potential.sum():
                continue
            self.centers[j] = candidate[0]
            with threads_for(self._flops) as parallel:
                self._place(parallel, j, far)
            potential = self._potential()

    def _place(self, parallel: bool, j: int, far: np.ndarray) -> None:
        device.place_center(
            parallel, self.X, self.centers, j, far,
            self.closest, self.nearest, self.second, self.next_nearest,
        )  # fmt: skip

    def _potential(self) -> np.ndarray:
        """Each task's part of the potential: what a centre that is there already leaves of it."""
        potentials = np.empty((device.seeding_tasks(len(self.X)), 1))
        with threads_for(self._flops) as parallel:
            device.try_candidates(
                parallel, workers(parallel), self.X, self.weights, self.centers[:1], self.closest, potentials
            )
        return potentials[:, 0]

    def _quarter_distances(self, candidate: np.ndarray) -> np.ndarray:
        with np.errstate(over="ignore", invalid="ignore"):
            squares = (candidate - self.centers) ** 2
        # A hair below the exact bound, so that rounding never discards a row that is nearer.
        return ((0.25 - 1e-5) * squares.sum(axis=1)).astype(self.X.dtype)
