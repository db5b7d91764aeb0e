"""Update rules: one entry per rule.

A rule is two scalar functions, compiled into every kernel that updates parameters:

* ``coefficients(learning_rate, hyper, t)``, once a step in float64: the numbers of this step. The first is
  the factor of the whole step, which is another one for biases with a rate of their own;
* ``update(w, g, s0, s1, c0, ..., c5)``, once a parameter in the working precision: the new parameter and
  its new state. A rule of three slots takes and gives ``s2`` behind ``s1``.

What can be had with every rule is no part of it: penalties, decoupled decay of the weights, clipping and
averages (``Optimizer``).

To add a rule, write the two functions and add an entry to ``RULES``. Of a sum of two products one is a
``rounded_product``. Roots are of ``math``: kernels for GPUs know no functions of NumPy.
"""

import math
from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, NamedTuple

import numpy as np

from fastnn.tables.elementary import rounded_product
from fastnn.tables.jitable import register_jitable

# Room for the hyperparameters and the per-step coefficients of any rule.
MAX_HYPER = 4
N_COEFFICIENTS = 6
# Below this the product of NAdam's factors is nothing beside 1, in float64 by far.
_NO_PRODUCT = 1e-20


class UpdateRule(NamedTuple):
    """One way to turn a gradient into new parameters."""

    name: str
    hyper: Mapping[str, float]  # usual values, in the order of `coefficients`' argument
    n_slots: int  # state arrays per parameter
    coefficients: Callable[..., Any]
    update: Callable[..., Any]
    of_networks: bool = False  # alone: centres of k-means do not move by it


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


@register_jitable
def _debiased_coefficients(learning_rate, hyper, t):
    # Epsilon is added to the root of the second moment without its bias.
    beta_1, beta_2, epsilon = hyper[0], hyper[1], hyper[2]
    root = math.sqrt(1.0 - beta_2**t)
    return (
        learning_rate * root / (1.0 - beta_1**t), beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, epsilon * root
    )  # fmt: skip


@register_jitable
def _amsgrad(w, g, s0, s1, s2, c0, c1, c2, c3, c4, c5):
    m = c1 * s0 + rounded_product(c2, g)
    v = c3 * s1 + rounded_product(c4, g * g)
    largest = max(s2, v)
    return w - c0 * m / (math.sqrt(largest) + c5), m, v, largest


@register_jitable
def _nadam_coefficients(learning_rate, hyper, t):
    beta_1, beta_2, epsilon, decay = hyper[0], hyper[1], hyper[2], hyper[3]
    root = math.sqrt(1.0 - beta_2**t)
    # The product of beta_1 (1 - 0.96^(i decay) / 2) for i = 1 to t: each factor is below beta_1.
    base, power, product, i = 0.96**decay, 1.0, 1.0, 0.0
    while i < t and product > _NO_PRODUCT:
        i += 1.0
        power *= base
        product *= beta_1 * (1.0 - 0.5 * power)
    factor = beta_1 * (1.0 - 0.5 * 0.96 ** (t * decay))
    following = beta_1 * (1.0 - 0.5 * 0.96 ** ((t + 1.0) * decay))
    of_gradient, of_moment = (1.0 - factor) / (1.0 - product), following / (1.0 - product * following)
    return learning_rate * root, 1.0 - beta_1, 1.0 - beta_2, epsilon * root, of_gradient, of_moment


@register_jitable
def _nadam(w, g, s0, s1, c0, c1, c2, c3, c4, c5):
    one = type(w)(1)
    m = (one - c1) * s0 + rounded_product(c1, g)
    v = (one - c2) * s1 + rounded_product(c2, g * g)
    return w - c0 * (c4 * g + rounded_product(c5, m)) / (math.sqrt(v) + c3), m, v


@register_jitable
def _lion_coefficients(learning_rate, hyper, t):
    beta_1, beta_2 = hyper[0], hyper[1]
    return learning_rate, beta_1, 1.0 - beta_1, beta_2, 1.0 - beta_2, 0.0


@register_jitable
def _lion(w, g, s0, s1, c0, c1, c2, c3, c4, c5):
    x = c1 * s0 + rounded_product(c2, g)
    m = c3 * s0 + rounded_product(c4, g)
    # The sign of x; 0 where x is 0, and NaN where it is NaN.
    one = type(w)(1)
    sign = one if x > type(w)(0) else (-one if x < type(w)(0) else x)
    return w - c0 * sign, m, s1


@register_jitable
def average_share(rate, t):
    """Share of the parameters after step t in their average up to there.

    rate : 1 for the mean over all steps; below 1 for an average in which a step's share falls by this factor
    with every step after it, and that begins with the first step's
    """
    if t <= 1.0:
        return 1.0
    return 1.0 / t if rate == 1.0 else 1.0 - rate


