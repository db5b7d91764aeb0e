"""After ``precompile`` nothing is compiled, and who compiles computes what others do that load the code."""

import numpy as np
import pytest

import fastnn
from tests.processes import COUNT, FITS, run

EVERYTHING = """
import warnings
import numpy as np
from scipy import sparse
from fastnn import Autoencoder, GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor, kernels
from fastnn.kernels.shared import threads as _threads
warnings.simplefilter("ignore")
rng = np.random.default_rng(0)
X = rng.normal(size=(3000, 5)).astype(np.float32)
y = X[:, 0] > 0
w = rng.random(3000)
for layer in _threads.MIN_FLOPS:
    _threads.MIN_FLOPS[layer] = 1e4  # some launches with threads, some without
for data in (X, X[:20], sparse.csr_matrix(X)):
    for activation in ("relu", "logistic", "silu"):
        for solver in ("adam", "sgd", "lbfgs"):
            model = MLPClassifier(activation=activation, solver=solver, max_iter=2, early_stopping=True)
            model.fit(data, y[: data.shape[0]], w[: data.shape[0]]).predict_proba(data)
wide = sparse.csr_matrix((np.ones(3000, np.float32), (np.arange(3000), np.arange(3000) % 400)))
several = np.stack([y, ~y], axis=1)
for data in (X, X[:20], wide, wide[:20]):
    for solver in ("adam", "lbfgs"):
        model = MLPClassifier(solver=solver, max_iter=2, early_stopping=True)
        model.fit(data, several[: data.shape[0]], w[: data.shape[0]]).predict_proba(data)
for head in (("squared_error", "auto"), ("poisson", "auto"), ("poisson", "softplus"), ("huber", "tanh")):
    MLPRegressor(head[0], out_activation=head[1], max_iter=2, dropout=0.5).fit(X, y, w).predict(X)
for data in (X, X[:20], sparse.csr_matrix(X), wide):
    for activation in ("tanh", "gelu"):
        model = MLPRegressor(hidden_layer_sizes=(3,), activation=activation, solver="lm", max_iter=2)
        model.fit(data, several[: data.shape[0]].astype(float), w[: data.shape[0]]).predict(data)
for data in (X, X[:20], wide):
    model = Autoencoder(3, tied_weights=True, noise=0.1, pretrain="layerwise", max_iter=2)
    model.fit(data, sample_weight=w[: data.shape[0]]).transform(data)
for data in (X, X[:20], sparse.csr_matrix(X)):
    for parameters in ({}, {"optimizer": "adam", "learning_rate": 0.1}, {"batch_size": None}):
        kmeans = GradKMeans(7, **parameters).fit(data, sample_weight=w[: data.shape[0]]).partial_fit(data)
        kmeans.predict(data), kmeans.transform(data), kmeans.score(data)
for data in (X, X[:20], sparse.csr_matrix(X)):
    kmeans = KMeans(7).fit(data, sample_weight=w[: data.shape[0]])
    kmeans.predict(data), kmeans.transform(data), kmeans.score(data)
    for parameters in ({}, {"nested": True}, {"tol": 1e-3, "reassignment_ratio": 0.5}):
        kmeans = MiniBatchKMeans(7, batch_size=9, max_iter=2, **parameters)
        kmeans.fit(data, sample_weight=w[: data.shape[0]]).partial_fit(data)
GradKMeans(7).fit(rng.normal(size=(300, 50)).astype(np.float32))
KMeans(130, tol=0).fit(rng.normal(size=(3000, 8)).astype(np.float32))
A = kernels.linear_forward(X, X.T[:, :7].copy())
kernels.linear_backward(A, X, X.T[:, :7].copy(), A)
"""


@pytest.mark.slow
def test_after_precompile_nothing_is_compiled(precompiled):
    assert run(COUNT.format(body=EVERYTHING), precompiled.float32) == "0"


@pytest.mark.slow
def test_the_process_that_compiles_computes_what_later_ones_do(precompiled):
    """To the last bit: no sum has two compiled forms."""
    assert run(FITS, precompiled.cache) == precompiled.digests


def test_precompile_knows_two_dtypes():
    for dtypes in ("int32", [np.float64, np.float16]):
        with pytest.raises(ValueError, match="float32"):
            fastnn.precompile(dtypes)
