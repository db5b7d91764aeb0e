r"""
Bias or no bias
===============

A unit computes :math:`a = f(w \cdot x + b)`. The bias :math:`b` moves the place where it responds away from
the origin. Without it (``use_bias=False``) an input of zeros gives zeros in every layer whose activation is 0
at 0, whatever the weights are.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastnn import MLPClassifier, MLPRegressor

common = {"solver": "lbfgs", "alpha": 0, "max_iter": 5000, "random_state": 0}

# %%
# A line through the origin
# -------------------------
# A network without hidden layers is a linear model. Without a bias it can only draw a line through the
# origin, at best of the slope :math:`\sum x y / \sum x^2`; not even that y is 1 for every x can it learn.

x = np.linspace(0, 2, 9)[:, None]
targets = {"$y = 1$": np.ones(9), "$y = 2 - x$": 2 - x[:, 0], "$y = x$": x[:, 0]}
figure, axes = plt.subplots(1, 3, figsize=(9, 3), layout="constrained", sharex=True, sharey=True)
for (name, y), panel in zip(targets.items(), axes, strict=True):
    panel.plot(x, y, "ko", label="data")
    for use_bias, style in ((True, "C0-"), (False, "C3--")):
        model = MLPRegressor(hidden_layer_sizes=(), use_bias=use_bias, **common).fit(x, y)
        panel.plot(x, model.predict(x), style, label="with bias" if use_bias else "without")
        w, b = model.coefs_[0][0, 0], model.intercepts_[0][0]
        print(f"{name:11s} use_bias={use_bias!s:5s}  w = {w:5.2f}, b = {b:4.2f}")
    panel.set(title=name, xlabel="x")
axes[0].set_ylabel("y")
axes[0].legend()

# %%
# AND, OR and XOR
# ---------------
# One logistic unit draws one line, which without a bias passes through the origin: there the probability is
# 1/2, whatever the weights are. Of AND such a unit learns nothing, and says 1/2 everywhere. XOR takes a
# hidden layer; tanh units are 0 at (0, 0), so that without biases the probability there is 1/2 again.

bits = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
tables = {"AND": ([0, 0, 0, 1], ()), "OR": ([0, 1, 1, 1], ()), "XOR": ([0, 1, 1, 0], (4,))}
grid = np.stack(np.meshgrid(*2 * [np.linspace(-0.5, 1.5, 101)]), axis=-1)
figure, axes = plt.subplots(2, 3, figsize=(9, 6), layout="constrained", sharex=True, sharey=True)
for row, use_bias in zip(axes, (True, False), strict=True):
    for (name, (y, hidden)), panel in zip(tables.items(), row, strict=True):
        model = MLPClassifier(hidden, activation="tanh", use_bias=use_bias, **common).fit(bits, y)
        probability = model.predict_proba(grid.reshape(-1, 2))[:, 1].reshape(grid.shape[:2])
        levels = np.linspace(0, 1, 10)  # the middle one is around 1/2
        shown = panel.contourf(grid[..., 0], grid[..., 1], probability, levels, cmap="RdBu_r", alpha=0.7)
        panel.scatter(*bits.T, c=y, s=80, cmap="RdBu_r", edgecolors="k")
        of_zeros = model.predict_proba(bits[:1])[0, 1]
        units = f"{hidden[0]} hidden units" if hidden else "no hidden layer"
        panel.set_title(f"{name}, {units}\nP(0, 0) = {of_zeros:.2f}")
        assert use_bias or of_zeros == 0.5
        assert not use_bias or model.score(bits, y) == 1
    row[0].set_ylabel("with biases" if use_bias else "without biases", fontsize=12)
figure.colorbar(shown, ax=axes, label="probability of 1", format="%.2f")
plt.show()
