"""Whole runs of Lloyd's iterations: to convergence, and on rows like embeddings."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import cluster
from sklearn.datasets import load_digits, make_blobs

from benchmarks.contestants import check_close, limit_threads, optional
from benchmarks.race import FASTNN, Race, Settings, Table, race
from fastnn import KMeans

# (features, clusters, standard deviation of a blob), such that scikit-learn needs 30 iterations or more.
BLOBS = ((8, 64, 2.0), (8, 256, 2.0), (32, 64, 4.0), (32, 256, 4.0))
ASKED = 3.0
# The same run without acceleration may be 5% faster.
ASKED_PLAIN = 0.95
ITERATIONS = 10
EMBEDDING = (50_000, 768, 1000)


def _to_convergence(case: str, X: np.ndarray, k: int, settings: Settings, asked: float) -> Race:
    C = X[np.random.default_rng(1).choice(len(X), k, replace=False)]
    same: dict[str, Any] = {"init": C, "n_init": 1, "max_iter": 1000, "tol": 0.0}
    calls: dict[str, Callable[[], Any]] = {
        FASTNN: lambda: KMeans(k, **same).fit(X),
        "plain": lambda: KMeans(k, algorithm="plain", **same).fit(X),
        "sklearn": lambda: cluster.KMeans(k, **same).fit(X),
        "elkan": lambda: cluster.KMeans(k, algorithm="elkan", **same).fit(X),
    }
    models = {who: call() for who, call in calls.items()}
    for who, model in models.items():
        check_close(who, model.inertia_, models[FASTNN].inertia_, 2e-2)
    ratios = {"plain": ASKED_PLAIN, "sklearn": asked, "elkan": asked}
    return _with_iterations(race(f"{case}, {X.dtype}", calls, settings, asked=ratios), models)


def _with_iterations(row: Race, models: dict[str, Any]) -> Race:
    counts = [str(models[who].n_iter_) for who in (FASTNN, "sklearn")]
    row.notes["iterations"] = " / ".join(dict.fromkeys(counts))
    return row


def embedding(n: int, d: int, dtype: str) -> np.ndarray:
    """Rows whose variance falls as i^-1.4 along the axes of a random rotation."""
    rng = np.random.default_rng(0)
    scale = np.arange(1, d + 1) ** -0.7
    rotation = np.linalg.qr(rng.normal(size=(d, d)))[0]
    return ((rng.standard_normal((n, d), np.float32) * scale) @ rotation).astype(dtype)


def _embedding(settings: Settings, dtype: str, asked: float) -> Race:
    n, d, k = settings.rows(EMBEDDING[0]), EMBEDDING[1], EMBEDDING[2]
    k = min(k, n // 4)
    X = embedding(n, d, dtype)
    C = X[:k].copy()
    same: dict[str, Any] = {"init": C, "n_init": 1, "max_iter": ITERATIONS, "tol": 0.0}
    calls: dict[str, Callable[[], Any]] = {
        FASTNN: lambda: KMeans(k, **same).fit(X),
        "plain": lambda: KMeans(k, algorithm="plain", **same).fit(X),
        "sklearn": lambda: cluster.KMeans(k, **same).fit(X),
    }
    inertia = calls[FASTNN]().inertia_
    for who in ("plain", "sklearn"):
        check_close(who, calls[who]().inertia_, inertia, 1e-3)
    ratios = {"plain": ASKED_PLAIN, "sklearn": asked}
    faiss = optional("faiss") if dtype == "float32" else None
    if faiss is not None:
        points = {"min_points_per_centroid": 1, "max_points_per_centroid": n, "niter": ITERATIONS}
        calls["faiss"] = lambda: faiss.Kmeans(d, k, **points).train(X, init_centroids=C)
        # Approximate, from centres of its own choice.
        calls["SuperKMeans"] = lambda: faiss.SuperKmeans(d, k, **points).train(X)
        ratios |= {"faiss": asked, "SuperKMeans": asked}
    return race(f"({n}, {d}, {k}) {dtype}", calls, settings, asked=ratios)


def convergence(settings: Settings) -> list[Table]:
    """The tables of runs to convergence and of rows like embeddings."""
    optional("faiss")
    limit_threads(settings.threads)
    n = settings.rows(200_000)
    digits = load_digits().data
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rows = []
        for dtype, asked, blobs in (("float32", ASKED, BLOBS), ("float64", 1.3, BLOBS[:1])):
            for d, k, spread in blobs:
                X = make_blobs(n, d, centers=min(k, n // 4), cluster_std=spread, random_state=0)[0]
                case = f"blobs ({n}, {d}, {k})"
                rows.append(_to_convergence(case, X.astype(dtype), min(k, n // 4), settings, asked))
        noisy = np.tile(digits, (50, 1))[: settings.rows(50 * len(digits))]
        noisy = noisy + np.random.default_rng(0).normal(size=noisy.shape)
        rows.append(
            _to_convergence(f"digits ({len(noisy)}, 64, 10)", noisy.astype(np.float32), 10, settings, ASKED)
        )
        embeddings = [_embedding(settings, "float32", 1.3), _embedding(settings, "float64", 1.3)]
    return [
        Table(
            "Lloyd's iterations to convergence",
            "`KMeans.fit` until no row changes its cluster (`tol=0`), from the same random rows. *plain* is "
            "fastnn without acceleration, *elkan* scikit-learn's other algorithm. Iterations: fastnn's / "
            "scikit-learn's where they differ, by rounding.",
            rows,
        ),
        Table(
            "Lloyd's iterations on rows like embeddings",
            f"{ITERATIONS} iterations from the first rows; the rows' variance falls as i^-1.4 along randomly "
            "rotated axes. FAISS's SuperKMeans is approximate and chooses its own initial centres.",
            embeddings,
        ),
    ]
