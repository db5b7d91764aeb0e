"""How a multi-layer perceptron is trained: epochs of a stochastic solver until a stopping rule, or L-BFGS.

Both trainers work on a ``Network`` and an estimator's parameters. They change the network only; what an
estimator should remember comes back in their result.
"""

from copy import copy
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import minimize
from sklearn.base import is_classifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils import _safe_indexing

from fastnn.kernels.shared.device_rows import DeviceRows
from fastnn.kernels.shared.threads import one_blas_thread
from fastnn.kernels.shared.user_warnings import warn
from fastnn.networks.network import Network
from fastnn.networks.one_hot import OneHot
from fastnn.networks.schedules import SCHEDULES, Constant
from fastnn.tables.optimizers import Optimizer

STOCHASTIC_SOLVERS = ("sgd", "adam")
SOLVERS = (*STOCHASTIC_SOLVERS, "lbfgs")
REMEDY = (
    "The input data may contain large values and need to be preprocessed. Scale the inputs (and the targets "
    "of a regressor), for example with StandardScaler, or lower learning_rate_init."
)


class Data(NamedTuple):
    """Validated training data, as the engine takes it."""

    X: Any  # (n, n_features) C-contiguous, CSR or DeviceRows
    Y: np.ndarray | OneHot  # (n, n_outputs), 0 or 1 for classes
    sample_weight: np.ndarray | None  # (n,) of X's dtype


class Result(NamedTuple):
    """What a trainer reports, beside the parameters that it leaves in the network."""

    attributes: dict[str, Any]  # fitted attributes to set
    not_finite: str | None  # what is not, so that nothing usable came of it; None for a usable model
    remark: Warning | None  # to be given once the attributes are set


@dataclass
class Progress:
    """Losses and scores of a run so far, and the count behind the stopping rule.

    The names are those of the fitted attributes, without underscores.
    """

    best_loss: float | None
    best_validation_score: float | None
    no_improvement_count: int = 0
    t: int = 0
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] | None = None

    @classmethod
    def of(cls, model: Any, first_pass: bool) -> "Progress":
        """The progress of an estimator: none at a first pass or after another kind of training."""
        scored = model.early_stopping
        if first_pass or not hasattr(model, "loss_curve_") or (model.validation_scores_ is None) == scored:
            progress = cls(None, -np.inf, 0) if scored else cls(np.inf, None, 0)
            progress.validation_scores = [] if scored else None
        else:
            progress = cls(model.best_loss_, model.best_validation_score_, model._no_improvement_count)
            progress.validation_scores = list(model.validation_scores_) if scored else None
        if not first_pass:
            progress.t = model.t_
            progress.loss_curve = list(getattr(model, "loss_curve_", []))
        return progress

    def record_loss(self, loss: float, tol: float) -> None:
        """Count an epoch judged by its training loss."""
        assert self.best_loss is not None
        self.no_improvement_count = self.no_improvement_count + 1 if loss > self.best_loss - tol else 0
        self.best_loss = min(self.best_loss, loss)

    def record_score(self, score: float, tol: float) -> bool:
        """Count an epoch judged by its validation score; return whether it is the best so far."""
        assert self.best_validation_score is not None
        assert self.validation_scores is not None
        self.validation_scores.append(score)
        # A score of NaN (non-finite predictions) compares False: it counts as neither worse nor better.
        worse = score < self.best_validation_score + tol
        self.no_improvement_count = self.no_improvement_count + 1 if worse else 0
        better = score > self.best_validation_score
        if better:
            self.best_validation_score = score
        return better

    def forget(self, n_epochs: int, n: int) -> None:
        """Take back the last epochs, of `n` rows each."""
        self.t -= n_epochs * n
        del self.loss_curve[len(self.loss_curve) - n_epochs :]
        if self.validation_scores is not None:
            del self.validation_scores[len(self.validation_scores) - n_epochs :]

    def attributes(self) -> dict[str, Any]:
        """Fitted attributes, by name."""
        return {
            "best_loss_": self.best_loss,
            "best_validation_score_": self.best_validation_score,
            "validation_scores_": self.validation_scores,
            "loss_curve_": self.loss_curve,
            "t_": self.t,
            "_no_improvement_count": self.no_improvement_count,
        }


def _new_optimizer(model: Any, network: Network) -> tuple[Optimizer, Constant]:
    if model.solver == "sgd":
        rule, schedule = ("nesterov" if model.nesterovs_momentum else "momentum"), model.learning_rate
        hyper = {"momentum": model.momentum}
    else:
        rule, schedule = model.solver, "constant"
        hyper = {"beta_1": model.beta_1, "beta_2": model.beta_2, "epsilon": model.epsilon}
    optimizer = Optimizer(
        rule,
        hyper,
        learning_rate=model.learning_rate_init,
        n_parameters=network.parameters.size,
        dtype=network.parameters.dtype,
    )
    return optimizer, SCHEDULES[schedule](model.learning_rate_init, model.power_t)


