"""Epochs of gradient k-means: steps on batches, many to a compiled call, and when they end."""

from collections.abc import Callable

import numpy as np
from scipy import sparse

from fastnn.clustering.passes import Rows, some_rows, weights_or_empty
from fastnn.clustering.seeding import dense_rows, farthest_rows
from fastnn.clustering.sphere import with_direction
from fastnn.kernels.clustering import clustering_backend, device
from fastnn.kernels.contract.clustering import ClusteringBackend, Sweeps
from fastnn.kernels.shared.arrays import Csr, plain
from fastnn.kernels.shared.center_arguments import CenterRule, Motion
from fastnn.kernels.shared.codes import (
    DIVERGED,
    LARGEST_LOSS,
    LOSS_PROGRESS_SIZE,
    NO_IMPROVEMENT,
    RUNNING,
)
from fastnn.kernels.shared.pacing import Chunks


def step(
    X: Rows,
    weights: np.ndarray | None,
    C: np.ndarray,
    rule: CenterRule,
    motion: Motion,
    *,
    safe: np.ndarray | None = None,
    progress: np.ndarray | None = None,
    sweeps: Sweeps[Rows] | None = None,
) -> tuple[float, bool]:
    """One step on all rows of X; `C` and `motion` change in place.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, Csr or DeviceRows
    weights : ndarray of shape (n,) or None
        None stands for ones.
    C : ndarray of shape (k, d)
        Centres.
    rule : CenterRule
        How centres move.
    motion : Motion
        The centres' state.
    safe : ndarray of shape (k, d), default=None
        Centres to go back to, replaced by `C` where its loss is within bounds.
    progress : ndarray of shape (LOSS_PROGRESS_SIZE,), default=None
        As in ``kernels.cpu.clustering.improved`` and ``advance``; None bounds the loss by infinity.
    sweeps : Sweeps, default=None
        Buffers to use again.

    Returns
    -------
    loss : float
        Mean squared distance before the step.
    finite : bool
        Whether the step was done; if not, `C` is what `safe` is then.
    """
    sweeps = clustering_backend(X).sweeps(X, C.shape[0]) if sweeps is None else sweeps
    safe = C.copy() if safe is None else safe
    progress = _progress(np.inf) if progress is None else progress
    inertia = sweeps.sweep(X, weights_or_empty(weights, X), C, summing=True)
    total = float(sweeps.counts.sum())
    loss = inertia / total
    finite = device.advance(rule, C, safe, sweeps.sums, sweeps.counts, total, loss, motion, progress)
    return loss, finite


def _progress(spread: float) -> np.ndarray:
    """The progress of steps that have not begun, on data of this spread."""
    progress = np.zeros(LOSS_PROGRESS_SIZE)
    progress[LARGEST_LOSS] = spread
    return progress


class GradientStepsOneByOne:
    """``GradientSteps`` of a sweep each, for rows of which no device takes many batches at once.

    That is, CSR rows, rows that do not all lie on the GPU, and steps on all rows of the host. The centres are
    on the host.

    Parameters
    ----------
    backend : ClusteringBackend
        Where the rows lie.
    X : ndarray of shape (n, d), C-contiguous, Csr or DeviceRows
    weights : ndarray of shape (n,) or None
        None stands for ones.
    k : int
        Centres.
    n_rows : int
        Rows of an epoch.
    batch_size : int or None
        None for all rows of X, in place.
    """

    def __init__(
        self,
        backend: ClusteringBackend[Rows],
        X: Rows,
        weights: np.ndarray | None,
        k: int,
        n_rows: int,
        batch_size: int | None,
    ) -> None:
        self._backend, self._X, self._weights, self._batch_size = backend, X, weights, batch_size
        size = X.shape[0] if batch_size is None else batch_size
        self._sweeps = self._last_sweeps = backend.sweeps(X, k, size)
        # A sweep over such rows is one over as many as there are labels.
        if rest := n_rows % size if batch_size is not None else 0:
            self._last_sweeps = backend.sweeps(X, k, rest)
        self._matrix = None
        if isinstance(X, Csr):
            self._matrix = sparse.csr_array((X.data, X.indices, X.indptr), shape=X.shape)
        self._touched = np.zeros(k)

    def load(
        self, C: np.ndarray, safe: np.ndarray, seen: np.ndarray, clock: np.ndarray, slots: np.ndarray
    ) -> None:
        """As ``GradientSteps.load``; the arrays change in place."""
        self._C, self._safe, self._motion = C, safe, Motion(seen, clock, slots)

    def save(self, C: np.ndarray, touched: np.ndarray) -> None:
        """As ``GradientSteps.save``."""
        touched[:] = self._touched
        if C is not self._C:
            C[:] = self._C

    def save_state(self, safe: np.ndarray, seen: np.ndarray, clock: np.ndarray, slots: np.ndarray) -> None:
        """As ``GradientSteps.save_state``."""
        for target, source in zip((safe, seen, clock, slots), (self._safe, *self._motion), strict=True):
            if target is not source:
                target[:] = source

    def begin(self, rows: np.ndarray, hyper: np.ndarray, progress: np.ndarray) -> None:
        """As ``GradientSteps.begin``."""
        self._rows, self._progress = rows, progress
        self._touched[:] = 0

    def run(
        self, first: int, last: int, rule: CenterRule, patience: int, losses: np.ndarray
    ) -> tuple[int, int]:
        """As ``GradientSteps.run``."""
        for b in range(first, last):
            X, weights, sweeps, fraction = self._batch(b)
            loss, finite = step(
                X, weights, self._C, rule, self._motion, safe=self._safe, progress=self._progress,
                sweeps=sweeps,
            )  # fmt: skip
            losses[b] = loss
            if not finite:
                # A loss that is not finite is none.
                return b + int(np.isfinite(loss)), DIVERGED
            self._touched += sweeps.counts
            if not device.improved(loss, fraction, self._progress, patience):
                return b + 1, NO_IMPROVEMENT
        return last, RUNNING

    def _batch(self, b: int) -> tuple[Rows, np.ndarray | None, Sweeps[Rows], float]:
        """Rows and weights of a batch, the sweeps for so many rows, and which part they are of an epoch's."""
        if self._batch_size is None:
            return self._X, self._weights, self._sweeps, 1.0
        rows = self._rows[b * self._batch_size : (b + 1) * self._batch_size]
        weights = None if self._weights is None else self._weights[rows]
        sweeps = self._sweeps if len(rows) == self._batch_size else self._last_sweeps
        return self._some(rows), weights, sweeps, len(rows) / len(self._rows)

    def _some(self, rows: np.ndarray) -> Rows:
        if self._matrix is None:
            return some_rows(self._backend, self._X, rows)
        batch = self._matrix[rows]
        return Csr(
            plain(batch.data, self._X.dtype),
            plain(batch.indices, np.int32),
            plain(batch.indptr, np.int32),
            batch.shape,
        )


