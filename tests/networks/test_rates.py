"""A learning rate for each update of an epoch, in the compiled engine."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastnn.kernels.shared import pacing
from fastnn.tables.optimizers import RULES
from tests.networks.test_network import SHAPES, bound, data, optimizer_for, pair

SIZES, N = [6, 5, 3], 53


def rates_for(n_updates, seed=0):
    """One of them 0, as schedules have it."""
    rates = np.random.default_rng(seed).uniform(1e-3, 0.3, n_updates)
    rates[n_updates // 2] = 0
    return rates


@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
@pytest.mark.parametrize(("batch", "accumulate"), [(10, 1), (7, 1), (10, 2), (5, 4), (10, 100), (N, 1)])
def test_epochs_follow_the_reference(batch, accumulate, rule):
    net, twin = pair(SIZES)
    X, Y = data(N, SIZES)
    optimizers = [optimizer_for(one, rule, 1e9) for one in (net, twin)]  # which nobody reads
    both = [
        bound(one, X, Y, alpha=0.01, optimizer=optimizer)
        for one, optimizer in zip((net, twin), optimizers, strict=True)
    ]
    n_updates = -(-N // (batch * accumulate))
    for epoch in range(3):
        order = np.random.default_rng(epoch).permutation(N)
        losses = [one.run_epoch(order, batch, accumulate, rates_for(n_updates, epoch)) for one in both]
        assert losses[0] == pytest.approx(losses[1], rel=1e-10)
        assert_allclose(net.parameters, twin.parameters, rtol=1e-9, atol=1e-10)
    assert optimizers[0].t == optimizers[1].t == 3 * n_updates


def test_a_batch_without_weight_has_a_rate_all_the_same():
    """It has no update, and the rate of the next one is that of its place."""
    net, twin = pair(SIZES)
    X, Y = data(40, SIZES)
    weight = np.ones(40)
    weight[10:20] = 0
    rates = np.array([0.1, 0.2, 0.3, 0.4])
    for one in (net, twin):
        optimizer = optimizer_for(one, "momentum")
        bound(one, X, Y, sample_weight=weight, optimizer=optimizer).run_epoch(None, 10, 1, rates)
        assert optimizer.t == 3
    assert_allclose(net.parameters, twin.parameters, rtol=1e-11)


def test_equal_rates_are_the_optimisers_to_the_bit():
    X, Y = data(N, SIZES)
    found = []
    for rates in (None, np.full(6, 0.02)):
        net, _ = pair(SIZES)
        loss = bound(net, X, Y, optimizer=optimizer_for(net, "adam", 0.02)).run_epoch(None, 10, 1, rates)
        found.append((loss, net.parameters))
    assert found[0][0] == found[1][0]
    assert_array_equal(found[0][1], found[1][1])


@pytest.mark.parametrize("accumulate", [1, 3])
def test_cutting_an_epoch_into_calls_changes_nothing(monkeypatch, accumulate):
    X, Y = data(500, [8, 3])
    results = []
    for seconds in (1e9, 0.0):
        monkeypatch.setattr(pacing, "CALL_SECONDS", seconds)
        net, _ = pair([8, 16, 3])
        training = bound(net, X, Y, optimizer=optimizer_for(net))
        rates = rates_for(-(-25 // accumulate))
        results.append(([training.run_epoch(None, 20, accumulate, rates) for _ in range(3)], net.parameters))
    assert results[0][0] == results[1][0]
    assert_array_equal(results[0][1], results[1][1])


@pytest.mark.parametrize(("sizes", "batch"), SHAPES[::3])
def test_results_do_not_depend_on_the_number_of_threads(sizes, batch, one_thread, any_size_uses_threads):
    X, Y = data(1000, sizes, dtype=np.float32)

    def train():
        net, _ = pair(sizes, dtype=np.float32)
        training = bound(net, X, Y, alpha=1e-3, optimizer=optimizer_for(net))
        rates = rates_for(-(-1000 // batch)) / 10
        return [training.run_epoch(None, batch, 1, rates) for _ in range(3)], net.parameters

    two = train()
    with one_thread():
        one = train()
    assert one[0] == two[0]
    assert_array_equal(one[1], two[1])
