"""Initial centres: k-means++ beside scikit-learn's, and k-means|| beside our k-means++."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn import cluster

from benchmarks.contestants import check_close, limit_threads, normal
from benchmarks.race import FASTNN, Race, Settings, Table, race
from fastnn import KMeans, kmeans_plusplus
from fastnn.clustering.seeding import parallel_plus_plus
from fastnn.kernels import assign

# (rows, features, clusters), dtype, and what is asked for against scikit-learn.
PLUS_PLUS = (
    ((200_000, 16, 256), "float32", 10.0),
    ((100_000, 128, 1000), "float32", 15.0),
    ((200_000, 16, 256), "float64", 1.3),
)
PARALLEL = (1_000_000, 32, 1000)


def _plus_plus(shape: tuple[int, int, int], dtype: str, asked: float, settings: Settings) -> Race:
    n, d, k = settings.rows(shape[0]), *shape[1:]
    k = min(k, n // 2)
    X = normal(np.random.default_rng(0), (n, d), dtype)
    calls: dict[str, Callable[[], Any]] = {
        FASTNN: lambda: kmeans_plusplus(X, k, random_state=0),
        "sklearn": lambda: cluster.kmeans_plusplus(X, k, random_state=0),
    }
    potentials = [assign(X, call()[0])[1].sum(dtype=np.float64) for call in calls.values()]
    check_close("sklearn", potentials[1], potentials[0], 3e-2)
    return race(f"k-means++ ({n}, {d}, {k}) {dtype}", calls, settings, asked={"sklearn": asked})


def _parallel(settings: Settings) -> Race:
    n, d, k = settings.rows(PARALLEL[0]), *PARALLEL[1:]
    k = min(k, n // 2)
    X = normal(np.random.default_rng(0), (n, d), "float32")
    calls: dict[str, Callable[[], Any]] = {
        FASTNN: lambda: parallel_plus_plus(X, k, None, np.random.RandomState(0)),
        "k-means++": lambda: kmeans_plusplus(X, k, random_state=0),
    }
    # As good a start: the inertia after the same iterations.
    inertias = [
        KMeans(k, init=init, n_init=1, max_iter=20, random_state=0).fit(X).inertia_
        for init in ("k-means||", "k-means++")
    ]
    row = race(f"k-means|| ({n}, {d}, {k}) float32", calls, settings, asked={"k-means++": 2.0})
    row.notes["inertia after 20 iterations, over k-means++'s"] = f"{inertias[0] / inertias[1]:.4f}"
    return row


def seeding(settings: Settings) -> list[Table]:
    """The table of initial centres."""
    limit_threads(settings.threads)
    rows = [_plus_plus(shape, dtype, asked, settings) for shape, dtype, asked in PLUS_PLUS]
    return [
        Table(
            "Initial centres",
            "Of normal random numbers (rows, features, clusters). k-means++ with scikit-learn's number of "
            "candidates and its random numbers; k-means|| beside fastnn's own k-means++.",
            [*rows, _parallel(settings)],
        )
    ]
