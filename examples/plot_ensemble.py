"""
Ensembles of networks
=====================

Two networks that differ in nothing but their random numbers make different mistakes. ``ensemble=m`` trains m
of them in one fit, one on each core at a time, and predicts by the mean of their probabilities; ``n_init=m``
trains as many and keeps the best. Here both meet digits of which few are known, and then a curve of which a
part is missing.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, log_loss
from sklearn.model_selection import train_test_split

from fastnn import MLPClassifier, MLPRegressor

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X / 16, y, train_size=150, random_state=0, stratify=y)

options = {"hidden_layer_sizes": (10,), "learning_rate_init": 0.01, "max_iter": 500, "random_state": 0}
ensemble = MLPClassifier(**options, ensemble=16).fit(X_train, y_train)
best = MLPClassifier(**options, n_init=16).fit(X_train, y_train)

# %%
# The members are networks of their own, in ``estimators_``: the mean over the first of them shows what more
# of them bring. The one with the least loss of training, which ``n_init`` keeps, is one of the same sixteen,
# and need not be the best for other data. Together they do better than any of them alone.

each = np.array([member.predict_proba(X_test) for member in ensemble.estimators_])
means = [each[:size].mean(axis=0) for size in range(1, 17)]
accuracies = [accuracy_score(y_test, mean.argmax(axis=1)) for mean in means]
losses = [log_loss(y_test, mean) for mean in means]
alone = [member.score(X_test, y_test) for member in ensemble.estimators_]
print(f"one network: accuracy {np.mean(alone):.3f} in the mean, {min(alone):.3f} to {max(alone):.3f}")
print(f"n_init=16: network {best.best_init_}, accuracy {best.score(X_test, y_test):.3f}")
print(f"ensemble=16: accuracy {ensemble.score(X_test, y_test):.3f}")
print(f"log loss: {np.mean([log_loss(y_test, p) for p in each]):.3f} alone, {losses[-1]:.3f} together")

# %%
# Where there are no data the members of a regressor disagree, and the width of their disagreement tells so.

rng = np.random.default_rng(0)
x = np.concatenate([rng.uniform(-3, -0.5, 60), rng.uniform(1.5, 3, 40)])
target = np.sin(2 * x) + rng.normal(0, 0.1, x.size)
regressor = MLPRegressor(
    hidden_layer_sizes=(30, 30), activation="tanh", solver="lbfgs", alpha=0.1, max_iter=2000, ensemble=16,
    random_state=0,
).fit(x[:, None], target)  # fmt: skip
grid = np.linspace(-4, 4, 200)
curves = np.array([member.predict(grid[:, None]) for member in regressor.estimators_])

figure, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
axes[0].plot(range(1, 17), accuracies, "o-", label="ensemble of the first networks")
axes[0].plot(range(1, 17), alone, ".", color="C7", label="each alone")
axes[0].axhline(best.score(X_test, y_test), color="C1", ls="--", label="kept by n_init=16")
axes[0].set(xlabel="networks", ylabel="test accuracy")
axes[0].legend()
axes[1].plot(range(1, 17), losses, "o-")
axes[1].set(xlabel="networks", ylabel="test log loss")
axes[2].plot(grid, curves.T, color="C7", lw=0.5)
axes[2].plot(grid, regressor.predict(grid[:, None]), color="C0", lw=2, label="ensemble")
axes[2].plot(x, target, ".", color="C1", ms=3, label="data")
axes[2].set(xlabel="x", ylim=(-3, 3))
axes[2].legend()
plt.show()