def _continued_optimizer(model: Any, network: Network) -> tuple[Optimizer, Constant] | None:
    """A copy of the estimator's optimiser and schedule, where there is one that fits the network."""
    if not hasattr(model, "_optimizer") or model._optimizer.state.shape[1] != network.parameters.size:
        return None
    optimizer = copy(model._optimizer)
    optimizer.state = optimizer.state.astype(network.parameters.dtype)
    optimizer.hyper = optimizer.hyper.copy()  # of a memory-mapped pickle it is read-only
    return optimizer, model._schedule


class _HeldOut(NamedTuple):
    """Rows set aside for early stopping, targets as the score takes them."""

    X: Any
    y: Any
    sample_weight: np.ndarray | None


def _hold_out(model: Any, data: Data, rng: np.random.RandomState) -> tuple[np.ndarray, _HeldOut]:
    """Split off the validation rows; return the training rows' indices and the validation data."""
    # Multi-label targets are not stratified. The labels are the user's, not their codes: a message may name
    # them. Splitting indices draws what splitting X and y would draw.
    stratify = None
    if is_classifier(model) and isinstance(data.Y, np.ndarray) and data.Y.shape[1] == 1:
        stratify = model._scoring_target(data.Y)
    train, rows = train_test_split(
        np.arange(data.Y.shape[0]), random_state=rng, test_size=model.validation_fraction, stratify=stratify
    )
    if len(rows) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
        )
    weight = None
    if data.sample_weight is not None:
        weight = data.sample_weight[rows]
        if not weight.any() or not data.sample_weight[train].any():
            raise ValueError(
                "Sample weights must contain at least one non-zero number in both the training and the "
                "validation part."
            )
    held_out = data.X.take(rows) if isinstance(data.X, DeviceRows) else _safe_indexing(data.X, rows)
    targets = data.Y.take(rows) if isinstance(data.Y, OneHot) else data.Y[rows]
    return train.astype(np.int64, copy=False), _HeldOut(held_out, model._scoring_target(targets), weight)


def _batch_size(model: Any, n: int) -> int:
    if model.batch_size == "auto":
        return min(200, n)
    if model.batch_size > n:
        warn("Got `batch_size` less than 1 or larger than sample size. It is going to be clipped")
    return min(model.batch_size, n)


def _shuffled(rows: np.ndarray, rng: np.random.RandomState) -> np.ndarray:
    """The rows in the order of ``sklearn.utils.shuffle``, whose checks take as long as a batch."""
    order = np.arange(rows.size)
    rng.shuffle(order)
    return rows[order]


def train_stochastic(
    model: Any, network: Network, data: Data, rng: np.random.RandomState, *, first_pass: bool, one_epoch: bool
) -> Result:
    """Epochs of mini-batches until a stopping rule, ``max_iter``, or the user, ends them.

    Parameters
    ----------
    model : estimator
        Its parameters, and where ``first_pass`` is False its fitted attributes, are read.
    network : Network
        Trained in place.
    data : Data
    rng : numpy.random.RandomState
        Source of the validation split and of each epoch's order.
    first_pass : bool
        Whether training begins rather than continues.
    one_epoch : bool
        Do one epoch with the estimator's own optimiser, as ``partial_fit`` does.

    Returns
    -------
    result : Result
    """
    continued = _continued_optimizer(model, network) if one_epoch and not first_pass else None
    optimizer, schedule = continued or _new_optimizer(model, network)
    progress = Progress.of(model, first_pass)
    n = data.Y.shape[0]
    rows, held_out = None, None
    if model.early_stopping:
        rows, held_out = _hold_out(model, data, rng)
        n = len(rows)
    elif model.shuffle:
        rows = np.arange(n, dtype=np.int64)
    batch_size = _batch_size(model, n)

    parameters = network.parameters
    # Where a validation set judges, the best parameters so far; else those before any loss was infinite.
    kept = parameters.copy()
    n_iter = 0
    remark: Warning | None = None
    broken: str | None = None
    bounded, interrupted = True, False
    try:
        for _ in range(1 if one_epoch else model.max_iter):
            if model.shuffle:
                assert rows is not None
                rows = _shuffled(rows, rng)
            loss = network.train_epoch(
                optimizer,
                data.X,
                data.Y,
                rows,
                batch_size,
                sample_weight=data.sample_weight,
                alpha=model.alpha,
            )
            # An infinite loss may have finite gradients, with which training goes on.
            if broken := _not_finite(parameters, "losses" if np.isnan(loss) else None):
                break
            n_iter += 1
            progress.t += n
            progress.loss_curve.append(loss)
            if model.verbose:
                print(f"Iteration {n_iter}, loss = {loss:.8f}")

            if held_out is None:
                progress.record_loss(loss, model.tol)
                bounded = bounded and not np.isinf(loss)
                if bounded:
                    kept[:] = parameters
            else:
                if progress.record_score(_validation_score(model, network, held_out), model.tol):
                    kept[:] = parameters
                if model.verbose:
                    print(f"Validation score: {progress.validation_scores[-1]:f}")  # type: ignore[index]
            optimizer.learning_rate = schedule.after_epoch(optimizer.learning_rate, progress.t)

            if progress.no_improvement_count > model.n_iter_no_change:
                rate, note = schedule.when_stalled(optimizer.learning_rate)
                if model.verbose:
                    judge = "Training loss" if held_out is None else "Validation score"
                    print(
                        f"{judge} did not improve more than tol={model.tol:f} for "
                        f"{model.n_iter_no_change} consecutive epochs. {note}"
                    )
                if rate is None:
                    break
                optimizer.learning_rate = rate
                progress.no_improvement_count = 0
        else:
            remark = None if one_epoch else _not_converged(model.max_iter)
    except KeyboardInterrupt:
        broken, interrupted = _not_finite(parameters), True
        remark = UserWarning("Training interrupted by user.")

    network.finish(optimizer)
    if held_out is not None or broken:
        parameters[:] = kept
    has_best = held_out is not None and progress.best_validation_score != -np.inf
    failure = None if has_best else broken
    if not (has_best or broken or held_out is None or interrupted):
        failure = "validation scores in every epoch"
    losses = progress.loss_curve[len(progress.loss_curve) - n_iter :]
    diverged = _diverged(losses, broken, scored=has_best)
    if failure is None and diverged is not None:
        if not interrupted:
            remark = diverged
        if not np.isfinite(_outputs(model, network, data.X)).all():
            failure = "outputs for the training data"
    if failure is not None:
        parameters[:] = kept
        useless = n_iter - int(np.argmax([*np.isinf(losses), True]))
        progress.forget(useless, n)
        n_iter -= useless
    attributes = progress.attributes() | {"n_iter_": n_iter}
    if n_iter:
        attributes["loss_"] = progress.loss_curve[-1]
    if not (failure or broken):
        # After a divergence there is no state worth going on from.
        attributes |= {"_optimizer": optimizer, "_schedule": schedule}
    return Result(attributes, failure, remark)


