"""Between an estimator of networks and the engine: parameters to settings, results to fitted attributes."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier

from fastnn.estimators.callbacks import Tasks
from fastnn.estimators.mlp.checkpoints import Checkpoint
from fastnn.estimators.mlp.reporting import reporter, teller
from fastnn.estimators.mlp.validation import kind_of_score, validator
from fastnn.networks.data import Data
from fastnn.networks.held_out import hold_out
from fastnn.networks.network import Network
from fastnn.networks.progress import Progress
from fastnn.networks.saturation import remark_on_saturation
from fastnn.networks.schedules import SCHEDULES, Constant
from fastnn.networks.solvers import SOLVERS
from fastnn.networks.solvers.interface import Inputs, Problem, Settings, Solution
from fastnn.networks.solvers.optimizer_settings import StochasticSettings
from fastnn.tables.optimizers import Optimizer

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP


@dataclass(frozen=True)
class Following:
    """What goes along with a training.

    Parameters
    ----------
    validation : Data, default=None
        Rows that the user gives for it.
    scoring, callback
        As of the estimators.
    tasks : Tasks, default=None
        scikit-learn's, begun.
    checkpoint : Checkpoint, default=None
        Where its state is kept.
    """

    validation: Data | None = None
    scoring: str | Callable[..., float] | None = None
    callback: Callable[..., Any] | None = None
    tasks: Tasks | None = None
    checkpoint: Checkpoint | None = None


def check_one_epoch(model: "BaseMLP") -> None:
    """Make sure that ``partial_fit``, an epoch with others to follow that nobody has counted, can do it.

    Raises
    ------
    ValueError
        It cannot.
    """
    if model.early_stopping:
        raise ValueError("partial_fit does not support early_stopping=True")
    if SCHEDULES[model.learning_rate].needs_end:
        raise ValueError(
            f"partial_fit does not support learning_rate={model.learning_rate!r}, which ends after max_iter "
            "epochs: here nobody knows how many follow."
        )
    if model.scoring is not None:
        raise ValueError(
            f"partial_fit does not support scoring={model.scoring!r}: it has no validation rows."
        )


def trained(
    model: "BaseMLP",
    network: Network,
    data: Data,
    rng: np.random.RandomState,
    following: Following,
    *,
    first_pass: bool,
    one_epoch: bool,
    inputs: Inputs | None = None,
) -> Solution:
    """Train the network of an estimator, by its parameters.

    Parameters
    ----------
    model : estimator
        Its parameters, and where `first_pass` is False its fitted attributes, are read.
    network : Network
        Trained in place.
    data : Data
    rng : numpy.random.RandomState
        Source of the validation split and of each epoch's order.
    following : Following
    first_pass : bool
        Whether training begins rather than continues.
    one_epoch : bool
        Do one epoch with the estimator's own optimiser, as ``partial_fit`` does.
    inputs : Inputs, default=None
        Those of each epoch, where they are others than those of the data.
    """
    solver = SOLVERS[model.solver]
    parameters = {field.name: getattr(model, field.name) for field in fields(solver.settings)}
    rows, held_out = None, following.validation
    if one_epoch:
        parameters["max_iter"] = 1
    settings = solver.settings(**parameters)
    scored = solver.is_stochastic and bool(model.early_stopping)
    if scored and held_out is None:
        rows, held_out = hold_out(data, model.validation_fraction, rng, _labels(model, data))
    problem = Problem(
        network,
        data,
        rng,
        _progress(model, first_pass, scored, held_out is not None),
        rows=rows,
        validate=None if held_out is None else validator(model, network, held_out, following.scoring),
        early_stopping=scored,
        former=None if first_pass else _former(model, network, settings, one_epoch),
        inputs=inputs,
        tell=teller(model),
        watch=reporter(
            model,
            network,
            data.Y.shape[0] if rows is None else rows.size,
            parameters["max_iter"],
            callback=following.callback,
            tasks=following.tasks,
        ),
        keeper=following.checkpoint,
    )
    return solver.solve(problem, settings)


def fitted_attributes(solution: Solution) -> dict[str, Any]:
    """What an estimator remembers of its training, beside the parameters; ``t_`` only of one by epochs."""
    attributes: dict[str, Any] = {"n_iter_": solution.n_iter}
    if solution.loss is not None:
        attributes["loss_"] = solution.loss
    if (progress := solution.progress) is not None:
        attributes |= {
            "best_loss_": progress.best_loss,
            "best_validation_score_": progress.best_validation_score,
            "validation_scores_": progress.validation_scores,
            "validation_loss_curve_": progress.validation_losses,
            "best_epoch_": progress.best_epoch,
            "loss_curve_": progress.loss_curve,
            "learning_rate_curve_": progress.learning_rate_curve,
            "t_": progress.t,
            "_no_improvement_count": progress.no_improvement_count,
        }
    if solution.optimizer is not None:
        attributes |= {"_optimizer": solution.optimizer, "_schedule": solution.schedule}
    return attributes


def remarks_on_a_fit(solution: Solution, network: Network, shares: np.ndarray) -> tuple[Warning, ...]:
    """What to tell the user of a whole fit."""
    of_training = solution.unfinished if solution.remark is None else solution.remark
    of_units = remark_on_saturation(network, shares)
    return tuple(remark for remark in (of_training, of_units) if remark is not None)


def _progress(model: "BaseMLP", first_pass: bool, scored: bool, validated: bool) -> Progress:
    """The progress of an estimator: none at a first pass or after another kind of training."""
    progress = Progress.begin(scored, validated)
    if first_pass:
        return progress
    losses = list(getattr(model, "loss_curve_", []))
    # A model of an older pickle does not say by which rates it was trained.
    rates = list(getattr(model, "learning_rate_curve_", [np.nan] * len(losses)))
    progress = replace(progress, t=model.t_, loss_curve=losses, learning_rate_curve=rates)
    # Scores of another kind say nothing of those to come.
    score = kind_of_score(model.scoring)
    is_same_score = getattr(model, "_scoring", score) == score
    is_same_rule = hasattr(model, "loss_curve_") and (model.best_loss_ is None) == scored
    if not is_same_rule or (scored and not is_same_score):
        return progress
    progress.best_loss, progress.no_improvement_count = model.best_loss_, model._no_improvement_count
    scores = model.validation_scores_
    if validated and is_same_score and scores is not None:
        progress.best_validation_score, progress.validation_scores = model.best_validation_score_, [*scores]
        # A model of a former version has none.
        progress.validation_losses = list(getattr(model, "validation_loss_curve_", [np.nan] * len(scores)))
    return progress


def _former(
    model: "BaseMLP", network: Network, settings: Settings, one_epoch: bool
) -> tuple[Optimizer, Constant] | None:
    """The optimiser and schedule that training goes on with, copies; None for new ones.

    An epoch goes on with those of the estimator. A whole fit has a schedule of its own, and of the former
    optimiser, if it is to keep any of it, the state.
    """
    former = getattr(model, "_optimizer", None)
    if former is None or former.state.shape[1] != network.parameters.size:
        return None
    dtype = network.parameters.dtype
    if not isinstance(settings, StochasticSettings) or (model.reset_optimizer and not one_epoch):
        return None
    kept = former.copy(dtype)
    if one_epoch:
        return kept, settings.go_on(kept, model._schedule)
    optimizer = settings.optimizer(network)
    if optimizer.name != kept.name or bool(optimizer.average_rate) != bool(kept.average_rate):
        return None
    optimizer.state, optimizer.t = kept.state, kept.t
    optimizer.average, optimizer.iterate = kept.average, kept.iterate
    return optimizer, settings.schedule


def _labels(model: "BaseMLP", data: Data) -> Any:
    """Labels by which the validation rows are stratified; None for targets that are not.

    They are the user's, not their codes: a message may name them. Multi-label targets are not stratified.
    """
    if is_classifier(model) and isinstance(data.Y, np.ndarray) and data.Y.shape[1] == 1:
        return model._scoring_target(data.Y)
    return None
