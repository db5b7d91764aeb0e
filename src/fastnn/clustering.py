"""The engine of gradient k-means: compiled mini-batch epochs, exact Lloyd iterations, and when to stop.

One step on a batch, whose rows are assigned to their nearest centres with the assignment held constant::

    n_j, s_j    weight and weighted sum of centre j's rows          (kernels.cpu.kmeans.sweep)
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
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastnn.kernels._jit import jit
from fastnn.kernels._threads import threads_for
from fastnn.kernels.cpu.kmeans import gather, sweep, sweep_work
from fastnn.lloyd import Workspace, labels_inertia, lloyd, weights_or_none
from fastnn.optimizers import CODES, MAX_HYPER, RULES
from fastnn.seeding import farthest_rows

# A centre's own rules, beside those of optimizers.RULES, whose codes are not negative.
COUNT, NEWTON = -1, -2
REDUCTIONS = {"sum": 0, "mean": 1, "cluster": 2}
# Lloyd's iterations of the polish end by `tol`; this bounds them where rounding keeps them from ending.
_MAX_POLISH = 300
# A stable rate raises the loss by a small factor at most. One that has raised it a millionfold is on its way
# to infinity, and only the re-seeding of the centres that lost all rows keeps it from getting there.
_DIVERGENCE = 1e6
# Seconds of compiled work between two looks at the keyboard.
_CHUNK_SECONDS = 0.2

# The rules that a centre's gradient can be given to; sgd is momentum with a factor of 0.
_MOMENTUM, _ADAM = CODES["momentum"], CODES["adam"]
_momentum_coefficients, _momentum_update = RULES[_MOMENTUM].coefficients, RULES[_MOMENTUM].update
_adam_coefficients, _adam_update = RULES[_ADAM].coefficients, RULES[_ADAM].update
_HYPER = {
    "sgd": {"momentum": 0.0},
    "momentum": {"momentum": 0.9},
    "adam": {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8},
}

# Status of a run of batches.
_RUNNING, _NO_IMPROVEMENT, _DIVERGED = 0, 1, 2


class Rule(NamedTuple):
    """How a centre moves, in the numbers that compiled code takes."""

    code: int
    rate: float
    reduction: int
    hyper: np.ndarray

    @classmethod
    def of(cls, optimizer: str, learning_rate: str | float, reduction: str) -> "Rule":
        """The rule of GradKMeans's parameters; "count" with momentum or adam is refused by the estimator."""
        hyper = np.zeros(MAX_HYPER)
        if optimizer == "newton":
            return cls(NEWTON, 1.0 if isinstance(learning_rate, str) else float(learning_rate), 0, hyper)
        if isinstance(learning_rate, str):
            return cls(COUNT, 1.0, 0, hyper)
        code = _ADAM if optimizer == "adam" else _MOMENTUM
        values = _HYPER[optimizer]
        hyper[: len(values)] = [values[name] for name in RULES[code].hyper]
        return cls(code, float(learning_rate), REDUCTIONS[reduction], hyper)


class Motion(NamedTuple):
    """What a centre carries from step to step: arrays, changed in place."""

    seen: np.ndarray  # (k,) weight seen so far: N_j
    clock: np.ndarray  # (k,) steps in which the centre moved
    slots: np.ndarray  # (2, k, d) the update rule's state

    @classmethod
    def zeros(cls, k: int, d: int) -> "Motion":
        """The state of centres that have not moved."""
        return cls(np.zeros(k), np.zeros(k), np.zeros((2, k, d)))

    def copy(self) -> "Motion":
        """An independent copy."""
        return Motion(self.seen.copy(), self.clock.copy(), self.slots.copy())

    def forget(self, j: np.ndarray) -> None:
        """Make the centres `j` ones that have not moved."""
        self.seen[j] = 0
        self.clock[j] = 0
        self.slots[:, j] = 0


