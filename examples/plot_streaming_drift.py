"""
A stream whose clusters drift
=============================

``partial_fit`` takes a stream a batch at a time. Where its clusters move, a centre that is the mean of all
its rows so far stays behind: it must forget. How much is a trade: what forgets fast follows closely, and is
noisy when nothing moves. Here the clusters stand still, then drift, then stand still again, and the error of
the centres shows both sides.
"""

import matplotlib.pyplot as plt
import numpy as np

from fastnn import GradKMeans, MiniBatchKMeans

n_batches, batch_size, n_clusters, spread = 450, 100, 5, 1.0
first, last = 150, 300  # the batches between which the clusters drift
random_state = np.random.RandomState(0)

# %%
# The stream
# ----------
# Five clusters on a circle, which turns by a third of a turn between batches 150 and 300.

angle = np.interp(np.arange(n_batches), [first, last], [0, 2 * np.pi / 3])
angle = angle[:, None] + 2 * np.pi * np.arange(n_clusters) / n_clusters
truth = 8 * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
labels = random_state.randint(n_clusters, size=(n_batches, batch_size))
stream = truth[np.arange(n_batches)[:, None], labels]
stream += random_state.normal(scale=spread, size=stream.shape)

# %%
# Five ways to follow it
# ----------------------
# ``forgetting`` is the share of what it has seen that a centre forgets at each step. With
# ``learning_rate="sqrt"`` it goes by the root of its share of the batch, here nearly half of the way.
# ``MiniBatchKMeans.partial_fit`` counts all rows, as ``forgetting=0`` does. All start from the true centres.

common = {"n_clusters": n_clusters, "init": truth[0]}
models = {
    "MiniBatchKMeans": MiniBatchKMeans(**common, random_state=0),
    "GradKMeans, forgetting 0": GradKMeans(**common),
    "GradKMeans, forgetting 0.05": GradKMeans(**common, forgetting=0.05),
    "GradKMeans, forgetting 0.2": GradKMeans(**common, forgetting=0.2),
    "GradKMeans, 'sqrt'": GradKMeans(**common, learning_rate="sqrt"),
}
paths = {
    name: np.array([model.partial_fit(batch).cluster_centers_.copy() for batch in stream])
    for name, model in models.items()
}


def error(path):
    """The root mean square distance of the five centres from the true ones, after each batch."""
    return np.sqrt(((path - truth) ** 2).sum(axis=-1).mean(axis=-1))


errors = {name: error(path) for name, path in paths.items()}
periods = {"still": slice(50, first), "drift": slice(first + 50, last), "still again": slice(400, None)}
print(f"{'mean error while':28s}" + "".join(f"{period:>12s}" for period in periods))
means = {name: {p: values[part].mean() for p, part in periods.items()} for name, values in errors.items()}
for name, values in means.items():
    print(f"{name:28s}" + "".join(f"{value:12.3f}" for value in values.values()))

# %%
# What forgets most is worst while nothing moves, and what forgets nothing is lost as soon as something does.

figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
for (name, values), style in zip(errors.items(), ("k", "C0--", "C1", "C2", "C3"), strict=True):
    axes.semilogy(values, style, label=name, linewidth=3 if name == "MiniBatchKMeans" else 1.2)
axes.axvspan(first, last, color="0.93", label="the clusters drift")
axes.set(xlabel=f"batches of {batch_size} rows", ylabel="error of the centres (standard deviations)")
figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=3)

assert means["GradKMeans, forgetting 0"]["still"] == min(
    values["still"] for name, values in means.items() if name.startswith("Grad")
)
assert means["GradKMeans, forgetting 0.05"]["drift"] < 0.5 * means["GradKMeans, forgetting 0"]["drift"]

# %%
# The way of the centres
# ----------------------
# Circles are where the clusters were at first, stars where they are in the end. Without forgetting the
# centres stay: by the time one has moved a little, its cluster is gone, and the next one passes by.

shown = ("GradKMeans, forgetting 0", "GradKMeans, forgetting 0.05", "GradKMeans, 'sqrt'")
figure, axes = plt.subplots(1, 3, figsize=(11, 4), layout="constrained", sharex=True, sharey=True)
for panel, name in zip(axes, shown, strict=True):
    for j in range(n_clusters):
        panel.plot(*truth[:, j].T, color="0.8", linewidth=5, label="clusters" if j == 0 else None)
        panel.plot(*paths[name][:, j].T, color=f"C{j}", linewidth=1)
    panel.plot(*truth[0].T, "ko", markerfacecolor="w", label="first")
    panel.plot(*truth[-1].T, "k*", markersize=10, label="last")
    panel.set(title=name, xlabel="feature 0", aspect="equal")
axes[0].set_ylabel("feature 1")
axes[0].legend(loc="center")
plt.show()
