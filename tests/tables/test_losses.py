"""Every loss against other packages', and dz against central differences through each output activation."""

import re

import numba
import numpy as np
import pytest
from numba.extending import register_jitable
from scipy import special
from sklearn import metrics
from sklearn.neural_network import _base

from fastnn.kernels.compiler import jit
from fastnn.tables.activations import ACTIVATIONS, SOFTMAX
from fastnn.tables.activations import CODES as ACTIVATION_CODES
from fastnn.tables.losses import CODES, HEADS, LOSSES, head_of
from tests import reference


def head_name(head):
    return f"{head.loss.name}-{head.output_activation}"


USUAL = [head_of(loss.name) for loss in LOSSES]
each_loss = pytest.mark.parametrize("head", USUAL, ids=lambda head: head.loss.name)
each_head = pytest.mark.parametrize("head", HEADS, ids=head_name)
each_dtype = pytest.mark.parametrize("dtype", [np.float32, np.float64])
# Losses of an error, which grow without bound in it.
OF_ERRORS = [head for head in USUAL if head.output_activation == "identity"]
each_loss_of_errors = pytest.mark.parametrize("head", OF_ERRORS, ids=lambda head: head.loss.name)

# As `jit` compiles, but for the cache, which keeps no assembly.
compiled = numba.njit(fastmath=set(jit.FASTMATH), error_model="numpy", nogil=True)


def make_loop(function):
    @compiled
    def loop(y, a, p, out):
        for i in range(y.size):
            out[i] = function(y[i], a[i], p[0])  # a number by itself comes through one of Python's, a float64

    return loop


def dz_of(head):
    first, second = head.dz_factors

    @register_jitable(forceinline=True)
    def dz(y, a, p):
        return first(y, a, p) * second(a, a)

    return dz


VALUES = {loss.name: make_loop(loss.value) for loss in LOSSES}
DZ = {head.code: make_loop(dz_of(head)) for head in HEADS}


def elementwise(loop, y, a, p):
    out = np.full_like(a, 123)
    flat = [np.ascontiguousarray(array).reshape(-1) for array in (y, a)]
    with np.errstate(all="ignore"):  # without compilation
        loop(*flat, np.array([p], a.dtype), out.reshape(-1))
    return out


def values(head, y, a):
    return elementwise(VALUES[head.loss.name], y, a, head.parameter)


def gradients(head, y, a):
    return elementwise(DZ[head.code], y, a, head.parameter)


def mean_loss(head, y, a):
    return (values(head, y, a).sum(axis=1) * head.scale(a.shape[1])).mean()


def output(head, z):
    if head.output_activation == SOFTMAX:
        return reference.softmax(z)
    value = ACTIVATIONS[ACTIVATION_CODES[head.output_activation]].value
    return np.array([value(v) for v in z.ravel()], z.dtype).reshape(z.shape)


def problem(head, dtype, n_samples=200, n_outputs=5):
    rng = np.random.default_rng(0)
    z = rng.normal(scale=2, size=(n_samples, n_outputs)).astype(dtype)
    if head.output_activation == SOFTMAX:
        y = np.eye(n_outputs)[rng.integers(n_outputs, size=n_samples)]
    elif head.loss.name == "binary_log_loss":
        y = rng.integers(2, size=z.shape)
    elif head.loss.name == "poisson":
        y = rng.poisson(np.exp(z))
    else:
        y = rng.normal(size=z.shape)
    return y.astype(dtype), z


@each_head
@each_dtype
def test_value_and_dz_are_the_references(head, dtype):
    y, z = problem(head, dtype)
    twin, a = reference.ReferenceHead(head), output(head, z)
    assert a.dtype == dtype
    np.testing.assert_allclose(
        mean_loss(head, y, a), twin.row_loss(y, a).mean(), rtol=50 * np.finfo(dtype).eps
    )
    expected = twin.dz(y.astype(float), a.astype(float))
    np.testing.assert_allclose(gradients(head, y, a), expected, rtol=1e3 * np.finfo(dtype).eps, atol=1e-6)


