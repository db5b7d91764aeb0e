"""What a solver gets, and what it gives back."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np

from fastnn.kernels.contract.network import BoundNetwork, EngineRows
from fastnn.networks.checkpoint import Keeper, TrainingState
from fastnn.networks.data import Data
from fastnn.networks.network import Network
from fastnn.networks.progress import Progress, Validation
from fastnn.networks.schedules import Constant
from fastnn.tables.optimizers import Optimizer

REMEDY = (
    "The input data may contain large values and need to be preprocessed. Scale the inputs (and the targets "
    "of a regressor), for example with StandardScaler, or lower learning_rate_init."
)


def silent(line: str) -> None:
    """Tells nobody."""


class Epoch(NamedTuple):
    """What there is to say of an epoch, or an iteration, that has ended."""

    number: int  # in this run, from 0
    loss: float
    learning_rate: float | None = None  # of its first step; None where there is none
    validation: Validation | None = None


class Inputs(Protocol):
    """Gives the inputs of each epoch: rows of the shape of the data's, for their targets."""

    state: Any  # of its random numbers, in words of JSON

    def __call__(self) -> EngineRows: ...


@dataclass(frozen=True)
class Problem:
    """A network to be trained, on data.

    Parameters
    ----------
    network : Network
        Trained in place, from the parameters that it has.
    data : Data
    rng : numpy.random.RandomState
        Source of the order of the rows.
    progress : Progress
        Of the training that this one goes on from; it changes in place.
    rows : ndarray of int64, default=None
        Rows to train on, where others are held out; None stands for all.
    validate : callable, default=None
        Says how good the network's present parameters are for rows that it is not trained on. None where
        there are none.
    early_stopping : bool, default=False
        Whether validation scores, instead of losses, say what is progress and which parameters are kept.
    former : tuple of Optimizer and schedule, default=None
        To go on with; they change in place. None lets the solver begin with new ones.
    inputs : Inputs, default=None
        Of a solver that goes by epochs, where they are others than those of the data.
    tell : callable
        Gets each line that a user may want to read while training runs.
    watch : callable, default=None
        Gets each epoch, or iteration, that has ended, while the network has its parameters; a true value
        ends the training.
    keeper : Keeper, default=None
        Keeps states of a training by epochs, and gives one to go on from.
    """

    network: Network
    data: Data
    rng: np.random.RandomState
    progress: Progress
    rows: np.ndarray | None = None
    validate: Callable[[], Validation] | None = None
    early_stopping: bool = False
    former: tuple[Optimizer, Constant] | None = None
    inputs: Inputs | None = None
    tell: Callable[[str], None] = silent
    watch: Callable[[Epoch], bool] | None = None
    keeper: Keeper | None = None


@dataclass(frozen=True)
class Settings:
    """Settings of every solver; each has more, by the names of the estimators' parameters.

    Parameters
    ----------
    alpha : float
        L2 penalty.
    max_iter : int
        Epochs, or iterations, at most.
    tol : float
        By how much training has to get on, in the solver's own measure.
    """

    alpha: float
    max_iter: int
    tol: float


@dataclass(frozen=True)
class Solution:
    """What came of a training, beside the parameters that it leaves in the network.

    Parameters
    ----------
    n_iter : int
        Epochs, or iterations.
    loss : float or None
        The last one; None where no epoch has come to its end.
    not_finite : str or None
        What is not, so that nothing usable came of it; None for a usable model.
    remark : Warning or None
        To be given once the model has been taken over.
    has_converged : bool
        Whether the solver's stopping rule, or the user, has ended the training, rather than the number of
        iterations allowed.
    unfinished : Warning, default=None
        To be given of a whole fit, where there is no other remark.
    progress : Progress, default=None
        Of a solver that goes by epochs.
    bound : BoundNetwork, default=None
        What it was trained by, where the last batch tells of the network as it is.
    optimizer, schedule : Optimizer and schedule, default=None
        To go on with. None after a divergence: there is no state worth going on from.
    state : TrainingState, default=None
        Of a training that has a keeper, and has come to its end.
    remedy : str
        What may help where something is not finite.
    """

    n_iter: int
    loss: float | None
    not_finite: str | None
    remark: Warning | None
    has_converged: bool
    unfinished: Warning | None = None
    progress: Progress | None = None
    bound: BoundNetwork | None = None
    optimizer: Optimizer | None = None
    schedule: Constant | None = None
    state: TrainingState | None = None
    remedy: str = REMEDY


@dataclass(frozen=True)
class Solver:
    """An entry of the table of solvers.

    Parameters
    ----------
    solve : callable
        Trains: ``solve(problem, settings) -> Solution``.
    settings : type of Settings
        Frozen dataclass of its settings, by the names of the estimators' parameters.
    is_stochastic : bool
        Whether it goes by mini-batches: then it can do a single epoch, be validated by rows that are held
        out, and train with dropout.
    classifies : bool, default=True
        Whether it trains classifiers, and not regressors alone.
    """

    solve: Callable[[Problem, Any], Solution]
    settings: type[Settings]
    is_stochastic: bool
    classifies: bool = True


def what_is_not_finite(parameters: np.ndarray, besides: str | None = None) -> str | None:
    """What is not finite: the parameters; else what is known not to be; None if all is."""
    return besides if np.isfinite(parameters).all() else "parameter weights"
