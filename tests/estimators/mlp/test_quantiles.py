"""Several quantiles of one target: ``quantile`` as a sequence."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.metrics import d2_pinball_score, mean_pinball_loss, r2_score
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import MLPRegressor
from tests import reference

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(90, 3))
Y = X @ [1.0, -0.5, 0.2] + RNG.standard_exponential(90)
QUANTILES = (0.1, 0.5, 0.9)


def regressor(quantile=QUANTILES, **parameters):
    usual = {"hidden_layer_sizes": (6,), "activation": "tanh", "max_iter": 20, "random_state": 0}
    return MLPRegressor("quantile", quantile=quantile, **usual | parameters)


@pytest.mark.parametrize("call", [MLPRegressor.predict, lambda model, X: model.score(X, Y)])
def test_other_quantiles_than_those_of_the_network_are_refused(call):
    model = regressor((0.1, 0.9)).fit(X, Y).set_params(quantile=QUANTILES)
    with pytest.raises(ValueError, match=r"quantile=\(0.1, 0.5, 0.9\) has 3 values, the network 2 outputs"):
        call(model, X)


def outputs(model, X):
    return reference.reference_predict(
        X, model.coefs_, model.intercepts_,
        hidden_activation=model.activation, output_activation=model.out_activation_,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_order_and_score(dtype):
    A = X.astype(dtype)
    model = regressor(list(QUANTILES)).fit(A, Y)
    P = model.predict(A)
    assert (P.shape, P.dtype) == ((90, 3), dtype)
    assert_allclose(P, np.sort(outputs(model, A), axis=1), rtol=1e-4 if dtype == np.float32 else 1e-10)
    weight = np.arange(90.0)
    for w in (None, weight):
        each = [d2_pinball_score(Y, P[:, j], alpha=q, sample_weight=w) for j, q in enumerate(QUANTILES)]
        assert model.score(A, Y, w) == pytest.approx(np.mean(each), rel=1e-12)
    assert model.score(A, Y.reshape(-1, 1)) == model.score(A, Y)


def test_predictions_do_not_cross():
    model = regressor().fit(X, Y)
    model.intercepts_[-1][:] = 3, 2, 1
    model.coefs_[-1][:] = 0
    assert_array_equal(model.predict(X), np.tile([1.0, 2.0, 3.0], (90, 1)))


def test_the_loss_sums_over_the_quantiles():
    model = regressor(solver="lbfgs", alpha=0.0).fit(X, Y)
    out = outputs(model, X)
    each = [mean_pinball_loss(Y, out[:, j], alpha=q) for j, q in enumerate(QUANTILES)]
    assert model.loss_ == pytest.approx(sum(each), rel=1e-12)


@pytest.mark.parametrize("head", ["identity", "softplus"])
def test_gradients_are_central_differences(head):
    model = regressor(out_activation=head).fit(X, Y)
    assert model.gradient_check(X, Y) < 1e-7
    # Of a constant output: the share of the rows above it counts q, that below q - 1.
    model.coefs_[-1][:] = 0
    out = outputs(model, X[:1])[0]
    slope = 1.0 if head == "identity" else 1 - np.exp(-out)
    share = (Y[:, None] < out).mean(axis=0)
    _, _, db = model.loss_and_gradients(X, Y)
    assert_allclose(db[-1], (share - QUANTILES) * slope, rtol=1e-10)


def test_a_constant_model_learns_each_quantile():
    y = RNG.permutation(np.linspace(0, 1, 201))
    options = {"learning_rate_init": 0.005, "max_iter": 1500, "batch_size": 201, "n_iter_no_change": np.inf}
    model = regressor(hidden_layer_sizes=(), **options).fit(np.zeros((201, 1)), y)
    assert_allclose(model.predict([[0.0]])[0], QUANTILES, atol=0.02)
    assert model.score(np.zeros((201, 1)), y) == pytest.approx(0, abs=0.01)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_equal_parameters_have_the_bits_of_one(dtype):
    """A network of as many outputs that all learn one quantile, from the same weights."""
    A = X.astype(dtype)
    one = regressor(0.5).fit(A, np.stack([Y] * 3, axis=1))
    several = regressor((0.5 - 1e-12, 0.5, 0.5 + 1e-12)).fit(A, Y)
    for W, other in zip(one.coefs_, several.coefs_, strict=True):
        assert_allclose(W, other, atol=1e-9)


def test_one_quantile_in_a_sequence():
    model, plain = regressor((0.8,)).fit(X, Y), regressor(0.8).fit(X, Y)
    assert_array_equal(model.coefs_[0], plain.coefs_[0])
    assert model.loss_curve_ == plain.loss_curve_
    assert_array_equal(model.predict(X), plain.predict(X).reshape(-1, 1))
    assert model.score(X, Y) == pytest.approx(d2_pinball_score(Y, plain.predict(X), alpha=0.8))
    assert plain.score(X, Y) == pytest.approx(r2_score(Y, plain.predict(X)))


def test_early_stopping_partial_fit_and_given_weights():
    model = regressor(early_stopping=True, max_iter=5, validation_fraction=0.2).fit(X, Y)
    assert len(model.validation_scores_) == 5
    assert model.best_validation_score_ == max(model.validation_scores_) < 1
    stepped = regressor(np.array(QUANTILES)).partial_fit(X, Y)
    assert_array_equal(stepped.coefs_[0], regressor(max_iter=1).fit(X, Y).coefs_[0])
    same = MLPRegressor.from_weights(
        model.coefs_, model.intercepts_, activation="tanh", loss="quantile", quantile=QUANTILES
    )
    assert_array_equal(same.predict(X), model.predict(X))
    assert same.score(X, Y) == model.score(X, Y)
    with pytest.raises(ValueError, match="has 2 values, the network 3 outputs"):
        MLPRegressor.from_weights(model.coefs_, model.intercepts_, loss="quantile", quantile=(0.1, 0.9))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_validation_rows(dtype):
    A = X.astype(dtype)
    model = regressor(alpha=0.0, max_iter=5).fit(A, Y, X_val=A[:20], y_val=Y[:20])
    out = outputs(model, A[:20])
    each = [mean_pinball_loss(Y[:20], out[:, j], alpha=q) for j, q in enumerate(QUANTILES)]
    assert model.validation_loss_curve_[-1] == pytest.approx(sum(each), rel=1e-5)
    assert model.validation_scores_[-1] == pytest.approx(model.score(A[:20], Y[:20]), rel=1e-5)


@pytest.mark.parametrize(
    ("quantile", "told"),
    [
        ((), "must be between 0 and 1"),
        ((0.5, 1.0), "must be between 0 and 1"),
        ((0.0, 0.5), "must be between 0 and 1"),
        ((0.1, np.nan), "must be between 0 and 1"),
        (("0.1", "0.2"), "must be between 0 and 1"),
        ([[0.1, 0.2]], "must be between 0 and 1"),
        ({0.1, 0.2}, "or a sequence of such numbers"),
        ({0.1: 1, 0.2: 2}, "or a sequence of such numbers"),
        ((0.5, 0.1), "must rise"),
        ((0.1, 0.1), "must rise"),
    ],
)
def test_bad_quantiles_leave_a_model_as_it_was(quantile, told):
    model = regressor(0.5).fit(X, Y)
    before = pickle.dumps(model.coefs_)
    model.set_params(quantile=quantile)
    for call in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=told):
            call(X, Y)
    assert pickle.dumps(model.coefs_) == before


def test_what_goes_with_several_quantiles():
    with pytest.raises(ValueError, match="is learned for one target, and y has 2 columns"):
        regressor().fit(X, np.stack([Y, Y], axis=1))
    with pytest.raises(ValueError, match=r"quantile=\(0.1, .*\) needs loss='quantile', got loss='huber'"):
        regressor().set_params(loss="huber").fit(X, Y)
    with pytest.raises(InvalidParameterError, match="'quantile' parameter"):
        regressor({0.5: 1}.keys).fit(X, Y)
