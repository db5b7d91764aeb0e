"""Epochs of gradient k-means: steps on batches, many to a compiled call, and when they end."""

import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from scipy import sparse

from fastnn.clustering.passes import Rows, Workspace, some_rows, weights_or_empty
from fastnn.clustering.rules import Motion, Rule
from fastnn.clustering.seeding import dense_rows, farthest_rows
from fastnn.clustering.sphere import with_direction
from fastnn.kernels import device
from fastnn.kernels.shared.arrays import Csr, plain
from fastnn.kernels.shared.codes import DIVERGED, NO_IMPROVEMENT, RUNNING
from fastnn.kernels.shared.threads import CALL_SECONDS, threads_for, workers


def step(
    X: Rows,
    weights: np.ndarray | None,
    C: np.ndarray,
    rule: Rule,
    motion: Motion,
    *,
    safe: np.ndarray | None = None,
    progress: np.ndarray | None = None,
    work: Workspace | None = None,
) -> tuple[float, bool]:
    """One step on all rows of X; `C` and `motion` change in place.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, Csr or DeviceRows
    weights : ndarray of shape (n,) or None
        None stands for ones.
    C : ndarray of shape (k, d)
        Centres.
    rule : Rule
        How centres move.
    motion : Motion
        The centres' state.
    safe : ndarray of shape (k, d), default=None
        Centres to go back to, replaced by `C` where its loss is within bounds.
    progress : ndarray of shape (5,), default=None
        As in ``kernels.improved`` and ``kernels.advance``; None bounds the loss by infinity.
    work : Workspace, default=None
        Buffers to use again.

    Returns
    -------
    loss : float
        Mean squared distance before the step.
    finite : bool
        Whether the step was done; if not, `C` is what `safe` is then.
    """
    work = Workspace.of(X, C.shape[0]) if work is None else work
    safe = C.copy() if safe is None else safe
    progress = np.array([0, 0, 0, 0, np.inf]) if progress is None else progress
    inertia = work.sweep(X, weights_or_empty(weights, X), C, summing=True)
    total = float(work.counts.sum())
    loss = inertia / total
    finite = device.advance(
        *rule, C, safe,
        work.sums, work.counts, total, loss, *motion, progress,
    )  # fmt: skip
    return loss, finite


