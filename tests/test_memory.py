"""What a fit allocates beyond its input."""

import warnings

import numpy as np
import pytest

from benchmarks.memory import bound, fit_peak
from benchmarks.peers_memory import few_directions, kmeans_models, kmeans_share
from fastnn import KMeans, MLPClassifier
from fastnn.clustering.leading import Leading


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "n_in", "hidden", "n_classes", "batch", "activation"),
    [
        (30_000, 300, (64, 32), 10, 256, "relu"),
        (5000, 100, (200, 200), 3, 1024, "silu"),  # whose derivative needs z too
        (20_000, 50, (100,), 2, 200, "tanh"),
        (3000, 784, (512, 512), 10, 200, "relu"),
    ],
)
def test_a_fit_allocates_little(n, n_in, hidden, n_classes, batch, activation, dtype):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n, n_in)).astype(dtype), rng.integers(n_classes, size=n)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = MLPClassifier(hidden, activation, batch_size=batch, max_iter=2)
        model.fit(X[:batch], y[:batch])  # what is compiled stays
        peak = fit_peak(model, X, y)
    sizes = (n_in, *hidden, n_classes if n_classes > 2 else 1)
    assert peak <= bound(sizes, batch, n, dtype)


def test_x_is_not_copied():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(100_000, 200)).astype(np.float32), rng.integers(2, size=100_000)
    model = MLPClassifier((4,), max_iter=1, tol=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X[:200], y[:200])
        assert fit_peak(model, X, y) < X.nbytes / 8


# So many rows that what a row takes dominates the bound's constant; and long rows.
@pytest.mark.parametrize(
    ("n", "d", "k", "dtype"), [(200_000, 8, 20, np.float32), (17_000, 256, 64, np.float64)]
)
@pytest.mark.parametrize("name", kmeans_models(8))
def test_a_kmeans_fit_allocates_little(name, n, d, k, dtype):
    X = few_directions(n, d, dtype)
    assert kmeans_share(kmeans_models(k)[name], X)[1] <= 1


def test_leading_dimensions_are_part_of_what_is_measured():
    X = few_directions(17_000, 256, np.float64)
    assert Leading.of(X, X[:64].copy()) is not None


@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random", "afk-mc2"])
def test_weights_and_empty_clusters_allocate_little(init):
    """Integer weights, many rows that are equal, ten runs."""
    X = np.repeat(few_directions(20, 8, np.float32), 10_000, axis=0)
    weights = np.random.default_rng(0).integers(0, 3, size=len(X))
    model = KMeans(20, init=init, n_init=3, max_iter=3, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, sample_weight=weights)

        class Weighted:
            fit = staticmethod(lambda X, y: model.fit(X, y, sample_weight=weights))

        assert fit_peak(Weighted, X) <= 32 * 8 * len(X)
