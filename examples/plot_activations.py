"""
Activations of the hidden layers
================================

Beside scikit-learn's four activations the networks have five more. Here each one learns the same two
interleaved half circles, from the same random state.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning

from fastnn import MLPClassifier
from fastnn.tables.activations import HIDDEN

# A fixed number of iterations for all, whether they have converged or not.
warnings.simplefilter("ignore", ConvergenceWarning)

X, y = make_moons(400, noise=0.2, random_state=0)
grid = np.stack(np.meshgrid(np.linspace(-2, 3, 100), np.linspace(-1.5, 2, 200)), axis=-1)

# %%
# ``HIDDEN`` holds the names of all activations that a hidden layer may have.

figure, axes = plt.subplots(3, 3, figsize=(8, 7), layout="constrained", sharex=True, sharey=True)
for name, panel in zip(HIDDEN, axes.flat, strict=True):
    model = MLPClassifier((20, 20), activation=name, solver="lbfgs", alpha=0.1, max_iter=200, random_state=0)
    model.fit(X, y)
    probability = model.predict_proba(grid.reshape(-1, 2))[:, 1].reshape(grid.shape[:2])
    panel.contourf(grid[..., 0], grid[..., 1], probability, np.linspace(0, 1, 11), cmap="RdBu_r", alpha=0.7)
    panel.scatter(*X.T, c=y, s=6, cmap="RdBu_r", edgecolors="k", linewidths=0.2)
    panel.set_title(f"{name}: {model.score(X, y):.3f}")
    print(f"{name:10s} loss {model.loss_:.4f} after {model.n_iter_:3d} iterations")
figure.suptitle("Probability of a class, and accuracy on the training data")
plt.show()
