"""What a fit allocates beyond its input."""

import warnings

import numpy as np
import pytest

from benchmarks.memory import bound, fit_peak
from fastnn import MLPClassifier


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
