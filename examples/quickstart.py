"""
Quick start: a network and k-means on handwritten digits
========================================================

The 1797 images of scikit-learn's digits data, 8 x 8 pixels each, are classified by a multi-layer perceptron
in a pipeline, with a held-out part and a small grid search, and clustered by gradient k-means. scikit-learn's
own estimators do the same work in the same run, alternately, so that the times can be compared.

The first call of a process loads the compiled kernels from the disk cache or, when the cache is empty,
compiles them. It is shown apart.
"""

# %%
# The data and the peers
# ----------------------
# Only the import differs: parameters, attributes and methods have scikit-learn's names.

import os
import time
import warnings
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # the figure goes to a file; no display is needed
import matplotlib.pyplot as plt
import numpy as np
import sklearn.cluster
import sklearn.neural_network
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn

# Both sides get the same number of epochs; whether they have converged by then is not the question here.
warnings.simplefilter("ignore", ConvergenceWarning)

X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
print("The first fits compile their kernels where no cache has them: some tens of seconds, once.", flush=True)
rows = []  # of the table: task, estimator, score, first call, median of the others, ratio


def compare(task, fits, score, repeats):
    """Call the functions of `fits` (estimator's name -> fit for a given seed) in turn; add rows to the table.

    The last one is the peer that ratios refer to. Returns the estimators fitted first, with seed 0.
    """
    models = {name: [] for name in fits}
    seconds = {name: [] for name in fits}
    # One round more than is counted: the first call of a process is not like the others.
    for seed in [0, *range(repeats)]:
        for name, fit in fits.items():
            start = time.perf_counter()
            models[name].append(fit(seed))
            seconds[name].append(time.perf_counter() - start)
    median = {name: np.median(times[1:]) for name, times in seconds.items()}
    peer = median[list(fits)[-1]]
    for name in fits:
        result = np.median([score(model) for model in models[name][1:]])
        rows.append((task, name, result, seconds[name][0], median[name], peer / median[name]))
    return {name: fitted[0] for name, fitted in models.items()}


# %%
# A multi-layer perceptron in a pipeline
# --------------------------------------
# With the same ``random_state`` both networks start from the same weights, see the same batches, and follow
# the same loss curve.


def pipeline(kind, seed):
    """Scaled pixels into a network of 64-100-10 units."""
    return make_pipeline(StandardScaler(), kind(hidden_layer_sizes=(100,), max_iter=60, random_state=seed))


networks = compare(
    "fit, test accuracy",
    {
        "fastnn MLPClassifier": lambda seed: pipeline(fastnn.MLPClassifier, seed).fit(X_train, y_train),
        "scikit-learn MLPClassifier": lambda seed: pipeline(sklearn.neural_network.MLPClassifier, seed).fit(
            X_train, y_train
        ),
    },
    lambda model: model.score(X_test, y_test),
    repeats=3,
)
curves = {name: np.array(model[-1].loss_curve_) for name, model in networks.items()}
ours, theirs = curves.values()
print(f"Largest relative difference of the loss curves: {np.max(np.abs(ours / theirs - 1)):.1e}")

# %%
# A small grid search
# -------------------
# Four candidates, three folds, in one process.


def search(kind, seed):
    """Choose the penalty and the activation by cross-validation."""
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__activation": ["relu", "tanh"]}
    model = make_pipeline(StandardScaler(), kind(hidden_layer_sizes=(32,), max_iter=30, random_state=seed))
    return GridSearchCV(model, grid, cv=3).fit(X_train, y_train)


searches = compare(
    "grid search, test accuracy",
    {
        "fastnn MLPClassifier": lambda seed: search(fastnn.MLPClassifier, seed),
        "scikit-learn MLPClassifier": lambda seed: search(sklearn.neural_network.MLPClassifier, seed),
    },
    lambda model: model.score(X_test, y_test),
    repeats=1,
)
print("Chosen:", searches["fastnn MLPClassifier"].best_params_)

# %%
# k-means by gradient descent
# ---------------------------
# Scores are the medians over ten seeds of the inertia, the sum of squared distances to the nearest centre:
# the lower the better.

clusterings = compare(
    "k-means (k=10), inertia",
    {
        "fastnn GradKMeans": lambda seed: fastnn.GradKMeans(10, random_state=seed).fit(X),
        "scikit-learn MiniBatchKMeans": lambda seed: sklearn.cluster.MiniBatchKMeans(
            10, random_state=seed
        ).fit(X),
        "scikit-learn KMeans": lambda seed: sklearn.cluster.KMeans(10, random_state=seed).fit(X),
    },
    lambda model: model.inertia_,
    repeats=10,
)

# %%
# The comparison
# --------------
# Seconds are medians; the ratio is the time of the task's last row over the row's own.

table = Table("task", "estimator", title=f"fastnn {fastnn.__version__} beside scikit-learn")
for heading in ("score", "first call, s", "later calls, s", "ratio"):
    table.add_column(heading, justify="right")
for i, (task, name, score, first, later, ratio) in enumerate(rows):
    known = i > 0 and rows[i - 1][0] == task
    last = i + 1 == len(rows) or rows[i + 1][0] != task
    table.add_row(
        "" if known else task,
        name,
        f"{score:.4f}" if score < 1 else f"{score:.0f}",
        f"{first:.3f}",
        f"{later:.4f}",
        f"{ratio:.2f}",
        end_section=last,
    )
Console(width=112, color_system=None).print(table)

# %%
# Loss curves and centres
# -----------------------

figure = plt.figure(figsize=(10, 6), layout="constrained")
top, middle, bottom = figure.subfigures(3, 1, height_ratios=(3, 1.2, 1.2))

left, right = top.subplots(1, 2)
for (name, curve), style in zip(curves.items(), ("-", "--"), strict=True):
    left.semilogy(np.arange(1, len(curve) + 1), curve, style, label=name)
left.set(title="Multi-layer perceptron", xlabel="epoch", ylabel="training loss")
left.legend()
right.plot(clusterings["fastnn GradKMeans"].loss_curve_)
right.set(title="Gradient k-means", xlabel="step", ylabel="mean squared distance")

for part, name in ((middle, "fastnn GradKMeans"), (bottom, "scikit-learn KMeans")):
    part.suptitle(f"Centres of {name}")
    model = clusterings[name]
    # In the order of the digit that most of a cluster's images show.
    majority = [np.bincount(y[model.labels_ == j], minlength=10).argmax() for j in range(10)]
    for axes, j in zip(part.subplots(1, 10), np.argsort(majority, kind="stable"), strict=True):
        axes.imshow(model.cluster_centers_[j].reshape(8, 8), cmap="gray_r")
        axes.set(xticks=[], yticks=[])

# Beside this script; a gallery has no __file__ and runs it in its folder.
path = Path(globals().get("__file__", "quickstart.py")).with_suffix(".png")
figure.savefig(path, dpi=120)
print(f"Figure: {os.path.relpath(path)}")
