"""k-means: the kernels beside FAISS, scikit-learn and NumPy; GradKMeans beside scikit-learn's estimators."""

import statistics
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.metrics import pairwise_distances_argmin

from benchmarks.contestants import (
    blobs,
    check_close,
    limit_threads,
    normal,
    numpy_update_centers,
    optional,
)
from benchmarks.race import FASTNN, Race, Settings, Table, alternate, clock, race
from fastnn import GradKMeans
from fastnn.kernels import assign, update_centers

# (rows, features, clusters)
SHAPES = (
    (1_000_000, 2, 10),
    (1_000_000, 8, 64),
    (500_000, 16, 256),
    (200_000, 64, 256),
    (100_000, 128, 1000),
    (60_000, 784, 10),
    (60_000, 784, 100),
)
# What is asked of `assign` on these: the share of the FMA peak, and the least ratios. The first three shares
# are 1.5, 8 and 21 ms where the peak is 220 GFLOP/s. X is read by its scalar product with itself.
READ = "read X"
ASKED: tuple[tuple[float, dict[str, float]], ...] = (
    (0.12, {"faiss": 1.6, "sklearn": 5.0}),
    (0.58, {"faiss": 1.6, "sklearn": 5.0}),
    (0.885, {"faiss": 1.6, "sklearn": 5.0}),
    (0.9, {"faiss": 1.6, "sklearn": 5.0}),
    (0.9, {"faiss": 1.6, "sklearn": 5.0}),
    (0.0, {"faiss": 1.6, "sklearn": 3.5, READ: 1 / 1.6}),
    (0.75, {"faiss": 1.6, "sklearn": 3.5}),
)
FITS = ((1797, 64, 10), (100_000, 8, 64), (100_000, 16, 256), (60_000, 784, 10))
# Rows of which the labels are compared: ties within rounding are settled differently.
COMPARED = 20_000


def _check_labels(who: str, labels: np.ndarray, X: np.ndarray, C: np.ndarray, distances: np.ndarray) -> None:
    X, labels = X[:COMPARED], labels[:COMPARED]
    theirs = ((X - C[labels]) ** 2).sum(axis=1)
    check_close(who, theirs, distances[:COMPARED], 1e-3, 1e-5)


def _assign(
    shape: tuple[int, int, int],
    dtype: str,
    settings: Settings,
    share: float = 0.0,
    asked: dict[str, float] | None = None,
) -> Race:
    n, d, k = settings.rows(shape[0]), *shape[1:]
    rng = np.random.default_rng(0)
    X, C = normal(rng, (n, d), dtype), normal(rng, (k, d), dtype)
    out = np.empty(n, np.int32), np.empty(n, dtype)
    calls: dict[str, Callable[[], Any]] = {FASTNN: lambda: assign(X, C, out=out)}
    faiss = optional("faiss") if dtype == "float32" else None
    if faiss is not None:
        index = faiss.IndexFlatL2(d)
        index.add(C)
        found = np.empty((n, 1), np.float32), np.empty((n, 1), np.int64)
        calls["faiss"] = lambda: index.search(X, 1, D=found[0], I=found[1])
    calls["sklearn"] = lambda: pairwise_distances_argmin(X, C)
    calls[FASTNN]()
    if faiss is not None:
        calls["faiss"]()
        _check_labels("faiss", found[1][:, 0], X, C, out[1])
    _check_labels("sklearn", calls["sklearn"](), X, C, out[1])
    if asked and READ in asked:
        flat = X.ravel()
        calls[READ] = lambda: np.dot(flat, flat)
    # The product alone: what limits everyone.
    row = race(f"({n}, {d}, {k}) {dtype}", calls, settings, asked=asked, flops=2.0 * n * d * k, dtype=dtype)
    row.asked_share = share
    return row


