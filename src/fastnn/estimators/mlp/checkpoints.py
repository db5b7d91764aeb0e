"""The state of a training that outlives it: in the estimator, or in a file from which a fit goes on."""

import json
import os
import time
from collections.abc import Callable, Iterator, Mapping
from numbers import Integral
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import fastnn
from fastnn.estimators.declaration import POSITIVE, declared, is_default, parameter
from fastnn.estimators.draft import python_number
from fastnn.estimators.mlp import checkpoint_files
from fastnn.estimators.mlp.fingerprints import described, digest
from fastnn.kernels.contract.network import TargetMatrix
from fastnn.kernels.shared.user_warnings import warn
from fastnn.networks.backends import contents
from fastnn.networks.checkpoint import TrainingState
from fastnn.networks.data import Data
from fastnn.networks.one_hot import OneHot
from fastnn.networks.solvers import STOCHASTIC_SOLVERS

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP

# Of the files: what they hold, and how. To be counted up with every change of it.
FORMAT = 1
# Epochs from one checkpoint to the next.
EVERY = 10
# Parameters on which what comes of a fit does not depend.
_FREE = {"checkpoint", "checkpoint_every", "callback", "verbose", "n_threads"}
# Characters of a value that a message shows.
_SHOWN = 60
# What a training is made of, beside parameters and data.
_BEGINNING = "what training begins with (of warm_start, initialize, or a function)"
# The name of what an estimator adds to a state that is the last one.
_SATURATION = "saturation"


@declared
class StateParameters:
    """What a multi-layer perceptron can be told of the state of its training."""

    reset_optimizer: bool = parameter(
        "boolean",
        default=True,
        doc="""
        Whether ``fit`` with ``warm_start=True`` begins with a new optimiser. False keeps the moments and the
        number of steps of the former training, which are pickled with the estimator, where the same solver
        made them, with ``average`` or without as now. The schedule of the learning rate begins anew in either
        case. ``partial_fit`` always keeps them, and refuses another solver.
        """,
    )
    checkpoint: str | os.PathLike[str] | None = parameter(
        str,
        os.PathLike,
        None,
        default=None,
        kind="str or path-like",
        doc="""
        Path of a file that keeps the state of the training from time to time. Where ``fit`` was ended before
        its time, as by a kill or by what a callback raises, ``fit`` with the same arguments goes on from the
        file, to the same bits as without the interruption; after a fit that was completed it gives the same
        model at once. A file of another fit is never overwritten: with other parameters (but for
        ``checkpoint``, ``checkpoint_every``, ``callback``, ``verbose`` and ``n_threads``), data, first
        weights, or another version of fastnn ``fit`` raises ``ValueError``. Functions count by their names.
        Where the file cannot be written, ``fit`` goes on without, and a warning says so. For the stochastic
        solvers, with an integer ``random_state``; ``partial_fit`` refuses it.
        """,
    )
    checkpoint_every: float = parameter(
        POSITIVE,
        default=EVERY,
        kind="int or float",
        doc="""
        How often ``checkpoint`` is written: an int counts epochs, a float seconds, of which it is at the end
        of the first epoch after so many. It is also written at the end of the fit.
        """,
    )


def check_state(model: "BaseMLP", incremental: bool) -> None:
    """Make sure that training has a use for what is said of its state.

    incremental : whether it is a ``partial_fit``

    Raises
    ------
    ValueError
        It has none.
    """
    names = list(STOCHASTIC_SOLVERS)
    for said, is_used in (
        (f"reset_optimizer={model.reset_optimizer}", model.reset_optimizer),
        (f"checkpoint={model.checkpoint!r}", model.checkpoint is None),
    ):
        if not is_used and model.solver not in STOCHASTIC_SOLVERS:
            raise ValueError(f"{said} needs a solver of {names}: solver={model.solver!r} keeps no state.")
    if model.checkpoint is None:
        if not is_default(model.checkpoint_every, EVERY):
            raise ValueError(f"checkpoint_every={model.checkpoint_every} needs a checkpoint.")
    elif incremental:
        raise ValueError(
            f"partial_fit does not support checkpoint={model.checkpoint!r}: pickle the estimator instead."
        )
    elif not isinstance(model.random_state, Integral):
        raise ValueError(
            f"checkpoint={model.checkpoint!r} needs an integer random_state, by which a fit can be repeated; "
            f"got random_state={model.random_state!r}."
        )
    if not (model.reset_optimizer or model.warm_start or incremental):
        raise ValueError("reset_optimizer=False needs warm_start=True: fit begins with a new optimizer.")


