"""What a training by epochs is between two of them: taken out as arrays and numbers, and put back.

With the same data and settings, a training that gets its state back goes on to the same bits as if it had
never ended. What is made of data and settings alone, such as the batches of an order, is no part of it.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np

from fastnn.networks.progress import Progress
from fastnn.tables.optimizers import Optimizer

if TYPE_CHECKING:
    from fastnn.networks.solvers.interface import Problem
    from fastnn.networks.solvers.monitor import EpochMonitor


@dataclass(frozen=True)
class TrainingState:
    """All that the epochs done so far have changed.

    Parameters
    ----------
    arrays : dict of str to ndarray
        Copies, of numbers.
    values : dict
        What JSON has words for.
    """

    arrays: dict[str, np.ndarray]
    values: dict[str, Any]


class Keeper(Protocol):
    """Who keeps states of a training, that it may go on from the last one."""

    def begin(self, state: TrainingState) -> TrainingState | None:
        """Training is to begin with this state; the one that it goes on from instead, None if there is none.

        Raises
        ------
        ValueError
            What is kept is of another training.
        """

    def after_epoch(self, n_epochs: int, state: Callable[[], TrainingState]) -> None:
        """So many epochs of this run are done, and more are to follow; `state` makes a copy of theirs."""


class Checkpoints:
    """What a training tells its keeper; without one nothing is done.

    Parameters
    ----------
    problem : Problem
    optimizer : Optimizer
        New, or that of the training which this one goes on from.
    monitor : EpochMonitor
    """

    def __init__(self, problem: "Problem", optimizer: Optimizer, monitor: "EpochMonitor") -> None:
        self._problem, self._optimizer, self._monitor = problem, optimizer, monitor

    def begin(self, rows: np.ndarray | None) -> tuple[np.ndarray | None, bool]:
        """Put back the state that is kept, if there is one.

        Parameters
        ----------
        rows : ndarray of int64 or None
            In the order that the first epoch changes.

        Returns
        -------
        rows : ndarray of int64 or None
            In the order that the next epoch changes.
        is_over : bool
            Whether a stopping rule, or the user, has ended the training in that state.
        """
        keeper = self._problem.keeper
        state = None if keeper is None else keeper.begin(self._state(rows))
        if state is None:
            return rows, False
        self._put_back(state)
        return state.arrays.get("rows"), bool(state.values["is_over"])

    def after_epoch(self, rows: np.ndarray | None, finish: Callable[[], None]) -> None:
        """An epoch is done, and more are to follow; `finish` brings the optimiser up to date."""
        keeper = self._problem.keeper
        if keeper is None:
            return

        def state() -> TrainingState:
            finish()
            return self._state(rows)

        keeper.after_epoch(self._problem.progress.n_iter, state)

    def last(self, rows: np.ndarray | None, is_over: bool) -> TrainingState | None:
        """The state of a training that has ended, by a rule or the user or else by the number of epochs."""
        return None if self._problem.keeper is None else self._state(rows, is_over)

    def _state(self, rows: np.ndarray | None, is_over: bool = False) -> TrainingState:
        problem, optimizer = self._problem, self._optimizer
        kept, bounded = self._monitor.state
        rng: dict[str, Any] = problem.rng.get_state(legacy=False)
        name, twister = rng["bit_generator"], rng["state"]
        curves, counts = _of_progress(problem.progress)
        arrays: dict[str, np.ndarray] = {
            "parameters": problem.network.parameters,
            "kept_parameters": kept,
            "optimizer": optimizer.state,
            "random_state": twister["key"],
            **curves,
        }
        if rows is not None:
            arrays["rows"] = rows
        if optimizer.average_rate:
            arrays["average"] = optimizer.average
            arrays["iterate"] = cast(np.ndarray, optimizer.iterate)  # made before the first epoch
        values = {
            "is_over": is_over,
            "bounded": bounded,
            "optimizer": [optimizer.t, optimizer.epochs, optimizer.learning_rate],
            "random_state": [name, twister["pos"], rng["has_gauss"], rng["gauss"]],
            "inputs": None if problem.inputs is None else problem.inputs.state,
            "progress": counts,
        }
        return TrainingState({name: array.copy() for name, array in arrays.items()}, values)

    def _put_back(self, state: TrainingState) -> None:
        problem, optimizer = self._problem, self._optimizer
        arrays, values = state.arrays, state.values
        problem.network.parameters[:] = arrays["parameters"]
        self._monitor.state = arrays["kept_parameters"], values["bounded"]
        optimizer.state[:] = arrays["optimizer"]
        optimizer.t, optimizer.epochs, optimizer.learning_rate = values["optimizer"]
        if optimizer.average_rate:
            optimizer.average[:], optimizer.iterate = arrays["average"], arrays["iterate"]
        name, position, has_gauss, gauss = values["random_state"]
        problem.rng.set_state((name, arrays["random_state"], position, has_gauss, gauss))
        if problem.inputs is not None:
            problem.inputs.state = values["inputs"]
        for name, value in values["progress"].items():
            setattr(problem.progress, name, value)
        for name in _curves(problem.progress):
            setattr(problem.progress, name, arrays[name].tolist())


def _curves(progress: Progress) -> list[str]:
    return [each.name for each in fields(progress) if isinstance(getattr(progress, each.name), list)]


def _of_progress(progress: Progress) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Its curves, which may be long, and its numbers."""
    curves = {name: np.array(getattr(progress, name), np.float64) for name in _curves(progress)}
    names = [each.name for each in fields(progress) if each.name not in curves]
    return curves, {name: getattr(progress, name) for name in names}
