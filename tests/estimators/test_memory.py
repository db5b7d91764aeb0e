"""What a fit allocates beyond its input."""

import tracemalloc
import warnings

import numpy as np
import pytest
from scipy import sparse

from benchmarks.memory import bound, fit_peak
from benchmarks.peers_memory import few_directions, kmeans_models, kmeans_share
from fastnn import KMeans, MLPClassifier
from fastnn.clustering.leading import Leading
from fastnn.networks.host_network import GRADIENT_ROWS


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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "parameters", [{}, {"solver": "lbfgs", "max_iter": 1}, {"early_stopping": True}], ids=str
)
def test_classes_are_not_written_out(parameters, dtype):
    """Targets take some words a row, whatever the number of classes."""
    n, n_classes = 12_000, 600
    X, y = np.zeros((n, 5), dtype), np.arange(n) % n_classes
    model = MLPClassifier((4,), **{"max_iter": 1, **parameters})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)  # what is compiled stays
        peak = fit_peak(model, X, y)
    # L-BFGS has the activations of a block of rows, and early stopping the outputs of the held-out ones.
    rows = {"lbfgs": 3 * GRADIENT_ROWS, "adam": 3 * n // 10 if "early_stopping" in parameters else 0}
    spare = rows[parameters.get("solver", "adam")] * n_classes * np.dtype(dtype).itemsize
    assert peak <= bound((5, 4, n_classes), 200, n, dtype) + spare
    if not spare:
        assert peak < n * n_classes


def test_flags_take_no_more_than_a_byte_each():
    n, n_labels = 20_000, 100
    X, y = np.zeros((n, 5), np.float32), np.zeros((n, n_labels), np.int8)
    y[np.arange(n), np.arange(n) % n_labels] = 1
    model = MLPClassifier((4,), max_iter=1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
        assert fit_peak(model, X, y) < 3 * n * n_labels


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("parameters", [{}, {"solver": "lbfgs"}, {"early_stopping": True}], ids=str)
def test_sparse_rows_are_not_made_dense(parameters, dtype):
    """Not a batch of them, nor a block of L-BFGS, nor what is held out."""
    n, d, batch = 1000, 20_000, 200
    rng = np.random.default_rng(0)
    X = sparse.random(n, d, 0.001, format="csr", rng=rng, dtype=dtype)
    y = rng.integers(3, size=n)
    model = MLPClassifier((2,), max_iter=1, **parameters)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y).predict(X)
        peak = fit_peak(model, X, y)
    # SciPy's L-BFGS keeps 25 vectors of all parameters in float64, and some more are on their way.
    vectors = 37 if "solver" in parameters else 0
    assert peak < 0.25 * batch * d * np.dtype(dtype).itemsize + vectors * 8 * 2 * d
    tracemalloc.start()
    model.predict(X)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


@pytest.mark.parametrize(("dtype", "most"), [(np.float32, 39), (np.float64, 44)])
def test_a_search_keeps_few_copies_of_the_parameters(dtype, most):
    """In vectors of float64; SciPy has more than 30, of which 20 are written to in ten iterations only."""
    rng = np.random.default_rng(0)
    n, d, units = 20, 20_000, 10
    X, y = rng.normal(size=(n, d)).astype(dtype), rng.integers(2, size=n)
    model = MLPClassifier((units,), max_iter=3, solver="lbfgs")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(X, y)
        assert fit_peak(model, X, y) < most * 8 * d * units


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
