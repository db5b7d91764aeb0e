"""The engine of mini-batch k-means: scikit-learn's steps, hundreds of them in one compiled call.

A chunk of batches is drawn, and one call goes through its steps. Two things end the call early: the steps are
to stop, or centres with little weight are to be reassigned, which draws random numbers between those of two
batches. Then the numbers of the batches that were not reached are given back, and Python goes on.

References
----------
Sculley, "Web-scale k-means clustering", WWW 2010.
"""

from typing import NamedTuple

import numpy as np

from fastnn.clustering.draws import Draws
from fastnn.clustering.passes import as_rows, dense_array, some_rows, total_weight, weights_or_empty
from fastnn.clustering.sphere import have_direction
from fastnn.kernels.clustering import clustering_backend, device
from fastnn.kernels.contract.clustering import ClusteringBackend, Data, Rows
from fastnn.kernels.shared.center_arguments import MiniBatchRule
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
from fastnn.kernels.shared.pacing import Chunks

# Rows drawn at once, unless a batch has more: 1 MiB of random numbers stays in the cache, and what a call
# costs is shared by a hundred small batches.
_DRAWN = 1 << 17
# Rows for each cluster after which starved centres are looked for.
_REASSIGN_ROWS = 10


class MiniBatchResult(NamedTuple):
    """What mini-batches give."""

    centers: np.ndarray  # (k, d)
    seen: np.ndarray  # (k,) float64, the weight that each centre has had
    since: int  # rows since centres were last looked at for reassigning
    n_steps: int
    n_iter: int  # times the rows of the data that the steps had rows, rounded up
    inertia: float  # of the data, as the batches let one expect it


