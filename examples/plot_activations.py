"""
Activations of the hidden layers
================================

An activation makes a layer more than a linear map. Its derivative is what gradients are multiplied with on
their way back: where that is 0, nothing is learned.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning

from fastnn import MLPClassifier, MLPRegressor
from fastnn.tables.activations import HIDDEN, LAYER_ACTIVATIONS

# A fixed number of iterations for all, converged or not; and units that are dead on purpose.
warnings.simplefilter("ignore", ConvergenceWarning)
warnings.filterwarnings("ignore", ".*are dead")

# %%
# Values and derivatives
# ----------------------
# ``HIDDEN`` holds the names of the activations of one number. One unit of weight 1, made by hand, gives the
# values; the derivatives are differences of them.

z = np.linspace(-4, 4, 801)


def panels(names):
    """A figure with a panel for each name."""
    figure, axes = plt.subplots(3, 5, figsize=(11, 7), layout="constrained", sharex=True, sharey=True)
    for unused in axes.flat[len(names) :]:
        unused.set_axis_off()
    return figure, axes.flat[: len(names)]


figure, axes = panels(HIDDEN)
for name, panel in zip(HIDDEN, axes, strict=True):
    unit = MLPRegressor.from_weights([[[1]], [[1]]], [[0], [0]], activation=name)
    value = unit.predict(z[:, None])
    panel.plot(z, value, label="activation")
    panel.plot(z[1:] - 0.005, np.diff(value) / 0.01, "--", label="derivative")
    panel.set(title=name, ylim=(-2, 4))
figure.legend(*panel.get_legend_handles_labels(), loc="lower right")

# %%
# relu has no derivative at 0. Any number from 0 to 1 may stand for it, and ``relu_grad_at_zero`` says which.
# It matters where arguments are exactly 0, as those of an input of zeros are while biases are 0: with a
# derivative of 0 nothing reaches the hidden biases.

options = {"hidden_layer_sizes": (3,), "solver": "sgd", "bias_init": 0, "max_iter": 1, "random_state": 0}
for slope in (0, 0.5, 1):
    model = MLPRegressor(relu_grad_at_zero=slope, **options).fit(np.zeros((10, 1)), np.ones(10))
    print(f"relu_grad_at_zero={slope}: hidden biases after a step {model.intercepts_[0].round(5)}")

# %%
# What they learn
# ---------------
# Each one learns the same two interleaved half circles, from the same random state. Beside those above a
# layer may have softmax, which works on all its units at once: their outputs add up to 1.

trainable = [name for name in LAYER_ACTIVATIONS if name != "hard_limit"]
X, y = make_moons(400, noise=0.2, random_state=0)
grid = np.stack(np.meshgrid(np.linspace(-2, 3, 100), np.linspace(-1.5, 2, 200)), axis=-1)
figure, axes = panels(trainable)
for name, panel in zip(trainable, axes, strict=True):
    model = MLPClassifier((20, 20), activation=name, solver="lbfgs", alpha=0.1, max_iter=200, random_state=0)
    model.fit(X, y)
    probability = model.predict_proba(grid.reshape(-1, 2))[:, 1].reshape(grid.shape[:2])
    panel.contourf(grid[..., 0], grid[..., 1], probability, np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.7)
    panel.scatter(*X.T, c=y, s=6, cmap="RdBu_r", edgecolors="k", linewidths=0.2)
    panel.set_title(f"{name}: {model.score(X, y):.3f}")
    print(f"{name:12s} loss {model.loss_:.4f} after {model.n_iter_:3d} iterations")
figure.suptitle("Probability of a class, and accuracy on the training data")

# %%
# Layers may differ: one name for each.

model = MLPClassifier((20, 20), activation=("tanh", "relu"), solver="lbfgs", alpha=0.1, random_state=0)
print(f"tanh, then relu: {model.fit(X, y).score(X, y):.3f}")
plt.show()
