"""Activations: one entry per function.

An entry holds two scalar functions, compiled into every kernel that applies an activation:

* ``value(z)``, the activation ``a``;
* ``derivative(z, a)``, its derivative ``da/dz``. Where `needs_z` is false it reads `a` alone, so that a
  network need not keep `z`.

Both keep the type of their argument and hold neither branches nor library calls, so that loops over them
become vector code. To add an activation, write the two functions and add an entry to ``ACTIVATIONS``.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from fastnn.tables.elementary import erf, exp, expm1, log1p, logistic, tanh
from fastnn.tables.jitable import register_jitable

# Klambauer, Unterthiner, Mayr and Hochreiter (2017), appendix: with these, layers keep mean 0 and variance 1.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772, 1.0507009873554805

# Inlined, or the loop around them would be a loop of calls.
_scalar = register_jitable(forceinline=True)


class Activation(NamedTuple):
    """One elementwise function between the layers of a network."""

    name: str
    value: Callable[..., Any]
    derivative: Callable[..., Any]
    needs_z: bool = False
    # Numerator of the bound sqrt(factor / (fan_in + fan_out)) of scikit-learn's uniform initial weights: 6 as
    # Glorot and Bengio (2010, equation 16) derive it, 2 for the logistic function, whose slope at 0 is 1/4.
    glorot_factor: float = 6.0
    hidden: bool = True  # may follow a hidden layer
    trainable: bool = True  # has a derivative to learn by


@_scalar
def _identity(z):
    return z


@_scalar
def _identity_derivative(z, a):
    return type(a)(1)


@_scalar
def _logistic(z):
    return logistic(z)


@_scalar
def _logistic_derivative(z, a):
    return a * (type(a)(1) - a)


@_scalar
def _tanh(z):
    return tanh(z)


@_scalar
def _tanh_derivative(z, a):
    return type(a)(1) - a * a


@_scalar
def _relu(z):
    # Not `z if z > 0`: NaN must stay NaN, as in numpy.maximum.
    return type(z)(0) if z < type(z)(0) else z


@_scalar
def _relu_derivative(z, a):
    return type(a)(1) if a > type(a)(0) else type(a)(0)


@_scalar
def _relu_derivative_half(z, a):
    # `a` does not tell z = 0 from z < 0.
    return type(z)(0.5) if z == type(z)(0) else _relu_derivative(z, a)


@_scalar
def _relu_derivative_one(z, a):
    return type(z)(1) if z == type(z)(0) else _relu_derivative(z, a)


@_scalar
def _leaky_relu(z):
    return z if z > type(z)(0) else type(z)(0.01) * z


@_scalar
def _leaky_relu_derivative(z, a):
    return type(a)(1) if a > type(a)(0) else type(a)(0.01)


@_scalar
def _elu(z):
    return z if z > type(z)(0) else expm1(z)


@_scalar
def _elu_derivative(z, a):
    return type(a)(1) if a > type(a)(0) else a + type(a)(1)


@_scalar
def _selu(z):
    return type(z)(SELU_SCALE) * (z if z > type(z)(0) else type(z)(SELU_ALPHA) * expm1(z))


@_scalar
def _selu_derivative(z, a):
    return type(a)(SELU_SCALE) if a > type(a)(0) else a + type(a)(SELU_SCALE * SELU_ALPHA)


@_scalar
def _normal_cdf(z):
    # Absolutely, not relatively, accurate for z far below 0, where gelu itself is next to 0. No product, so
    # that it may be added to one, see `rounded_product`.
    half = type(z)(0.5)
    return half + half * erf(z * type(z)(0.7071067811865476))


@_scalar
def _gelu(z):
    return z * _normal_cdf(z)


@_scalar
def _gelu_derivative(z, a):
    density = type(z)(0.3989422804014327) * exp(type(z)(-0.5) * z * z)
    return _normal_cdf(z) + z * density


@_scalar
def _silu(z):
    return z * logistic(z)


@_scalar
def _silu_derivative(z, a):
    s = logistic(z)
    return s + a * (type(z)(1) - s)


@_scalar
def _softplus(z):
    # log(1 + exp(z)) without overflow, and without cancellation for z far below 0.
    return (type(z)(0) if z < type(z)(0) else z) + log1p(exp(-abs(z)))


@_scalar
def _softplus_derivative(z, a):
    return -expm1(-a)  # logistic(z), as exp(a) = 1 + exp(z)


@_scalar
def _tanh_of_softplus(z):
    """tanh(log(1 + exp(z))), from exp(-|z|), which does not overflow."""
    e = exp(-abs(z))
    one, two = type(z)(1), type(z)(2)
    below = e * (e + two)
    above = one + two * e
    return above / (above + two * e * e) if z > type(z)(0) else below / (below + two)


@_scalar
def _mish(z):
    return z * _tanh_of_softplus(z)


@_scalar
def _mish_derivative(z, a):
    t = _tanh_of_softplus(z)
    return t + z * logistic(z) * (type(z)(1) - t * t)


@_scalar
def _hard_sigmoid(z):
    third = (z + type(z)(3)) * type(z)(1 / 6)
    third = type(z)(0) if third < type(z)(0) else third
    return type(z)(1) if third > type(z)(1) else third


@_scalar
def _hard_sigmoid_derivative(z, a):
    return type(a)(1 / 6) if (a > type(a)(0)) & (a < type(a)(1)) else type(a)(0)


@_scalar
def _hard_limit(z):
    # NaN stays NaN.
    return type(z)(1) if z > type(z)(0) else (type(z)(0) if z <= type(z)(0) else z)


@_scalar
def _no_derivative(z, a):
    return type(a)(0)


@_scalar
def _exp(z):
    return exp(z)


@_scalar
def _exp_derivative(z, a):
    return a


IDENTITY = Activation("identity", _identity, _identity_derivative)
LOGISTIC = Activation("logistic", _logistic, _logistic_derivative, glorot_factor=2.0)
TANH = Activation("tanh", _tanh, _tanh_derivative)
RELU = Activation("relu", _relu, _relu_derivative)
EXP = Activation("exp", _exp, _exp_derivative, hidden=False)  # output of the Poisson loss
# relu with another derivative at 0, by which of the two linear pieces counts there.
RELU_HALF = Activation("relu_half", _relu, _relu_derivative_half, needs_z=True, hidden=False)
RELU_ONE = Activation("relu_one", _relu, _relu_derivative_one, needs_z=True, hidden=False)
RELU_AT_ZERO = {0.0: RELU, 0.5: RELU_HALF, 1.0: RELU_ONE}
SOFTPLUS = Activation("softplus", _softplus, _softplus_derivative)  # Dugas et al. (2001)
# Courbariaux, Bengio and David (2015), with the slope 1/6 of most libraries.
# Klambauer, Unterthiner, Mayr and Hochreiter (2017).
SELU = Activation("selu", _selu, _selu_derivative)
MISH = Activation("mish", _mish, _mish_derivative, needs_z=True)  # Misra (2020)
HARD_SIGMOID = Activation("hard_sigmoid", _hard_sigmoid, _hard_sigmoid_derivative)
# McCulloch and Pitts (1943): for networks whose weights are set by hand.
HARD_LIMIT = Activation("hard_limit", _hard_limit, _no_derivative, trainable=False)

ACTIVATIONS = (
    IDENTITY,
    LOGISTIC,
    TANH,
    RELU,
    # Maas, Hannun and Ng (2013).
    Activation("leaky_relu", _leaky_relu, _leaky_relu_derivative),
    # Clevert, Unterthiner and Hochreiter (2016), with alpha = 1.
    Activation("elu", _elu, _elu_derivative),
    # Hendrycks and Gimpel (2016): z times the normal distribution function, not its tanh approximation.
    Activation("gelu", _gelu, _gelu_derivative, needs_z=True),
    # Elfwing, Uchibe and Doya (2018), also called swish.
    Activation("silu", _silu, _silu_derivative, needs_z=True),
    SOFTPLUS,
    EXP,
    SELU,
    MISH,
    HARD_SIGMOID,
    HARD_LIMIT,
    RELU_HALF,
    RELU_ONE,
)
CODES = {activation.name: code for code, activation in enumerate(ACTIVATIONS)}
# Names of those whose outputs each lie between 0 and 1, as probabilities do.
FROM_0_TO_1 = {activation.name for activation in (LOGISTIC, HARD_SIGMOID, HARD_LIMIT)}
# Names of what a hidden layer is trained with.
HIDDEN = tuple(activation.name for activation in ACTIVATIONS if activation.hidden and activation.trainable)
DEFAULT = RELU.name
# Works on a whole row, and so is no entry of the table. After a hidden layer its Jacobian is that of the row.
SOFTMAX = "softmax"
# Names that a user knows: not those that `relu` has with another derivative.
NAMES = (*(entry.name for entry in ACTIVATIONS if entry is RELU or entry.value is not RELU.value), SOFTMAX)
# Names of all that a hidden layer may have.
LAYER_ACTIVATIONS = (*(activation.name for activation in ACTIVATIONS if activation.hidden), SOFTMAX)


def user_name(name: str) -> str:
    """The name by which users know an activation: of ``relu`` there is one, whatever its derivative at 0."""
    return RELU.name if name in {entry.name for entry in RELU_AT_ZERO.values()} else name
