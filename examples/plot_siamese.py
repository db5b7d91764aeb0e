"""
A pair of twins: one kernel, two inputs
=======================================

A Siamese network [1]_ maps both samples of a pair with the same weights, and learns from their distance
alone: close where they are of one kind, at least a margin apart where they are not [2]_. So its weights are
used twice in one pass, and their gradient is the sum over both uses: ``linear_backward(accumulate=True)``
adds to the gradient that is there.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from fastnn.kernels import linear_backward, linear_forward

X, digit = load_digits(n_class=5, return_X_y=True)
X = X / 16 - 0.3
rng = np.random.default_rng(0)


def contrastive(A, B, alike, margin=1.0):
    """Mean loss of the pairs, and its gradient with respect to A; that with respect to B is the opposite."""
    difference = A - B
    distance = np.maximum(np.linalg.norm(difference, axis=1), 1e-12)
    missing = np.where(alike, 0.0, np.maximum(margin - distance, 0))
    loss = np.where(alike, distance**2, missing**2).mean()
    factor = np.where(alike, 2.0, -2 * missing / distance) / len(A)
    return loss, factor[:, None] * difference


def loss_and_gradients(first, second, alike, W, b):
    """Both inputs through the same layer, and back."""
    A, B = (linear_forward(rows, W, b, "tanh") for rows in (first, second))
    loss, dA = contrastive(A, B, alike)
    _, dW, db = linear_backward(dA, first, W, A, activation="tanh")
    linear_backward(
        -dA, second, W, B, activation="tanh", accumulate=True, out=(np.empty_like(second), dW, db)
    )
    return loss, dW, db


def pairs(n):
    """Rows at random, at least half of the pairs of one digit."""
    first, second = rng.integers(len(X), size=(2, n))
    second[::2] = [rng.choice(np.flatnonzero(digit == digit[i])) for i in first[::2]]
    return X[first], X[second], digit[first] == digit[second]


# %%
# The sum of both gradients is right, as central differences show.

W, b = rng.normal(scale=0.05, size=(64, 2)), np.zeros(2)
batch = pairs(200)
_, dW, db = loss_and_gradients(*batch, W, b)
direction, h = rng.normal(size=W.shape), 1e-6
ahead, behind = (loss_and_gradients(*batch, W + step * direction, b)[0] for step in (h, -h))
print(f"Along a direction: {(dW * direction).sum():.9f}, by differences {(ahead - behind) / (2 * h):.9f}")
assert np.isclose((dW * direction).sum(), (ahead - behind) / (2 * h), rtol=1e-6)

# %%
# What 1000 steps make of it: two units in which the digits lie apart.

figure, panels = plt.subplots(1, 2, figsize=(9, 4), layout="constrained", sharex=True, sharey=True)
for panel, n_steps in zip(panels, (0, 1000), strict=True):
    for _ in range(n_steps):
        _, dW, db = loss_and_gradients(*pairs(200), W, b)
        W -= 0.1 * dW
        b -= 0.1 * db
    points = panel.scatter(*linear_forward(X, W, b, "tanh").T, c=digit, s=8, cmap="tab10", vmax=9)
    panel.set(title=f"after {n_steps} steps", xlabel="first unit", ylabel="second unit")
panels[1].legend(*points.legend_elements(), title="digit")
plt.show()

# %%
# .. [1] Bromley, Guyon, LeCun, Saeckinger and Shah (1993), "Signature verification using a 'Siamese' time
#    delay neural network", NIPS 6.
# .. [2] Hadsell, Chopra and LeCun (2006), "Dimensionality reduction by learning an invariant mapping", CVPR,
#    eq. 4, here without the halves.