def _not_finite(parameters: np.ndarray, besides: str | None = None) -> str | None:
    """What is not finite: the parameters; else what is known not to be; None if all is."""
    return besides if np.isfinite(parameters).all() else "parameter weights"


def _outputs(model: Any, network: Network, X: Any) -> np.ndarray:
    return model._forward(X, network.coefs, network.intercepts, network.loss.output_activation)


def _validation_score(model: Any, network: Network, held_out: _HeldOut) -> float:
    prediction = model._decide(_outputs(model, network, held_out.X))
    # Not so for class labels, which are integers, and may be strings.
    if np.issubdtype(prediction.dtype, np.floating) and not np.isfinite(prediction).all():
        return np.nan
    # On the way to divergence squares overflow; the score then is -inf, which says all there is to say.
    with np.errstate(over="ignore", invalid="ignore"):
        return model._score_function(held_out.y, prediction, sample_weight=held_out.sample_weight)


def _not_converged(max_iter: int) -> Warning:
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


def train_lbfgs(model: Any, network: Network, data: Data, *, first_pass: bool) -> Result:
    """Minimise the full-batch loss with SciPy's L-BFGS-B.

    Parameters and result are those of ``train_stochastic`` that have the same names: nothing is drawn at
    random, and a run is a whole fit.
    """
    parameters = network.parameters
    # Where the search begins, of which SciPy takes a copy; then the last iterate that is finite.
    kept = parameters.copy()

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        parameters[:] = x
        loss, gradient = network.loss_and_gradient(
            data.X, data.Y, sample_weight=data.sample_weight, alpha=model.alpha, copy=False
        )
        if not np.isfinite(loss):
            # A search ends here: no step from an infinite loss can be judged by it.
            gradient[:] = 0
        return loss, gradient  # SciPy takes a copy, in float64

    def after_iteration(intermediate_result: Any) -> None:
        if np.isfinite(intermediate_result.fun) and np.isfinite(intermediate_result.x).all():
            kept[:] = intermediate_result.x
        if model.verbose:
            print(f"loss = {intermediate_result.fun:.8f}")

    # SciPy's vector operations gain nothing from BLAS threads. What overflows is looked for afterwards.
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        result = minimize(
            objective,
            kept,
            method="L-BFGS-B",
            jac=True,
            callback=after_iteration,
            options={"maxfun": model.max_fun, "maxiter": model.max_iter, "gtol": model.tol},
        )
    parameters[:] = result.x
    broken = _not_finite(parameters, None if np.isfinite(result.fun) else "losses")
    if broken:
        parameters[:] = kept
    attributes = {
        "loss_": float(result.fun),
        "n_iter_": min(result.nit, model.max_iter),
        "t_": 0 if first_pass else model.t_,
    }
    return Result(attributes, broken, _remark_on_search(result, model.max_iter))


def _remark_on_search(result: Any, max_iter: int) -> Warning | None:
    """A warning, in the words of scikit-learn, if SciPy's search has not reached its aim."""
    if result.status == 0:
        return None
    n_iter = min(result.nit, max_iter)
    said = (
        f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}):\n{result.message}\n"
    )
    if n_iter == max_iter:
        said += f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
    return ConvergenceWarning(
        f"{said}\nYou might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html"
    )
