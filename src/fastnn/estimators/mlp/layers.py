"""What a user can say of single layers, and of the batches of an update: parameters, and what they mean."""

from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Real
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.utils._param_validation import Interval, Options

from fastnn.estimators.declaration import AT_LEAST_ONE, declared, parameter
from fastnn.networks.solvers import STOCHASTIC_SOLVERS
from fastnn.tables.activations import ACTIVATIONS, CODES, DEFAULT, LAYER_ACTIVATIONS, RELU_AT_ZERO

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP


@declared
class LayerwiseParameters:
    """What a multi-layer perceptron can be told of its layers."""

    relu_grad_at_zero: float = parameter(
        Options(Real, set(RELU_AT_ZERO)),
        default=0.0,
        kind="{0, 0.5, 1}",
        doc="""
        What counts as the derivative of ``"relu"`` at 0 in hidden layers: that of one side or the other, or
        their mean. It matters where a unit's argument is exactly 0, as for an input of zeros without biases.
        """,
    )
    use_bias: bool | Iterable[bool] = parameter(
        "boolean",
        "array-like",
        default=True,
        kind="bool or sequence of bool",
        doc="""
        Whether layers have biases: one value for all, or one for each hidden layer and then one for the
        output layer. The ``intercepts_`` of a layer without are zeros, which no step changes.
        """,
    )
    bias_learning_rate_factor: float = parameter(
        Interval(Real, 0, None, closed="left"),
        default=1.0,
        doc="""
        Factor of the steps of the biases, for a learning rate of their own; with 0 they keep their first
        values. For the stochastic solvers only.
        """,
    )
    accumulate_batches: int = parameter(
        AT_LEAST_ONE,
        default=1,
        doc="""
        Mini-batches whose gradients make one step. To rounding it is that of one batch so many times as
        large, with the memory of a small one; the last step of an epoch may have fewer. For the
        stochastic solvers only, and not on a GPU.
        """,
    )


def activation_names(model: "BaseMLP", n_hidden: int) -> tuple[str, ...]:
    """Names of the activation of each hidden layer, as the user knows them.

    Raises
    ------
    ValueError
        ``activation`` is of other names, or of another length.
    """
    given = model.activation
    names = (given,) * n_hidden if isinstance(given, str) else in_order("activation", given)
    for name in names:
        if not isinstance(name, str) or name not in LAYER_ACTIVATIONS:
            raise ValueError(
                f"activation must be a name, or a sequence of one name for each hidden layer, of "
                f"{list(LAYER_ACTIVATIONS)}; got {name!r}."
            )
    if len(names) != n_hidden:
        raise ValueError(
            f"activation has {len(names)} names, and hidden_layer_sizes {n_hidden} layers: {given!r}."
        )
    return names


def in_order(parameter: str, given: Iterable[Any]) -> tuple[Any, ...]:
    """What a parameter says of one layer after the other.

    Raises
    ------
    ValueError
        It has no order.
    """
    if isinstance(given, Set | Mapping):
        raise ValueError(f"{parameter} must be a sequence, in the order of the layers; got {given!r}.")
    return tuple(given)


def with_slope_at_zero(model: "BaseMLP", names: Sequence[str]) -> tuple[str, ...]:
    """Names of the hidden layers' activations as the engine knows them, which has three of ``"relu"``.

    Raises
    ------
    ValueError
        ``relu_grad_at_zero`` has no use.
    """
    slope = RELU_AT_ZERO[float(model.relu_grad_at_zero)]
    if slope.name != DEFAULT and DEFAULT not in (names or (model.activation,)):
        raise ValueError(
            f"relu_grad_at_zero={model.relu_grad_at_zero} has no use with activation={model.activation!r}: "
            f"no hidden layer has {DEFAULT!r}."
        )
    return tuple(slope.name if name == DEFAULT else name for name in names)


def check_trainable(model: "BaseMLP", names: Sequence[str]) -> None:
    """Make sure that a network can be trained with these activations of its hidden layers.

    Without hidden layers what ``activation`` says counts all the same: what is wrong there shows at once.

    Raises
    ------
    ValueError
        One has no derivative to learn by.
    """
    for name in names or (model.activation,):
        if isinstance(name, str) and name in CODES and not ACTIVATIONS[CODES[name]].trainable:
            raise ValueError(
                f"activation={name!r} has no derivative to learn by: it is for networks whose weights are "
                "set by hand."
            )


def initial_factors(names: Sequence[str], default: str) -> list[float]:
    """``glorot_factor`` of each layer, which that of the activation behind it decides.

    The output layer has that of the last hidden one, as in scikit-learn.

    default : activation that counts where there is no hidden layer
    """
    last = names[-1] if names else default
    # Of softmax scikit-learn says nothing: that of tanh and most others.
    return [ACTIVATIONS[CODES.get(name, CODES[DEFAULT])].glorot_factor for name in (*names, last)]


def bias_rates(model: "BaseMLP", n_layers: int) -> tuple[float, ...]:
    """Factor of the step of each layer's biases; 0 where it has none, or where they stay.

    Raises
    ------
    ValueError
        ``use_bias`` is not of truth values, or of another length.
    """
    factor = float(model.bias_learning_rate_factor)
    return tuple(factor if used else 0.0 for used in layers_with_bias(model, n_layers))


def layers_with_bias(model: "BaseMLP", n_layers: int) -> tuple[bool, ...]:
    """Whether each layer, the output's included, has biases.

    Raises
    ------
    ValueError
        ``use_bias`` is not of truth values, or of another length.
    """
    given = model.use_bias
    if isinstance(given, bool | np.bool_):
        return (bool(given),) * n_layers
    flags = in_order("use_bias", given)
    if not all(isinstance(flag, bool | np.bool_) for flag in flags):
        raise ValueError(
            f"use_bias must be True, False, or a sequence of these, one for each layer; got {given!r}."
        )
    if len(flags) != n_layers:
        raise ValueError(
            f"use_bias has {len(flags)} values, and the network {n_layers} layers of weights, the output's "
            f"included: {given!r}."
        )
    return tuple(map(bool, flags))


def has_spare_biases(intercepts: Iterable[np.ndarray], has_bias: Sequence[bool]) -> bool:
    """Whether a layer that is to be without biases has other than zeros."""
    return any(b.any() for b, used in zip(intercepts, has_bias, strict=True) if not used)


# Parameters that only solvers by epochs have a use for: the value that is none, and what another lacks.
_OF_EPOCHS = {
    "bias_learning_rate_factor": (1, "has no learning rate"),
    "accumulate_batches": (1, "has no mini-batches"),
    "dropout": (0, "minimises one loss, and with dropout that of each step is another"),
    "noise": (0, "minimises one loss, and with noise that of each epoch is another"),
}


def check_use(model: "BaseMLP") -> None:
    """Make sure that the solver has a use for what is not a default.

    Raises
    ------
    ValueError
        It has none.
    """
    if model.solver in STOCHASTIC_SOLVERS:
        return
    for name, (usual, reason) in _OF_EPOCHS.items():
        value = getattr(model, name, usual)  # an estimator need not have all of them
        if value != usual:
            raise ValueError(
                f"{name}={value} needs a solver of {list(STOCHASTIC_SOLVERS)}: solver={model.solver!r} "
                f"{reason}."
            )
