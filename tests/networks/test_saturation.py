"""What the buffers of a step still hold, and what is made of it."""

import numpy as np
import pytest
from scipy import sparse

from fastnn.kernels.shared.threads import use_threads
from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.networks.rows import HostRows
from fastnn.networks.saturation import FEW_ROWS, MOST_ROWS, RULES, saturation, share_of_units
from fastnn.tables.activations import RELU_AT_ZERO
from fastnn.tables.dropout import Dropout
from tests.networks.test_network import optimizer_for, targets_for
from tests.reference import dropout_factors, forward


def trained(sizes, n, batch_size, *, X=None, dtype=np.float64, dropout=None, accumulate=1, **options):
    """A network after an epoch at rate 0, its rows, and those of the last batch."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, sizes[0])).astype(dtype) if X is None else X
    options = {"hidden_activation": "tanh", "loss": "log_loss", "dtype": dtype, "backend": HOST} | options
    if dropout is not None:
        options["dropout"] = dropout
    net = Network(sizes, **options)
    net.parameters[:] = rng.normal(size=net.parameters.size) / 4
    Y = targets_for("log_loss", n, sizes[-1], rng).astype(dtype)
    bound = net.bind(HostRows(X), Y, optimizer=optimizer_for(net, learning_rate=0.0))
    order = rng.permutation(n)
    bound.run_epoch(order, batch_size, accumulate)
    return net, bound, X, order[(n - 1) // batch_size * batch_size :]


def read(bound, layer, most=MOST_ROWS):
    return np.concatenate(list(bound.hidden_panels(layer, most)), axis=1).T


# With and without gradients of their own for chunks of rows, one unit, several chunks of 256 rows.
SHAPES = [[5, 7, 3], [3, 1, 4, 2], [64, 100, 10], [300, 33, 40, 2]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("sizes", SHAPES, ids=str)
def test_panels_are_the_activations_of_the_last_batch(sizes, threads, dtype):
    tolerance = 1e-6 if dtype == np.float32 else 1e-13
    for n, batch_size in ((1, 1), (7, 3), (201, 200), (333, 160), (900, 300)):
        for accumulate in (1, 2):
            with use_threads(threads):
                net, bound, X, last = trained(sizes, n, batch_size, dtype=dtype, accumulate=accumulate)
                for layer in range(len(sizes) - 2):
                    for most in (MOST_ROWS, 10):
                        want = net.outputs(HostRows(X[last[:most]]), layer + 1)
                        np.testing.assert_allclose(read(bound, layer, most), want, atol=tolerance)
                bound.loss_and_gradient()
                want = net.outputs(HostRows(X[:MOST_ROWS]), 1)
                np.testing.assert_allclose(read(bound, 0), want, atol=tolerance)


def test_panels_of_a_first_layer_on_sparse_rows():
    X = sparse.random(333, 300, 0.03, format="csr", random_state=0)
    for threads in (1, 2):
        with use_threads(threads):
            net, bound, _, last = trained([300, 33, 5, 2], 333, 160, X=X)
            for layer in (0, 1):
                want = net.outputs(HostRows(X[last]), layer + 1)
                np.testing.assert_allclose(read(bound, layer), want, atol=1e-13)


def test_panels_before_dropout():
    sizes, dropout = [6, 9, 8, 3], Dropout(0.5, 7)
    net, bound, X, last = trained(sizes, 60, 40, dropout=dropout)
    factors = [dropout_factors(0.5, 7, 1, layer, last.size, units) for layer, units in enumerate(sizes[1:3])]
    acts = forward(X[last], net.coefs, net.intercepts, "tanh", "softmax", factors)[1]
    for layer in (0, 1):
        np.testing.assert_allclose(read(bound, layer), acts[layer + 1], atol=1e-13)
    # The gradient has none.
    bound.loss_and_gradient()
    np.testing.assert_allclose(read(bound, 0), net.outputs(HostRows(X), 1), atol=1e-13)


def test_of_an_epoch_that_has_not_come_to_its_end_nothing_is_told():
    _, bound, X, _ = trained([4, 5, 2], 20, 10)
    X[:] = np.nan
    assert np.isnan(bound.run_epoch(None, 10))
    assert not list(bound.hidden_panels(0, MOST_ROWS))
    assert np.isnan(bound.loss_and_gradient()[0])
    assert not list(bound.hidden_panels(0, MOST_ROWS))


CASES = {
    # Values of a unit over the rows, and whether that is stuck.
    "logistic": [
        ([0.001, 0.009], 1),
        ([0.995, 1], 1),
        ([0.001, 0.02], 0),
        ([0.001, 0.999], 0),
        ([0.5, 1], 0),
    ],
    "tanh": [([0.995, 1], 1), ([-1, 0.995], 1), ([0.98, 1], 0), ([-0.5, -1], 0)],
    "relu": [([0, 0], 1), ([0, 1e-30], 0), ([3, 0], 0)],
}


@pytest.mark.parametrize("name", CASES)
def test_rules(name):
    for values, stuck in [*CASES[name], ([np.nan, np.nan], 0)]:
        column = np.repeat([values], 3, axis=0)  # three units of the same values
        whole, cut = [column], [column[:, :1], column[:, 1:]]
        for panels in (whole, cut):
            assert share_of_units(panels, RULES[name].ways)[0] == stuck


def test_relu_has_one_rule():
    assert {RULES[relu.name].word for relu in RELU_AT_ZERO.values()} == {"dead"}


def test_shares_of_units_in_several_panels():
    a = np.random.default_rng(0).uniform(0.1, 1, size=(20, 50))
    a[:5] = 0
    a[5, 49] = a[6, :49] = 0
    assert share_of_units([a[:, :16], a[:, 16:32], a[:, 32:]], RULES["relu"].ways) == (0.25, 50)
    assert share_of_units([a[5:, :16], a[5:, 16:]], RULES["relu"].ways) == (0, np.inf)
    assert share_of_units([], RULES["relu"].ways) == (0, 0)


def test_layers_that_are_not_judged():
    net, bound, X, _ = trained([4, 6, 5, 4, 2], 40, 40, hidden_activation=["silu", "relu", "softmax"])
    net.intercepts[1][:3] = -100
    bound.loss_and_gradient()
    np.testing.assert_array_equal(saturation(net, HostRows(X), bound), [np.nan, 0.6, np.nan])
    np.testing.assert_array_equal(saturation(net, HostRows(X), None), [np.nan, 0.6, np.nan])


@pytest.mark.parametrize("n_last", [1, FEW_ROWS - 1, FEW_ROWS])
def test_few_rows_are_no_ground_for_a_judgement(n_last):
    """Then rows from all over the data are asked; so they are before a layer is said to be bad."""
    X = np.ones((50 + n_last, 2))
    X[::2] = -1  # where every unit is 0
    net, _, _, last = trained([2, 8, 2], len(X), 50, X=X, hidden_activation="relu")
    assert last.size == n_last
    net.coefs[0][:], net.intercepts[0][:] = 1, 0
    panels = [np.zeros((8, n_last))]
    panels[0][0] = 1
    stub = type("Bound", (), {"hidden_panels": lambda self, layer, most: panels})()
    expected = 0.875 if n_last == FEW_ROWS else 0
    assert saturation(net, HostRows(X), stub) == [expected]
    panels[0][0] = 0
    assert saturation(net, HostRows(X), stub) == [0]