@jit
def move_centers(code, rate, reduction, hyper, C, sums, counts, total, seen, clock, slots):
    """One step of all centres in place; False, and `C` partly moved, when it gives a number not finite.

    C : IN/OUT (k, d). sums : IN (k, d) float64. counts : IN (k,) float64. total : the batch's weight.
    seen, clock : IN/OUT (k,). slots : IN/OUT (2, k, d) float64.
    Arithmetic is in float64: it is a thousandth of the batch's and the rates of "count" become small.
    """
    k, d = C.shape
    finite = True
    for j in range(k):
        n = counts[j]
        # Not even its momentum moves a centre without rows.
        if n == 0.0:
            continue
        seen[j] += n
        clock[j] += 1.0
        step = rate
        factor = 2.0
        if code == COUNT:
            step = n / seen[j]
        elif reduction == 1:
            factor = 2.0 / total
        elif reduction == 2:
            factor = 1.0 / n
        if code == _ADAM:
            c0, c1, c2, c3, c4, c5 = _adam_coefficients(rate, hyper, clock[j])
        else:
            c0, c1, c2, c3, c4, c5 = _momentum_coefficients(rate, hyper, clock[j])
        for f in range(d):
            c = np.float64(C[j, f])
            if code in (COUNT, NEWTON):
                mean = sums[j, f] / n
                # c + 1 (mean - c) may differ from the mean in the last bit.
                c = mean if step == 1.0 else c + step * (mean - c)
            else:
                g = factor * (n * c - sums[j, f])
                if code == _ADAM:
                    c, slots[0, j, f], slots[1, j, f] = _adam_update(
                        c, g, slots[0, j, f], slots[1, j, f], c0, c1, c2, c3, c4, c5
                    )
                else:
                    c, slots[0, j, f], slots[1, j, f] = _momentum_update(
                        c, g, slots[0, j, f], slots[1, j, f], c0, c1, c2, c3, c4, c5
                    )
            C[j, f] = c
            finite = finite and np.isfinite(C[j, f])
    return finite


@jit
def _improved(loss, fraction, progress, patience):
    """Update the smoothed loss; False when it has not improved for `patience` batches.

    progress : IN/OUT (5,): batches, smoothed loss, its minimum, batches since that, and ``advance``'s. As in
    scikit-learn's MiniBatchKMeans the first batch, which shows the initial centres, does not count.
    """
    progress[0] += 1.0
    if progress[0] == 1.0:
        return True
    if progress[0] == 2.0:
        progress[1] = loss
        progress[2] = loss
        progress[3] = 0.0
        return True
    alpha = min(1.0, 2.0 * fraction)
    progress[1] += alpha * (loss - progress[1])
    if progress[1] < progress[2]:
        progress[2] = progress[1]
        progress[3] = 0.0
    else:
        progress[3] += 1.0
    return patience < 0 or progress[3] < patience


@jit
def advance(code, rate, reduction, hyper, C, safe, sums, counts, total, loss, seen, clock, slots, progress):
    """Move the centres unless they diverge: then go back to `safe` and return False.

    safe : IN/OUT (k, d), the last centres known to have a loss within bounds.
    progress[4] : IN/OUT, the spread of the data before the first batch, then the largest loss allowed.
    """
    if progress[0] == 0.0:
        progress[4] = _DIVERGENCE * max(progress[4], loss)
    if np.isfinite(loss) and loss <= progress[4]:
        safe[:] = C
        if move_centers(code, rate, reduction, hyper, C, sums, counts, total, seen, clock, slots):
            return True
    C[:] = safe
    return False


@jit
def _run_batches(
    X, weights, rows, first, last, batch_size, code, rate, reduction, hyper,
    C, safe, seen, clock, slots, touched, progress, patience, losses,
    X_batch, weights_batch, labels, distances, sums, counts, partials, partial_counts, parallel,
):  # fmt: skip
    """Steps on the batches first..last of an epoch; returns the number done and the status.

    rows : IN, the epoch's permutation. losses : OUT, one per batch. touched : IN/OUT (k,), the weight that
    each centre had in the epoch. The rest as in ``Epochs``.
    """
    n = rows.shape[0]
    for b in range(first, last):
        start = b * batch_size
        m = min(batch_size, n - start)
        gather(X, weights, rows, start, m, X_batch, weights_batch, parallel)
        Xb = X_batch[:m]
        wb = weights_batch[: m if weights.size > 0 else 0]
        # bool(): a literal would compile the function once more.
        both = bool(m > 0)
        inertia = sweep(
            Xb, wb, C, labels[:m], distances[:m], sums, counts, partials, partial_counts, both, both, parallel
        )
        total = counts.sum()
        loss = inertia / total
        losses[b] = loss
        if not advance(
            code, rate, reduction, hyper, C, safe, sums, counts, total, loss, seen, clock, slots, progress
        ):
            return b + np.isfinite(loss), _DIVERGED
        for j in range(C.shape[0]):
            touched[j] += counts[j]
        if not _improved(loss, m / n, progress, patience):
            return b + 1, _NO_IMPROVEMENT
    return last, _RUNNING


