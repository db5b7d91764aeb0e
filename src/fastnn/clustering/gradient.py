"""The engine of gradient k-means: compiled mini-batch epochs, exact Lloyd iterations, and when to stop.

One step on a batch, whose rows are assigned to their nearest centres with the assignment held constant::

    n_j, s_j    weight and weighted sum of centre j's rows          (kernels.sweep)
    gradient    2 (n_j c_j - s_j), or that over the batch's weight, or c_j - s_j / n_j
    c_j         moved by the update rule; a centre without rows stays

``train`` runs epochs of such steps (or, for a whole Newton step on all rows, which is Lloyd's iteration,
Lloyd's iterations), then polishes.

References
----------
Bottou and Bengio, "Convergence properties of the k-means algorithms", NIPS 1994: the gradient, its online
version and Newton's step, which is Lloyd's.
Sculley, "Web-scale k-means clustering", WWW 2010: the mini-batch rule with a count per centre.
"""

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from fastnn.clustering.lloyd import lloyd
from fastnn.clustering.passes import (
    Rows,
    Workspace,
    labels_inertia,
    some_rows,
    total_weight,
    weights_or_empty,
)
from fastnn.clustering.rules import Motion, Rule
from fastnn.clustering.seeding import dense_rows, farthest_rows
from fastnn.clustering.sphere import with_direction
from fastnn.kernels import device
from fastnn.kernels._arrays import Csr, plain
from fastnn.kernels._codes import DIVERGED, NEWTON, NO_IMPROVEMENT, RUNNING
from fastnn.kernels._on_device import DeviceRows
from fastnn.kernels._threads import CALL_SECONDS, threads_for, workers

# Lloyd's iterations of the polish end by `tol`; this bounds them where rounding keeps them from ending.
_MAX_POLISH = 300


class Result(NamedTuple):
    """What a run of ``train`` gives."""

    centers: np.ndarray
    labels: np.ndarray
    inertia: float
    n_iter: int
    losses: list[float]
    motion: Motion
    diverged: bool


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


