"""Between an estimator of networks and the engine: parameters to settings, results to fitted attributes."""

from collections.abc import Callable
from copy import copy
from dataclasses import fields
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.base import is_classifier

from fastnn.kernels.contract.network import EngineRows
from fastnn.networks.data import Data
from fastnn.networks.held_out import hold_out
from fastnn.networks.network import Network
from fastnn.networks.progress import Progress
from fastnn.networks.saturation import remark_on_saturation
from fastnn.networks.schedules import Constant
from fastnn.networks.solvers import SOLVERS
from fastnn.networks.solvers.interface import Problem, Solution, silent
from fastnn.tables.optimizers import Optimizer

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP


def trained(
    model: "BaseMLP",
    network: Network,
    data: Data,
    rng: np.random.RandomState,
    *,
    first_pass: bool,
    one_epoch: bool,
    inputs: Callable[[], EngineRows] | None = None,
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
    first_pass : bool
        Whether training begins rather than continues.
    one_epoch : bool
        Do one epoch with the estimator's own optimiser, as ``partial_fit`` does.
    inputs : callable, default=None
        Gives the inputs of each epoch, where they are others than those of the data.
    """
    solver = SOLVERS[model.solver]
    parameters = {field.name: getattr(model, field.name) for field in fields(solver.settings)}
    rows: np.ndarray | None = None
    score: Callable[[], float] | None = None
    if one_epoch:
        parameters["max_iter"] = 1
    if solver.is_stochastic and model.early_stopping:
        rows, held_out = hold_out(data, model.validation_fraction, rng, _labels(model, data))
        score = _score_on(model, network, held_out)
    problem = Problem(
        network,
        data,
        rng,
        _progress(model, first_pass, score is not None),
        rows=rows,
        score=score,
        former=_former(model, network) if one_epoch and not first_pass else None,
        inputs=inputs,
        tell=_teller(model),
    )
    return solver.solve(problem, solver.settings(**parameters))


def _teller(model: "BaseMLP") -> Callable[[str], None]:
    """What becomes of the lines that a user may want to read."""
    if not model.verbose:
        return silent
    return print if model._member is None else model._member.tell


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
            "loss_curve_": progress.loss_curve,
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


def _progress(model: "BaseMLP", first_pass: bool, scored: bool) -> Progress:
    """The progress of an estimator: none at a first pass or after another kind of training."""
    if first_pass or not hasattr(model, "loss_curve_") or (model.validation_scores_ is None) == scored:
        progress = Progress.begin(scored)
        if first_pass:
            return progress
        best_loss, best_score, count = progress.best_loss, progress.best_validation_score, 0
        scores = progress.validation_scores
    else:
        best_loss, best_score = model.best_loss_, model.best_validation_score_
        count = model._no_improvement_count
        scores = list(model.validation_scores_) if scored else None
    return Progress(best_loss, best_score, count, model.t_, list(getattr(model, "loss_curve_", [])), scores)


def _former(model: "BaseMLP", network: Network) -> tuple[Optimizer, Constant] | None:
    """A copy of the estimator's optimiser and schedule, where there is one that fits the network."""
    if not hasattr(model, "_optimizer") or model._optimizer.state.shape[1] != network.parameters.size:
        return None
    optimizer = copy(model._optimizer)
    optimizer.state = optimizer.state.astype(network.parameters.dtype)
    optimizer.hyper = optimizer.hyper.copy()  # of a memory-mapped pickle it is read-only
    return optimizer, model._schedule


def _labels(model: "BaseMLP", data: Data) -> Any:
    """Labels by which the validation rows are stratified; None for targets that are not.

    They are the user's, not their codes: a message may name them. Multi-label targets are not stratified.
    """
    if is_classifier(model) and isinstance(data.Y, np.ndarray) and data.Y.shape[1] == 1:
        return model._scoring_target(data.Y)
    return None


def _score_on(model: "BaseMLP", network: Network, held_out: Data) -> Callable[[], float]:
    """A function that gives the estimator's score on rows that are held out, with the present parameters."""
    y = model._scoring_target(held_out.Y)

    def score() -> float:
        prediction = model._decide(network.outputs(held_out.X))
        # Not so for class labels, which are integers, and may be strings.
        if np.issubdtype(prediction.dtype, np.floating) and not np.isfinite(prediction).all():
            return np.nan
        # On the way to divergence squares overflow; the score then is -inf, which says all there is to say.
        with np.errstate(over="ignore", invalid="ignore"):
            return model._score_function(y, prediction, sample_weight=held_out.sample_weight)

    return score