@each_loss
@each_dtype
def test_value_is_that_of_other_packages(head, dtype):
    y, z = problem(head, dtype)
    a, name, p = output(head, z), head.loss.name, 0.3
    head = head._replace(parameter=p)
    known = {
        **_base.LOSS_FUNCTIONS,
        "absolute_error": lambda y, a: metrics.mean_absolute_error(y, a) * y.shape[1],
        "huber": lambda y, a: special.huber(p, y - a).sum(axis=1).mean(),
        "quantile": lambda y, a: metrics.mean_pinball_loss(y, a, alpha=p) * y.shape[1],
        # SciPy has no log(cosh): the logarithm of the sum of exp(e) and exp(-e).
        "log_cosh": lambda y, a: (np.logaddexp(y - a, a - y) - np.log(2)).sum(axis=1).mean(),
    }
    expected = known[name](y.astype(float), a.astype(float))
    np.testing.assert_allclose(mean_loss(head, y, a), expected, rtol=1e3 * np.finfo(dtype).eps)


@each_head
def test_dz_by_central_differences(head):
    """The gradient of the sum over a row, through the output activation."""
    y, z = problem(head, np.float64, n_samples=40)
    for p in {head.parameter, 0.3}:
        head = head._replace(parameter=p)
        dz = gradients(head, y, output(head, z))
        h = 6e-6
        for j in range(z.shape[1]):
            step = np.zeros_like(z)
            step[:, j] = h
            above = values(head, y, output(head, z + step)).sum(axis=1)
            below = values(head, y, output(head, z - step)).sum(axis=1)
            np.testing.assert_allclose(
                (above - below) / (2 * h), dz[:, j], rtol=1e-8, atol=1e-8 * max(1, abs(above).max())
            )


@pytest.mark.parametrize("pair", sorted(reference.CANONICAL))
@each_dtype
def test_dz_of_a_canonical_pair_is_output_minus_target(pair, dtype):
    head = head_of(*pair)
    y, z = problem(head, dtype)
    a = output(head, z)
    np.testing.assert_array_equal(gradients(head, y, a), a - y)


@each_dtype
@pytest.mark.parametrize("name", ["log_loss", "binary_log_loss"])
def test_saturated_probabilities(name, dtype):
    """Clipping by the machine epsilon of the dtype, as scikit-learn clips."""
    head = head_of(name)
    p = np.array([0, 1e-30, np.finfo(dtype).eps, 0.5, 1 - np.finfo(dtype).eps, 1], dtype)
    a = np.stack([p, 1 - p], axis=1)
    for y in (np.zeros_like(a), np.ones_like(a), np.full_like(a, 0.3)):
        expected = _base.LOSS_FUNCTIONS[name](y, a)
        np.testing.assert_allclose(mean_loss(head, y, a), expected, rtol=50 * np.finfo(dtype).eps)
        assert np.isfinite(values(head, y, a)).all()


def test_log_loss_of_probabilities():
    """Targets need not be 0 or 1."""
    rng = np.random.default_rng(1)
    y, a = rng.dirichlet(np.ones(4), size=50), rng.dirichlet(np.ones(4), size=50)
    np.testing.assert_allclose(mean_loss(head_of("log_loss"), y, a), _base.log_loss(y, a), rtol=1e-13)


@each_dtype
def test_poisson_of_zero_counts(dtype):
    y, a = np.zeros((4, 1), dtype), np.array([[1e-30], [1], [20], [1e30]], dtype)
    head = head_of("poisson")
    np.testing.assert_array_equal(values(head, y, a), a)
    np.testing.assert_allclose(mean_loss(head, y, a), _base.poisson_loss(y, a), rtol=1e-6)


@each_dtype
def test_poisson_of_a_softplus_output_that_underflows(dtype):
    """There softplus is exp, and y/a is infinite where it is multiplied by a derivative of 0."""
    head, y = head_of("poisson", "softplus"), np.array([[0], [3], [3], [3]], dtype)
    a = np.array([[0], [0], [np.finfo(dtype).tiny], [1e-5]], dtype)
    np.testing.assert_allclose(gradients(head, y, a)[:, 0], [0, -3, -3, -3 + 2.5e-5], rtol=1e-6)


