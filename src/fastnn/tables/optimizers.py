"""Update rules: one entry per rule.

A rule is two scalar functions, compiled into every kernel that updates parameters:

* ``coefficients(learning_rate, hyper, t)``, once a step in float64: the numbers of this step. The first is
  the factor of the whole step, which is another one for biases with a rate of their own;
* ``update(w, g, s0, s1, c0, ..., c5)``, once a parameter in the working precision: the new parameter and
  its new state.

To add a rule, write the two functions and add an entry to ``RULES``. Of a sum of two products one is a
``rounded_product``. Roots are of ``math``: kernels for GPUs know no functions of NumPy.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable

from fastnn.tables.elementary import rounded_product

# Room for the hyperparameters and the per-step coefficients of any rule.
MAX_HYPER = 3
N_COEFFICIENTS = 6


class UpdateRule(NamedTuple):
    """One way to turn a gradient into new parameters."""

    name: str
    hyper: Mapping[str, float]  # usual values, in the order of `coefficients`' argument
    n_slots: int  # state arrays per parameter
    coefficients: Callable[..., Any]
    update: Callable[..., Any]


@register_jitable
def _momentum_coefficients(learning_rate, hyper, t):
    return learning_rate, hyper[0], 0.0, 0.0, 0.0, 0.0


@register_jitable
def _momentum(w, g, s0, s1, c0, c1, c2, c3, c4, c5):
    v = c1 * s0 - rounded_product(c0, g)
    return w + v, v, s1


@register_jitable
def _nesterov(w, g, s0, s1, c0, c1, c2, c3, c4, c5):
    step = rounded_product(c0, g)
    v = c1 * s0 - step
    return w + (c1 * v - step), v, s1


@register_jitable
def _adam_coefficients(learning_rate, hyper, t):
    beta_1, beta_2, epsilon = hyper[0], hyper[1], hyper[2]
    rate = learning_rate * math.sqrt(1.0 - beta_2**t) / (1.0 - beta_1**t)
    # The complements are taken in float64: 1 - 0.999 in float32 is off by 2e-5 of its value.
    return rate, beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, epsilon


@register_jitable
def _adam(w, g, s0, s1, c0, c1, c2, c3, c4, c5):
    m = c1 * s0 + rounded_product(c2, g)
    v = c3 * s1 + rounded_product(c4, g * g)
    return w - c0 * m / (math.sqrt(v) + c5), m, v


@register_jitable
def _rmsprop_coefficients(learning_rate, hyper, t):
    alpha, epsilon = hyper[0], hyper[1]
    return learning_rate, alpha, 1.0 - alpha, epsilon, 0.0, 0.0


@register_jitable
def _rmsprop(w, g, s0, s1, c0, c1, c2, c3, c4, c5):
    v = c1 * s0 + rounded_product(c2, g * g)
    return w - c0 * g / (math.sqrt(v) + c3), v, s1


RULES = (
    # Polyak (1964): v <- mu v - rate g; w <- w + v. Plain gradient descent with mu = 0.
    UpdateRule("momentum", {"momentum": 0.9}, 1, _momentum_coefficients, _momentum),
    # Nesterov (1983) as scikit-learn writes it: v <- mu v - rate g; w <- w + mu v - rate g.
    UpdateRule("nesterov", {"momentum": 0.9}, 1, _momentum_coefficients, _nesterov),
    # Kingma and Ba (2014), algorithm 1 with the reordering that ends its section 2.
    UpdateRule("adam", {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}, 2, _adam_coefficients, _adam),
    # Tieleman and Hinton (2012), lecture 6.5, with PyTorch's values and its place of epsilon.
    UpdateRule("rmsprop", {"alpha": 0.99, "epsilon": 1e-8}, 1, _rmsprop_coefficients, _rmsprop),
)
CODES = {rule.name: code for code, rule in enumerate(RULES)}


class Optimizer:
    """An update rule with its hyperparameters and state, for one flat parameter vector.

    Parameters
    ----------
    name : str
        Name of a rule in ``RULES``.
    hyper : mapping of str to float
        A value for every hyperparameter of the rule.
    learning_rate : float
        Step size of an epoch that has no other; a schedule may assign to the attribute between epochs.
    n_parameters : int
        Length of the parameter vector.
    dtype : numpy dtype
        Of the parameters and the state.

    Attributes
    ----------
    state : ndarray of shape (n_slots, n_parameters)
        The state slots, zero at first.
    t : int
        Steps done.
    epochs : int
        Epochs done, by which a schedule goes.
    """

    epochs = 0  # which those of older pickles do not say

    def __init__(
        self, name: str, hyper: Mapping[str, float], *, learning_rate: float, n_parameters: int, dtype: Any
    ) -> None:
        rule = RULES[CODES[name]]
        self.name = name
        self.learning_rate = float(learning_rate)
        self.hyper = np.zeros(MAX_HYPER)
        self.hyper[: len(rule.hyper)] = [hyper[key] for key in rule.hyper]
        self.state = np.zeros((rule.n_slots, n_parameters), dtype)
        self.t = 0

    @property
    def code(self) -> int:
        """The rule's index in ``RULES``."""
        return CODES[self.name]
