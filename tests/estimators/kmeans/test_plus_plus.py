"""kmeans_plusplus beside scikit-learn's."""

import numpy as np
import pytest
from scipy import sparse
from sklearn import cluster
from sklearn.datasets import load_digits, make_blobs

from fastnn import kmeans_plusplus

X = load_digits().data


@pytest.mark.parametrize("make", [np.asarray, np.asfortranarray, sparse.csr_matrix])
@pytest.mark.parametrize("n_local_trials", [None, 1, 3])
@pytest.mark.parametrize("weighted", [False, True])
def test_same_rows_as_scikit_learn(make, n_local_trials, weighted):
    weights = np.random.default_rng(0).uniform(size=len(X)) if weighted else None
    for seed in range(3):
        same = {"sample_weight": weights, "random_state": seed, "n_local_trials": n_local_trials}
        centers, indices = kmeans_plusplus(make(X), 15, **same)
        expected, expected_indices = cluster.kmeans_plusplus(X, 15, **same)
        np.testing.assert_array_equal(indices, expected_indices)
        np.testing.assert_array_equal(centers, expected)
        np.testing.assert_array_equal(centers, X[indices])


def test_large_weights_times_large_distances():
    """Neither is near the largest float32, their product is far above it."""
    data = (make_blobs(300, 3, random_state=0)[0] * 1e8).astype(np.float32)
    weights = np.full(300, 1e30)
    _, indices = kmeans_plusplus(data, 3, sample_weight=weights, random_state=0)
    assert len(set(indices)) == 3
    np.testing.assert_array_equal(indices, kmeans_plusplus(data, 3, random_state=0)[1])


def test_float32_is_kept_and_whole_numbers_are_taken():
    data = make_blobs(200, 3, random_state=0)[0]
    assert kmeans_plusplus(data.astype(np.float32), 4, random_state=0)[0].dtype == np.float32
    assert kmeans_plusplus(data.astype(int).tolist(), 4, random_state=0)[0].dtype == np.float64


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_clusters": 10_000}, "n_samples=1797 should be >= n_clusters=10000"),
        ({"n_clusters": 0}, "'n_clusters' parameter"),
        ({"n_clusters": 3, "n_local_trials": 0}, "'n_local_trials' parameter"),
        ({"n_clusters": 3, "x_squared_norms": np.ones(4)}, "length of x_squared_norms"),
        ({"n_clusters": 3, "sample_weight": -np.ones(1797)}, "Negative"),
        ({"n_clusters": 3, "sample_weight": np.zeros(1797)}, "non-zero"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        kmeans_plusplus(X, **arguments)
