"""Epochs of mini-batches, with any update rule."""

from dataclasses import dataclass

import numpy as np
from sklearn.exceptions import ConvergenceWarning

from fastnn.kernels.contract.network import BoundNetwork, EngineRows
from fastnn.kernels.shared.user_warnings import warn
from fastnn.networks.checkpoint import Checkpoints, TrainingState
from fastnn.networks.progress import Progress
from fastnn.networks.schedules import Constant
from fastnn.networks.solvers.averaging import Averaging
from fastnn.networks.solvers.interface import REMEDY, Problem, Solution, what_is_not_finite
from fastnn.networks.solvers.monitor import EpochMonitor
from fastnn.networks.solvers.optimizer_settings import StochasticSettings
from fastnn.tables.optimizers import Optimizer

# Where the network is as it should be, and its losses on the validation rows are finite.
_REMEDY_OF_SCORES = (
    "Their losses are finite: the score has no value for these rows, as R^2 of a single one, or it is what "
    "scoring returns. Validate with more rows, or another scoring, such as 'loss'."
)


def train_stochastic(problem: Problem, settings: StochasticSettings) -> Solution:
    """Epochs of mini-batches until the stopping rule, ``max_iter``, or the user, ends them.

    Parameters
    ----------
    problem : Problem
    settings : StochasticSettings

    Returns
    -------
    solution : Solution
    """
    network, data, progress = problem.network, problem.data, problem.progress
    optimizer, schedule = problem.former or (settings.optimizer(network), settings.schedule)
    rows = problem.rows
    n = data.Y.shape[0] if rows is None else rows.size
    if rows is None and settings.shuffle:
        rows = np.arange(n, dtype=np.int64)
    batch_size = _batch_size(settings.batch_size, n)
    n_updates = -(-n // (batch_size * settings.accumulate_batches))
    monitor = EpochMonitor(problem, settings.tol, settings.n_iter_no_change)
    averaging = Averaging(network, optimizer)
    checkpoints = Checkpoints(problem, optimizer, monitor)
    end = _End()
    bound = None

    def bind(X: EngineRows) -> BoundNetwork:
        return network.bind(
            X,
            data.Y,
            sample_weight=data.sample_weight,
            alpha=settings.alpha,
            l1_alpha=settings.l1_alpha,
            optimizer=optimizer,
        )

    try:
        last = progress.n_iter + settings.max_iter
        rows, end.by_rule = checkpoints.begin(rows)
        bound = bind(data.X)
        while progress.n_iter < last and not end.by_rule:
            if settings.shuffle:
                assert rows is not None
                rows = _shuffled(rows, problem.rng)
            if problem.inputs is not None:
                bound.finish()
                bound = bind(problem.inputs())
            rates = schedule.rates(optimizer.learning_rate, optimizer.epochs, n_updates)
            loss = bound.run_epoch(rows, batch_size, settings.accumulate_batches, rates)
            # An infinite loss may have finite gradients, with which training goes on.
            end.broken = what_is_not_finite(network.parameters, "losses" if np.isnan(loss) else None)
            if end.broken:
                break
            first_rate = optimizer.learning_rate if rates is None else float(rates[0])
            progress.record_epoch(loss, n, first_rate)
            optimizer.epochs += 1
            with averaging.shown():
                is_last = monitor.epoch(loss, first_rate)
            optimizer.learning_rate = schedule.after_epoch(optimizer.learning_rate, progress.t)
            if progress.has_stalled(settings.n_iter_no_change):
                is_last |= not _goes_on(optimizer, schedule, progress, monitor)
            end.by_rule = is_last
            if progress.n_iter < last and not is_last:
                checkpoints.after_epoch(rows, bound.finish)
        # The last batch tells nothing of averaged parameters.
        end.bound = None if end.broken or optimizer.average_rate else bound
    except KeyboardInterrupt:
        end.broken, end.interrupted = what_is_not_finite(network.parameters), True
    if bound is not None:
        bound.finish()
    if not (end.broken or end.interrupted):
        end.state = checkpoints.last(rows, end.by_rule)
    averaging.end()
    return _solution(problem, monitor, end, n, settings.max_iter, optimizer, schedule)


def _goes_on(optimizer: Optimizer, schedule: Constant, progress: Progress, monitor: EpochMonitor) -> bool:
    """Whether a schedule has another learning rate to go on with, where progress has stalled."""
    rate, note = schedule.when_stalled(optimizer.learning_rate)
    monitor.tell_of_stall(note)
    if rate is None:
        return False
    optimizer.learning_rate = rate
    progress.go_on()
    return True


@dataclass
class _End:
    """How training has ended."""

    broken: str | None = None  # what was not finite after an epoch, which does not count
    interrupted: bool = False  # by the user
    by_rule: bool = False  # by a stopping rule, or who watches
    bound: BoundNetwork | None = None  # after an epoch that came to its end
    state: TrainingState | None = None  # of who has a keeper, after such an epoch

    @property
    def by_number(self) -> bool:
        """Whether all the epochs that are allowed have been done, and nothing else has ended it."""
        return not (self.broken or self.interrupted or self.by_rule)


def _solution(
    problem: Problem,
    monitor: EpochMonitor,
    end: _End,
    n: int,
    max_iter: int,
    optimizer: Optimizer,
    schedule: Constant,
) -> Solution:
    """What has come of a training that has ended; the network gets the parameters that count."""
    network, progress, broken = problem.network, problem.progress, end.broken
    scored = problem.early_stopping
    if scored or broken:
        monitor.restore()
    has_best = scored and progress.has_best
    failure, remedy = None if has_best else broken, REMEDY
    if scored and not (has_best or broken or end.interrupted):
        failure = "validation scores in every epoch"
        if np.isfinite(progress.validation_losses or np.nan).any():
            remedy = _REMEDY_OF_SCORES
    remark: Warning | None = UserWarning("Training interrupted by user.") if end.interrupted else None
    losses = progress.losses
    diverged = _diverged(losses, broken, scored=has_best)
    if failure is None and diverged is not None:
        remark = remark or diverged
        if not np.isfinite(network.outputs(problem.data.X)).all():
            failure = "outputs for the training data"
    if failure is not None:
        monitor.restore()
        progress.forget(len(losses) - int(np.argmax([*np.isinf(losses), True])), n)
    going_on = not (failure or broken)
    return Solution(
        progress.n_iter,
        progress.loss_curve[-1] if progress.n_iter else None,
        failure,
        remark,
        has_converged=not end.by_number,
        unfinished=_unfinished(max_iter) if end.by_number else None,
        progress=progress,
        bound=end.bound,
        # After a divergence there is no state worth going on from.
        optimizer=optimizer if going_on else None,
        schedule=schedule if going_on else None,
        state=end.state,
        remedy=remedy,
    )


def _unfinished(max_iter: int) -> Warning:
    """What to tell of a fit that no stopping rule has ended, in the words of scikit-learn."""
    return ConvergenceWarning(
        f"Stochastic Optimizer: Maximum iterations ({max_iter}) reached and the optimization hasn't "
        "converged yet."
    )


def _diverged(losses: list[float], broken: str | None, *, scored: bool) -> Warning | None:
    """What to tell of a fit that has left a usable model, after epochs with these losses.

    broken : what was not finite in one epoch more; scored : whether the parameters of the best epoch are kept
    """
    infinite = np.flatnonzero(np.isinf(losses))
    if broken:
        what = f"epoch {len(losses) + 1} led to {broken} that are not finite."
    elif infinite.size:
        first = infinite[0] + 1
        what = f"the loss is infinite in {infinite.size} of {len(losses)} epochs, first in epoch {first}."
    else:
        return None
    kept = "the best epoch" if scored else "the last epoch, which are finite,"
    return ConvergenceWarning(f"Training diverged: {what} The parameters of {kept} are kept. {REMEDY}")


def _batch_size(wanted: int | str, n: int) -> int:
    if isinstance(wanted, str):  # "auto"
        return min(200, n)
    if not 1 <= wanted <= n:  # a partial_fit of a fitted model, like scikit-learn's, lets it pass
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return max(1, min(wanted, n))


def _shuffled(rows: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """The rows in the order of ``sklearn.utils.shuffle``, whose checks take as long as a batch."""
    order = np.arange(rows.size)
    rng.shuffle(order)
    return rows[order]
