"""Validation of networks, by rows that they are not trained on: whose these are, and which score counts."""

import inspect
from collections.abc import Callable
from numbers import Real
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from scipy.sparse import issparse
from sklearn.metrics import get_scorer

from fastnn.estimators.declaration import declared, parameter
from fastnn.estimators.mlp.fingerprints import described
from fastnn.estimators.weights import checked_weights
from fastnn.networks.backends import rows_beside
from fastnn.networks.data import Data
from fastnn.networks.held_out import mean_loss
from fastnn.networks.network import Network
from fastnn.networks.progress import Validation
from fastnn.networks.rows import HostRows
from fastnn.networks.solvers import STOCHASTIC_SOLVERS

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP

LOSS = "loss"


@declared
class ValidationParameters:
    """What a multi-layer perceptron can be told of its validation."""

    scoring: str | Callable[..., float] | None = parameter(
        str,
        callable,
        None,
        default=None,
        kind="str, callable or None",
        doc="""
        Score of the validation rows, of ``early_stopping`` or `X_val`, the higher the better. None stands for
        ``score``; ``"loss"`` for minus the loss, without the penalty; another string for the scorer of that
        name (:func:`sklearn.metrics.get_scorer_names`), if there are predictions to score. A callable is
        called as ``scorer(estimator, X, y)``, with a fitted copy that holds no more than it needs to predict;
        it gets ``sample_weight`` too, where it takes one and rows have weights. Scorers need the processor.
        ``partial_fit`` refuses any.
        """,
    )


class GivenRows(NamedTuple):
    """The arguments of a fit that speak of validation."""

    X: Any = None
    y: Any = None
    sample_weight: Any = None


NONE_GIVEN = GivenRows()


def kind_of_score(scoring: str | Callable[..., float] | None) -> str:
    """A text that tells one score from others: unlike a function it can always be pickled."""
    text = described(scoring)
    # Functions within functions share their names; they cannot be pickled, so that their address is enough.
    return f"{text} {id(scoring)}" if "<" in text else text


def check_validation(model: "BaseMLP", given: GivenRows, *, needs_y: bool) -> None:
    """Make sure that a fit has a use for what is said of validation.

    needs_y : whether targets are another thing than the rows

    Raises
    ------
    ValueError
        It has none, a part is missing, or no scorer has that name.
    """
    if given.X is None and given.y is not None:
        raise ValueError("y_val is provided, but X_val was not provided.")
    if given.X is None and given.sample_weight is not None:
        raise ValueError("sample_weight_val is provided, but X_val was not provided.")
    if given.X is not None and needs_y and given.y is None:
        raise ValueError("X_val is provided, but y_val was not provided.")
    is_stochastic = model.solver in STOCHASTIC_SOLVERS
    if given.X is not None and not is_stochastic:
        raise ValueError(
            f"X_val needs a solver that goes by epochs, one of {list(STOCHASTIC_SOLVERS)}; got "
            f"solver={model.solver!r}."
        )
    if model.scoring is None:
        return
    if not (is_stochastic and (given.X is not None or model.early_stopping)):
        raise ValueError(
            f"scoring={model.scoring!r} needs validation rows: early_stopping=True, or X_val, with one of "
            f"the solvers {list(STOCHASTIC_SOLVERS)}."
        )
    if isinstance(model.scoring, str) and model.scoring != LOSS:
        get_scorer(model.scoring)
        if not hasattr(model, "predict"):
            raise ValueError(
                f"scoring={model.scoring!r} is a scorer of predictions, and {type(model).__name__} has no "
                f"predict: scoring must be None, {LOSS!r} or a function."
            )


