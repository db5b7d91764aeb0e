"""
Quick start: fastnn beside scikit-learn
=======================================

The drop-in estimators do the same work as scikit-learn's, from the same seeds, in one run: a neural network
classifies scikit-learn's handwritten digits (1797 images of 8 x 8 pixels) and is tuned by a grid search,
and k-means finds ten groups of these images, and 32 colours for a photograph of 273,280 pixels.

It takes about half a minute. The very first run compiles the kernels, which takes half a minute more.
``comparison.py``, which lies beside this script, holds the stop-watch, the table and the bars.
"""

# %%
# Only the import differs
# -----------------------
# Parameters, attributes and methods have scikit-learn's names.

import logging
import os
import sys
import time
import warnings
from functools import partial
from pathlib import Path

import joblib
import matplotlib

matplotlib.use("Agg")  # the figure goes to a file; no display is needed
import matplotlib.pyplot as plt
import numpy as np
import sklearn.cluster
import sklearn.neural_network
from comparison import COLORS, Comparison, Steps, bars, share_of_cores, table
from rich.console import Console
from sklearn.datasets import load_digits, load_sample_image
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn

# Both sides get the same number of epochs; whether they have converged by then is not the question here.
warnings.simplefilter("ignore", ConvergenceWarning)
# fastnn says when it compiles for more than a second. Here the progress display does.
logging.getLogger("fastnn").setLevel(logging.ERROR)

quick = "--quick" in sys.argv  # to see whether all of it runs, not how fast
n_epochs = 6 if quick else 60
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)
photograph = load_sample_image("china.jpg")[:: 8 if quick else 1] / 255
pixels = photograph.reshape(-1, 3)

# %%
# The work
# --------
# Each function gets the class of one library or the other.


def classify(network, seed):
    """Scaled pixels into a network of 64-100-10 units."""
    model = network(hidden_layer_sizes=(100,), max_iter=n_epochs, random_state=seed)
    return make_pipeline(StandardScaler(), model).fit(X_train, y_train)


