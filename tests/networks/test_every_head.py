"""Gradients for every hidden activation and every head, against the reference and central differences."""

from itertools import count

import numpy as np
import pytest

from fastnn.tables.activations import HIDDEN, SOFTMAX
from fastnn.tables.losses import HEADS
from tests.networks.test_network import bound, data, objective, pair
from tests.reference import KINKS, forward
from tests.tables.test_losses import head_name

SIZES = [5, 7, 6, 3]
LAYERS = [(name, name) for name in (*HIDDEN, SOFTMAX)]
LAYERS += [("softmax", "relu"), ("gelu", "softmax"), ("mish", "selu"), ("tanh", "hard_sigmoid")]
# Central differences go this far to both sides, along directions of some ten times the length.
STEP = 1e-6


def is_smooth(twin, names, X, Y, parameter):
    """Whether all is differentiable a hundred steps around: most data are, and others prove nothing."""
    zs, acts, _ = forward(X, twin.coefs, twin.intercepts, names[:-1], names[-1])
    layers = zip(zs[1:], names, strict=True)
    gaps = [abs(z - kink).min() for z, name in layers for kink in KINKS.get(name, ())]
    errors = abs(acts[-1] - Y)  # of which losses have kinks at 0 and at huber_delta
    return min([*gaps, errors.min(), abs(errors - parameter).min()]) > 100 * STEP


def problem(names, head, has_bias):
    """A network, its twin, data and arguments: the first random ones of which the gradient is smooth."""
    for seed in count():
        net, twin = pair(SIZES, names, head, bias_rates=[float(used) for used in has_bias], seed=seed)
        for b, used in zip(net.intercepts + twin.intercepts, 2 * has_bias, strict=True):
            b *= used
        X, Y = data(11, SIZES, head, seed=seed + 1)
        if is_smooth(twin, (*names, head.output_activation), X, Y, head.parameter):
            weight = np.random.default_rng(seed).uniform(0.5, 2, size=11)
            return net, twin, X, Y, {"sample_weight": weight, "alpha": 0.3}


@pytest.mark.parametrize("head", HEADS, ids=head_name)
@pytest.mark.parametrize("names", LAYERS, ids="+".join)
def test_gradient(names, head):
    if head.loss.parameter:
        head = head._replace(parameter=0.3)
    for has_bias in ([True] * 3, [False] * 3, [True, False, True]):
        net, twin, X, Y, arguments = problem(names, head, has_bias)
        value, gradient = bound(net, X, Y, **arguments).loss_and_gradient()
        want, want_gradient = twin.loss_and_gradient(X, Y, **arguments)
        assert value == pytest.approx(want, rel=1e-12)
        np.testing.assert_allclose(gradient, want_gradient, atol=1e-12)

        direction = np.random.default_rng(2).normal(size=gradient.size)
        for of_gradient, of_direction, used in zip(
            net.layout.biases(gradient), net.layout.biases(direction), has_bias, strict=True
        ):
            assert of_gradient.any() == used
            of_direction *= used
        sides = []
        for sign in (1, -2):  # one step forth, and back beyond the beginning
            net.parameters += sign * STEP * direction
            sides.append(objective(net, X, Y, **arguments))
        slope = (sides[0] - sides[1]) / (2 * STEP)
        assert slope == pytest.approx(gradient @ direction, rel=1e-7, abs=1e-7)