def given_data(model: "BaseMLP", given: GivenRows, data: Data) -> Data | None:
    """The user's validation rows, checked, on the device of the training rows; None where there are none.

    Parameters
    ----------
    model : estimator
        A draft that has checked the training rows.
    given : GivenRows
    data : Data
        Training rows.

    Raises
    ------
    TypeError
        They are sparse, and the training rows are on a GPU.
    ValueError
        They do not go with the training rows.
    """
    if given.X is None:
        return None
    reader = model._draft()
    # As partial_fit reads: not every class has to be there, and nothing is fitted. On the host, from
    # where the rows go to those for training.
    reader.warm_start, reader.device = False, "cpu"
    dtype = data.X.dtype
    try:
        X, Y = reader._validate_input(given.X, given.y, None, incremental=True, reset=False)
        if isinstance(Y, np.ndarray) and Y.ndim == 1:
            Y = Y.reshape(-1, 1)
        if Y.shape[1] != data.Y.shape[1]:
            raise ValueError(f"y_val has {Y.shape[1]} outputs, but y has {data.Y.shape[1]}.")
        weights = None if given.sample_weight is None else checked_weights(given.sample_weight, X, dtype)
        weights = reader._row_weights(Y, weights, dtype, trained_on=False)
    except ValueError as error:
        raise ValueError(f"Of X_val, y_val and sample_weight_val: {error}") from error
    if isinstance(Y, np.ndarray) and Y.dtype != np.bool_:
        Y = np.ascontiguousarray(Y, dtype)
    if issparse(X) and not isinstance(data.X, HostRows):
        raise TypeError(
            "Sparse data was passed for X_val, and a GPU needs dense data: use X_val.toarray(), or "
            "device='cpu'."
        )
    return Data(rows_beside(data.X, X, model.precision).astype(dtype), Y, weights)


def validator(
    model: "BaseMLP", network: Network, data: Data, scoring: str | Callable[..., float] | None
) -> Callable[[], Validation]:
    """A function that says how good the network's present parameters are for some rows.

    Parameters
    ----------
    model : estimator
        A draft with all that it needs to predict, but weights.
    network : Network
    data : Data
        Validation rows, of the network's dtype.
    scoring : str, callable or None
        As of the estimators.

    Raises
    ------
    ValueError
        The rows are on a GPU, and the score is that of a scorer.
    """
    y, loss_of = model._scoring_target(data.Y), mean_loss(network, data)
    by_scorer = None
    if scoring is not None and scoring != LOSS:
        by_scorer = _scored_by(model, network, data, y, get_scorer(scoring))

    def validate() -> Validation:
        outputs = network.outputs(data.X)
        loss = loss_of(outputs)
        if scoring == LOSS:
            return Validation(-loss, loss)
        if by_scorer is None:
            return Validation(_own_score(model, outputs, y, data.sample_weight), loss)
        return Validation(by_scorer() if np.isfinite(outputs).all() else np.nan, loss)

    return validate


def _own_score(model: "BaseMLP", outputs: np.ndarray, y: Any, sample_weight: np.ndarray | None) -> float:
    """The score that the estimator has."""
    prediction = model._decide(outputs)
    # Not so for class labels, which are integers, and may be strings.
    if np.issubdtype(prediction.dtype, np.floating) and not np.isfinite(prediction).all():
        return np.nan
    # On the way to divergence squares overflow; the score then is -inf, which says all there is to say.
    with np.errstate(over="ignore", invalid="ignore"):
        return float(model._score_function(y, prediction, sample_weight=sample_weight))


def _scored_by(
    model: "BaseMLP", network: Network, data: Data, y: Any, scorer: Callable[..., float]
) -> Callable[[], float]:
    """A function that gives the score of a scorer."""
    if not isinstance(data.X, HostRows):
        raise ValueError(
            f"scoring={model.scoring!r} needs the processor; on a GPU scoring is None or {LOSS!r}."
        )
    X, arguments = data.X.X, {}
    if data.sample_weight is not None and _takes_weights(scorer):
        arguments["sample_weight"] = data.sample_weight

    def score() -> float:
        value = scorer(fitted_copy(model, network), X, y, **arguments)
        if isinstance(value, np.ndarray) and value.ndim == 0:
            value = value.item()
        if not isinstance(value, Real):
            raise ValueError(f"scoring must return a number, got {value!r} ({type(value).__name__}).")
        return float(value)

    return score


def _takes_weights(scorer: Callable[..., float]) -> bool:
    # Of a scorer of scikit-learn its metric says so.
    return "sample_weight" in inspect.signature(getattr(scorer, "_score_func", scorer)).parameters


def network_attributes(network: Network) -> dict[str, Any]:
    """The fitted attributes that a network in training makes: copies, for it goes on."""
    coefs, intercepts = network.layer_copies()
    return {
        "coefs_": coefs,
        "intercepts_": intercepts,
        "n_layers_": len(coefs) + 1,
        "n_outputs_": intercepts[-1].size,
        "out_activation_": network.loss.output_activation,
    }


def fitted_copy(model: "BaseMLP", network: Network) -> "BaseMLP":
    """An estimator that predicts as one that were fitted to the network as it is.

    Its rows are arrays, whatever names the columns of the training data have.
    """
    fitted = model._draft()
    fitted.__dict__ |= network_attributes(network)
    fitted.__dict__.pop("feature_names_in_", None)
    return fitted
