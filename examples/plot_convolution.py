"""
A convolution is a linear layer of patches
==========================================

Each channel of a convolution multiplies every patch of a picture with the same weights and adds a bias. With
a row for each patch that is ``linear_forward``; and since a bias is added at each position of each picture,
its gradient is the sum over all of these.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.special import softmax
from sklearn.datasets import load_digits

from fastnn.kernels import linear_backward, linear_forward

pictures, digit = load_digits().images / 16, load_digits().target
train, test, y_train, y_test = pictures[:1350], pictures[1350:], digit[:1350], digit[1350:]
rng = np.random.default_rng(0)
n_channels = 8


def forward(pictures, K, b, W, c):
    """Convolution with relu, the mean over quarters of the picture, and a linear layer of scores."""
    windows = np.lib.stride_tricks.sliding_window_view(pictures, (3, 3), axis=(1, 2))
    patches = windows.reshape(-1, 9)  # a row for each of the 6 x 6 positions in 8 x 8 pixels
    A = linear_forward(patches, K, b, "relu")
    pooled = A.reshape(-1, 2, 3, 2, 3, n_channels).mean(axis=(2, 4)).reshape(len(pictures), -1)
    return patches, A, pooled, linear_forward(pooled, W, c)


def loss_and_gradients(pictures, y, K, b, W, c):
    """Cross-entropy, its gradients, and what comes back to the channels, (n, 6, 6, n_channels)."""
    n = len(y)
    patches, A, pooled, scores = forward(pictures, K, b, W, c)
    p, target = softmax(scores, axis=1), np.eye(10)[y]
    loss = -np.log(p[target == 1]).mean()
    dpooled, dW, dc = linear_backward((p - target) / n, pooled, W, scores)
    quarters = dpooled.reshape(n, 2, 1, 2, 1, n_channels) / 9  # a ninth for each position
    dA = np.broadcast_to(quarters, (n, 2, 3, 2, 3, n_channels)).reshape(A.shape)
    _, dK, db = linear_backward(dA, patches, K, A, activation="relu")
    return loss, (dK, db, dW, dc), np.where(A > 0, dA, 0).reshape(n, 6, 6, n_channels)


# %%
# The gradient of a bias is the sum over pictures and positions, and central differences agree. (With biases
# of 0 these would not: at patches without ink relu then stands at its kink.)

K, b = rng.normal(scale=0.5, size=(9, n_channels)), np.full(n_channels, 0.1)
W, c = rng.normal(scale=0.1, size=(4 * n_channels, 10)), np.zeros(10)
_, (_, db, _, _), dZ = loss_and_gradients(train, y_train, K, b, W, c)
h = 1e-6 * np.eye(n_channels)[0]  # a step of the first bias
ahead, behind = (loss_and_gradients(train, y_train, K, b + step, W, c)[0] for step in (h, -h))
difference = (ahead - behind) / 2e-6
print(f"Bias of channel 0: {db[0]:.9f}, sum {dZ[..., 0].sum():.9f}, central difference {difference:.9f}")
assert np.allclose(db, dZ.sum(axis=(0, 1, 2)))
assert np.isclose(db[0], difference, atol=1e-7)

# %%
# Trained with it. The last row shows the gradients from before, summed over pictures; over them is their sum.

for _ in range(40):
    for batch in np.array_split(rng.permutation(len(train)), 27):
        _, gradients, _ = loss_and_gradients(train[batch], y_train[batch], K, b, W, c)
        for array, gradient in zip((K, b, W, c), gradients, strict=True):
            array -= 0.5 * gradient
accuracy = (forward(test, K, b, W, c)[-1].argmax(axis=1) == y_test).mean()
maps = forward(test[:1], K, b, W, c)[1].reshape(6, 6, n_channels)

figure, axes = plt.subplots(3, n_channels, figsize=(9, 4.4), layout="constrained")
for row, values in enumerate((K.reshape(3, 3, n_channels), maps, dZ.sum(axis=0))):
    axes[row, 0].set_ylabel(("weights", f"maps of a {y_test[0]}", "gradient")[row])
    top = np.abs(values).max()
    for channel, panel in enumerate(axes[row]):
        panel.imshow(values[..., channel], cmap="RdBu_r", vmin=-top, vmax=top)
        title = f"bias {b[channel]:.2f}", "", f"sum {db[channel]:.3f}"
        panel.set(xticks=[], yticks=[], title=title[row])
figure.suptitle(f"Channels of a convolution that reads {accuracy:.0%} of other writers' digits")
plt.show()