def checkpoint_of(model: "BaseMLP", data: Data, validation: Data | None) -> "Checkpoint | None":
    """Where an estimator's training is kept; None if nowhere.

    Parameters
    ----------
    model : estimator
        A draft that has checked its data.
    data : Data
    validation : Data or None
        Validation rows that the user gives.
    """
    if model.checkpoint is None:
        return None
    parameters = {
        name: described(value) for name, value in model.get_params(deep=False).items() if name not in _FREE
    }
    made_of = {
        "the estimator": type(model).__name__,
        **{f"the parameter {name}": text for name, text in parameters.items()},
        "X": digest(contents(data.X)),
        "y": digest([*_parts_of_targets(data.Y), *_labels(model)]),
        "sample_weight": digest(_parts_of_weights(data.sample_weight)),
    }
    if validation is not None:
        made_of |= {
            "X_val": digest(contents(validation.X)),
            "y_val": digest(_parts_of_targets(validation.Y)),
            "sample_weight_val": digest(_parts_of_weights(validation.sample_weight)),
        }
    return Checkpoint(model.checkpoint, model.checkpoint_every, made_of)


class Checkpoint:
    """The ``Keeper`` of a training, in a file.

    Parameters
    ----------
    name : str or path-like
        Of the file, as the user gives it.
    every : int or float
        Epochs, or seconds, from one state to the next.
    made_of : dict of str to str
        What the training is made of, in texts that are the same in every process.
    """

    def __init__(self, name: str | os.PathLike[str], every: float, made_of: dict[str, str]) -> None:
        self._name, self._every, self._made_of = os.fspath(name), every, made_of
        try:
            # A link stays one, and the working directory may change.
            self._path = Path(os.path.realpath(name))
        except ValueError as error:
            raise ValueError(f"checkpoint={self._name!r} is no path: {error}.") from error
        self._last = time.monotonic()
        self._is_kept = True  # until it turns out that it cannot be
        self._error: OSError | None = None  # of the last attempt
        self._saturation: np.ndarray | None = None

    def begin(self, state: TrainingState) -> TrainingState | None:
        """See ``Keeper``."""
        values = json.dumps(state.values, default=python_number)
        self._made_of = self._made_of | {_BEGINNING: digest([values, *state.arrays.items()])}
        try:
            found = checkpoint_files.read(self._path)
            if found is None:
                checkpoint_files.try_directory(self._path)
                return None
        except checkpoint_files.NotACheckpointError as error:
            raise ValueError(self._refusal(f"is {error}")) from error
        except OSError as error:
            self._do_without(error)
            return None
        header, arrays = found
        self._compare(header)
        checkpoint_files.forget_abandoned(self._path)
        self._saturation = arrays.pop(_SATURATION, None)
        return TrainingState(arrays, header["state"])

    def after_epoch(self, n_epochs: int, state: Callable[[], TrainingState]) -> None:
        """See ``Keeper``."""
        if isinstance(self._every, int):
            is_due = n_epochs % self._every == 0
        else:
            is_due = time.monotonic() - self._last >= self._every
        if is_due and self._is_kept:
            self._save(state())

    def end(
        self, state: TrainingState | None, seen_last: Callable[[], np.ndarray]
    ) -> tuple[np.ndarray, tuple[Warning, ...]]:
        """See ``kept_at_the_end``."""
        if self._saturation is not None:
            return self._saturation, ()
        saturation = seen_last()
        if state is not None and self._is_kept:
            self._save(state, {_SATURATION: saturation})
            checkpoint_files.forget_abandoned(self._path)
        return saturation, () if self._error is None else (self._cannot(self._error),)

    def _save(self, state: TrainingState, more: Mapping[str, np.ndarray] | None = None) -> None:
        header = {
            "format": FORMAT,
            "version": fastnn.__version__,
            "made_of": self._made_of,
            # Numbers of NumPy among them, as of a score.
            "state": json.loads(json.dumps(state.values, default=python_number)),
        }
        try:
            checkpoint_files.write(self._path, header, state.arrays | dict(more or {}))
            self._error = None
        except OSError as error:
            if error.errno is None:  # not of the system, but of a signal's handler, as a time limit
                raise
            self._error = error
        self._last = time.monotonic()

    def _compare(self, header: dict[str, Any]) -> None:
        """Make sure that a file is of this training.

        Raises
        ------
        ValueError
            It is not.
        """
        if header["format"] != FORMAT or header["version"] != fastnn.__version__:
            raise ValueError(
                self._refusal(
                    f"was written by fastnn {header['version']} (format {header['format']}), and this is "
                    f"{fastnn.__version__} (format {FORMAT})"
                )
            )
        theirs, ours = header["made_of"], self._made_of
        names = [name for name in ours | theirs if ours.get(name) != theirs.get(name)]
        # How it begins follows from all else as well.
        names = [name for name in names if name != _BEGINNING] or names
        if names:
            told = "; ".join(_difference(name, theirs.get(name), ours.get(name)) for name in names)
            raise ValueError(self._refusal(f"is of another fit: {told}"))

    def _refusal(self, what: str) -> str:
        return (
            f"checkpoint={self._name!r} {what}. Nothing has been overwritten; to begin anew remove the file, "
            "or give another path."
        )

    def _cannot(self, error: OSError) -> Warning:
        reason = error.strerror or error
        return UserWarning(f"checkpoint={self._name!r} cannot be kept: {reason}. The fit does without.")

    def _do_without(self, error: OSError) -> None:
        """Keep nothing, since the file can be neither read nor written."""
        if error.errno is None:
            raise error
        self._is_kept = False
        warn(self._cannot(error))


