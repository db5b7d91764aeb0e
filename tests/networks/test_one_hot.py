"""Targets of classes that are kept as codes or bits: the bits of a result are those of floats."""

import numpy as np
import pytest

from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.networks.one_hot import OneHot
from fastnn.tables.losses import head_of
from tests.networks.test_network import bound, optimizer_for


def test_a_one_hot_matrix():
    Y = OneHot(np.array([2, 0, 2, 1], np.int32), 4)
    assert Y.shape == (4, 4)
    np.testing.assert_array_equal(Y.dense(np.float32), np.eye(4, dtype=np.float32)[[2, 0, 2, 1]])
    assert Y.dense(np.float32).dtype == np.float32
    np.testing.assert_array_equal(Y.take([3, 0]).dense(bool), np.eye(4, dtype=bool)[[1, 2]])


def targets(form, n, k):
    """Targets in a compact form, and as numbers."""
    rng = np.random.default_rng(k)
    if form == "codes":
        Y = OneHot(rng.integers(k, size=n).astype(np.int32), k)
        return Y, Y.dense(np.float64)
    Y = rng.random((n, k)) < 0.3
    return Y, Y.astype(np.float64)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("form", "k"), [("codes", 3), ("codes", 16), ("codes", 150), ("flags", 1), ("flags", 5), ("flags", 33)]
)
@pytest.mark.parametrize(("n", "batch"), [(1, 1), (131, 50), (500, 300)])
@pytest.mark.parametrize("class_targets", [(0.0, 1.0), (0.03, 0.91)])
def test_bits_are_those_of_numbers(form, k, dtype, n, batch, class_targets, any_size_uses_threads):
    Y, numbers = targets(form, n, k)
    numbers = np.where(numbers, class_targets[1], class_targets[0])
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(n, 6)).astype(dtype), rng.integers(0, 3, size=n).astype(dtype)
    weight[0] = 1
    results = []
    for one in (Y, numbers.astype(dtype)):
        # Targets that are numbers are taken as they are.
        loss = head_of("log_loss" if form == "codes" else "binary_log_loss")
        loss = loss._replace(class_targets=class_targets)
        net = Network([6, 7, k], hidden_activation="tanh", loss=loss, dtype=dtype, backend=HOST)
        net.parameters[:] = np.random.default_rng(1).normal(size=net.parameters.size)
        optimizer = optimizer_for(net)
        order = np.random.default_rng(2).permutation(n)[: max(1, n - 7)]
        training = bound(net, X, one, sample_weight=weight, alpha=1e-3, optimizer=optimizer)
        losses = [training.run_epoch(order, batch) for _ in range(3)]
        gradient = bound(net, X, one, sample_weight=weight).loss_and_gradient()
        results.append([losses, net.parameters, *gradient])
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)