@each_loss_of_errors
@each_dtype
def test_large_errors(head, dtype):
    """Also those whose squares, or exponential functions, overflow."""
    e = np.array([-1e30, -100, 100, 1e30], dtype)
    y, a = np.zeros_like(e), e
    assert np.isfinite(gradients(head, y, a)).all()
    if head.loss.name == "squared_error":
        return
    outside = values(head, y, a)
    expected = {
        "absolute_error": abs(e),
        "huber": abs(e) - dtype(0.5),
        "quantile": abs(e) / 2,
        "log_cosh": abs(e) - dtype(np.log(2)),
    }[head.loss.name]
    np.testing.assert_allclose(outside, expected, rtol=2 * np.finfo(dtype).eps)


@each_dtype
def test_log_cosh_of_small_errors(dtype):
    e = np.geomspace(1e-9, 0.999, 50).astype(dtype)
    wide = e.astype(np.longdouble)
    expected = np.log1p(2 * np.sinh(wide / 2) ** 2)  # cosh(e) = 1 + 2 sinh(e / 2)^2
    got = values(head_of("log_cosh"), np.zeros_like(e), e)
    np.testing.assert_allclose(got, expected.astype(dtype), rtol=10 * np.finfo(dtype).eps)


@each_loss_of_errors
def test_no_error_has_no_loss_and_no_gradient(head):
    y = np.array([[-2.0, 0.0, 3.0]])
    np.testing.assert_array_equal(values(head, y, y), 0)
    np.testing.assert_array_equal(gradients(head, y, y), 0)


@each_loss
def test_nan_propagates(head):
    for y in (0.0, 1.0):
        y, a = np.array([[y]]), np.array([[np.nan]])
        assert np.isnan(values(head, y, a)).all()
        assert np.isnan(gradients(head, y, a)).all()


@each_head
def test_float32_loops_hold_no_float64(head):
    one = np.ones((1, 1), np.float32)
    for loop in (VALUES[head.loss.name], DZ[head.code]):
        elementwise(loop, one, one, 1)
        if not hasattr(loop, "inspect_llvm"):
            pytest.skip("not compiled")
        (text,) = [text for sig, text in loop.inspect_llvm().items() if sig[0].dtype.bitwidth == 32]
        assert not re.search(r"\bdouble\b", text)


def test_registry():
    assert {loss.name: loss.outputs for loss in LOSSES} == {
        name: outputs for name, (outputs, _, _) in reference.LOSSES.items()
    }
    # scikit-learn has all of these; a loss beyond them is the package's own.
    theirs = [loss for loss in LOSSES if loss.name in _base.LOSS_FUNCTIONS]
    assert {loss.name for loss in theirs} == set(_base.LOSS_FUNCTIONS)
    assert [LOSSES[code].name for code in CODES.values()] == [loss.name for loss in LOSSES]
    assert [loss.name for loss in LOSSES if loss.mean_over_outputs] == ["squared_error"]
    assert [loss.name for loss in theirs if loss.regression] == ["squared_error", "poisson"]


def test_heads():
    assert [head.code for head in HEADS] == list(range(len(HEADS)))
    assert {head_name(head) for head in HEADS} == {
        f"{loss.name}-{output}" for loss in LOSSES for output in loss.outputs
    }
    elementwise_outputs = {head.output_activation for head in HEADS} - {SOFTMAX}
    # A network keeps no z of its outputs.
    assert not any(ACTIVATIONS[ACTIVATION_CODES[name]].needs_z for name in elementwise_outputs)
    for loss in LOSSES:
        usual = head_of(loss.name)
        assert (usual.loss, usual.parameter) == (loss, loss.default)
        assert usual is head_of(loss.name, loss.outputs[0])
    assert head_of("squared_error", "tanh").scale(4) == 0.25
    assert head_of("squared_error")._replace(mean_over_outputs=False).scale(4) == 1.0
    with pytest.raises(ValueError, match="no head of loss 'poisson' and output activation 'tanh'"):
        head_of("poisson", "tanh")
