"""Output layers and losses of the multi-layer perceptrons: parameters, and the head that they ask for."""

from collections.abc import Mapping, Sequence, Set
from itertools import pairwise
from numbers import Real
from typing import TYPE_CHECKING, cast

from sklearn.utils._param_validation import Interval, StrOptions

from fastnn.estimators.declaration import BELOW_ONE, POSITIVE, declared, is_default, one_of, parameter
from fastnn.tables.activations import LOGISTIC, NAMES, SOFTMAX
from fastnn.tables.losses import LOSSES, Head, head_of

if TYPE_CHECKING:
    from fastnn.estimators.mlp.regressor import RegressorParameters

# The output activations of each loss, that of "auto" first.
OF_A_CLASSIFIER = {"log_loss": (SOFTMAX, LOGISTIC.name), "squared_error": (LOGISTIC.name,)}
OF_A_REGRESSOR = {loss.name: loss.outputs for loss in LOSSES if loss.regression}


@declared
class HeadParameters:
    """What every multi-layer perceptron can be told of its output layer."""

    out_activation: str = parameter(
        StrOptions({"auto", *NAMES}),
        default="auto",
        doc="""
        Activation of the output layer: one of those that go with ``loss``, which lists them. ``"auto"``
        stands for the usual one.
        """,
    )


@declared
class ClassifierLoss:
    """What a classifier can be told of its loss."""

    loss: str = parameter(
        StrOptions(set(OF_A_CLASSIFIER)),
        default="log_loss",
        kind=one_of(OF_A_CLASSIFIER),
        doc="""
        The cross-entropy of ``"softmax"`` outputs for several classes, and of ``"logistic"`` ones otherwise;
        with ``out_activation="logistic"`` several classes have independent outputs too. Or half the squared
        error of ``"logistic"`` outputs, averaged over them in ``loss_`` though summed in the gradient.
        """,
    )
    label_smoothing: float = parameter(
        BELOW_ONE,
        default=0.0,
        doc="""
        Share ``e`` of each target, in [0, 1), that all classes have alike: softmax outputs of ``k`` classes
        learn ``1 - e + e / k`` for the true class and ``e / k`` for the others [5]_, logistic outputs
        ``1 - e / 2`` and ``e / 2``, as with ``k = 2``. ``loss_`` is that of these targets.
        """,
    )


@declared
class RegressorLoss:
    """What a regressor can be told of its loss, first of all: positions count from the last base."""

    # References are those of the estimator.
    loss: str = parameter(
        StrOptions(set(OF_A_REGRESSOR)),
        default="squared_error",
        kind=one_of(OF_A_REGRESSOR),
        kw_only=False,
        doc="""
        Half the squared error, averaged over outputs in ``loss_`` though summed in the gradient; or, summed
        over outputs in both: half the Poisson deviance, for targets that are not negative; of the error ``e``
        its absolute value, Huber's loss [5]_, the quantile loss [6]_, or ``log(cosh(e))``. The Poisson
        deviance goes with ``out_activation="exp"``, its usual one, or ``"softplus"``; the others go with
        ``"identity"``, their usual one, ``"logistic"``, ``"tanh"``, ``"softplus"`` or ``"relu"``.
        """,
    )
    huber_delta: float = parameter(
        POSITIVE,
        default=1.0,
        doc="""
        ``loss="huber"`` is ``e**2 / 2`` where ``|e|`` is at most this, else
        ``huber_delta * (|e| - huber_delta / 2)``.
        """,
    )
    quantile: float | Sequence[float] = parameter(
        Interval(Real, 0, 1, closed="neither"),
        "array-like",
        default=0.5,
        kind="float or sequence of float",
        doc="""
        Which quantile ``loss="quantile"`` learns, between 0 and 1: ``e = y - prediction`` costs
        ``quantile * e`` where it is positive, else ``(quantile - 1) * e``. A sequence of rising ones is
        learned for one target, with an output for each: ``predict`` gives them as columns, sorted in each
        row so that they do not cross, and ``score`` the mean of their D^2. On the processor.
        """,
    )


def output_activation(loss: str, wanted: str, pairs: Mapping[str, Sequence[str]]) -> str:
    """The output activation for a loss.

    Parameters
    ----------
    loss, wanted : str
        The parameters ``loss`` and ``out_activation`` of an estimator.
    pairs : mapping of str to sequence of str
        ``OF_A_CLASSIFIER`` or ``OF_A_REGRESSOR``.

    Raises
    ------
    ValueError
        The two do not go together.
    """
    if wanted == "auto":
        return pairs[loss][0]
    if wanted in pairs[loss]:
        return wanted
    listed = "; ".join(f"{name} with {' or '.join(outputs)}" for name, outputs in pairs.items())
    raise ValueError(f"out_activation={wanted!r} does not go with loss={loss!r}; pairs are: {listed}.")


def classifier_head(loss: str, out_activation: str, *, one_of_several: bool) -> Head:
    """The head of a classifier; its targets say whether each sample has one of several classes.

    Raises
    ------
    ValueError
        The loss and the activation do not go together, or not with these targets.
    """
    output = output_activation(loss, out_activation, OF_A_CLASSIFIER)
    if loss != "log_loss":
        return head_of(loss, output)
    if one_of_several and output == SOFTMAX:
        return head_of("log_loss")
    if out_activation == SOFTMAX:
        raise ValueError(
            "out_activation='softmax' is for samples that have one of three classes or more: for two classes "
            "and for multi-label targets out_activation must be 'auto' or 'logistic'."
        )
    return head_of("binary_log_loss")


def with_smoothing(head: Head, smoothing: float, n_classes: int) -> Head:
    """The head of a classifier whose targets are smoothed.

    Parameters
    ----------
    head : Head
    smoothing : float
        Share of each target that all classes have alike.
    n_classes : int
        Those that softmax outputs have. A logistic output has two.
    """
    k = n_classes if head.output_activation == SOFTMAX else 2
    return head._replace(class_targets=(smoothing / k, 1.0 - smoothing + smoothing / k))


def check_loss_parameters(model: "RegressorParameters") -> None:
    """Make sure that the loss has a use for what is not a default.

    Raises
    ------
    ValueError
        It has none.
    """
    for loss in LOSSES:
        if loss.parameter is None or loss.name == model.loss:
            continue
        value = getattr(model, loss.parameter)
        if isinstance(value, Real) and not is_default(value, loss.default):
            raise ValueError(
                f"{loss.parameter}={value} needs loss={loss.name!r}: with {model.loss!r} it has no use."
            )


def several_quantiles(model: "RegressorParameters") -> tuple[float, ...] | None:
    """The parameter ``quantile`` of a regressor where it is a sequence, else None.

    Raises
    ------
    ValueError
        The values are no quantiles, or do not rise, or ``loss`` is another.
    """
    given = model.quantile
    if isinstance(given, Real):
        return None
    quantiles = tuple(cast(Sequence[float], given))
    in_order = not isinstance(given, Set | Mapping)
    if not (in_order and quantiles and all(isinstance(q, Real) and 0 < q < 1 for q in quantiles)):
        raise ValueError(f"quantile must be between 0 and 1, or a sequence of such numbers; got {given!r}.")
    if any(q >= following for q, following in pairwise(quantiles)):
        raise ValueError(f"A sequence of quantiles must rise, got quantile={given!r}.")
    if model.loss != "quantile":
        raise ValueError(f"quantile={given!r} needs loss='quantile', got loss={model.loss!r}.")
    return tuple(map(float, quantiles))