def search(network, seed):
    """Choose the penalty and the activation by cross-validation."""
    grid = {"mlpclassifier__alpha": [1e-4, 1.0], "mlpclassifier__activation": ["relu", "tanh"]}
    model = network(hidden_layer_sizes=(32,), max_iter=n_epochs // 2, random_state=seed)
    return GridSearchCV(make_pipeline(StandardScaler(), model), grid, cv=3).fit(X_train, y_train)


def group(kind, data, n_clusters, seed):
    """Cluster the rows of the data."""
    return kind(n_clusters, random_state=seed).fit(data)


def accuracy(model):
    """On images that training has not seen."""
    return model.score(X_test, y_test)


def inertia(model):
    """The sum of squared distances to the nearest centre: the lower the better."""
    return model.inertia_


def both(theirs, ours, function, *arguments):
    """The function for either library."""
    classes = {"scikit-learn": theirs, "fastnn": ours}
    return {library: partial(function, kind, *arguments) for library, kind in classes.items()}


networks = (sklearn.neural_network.MLPClassifier, fastnn.MLPClassifier)
k_means = (sklearn.cluster.KMeans, fastnn.KMeans)
mini_batch = (sklearn.cluster.MiniBatchKMeans, fastnn.MiniBatchKMeans)
# It has no twin: what finds clusters as good is KMeans, at the best of ten attempts.
gradient = (partial(sklearn.cluster.KMeans, n_init=10), fastnn.GradKMeans)
drop_ins = [
    Comparison(
        "MLPClassifier", f"digits, {n_epochs} epochs", both(*networks, classify), accuracy, "accuracy", 5
    ),
    Comparison("MLPClassifier", "grid search, 13 fits", both(*networks, search), accuracy, "accuracy", 3),
    Comparison("KMeans", "digits, 10 clusters", both(*k_means, group, X, 10), inertia, "inertia", 10),
    Comparison("KMeans", "photo, 32 colours", both(*k_means, group, pixels, 32), inertia, "inertia", 5),
    Comparison(
        "MiniBatchKMeans", "photo, 32 colours", both(*mini_batch, group, pixels, 32), inertia, "inertia", 5
    ),
]
more = Comparison(
    "GradKMeans", "beside KMeans, n_init=10", both(*gradient, group, X, 10), inertia, "inertia", 10
)
comparisons = [*drop_ins, more]
if quick:
    for comparison in comparisons:
        comparison.repeats = 1

# %%
# The first fits
# --------------
# They compile the kernels and keep them on disk, or load what an earlier process has left there. No times
# below contain this.

console = Console(highlight=False)
console.print("The first fits with fastnn compile the kernels, or load them from the disk")
started = time.perf_counter()
with Steps(console, live=True) as steps:
    for comparison in comparisons:
        with steps.step(f"{comparison.name}: {comparison.work}"):
            comparison.prepare("fastnn")
seconds = time.perf_counter() - started
console.print(f"Ready after {seconds:.1f} s: the first run compiles, and later ones load what it leaves\n")

# %%
# The comparison
# --------------
# scikit-learn and fastnn take turns, each with the same seeds. Times and results are medians; both use
# all cores.

console.print("Timing scikit-learn and fastnn in turn")
n_cores = joblib.cpu_count()
shares = []
with Steps(console, live=False) as steps:
    for comparison in comparisons:
        with steps.step(f"{comparison.name}: {comparison.work}"):
            comparison.prepare("scikit-learn")  # its first fit does not count either
            comparison.run(between=steps.refresh)
            shares.append(share_of_cores(n_cores))
versions = f"fastnn {fastnn.__version__} beside scikit-learn {sklearn.__version__}"
console.print()
console.print(table(comparisons, f"{versions}, {n_cores} cores"))
# Threads that wait for each other wait long for one that has lost its core, and scikit-learn's the most.
share = np.median(shares)
if share < 0.85:
    console.print(f"Other programs want the cores too, and left {share:.0%} of them: the ratios say little.")
    console.print("Run it again when the machine is idle.")

# %%
# The same results: loss curves and centres agree to rounding. Where rows are equally far from two centres, as
# whole numbers and the pixels of a photograph may be, rounding decides, and an inertia may differ.
# ``GradKMeans`` is no drop-in: it descends a gradient, from better initial centres.

differences = np.concatenate([comparison.differences() for comparison in drop_ins])
same = differences < 1e-9
console.print(f"Same seed, same result to nine digits in {same.sum()} of {len(same)} fits of the drop-ins")
if not same.all():
    console.print(f"The others, where rows tie, differ by at most {differences.max():.0e}, relative")
libraries = ("scikit-learn", "fastnn")
curves = {library: np.array(drop_ins[0].first[library][-1].loss_curve_) for library in libraries}
centers = {library: drop_ins[2].first[library].cluster_centers_ for library in libraries}
for what, values in {"loss curves": curves, "centres": centers}.items():
    theirs, ours = values.values()
    difference = np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs))
    console.print(f"Digits, seed 0: largest relative difference of the {what} {difference:.1e}")

# %%
# In pictures
# -----------

figure = plt.figure(figsize=(12, 7.4), layout="constrained")
top, bottom = figure.subfigures(2, 1, height_ratios=(2.6, 1))

left, right = top.subplots(1, 2, width_ratios=(1.5, 1))
bars(left, comparisons)
epochs = np.arange(1, 1 + len(curves["fastnn"]))
for (library, curve), style, width in zip(curves.items(), ("-", "--"), (5, 2), strict=True):
    right.semilogy(epochs, curve, style, color=COLORS[library], linewidth=width, label=library)
right.set(title="MLPClassifier: the same loss curve", xlabel="epoch", ylabel="training loss")
right.legend()

left, right = bottom.subfigures(1, 2)
left.suptitle("KMeans on the digits: the same centres")
for row, (library, images) in zip(left.subplots(2, 10), centers.items(), strict=True):
    row[0].set_ylabel(library, color=COLORS[library])
    for axes, image in zip(row, images, strict=True):
        axes.imshow(image.reshape(8, 8), cmap="gray_r")
        axes.set(xticks=[], yticks=[])
right.suptitle("KMeans on the photograph: 32 colours")
pictures = {"photograph": photograph}
for library in libraries:
    model = drop_ins[3].first[library]
    pictures[library] = model.cluster_centers_[model.labels_].reshape(photograph.shape)
for axes, (name, picture) in zip(right.subplots(1, 3), pictures.items(), strict=True):
    axes.imshow(picture)
    axes.set_title(name, color=COLORS.get(name, "k"), fontsize=10)
    axes.set_axis_off()

# Beside this script; a gallery has no __file__ and runs it in its folder.
path = Path(globals().get("__file__", "quickstart.py")).with_suffix(".png")
figure.savefig(path, dpi=120)
console.print(f"\nFigure: {os.path.relpath(path)}")