class Epochs:
    """Gradient epochs over one data set: what lasts from epoch to epoch.

    What lasts from step to step is where the steps are done: the centres are saved after each epoch, the rest
    when it is needed.
    """

    def __init__(
        self,
        X: Rows,
        weights: np.ndarray | None,
        C: np.ndarray,
        rule: CenterRule,
        batch_size: int | None,
        patience: int | None,
        spread: float,
        random_state: np.random.RandomState,
    ) -> None:
        self.X, self.weights, self.C, self.rule = X, weights, C, rule
        self.random_state = random_state
        # Rows without weight are no part of any batch, so every batch has a weight.
        rows = np.arange(X.shape[0]) if weights is None else np.flatnonzero(weights)
        self.rows = rows.astype(np.int64, copy=False)
        # None: all rows, in place and in order, for neither changes the sums but by rounding.
        self.batch_size = None if batch_size is None else min(batch_size, len(rows))
        k, d = C.shape
        self.safe = C.copy()
        self.motion = Motion.zeros(k, d)
        self.touched = np.zeros(k)
        self.progress = _progress(spread)
        self.patience = -1 if patience is None else max(1, patience)
        self.chunks = Chunks()
        self.status = RUNNING
        where = X, weights, k, len(rows), self.batch_size
        backend = clustering_backend(X)
        steps = backend.gradient_steps(*where)
        self.steps = GradientStepsOneByOne(backend, *where) if steps is None else steps
        self.steps.load(self.C, self.safe, *self.motion)

    def until(self, max_iter: int, tol: float, report: Callable[..., bool] | None) -> tuple[list[float], int]:
        """Epochs until one of the rules in ``train`` holds; the losses of all steps, and their number."""
        losses: list[float] = []
        for i in range(max_iter):
            start = self.C.copy()
            epoch_losses, self.status = self.run()
            losses += epoch_losses.tolist()
            if report is not None and epoch_losses.size:
                report(i + 1, float(epoch_losses.mean()))
            if self.status != RUNNING:
                break
            if not self.reseed() and ((self.C - start).astype(np.float64) ** 2).sum() <= tol:
                break
        self.steps.save_state(self.safe, *self.motion)
        return losses, i + 1

    def run(self) -> tuple[np.ndarray, int]:
        """One epoch; the losses of the steps done, and the status."""
        n_batches = 1
        if self.batch_size is not None:
            device.shuffle(self.rows, self.random_state.randint(0, 2**63, dtype=np.int64))
            n_batches = -(-len(self.rows) // self.batch_size)
        losses = np.empty(n_batches)
        done, status = 0, RUNNING
        self.steps.begin(self.rows, self.rule.hyper, self.progress)
        while done < n_batches and status == RUNNING:
            last = done + self.chunks.begin(n_batches - done)
            self.chunks.start()
            reached, status = self.steps.run(done, last, self.rule, self.patience, losses)
            self.chunks.end(last - done)
            done = reached
        self.steps.save(self.C, self.touched)
        return losses[:done], status

    def reseed(self) -> bool:
        """Move the centres that had no row in the epoch to rows far from all others; whether any was."""
        if self.touched.all():
            return False
        starved = np.flatnonzero(self.touched == 0)
        self.steps.save_state(self.safe, *self.motion)
        weights = with_direction(self.X, self.weights) if self.rule.on_sphere else self.weights
        rows = farthest_rows(self.X, np.delete(self.C, starved, axis=0), weights, len(starved))
        moved = starved[: len(rows)]
        self.C[moved] = dense_rows(self.X, rows)
        self.motion.forget(moved)
        self.steps.load(self.C, self.safe, *self.motion)
        return bool(moved.size)
