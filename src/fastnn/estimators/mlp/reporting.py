"""What is told of a training while it runs: to callbacks, to tasks of scikit-learn, and in lines."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastnn.estimators.callbacks import Tasks
from fastnn.estimators.declaration import declared, parameter
from fastnn.estimators.mlp.validation import network_attributes
from fastnn.networks.network import Network
from fastnn.networks.solvers.interface import Epoch, silent

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP


@declared
class ReportParameters:
    """What a multi-layer perceptron can be told of its reports."""

    callback: Callable[..., Any] | None = parameter(
        callable,
        None,
        default=None,
        kind="callable",
        doc="""
        Called after each epoch or iteration as ``callback(epoch, logs)``: `epoch` counts from 0 in each call
        of ``fit``, and `logs` is a dict with ``"loss"``, for the stochastic solvers ``"learning_rate"``, and
        where there are validation rows ``"validation_loss"`` and ``"validation_score"``. Any true value that
        it returns ends ``fit``, without a warning. What it raises ends ``fit`` too, and leaves the estimator
        as it was before. Where a fit trains many networks `logs` has ``"network"``, which of them it is.
        """,
    )


def teller(model: "BaseMLP") -> Callable[[str], None]:
    """What prints a line that a user may want to read; ``silent`` without ``verbose``."""
    if not model.verbose:
        return silent
    return print if model._member is None else model._member.tell


def reporter(
    model: "BaseMLP",
    network: Network,
    n_rows: int,
    max_iter: int,
    *,
    callback: Callable[..., Any] | None,
    tasks: Tasks | None,
) -> Callable[[Epoch], bool] | None:
    """What a solver has to call after each epoch; None where nobody listens.

    Parameters
    ----------
    model : estimator
        Whose ``verbose`` counts.
    network : Network
        In training.
    n_rows : int
        Rows of an epoch.
    max_iter : int
        Epochs at most.
    callback : callable or None
    tasks : Tasks or None
        Begun.
    """
    lines: Callable[[Epoch], list[str]] | None = None
    if model.verbose:
        lines = _short_lines if int(model.verbose) == 1 else Lines(n_rows, max_iter)
    if lines is None and callback is None and tasks is None:
        return None

    tell = teller(model)

    def report(epoch: Epoch) -> bool:
        if lines is not None:
            for line in lines(epoch):
                tell(line)
        is_last = callback is not None and bool(callback(epoch.number, logs_of(epoch)))
        if tasks is not None:
            is_last |= tasks.step("epoch", lambda: network_attributes(network))
        return is_last

    return report


def logs_of(epoch: Epoch) -> dict[str, float]:
    """What a callback gets of an epoch."""
    logs = {"loss": epoch.loss}
    if epoch.learning_rate is not None:
        logs["learning_rate"] = epoch.learning_rate
    if epoch.validation is not None:
        logs |= {"validation_loss": epoch.validation.loss, "validation_score": epoch.validation.score}
    return logs


def _short_lines(epoch: Epoch) -> list[str]:
    """Those of scikit-learn."""
    lines = [f"Iteration {epoch.number + 1}, loss = {epoch.loss:.8f}"]
    if epoch.validation is not None:
        lines.append(f"Validation score: {epoch.validation.score:f}")
    return lines


class Lines:
    """Lines that say all of an epoch, with its pace.

    Parameters
    ----------
    n_rows : int
        Rows of an epoch.
    max_iter : int
        Epochs at most.
    """

    def __init__(self, n_rows: int, max_iter: int) -> None:
        self._n_rows, self._max_iter = n_rows, max_iter
        self._begun = self._before = time.perf_counter()
        self._here = 0  # epochs, but for those that were done before a checkpoint

    def __call__(self, epoch: Epoch) -> list[str]:
        now, done = time.perf_counter(), epoch.number + 1
        self._here += 1
        seconds, left = now - self._before, (self._max_iter - done) * (now - self._begun) / self._here
        self._before = now
        parts = [f"Iteration {done}/{self._max_iter}: loss {epoch.loss:.6g}"]
        if epoch.validation is not None:
            parts.append(
                f"validation loss {epoch.validation.loss:.6g}, validation score {epoch.validation.score:.6g}"
            )
        if epoch.learning_rate is not None:
            parts.append(f"learning rate {epoch.learning_rate:.3g}")
            if seconds > 0:  # a clock may have stood still
                parts.append(f"{self._n_rows / seconds:,.0f} rows/s")
        parts.append(f"at most {_duration(left)} left")
        return [", ".join(parts)]


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}" if minutes else f"{rest} s"
