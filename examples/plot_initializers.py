"""
First weights and what becomes of signals
=========================================

A layer multiplies the size of what passes through it, forth and back, by about the same factor each time. In
twenty layers a factor of 0.7 leaves a thousandth, and one of 1.4 makes it a thousandfold. The rules of
``weight_init`` choose the variance of the weights by the size of the layer, so that the factor is near 1 for
one activation or another; normal weights of a fixed spread know nothing of it.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastnn import MLPRegressor
from fastnn.kernels import linear_backward, linear_forward

N_LAYERS, WIDTH = 20, 200
X = np.random.default_rng(0).normal(size=(500, WIDTH))


def fixed(spread):
    """A rule for normal weights of this standard deviation."""
    return lambda random_state, fan_in, fan_out, dtype: random_state.normal(0, spread, (fan_in, fan_out))


rules = {"normal, 0.03": fixed(0.03), "normal, 0.2": fixed(0.2)}
rules |= {name: name for name in ("glorot_normal", "he_normal", "orthogonal")}

# %%
# A network of 20 layers of 200 units: its activations, and the gradients that go back when the last layer's
# are drawn at random. Both are shown as root mean squares. He's rule, whose weights are larger, makes up for
# the half of the signal that relu drops. With tanh large weights saturate the units: activations stay near 1,
# and gradients do what the weights and the small slopes make of them.


def spread(rule, activation):
    """Size of the activations after each layer, and of the gradients before it."""
    network = MLPRegressor(hidden_layer_sizes=[WIDTH] * N_LAYERS, weight_init=rule, random_state=0)
    coefs = network.initialize(X, X[:, 0]).coefs_[:-1]  # without the output's
    A, d = [X], [np.random.default_rng(1).normal(size=X.shape)]
    for W in coefs:
        A.append(linear_forward(A[-1], W, activation=activation))
    for W, inputs, outputs in zip(coefs[::-1], A[-2::-1], A[:0:-1], strict=True):
        d.append(linear_backward(d[-1], inputs, W, outputs, activation=activation)[0])
    return [np.sqrt(np.mean(a**2)) for a in A[1:]], [np.sqrt(np.mean(a**2)) for a in d[:0:-1]]


figure, axes = plt.subplots(2, 2, figsize=(9, 6), layout="constrained", sharex=True, sharey="row")
for activation, (above, below) in zip(["tanh", "relu"], axes.T, strict=True):
    for name, rule in rules.items():
        forth, back = spread(rule, activation)
        above.semilogy(range(1, N_LAYERS + 1), forth, label=name)
        below.semilogy(range(1, N_LAYERS + 1), back)
        print(f"{activation} {name:14s} last activations {forth[-1]:8.2g}, first gradients {back[0]:8.2g}")
    above.set_title(activation)
    below.set_xlabel("layer")
axes[0, 0].set_ylabel("activations")
axes[1, 0].set_ylabel("gradients")
axes[0, 1].legend(fontsize="small")
plt.show()
