"""Memory of a fit beyond its input."""

import warnings
from typing import Any

import numpy as np

from benchmarks.contestants import normal
from benchmarks.memory import bound, fit_peak, kmeans_bound
from benchmarks.networks.peers_mlp import NETWORKS, make_data, make_model
from benchmarks.race import Figure, Settings, Table
from fastnn import GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier

# (rows, features, clusters): of many rows, and of long ones that vary in few directions.
KMEANS_SHAPES = ((300_000, 8, 20), (30_000, 256, 100))
KMEANS_BATCH = 1024
# Rows among which GradKMeans chooses initial centres where there are more.
SAMPLE = 1 << 16


def few_directions(n: int, d: int, dtype: Any) -> np.ndarray:
    """Rows of `d` features that vary in 8 directions, and a little in all."""
    rng = np.random.default_rng(0)
    X = normal(rng, (n, 8), dtype) @ normal(rng, (8, d), dtype)
    X += np.asarray(0.05, dtype) * normal(rng, (n, d), dtype)
    return X


def kmeans_models(k: int) -> dict[str, Any]:
    """Models whose fits take memory in different ways."""
    few: dict[str, Any] = {"n_clusters": k, "random_state": 0}
    models: dict[str, Any] = {
        f"KMeans {init}, {algorithm}": KMeans(**few, init=init, algorithm=algorithm, n_init=2, max_iter=4)
        for init in ("k-means++", "k-means||", "random", "afk-mc2")
        for algorithm in ("lloyd", "plain")
    }
    for nested in (False, True):
        name = f"MiniBatchKMeans{', nested' if nested else ''}"
        models[name] = MiniBatchKMeans(**few, batch_size=KMEANS_BATCH, max_iter=4, nested=nested)
    for batch in (KMEANS_BATCH, None):
        name = f"GradKMeans, batch_size={batch}"
        models[name] = GradKMeans(**few, batch_size=batch, max_iter=2)
    return models


def kmeans_share(model: Any, X: np.ndarray) -> tuple[int, float]:
    """Peak of a fit, and its share of the bound."""
    (n, d), batch = X.shape, getattr(model, "batch_size", None) or 0
    sample = SAMPLE if isinstance(model, GradKMeans) and n > SAMPLE else 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X)  # what is compiled stays
        peak = fit_peak(model, X)
    return peak, peak / kmeans_bound(n, d, model.n_clusters, X.dtype, batch, sample)


def _kmeans(settings: Settings) -> Table:
    rows = []
    for n_full, d, k in KMEANS_SHAPES:
        n = settings.rows(n_full)
        X = few_directions(n, d, np.float32)
        for name, model in kmeans_models(min(k, n)).items():
            peak, share = kmeans_share(model, X)
            case = f"{name} ({n}, {d}, {k}): {peak / 1e6:.1f} MB beside X of {X.nbytes / 1e6:.1f} MB"
            rows.append(Figure(case, share, "of the bound", 1.0))
    text = (
        "As above, for (rows, features, clusters). The bound is 32 words of 8 bytes a row; a sixth of X if "
        "rows have 192 features or more; k² + 20 k d words; 8 mini-batches; 24 MiB; and for `GradKMeans` the "
        "65,536 rows that its initial centres are chosen from. X is not copied."
    )
    return Table("Memory of a k-means fit", text, rows)


def memory(settings: Settings) -> list[Table]:
    """The tables of peaks over their bounds."""
    rows = []
    for net in NETWORKS:
        n = settings.rows(net.n)
        X, y = make_data(n, net.n_in, net.n_classes, net.dtype)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            make_model(MLPClassifier, net, 1).fit(X[: net.batch], y[: net.batch])
            peak = fit_peak(make_model(MLPClassifier, net, 2), X, y)
        case = f"{net.label(n)}: {peak / 1e6:.1f} MB beside X of {X.nbytes / 1e6:.1f} MB"
        rows.append(Figure(case, peak / bound(net.sizes, net.batch, n, net.dtype), "of the bound", 1.0))
    text = (
        "Peak of what Python and NumPy allocate during a fit; kernels allocate nothing in training. The "
        "bound is 5 buffers of the size of all parameters, 4 of the size of a batch's activations, and 10 "
        "words of 8 bytes a row, however many classes there are. X is not copied."
    )
    return [Table("Memory of a fit", text, rows), _kmeans(settings)]
