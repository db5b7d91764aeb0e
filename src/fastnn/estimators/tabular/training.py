"""The training of one network for a table: from rows and parameters to fitted attributes."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from fastnn.estimators.callbacks import Tasks
from fastnn.estimators.mlp.reporting import reporter, teller
from fastnn.kernels.contract.network import EngineRows
from fastnn.networks.backends import rows_and_backend
from fastnn.networks.columns import Columns
from fastnn.networks.data import Data
from fastnn.networks.encoding import EncodedRows, Encoding
from fastnn.networks.held_out import mean_loss
from fastnn.networks.network import Network
from fastnn.networks.one_hot import OneHot
from fastnn.networks.progress import Progress, Validation
from fastnn.networks.realmlp import RealMLPSettings, StepFactors, real_mlp
from fastnn.networks.schedules import DECAY
from fastnn.networks.solvers.interface import REMEDY, Epoch, Problem, Solution
from fastnn.networks.solvers.stochastic import train_stochastic
from fastnn.tables.losses import Head

if TYPE_CHECKING:
    from fastnn.estimators.tabular.base import BaseRealMLP


_REMEDY = "Lower learning_rate_init."
# Those of numbers are float64, as the user gave them; those of two classes one column of bool.
Targets = np.ndarray | OneHot


class Table(NamedTuple):
    """Rows with their targets, checked."""

    columns: Columns
    Y: Targets  # (n, n_outputs)
    sample_weight: np.ndarray | None  # (n,) float32

    def targets(self, rows: np.ndarray | None) -> Targets:
        """Those of some rows."""
        if rows is None:
            return self.Y
        return self.Y[rows] if isinstance(self.Y, np.ndarray) else self.Y.take(rows)

    def weights(self, rows: np.ndarray | None) -> np.ndarray | None:
        """Those of some rows."""
        return self.sample_weight if rows is None or self.sample_weight is None else self.sample_weight[rows]


@dataclass(frozen=True)
class Training:
    """What one network is trained on.

    Parameters
    ----------
    table : Table
    rows : ndarray of int or None
        To train on; None for all.
    validation : Table or None
        Where the rows are that say which epoch is the best; None where none are.
    held_out : ndarray of int or None
        Which rows of it; None for all.
    rng : numpy.random.RandomState
        Of first parameters and orders.
    n_epochs : int or None
        After which training ends, before its schedule does; None for all of them.
    """

    table: Table
    rows: np.ndarray | None
    validation: Table | None
    held_out: np.ndarray | None
    rng: np.random.RandomState
    n_epochs: int | None = None


class LearntTargets(NamedTuple):
    """Targets of a network, learnt from those of its training rows."""

    head: Head
    of: Callable[[Targets], Targets]  # from those of the user
    # Score of outputs for rows with targets of the user, with their weights; the higher the better.
    score: Callable[[np.ndarray, Targets, np.ndarray | None], float]
    attributes: dict[str, Any]  # of the estimator


def train_network(model: "BaseRealMLP", training: Training, tasks: Tasks | None = None) -> Warning | None:
    """Train a network, and give an estimator the attributes that come of it.

    Parameters
    ----------
    model : estimator
        A draft.
    training : Training
    tasks : Tasks, default=None
        scikit-learn's, begun.

    Returns
    -------
    remark : Warning or None

    Raises
    ------
    ValueError
        Nothing usable has come of it.
    """
    table, rows = training.table, training.rows
    encoding = Encoding.of(table.columns, rows)
    learnt = model._learn_targets(table.targets(rows))
    inputs, backend = rows_and_backend(inputs_of(encoding.encode(table.columns, rows)))
    data = Data(inputs, learnt.of(table.targets(rows)), table.weights(rows))
    network = real_mlp(
        [inputs.shape[1], *model._hidden_layer_sizes(), data.Y.shape[1]],
        training.rng,
        _step_factors(model),
        activation=model.activation,
        head=learnt.head,
        dtype=np.float32,
        backend=backend,
    )
    solution = _solve(model, network, data, _validate(training, encoding, learnt, network), training, tasks)
    if solution.not_finite is not None:
        raise ValueError(f"Training diverged: it produced non-finite {solution.not_finite}. {_REMEDY}")
    model.__dict__.update(_attributes(network, solution) | learnt.attributes | {"encoding_": encoding})
    remark = solution.remark
    # Inputs and targets are scaled here.
    return remark and type(remark)(str(remark).replace(REMEDY, _REMEDY))


def inputs_of(rows: EncodedRows) -> Any:
    """Rows as a network takes them: dense, or of many inputs, most of them 0, as a CSR matrix."""
    return rows.csr() if rows.is_wide else rows.dense()


def _step_factors(model: "BaseRealMLP") -> StepFactors:
    return StepFactors(
        1.0, float(model.bias_lr_factor), float(model.scale_lr_factor) if model.add_front_scale else None
    )


def _settings(model: "BaseRealMLP", n_rows: int) -> RealMLPSettings:
    return RealMLPSettings(
        alpha=0.0,
        max_iter=model.max_iter,
        tol=0.0,
        batch_size=min(model.batch_size, n_rows),
        learning_rate=model.learning_rate,
        learning_rate_init=model.learning_rate_init,
        power_t=0.5,
        learning_rate_decay=DECAY,
        warmup_epochs=0.0,
        shuffle=True,
        n_iter_no_change=np.inf,
        accumulate_batches=1,
        l1_alpha=0.0,
        max_grad_norm=None,
        average=False,
        beta_1=model.mom,
        beta_2=model.sq_mom,
        epsilon=model.opt_eps,
    )


def _validate(
    training: Training, encoding: Encoding, learnt: LearntTargets, network: Network
) -> Callable[[], Validation] | None:
    """Says how good the present parameters are for the rows that are held out; None where there are none."""
    table, rows = training.validation, training.held_out
    if table is None:
        return None
    X: EngineRows
    X, _ = rows_and_backend(inputs_of(encoding.encode(table.columns, rows)))
    Y, weights = table.targets(rows), table.weights(rows)
    loss_of = mean_loss(network, Data(X, learnt.of(Y), weights))

    def validate() -> Validation:
        outputs = network.outputs(X)
        score = learnt.score(outputs, Y, weights) if np.isfinite(outputs).all() else np.nan
        return Validation(score, loss_of(outputs))

    return validate


def _solve(
    model: "BaseRealMLP",
    network: Network,
    data: Data,
    validate: Callable[[], Validation] | None,
    training: Training,
    tasks: Tasks | None,
) -> Solution:
    n_rows = data.Y.shape[0]
    progress = Progress.begin(validate is not None)
    progress.prefers_last = True
    report = reporter(model, network, n_rows, model.max_iter, callback=model.callback, tasks=tasks)
    last = training.n_epochs

    def watch(epoch: Epoch) -> bool:
        is_last = report is not None and report(epoch)
        return is_last or epoch.number + 1 == last

    problem = Problem(
        network,
        data,
        training.rng,
        progress,
        validate=validate,
        early_stopping=validate is not None,
        tell=teller(model),
        watch=watch,
    )
    return train_stochastic(problem, _settings(model, n_rows))


def _attributes(network: Network, solution: Solution) -> dict[str, Any]:
    """What an estimator has of its network."""
    progress = solution.progress
    assert progress is not None
    return {
        "coefs_": [W.copy() for W in network.coefs],
        "intercepts_": [b.copy() for b in network.intercepts],
        "n_layers_": len(network.coefs) + 1,
        "n_outputs_": network.layer_sizes[-1],
        "out_activation_": network.loss.output_activation,
        "n_iter_": solution.n_iter,
        "t_": progress.t,
        "loss_curve_": progress.loss_curve,
        "learning_rate_curve_": progress.learning_rate_curve,
        "validation_scores_": progress.validation_scores,
        "validation_loss_curve_": progress.validation_losses,
        "best_validation_score_": progress.best_validation_score,
        "best_epoch_": progress.best_epoch,
    }