class Epochs:
    """Gradient epochs over one data set: the buffers, and what lasts from epoch to epoch."""

    def __init__(
        self,
        X: Rows,
        weights: np.ndarray | None,
        C: np.ndarray,
        rule: Rule,
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
        self.batch_size = X.shape[0] if batch_size is None else min(batch_size, len(rows))
        self.whole = batch_size is None
        k, d = C.shape
        self.safe = C.copy()
        self.motion = Motion.zeros(k, d)
        self.touched = np.zeros(k)
        self.progress = np.array([0, 0, 0, 0, spread])
        self.patience = -1 if patience is None else max(1, patience)
        self.matrix = None
        if isinstance(X, Csr):
            self.matrix = sparse.csr_array((X.data, X.indices, X.indptr), shape=X.shape)
        self.batches_per_chunk = 1
        self.status = RUNNING
        self._allocate()

    def _allocate(self) -> None:
        """Make the buffers of the steps."""
        (k, d), X = self.C.shape, self.X
        self.work = self.last_work = Workspace.of(X, k, self.batch_size)
        n_gathered = 0
        if isinstance(X, np.ndarray):
            n_gathered = 0 if self.whole else self.batch_size
        else:
            # A sweep over such rows is one over as many as there are labels.
            rest = len(self.rows) % self.batch_size
            if rest and not self.whole:
                self.last_work = Workspace.of(X, k, rest)
        self.X_batch = np.empty((n_gathered, d), X.dtype)
        self.weights_batch = np.empty(n_gathered, X.dtype)

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
        return losses, i + 1

    def run(self) -> tuple[np.ndarray, int]:
        """One epoch; the losses of the steps done, and the status."""
        self.touched[:] = 0
        if self.whole:
            return self._steps([(self.X, self.weights)])
        device.shuffle(self.rows, self.random_state.randint(0, 2**63, dtype=np.int64))
        return self._chunks() if isinstance(self.X, np.ndarray) else self._steps(self._batches())

    def _chunks(self) -> tuple[np.ndarray, int]:
        """An epoch over dense rows, many batches to a call."""
        n_batches = -(-len(self.rows) // self.batch_size)
        losses = np.empty(n_batches)
        done, status = 0, RUNNING
        k, d = self.C.shape
        with threads_for(device.sweep_work(self.batch_size, k, d)) as parallel:
            while done < n_batches and status == RUNNING:
                last = min(n_batches, done + self.batches_per_chunk)
                started = time.perf_counter()
                reached, status = device.run_center_batches(
                    parallel, workers(parallel), self.X, weights_or_empty(self.weights, self.X),
                    self.rows, done, last, self.batch_size, *self.rule,
                    self.C, self.safe, *self.motion, self.touched, self.progress, self.patience,
                    losses, self.X_batch, self.weights_batch, self.work.labels, self.work.distances,
                    self.work.sums, self.work.counts, self.work.partials,
                )  # fmt: skip
                self.set_chunk(last - done, time.perf_counter() - started)
                done = reached
        return losses[:done], status

    def set_chunk(self, n_batches: int, seconds: float) -> None:
        """Choose the length of the next chunk by what this one took."""
        # The first call may compile; a chunk several times as long follows only a chunk that was short.
        most = int(CALL_SECONDS / max(seconds, 1e-9) * n_batches)
        self.batches_per_chunk = max(1, min(most, 8 * self.batches_per_chunk))

    def _batches(self) -> Iterator[tuple[Rows, np.ndarray | None]]:
        """The batches of an epoch over rows that are not gathered in a compiled call, and their weights."""
        for start in range(0, len(self.rows), self.batch_size):
            rows = self.rows[start : start + self.batch_size]
            yield self._batch(rows), None if self.weights is None else self.weights[rows]

    def _batch(self, rows: np.ndarray) -> Rows:
        if self.matrix is None:
            return some_rows(self.X, rows)
        batch = self.matrix[rows]
        return Csr(
            plain(batch.data, self.X.dtype),
            plain(batch.indices, np.int32),
            plain(batch.indptr, np.int32),
            batch.shape,
        )

    def _steps(self, batches: Iterable[tuple[Rows, np.ndarray | None]]) -> tuple[np.ndarray, int]:
        """A call for each batch; as ``_chunks``."""
        losses: list[float] = []
        for X, weights in batches:
            n = X.shape[0]
            work = self.work if n == self.batch_size else self.last_work
            loss, finite = step(
                X,
                weights,
                self.C,
                self.rule,
                self.motion,
                safe=self.safe,
                progress=self.progress,
                work=work,
            )
            if finite or np.isfinite(loss):
                losses.append(loss)
            if not finite:
                return np.array(losses), DIVERGED
            self.touched += work.counts
            fraction = 1.0 if self.whole else n / len(self.rows)
            if not device.improved(loss, fraction, self.progress, self.patience):
                return np.array(losses), NO_IMPROVEMENT
        return np.array(losses), RUNNING

    def reseed(self) -> bool:
        """Move the centres that had no row in the epoch to rows far from all others; whether any was."""
        starved = np.flatnonzero(self.touched == 0)
        if not starved.size:
            return False
        weights = with_direction(self.X, self.weights) if self.rule.on_sphere else self.weights
        rows = farthest_rows(self.X, np.delete(self.C, starved, axis=0), weights, len(starved))
        moved = starved[: len(rows)]
        self.C[moved] = dense_rows(self.X, rows)
        self.motion.forget(moved)
        return bool(moved.size)