def reassign(
    X: Data,
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
        C[starved] = dense_array(X[chosen])
    if not starved.all():
        seen[starved] = seen[~starved].min()


def partial_step(
    X: Data,
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
    sweeps = clustering_backend(rows).sweeps(rows, k)
    sweeps.sweep(rows, weights_or_empty(weights, rows), C, summing=True)
    progress = _progress(since)
    if device.absorb_batch(
        C, np.empty((0, d), C.dtype), sweeps.sums, sweeps.counts, seen,
        float(batch_size), float(_REASSIGN_ROWS * k), float(ratio), on_sphere, progress,
    ):  # fmt: skip
        reassign(X, np.arange(n), C, seen, ratio, random_state, verbose, on_sphere)
    return int(progress[SINCE_REASSIGNED])


def mini_batches(
    X: Data,
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
) -> MiniBatchResult:
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
    MiniBatchResult
    """
    n = X.shape[0]
    rule = MiniBatchRule(
        float(_REASSIGN_ROWS * len(C)),
        float(ratio),
        min(batch_size * 2.0 / (n + 1), 1.0),
        float(tol),
        -1 if patience is None else patience,
        on_sphere,
    )
    run = _Run(X, C.copy(), batch_size, rule, Draws(n, weights, C.dtype, random_state))
    done = run.until(max_iter * n // batch_size, verbose)
    progress = run.progress
    return MiniBatchResult(
        run.C,
        run.seen,
        int(progress[SINCE_REASSIGNED]),
        done,
        -(-done * batch_size // n),
        # A single step is not part of the smoothed course.
        float(progress[SMOOTHED if done > 1 else INERTIA]) * total_weight(n, weights),
    )


class MiniBatchStepsOneByOne:
    """``MiniBatchSteps`` of a sweep each, for rows of which no device takes many batches at once.

    That is, CSR rows, and rows that do not all lie on the GPU. The centres are on the host.

    Parameters
    ----------
    backend : ClusteringBackend
        Where the rows lie.
    X : CSR matrix, DeviceRows or ndarray, of shape (n, d)
    k : int
        Centres.
    batch_size : int
    """

    def __init__(self, backend: ClusteringBackend[Rows], X: Data, k: int, batch_size: int) -> None:
        self._backend, self._X, self._batch_size = backend, X, batch_size
        self._sweeps = backend.sweeps(X, k, batch_size)
        self._before = np.empty((k, X.shape[1]), X.dtype)

    def load(self, C: np.ndarray) -> None:
        """As ``MiniBatchSteps.load``; the array changes in place."""
        self._C = C

    def save(self, C: np.ndarray, before: np.ndarray) -> None:
        """As ``MiniBatchSteps.save``."""
        if C is not self._C:
            C[:] = self._C
        if before.size:
            before[:] = self._before

    def run(
        self, rows: np.ndarray, n_batches: int, rule: MiniBatchRule, seen: np.ndarray, progress: np.ndarray
    ) -> tuple[int, int]:
        """As ``MiniBatchSteps.run``."""
        before, sweeps = self._before[: len(self._C) if rule.tol > 0 else 0], self._sweeps
        for b in range(n_batches):
            batch = some_rows(self._backend, self._X, rows[b * self._batch_size : (b + 1) * self._batch_size])
            inertia = sweeps.sweep(batch, weights_or_empty(None, batch), self._C, summing=True)
            inertia /= self._batch_size
            if device.absorb_batch(
                self._C, before, sweeps.sums, sweeps.counts, seen, float(self._batch_size), rule.due_after,
                rule.ratio, rule.on_sphere, progress,
            ):  # fmt: skip
                progress[INERTIA] = inertia
                return b + 1, STARVED
            status = _judged(inertia, self._C, before, rule, progress)
            if status != RUNNING:
                return b + 1, status
        return n_batches, RUNNING


class _Run:
    """A run of steps: what lasts from call to call."""

    def __init__(self, X: Data, C: np.ndarray, batch_size: int, rule: MiniBatchRule, draws: Draws) -> None:
        self.X, self.C, self.batch_size, self.rule, self.draws = X, C, batch_size, rule, draws
        k, d = C.shape
        self.seen, self.progress = np.zeros(k), _progress()
        self.before = np.empty((k if rule.tol > 0 else 0, d), C.dtype)
        backend = clustering_backend(X)
        steps = backend.mini_batches(X, k, batch_size)
        self.steps = MiniBatchStepsOneByOne(backend, X, k, batch_size) if steps is None else steps
        self.steps.load(C)

    def until(self, n_steps: int, verbose: bool) -> int:
        """Steps until a rule ends them, `n_steps` at most; their number."""
        most = 1 if verbose else max(1, _DRAWN // self.batch_size)
        chunks = Chunks(growth=2)
        done, status = 0, RUNNING
        while done < n_steps and status == RUNNING:
            size = chunks.begin(min(most, n_steps - done))
            rows = self.draws.rows(size * self.batch_size)
            chunks.start()
            reached, status = self.steps.run(rows, size, self.rule, self.seen, self.progress)
            chunks.end(reached)
            if reached < size:
                self.draws.give_back(reached * self.batch_size)
            if status == STARVED:
                # What was drawn beyond the step was drawn for nothing: where this happens often, less is.
                chunks.shorten(reached)
                batch = rows[(reached - 1) * self.batch_size : reached * self.batch_size]
                status = self._reassign(batch, verbose)
            done += reached
            if verbose:
                self._say(f"{done}/{n_steps}", status)
        self.steps.save(self.C, self.before)
        return done

    def _reassign(self, batch: np.ndarray, verbose: bool) -> int:
        """Put the starved centres on rows of the batch; the status of the batch, judged with them."""
        self.steps.save(self.C, self.before)
        reassign(
            self.X, batch, self.C, self.seen, self.rule.ratio, self.draws.random_state, verbose,
            self.rule.on_sphere,
        )  # fmt: skip
        self.steps.load(self.C)
        return _judged(self.progress[INERTIA], self.C, self.before, self.rule, self.progress)

    def _say(self, step: str, status: int) -> None:
        line = f"Minibatch step {step}: mean batch inertia: {self.progress[INERTIA]}"
        if self.progress[STEP] > 1:
            line += f", ewa inertia: {self.progress[SMOOTHED]}"
        print(line)
        if status == SETTLED:
            print(f"Converged (small centers change) at step {step}")
        elif status == NO_IMPROVEMENT:
            print(f"Converged (lack of improvement in inertia) at step {step}")


def _judged(
    inertia: float, C: np.ndarray, before: np.ndarray, rule: MiniBatchRule, progress: np.ndarray
) -> int:
    """The status after a batch whose centres have moved on the host."""
    moved = device.squared_movement(C, before)
    return device.judge_batch(float(inertia), moved, rule.alpha, rule.tol, rule.patience, progress)


def _progress(since: int = 0) -> np.ndarray:
    progress = np.zeros(PROGRESS_SIZE)
    progress[LEAST] = np.inf
    progress[SINCE_REASSIGNED] = since
    return progress
