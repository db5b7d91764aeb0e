"""The estimators that are given sparse matrices, and the data they are fitted to."""

import numpy as np

from fastnn import Autoencoder, GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor


def dense(n=40, d=12):
    """Eighths, whose halves and sums are exact; most are zero, and some whole rows."""
    rng = np.random.default_rng(0)
    X = rng.integers(1, 40, size=(n, d)) / 8 * (rng.uniform(size=(n, d)) < 0.3)
    X[[5, 17]] = 0
    X[0, 0] = 2
    return X


X = dense()
Y = np.arange(len(X)) % 3
ESTIMATORS = {
    "KMeans": KMeans(3, n_init=1, random_state=0),
    "KMeans, cosine": KMeans(3, n_init=1, random_state=0, metric="cosine"),
    "KMeans, random": KMeans(3, init="random", n_init=2, random_state=0),
    "MiniBatchKMeans": MiniBatchKMeans(3, n_init=1, batch_size=16, max_iter=3, random_state=0),
    "MiniBatchKMeans, cosine": MiniBatchKMeans(
        3, n_init=1, batch_size=16, max_iter=3, random_state=0, metric="cosine"
    ),
    "GradKMeans": GradKMeans(3, batch_size=16, max_iter=3, random_state=0),
    "GradKMeans, afk-mc2": GradKMeans(3, init="afk-mc2", batch_size=16, max_iter=3, random_state=0),
    "GradKMeans, cosine": GradKMeans(3, batch_size=16, max_iter=3, random_state=0, metric="cosine"),
    "MLPClassifier": MLPClassifier((4,), max_iter=2, random_state=0),
    "MLPRegressor": MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0),
    "MLPRegressor, lbfgs": MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0, solver="lbfgs"),
    "Autoencoder": Autoencoder((4,), max_iter=2, random_state=0, noise=0.1),
}
PLAIN = ("KMeans", "MiniBatchKMeans", "GradKMeans", "MLPClassifier", "MLPRegressor", "Autoencoder")
ASKING = ("predict", "transform", "predict_proba", "predict_log_proba", "score")
FITTING = ("fit", "partial_fit", "fit_predict", "fit_transform")


def call(model, method, data, y=Y):
    classes = isinstance(model, MLPClassifier) and method == "partial_fit"
    takes_y = isinstance(model, MLPClassifier | MLPRegressor) and method in ("fit", "partial_fit", "score")
    return getattr(model, method)(data, *[y] * takes_y, **{"classes": [0, 1, 2]} if classes else {})
