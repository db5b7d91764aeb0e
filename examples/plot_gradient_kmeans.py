"""
Gradient k-means next to Lloyd's algorithm
==========================================

Lloyd's algorithm looks at every row before it moves a centre; gradient k-means moves the centres after every
mini-batch. Here both start from the same bad centres and go to the same clusters. The mini-batches are most
of the way there before Lloyd's first iteration has ended; the last bit, to an exact minimum, is Lloyd's.
That is why :class:`fastnn.GradKMeans` ends a ``fit`` with Lloyd's iterations (``polish=True``).
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import make_blobs

from fastnn import GradKMeans, KMeans

means = np.array([[-6, -4], [-5, 5], [0, 0], [6, 5], [6, -5]])
X, _ = make_blobs(20_000, centers=means, cluster_std=1.3, random_state=0)
start = np.stack([np.full(5, -9.0), np.linspace(-4, 4, 5)], axis=1)


def loss(model):
    """The mean squared distance of all rows to their nearest centres."""
    return -model.score(X) / len(X)


# %%
# Lloyd, one iteration at a time
# ------------------------------
# A fit with ``max_iter=1`` from given centres is one iteration: it sees all 20,000 rows.

n_iterations = 10
lloyd_path, lloyd_loss = [start], []
for _ in range(n_iterations):
    model = KMeans(len(start), init=lloyd_path[-1], max_iter=1, tol=0).fit(X)
    lloyd_path.append(model.cluster_centers_)
    lloyd_loss.append(loss(model))
lloyd_rows = len(X) * np.arange(1, n_iterations + 1)
lloyd_path = np.array(lloyd_path)

# %%
# Mini-batches
# ------------
# ``partial_fit`` does one step on the rows that it gets. Every epoch is a new permutation of the rows. With
# ``learning_rate="count"``, the default, a centre is the mean of the rows that it has had so far: its steps
# become shorter and the noise of the batches dies out. With a constant rate the centres keep moving.


def mini_batches(batch_size, n_epochs, **parameters):
    """The centres after every step, the rows seen by then and the loss there."""
    random_state = np.random.RandomState(0)
    model = GradKMeans(len(start), init=start, **parameters)
    path, losses = [start], []
    for _ in range(n_epochs):
        for rows in random_state.permutation(len(X)).reshape(-1, batch_size):
            path.append(model.partial_fit(X[rows]).cluster_centers_)
            losses.append(loss(model))
    return np.array(path), batch_size * np.arange(1, len(path)), np.array(losses)


runs = {
    "GradKMeans, 'count'": mini_batches(100, 3),
    "GradKMeans, rate 0.3": mini_batches(100, 3, learning_rate=0.3),
}

# %%
# Both ways in the plane
# ----------------------
# Crosses are the common start. Lloyd's centres take a few long steps, the others many short ones.

figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained", sharex=True, sharey=True)
paths = {"Lloyd": lloyd_path} | {name: path for name, (path, _, _) in runs.items()}
for panel, (name, path) in zip(axes, paths.items(), strict=True):
    panel.scatter(*X[::10].T, s=2, color="0.8")
    for j in range(len(start)):
        panel.plot(*path[:, j].T, ".-", markersize=5 if name == "Lloyd" else 2, linewidth=1)
    panel.plot(*start.T, "kx", label="start")
    panel.plot(*path[-1].T, "k*", markersize=10, label="end")
    panel.set(title=f"{name}: {len(path) - 1} steps", xlabel="feature 0", aspect="equal")
axes[0].set_ylabel("feature 1")
axes[0].legend(loc="lower center", ncols=2)

# %%
# Loss against the rows seen
# --------------------------
# What a step costs is the rows that it reads. On this scale Lloyd's curve begins after 20,000 rows.

best = KMeans(len(start), init=start, tol=0).fit(X)
optimum = loss(best)
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
axes.loglog(lloyd_rows, np.array(lloyd_loss) / optimum - 1, "o-", color="k", label="Lloyd")
for name, (_, rows, losses) in runs.items():
    axes.loglog(rows, losses / optimum - 1, label=name, linewidth=1.2)
axes.axvline(len(X), color="0.6", linestyle=":", linewidth=1)
axes.text(len(X) * 0.9, 3, "all rows once", color="0.4", ha="right")
axes.set(
    xlabel="rows seen", ylabel="loss above that of the minimum, relative", xlim=(80, 4e5), ylim=(1e-7, 30)
)
axes.legend(loc="lower left")

print(f"Loss at the minimum: {optimum:.4f}")
print(f"{'rows seen':>10s} {'Lloyd':>10s}" + "".join(f" {name:>21s}" for name in runs))
for n_rows in (1000, 5000, len(X), 3 * len(X)):
    lloyd = f"{lloyd_loss[n_rows // len(X) - 1]:10.4f}" if n_rows >= len(X) else f"{'-':>10s}"
    others = (losses[np.searchsorted(rows, n_rows)] for _, rows, losses in runs.values())
    print(f"{n_rows:10d} {lloyd}" + "".join(f" {value:21.4f}" for value in others))

_, rows, losses = runs["GradKMeans, 'count'"]
assert losses[np.searchsorted(rows, len(X))] < lloyd_loss[0]
assert lloyd_loss[-1] <= losses[-1] < 1.05 * lloyd_loss[-1]

# %%
# Both in one call
# ----------------
# ``fit`` does the mini-batches and then polishes: the centres are those of Lloyd's algorithm.

model = GradKMeans(len(start), init=start, batch_size=100, max_iter=1, tol=0, random_state=0).fit(X)
print(f"GradKMeans.fit: loss {loss(model):.6f}; KMeans.fit: {optimum:.6f}")
assert np.isclose(loss(model), optimum, rtol=1e-4)
plt.show()
