"""The engine of mini-batch k-means: scikit-learn's steps, hundreds of them in one compiled call.

A chunk of batches is drawn, and one call goes through its steps. Two things end the call early: the steps are
to stop, or centres with little weight are to be reassigned, which draws random numbers between those of two
batches. Then the numbers of the batches that were not reached are given back, and Python goes on.

References
----------
Sculley, "Web-scale k-means clustering", WWW 2010.
"""

import time
from typing import Any, NamedTuple

import numpy as np
from scipy import sparse

from fastnn.clustering.draws import Draws
from fastnn.clustering.passes import Workspace, as_rows, some_rows, total_weight, weights_or_empty
from fastnn.clustering.sphere import have_direction
from fastnn.kernels import device
from fastnn.kernels.shared.codes import (
    INERTIA,
    LEAST,
    NO_IMPROVEMENT,
    PROGRESS_SIZE,
    RUNNING,
    SETTLED,
    SINCE_REASSIGNED,
    SMOOTHED,
    STARVED,
    STEP,
)
from fastnn.kernels.shared.device_rows import DeviceRows
from fastnn.kernels.shared.threads import CALL_SECONDS, Pace, threads_for, workers

# Rows drawn at once, unless a batch has more: 1 MiB of random numbers stays in the cache, and what a call
# costs is shared by a hundred small batches.
_DRAWN = 1 << 17
# Rows for each cluster after which starved centres are looked for.
_REASSIGN_ROWS = 10


class Fit(NamedTuple):
    """What mini-batches give."""

    centers: np.ndarray  # (k, d)
    seen: np.ndarray  # (k,) float64, the weight that each centre has had
    since: int  # rows since centres were last looked at for reassigning
    n_steps: int
    n_iter: int  # times the rows of the data that the steps had rows, rounded up
    inertia: float  # of the data, as the batches let one expect it


class Rule(NamedTuple):
    """When to reassign centres and when to stop, in the numbers that compiled code takes."""

    due_after: float
    ratio: float
    alpha: float
    tol: float
    patience: int
    on_sphere: bool = False


def reassign(
    X: Any,
    rows: np.ndarray,
    C: np.ndarray,
    seen: np.ndarray,
    ratio: float,
    random_state: np.random.RandomState,
    verbose: bool,
    on_sphere: bool = False,
) -> None:
    """Put the starved centres on rows of the batch, as scikit-learn's MiniBatchKMeans does.

    Parameters
    ----------
    X : ndarray of shape (n, d), CSR matrix or DeviceRows
    rows : ndarray of int
        The batch.
    C : ndarray of shape (k, d)
        Centres, changed in place.
    seen : ndarray of shape (k,)
        Their weights, changed in place: to the least weight of the centres that stay.
    ratio : float
        Of the largest weight, below which a centre is starved.
    random_state : RandomState
        Drawn from.
    verbose : bool
        Print their number.
    on_sphere : bool, default=False
        Leave out the rows of zeros, which have no direction.
    """
    if on_sphere:
        rows = rows[have_direction(X[rows])]
    starved = seen < ratio * seen.max()
    # Half of the batch at most.
    if starved.sum() > 0.5 * rows.size:
        starved[np.argsort(seen)[int(0.5 * rows.size) :]] = False
    count = int(starved.sum())
    if not rows.size:
        return
    if count:
        chosen = rows[random_state.choice(rows.size, replace=False, size=count)]
        if verbose:
            print(f"[MiniBatchKMeans] Reassigning {count} cluster centers.")
        C[starved] = X[chosen].toarray() if sparse.issparse(X) else X[chosen]
    if not starved.all():
        seen[starved] = seen[~starved].min()


def partial_step(
    X: Any,
    weights: np.ndarray | None,
    C: np.ndarray,
    seen: np.ndarray,
    since: int,
    *,
    batch_size: int,
    ratio: float,
    random_state: np.random.RandomState,
    on_sphere: bool = False,
    verbose: bool = False,
) -> int:
    """One step on all rows of X; `C` and `seen` change in place.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, CSR matrix or DeviceRows
    weights : ndarray of shape (n,) or None
        None stands for ones.
    C, seen : ndarrays of shape (k, d) and (k,)
        Centres, and the weight of each.
    since : int
        Rows since centres were last looked at for reassigning.
    batch_size : int
        What X counts for in that.
    ratio, random_state, verbose
        As in ``reassign``.
    on_sphere : bool, default=False
        Keep the centres at unit length.

    Returns
    -------
    since : int
        After the step.
    """
    rows = as_rows(X)
    n, (k, d) = X.shape[0], C.shape
    work = Workspace.of(rows, k)
    work.sweep(rows, weights_or_empty(weights, rows), C, summing=True)
    progress = _progress(since)
    if device.absorb_batch(
        C, np.empty((0, d), C.dtype), work.sums, work.counts, seen,
        float(batch_size), float(_REASSIGN_ROWS * k), float(ratio), on_sphere, progress,
    ):  # fmt: skip
        reassign(X, np.arange(n), C, seen, ratio, random_state, verbose, on_sphere)
    return int(progress[SINCE_REASSIGNED])


