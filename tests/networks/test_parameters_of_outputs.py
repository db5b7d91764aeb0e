"""A loss with a parameter of its own for each output."""

import numpy as np
import pytest

from fastnn.tables.losses import head_of
from tests.networks.test_network import bound, data, optimizer_for, pair

K = 3
PARAMETERS = (0.2, 0.55, 0.8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["quantile", "huber"])
@pytest.mark.parametrize("n", [1, 7, 8, 131])
def test_they_are_those_of_the_reference(loss, dtype, n, any_size_uses_threads):
    head, sizes = head_of(loss)._replace(parameter=PARAMETERS), (4, 6, K)
    net, twin = pair(sizes, loss=head, dtype=dtype)
    X, Y = data(n, sizes, head, dtype)
    value, gradient = bound(net, X, Y, alpha=0.1).loss_and_gradient()
    want, want_gradient = twin.loss_and_gradient(X, Y, alpha=0.1)
    tolerance = 1e-5 if dtype == np.float32 else 1e-12
    assert value == pytest.approx(want, rel=tolerance)
    np.testing.assert_allclose(gradient, want_gradient, atol=tolerance)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("loss", ["quantile", "huber"])
def test_equal_ones_have_the_bits_of_one_for_all(loss, dtype, any_size_uses_threads):
    results = []
    for parameter in (0.3, (0.3,) * K):
        net, _ = pair((4, 6, K), loss=head_of(loss)._replace(parameter=parameter), dtype=dtype)
        X, Y = data(131, (4, 6, K), loss, dtype)
        training = bound(net, X, Y, optimizer=optimizer_for(net))
        results.append([[training.run_epoch(None, 50) for _ in range(3)], net.parameters.copy()])
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)
