"""Lloyd's iterations from given centres: KMeans beside scikit-learn, scikit-learn-intelex and FAISS."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import cluster
from sklearn.datasets import load_iris

from benchmarks.clustering.peers_kmeans import SHAPES
from benchmarks.contestants import check_close, limit_threads, normal, optional
from benchmarks.race import FASTNN, Race, Settings, Table, race
from fastnn import KMeans

ITERATIONS = 10
# What is asked for against each peer, by shape.
ASKED = (6.0, 3.5, 1.5, 1.5, 1.2, 1.5, 1.2)


def _iterations(shape: tuple[int, int, int], dtype: str, asked: float | None, settings: Settings) -> Race:
    n, d, k = settings.rows(shape[0]), *shape[1:]
    k = min(k, n)
    X = normal(np.random.default_rng(0), (n, d), dtype)
    C = X[:k].copy()
    same: dict[str, Any] = {"init": C, "n_init": 1, "max_iter": ITERATIONS, "tol": 0.0}
    calls: dict[str, Callable[[], Any]] = {
        FASTNN: lambda: KMeans(k, **same).fit(X),
        "sklearn": lambda: cluster.KMeans(k, **same).fit(X),
    }
    intelex = optional("sklearnex.cluster")
    if intelex is not None:
        calls["intelex"] = lambda: intelex.KMeans(k, **same).fit(X)
    inertia = calls[FASTNN]().inertia_
    for who in list(calls)[1:]:
        check_close(who, calls[who]().inertia_, inertia, 1e-3)
    faiss = optional("faiss") if dtype == "float32" else None
    if faiss is not None:
        # Of its own accord it draws a sample, and warns where there are few rows for a centre.
        points = {"min_points_per_centroid": 1, "max_points_per_centroid": n}

        def faiss_fit() -> Any:
            model = faiss.Kmeans(d, k, niter=ITERATIONS, **points)
            model.train(X, init_centroids=C)
            return model

        calls["faiss"] = faiss_fit
        # Its last figure is the inertia before the last iteration.
        check_close("faiss", faiss_fit().obj[-1], inertia, 2e-2)
    ratios = dict.fromkeys(list(calls)[1:], asked) if asked else {}
    flops = 2.0 * n * d * k * ITERATIONS
    return race(f"({n}, {d}, {k}) {dtype}", calls, settings, asked=ratios, flops=flops, dtype=dtype)


def _little_data(settings: Settings) -> Race:
    X = load_iris().data
    calls: dict[str, Callable[[], Any]] = {
        FASTNN: lambda: KMeans(3, random_state=0).fit(X),
        "sklearn": lambda: cluster.KMeans(3, random_state=0).fit(X),
    }
    check_close("sklearn", calls["sklearn"]().inertia_, calls[FASTNN]().inertia_, 1e-6)
    return race("iris, (150, 4, 3) float64", calls, settings, asked={"sklearn": 3.0})


def iterations(settings: Settings) -> list[Table]:
    """The tables of Lloyd's iterations and of a small fit."""
    for name in ("faiss", "sklearnex.cluster"):
        optional(name)
    limit_threads(settings.threads)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that end without convergence count as they are
        rows = [
            _iterations(shape, "float32", asked, settings) for shape, asked in zip(SHAPES, ASKED, strict=True)
        ]
        rows += [_iterations(shape, "float64", 1.3, settings) for shape in (SHAPES[1], SHAPES[3])]
        little = _little_data(settings)
    return [
        Table(
            "Lloyd's iterations",
            f"`KMeans.fit` of normal random numbers (rows, features, clusters): {ITERATIONS} iterations from "
            "the first rows as centres, then the labels. FAISS: `Kmeans.train` on all rows, without labels "
            "(float32 only). The share of the FMA peak counts the product of the iterations alone.",
            rows,
        ),
        Table(
            "A fit of little data",
            "`KMeans(3, random_state=0).fit`: k-means++ and a few iterations, on one thread.",
            [little],
        ),
    ]
