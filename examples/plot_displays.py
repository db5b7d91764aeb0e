"""
Looking at fitted estimators
============================

Four displays draw what a fitted estimator knows of itself, by scikit-learn's conventions: ``from_estimator``
draws and gives the display, whose ``plot`` draws again, and ``ax=`` says where. ``summary`` prints what a
network is made of; a notebook shows that when it shows the estimator.
"""

import matplotlib.pyplot as plt
from sklearn.datasets import load_digits

from fastnn import (
    ClusterDisplay,
    KMeans,
    LossCurveDisplay,
    MLPClassifier,
    SaturationDisplay,
    WeightsDisplay,
)

X, y = load_digits(return_X_y=True)
X = X / 16

model = MLPClassifier(
    (25, 10), activation=("relu", "tanh"), alpha=1, max_iter=300, early_stopping=True, random_state=0
)
model.fit(X, y).summary()

# %%
# How the training went, what the units of the first layer look for, and whether units are stuck
# ----------------------------------------------------------------------------------------------
# Losses, and whatever else was recorded of each epoch. The first layer sees pixels, so that its weights are
# images: red where a unit wants ink, blue where it wants none. At the right the share of units that hardly
# learn any more.

figure, axes = plt.subplots(1, 3, figsize=(13, 4), layout="constrained", width_ratios=(3, 3, 2))
curves = LossCurveDisplay.from_estimator(model, log_scale=True, ax=axes[0])
weights = WeightsDisplay.from_estimator(model, image_shape=(8, 8), ax=axes[1])
saturation = SaturationDisplay.from_estimator(model, ax=axes[2])

# %%
# Clusters
# --------
# The silhouette of a row is high where its own cluster is much nearer than the next one, and below 0 where
# the next one is nearer. Beside the bands stand the sizes of the clusters; their centres are images too.

kmeans = KMeans(10, n_init=3, random_state=0).fit(X)
figure, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained", width_ratios=(3, 2))
clusters = ClusterDisplay.from_estimator(kmeans, X, ax=axes[0])
centres = WeightsDisplay(kmeans.cluster_centers_.T, image_shape=(8, 8))
centres.plot(axes[1], n_columns=5, cmap="gray_r", vmin=0, vmax=1, colorbar=False)
print(f"mean silhouette {clusters.silhouettes.mean():.3f}")
plt.show()
