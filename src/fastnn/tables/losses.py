"""Losses: one entry per loss, as scikit-learn 1.9 defines them (``sklearn/neural_network/_base.py``).

An entry holds two scalar functions of a target `y` and the network's output `a`, compiled into the kernels:

* ``value(y, a)``, this element's share of the loss, in the working precision;
* ``dz(y, a)``, the derivative of the loss with respect to `z`, the input of the output activation.

The activation of an output layer follows from its loss. The four here go with their canonical link, for
which ``dz = a - y`` whatever the loss (Bishop, Pattern Recognition and Machine Learning, 2006, section
4.3.6); for softmax this holds where the targets of a row sum to 1.

A loss is the mean over the rows of the sum over a row; `mean_over_outputs` makes it the mean over both. The
gradient takes no such mean: scikit-learn's, too, is that of the sum over a row.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from fastnn.tables.activations import EXP, IDENTITY, LOGISTIC, SOFTMAX
from fastnn.tables.elementary import log

# Inlined, or the loop around them would be a loop of calls.
_scalar = register_jitable(forceinline=True)


@_scalar
def _canonical_dz(y, a):
    return a - y


class Loss(NamedTuple):
    """What a network is trained to make small."""

    name: str
    output_activation: str
    value: Callable[..., Any]
    mean_over_outputs: bool = False
    dz: Callable[..., Any] = _canonical_dz
    regression: bool = False  # whether MLPRegressor offers it


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
def _log_loss(y, a):
    return -_xlogy(y, _clip(a))


@_scalar
def _binary_log_loss(y, a):
    p = _clip(a)
    one = type(a)(1)
    return -(_xlogy(y, p) + _xlogy(one - y, one - p))


@_scalar
def _squared_error(y, a):
    error = y - a
    return type(a)(0.5) * error * error


@_scalar
def _poisson(y, a):
    # An output that underflowed to 0 is right where the target is 0: 0/0 must not reach the logarithm.
    none = y == type(y)(0)
    ratio = y / (type(a)(1) if none else a)
    return a if none else _xlogy(y, ratio) - y + a


LOSSES = (
    Loss("log_loss", SOFTMAX, _log_loss),
    Loss("binary_log_loss", LOGISTIC.name, _binary_log_loss),
    Loss("squared_error", IDENTITY.name, _squared_error, mean_over_outputs=True, regression=True),
    # Half the deviance of the Poisson distribution.
    Loss("poisson", EXP.name, _poisson, regression=True),
)
CODES = {loss.name: code for code, loss in enumerate(LOSSES)}
