"""The normal equations of a network's squared errors, against NumPy and against central differences."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from fastnn.kernels.network import device
from fastnn.kernels.shared.threads import force_threads, threads_for, use_threads, workers
from fastnn.networks.data import rows_of
from fastnn.networks.layout import layout_of
from fastnn.tables.activations import CODES, HIDDEN
from tests.reference import jacobian, reference_predict

LAYERS = [(3, 2), (4, 5, 1), (3, 4, 6, 3), (1, 10, 1), (40, 3, 2)]
OUTPUTS = ["identity", "logistic", "tanh", "softplus", "relu"]
FLOAT64 = np.dtype(np.float64)


def network(sizes, seed=0):
    rng = np.random.default_rng(seed)
    parameters = rng.normal(size=layout_of(sizes).n_parameters)
    return parameters, layout_of(sizes).weights(parameters), layout_of(sizes).biases(parameters)


def problem(sizes, n, *, hidden="tanh", output="identity", weights=None, seed=0):
    rng = np.random.default_rng(seed + 1)
    X, Y = rng.normal(size=(n, sizes[0])), rng.normal(size=(n, sizes[-1]))
    X[rng.random(X.shape) < 0.4] = 0
    parameters, coefs, intercepts = network(sizes, seed)
    names = [hidden] * (len(sizes) - 2) + [output]
    loops = [
        np.array([table.address(CODES[name], FLOAT64) for name in names], np.int64)
        for table in (device.activation_loops, device.derivative_loops)
    ]
    layout = layout_of(sizes)
    roots = np.empty(0) if weights is None else np.sqrt(weights)
    squares = device.SquaredErrors(layout.sizes, layout.w_at, parameters, *loops, Y.reshape(-1), roots)
    roots = np.ones(n) if weights is None else roots
    names = {"hidden_activation": hidden, "output_activation": output}
    errors = roots[:, None] * (reference_predict(X, coefs, intercepts, **names) - Y)
    J = roots[:, None, None] * jacobian(X, coefs, intercepts, **names)
    return X, squares, errors, np.column_stack([J.reshape(-1, parameters.size), errors.reshape(-1)])


def normal_products(X, squares, block, parallel=False):
    n_columns = squares.parameters.size + 1
    products = np.zeros((n_columns, n_columns))
    with threads_for(0.0) if not parallel else threads_for(1e12) as threaded:
        arguments = threaded, workers(threaded), 0, X.shape[0], block, squares, rows_of(X, FLOAT64)
        device.add_normal_products(*arguments, products.reshape(-1))
    return products


def weighted_errors(X, squares, block):
    out = np.full(squares.targets.size, np.nan)
    device.weighted_errors(False, 1, 0, X.shape[0], block, squares, rows_of(X, FLOAT64), out)
    return out


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_the_twin_against_central_differences(hidden, output):
    sizes, names = (3, 4, 5, 2), {"hidden_activation": hidden, "output_activation": output}
    parameters, coefs, intercepts = network(sizes)
    X, h = np.random.default_rng(5).normal(size=(6, 3)), 1e-6
    expected = np.empty((6, 2, parameters.size))
    for i, value in enumerate(parameters.copy()):
        ends = []
        for parameters[i] in (value - h, value + h):
            ends.append(reference_predict(X, coefs, intercepts, **names))
        parameters[i] = value
        expected[:, :, i] = (ends[1] - ends[0]) / (2 * h)
    assert_allclose(jacobian(X, coefs, intercepts, **names), expected, atol=1e-8)


@pytest.mark.parametrize("weights", [None, "some"])
@pytest.mark.parametrize("block", [1, 7, 64])
@pytest.mark.parametrize("sizes", LAYERS, ids=str)
def test_products_over_shapes(sizes, block, weights):
    n = 23
    if weights:
        weights = np.random.default_rng(9).integers(0, 3, size=n) / 2
    X, squares, errors, rows = problem(sizes, n, weights=weights)
    products = normal_products(X, squares, block)
    assert_allclose(np.triu(products), np.triu(rows.T @ rows), rtol=1e-10, atol=1e-10)
    assert_allclose(weighted_errors(X, squares, block), errors.reshape(-1), rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("output", OUTPUTS)
@pytest.mark.parametrize("hidden", HIDDEN)
def test_products_of_every_activation(hidden, output):
    X, squares, errors, rows = problem((3, 5, 4, 2), 20, hidden=hidden, output=output)
    products = normal_products(X, squares, 8)
    assert_allclose(np.triu(products), np.triu(rows.T @ rows), rtol=1e-9, atol=1e-9)
    assert_allclose(weighted_errors(X, squares, 8), errors.reshape(-1), rtol=1e-10, atol=1e-12)


def test_sparse_rows_are_their_dense_ones():
    X, squares, _, _ = problem((40, 3, 2), 30)
    for form in (sparse.csr_matrix(X), sparse.csr_matrix(sparse.csc_matrix(X))):
        assert_array_equal(
            np.triu(normal_products(form, squares, 8)), np.triu(normal_products(X, squares, 8))
        )
        assert_array_equal(weighted_errors(form, squares, 8), weighted_errors(X, squares, 8))


def test_the_number_of_threads_changes_no_bit():
    X, squares, _, _ = problem((5, 12, 3), 300)
    alone = normal_products(X, squares, 85)
    for n_threads in (1, 2, 3):
        with force_threads(True), use_threads(n_threads):
            assert_array_equal(np.triu(normal_products(X, squares, 85, parallel=True)), np.triu(alone))


def test_no_rows_add_nothing():
    X, squares, _, _ = problem((3, 4, 2), 5)
    assert not normal_products(X[:0], squares, 4).any()
