"""Every activation against its formula in NumPy and its derivative against central differences."""

import platform
import re

import numba
import numpy as np
import pytest
from numba.core.errors import NumbaError
from scipy import special

from fastnn.kernels.compiler import jit
from fastnn.tables import activations
from fastnn.tables.activations import ACTIVATIONS, CODES, HIDDEN
from tests import reference

FORMULAS = {name: value for name, (value, _) in reference.ACTIVATIONS.items() if name != activations.SOFTMAX}

each_activation = pytest.mark.parametrize("activation", ACTIVATIONS, ids=lambda a: a.name)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# As `jit` compiles, but for the cache, which keeps no assembly.
compiled = numba.njit(fastmath=set(jit.FASTMATH), error_model="numpy", nogil=True)


def make_loops(activation):
    value, derivative = activation.value, activation.derivative

    @compiled
    def forward(z, a):
        for i in range(z.size):
            a[i] = value(z[i])

    @compiled
    def backward(z, a, d):
        for i in range(z.size):
            d[i] = derivative(z[i], a[i])

    return forward, backward


LOOPS = {activation.name: make_loops(activation) for activation in ACTIVATIONS}


def evaluate(activation, z):
    """Value and derivative; z reaches the derivative only if the entry says that it is needed."""
    forward, backward = LOOPS[activation.name]
    a, d = np.full_like(z, 123), np.full_like(z, 123)
    with np.errstate(all="ignore"):  # without compilation
        forward(z, a)
        backward(z if activation.needs_z else np.full_like(z, np.nan), a, d)
    return a, d


def points(dtype=np.float64):
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(scale=3, size=2000), rng.normal(scale=1e-3, size=500)])
    return z.astype(dtype)


@each_activation
@each_dtype
def test_value(activation, dtype):
    z = points(dtype)
    a, _ = evaluate(activation, z)
    expected = FORMULAS[activation.name](z.astype(float))
    # gelu's negative tail is accurate absolutely only.
    atol = 4 * np.finfo(dtype).eps if activation.name == "gelu" else 0
    np.testing.assert_allclose(a, expected, rtol=4 * np.finfo(dtype).eps, atol=atol)


@each_activation
def test_derivative_by_central_differences(activation):
    z = points()
    for kink in reference.KINKS.get(activation.name, ()):
        z = z[abs(z - kink) > 1e-4]
    _, d = evaluate(activation, z)
    h = 6e-6  # about the cube root of the machine epsilon: truncation and rounding are alike
    above, below = evaluate(activation, z + h)[0], evaluate(activation, z - h)[0]
    scale = np.maximum(1, abs(above))
    assert np.max(abs((above - below) / (2 * h) - d) / scale) < 1e-9


@each_activation
def test_float32_derivative(activation):
    """As accurate in float32 as float64 allows, in the tails too."""
    z = points(np.float32)
    _, d = evaluate(activation, z)
    _, exact = evaluate(activation, z.astype(float))
    np.testing.assert_allclose(d, exact, rtol=1e-5, atol=1e-6)


def test_softplus_derivative_in_the_tails():
    z = np.linspace(-80, 80, 1001, dtype=np.float32)
    _, d = evaluate(ACTIVATIONS[CODES["softplus"]], z)
    np.testing.assert_allclose(d, special.expit(z.astype(float)), rtol=2e-5)


@each_activation
@each_dtype
def test_nan_propagates(activation, dtype):
    a, _ = evaluate(activation, np.array([np.nan, 1, np.nan], dtype))
    np.testing.assert_array_equal(np.isnan(a), [True, False, True])


@each_dtype
def test_relu_is_numpys_maximum(dtype):
    z = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 1, -1, 1e-40, -1e-40], dtype)
    a, d = evaluate(activations.RELU, z)
    np.testing.assert_array_equal(a, np.maximum(z, dtype(0)))
    np.testing.assert_array_equal(d, (a > 0).astype(dtype))


@pytest.mark.parametrize(("slope", "activation"), activations.RELU_AT_ZERO.items())
@each_dtype
def test_relu_at_zero(slope, activation, dtype):
    z = np.array([0.0, -0.0, 1, -1, 1e-30, -1e-30], dtype)
    a, d = evaluate(activation, z)
    np.testing.assert_array_equal(a, np.maximum(z, 0))
    np.testing.assert_array_equal(d, [slope, slope, 1, 0, 1, 0])


def test_hard_limit_is_one_above_zero():
    a, d = evaluate(ACTIVATIONS[CODES["hard_limit"]], np.array([-np.inf, -1, -0.0, 0, 1e-300, 1, np.inf]))
    np.testing.assert_array_equal(a, [0, 0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(d, 0)


@pytest.mark.parametrize("name", ["relu", "leaky_relu", "elu", "selu", "softplus", "exp", "hard_sigmoid"])
def test_large_arguments(name):
    activation = ACTIVATIONS[CODES[name]]
    a, d = evaluate(activation, np.array([-np.inf, -1e30, 1e30, np.inf], np.float32))
    assert not np.isnan(a).any()
    assert not np.isnan(d).any()


@each_activation
def test_scalars_work_in_python(activation):
    z = np.float64(0.75)
    a = activation.value(z)
    np.testing.assert_allclose(a, FORMULAS[activation.name](z))
    assert np.isfinite(activation.derivative(z, a))


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="reads x86 assembly")
@each_activation
def test_float32_loops_are_packed(activation):
    evaluate(activation, np.ones(1, np.float32))
    for loop in LOOPS[activation.name]:
        if not hasattr(loop, "inspect_asm"):
            pytest.skip("not compiled")
        listings = loop.inspect_asm()
        (assembly,) = [text for sig, text in listings.items() if sig[0].dtype.bitwidth == 32]
        arithmetic = r"\bv?(?:add|sub|mul|div|max|min|fn?m(?:add|sub)\d+)"
        assert not re.search(arithmetic + "[ps]d|cvts[sd]2s[sd]|cvtp[sd]2p[sd]", assembly)
        # The loop's remainder is scalar, so this is seen wherever there is arithmetic at all.
        if re.search(arithmetic + "ss", assembly):
            assert re.search(arithmetic + "ps", assembly)


def test_registry():
    names = [activation.name for activation in ACTIVATIONS]
    assert len(set(names)) == len(names)
    assert [ACTIVATIONS[code].name for code in CODES.values()] == names
    assert set(FORMULAS) == set(names)
    assert activations.SOFTMAX not in names
    assert activations.DEFAULT in HIDDEN
    assert activations.EXP.name not in HIDDEN
    for name in ("identity", "logistic", "tanh", "relu"):  # scikit-learn's
        assert name in HIDDEN
        assert getattr(activations, name.upper()).name == name


def test_other_types_are_refused():
    loop, _ = make_loops(activations.TANH)
    if not hasattr(loop, "inspect_asm"):
        pytest.skip("not compiled")
    with pytest.raises(NumbaError):
        loop(np.ones(2, int), np.ones(2))


def test_glorot_factor_is_scikit_learns():
    for activation in ACTIVATIONS:
        assert activation.glorot_factor == (2.0 if activation is activations.LOGISTIC else 6.0)