RULES = (
    # Polyak (1964): v <- mu v - rate g; w <- w + v. Plain gradient descent with mu = 0.
    UpdateRule("momentum", {"momentum": 0.9}, 1, _momentum_coefficients, _momentum),
    # Nesterov (1983) as scikit-learn writes it: v <- mu v - rate g; w <- w + mu v - rate g.
    UpdateRule("nesterov", {"momentum": 0.9}, 1, _momentum_coefficients, _nesterov),
    # Kingma and Ba (2014), algorithm 1 with the reordering that ends its section 2.
    UpdateRule("adam", {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}, 2, _adam_coefficients, _adam),
    # Tieleman and Hinton (2012), lecture 6.5, with PyTorch's values and its place of epsilon.
    UpdateRule("rmsprop", {"alpha": 0.99, "epsilon": 1e-8}, 1, _rmsprop_coefficients, _rmsprop),
    # Adam where PyTorch adds epsilon: to the root of the second moment without its bias. With decoupled decay
    # of the weights it is Loshchilov and Hutter's (2019), algorithm 2.
    UpdateRule(
        "adamw", {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}, 2, _debiased_coefficients, _adam,
        of_networks=True,
    ),
    # Reddi, Kale and Kumar (2018), algorithm 2, with PyTorch's place of epsilon.
    UpdateRule(
        "amsgrad", {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8}, 3, _debiased_coefficients, _amsgrad,
        of_networks=True,
    ),
    # Dozat (2016), with PyTorch's schedule of the momentum and its place of epsilon.
    UpdateRule(
        "nadam", {"beta_1": 0.9, "beta_2": 0.999, "epsilon": 1e-8, "momentum_decay": 0.004}, 2,
        _nadam_coefficients, _nadam, of_networks=True,
    ),
    # Chen et al. (2023), algorithm 2.
    UpdateRule("lion", {"beta_1": 0.9, "beta_2": 0.99}, 1, _lion_coefficients, _lion, of_networks=True),
)  # fmt: skip
CODES = {rule.name: code for code, rule in enumerate(RULES)}


def on_three_slots(rule: UpdateRule) -> Callable[..., Any]:
    """The rule's update with three slots of state, of which those that it has not stay."""
    update = rule.update
    if rule.n_slots == 3:
        return update

    @register_jitable
    def step(w, g, s0, s1, s2, c0, c1, c2, c3, c4, c5):
        w, s0, s1 = update(w, g, s0, s1, c0, c1, c2, c3, c4, c5)
        return w, s0, s1, s2

    return step


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
    weight_decay : float, default=0.0
        Decoupled decay: weights, not biases, lose this share times the learning rate before each step.
    max_norm : float, default=inf
        A gradient, penalty included, of a larger norm is scaled down to it.
    average_rate : float, default=0.0
        Of ``average_share``; 0 for no average.

    Attributes
    ----------
    state : ndarray of shape (n_slots, n_parameters)
        The state slots, zero at first.
    t : int
        Steps done.
    average : ndarray of float64 of shape (n_parameters,)
        Average of the parameters after each step; empty without. Its sum asks for float64: the share of a
        late step may be below the rounding of float32.
    iterate : ndarray of shape (n_parameters,) or None
        Parameters of the last step, where the network has the average instead.
    epochs : int
        Epochs done, by which a schedule goes.
    """

    # What older pickles do not say.
    epochs = 0
    weight_decay, max_norm, average_rate = 0.0, math.inf, 0.0
    average: np.ndarray = np.empty(0)
    iterate: np.ndarray | None = None

    def __init__(
        self,
        name: str,
        hyper: Mapping[str, float],
        *,
        learning_rate: float,
        n_parameters: int,
        dtype: Any,
        weight_decay: float = 0.0,
        max_norm: float = math.inf,
        average_rate: float = 0.0,
    ) -> None:
        rule = RULES[CODES[name]]
        self.name = name
        self.learning_rate = float(learning_rate)
        self.hyper = np.zeros(MAX_HYPER)
        self.hyper[: len(rule.hyper)] = [hyper[key] for key in rule.hyper]
        self.state = np.zeros((rule.n_slots, n_parameters), dtype)
        self.t = 0
        self.weight_decay, self.max_norm = float(weight_decay), float(max_norm)
        self.average_rate = float(average_rate)
        if average_rate:
            self.average = np.zeros(n_parameters)

    @property
    def code(self) -> int:
        """The rule's index in ``RULES``."""
        return CODES[self.name]

    def copy(self, dtype: Any) -> "Optimizer":
        """An independent copy, with state of another dtype."""
        other = copy(self)
        other.state = self.state.astype(dtype)
        other.hyper = self.hyper.copy()  # of a memory-mapped pickle it is read-only
        if self.average_rate:
            other.average = self.average.copy()
            other.iterate = None if self.iterate is None else self.iterate.astype(dtype)
        return other
