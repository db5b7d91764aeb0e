"""Steps of k-means on batches of rows on the host, many to a compiled call."""

import numpy as np

from fastnn.kernels.cpu.clustering.center_steps import run_center_batches
from fastnn.kernels.cpu.clustering.mini_batch import run_mini_batches
from fastnn.kernels.cpu.clustering.structures import RowsToCopy, SweptRows
from fastnn.kernels.cpu.clustering.sweep import new_partials, sweep_flops
from fastnn.kernels.shared.center_arguments import CenterRule, Centers, MiniBatchRule, Motion
from fastnn.kernels.shared.pacing import ThreadedChunks
from fastnn.kernels.shared.threads import threads_for, workers


def _batch(n: int, k: int, d: int, dtype: np.dtype, n_weights: int) -> SweptRows:
    """Places for a batch of n rows and what a step finds in it."""
    return SweptRows(
        np.empty((n, d), dtype),
        np.empty(n_weights, dtype),
        np.empty(n, np.int32),
        np.empty(n, dtype),
        np.empty((k, d)),
        np.empty(k),
        new_partials(n, k, d),
    )


class HostMiniBatchSteps:
    """Steps of mini-batch k-means over dense rows.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous
    k : int
        Centres.
    batch_size : int
    """

    def __init__(self, X: np.ndarray, k: int, batch_size: int) -> None:
        self._X, d = X, X.shape[1]
        self._batch = _batch(batch_size, k, d, X.dtype, 0)
        self._before = np.empty((k, d), X.dtype)
        self._flops = sweep_flops(batch_size, k, d)
        # The threads wait for each other three times in a step of perhaps 100 us: for milliseconds where
        # another process has taken a core.
        self._chunks = ThreadedChunks()

    def load(self, C: np.ndarray) -> None:
        """Take these centres, which change in place."""
        self._C = C

    def save(self, C: np.ndarray, before: np.ndarray) -> None:
        """Copy the centres, and those before the last batch if there is room, to where they are wanted."""
        if C is not self._C:
            C[:] = self._C
        if before.size:
            before[:] = self._before

    def run(
        self, rows: np.ndarray, n_batches: int, rule: MiniBatchRule, seen: np.ndarray, progress: np.ndarray
    ) -> tuple[int, int]:
        """Steps on these batches; fewer where the other number of threads is tried.

        Arguments and results are those of ``MiniBatchSteps.run``.
        """
        n_batches = self._chunks.begin(n_batches)
        before = self._before[: len(self._C) if rule.tol > 0 else 0]
        with threads_for(self._flops if self._chunks.allow_threads() else 0.0) as parallel:
            self._chunks.start()
            reached, status = run_mini_batches(
                parallel, workers(parallel), self._X, rows, n_batches, rule, self._C, before, seen, progress,
                self._batch,
            )  # fmt: skip
        self._chunks.end(reached, parallel)
        return reached, status


class HostGradientSteps:
    """Gradient steps over dense rows, in batches.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous
    weights : ndarray of shape (n,), of X's dtype, or None
        None stands for ones.
    k : int
        Centres.
    batch_size : int
    """

    def __init__(self, X: np.ndarray, weights: np.ndarray | None, k: int, batch_size: int) -> None:
        self._X, self._weights = X, np.empty(0, X.dtype) if weights is None else weights
        d = X.shape[1]
        self._batch = _batch(batch_size, k, d, X.dtype, batch_size)
        self._touched = np.zeros(k)
        self._flops = sweep_flops(batch_size, k, d)

    def load(
        self, C: np.ndarray, safe: np.ndarray, seen: np.ndarray, clock: np.ndarray, slots: np.ndarray
    ) -> None:
        """Take these centres, those to go back to, and what centres carry; all change in place."""
        self._centers, self._motion = Centers(C, safe, self._touched), Motion(seen, clock, slots)

    def save(self, C: np.ndarray, touched: np.ndarray) -> None:
        """Copy the centres, and the weight that each had in the epoch, to where they are wanted."""
        touched[:] = self._touched
        if C is not self._centers.C:
            C[:] = self._centers.C

    def save_state(self, safe: np.ndarray, seen: np.ndarray, clock: np.ndarray, slots: np.ndarray) -> None:
        """Copy the safe centres, and what centres carry, to where they are wanted."""
        for target, source in zip(
            (safe, seen, clock, slots), (self._centers.safe, *self._motion), strict=True
        ):
            if target is not source:
                target[:] = source

    def begin(self, rows: np.ndarray, hyper: np.ndarray, progress: np.ndarray) -> None:
        """An epoch begins, with the rows in this order, int64; `progress` is changed in place by ``run``."""
        self._source, self._progress = RowsToCopy(self._X, self._weights, rows), progress
        self._touched[:] = 0

    def run(
        self, first: int, last: int, rule: CenterRule, patience: int, losses: np.ndarray
    ) -> tuple[int, int]:
        """Steps on the batches first..last of the epoch; as ``GradientSteps.run``."""
        with threads_for(self._flops) as parallel:
            return run_center_batches(
                parallel, workers(parallel), self._source, first, last, rule, self._centers, self._motion,
                self._progress, patience, losses, self._batch,
            )  # fmt: skip
