"""Tied weights: gradients of both uses add up, and a step is the update rule on their sum."""

from itertools import pairwise

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from fastnn.kernels.shared.threads import force_threads
from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.networks.rows import HostRows
from fastnn.networks.tied import TiedNetwork, is_tied
from fastnn.tables.activations import LAYER_ACTIVATIONS
from fastnn.tables.dropout import Dropout
from fastnn.tables.optimizers import RULES
from tests.networks.test_network import data, optimizer_for
from tests.reference import RULES as REFERENCE_RULES
from tests.reference import ReferenceNetwork

SIZES = [5, 7, 3, 7, 5]
N = 23
RATES = (1.0, 0.0, 0.5, 1.0)
WEIGHTS = np.random.default_rng(2).uniform(0.5, 2, size=N)


def tied_network(hidden="tanh", sizes=SIZES, dtype=np.float64, **options):
    net = Network(sizes, hidden_activation=hidden, loss="squared_error", dtype=dtype, backend=HOST, **options)
    net.parameters[:] = np.random.default_rng(0).normal(size=net.parameters.size) / np.sqrt(max(sizes))
    return net, TiedNetwork(net)


class Twin:
    """The naive one: a whole network whose matrices are written out of the tied ones before each use."""

    def __init__(self, tied, hidden="tanh", dropout=(0.0, 0), sizes=SIZES):
        self.net = ReferenceNetwork(
            sizes, hidden_activation=hidden, loss="squared_error", dtype=np.float64, dropout=dropout
        )
        self.net.bias_rates = list(tied.bias_rates)
        half = len(sizes) // 2
        shapes = [*list(pairwise(sizes))[:half], *((n,) for n in sizes[1:])]
        self.parameters = tied.parameters.copy()
        self.views = self.net._views(self.parameters, shapes)
        self.half = half

    def unfold(self):
        for layer in range(self.half):
            self.net.coefs[layer][...] = self.views[layer]
            self.net.coefs[-1 - layer][...] = self.views[layer].T
        for b, values in zip(self.net.intercepts, self.views[self.half :], strict=True):
            b[...] = values

    def loss_and_gradient(self, X, Y, **options):
        self.unfold()
        loss, gradient = self.net.loss_and_gradient(X, Y, **options)
        parts = self.net._views(gradient, [array.shape for array in self.net.intercepts_and_coefs()])
        weights, biases = parts[::2], parts[1::2]
        summed = [weights[layer] + weights[-1 - layer].T for layer in range(self.half)]
        return loss, np.concatenate([array.ravel() for array in (*summed, *biases)])

    def epoch(self, optimizer, X, Y, order, batch_size, *, sample_weight=None, alpha=0.0, rates=None):
        total = 0.0
        for number, start in enumerate(range(0, len(order), batch_size)):
            batch = order[start : start + batch_size]
            weight = None if sample_weight is None else sample_weight[batch]
            if weight is not None and not weight.any():
                continue
            factors = self.net.factors(len(batch), optimizer.t)
            loss, gradient = self.loss_and_gradient(
                X[batch], Y[batch], sample_weight=weight, alpha=alpha, factors=factors
            )
            total += loss * len(batch)
            optimizer.t += 1
            before = self.parameters.copy()
            REFERENCE_RULES[optimizer.name](
                self.parameters,
                gradient,
                optimizer.state,
                optimizer.learning_rate if rates is None else rates[number],
                optimizer.t,
                *optimizer.hyper,
            )
            for b, old, rate in zip(
                self.views[self.half :],
                self.net._views(before, [array.shape for array in self.views])[self.half :],
                self.net.bias_rates,
                strict=True,
            ):
                b[...] = old + rate * (b - old)
        return total / len(order)


def bound(net, X, Y, **options):
    return net.bind(HostRows(X), Y, **options)


@pytest.mark.parametrize("hidden", LAYER_ACTIVATIONS)
def test_gradient_is_the_central_difference(hidden):
    whole, net = tied_network(hidden, bias_rates=RATES)
    X, Y = data(N, SIZES, "squared_error")
    options = {"sample_weight": WEIGHTS, "alpha": 0.3}
    training = bound(net, X, Y, **options)
    loss, gradient = training.loss_and_gradient()
    want, want_gradient = Twin(net, hidden).loss_and_gradient(X, Y, **options)
    assert loss == pytest.approx(want, rel=1e-12)
    assert_allclose(gradient, want_gradient, atol=1e-12)
    # The gradient is that of the sum over outputs.
    whole.loss = whole.loss._replace(mean_over_outputs=False)
    training = bound(net, X, Y, **options)
    numeric, h = np.zeros_like(gradient), 1e-6
    # The biases of the second layer stay what they are, and count as constants.
    weights = SIZES[0] * SIZES[1] + SIZES[1] * SIZES[2]
    frozen = weights + SIZES[1] + np.arange(SIZES[2])
    for i in np.setdiff1d(np.arange(gradient.size), frozen):
        sides = []
        for sign in (1, -1):
            net.parameters[i] += sign * h
            sides.append(training.loss_and_gradient()[0])
            net.parameters[i] -= sign * h
        numeric[i] = (sides[0] - sides[1]) / (2 * h)
    assert_allclose(gradient, numeric, atol=1e-8)


