"""
An optimiser by hand
====================

``initialize`` draws the weights that ``fit`` would begin with, and ``loss_and_gradients`` says what the loss
is and where it falls. So a few lines train a network by any rule.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_moons
from sklearn.exceptions import ConvergenceWarning

from fastnn import MLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # a fixed number of steps

X, y = make_moons(300, noise=0.2, random_state=0)
start = {"hidden_layer_sizes": (10,), "activation": "tanh", "random_state": 0}
rate, n_steps = 0.5, 200

# %%
# Gradient descent
# ----------------
# The arrays in ``coefs_`` and ``intercepts_`` are the model: whoever changes them trains it.

model = MLPClassifier(**start).initialize(X, y)
by_hand = []
for _ in range(n_steps):
    loss, coef_grads, intercept_grads = model.loss_and_gradients(X, y)
    by_hand.append(loss)
    for array, gradient in zip(model.coefs_ + model.intercepts_, coef_grads + intercept_grads, strict=True):
        array -= rate * gradient

# %%
# It is ``solver="sgd"`` with all samples in one batch and without momentum, step for step.

plain = {"solver": "sgd", "momentum": 0, "learning_rate_init": rate, "batch_size": len(X), "shuffle": False}
fitted = MLPClassifier(**start, **plain, max_iter=n_steps, tol=0, n_iter_no_change=n_steps).fit(X, y)
difference = np.abs(np.array(by_hand) - fitted.loss_curve_).max()
print(f"Largest difference between the two loss curves: {difference:.1e}")
assert difference < 1e-10
assert all(np.allclose(*pair) for pair in zip(model.coefs_, fitted.coefs_, strict=True))

# %%
# A rule of one's own
# -------------------
# ``flat=True`` gives one vector, which suits rules for each parameter by itself. Rprop [1]_ looks at the sign
# of a derivative alone: while it stays the same the step grows, and when it changes the step is halved.

model = MLPClassifier(**start).initialize(X, y)
arrays = [array for layer in zip(model.coefs_, model.intercepts_, strict=True) for array in layer]
ends = np.cumsum([array.size for array in arrays])[:-1]
rprop, steps, before = [], 0.01, 0.0
for _ in range(n_steps):
    loss, gradient = model.loss_and_gradients(X, y, flat=True)
    rprop.append(loss)
    steps = steps * np.where(gradient * before > 0, 1.2, np.where(gradient * before < 0, 0.5, 1.0))
    before = gradient
    for array, step in zip(arrays, np.split(steps * np.sign(gradient), ends), strict=True):
        array -= step.reshape(array.shape)

print(f"Loss after {n_steps} steps: gradient descent {by_hand[-1]:.4f}, Rprop {rprop[-1]:.4f}")
print(f"Error of the gradient beside central differences: {model.gradient_check(X, y):.1e}")

# %%
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.plot(fitted.loss_curve_, linewidth=5, alpha=0.4, label='solver="sgd"')
axes.plot(by_hand, "--", color="k", label="gradient descent by hand")
axes.plot(rprop, label="Rprop by hand")
axes.set(xlabel="step", ylabel="loss before the step", yscale="log")
axes.legend()
plt.show()

# %%
# .. [1] Riedmiller and Braun (1993), "A direct adaptive method for faster backpropagation learning: the RPROP
#    algorithm", IEEE International Conference on Neural Networks.