class _Epochs:
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
        # Steps on a GPU that holds all rows keep there what lasts from step to step.
        self.there: Any = None
        if isinstance(X, DeviceRows):
            self.there = X.center_steps(weights, k, len(rows), None if self.whole else self.batch_size)
        if self.there is None:
            self.work = self.last_work = Workspace.of(X, k, self.batch_size)
        else:
            self.there.load(C, self.safe, *self.motion)
        self.matrix = None
        if isinstance(X, Csr):
            self.matrix = sparse.csr_array((X.data, X.indices, X.indptr), shape=X.shape)
        n_gathered = 0
        if isinstance(X, np.ndarray):
            n_gathered = 0 if self.whole else self.batch_size
        elif self.there is None:
            # A sweep over such rows is one over as many as there are labels.
            rest = len(rows) % self.batch_size
            if rest and not self.whole:
                self.last_work = Workspace.of(X, k, rest)
        self.X_batch = np.empty((n_gathered, d), X.dtype)
        self.weights_batch = np.empty(n_gathered, X.dtype)
        self.batches_per_chunk = 1
        self.status = RUNNING

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
        if self.there is not None:
            self.there.save_state(self.safe, *self.motion)
        return losses, i + 1

    def run(self) -> tuple[np.ndarray, int]:
        """One epoch; the losses of the steps done, and the status."""
        self.touched[:] = 0
        if self.there is not None:
            return self._chunks_there()
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
                self._set_chunk(last - done, time.perf_counter() - started)
                done = reached
        return losses[:done], status

    def _chunks_there(self) -> tuple[np.ndarray, int]:
        """An epoch over rows on a GPU, many batches between two looks at what has come of them."""
        n_batches = 1
        if not self.whole:
            device.shuffle(self.rows, self.random_state.randint(0, 2**63, dtype=np.int64))
            n_batches = -(-len(self.rows) // self.batch_size)
        losses = np.empty(n_batches)
        done, status = 0, RUNNING
        self.there.begin(self.rows, self.rule.hyper, self.progress)
        while done < n_batches and status == RUNNING:
            last = min(n_batches, done + self.batches_per_chunk)
            started = time.perf_counter()
            reached, status = self.there.run(done, last, self.rule, self.patience, losses)
            self._set_chunk(last - done, time.perf_counter() - started)
            done = reached
        self.there.save(self.C, self.touched)
        return losses[:done], status

    def _set_chunk(self, n_batches: int, seconds: float) -> None:
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
        if self.there is not None:
            self.there.save_state(self.safe, *self.motion)
        self.motion.forget(moved)
        if self.there is not None:
            self.there.load(self.C, self.safe, *self.motion)
        return bool(moved.size)


def train(
    X: Rows,
    weights: np.ndarray | None,
    C: np.ndarray,
    rule: Rule,
    *,
    batch_size: int | None,
    max_iter: int,
    tol: float,
    variance: float,
    patience: int | None,
    polish: bool,
    random_state: np.random.RandomState,
    verbose: bool = False,
) -> Result:
    """Fit centres to X.

    Epochs end when the centres' squared movement over one is at most `tol`, when the smoothed loss has not
    improved for `patience` batches, or after `max_iter` of them.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, Csr or DeviceRows
    weights : ndarray of shape (n,) or None
        None stands for ones.
    C : ndarray of shape (k, d)
        Initial centres; not changed.
    rule : Rule
        How centres move.
    batch_size : int or None
        None for all rows.
    max_iter : int
        Epochs at most.
    tol : float
        In units of `variance`.
    variance : float
        Of ``mean_variance``.
    patience : int or None
        None never stops for lack of improvement.
    polish : bool
        Finish with Lloyd's iterations.
    random_state : RandomState
        For the permutations.
    verbose : bool, default=False
        Print a line per epoch.

    Returns
    -------
    Result
        After divergence, that of the last centres whose loss was within bounds.
    """
    n = X.shape[0]
    tol *= variance

    def report(what: str, unit: float = 1.0) -> Callable[..., bool] | None:
        def show(i: int, loss: float, centers: np.ndarray | None = None) -> bool:
            print(f"{what} {i}, mean squared distance {loss / unit:g}")
            return False

        return show if verbose else None

    total = total_weight(n, weights)
    if batch_size is not None and batch_size >= n:
        batch_size = None
    converged = False
    if batch_size is None and rule.code == NEWTON and rule.rate == 1.0:
        # Newton's step on all rows is Lloyd's iteration; an empty cluster need not wait for an epoch's end.
        safe = C
        fit = lloyd(
            X,
            weights,
            C,
            max_iter=max_iter,
            tol=tol,
            report=report("Epoch", total),
            accelerate=False,
            on_sphere=rule.on_sphere,
        )
        C, labels, inertia, losses, converged = (
            fit.centers,
            fit.labels,
            fit.inertia,
            fit.losses,
            fit.converged,
        )
        n_iter = fit.n_iter
        motion = Motion.zeros(*C.shape)
        diverged = False
    else:
        epochs = _Epochs(
            X, weights, C.copy(), rule, batch_size, patience, variance * X.shape[1], random_state
        )
        losses, n_iter = epochs.until(max_iter, tol, report("Epoch"))
        C, safe, motion, diverged = epochs.C, epochs.safe, epochs.motion, epochs.status == DIVERGED
        del epochs  # its buffers, before those of Lloyd's iterations
        if diverged:
            motion = Motion.zeros(*C.shape)
        if not polish or diverged:
            labels, inertia = labels_inertia(X, weights, C)
    if polish and not converged and not diverged:
        fit = lloyd(
            X,
            weights,
            C,
            max_iter=_MAX_POLISH,
            tol=tol,
            report=report("Polish", total),
            accelerate=not verbose,
            on_sphere=rule.on_sphere,
        )
        C, labels, inertia = fit.centers, fit.labels, fit.inertia
    if not np.isfinite(inertia) and not diverged:
        diverged = True
        C = safe
        labels, inertia = labels_inertia(X, weights, C)
    return Result(C, labels, inertia, n_iter, losses, motion, diverged)
