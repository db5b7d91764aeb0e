"""
Choosing the optimiser of gradient k-means
==========================================

:class:`fastnn.GradKMeans` has the rates of mini-batch k-means and the update rules of neural networks. Here
all of them cluster handwritten digits from the same six starts. One sees how much depends on the learning
rate, and that ``"count"``, the default, which has none to choose, comes within two per cent of the best of
the others at the best of their rates.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from fastnn import GradKMeans, KMeans

# Rates that are far too large leave clusters empty, which fit warns of.
warnings.simplefilter("ignore", ConvergenceWarning)

X, _ = load_digits(return_X_y=True)
X = X / 16
n_clusters, batch_size, n_epochs, n_starts = 16, 128, 20, 6
random_state = np.random.RandomState(0)
starts = [X[random_state.choice(len(X), n_clusters, replace=False)] for _ in range(n_starts)]
steps_per_epoch = -(-len(X) // batch_size)
rows_seen = batch_size * np.arange(1, n_epochs * steps_per_epoch + 1)


def losses(**rule):
    """The mean squared distance of each batch before its step, mean of the starts."""
    common = {"batch_size": batch_size, "max_iter": n_epochs, "tol": 0, "polish": False}
    common["max_no_improvement"] = None  # all runs have the same number of steps
    models = [
        GradKMeans(n_clusters, init=start, **common, random_state=seed, **rule).fit(X)
        for seed, start in enumerate(starts)
    ]
    return np.mean([model.loss_curve_ for model in models], axis=0)


def at_the_end(curve):
    """The mean loss of the last epoch, in which every row is seen once."""
    return curve[-steps_per_epoch:].mean()


lloyd = np.mean([KMeans(n_clusters, init=start, tol=0).fit(X).inertia_ for start in starts]) / len(X)
print(f"Lloyd's algorithm, from the same starts, ends at {lloyd:.4f}")

# %%
# Rates of plain gradient descent
# -------------------------------
# ``"count"`` divides by all the rows that a centre has had, ``"sqrt"`` takes the root of its share of the
# batch. A number is the part of the way to the mean of the centre's rows in the batch: a small one is slow,
# a large one fast and noisy for ever. ``optimizer="newton"`` goes the whole way.

sgd = {"'count'": {}, "'sqrt'": {"learning_rate": "sqrt"}, "newton": {"optimizer": "newton"}}
sgd |= {f"{rate}": {"learning_rate": rate} for rate in (0.01, 0.1, 0.5)}
curves = {name: losses(**rule) for name, rule in sgd.items()}
for name, curve in curves.items():
    print(f"{name:8s} loss {at_the_end(curve):.4f}")

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for name, curve in curves.items():
    axes.plot(rows_seen, curve, label=name, linewidth=1.2)
axes.axhline(lloyd, color="k", linestyle=":", linewidth=1, label="Lloyd, at its end")
axes.set(xscale="log", xlabel="rows seen", ylabel="mean squared distance of a batch")
axes.set_title("Plain gradient descent")
axes.legend(ncols=2)

# %%
# Rules with a state
# ------------------
# Momentum and its relatives go on in the direction of earlier steps; Adam and RMSprop give each coordinate a
# length of its own. All need a number as their rate. On the right, RMSprop leaves the picture: a centre moves
# by about the rate in each coordinate, and the features lie between 0 and 1.

rates = np.array([0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0])
optimizers = ("sgd", "momentum", "nesterov", "adam", "rmsprop")
found = {name: [losses(optimizer=name, learning_rate=rate) for rate in rates] for name in optimizers}
final = {name: np.array([at_the_end(curve) for curve in runs]) for name, runs in found.items()}

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", sharey=True)
styles = dict(zip(optimizers, ("-", "-", "--", "-", "-"), strict=True))
for name in optimizers:
    best = final[name].argmin()
    left.plot(
        rows_seen,
        found[name][best],
        styles[name],
        label=f"{name}, {rates[best]:g}",
        linewidth=1.3,
    )
    right.plot(rates, final[name], styles[name], marker="o", markersize=4, label=name)
    lowest, highest = final[name][best], final[name].max()
    print(f"{name:9s} best rate {rates[best]:6g}: loss {lowest:.4f}; at the worst {highest:.4f}")
for panel in (left, right):
    panel.axhline(at_the_end(curves["'count'"]), color="k", linestyle=":", label="'count', at its end")
left.set(xscale="log", xlabel="rows seen", ylabel="mean squared distance", title="Each at its best rate")
right.set(xscale="log", xlabel="learning_rate (no unit)", title="Loss in the last epoch, for every rate")
left.set_ylim(2.1, 4.6)
left.legend()

# %%
# What to take
# ------------
# * ``"count"``, the default, to cluster data that stay as they are.
# * ``forgetting``, ``"sqrt"`` or a constant rate where they drift:
#   :ref:`sphx_glr_auto_examples_plot_streaming_drift.py`.
# * ``optimizer="newton"`` with ``batch_size=None`` for Lloyd's iteration; in mini-batches it forgets at each
#   step all that it has learnt, unless its rate is below 1. It then is ``"sgd"`` with that rate, as long as
#   ``reduction="cluster"``.
# * The rules with a state to study them. At a good rate they gain little, at a bad one they lose much.

untuned = at_the_end(curves["'count'"])
tuned = min(values.min() for values in final.values())
print(f"'count', untuned: {untuned:.4f}; best of {len(rates) * len(optimizers)} others: {tuned:.4f}")
assert untuned < 1.02 * tuned
assert all(values.max() > 1.2 * untuned for values in final.values())
assert np.allclose(losses(optimizer="newton", learning_rate=0.1), curves["0.1"])

# %%
# The Lloyd iterations with which ``fit`` ends by default (``polish=True``) leave less of the difference.

polished = {
    "'count'": {},
    "nesterov, 0.01": {"optimizer": "nesterov", "learning_rate": 0.01},
    "adam, 0.01": {"optimizer": "adam", "learning_rate": 0.01},
}
means = {}
for name, rule in polished.items():
    models = [GradKMeans(n_clusters, init=start, random_state=0, **rule).fit(X) for start in starts]
    means[name] = np.mean([model.inertia_ for model in models]) / len(X)
    print(f"{name:14s} with polish {means[name]:.4f}")
assert max(means.values()) < 1.005 * min(means.values())
plt.show()