@jit
def _shuffle(rows, seed):
    """A random permutation of `rows` in place: Fisher and Yates, on the splitmix64 generator."""
    state = np.uint64(seed)
    for i in range(rows.shape[0] - 1, 0, -1):
        state += np.uint64(0x9E3779B97F4A7C15)
        z = state
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        # The top 53 bits as a number in [0, 1).
        j = np.int64(np.float64(z >> np.uint64(11)) * (2.0**-53) * (i + 1))
        rows[i], rows[j] = rows[j], rows[i]


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
    X: np.ndarray,
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
    X : ndarray of shape (n, d)
        C-contiguous.
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
        As in ``_improved`` and ``advance``; None bounds the loss by infinity.
    work : Workspace, default=None
        Buffers to use again.

    Returns
    -------
    loss : float
        Mean squared distance before the step.
    finite : bool
        Whether the step was done; if not, `C` is what `safe` is then.
    """
    n, d = X.shape
    work = Workspace(n, C.shape[0], d, X.dtype) if work is None else work
    safe = C.copy() if safe is None else safe
    progress = np.array([0, 0, 0, 0, np.inf]) if progress is None else progress
    inertia = work.sweep(X, weights_or_none(weights, X), C, summing=True)
    total = float(work.counts.sum())
    loss = inertia / total
    finite = advance(
        rule.code, rule.rate, rule.reduction, rule.hyper, C, safe,
        work.sums, work.counts, total, loss, *motion, progress,
    )  # fmt: skip
    return loss, finite


class _Epochs:
    """Gradient epochs over one data set: the buffers, and what lasts from epoch to epoch."""

    def __init__(
        self,
        X: np.ndarray,
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
        self.rows = rows.astype(np.int32 if X.shape[0] < 2**31 else np.int64)
        # None: all rows, in place and in order, for neither changes the sums but by rounding.
        self.batch_size = X.shape[0] if batch_size is None else min(batch_size, len(rows))
        self.whole = batch_size is None
        k, d = C.shape
        self.safe = C.copy()
        self.motion = Motion.zeros(k, d)
        self.touched = np.zeros(k)
        self.progress = np.array([0, 0, 0, 0, spread])
        self.patience = -1 if patience is None else max(1, patience)
        self.work = Workspace(self.batch_size, k, d, X.dtype)
        n_gathered = 0 if self.whole else self.batch_size
        self.X_batch = np.empty((n_gathered, d), X.dtype)
        self.weights_batch = np.empty(n_gathered, X.dtype)
        self.batches_per_chunk = 1
        self.status = _RUNNING

    def until(
        self, max_iter: int, tol: float, report: Callable[[int, float], None]
    ) -> tuple[list[float], int]:
        """Epochs until one of the rules in ``train`` holds; the losses of all steps, and their number."""
        losses: list[float] = []
        for i in range(max_iter):
            start = self.C.copy()
            epoch_losses, self.status = self.run()
            losses += epoch_losses.tolist()
            if epoch_losses.size:
                report(i + 1, float(epoch_losses.mean()))
            if self.status != _RUNNING:
                break
            if not self.reseed() and ((self.C - start).astype(np.float64) ** 2).sum() <= tol:
                break
        return losses, i + 1

    def run(self) -> tuple[np.ndarray, int]:
        """One epoch in chunks; the losses of the steps done, and the status."""
        self.touched[:] = 0
        if self.whole:
            return self._whole_step()
        n_batches = -(-len(self.rows) // self.batch_size)
        losses = np.empty(n_batches)
        _shuffle(self.rows, self.random_state.randint(0, 2**63, dtype=np.int64))
        done, status = 0, _RUNNING
        k, d = self.C.shape
        with threads_for(sweep_work(self.batch_size, k, d)) as parallel:
            while done < n_batches and status == _RUNNING:
                last = min(n_batches, done + self.batches_per_chunk)
                started = time.perf_counter()
                reached, status = _run_batches(
                    self.X, weights_or_none(self.weights, self.X), self.rows, done, last, self.batch_size,
                    self.rule.code, self.rule.rate, self.rule.reduction, self.rule.hyper,
                    self.C, self.safe, *self.motion, self.touched, self.progress, self.patience, losses,
                    self.X_batch, self.weights_batch, self.work.labels, self.work.distances,
                    self.work.sums, self.work.counts, *self.work.partials, parallel,
                )  # fmt: skip
                # The first call may compile; a chunk twice as long follows only a chunk that was short.
                seconds = max(time.perf_counter() - started, 1e-9)
                self.batches_per_chunk = max(
                    1,
                    min(int(_CHUNK_SECONDS / seconds * (last - done)), 8 * self.batches_per_chunk),
                )
                done = reached
        return losses[:done], status

    def _whole_step(self) -> tuple[np.ndarray, int]:
        loss, finite = step(
            self.X,
            self.weights,
            self.C,
            self.rule,
            self.motion,
            safe=self.safe,
            progress=self.progress,
            work=self.work,
        )
        self.touched += self.work.counts
        if not finite:
            return np.array([loss] if np.isfinite(loss) else []), _DIVERGED
        improved = _improved(loss, 1.0, self.progress, self.patience)
        return np.array([loss]), _RUNNING if improved else _NO_IMPROVEMENT

    def reseed(self) -> bool:
        """Move the centres that had no row in the epoch to rows far from all others; whether any was."""
        starved = np.flatnonzero(self.touched == 0)
        if not starved.size:
            return False
        rows = farthest_rows(self.X, np.delete(self.C, starved, axis=0), self.weights, len(starved))
        moved = starved[: len(rows)]
        self.C[moved] = self.X[rows]
        self.motion.forget(moved)
        return bool(moved.size)


def train(
    X: np.ndarray,
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
    X : ndarray of shape (n, d)
        C-contiguous.
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

    def report(what: str) -> Callable[[int, float], None]:
        if not verbose:
            return lambda i, loss: None
        return lambda i, loss: print(f"{what} {i}, mean squared distance {loss:g}")

    if batch_size is not None and batch_size >= n:
        batch_size = None
    converged = False
    if batch_size is None and rule.code == NEWTON and rule.rate == 1.0:
        # Newton's step on all rows is Lloyd's iteration; an empty cluster need not wait for an epoch's end.
        safe = C
        C, labels, inertia, losses, converged = lloyd(
            X, weights, C, max_iter=max_iter, tol=tol, report=report("Epoch")
        )
        n_iter = len(losses)
        motion = Motion.zeros(*C.shape)
        diverged = False
    else:
        epochs = _Epochs(
            X, weights, C.copy(), rule, batch_size, patience, variance * X.shape[1], random_state
        )
        losses, n_iter = epochs.until(max_iter, tol, report("Epoch"))
        C, safe, motion, diverged = epochs.C, epochs.safe, epochs.motion, epochs.status == _DIVERGED
        if diverged:
            motion = Motion.zeros(*C.shape)
        if not polish or diverged:
            labels, inertia = labels_inertia(X, weights, C)
    if polish and not converged and not diverged:
        C, labels, inertia, _, _ = lloyd(
            X, weights, C, max_iter=_MAX_POLISH, tol=tol, report=report("Polish")
        )
    if not np.isfinite(inertia) and not diverged:
        diverged = True
        C = safe
        labels, inertia = labels_inertia(X, weights, C)
    return Result(C, labels, inertia, n_iter, losses, motion, diverged)