def mini_batches(
    X: Any,
    weights: np.ndarray | None,
    C: np.ndarray,
    *,
    batch_size: int,
    max_iter: int,
    tol: float,
    patience: int | None,
    ratio: float,
    random_state: np.random.RandomState,
    on_sphere: bool = False,
    verbose: bool = False,
) -> Fit:
    """Move centres by batches that are drawn with replacement, by weight.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, CSR matrix or DeviceRows
    weights : ndarray of shape (n,) or None
        None stands for ones.
    C : ndarray of shape (k, d)
        Initial centres; not changed.
    batch_size : int
        At most n.
    max_iter : int
        How many times n rows there may be in all batches.
    tol : float
        Squared movement of all centres in a step at which to stop; 0 for none.
    patience : int or None
        Steps without a better smoothed inertia after which to stop; None for no such stop.
    ratio : float
        Of the largest weight of a centre, below which one is reassigned.
    random_state : RandomState
        Drawn from.
    on_sphere : bool, default=False
        Spherical k-means: rows and initial centres have unit length, and the centres keep it.
    verbose : bool, default=False
        Print lines as scikit-learn does.

    Returns
    -------
    Fit
    """
    n = X.shape[0]
    rule = Rule(
        float(_REASSIGN_ROWS * len(C)),
        float(ratio),
        min(batch_size * 2.0 / (n + 1), 1.0),
        float(tol),
        -1 if patience is None else patience,
        on_sphere,
    )
    options = X, C.copy(), batch_size, rule, Draws(n, weights, C.dtype, random_state)
    there = X.mini_batches(len(C), batch_size) if isinstance(X, DeviceRows) else None
    steps = _Steps(*options) if there is None else _DeviceSteps(there, *options)
    done = steps.until(max_iter * n // batch_size, verbose)
    progress = steps.progress
    return Fit(
        steps.C,
        steps.seen,
        int(progress[SINCE_REASSIGNED]),
        done,
        -(-done * batch_size // n),
        # A single step is not part of the smoothed course.
        float(progress[SMOOTHED if done > 1 else INERTIA]) * total_weight(n, weights),
    )


class _Steps:
    """A run of steps: the buffers, and what lasts from step to step."""

    def __init__(self, X: Any, C: np.ndarray, batch_size: int, rule: Rule, draws: Draws) -> None:
        self.X, self.C, self.batch_size, self.rule, self.draws = X, C, batch_size, rule, draws
        k, d = C.shape
        self.seen, self.progress = np.zeros(k), _progress()
        self.before = np.empty((k if rule.tol > 0 else 0, d), C.dtype)
        # The threads wait for each other three times in a step of perhaps 100 us: for milliseconds where
        # another process has taken a core.
        self.pace, self.called = Pace(), {True: False, False: False}
        self._allocate()

    def _allocate(self) -> None:
        """Make the buffers of the steps."""
        (k, d), n = self.C.shape, self.batch_size
        self.work = Workspace.of(self.X, k, n)
        self.X_batch = np.empty((n if isinstance(self.X, np.ndarray) else 0, d), self.C.dtype)

    def until(self, n_steps: int, verbose: bool) -> int:
        """Steps until a rule ends them, `n_steps` at most; their number."""
        most = 1 if verbose else max(1, _DRAWN // self.batch_size)
        done, status, at_once = 0, RUNNING, 1
        while done < n_steps and status == RUNNING:
            size = min(self.pace.steps(at_once), most, n_steps - done)
            rows = self.draws.rows(size * self.batch_size)
            started = time.perf_counter()
            reached, status = self._run(rows, size)
            # The first call may compile; a longer chunk follows only a chunk that was short.
            seconds = max(time.perf_counter() - started, 1e-9)
            at_once = max(1, min(int(CALL_SECONDS / seconds * reached), 2 * size))
            if reached < size:
                self.draws.give_back(reached * self.batch_size)
            if status == STARVED:
                # What was drawn beyond the step was drawn for nothing: where this happens often, less is.
                at_once = reached
                batch = rows[(reached - 1) * self.batch_size : reached * self.batch_size]
                status = self._reassign(batch, verbose)
            done += reached
            if verbose:
                self._say(f"{done}/{n_steps}", status)
        return done

    def _run(self, rows: np.ndarray, n_batches: int) -> tuple[int, int]:
        """Steps on these batches; the number done and the status."""
        if not isinstance(self.X, np.ndarray):
            return self._run_one_by_one(rows, n_batches)
        work = self.work
        step_work = device.sweep_work(self.batch_size, *self.C.shape) if self.pace.allows() else 0.0
        with threads_for(step_work) as parallel:
            started = time.perf_counter()
            reached, status = device.run_mini_batches(
                parallel, workers(parallel), self.X, rows, n_batches, *self.rule,
                self.C, self.before, self.seen, self.progress,
                self.X_batch, work.labels, work.distances, work.sums, work.counts, work.partials,
            )  # fmt: skip
        if self.called[parallel]:  # the first call may have compiled
            self.pace.report(parallel, (time.perf_counter() - started) / reached)
        self.called[parallel] = True
        return reached, status

    def _run_one_by_one(self, rows: np.ndarray, n_batches: int) -> tuple[int, int]:
        """Steps on batches of CSR rows, or of rows that do not all lie on the GPU."""
        for b in range(n_batches):
            batch = some_rows(self.X, rows[b * self.batch_size : (b + 1) * self.batch_size])
            inertia = self.work.sweep(batch, weights_or_empty(None, batch), self.C, summing=True)
            inertia /= self.batch_size
            if device.absorb_batch(
                self.C, self.before, self.work.sums, self.work.counts, self.seen,
                float(self.batch_size), self.rule.due_after, self.rule.ratio,
                self.rule.on_sphere, self.progress,
            ):  # fmt: skip
                self.progress[INERTIA] = inertia
                return b + 1, STARVED
            status = self._judge(inertia)
            if status != RUNNING:
                return b + 1, status
        return n_batches, RUNNING

    def _reassign(self, batch: np.ndarray, verbose: bool) -> int:
        """Put the starved centres on rows of the batch; the status of the batch, judged with them."""
        reassign(
            self.X, batch, self.C, self.seen, self.rule.ratio, self.draws.random_state, verbose,
            self.rule.on_sphere,
        )  # fmt: skip
        return self._judge(self.progress[INERTIA])

    def _judge(self, inertia: float) -> int:
        moved = device.squared_movement(self.C, self.before)
        return device.judge_batch(
            float(inertia), moved, self.rule.alpha, self.rule.tol, self.rule.patience, self.progress
        )

    def _say(self, step: str, status: int) -> None:
        line = f"Minibatch step {step}: mean batch inertia: {self.progress[INERTIA]}"
        if self.progress[STEP] > 1:
            line += f", ewa inertia: {self.progress[SMOOTHED]}"
        print(line)
        if status == SETTLED:
            print(f"Converged (small centers change) at step {step}")
        elif status == NO_IMPROVEMENT:
            print(f"Converged (lack of improvement in inertia) at step {step}")


class _DeviceSteps(_Steps):
    """Steps on ``DeviceRows`` that all lie on the GPU, where the centres are too.

    ``there`` is a ``kernels.cuda.mini_batch.MiniBatches``.
    """

    def __init__(self, there: Any, *options: Any) -> None:
        self.there = there
        super().__init__(*options)

    def _allocate(self) -> None:
        self.there.load(self.C)

    def until(self, n_steps: int, verbose: bool) -> int:
        done = super().until(n_steps, verbose)
        self.there.save(self.C, self.before)
        return done

    def _run(self, rows: np.ndarray, n_batches: int) -> tuple[int, int]:
        return self.there.run(rows, n_batches, *self.rule, self.seen, self.progress)

    def _reassign(self, batch: np.ndarray, verbose: bool) -> int:
        self.there.save(self.C, self.before)
        status = super()._reassign(batch, verbose)
        self.there.load(self.C)
        return status


def _progress(since: int = 0) -> np.ndarray:
    progress = np.zeros(PROGRESS_SIZE)
    progress[LEAST] = np.inf
    progress[SINCE_REASSIGNED] = since
    return progress
