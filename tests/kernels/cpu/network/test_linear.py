"""Fused linear layer against plain NumPy."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn.kernels import linear_backward, linear_forward
from fastnn.kernels.compiler import targets
from fastnn.kernels.cpu.network.linear import CHUNK_ROWS
from fastnn.kernels.cpu.network.packing import DEPTH_BLOCK
from fastnn.tables.activations import ACTIVATIONS
from tests import reference

DTYPES = [np.float32, np.float64]
NAMES = [entry.name for entry in ACTIVATIONS]
COLUMNS = targets.ROW.vector_width(4) * targets.ROW.tile_vectors
# Around every edge: nothing, one, a tile and its neighbours, a chunk, two chunks.
EDGES = [0, 1, 2, targets.ROW.tile_rows - 1, targets.ROW.tile_rows, targets.ROW.tile_rows + 1]
SIZES = st.sampled_from([*EDGES, COLUMNS - 1, COLUMNS, COLUMNS + 1, CHUNK_ROWS + 1, 2 * CHUNK_ROWS + 5])


def layer(n, n_in, n_out, dtype, seed=0):
    rng = np.random.default_rng(seed)
    scale = 1 / np.sqrt(max(n_in, 1))
    return (
        rng.normal(size=(n, n_in)).astype(dtype),
        (rng.normal(size=(n_in, n_out)) * scale).astype(dtype),
        rng.normal(size=n_out).astype(dtype),
    )


def assert_close(got, want, dtype, terms=1):
    # Error of a sum of `terms` products, in units of its largest possible magnitude here.
    np.testing.assert_allclose(
        got,
        want,
        rtol=0,
        atol=30 * np.finfo(dtype).eps * max(1, np.sqrt(terms)) * max(1, np.abs(want).max(initial=0)),
    )


@settings(deadline=None, max_examples=40)
@given(SIZES, SIZES, SIZES, st.sampled_from(DTYPES), st.booleans())
def test_forward_of_every_ragged_shape(n, n_in, n_out, dtype, has_bias):
    X, W, b = layer(n, n_in, n_out, dtype)
    got = linear_forward(X, W, b if has_bias else None)
    assert got.dtype == dtype
    assert got.shape == (n, n_out)
    assert_close(got, X @ W + (b if has_bias else 0), dtype, n_in)


@settings(deadline=None, max_examples=40)
@given(SIZES, SIZES, SIZES, st.sampled_from(DTYPES))
def test_backward_of_every_ragged_shape(n, n_in, n_out, dtype):
    X, W, b = layer(n, n_in, n_out, dtype)
    A = np.tanh(X @ W + b)
    dA = np.random.default_rng(1).normal(size=A.shape).astype(dtype)
    dX, dW, db = linear_backward(dA, X, W, A, activation="tanh")
    dZ = dA * (1 - A * A)
    assert_close(dX, dZ @ W.T, dtype, n_out)
    assert_close(dW, X.T @ dZ, dtype, n)
    assert_close(db, dZ.sum(axis=0), dtype, n)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_in", [DEPTH_BLOCK - 1, DEPTH_BLOCK, DEPTH_BLOCK + 1, 3 * DEPTH_BLOCK])
def test_sums_longer_than_a_depth_block(n_in, dtype):
    X, W, b = layer(13, n_in, 17, dtype)
    assert_close(linear_forward(X, W, b), X @ W + b, dtype, n_in)
    dA = np.random.default_rng(1).normal(size=(n_in, 13)).astype(dtype)
    dW = linear_backward(dA, np.ascontiguousarray(X.T), np.zeros((13, 13), dtype), dA)[1]
    assert_close(dW, X @ dA, dtype, n_in)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", NAMES)
def test_every_activation_forward_and_backward(name, dtype):
    X, W, b = layer(50, 20, 150, dtype)
    Z = X @ W + b
    A, got_z = linear_forward(X, W, b, name, return_z=True)
    assert_close(got_z, Z, dtype, 20)
    assert_close(A, linear_forward(X, W, b, name), dtype)
    value, derivative = reference.ACTIVATIONS[name]
    assert_close(A, value(Z), dtype, 20)
    dA = np.random.default_rng(1).normal(size=A.shape).astype(dtype)
    dZ = dA * derivative(got_z, A)
    dX, dW, db = linear_backward(dA, X, W, A, got_z, name)
    assert_close(dX, dZ @ W.T, dtype, 150)
    assert_close(dW, X.T @ dZ, dtype, 50)
    assert_close(db, dZ.sum(axis=0), dtype, 50)


@pytest.mark.parametrize("name", [entry.name for entry in ACTIVATIONS if entry.needs_z])
def test_a_derivative_of_the_argument_asks_for_it(name):
    X, W, b = layer(3, 2, 2, np.float64)
    A = linear_forward(X, W, b, name)
    with pytest.raises(ValueError, match="return_z=True"):
        linear_backward(A, X, W, A, activation=name)
    dtypes = [
        g.dtype for g in linear_backward(*(a.astype(np.float32) for a in (A, X, W, A)), Z=A, activation=name)
    ]
    assert dtypes == [np.float64] * 3
    with pytest.raises(TypeError, match="real"):
        linear_backward(A, X, W, A, A.astype(complex), name)


@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_that_push_each_other_out_of_the_cache(dtype, any_size_uses_threads):
    """They are packed, by each thread chunk after chunk."""
    n = 4 * CHUNK_ROWS + 5
    X, W, b = layer(n, 512, 19, dtype)
    assert_close(linear_forward(X, W, b), X @ W + b, dtype, 512)
    dX = linear_backward(X, np.ones((n, 3), dtype), W.T[:3, :1] @ np.ones((1, 512), dtype), X)[0]
    assert_close(dX, X @ (W.T[:3, :1] @ np.ones((1, 512), dtype)).T, dtype, 512)


@pytest.mark.parametrize("name", NAMES)
def test_gradients_are_central_differences(name):
    X, W, b = layer(6, 4, 5, np.float64)
    direction = np.random.default_rng(2).normal(size=(6, 5))

    def loss(X, W, b):
        return float((linear_forward(X, W, b, name) * direction).sum())

    A, Z = linear_forward(X, W, b, name, return_z=True)
    gradients = linear_backward(direction, X, W, A, Z, name)
    h = 1e-6
    for which, gradient in enumerate(gradients):
        numeric = np.zeros_like(gradient)
        for index in np.ndindex(gradient.shape):
            values = []
            for sign in (1, -1):
                arguments = [X.copy(), W.copy(), b.copy()]
                arguments[which][index] += sign * h
                values.append(loss(*arguments))
            numeric[index] = (values[0] - values[1]) / (2 * h)
        np.testing.assert_allclose(gradient, numeric, atol=2e-8)


def test_accumulate_adds_the_gradients_of_shared_weights():
    X, W, b = layer(40, 7, 9, np.float64)
    dA = np.random.default_rng(1).normal(size=(40, 9))
    A = linear_forward(X, W, b)
    _, dW, db = linear_backward(dA, X, W, A)
    out = (np.empty_like(X), 2 * dW, 3 * db)
    got = linear_backward(dA, X, W, A, accumulate=True, out=out)
    assert all(g is o for g, o in zip(got, out, strict=True))
    np.testing.assert_allclose(out[1], 3 * dW, rtol=1e-13)
    np.testing.assert_allclose(out[2], 4 * db, rtol=1e-13)
    np.testing.assert_allclose(out[0], dA @ W.T, rtol=1e-12)
    with pytest.raises(ValueError, match="accumulate=True needs out"):
        linear_backward(dA, X, W, A, accumulate=True)


@pytest.mark.parametrize("name", ["tanh", "silu"])
def test_one_layer_used_twice_against_central_differences(name):
    """As in a Siamese pair: the gradients of both uses add up."""
    X, W, b = layer(6, 4, 5, np.float64)
    pair = X, np.random.default_rng(3).normal(size=(7, 4))
    ways = [np.random.default_rng(n).normal(size=(n, 5)) for n in (6, 7)]

    def loss():
        return sum(
            float((linear_forward(X, W, b, name) * way).sum()) for X, way in zip(pair, ways, strict=True)
        )

    out = np.empty((0, 4)), np.zeros_like(W), np.zeros_like(b)
    for X, way in zip(pair, ways, strict=True):
        A, Z = linear_forward(X, W, b, name, return_z=True)
        out = linear_backward(way, X, W, A, Z, name, accumulate=True, out=(np.empty_like(X), *out[1:]))
    h = 1e-6
    for array, gradient in zip((W, b), out[1:], strict=True):
        numeric = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            array[index] += h
            above = loss()
            array[index] -= 2 * h
            numeric[index] = (above - loss()) / (2 * h)
            array[index] += h
        np.testing.assert_allclose(gradient, numeric, atol=2e-8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_results_do_not_depend_on_the_number_of_threads(dtype, one_thread, any_size_uses_threads):
    X, W, b = layer(517, 131, 77, dtype)
    dA = np.random.default_rng(1).normal(size=(517, 77)).astype(dtype)

    def compute():
        A = linear_forward(X, W, b, "tanh")
        return (A, *linear_backward(dA, X, W, A, activation="tanh"))

    two = compute()
    with one_thread():
        one = compute()
    for a, c in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, c)


def test_any_memory_layout_gives_the_same_result():
    X, W, b = layer(30, 12, 10, np.float32)
    want = linear_forward(X, W, b)
    read_only = X.copy()
    read_only.setflags(write=False)
    wide = np.zeros((60, 24), np.float32)
    wide[::2, ::2] = X
    for same in (np.asfortranarray(X), read_only, wide[::2, ::2]):
        np.testing.assert_array_equal(linear_forward(same, W, b), want)
    np.testing.assert_allclose(linear_forward(X.tolist(), W, b), want, rtol=1e-5, atol=1e-6)


def test_mixed_precision_is_computed_in_float64():
    X, W, b = layer(5, 4, 3, np.float32)
    assert linear_forward(X, W.astype(np.float64), b).dtype == np.float64
    assert linear_forward(np.arange(20).reshape(5, 4), W, b).dtype == np.float64


def test_out_is_used_and_checked():
    X, W, b = layer(5, 4, 4, np.float64)
    out = np.full((5, 4), np.nan)
    assert linear_forward(X, W, b, out=out) is out
    np.testing.assert_allclose(out, X @ W + b)
    for bad in (np.empty((5, 3)), np.empty((5, 4), np.float32), np.empty((5, 8))[:, ::2], [1]):
        with pytest.raises(ValueError, match="out must"):
            linear_forward(X, W, b, out=bad)
    with pytest.raises(ValueError, match="share memory"):
        linear_forward(X, W, b, out=X)
    with pytest.raises(ValueError, match="share memory"):
        linear_backward(out, X, W, out.copy(), out=(np.empty((5, 4)), W2 := np.empty((4, 4)), W2[0]))


def test_only_real_numbers_are_taken():
    for bad in (np.ones((2, 2)) * 1j, [["1", "2"], ["3", "4"]]):
        with pytest.raises(TypeError, match="real numbers"):
            linear_forward(bad, np.eye(2))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"X": np.zeros(3)}, "X must have shape"),
        ({"W": np.zeros((5, 2))}, "W must have shape"),
        ({"b": np.zeros(3)}, "b must have shape"),
        ({"activation": "swish"}, "activation must be one of"),
    ],
)
def test_shapes_and_names_are_checked(change, message):
    arguments = {"X": np.zeros((3, 4)), "W": np.zeros((4, 2)), "b": np.zeros(2), "activation": "relu"}
    with pytest.raises(ValueError, match=message):
        linear_forward(**{**arguments, **change})


def test_infinity_and_nan_pass_through():
    X = np.array([[np.inf, 1.0], [np.nan, 1.0], [1.0, -np.inf]])
    got = linear_forward(X, np.eye(2), np.zeros(2))
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(got, X @ np.eye(2))


def test_accumulate_needs_something_to_add_to():
    X = np.ones((3, 2))
    A = linear_forward(X, X[:2])
    for out in (None, (None, None, None), (None, np.zeros((2, 2)), None)):
        with pytest.raises(ValueError, match="to add to"):
            linear_backward(A, X, X[:2], A, accumulate=True, out=out)
