"""Activations in operators of ONNX: one function for each, by its name.

They are the formulas of ``fastnn.tables.activations``, none of which overflows where its value does not. An
operator that ONNX has of the name is taken if onnxruntime computes it in float32 and float64, and in its
tails too: not so Sigmoid, which is 0 far below 0, nor Elu, Selu, Softplus, HardSigmoid, Gelu and Erf, which
it lacks in float64.
"""

from collections.abc import Callable

import numpy as np

from fastnn.convert.values import Value, where
from fastnn.tables import activations as table
from fastnn.tables.elementary import FLOAT64


def identity(z: Value) -> Value:
    return z


def logistic(z: Value) -> Value:
    e = exp(-abs(z))
    return where(z < 0, e, 1) / (1 + e)


def tanh(z: Value) -> Value:
    return z.node("Tanh")


def relu(z: Value) -> Value:
    return z.node("Relu")


def leaky_relu(z: Value) -> Value:
    return where(z > 0, z, 0.01 * z)


def elu(z: Value) -> Value:
    return where(z > 0, z, _expm1_below(z))


def selu(z: Value) -> Value:
    return table.SELU_SCALE * where(z > 0, z, table.SELU_ALPHA * _expm1_below(z))


def gelu(z: Value) -> Value:
    return z * (0.5 + 0.5 * _erf(z * 0.7071067811865476))


def silu(z: Value) -> Value:
    return z * logistic(z)


def softplus(z: Value) -> Value:
    return relu(z) + _log1p(exp(-abs(z)))


def exp(z: Value) -> Value:
    return z.node("Exp")


def mish(z: Value) -> Value:
    e = exp(-abs(z))
    below, above = e * (e + 2), 1 + 2 * e
    return z * where(z > 0, above / (above + 2 * e * e), below / (below + 2))


def hard_sigmoid(z: Value) -> Value:
    third = relu((z + 3) * (1 / 6))
    return where(third > 1, 1, third)


def hard_limit(z: Value) -> Value:
    return (z > 0).cast(z.graph.dtype)


def softmax(z: Value) -> Value:
    return z.node("Softmax", axis=1)


_BY_NAME = {
    function.__name__: function
    for function in (
        *(identity, logistic, tanh, relu, leaky_relu, elu, selu, gelu),
        *(silu, softplus, exp, mish, hard_sigmoid, hard_limit, softmax),
    )
}


def writer(name: str) -> Callable[[Value], Value]:
    """What writes an activation, by its name.

    Raises
    ------
    ValueError
        It has no form here yet.
    """
    # The relu of another derivative at 0 has the same value.
    function = _BY_NAME.get(table.user_name(name))
    if function is None:
        raise ValueError(f"The activation {name!r} is unknown, or cannot be written in ONNX.")
    return function


def _expm1_below(z: Value) -> Value:
    """exp(z) - 1 for z below 0, without cancellation: tanh(z / 2) is (exp(z) - 1) / (exp(z) + 1)."""
    z = -relu(-z)
    return tanh(0.5 * z) * (1 + exp(z))


def _log1p(e: Value) -> Value:
    """log(1 + e) for e in [0, 1], without cancellation.

    The logarithm of the rounded sum is that of another e, u - 1, and grows in proportion where it is small
    (Goldberg, "What every computer scientist should know about floating-point arithmetic", 1991, theorem 4).
    """
    u = 1 + e
    step = u - 1
    return where(step > 0, u.node("Log") * (e / where(step > 0, step, 1)), e)


def _erf(x: Value) -> Value:
    """The error function; in float64, where onnxruntime has none, by the polynomials of the package."""
    if x.graph.dtype != np.float64:
        return x.node("Erf")
    size = abs(x)
    small = x + x * _polynomial(x * x, FLOAT64.erf_small)
    most = FLOAT64.erf_saturated
    large = 1 - exp(_polynomial(where(size > most, most, size), FLOAT64.erf_large))
    return where(size < 1, small, x.node("Sign") * large)


def _polynomial(x: Value, coefficients: tuple[float, ...]) -> Value:
    """The polynomial of these coefficients, highest power first."""
    first, *rest = coefficients
    value = x * first + rest[0]
    for c in rest[1:]:
        value = value * x + c
    return value
