"""
Newton's step is Lloyd's iteration
==================================

k-means minimises the sum over all points of the squared distance to the nearest centre. With the assignment
held constant, that is a quadratic function of each centre: with :math:`n_j` points of mean :math:`m_j`, the
gradient is :math:`2 n_j (c_j - m_j)` and the second derivative :math:`2 n_j`. Newton's step, the gradient
divided by the second derivative, therefore leads to :math:`m_j` at once: it is Lloyd's iteration [1]_. Plain
gradient descent takes a part of that step.
"""

# %%
# One step at a time
# ------------------
# ``partial_fit`` does one step on the rows that it gets; here, all rows.

import matplotlib.pyplot as plt
import numpy as np
from sklearn.cluster import KMeans
from sklearn.datasets import make_blobs

from fastnn import GradKMeans

X, _ = make_blobs(2000, 2, centers=12, cluster_std=1.5, random_state=0)
start = X[:12].copy()
n_steps = 15


def lloyd(X, centers, n_steps):
    """Lloyd's iterations in NumPy: the inertia before each, and the last centres."""
    inertias = []
    for _ in range(n_steps):
        distances = ((X[:, None] - centers) ** 2).sum(axis=2)
        labels = distances.argmin(axis=1)
        inertias.append(distances.min(axis=1).sum())
        centers = np.array([X[labels == j].mean(axis=0) for j in range(len(centers))])
    return np.array(inertias), centers


def gradient_kmeans(X, start, n_steps, **parameters):
    """Steps of GradKMeans on all rows: the inertia before each, and the last centres."""
    model = GradKMeans(len(start), init=start, **parameters)
    for _ in range(n_steps):
        model.partial_fit(X)
    return len(X) * np.array(model.loss_curve_), model.cluster_centers_


curves = {}
curves["Lloyd, in NumPy"], lloyd_centers = lloyd(X, start, n_steps)
curves["newton"], newton_centers = gradient_kmeans(X, start, n_steps, optimizer="newton")
for rate in (0.2, 0.5):
    # The default reduction="cluster" divides the gradient by 2 n_j: a rate of 1 would be Newton's step.
    curves[f"sgd, rate {rate}"], _ = gradient_kmeans(X, start, n_steps, learning_rate=rate)

difference = np.abs(newton_centers - lloyd_centers).max()
print(f"Largest difference between Newton's and Lloyd's centres after {n_steps} steps: {difference:.1e}")
assert difference < 1e-10

# %%
# And until it converges
# ----------------------
# With all rows in one batch, ``fit`` runs until the centres stand still, as scikit-learn's ``KMeans`` does.

ours = GradKMeans(12, init=start, optimizer="newton", batch_size=None, tol=0).fit(X)
theirs = KMeans(12, init=start, algorithm="lloyd", tol=0).fit(X)
for model in (ours, theirs):
    print(f"{type(model).__name__}: inertia {model.inertia_:.6f} after {model.n_iter_} iterations")
assert np.allclose(ours.cluster_centers_, theirs.cluster_centers_)

# %%
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, curve), style in zip(curves.items(), ("-", "--", ":", "-."), strict=True):
    axes.plot(curve, style, label=name, linewidth=4 if name.startswith("Lloyd") else 1.8)
axes.set(xlabel="step", ylabel="inertia before the step", title="Newton's step and parts of it")
axes.legend()
plt.show()

# %%
# .. [1] Bottou and Bengio, "Convergence properties of the k-means algorithms", NIPS 1994.
