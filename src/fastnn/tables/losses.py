"""Losses: one entry per loss, and one head per pair of a loss and an output activation.

scikit-learn 1.9 (``sklearn/neural_network/_base.py``) defines those that it has. An entry holds scalar
functions of a target `y`, the network's output `a` and a number `p`, compiled into the kernels:

* ``value(y, a, p)``, this element's share of the loss, in the working precision;
* ``da(y, a, p)``, the derivative with respect to `a`;
* ``dz(y, a, p)``, with respect to `z`, the input of the output activation, where that is not written as the
  product of `da` and the activation's derivative. A canonical pair has ``dz = a - y`` (Bishop, Pattern
  Recognition and Machine Learning, 2006, section 4.3.6; for softmax where the targets of a row sum to 1).

`p` is the parameter of a loss that has one, a run-time value for all outputs or for each; others do not read
it. The product is 0 where a logistic or tanh output rounds to 1.

A loss is the mean over the rows of the sum over a row; `mean_over_outputs` makes it the mean over both. The
gradient takes no such mean: scikit-learn's, too, is that of the sum over a row.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from fastnn.tables.activations import ACTIVATIONS, EXP, IDENTITY, LOGISTIC, RELU, SOFTMAX, SOFTPLUS, TANH
from fastnn.tables.activations import CODES as ACTIVATION_CODES
from fastnn.tables.elementary import expm1, log, log1p, tanh
from fastnn.tables.jitable import register_jitable

# Inlined, or the loop around them would be a loop of calls.
_scalar = register_jitable(forceinline=True)


class Loss(NamedTuple):
    """What a network is trained to make small."""

    name: str
    outputs: tuple[str, ...]  # output activations, the usual one first
    value: Callable[..., Any]
    da: Callable[..., Any] | None = None  # of the outputs that have no `dz`
    dz: Mapping[str, Callable[..., Any]] = MappingProxyType({})  # by output activation
    mean_over_outputs: bool = False
    regression: bool = False  # whether MLPRegressor offers it
    # Name of the estimators' parameter that is `p`, and its default.
    parameter: str | None = None
    default: float = 0.0


class Head(NamedTuple):
    """What is beyond the last weights of a network in training: an output activation and a loss."""

    code: int  # place in ``HEADS``
    loss: Loss
    output_activation: str
    mean_over_outputs: bool
    parameter: float | tuple[float, ...]  # `p`, for all outputs or for each
    # What 0 and 1 count as, where targets are those of classes.
    class_targets: tuple[float, float] = (0.0, 1.0)

    @property
    def dz_factors(self) -> tuple[Callable[..., Any], Callable[..., Any]]:
        """Scalar functions, of which ``first(y, a, p) * second(a, a)`` is dz."""
        dz = self.loss.dz.get(self.output_activation)
        if dz is not None:
            return dz, IDENTITY.derivative
        assert self.loss.da is not None
        return self.loss.da, ACTIVATIONS[ACTIVATION_CODES[self.output_activation]].derivative

    def scale(self, n_outputs: int) -> float:
        """Factor of the loss summed over the outputs."""
        return 1.0 / n_outputs if self.mean_over_outputs else 1.0


@_scalar
def _difference(y, a, p):
    return a - y


@_scalar
def _xlogy(x, y):
    # 0 for x = 0 and any y but NaN. A select, where `and` might leave a branch.
    return type(x)(0) if (x == type(x)(0)) & (y == y) else x * log(y)


@_scalar
def _clip(p):
    """Away from 0 and 1 by the machine epsilon; NaN stays NaN."""
    low = type(p)(np.finfo(type(p)).eps)
    high = type(p)(1) - low
    p = low if p < low else p
    return high if p > high else p


@_scalar
def _log_loss(y, a, p):
    return -_xlogy(y, _clip(a))


@_scalar
def _binary_log_loss(y, a, p):
    probability = _clip(a)
    one = type(a)(1)
    return -(_xlogy(y, probability) + _xlogy(one - y, one - probability))


@_scalar
def _squared_error(y, a, p):
    error = y - a
    return type(a)(0.5) * error * error


@_scalar
def _poisson(y, a, p):
    # An output that underflowed to 0 is right where the target is 0: 0/0 must not reach the logarithm.
    none = y == type(y)(0)
    ratio = y / (type(a)(1) if none else a)
    return a if none else _xlogy(y, ratio) - y + a


@_scalar
def _poisson_softplus_dz(y, a, p):
    # (1 - y / a) (1 - exp(-a)). An output that underflowed has the limit, -y: its factor tends to 1.
    one, none = type(a)(1), a == type(a)(0)
    factor = -expm1(-a) / (one if none else a)
    return (a - y) * (one if none else factor)


@_scalar
def _absolute_error(y, a, p):
    return abs(y - a)


@_scalar
def _absolute_error_da(y, a, p):
    # The sign; of 0 and of NaN themselves.
    e, one = a - y, type(a)(1)
    return one if e > type(a)(0) else (-one if e < type(a)(0) else e)


@_scalar
def _huber(y, a, p):
    e = abs(a - y)
    half = type(a)(0.5)
    return half * e * e if e <= p else p * (e - half * p)


@_scalar
def _huber_da(y, a, p):
    e = a - y
    return p if e > p else (-p if e < -p else e)


@_scalar
def _quantile(y, a, p):
    e = y - a
    return (p - type(a)(1) if e < type(a)(0) else p) * e


@_scalar
def _quantile_da(y, a, p):
    e = a - y
    return type(a)(1) - p if e > type(a)(0) else (-p if e < type(a)(0) else e)


@_scalar
def _log_cosh(y, a, p):
    # With t = exp(-e) - 1 it is log1p(t^2 / (2 (1 + t))), which small errors need, and
    # e - log(2) + log1p((1 + t)^2), which does not overflow.
    e, one = abs(a - y), type(a)(1)
    t = expm1(-e)
    small, decay = e < one, one + t
    ratio = t * t / (decay + decay if small else one)
    tail = log1p(ratio if small else decay * decay)
    return (type(a)(0) if small else e - type(a)(0.6931471805599453)) + tail


@_scalar
def _log_cosh_da(y, a, p):
    return tanh(a - y)


# Output activations of losses of an error y - a.
_OF_ERRORS = (IDENTITY.name, LOGISTIC.name, TANH.name, SOFTPLUS.name, RELU.name)

LOSSES = (
    Loss("log_loss", (SOFTMAX,), _log_loss, dz={SOFTMAX: _difference}),
    Loss("binary_log_loss", (LOGISTIC.name,), _binary_log_loss, dz={LOGISTIC.name: _difference}),
    Loss("squared_error", _OF_ERRORS, _squared_error, _difference, mean_over_outputs=True, regression=True),
    # Half the deviance of the Poisson distribution.
    Loss(
        "poisson",
        (EXP.name, SOFTPLUS.name),
        _poisson,
        dz={EXP.name: _difference, SOFTPLUS.name: _poisson_softplus_dz},
        regression=True,
    ),
    Loss("absolute_error", _OF_ERRORS, _absolute_error, _absolute_error_da, regression=True),
    # Huber (1964), "Robust estimation of a location parameter", Annals of Mathematical Statistics 35.
    Loss("huber", _OF_ERRORS, _huber, _huber_da, regression=True, parameter="huber_delta", default=1.0),
    # Koenker and Bassett (1978), "Regression quantiles", Econometrica 46; also called pinball loss.
    Loss("quantile", _OF_ERRORS, _quantile, _quantile_da, regression=True, parameter="quantile", default=0.5),
    Loss("log_cosh", _OF_ERRORS, _log_cosh, _log_cosh_da, regression=True),
)
CODES = {loss.name: code for code, loss in enumerate(LOSSES)}
HEADS = tuple(
    Head(code, loss, output, loss.mean_over_outputs, loss.default)
    for code, (loss, output) in enumerate((loss, output) for loss in LOSSES for output in loss.outputs)
)


def head_of(loss: str, output_activation: str | None = None) -> Head:
    """The head of a loss, by name, with an output activation; None stands for the usual one.

    Raises
    ------
    ValueError
        There is no such pair.
    """
    for head in HEADS:
        if head.loss.name == loss and output_activation in (None, head.output_activation):
            return head
    raise ValueError(f"There is no head of loss {loss!r} and output activation {output_activation!r}.")
