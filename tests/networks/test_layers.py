"""An activation for each layer, softmax after hidden layers, rates of biases, accumulated batches."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from fastnn.kernels.shared import pacing
from fastnn.networks.backends import predict
from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.networks.rows import HostRows
from fastnn.tables.activations import HIDDEN, LAYER_ACTIVATIONS, SOFTMAX
from fastnn.tables.dropout import Dropout
from fastnn.tables.optimizers import RULES
from tests.networks.test_network import bound, data, objective, optimizer_for
from tests.reference import ReferenceNetwork, reference_predict

SEED = 2**40 + 7
MIXED = [("softmax", "tanh"), ("gelu", "softmax"), ("softmax", "softmax"), ("mish", "relu"), ("selu", "elu")]


def pair(sizes, hidden, loss="log_loss", dtype=np.float64, **options):
    """A compiled network and its twin, with the same parameters."""
    options |= {"hidden_activation": hidden, "loss": loss, "dtype": dtype}
    networks = Network(sizes, backend=HOST, **options), ReferenceNetwork(sizes, **options)
    values = np.random.default_rng(0).normal(size=networks[0].parameters.size) / np.sqrt(max(sizes))
    for one in networks:
        one.parameters[:] = values
    return networks


@pytest.mark.parametrize("rates", [None, (1.0, 0.0, 0.5)])
@pytest.mark.parametrize("hidden", MIXED)
def test_gradient_is_the_reference_and_the_central_difference(hidden, rates):
    sizes = [5, 7, 6, 3]
    net, twin = pair(sizes, hidden, bias_rates=rates)
    X, Y = data(11, sizes)
    weight = np.random.default_rng(2).uniform(0.5, 2, size=11)
    arguments = {"sample_weight": weight, "alpha": 0.3}
    value, gradient = bound(net, X, Y, **arguments).loss_and_gradient()
    want, want_gradient = twin.loss_and_gradient(X, Y, **arguments)
    assert value == pytest.approx(want, rel=1e-12)
    assert_allclose(gradient, want_gradient, atol=1e-12)
    numeric, h = np.zeros_like(gradient), 1e-6
    frozen = net.layout.biases(np.arange(gradient.size))[1] if rates else []
    for i in np.setdiff1d(np.arange(gradient.size), frozen):
        sides = []
        for sign in (1, -1):
            net.parameters[i] += sign * h
            sides.append(objective(net, X, Y, **arguments))
            net.parameters[i] -= sign * h
        numeric[i] = (sides[0] - sides[1]) / (2 * h)
    assert_allclose(gradient, numeric, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("hidden", MIXED)
@pytest.mark.parametrize("dropout", [Dropout(), Dropout(0.3125, SEED)])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_epochs_follow_the_reference(is_sparse, dropout, hidden, dtype):
    sizes = [300 if is_sparse else 20, 17, 33, 6]
    net, twin = pair(sizes, hidden, dtype=dtype, dropout=dropout)
    X, Y = data(101, sizes, dtype=dtype)
    if is_sparse:
        X[np.random.default_rng(1).random(X.shape) < 0.97] = 0
    optimizers = [optimizer_for(one) for one in (net, twin)]
    rows = sparse.csr_matrix(X) if is_sparse else X
    both = [
        bound(one, x, Y, alpha=1e-3, optimizer=optimizer)
        for one, x, optimizer in zip((net, twin), (rows, X), optimizers, strict=True)
    ]
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for epoch in range(2):
        order = np.random.default_rng(epoch).permutation(101)
        losses = [one.run_epoch(order, 41) for one in both]
        assert losses[0] == pytest.approx(losses[1], rel=tolerance)
        assert_allclose(net.parameters, twin.parameters, atol=tolerance)
    options = {"hidden_activation": hidden, "output_activation": "softmax"}
    got = predict(rows, net.coefs, net.intercepts, **options)
    assert_allclose(got, reference_predict(X, net.coefs, net.intercepts, **options), rtol=100 * tolerance)


@pytest.mark.parametrize("name", LAYER_ACTIVATIONS)
def test_one_name_for_all_layers(name):
    X, _ = data(30, [4, 3])
    nets = [pair([4, 6, 5, 3], hidden)[0] for hidden in (name, (name, name))]
    first, second = (bound(net, X, np.eye(3)[np.arange(30) % 3]).loss_and_gradient() for net in nets)
    assert first[0] == second[0]
    assert_array_equal(first[1], second[1])


def test_large_scores_of_a_hidden_softmax():
    net, _ = pair([2, 4, 1], SOFTMAX, "squared_error")
    net.coefs[0][:] = np.array([[3, 2, 1, 0.1], [1e4, -1e4, 0, 0]])
    net.coefs[1][:, 0] = [1, 10, 100, 1000]
    net.parameters[net.layout.b_at[0] :][:4] = 0
    net.intercepts[1][:] = 0
    X = np.array([[1.0, 0], [0, 1], [0, -1]])
    out = predict(X, net.coefs, net.intercepts, hidden_activation=SOFTMAX, output_activation="identity")
    exact = np.exp([3, 2, 1, 0.1]) / np.exp([3, 2, 1, 0.1]).sum()
    assert_allclose(exact, [0.642, 0.236, 0.087, 0.035], atol=6e-4)
    assert_allclose(out[:, 0], [exact @ [1, 10, 100, 1000], 1, 10], rtol=1e-14)
    loss, gradient = bound(net, X, np.zeros((3, 1))).loss_and_gradient()
    assert np.isfinite(loss)
    assert np.isfinite(gradient).all()


@pytest.mark.parametrize("hidden", [("softmax", "silu"), ("relu", "softmax")])
@pytest.mark.parametrize(("sizes", "batch"), [([64, 100, 37, 10], 173), ([300, 40, 8, 3], 64)])
def test_results_do_not_depend_on_the_number_of_threads(
    sizes, batch, hidden, one_thread, any_size_uses_threads
):
    X, Y = data(1000, sizes, dtype=np.float32)

    def train():
        net, _ = pair(sizes, hidden, dtype=np.float32, dropout=Dropout(0.25, SEED))
        training = bound(net, X, Y, alpha=1e-3, optimizer=optimizer_for(net))
        losses = [training.run_epoch(None, batch, 2) for _ in range(3)]
        return losses, net.parameters, net.outputs(HostRows(X))

    two = train()
    with one_thread():
        one = train()
    assert one[0] == two[0]
    assert_array_equal(one[1], two[1])
    assert_array_equal(one[2], two[2])


# Biases.


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_a_rate_of_biases_is_a_factor_of_their_step(rule):
    sizes = [6, 5, 3]
    net, twin = pair(sizes, "tanh", bias_rates=(0.25, 3.0))
    X, Y = data(50, sizes)
    optimizers = [optimizer_for(one, rule) for one in (net, twin)]
    both = [
        bound(one, X, Y, optimizer=optimizer) for one, optimizer in zip((net, twin), optimizers, strict=True)
    ]
    for one in both:
        one.run_epoch(None, 50)
    assert_allclose(net.parameters, twin.parameters, rtol=1e-12)


@pytest.mark.parametrize("is_sparse", [False, True])
def test_biases_with_rate_zero_stay_to_the_bit(is_sparse):
    sizes = [300, 8, 4, 3]
    net, _ = pair(sizes, "relu", bias_rates=(0.0, 1.0, 0.0))
    X, Y = data(60, sizes)
    if is_sparse:
        X[np.random.default_rng(1).random(X.shape) < 0.97] = 0
        X = sparse.csr_matrix(X)
    before = [b.copy() for b in net.intercepts]
    bound(net, X, Y, optimizer=optimizer_for(net)).run_epoch(None, 20)
    assert_array_equal(net.intercepts[0], before[0])
    assert (net.intercepts[1] != before[1]).any()
    assert_array_equal(net.intercepts[2], before[2])


# Accumulation.


def accumulated(X, Y, batch, m, *, dropout=0.0, hidden="tanh", sizes=(300, 17, 3), weight=None, epochs=2):
    net, _ = pair(list(sizes), hidden, dropout=Dropout(dropout, SEED))
    optimizer = optimizer_for(net)
    training = bound(net, X, Y, sample_weight=weight, alpha=1e-2, optimizer=optimizer)
    losses = [training.run_epoch(None, batch, m) for _ in range(epochs)]
    return np.array(losses), net.parameters, optimizer.t


@pytest.mark.parametrize("dropout", [0.0, 0.25])
@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize(("n", "batch", "m"), [(120, 10, 4), (113, 10, 4), (101, 10, 100), (50, 1, 7)])
def test_accumulated_batches_are_one_large_batch(n, batch, m, is_sparse, dropout):
    X, Y = data(n, [300, 3])
    weight = np.random.default_rng(0).integers(0, 3, n).astype(float)
    if is_sparse:
        X[np.random.default_rng(1).random(X.shape) < 0.97] = 0
        X = sparse.csr_matrix(X)
    for weights in (None, weight):
        several = accumulated(X, Y, batch, m, dropout=dropout, weight=weights)
        large = accumulated(X, Y, batch * m, 1, dropout=dropout, weight=weights)
        assert several[2] == large[2] == 2 * -(-n // (batch * m))
        assert_allclose(several[0], large[0], rtol=1e-12)
        assert_allclose(several[1], large[1], atol=1e-11)


def test_batches_of_zero_weight_within_a_step():
    """At its beginning, in its middle, at its end; and a step of nothing else, which is none."""
    X, Y = data(120, [300, 3])
    weight = np.repeat([0, 1, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0], 10).astype(float)
    several, large = (accumulated(X, Y, *how, weight=weight) for how in ((10, 3), (30, 1)))
    assert several[2] == large[2] == 6
    assert_allclose(several[0], large[0], rtol=1e-12)
    assert_allclose(several[1], large[1], atol=1e-11)


def test_cutting_an_epoch_into_calls_cuts_no_step(monkeypatch):
    X, Y = data(500, [300, 3])
    results = []
    for seconds in (1e9, 0.0):
        monkeypatch.setattr(pacing, "CALL_SECONDS", seconds)
        results.append(accumulated(X, Y, 10, 7))
    assert_array_equal(results[0][0], results[1][0])
    assert_array_equal(results[0][1], results[1][1])


def test_nan_in_the_middle_of_a_step_stops_before_it():
    X, Y = data(60, [300, 3])
    X[25] = np.nan
    stopped = accumulated(X, Y, 5, 4, epochs=1)
    whole = accumulated(X[:20], Y[:20], 5, 4, epochs=1)
    assert np.isnan(stopped[0]).all()
    assert_array_equal(stopped[1], whole[1])


def test_all_names_are_listed():
    assert set(HIDDEN) < set(LAYER_ACTIVATIONS)
    assert {*LAYER_ACTIVATIONS} - {*HIDDEN} == {SOFTMAX, "hard_limit"}