@pytest.mark.parametrize("rate", [0.0, 0.4])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_epochs_are_those_of_the_reference(rule, weights, rate):
    X, Y = data(N, SIZES, "squared_error")
    whole, net = tied_network(dropout=Dropout(rate, 9), bias_rates=RATES)
    twin = Twin(net, dropout=(rate, 9))
    ours, theirs = optimizer_for(net, rule), optimizer_for(net, rule)
    training = bound(net, X, Y, sample_weight=weights, alpha=0.3, optimizer=ours)
    for epoch in range(3):
        order = np.random.default_rng(epoch).permutation(N)[: N - 3]
        loss = training.run_epoch(order, 8)
        want = twin.epoch(theirs, X, Y, order, 8, sample_weight=weights, alpha=0.3)
        assert loss == pytest.approx(want, rel=1e-10)
    assert ours.t == theirs.t == 9
    assert_allclose(net.parameters, twin.parameters, atol=1e-9)
    assert is_tied(whole.coefs)
    assert_array_equal(whole.coefs[0].ravel(), net.parameters[: whole.coefs[0].size])


def test_a_batch_without_weight_changes_nothing():
    X, Y = data(N, SIZES, "squared_error")
    weights = WEIGHTS.copy()
    weights[8:16] = 0
    _, net = tied_network()
    twin = Twin(net)
    ours, theirs = optimizer_for(net), optimizer_for(net)
    # Its rate is nobody's: those of the others are by their places.
    for rates in (None, np.array([0.1, 0.2, 0.3])):
        loss = bound(net, X, Y, sample_weight=weights, optimizer=ours).run_epoch(None, 8, 1, rates)
        want = twin.epoch(theirs, X, Y, np.arange(N), 8, sample_weight=weights, rates=rates)
        assert loss == pytest.approx(want, rel=1e-12)
        assert_allclose(net.parameters, twin.parameters, atol=1e-12)
    assert ours.t == theirs.t == 4


def test_an_epoch_ends_at_a_loss_that_is_nan():
    X, Y = data(N, SIZES, "squared_error")
    X[12] = np.nan
    _, net = tied_network()
    optimizer = optimizer_for(net)
    assert np.isnan(bound(net, X, Y, optimizer=optimizer).run_epoch(None, 8))
    assert optimizer.t == 1
    assert np.isfinite(net.parameters).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_threads_change_no_bit_and_sparse_rows_only_rounding(dtype):
    sizes = [300, 40, 300]
    X, _ = data(64, sizes, "squared_error", dtype)
    X *= np.random.default_rng(5).uniform(size=X.shape) < 0.03
    found = []
    for rows, threads in ((X, False), (X, True)):
        _, net = tied_network(sizes=sizes, dtype=dtype)
        with force_threads(threads):
            training = bound(net, rows, X, optimizer=optimizer_for(net))
            training.run_epoch(None, 32)
            training.run_epoch(None, 32)
        found.append(net.parameters.copy())
    assert_array_equal(*found)
    _, net = tied_network(sizes=sizes, dtype=dtype)
    training = bound(net, sparse.csr_matrix(X), X, optimizer=optimizer_for(net))
    training.run_epoch(None, 32)
    training.run_epoch(None, 32)
    assert_allclose(net.parameters, found[0], atol=1e-5 if dtype == np.float32 else 1e-12)


@pytest.mark.parametrize("tiny", [0.0, 1e-310])
def test_batches_of_no_weight_count_as_in_any_network(tiny):
    """Without steps the loss of an epoch is that of the whole network, also where no batch has a weight."""
    X, _ = data(20, SIZES)
    for weight in (np.r_[np.full(10, tiny), np.ones(10)], np.full(20, 1e-310)):
        net, tied = tied_network()
        tied.unfold()
        losses = []
        for one in (tied, net):
            optimizer = optimizer_for(one, "momentum", learning_rate=0.0)
            bound = one.bind(HostRows(X), X, sample_weight=weight, alpha=0.1, optimizer=optimizer)
            losses.append(bound.run_epoch(None, 10))
        assert losses[0] == pytest.approx(losses[1], rel=1e-12)