def kept_at_the_end(
    checkpoint: Checkpoint | None, state: TrainingState | None, seen_last: Callable[[], np.ndarray]
) -> tuple[np.ndarray, tuple[Warning, ...]]:
    """Keep the last state of a training that has led to a model.

    Parameters
    ----------
    checkpoint : Checkpoint or None
    state : TrainingState or None
        None where it was interrupted: then it is to go on from an earlier one.
    seen_last : callable
        Gives ``saturation_``, which depends on the last batch.

    Returns
    -------
    saturation : ndarray
        Of that function, or what it gave when this training was completed.
    remarks : tuple of Warning
        To be told at the end of the fit.
    """
    return (seen_last(), ()) if checkpoint is None else checkpoint.end(state, seen_last)


def _difference(name: str, theirs: str | None, ours: str | None) -> str:
    if theirs is None or ours is None:
        return f"{name} {'is new' if theirs is None else 'is missing'}"
    if name == "the estimator" or (name.startswith("the parameter") and len(theirs) + len(ours) <= _SHOWN):
        return f"{name} was {theirs} and is {ours}"
    return f"{name} differs"


def _parts_of_targets(Y: TargetMatrix) -> Iterator[Any]:
    if isinstance(Y, OneHot):
        yield f"{Y.shape}"
        yield "codes", Y.codes
    else:
        yield "targets", Y


def _parts_of_weights(sample_weight: np.ndarray | None) -> list[Any]:
    return ["none"] if sample_weight is None else [("weights", sample_weight)]


def _labels(model: "BaseMLP") -> list[str]:
    """What the codes of classes stand for."""
    return [described(model.classes_.tolist())] if hasattr(model, "classes_") else []
