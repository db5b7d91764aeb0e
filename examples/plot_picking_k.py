"""
Picking the number of clusters
==============================

k-means does not say how many clusters there are. Two common criteria ask it for several k: the *elbow* is
where the inertia, which falls with every further cluster, begins to fall slowly; the *silhouette* compares
each row's distances to the rows of its own cluster with those to the rows of the next one, and is to be as
large as possible. Both find separate blobs. Of groups of blobs they find the groups, in a cloud without
clusters they find some too, and how many digits there are they do not know.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits, make_blobs
from sklearn.metrics import silhouette_score

from fastnn import KMeans

# %%
# Two criteria
# ------------
# As the elbow we take the point of the curve farthest below the line between its ends, both axes scaled to
# the unit interval. The silhouette needs the distances of all pairs, so it is computed on 600 rows; the
# centres are those of all rows.


def criteria(X, ks):
    """Inertia and silhouette of the clusters for each k."""
    inertias, silhouettes = [], []
    for k in ks:
        model = KMeans(k, n_init=3, random_state=0).fit(X)
        inertias.append(model.inertia_)
        silhouettes.append(silhouette_score(X, model.labels_, sample_size=600, random_state=0))
    return np.array(inertias), np.array(silhouettes)


def elbow(ks, inertias):
    """The k whose inertia is farthest below the line from the first to the last."""
    x = (ks - ks[0]) / (ks[-1] - ks[0])
    y = (inertias - inertias[-1]) / (inertias[0] - inertias[-1])
    return ks[(1 - x - y).argmax()]


# %%
# Four data sets
# --------------
# Six separate blobs; nine blobs that stand in three groups; points spread evenly over a square, which have no
# clusters at all; and 1797 images of the ten digits.

groups = np.array([[0, 0], [30, 0], [15, 26]])
triangle = 4 * np.array([[1, 0], [-0.5, 0.87], [-0.5, -0.87]])
nine = (groups[:, None] + triangle).reshape(-1, 2)
hexagon = np.array([[np.cos(angle), np.sin(angle)] for angle in np.arange(6) * np.pi / 3])
data = {
    "six blobs": (make_blobs(3000, centers=12 * hexagon, cluster_std=1.5, random_state=0)[0], 6),
    "nine blobs in three groups": (make_blobs(3000, centers=nine, cluster_std=1.0, random_state=0)[0], 9),
    "a square, no clusters": (np.random.RandomState(0).uniform(size=(3000, 2)), 1),
    "digits": (load_digits().data, 10),
}
ks = np.arange(2, 21)
found = {name: criteria(X, ks) for name, (X, _) in data.items()}
picked = {
    name: {"elbow": elbow(ks, inertias), "silhouette": ks[silhouettes.argmax()]}
    for name, (inertias, silhouettes) in found.items()
}
for name, (_, true_k) in data.items():
    rules = "   ".join(f"{rule}: {k}" for rule, k in picked[name].items())
    print(f"{name:27s} made of {true_k:2d}   {rules}")

# %%
# What they say
# -------------
# Above, the data (of the digits, two principal components); below, both criteria, each with its pick.

figure, axes = plt.subplots(2, 4, figsize=(13, 6.5), layout="constrained")
for (name, (X, true_k)), (top, bottom) in zip(data.items(), axes.T, strict=True):
    centered = X - X.mean(axis=0)
    plane = X if X.shape[1] == 2 else centered @ np.linalg.svd(centered, full_matrices=False)[2][:2].T
    labels = KMeans(picked[name]["silhouette"], n_init=3, random_state=0).fit(X).labels_
    top.scatter(*plane.T, c=labels, s=3, cmap="tab20")
    top.set(title=f"{name}\nclusters of the best silhouette", xlabel="feature 0", ylabel="feature 1")
    if X.shape[1] > 2:
        top.set(xlabel="first principal component", ylabel="second principal component")

    inertias, silhouettes = found[name]
    bottom.plot(ks, inertias / inertias[0], "o-", color="C0", markersize=3, label="inertia, of that at k = 2")
    bottom.plot(ks, silhouettes, "s-", color="C1", markersize=3, label="silhouette")
    for rule, values, color in (("elbow", inertias / inertias[0], "C0"), ("silhouette", silhouettes, "C1")):
        k = picked[name][rule]
        bottom.plot(k, values[ks == k], "o", color=color, markersize=11, markerfacecolor="none")
    bottom.axvline(true_k, color="0.6", linestyle=":", label="made of so many")
    bottom.set(xlabel="k", xticks=ks[::2], ylim=(0, 1.05))
axes[1, 0].set_ylabel("criterion (no unit)")
figure.legend(*axes[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=3)

# %%
# * **Six blobs**: both say six, and both curves leave no doubt.
# * **Nine blobs in three groups**: both say three. That there are nine shows in a second, lower peak of the
#   silhouette, and in a second bend of the inertia: look at the curves, not at the pick alone.
# * **A square**: both pick a number, and not the same, although there are no clusters. The low silhouette
#   says so; the inertia's smooth curve has no bend anywhere.
# * **Digits**: the silhouette is lower still, and about the same for many k. Clusters of images are not
#   digits: some digits are written in two ways, others look alike.

blobs, nested, square, digits = (silhouettes for _, silhouettes in found.values())
for name, (_, silhouettes) in found.items():
    print(f"{name:27s} best silhouette {silhouettes.max():.2f} at k = {ks[silhouettes.argmax()]}")
assert set(picked["six blobs"].values()) == {6}
assert set(picked["nine blobs in three groups"].values()) == {3}
at_nine = np.flatnonzero(ks == 9)[0]
assert nested[at_nine] > max(nested[at_nine - 1], nested[at_nine + 1])
assert picked["a square, no clusters"]["elbow"] != picked["a square, no clusters"]["silhouette"]
assert digits.max() < square.max() < min(blobs.max(), nested.max())
assert 10 not in picked["digits"].values()

# %%
# The elbow also depends on how far one looks
# -------------------------------------------
# A longer tail moves the point that is farthest below the line, unless the bend is sharp. The silhouette of a
# k depends on no other k.

elbows = {}
for name, (inertias, _) in found.items():
    elbows[name] = [int(elbow(ks[ks <= last], inertias[ks <= last])) for last in (10, 15, 20)]
    print(f"{name:27s} elbow for k up to 10, 15, 20: {elbows[name]}")
assert len(set(elbows["six blobs"])) == 1
assert len(set(elbows["digits"])) > 1
plt.show()