def _update(shape: tuple[int, int, int], dtype: str, settings: Settings) -> Race:
    n, d, k = settings.rows(shape[0]), *shape[1:]
    rng = np.random.default_rng(0)
    X, labels = normal(rng, (n, d), dtype), rng.integers(k, size=n, dtype=np.int32)
    out = np.empty((k, d)), np.empty(k)
    ones = np.ones(n, dtype)

    def scipy_update() -> tuple[np.ndarray, np.ndarray]:
        one_hot = csr_matrix((ones, labels, np.arange(n + 1)), (n, k))
        return one_hot.T @ X, np.bincount(labels, minlength=k)

    calls: dict[str, Callable[[], Any]] = {
        FASTNN: lambda: update_centers(X, labels, k, out=out),
        "numpy": lambda: numpy_update_centers(X, labels, k),
        "scipy": scipy_update,
    }
    calls[FASTNN]()
    scale = float(np.abs(out[0]).max())
    for who in ("numpy", "scipy"):
        sums, counts = calls[who]()
        check_close(who, sums, out[0], 0, 1e-4 * scale)
        check_close(who, counts, out[1], 0)
    return race(f"({n}, {d}, {k}) {dtype}", calls, settings, dtype=dtype)


def kernels(settings: Settings) -> list[Table]:
    """Tables of ``assign`` and ``update_centers``."""
    optional("faiss")
    limit_threads(settings.threads)
    assigned = [
        _assign(shape, "float32", settings, *asked) for shape, asked in zip(SHAPES, ASKED, strict=True)
    ]
    float64 = {"sklearn": 1.3}
    assigned += [_assign(shape, "float64", settings, 0.0, float64) for shape in (SHAPES[1], SHAPES[3])]
    updated = [_update(SHAPES[i], dtype, settings) for i, dtype in enumerate(["float32"] * 7)]
    updated.append(_update(SHAPES[2], "float64", settings))
    return [
        Table(
            "assign",
            "Nearest of the centres on (rows, features, clusters). FAISS: `IndexFlatL2.search` with k=1 "
            "(float32 only); scikit-learn: `pairwise_distances_argmin`, which gives no distances. The share "
            "of the FMA peak counts 2 FLOPs for each element of the product; with few features, comparing "
            "takes longer than multiplying. *Read X* is a scalar product of X with itself.",
            assigned,
        ),
        Table(
            "update_centers",
            "Sums and counts of the clusters. NumPy: `bincount`, a column at a time; SciPy: a sparse one-hot "
            "matrix times X, summed in the dtype of X. fastnn and NumPy sum in float64.",
            updated,
        ),
    ]


def _fit(shape: tuple[int, int, int], settings: Settings) -> Race:
    n, d, k = settings.rows(shape[0]), *shape[1:]
    k = min(k, n // 2)
    X = blobs(n, d, k)
    makers: dict[str, Callable[[int], Any]] = {
        FASTNN: lambda seed: GradKMeans(k, random_state=seed),
        "MiniBatchKMeans": lambda seed: MiniBatchKMeans(k, n_init="auto", random_state=seed),
        "KMeans": lambda seed: KMeans(k, n_init="auto", random_state=seed),
    }
    inertias: dict[str, list[float]] = {who: [] for who in makers}

    def sampler(who: str) -> Callable[[], float]:
        def sample() -> float:
            model = makers[who](len(inertias[who]))
            seconds = clock(lambda: model.fit(X))
            inertias[who].append(float(model.inertia_))
            return seconds

        return sample

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # fits that end without convergence count as they are
        makers[FASTNN](0).set_params(max_iter=1).fit(X[: max(k, 1000)])  # compiles
        seconds, ratios = alternate({who: sampler(who) for who in makers}, settings.budget)
    ours = statistics.median(inertias[FASTNN])
    notes = {f"inertia {who}": f"{statistics.median(inertias[who]) / ours:.3f}" for who in list(makers)[1:]}
    return Race(f"({n}, {d}, {k})", seconds, ratios, notes=notes)


def estimators(settings: Settings) -> list[Table]:
    """The table of GradKMeans."""
    limit_threads(settings.threads)
    text = (
        "`fit` of float32 blobs (rows, features, clusters) with default parameters; each round has another "
        "seed. The inertia columns give a peer's median inertia over fastnn's: above 1, fastnn's clusters "
        "are the better ones."
    )
    return [Table("GradKMeans", text, [_fit(shape, settings) for shape in FITS])]
