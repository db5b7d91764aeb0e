"""Logic as regression, units that stay alike, and scores that overflow where softmax is written naively."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastnn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BITS = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
AND, OR, XOR = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])
SOLVERS = ["adam", "sgd", "lbfgs", "lm"]


def logistic_regressor(hidden, target, **parameters):
    """Squared errors of a logistic output, fitted to the end."""
    parameters = {"alpha": 0, "tol": 1e-8, "max_iter": 2000, "activation": "tanh", **parameters}
    return MLPRegressor(hidden_layer_sizes=hidden, out_activation="logistic", **parameters).fit(BITS, target)


@pytest.mark.parametrize("solver", ["lbfgs", "lm"])
@pytest.mark.parametrize("ends", [(0.0, 1.0), (0.1, 0.9)])
@pytest.mark.parametrize("table", [AND, OR, XOR], ids=["and", "or", "xor"])
def test_logic_as_regression(table, ends, solver):
    """0.1 and 0.9 can be reached by finite weights, 0 and 1 cannot."""
    target = np.array(ends)[table]
    close = 0
    for seed in range(6):
        model = logistic_regressor((8,), target, solver=solver, random_state=seed)
        close += abs(model.predict(BITS) - target).max() < 0.05
    assert close >= 4
    linear = logistic_regressor((), target, solver=solver, random_state=0)
    right = (linear.predict(BITS) > 0.5) == table
    assert right.all() == (table is not XOR)
    if table is XOR:
        # 1/2 for all is the least squared error.
        assert_allclose(linear.predict(BITS), 0.5, atol=1e-3)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("activation", ["tanh", "relu", "gelu"])
def test_units_that_begin_alike_stay_alike(solver, activation):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 3)), rng.normal(size=60)
    model = MLPRegressor(
        hidden_layer_sizes=(7,), activation=activation, solver=solver, weight_init="zeros", bias_init=0.3,
        batch_size=20, learning_rate_init=0.01, max_iter=4 if solver == "lm" else 30, random_state=0,
    ).fit(X, y)  # fmt: skip
    (first, last), (b, _) = model.coefs_, model.intercepts_
    for units in (first, last.T, b[None]):
        one = units[:, :1]
        assert (one != (0.3 if units is b else 0)).all()
        if solver == "lm":
            # Its factorisation rounds the same numbers differently, and further iterations make more of it.
            assert_allclose(units, np.repeat(one, 7, axis=1), rtol=1e-6)
        else:
            assert_array_equal(units, np.repeat(one, 7, axis=1))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_softmax_of_large_scores(dtype):
    """In a hidden layer and in the output: a unit takes all, or units share."""
    X = np.array([[1, 0], [-1, 0], [0, 0], [0, 1]], dtype)
    W = np.array([[1e4, 0, -1e4], [1e4, 1e4, -1e4]], dtype)
    shares = np.array([[1, 0, 0], [0, 0, 1], [1 / 3] * 3, [0.5, 0.5, 0]])
    eye, zeros = np.eye(3, dtype=dtype), np.zeros(3, dtype)
    output = MLPClassifier.from_weights([W], [zeros])
    hidden = MLPRegressor.from_weights([W, eye], [zeros, zeros], activation="softmax")
    for got in (output.predict_proba(X), hidden.predict(X)):
        assert got.dtype == dtype
        assert_allclose(got, shares, rtol=1e-6)
    y = [0, 2, 1, 0]
    # Outputs that are 0 or 1 and right: the loss is that of the other two rows.
    for solver in ("adam", "sgd", "lbfgs"):
        parameters = {"solver": solver, "alpha": 0, "max_iter": 1, "warm_start": True, "random_state": 0}
        trained = MLPClassifier.from_weights([W], [zeros], **parameters).fit(X, y)
        if solver != "lbfgs":
            assert trained.loss_ == pytest.approx((np.log(3) + np.log(2)) / 4, rel=1e-5)
        both = MLPClassifier.from_weights([W, 1e4 * eye], [zeros, zeros], activation="softmax", **parameters)
        for model in (trained, both.fit(X, y)):
            assert np.isfinite(model.loss_)
            assert np.isfinite(model.predict_proba(X)).all()
            assert all(np.isfinite(array).all() for array in (*model.coefs_, *model.intercepts_))
