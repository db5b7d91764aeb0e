"""With its defaults GradKMeans finds clusters as good as scikit-learn's estimators do."""

import numpy as np
import pytest
from sklearn.cluster import KMeans, MiniBatchKMeans
from sklearn.datasets import load_digits, make_blobs
from threadpoolctl import threadpool_limits

from fastnn import GradKMeans

# n_samples, n_features, n_clusters, standard deviation: few and many clusters, apart and overlapping, one
# batch and several.
BLOBS = [(500, 2, 5, 1.0), (3000, 2, 20, 0.6), (5000, 8, 15, 2.0), (4000, 3, 50, 0.5), (10_000, 16, 30, 3.0)]
SEEDS = range(20)


@pytest.mark.parametrize("data", ["digits", *BLOBS], ids=str)
def test_median_inertia_over_20_seeds(data):
    if data == "digits":
        X, k = load_digits().data, 10
    else:
        n, d, k, deviation = data
        X = make_blobs(n, d, centers=k, cluster_std=deviation, random_state=0)[0]
    # On problems this small threads that wait for each other cost more than they save.
    with threadpool_limits(1):
        ours, lloyd, mini_batch = (
            np.median([estimator(k, random_state=seed).fit(X).inertia_ for seed in SEEDS])
            for estimator in (GradKMeans, KMeans, MiniBatchKMeans)
        )
    assert ours <= mini_batch
    assert ours <= 1.02 * lloyd
