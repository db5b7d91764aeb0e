"""Every loss against scikit-learn's, and dz against central differences through the output activation."""

import re

import numba
import numpy as np
import pytest
from sklearn.neural_network import _base

from fastnn.kernels.compiler import jit
from fastnn.tables import activations
from fastnn.tables.activations import ACTIVATIONS, SOFTMAX
from fastnn.tables.activations import CODES as ACTIVATION_CODES
from fastnn.tables.losses import CODES, LOSSES
from tests import reference

each_loss = pytest.mark.parametrize("loss", LOSSES, ids=lambda loss: loss.name)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])

# As `jit` compiles, but for the cache, which keeps no assembly.
compiled = numba.njit(fastmath=set(jit.FASTMATH), error_model="numpy", nogil=True)


def make_loops(loss):
    value, dz = loss.value, loss.dz

    @compiled
    def values(y, a, out):
        for i in range(y.size):
            out[i] = value(y[i], a[i])

    @compiled
    def gradients(y, a, out):
        for i in range(y.size):
            out[i] = dz(y[i], a[i])

    return values, gradients


LOOPS = {loss.name: make_loops(loss) for loss in LOSSES}


def elementwise(loop, y, a):
    out = np.full_like(a, 123)
    loop(np.ascontiguousarray(y).reshape(-1), np.ascontiguousarray(a).reshape(-1), out.reshape(-1))
    return out


def values(loss, y, a):
    with np.errstate(all="ignore"):  # without compilation
        return elementwise(LOOPS[loss.name][0], y, a)


def mean_loss(loss, y, a):
    out = values(loss, y, a)
    return (out.mean(axis=1) if loss.mean_over_outputs else out.sum(axis=1)).mean()


def output(loss, z):
    if loss.output_activation == SOFTMAX:
        e = np.exp(z - z.max(axis=1, keepdims=True))
        return e / e.sum(axis=1, keepdims=True)
    value = ACTIVATIONS[ACTIVATION_CODES[loss.output_activation]].value
    return np.array([value(v) for v in z.ravel()], z.dtype).reshape(z.shape)


def problem(loss, dtype, n_samples=200, n_outputs=5):
    rng = np.random.default_rng(0)
    z = rng.normal(scale=2, size=(n_samples, n_outputs)).astype(dtype)
    if loss.output_activation == SOFTMAX:
        y = np.eye(n_outputs)[rng.integers(n_outputs, size=n_samples)]
    elif loss.output_activation == activations.LOGISTIC.name:
        y = rng.integers(2, size=z.shape)
    elif loss.output_activation == activations.EXP.name:
        y = rng.poisson(np.exp(z))
    else:
        y = rng.normal(size=z.shape)
    return y.astype(dtype), z


@each_loss
@each_dtype
def test_value_is_the_references_and_scikit_learns(loss, dtype):
    y, z = problem(loss, dtype)
    a = output(loss, z)
    assert a.dtype == dtype
    expected = reference.LOSSES[loss.name][1](y, a).mean()
    np.testing.assert_allclose(mean_loss(loss, y, a), expected, rtol=50 * np.finfo(dtype).eps)
    if loss.name in _base.LOSS_FUNCTIONS:
        expected = _base.LOSS_FUNCTIONS[loss.name](y, a)
        np.testing.assert_allclose(mean_loss(loss, y, a), expected, rtol=50 * np.finfo(dtype).eps)


@each_dtype
@pytest.mark.parametrize("name", ["log_loss", "binary_log_loss"])
def test_saturated_probabilities(name, dtype):
    """Clipping by the machine epsilon of the dtype, as scikit-learn clips."""
    loss = LOSSES[CODES[name]]
    p = np.array([0, 1e-30, np.finfo(dtype).eps, 0.5, 1 - np.finfo(dtype).eps, 1], dtype)
    a = np.stack([p, 1 - p], axis=1)
    for y in (np.zeros_like(a), np.ones_like(a), np.full_like(a, 0.3)):
        expected = _base.LOSS_FUNCTIONS[name](y, a)
        np.testing.assert_allclose(mean_loss(loss, y, a), expected, rtol=50 * np.finfo(dtype).eps)
        assert np.isfinite(values(loss, y, a)).all()


def test_log_loss_of_probabilities():
    """Targets need not be 0 or 1."""
    loss = LOSSES[CODES["log_loss"]]
    rng = np.random.default_rng(1)
    y, a = rng.dirichlet(np.ones(4), size=50), rng.dirichlet(np.ones(4), size=50)
    np.testing.assert_allclose(mean_loss(loss, y, a), _base.log_loss(y, a), rtol=1e-13)


@each_dtype
def test_poisson_of_zero_counts(dtype):
    y, a = np.zeros((4, 1), dtype), np.array([[1e-30], [1], [20], [1e30]], dtype)
    loss = LOSSES[CODES["poisson"]]
    np.testing.assert_array_equal(values(loss, y, a), a)
    np.testing.assert_allclose(mean_loss(loss, y, a), _base.poisson_loss(y, a), rtol=1e-6)


@each_loss
def test_nan_propagates(loss):
    for y in (0.0, 1.0):
        assert np.isnan(values(loss, np.array([[y]]), np.array([[np.nan]]))).all()


@each_loss
def test_dz_by_central_differences(loss):
    """The gradient of the sum over a row, through the output activation."""
    y, z = problem(loss, np.float64, n_samples=40)
    dz = elementwise(LOOPS[loss.name][1], y, output(loss, z))
    h = 6e-6
    for j in range(z.shape[1]):
        step = np.zeros_like(z)
        step[:, j] = h
        above = values(loss, y, output(loss, z + step)).sum(axis=1)
        below = values(loss, y, output(loss, z - step)).sum(axis=1)
        np.testing.assert_allclose(
            (above - below) / (2 * h), dz[:, j], rtol=1e-8, atol=1e-8 * max(1, abs(above).max())
        )


@each_loss
def test_float32_loops_hold_no_float64(loss):
    one = np.ones((1, 1), np.float32)
    for loop in LOOPS[loss.name]:
        elementwise(loop, one, one)
        if not hasattr(loop, "inspect_llvm"):
            pytest.skip("not compiled")
        (text,) = [text for sig, text in loop.inspect_llvm().items() if sig[0].dtype.bitwidth == 32]
        assert not re.search(r"\bdouble\b", text)


def test_registry():
    assert {loss.name for loss in LOSSES} == set(reference.LOSSES)
    # scikit-learn has all of these; a loss beyond them is the package's own.
    theirs = [loss for loss in LOSSES if loss.name in _base.LOSS_FUNCTIONS]
    assert {loss.name for loss in theirs} == set(_base.LOSS_FUNCTIONS)
    assert [LOSSES[code].name for code in CODES.values()] == [loss.name for loss in LOSSES]
    names = {activation.name for activation in ACTIVATIONS} | {SOFTMAX}
    assert {loss.output_activation for loss in LOSSES} <= names
    assert [loss.name for loss in theirs if loss.mean_over_outputs] == ["squared_error"]
    assert [loss.name for loss in theirs if loss.regression] == ["squared_error", "poisson"]
