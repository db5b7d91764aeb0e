"""The parameter `dropout` of the multi-layer perceptrons."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits, load_iris
from sklearn.model_selection import train_test_split

from fastnn import MLPClassifier, MLPRegressor
from tests import reference

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
IRIS = load_iris(return_X_y=True)
USUAL = {"hidden_layer_sizes": (20, 10), "max_iter": 5, "random_state": 0, "batch_size": 50}


def parameters_of(model):
    return np.concatenate([array.ravel() for array in model.coefs_ + model.intercepts_])


def test_it_learns():
    X, y = load_digits(return_X_y=True)
    X = X / 16
    scores = {}
    for dropout in (0.0, 0.5):
        model = MLPClassifier((100,), random_state=0, learning_rate_init=5e-3, max_iter=100, dropout=dropout)
        model.fit(X[:300], y[:300])
        scores[dropout] = model.loss_, model.score(X[:300], y[:300]), model.score(X[300:], y[300:])
    assert scores[0.5][0] > 3 * scores[0.0][0]  # the loss is that with dropout, the scores are those without
    assert scores[0.5][1] > 0.98
    assert scores[0.5][2] > 0.84


@BOTH
def test_predictions_use_all_units_and_change_nothing(kind):
    X, y = IRIS
    model = kind(**USUAL, dropout=0.5).fit(X, y)
    before = pickle.dumps(vars(model))
    output = model.predict_proba if kind is MLPClassifier else model.predict
    first = output(X)
    assert_array_equal(output(X), first)
    expected = reference.reference_predict(
        X,
        model.coefs_,
        model.intercepts_,
        hidden_activation="relu",
        output_activation=model.out_activation_,
    )
    assert_allclose(first.reshape(expected.shape), expected, rtol=1e-10)
    assert pickle.dumps(vars(model)) == before
    # Whatever the parameter says by then.
    assert_array_equal(getattr(model.set_params(dropout=0.9), output.__name__)(X), first)


@BOTH
def test_without_dropout_nothing_is_drawn(kind):
    X, y = IRIS
    streams = [np.random.RandomState(5) for _ in range(3)]
    models = [
        kind(**USUAL | {"random_state": stream, "shuffle": False}, **more).fit(X, y)
        for stream, more in zip(streams, ({}, {"dropout": 0}, {"dropout": 0.25}), strict=True)
    ]
    assert_array_equal(parameters_of(models[0]), parameters_of(models[1]))
    following = [stream.randint(2**31) for stream in streams]
    assert following[0] == following[1] != following[2]
    assert not np.array_equal(parameters_of(models[0]), parameters_of(models[2]))


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_seed_gives_the_same_network(kind, dtype, early_stopping):
    X, y = IRIS
    X = X.astype(dtype)
    arguments = USUAL | {"dropout": 0.25, "early_stopping": early_stopping}
    models = [kind(**arguments | {"random_state": seed}).fit(X, y) for seed in (0, 0, 1)]
    assert_array_equal(parameters_of(models[0]), parameters_of(models[1]))
    assert not np.array_equal(parameters_of(models[0]), parameters_of(models[2]))
    if early_stopping:
        assert models[0].validation_scores_ == models[1].validation_scores_


@BOTH
def test_validation_scores_are_those_of_all_units(kind):
    X, y = IRIS
    more = {"dropout": 0.5, "early_stopping": True, "validation_fraction": 0.5, "max_iter": 1}
    model = kind(**USUAL | more).fit(X, y)
    # The rows that were held out: the split is drawn after the parameters and the seed.
    rng = np.random.RandomState(0)
    rng.uniform(size=parameters_of(model).size)
    rng.randint(2**63 - 1, dtype=np.int64)
    _, held_out = train_test_split(np.arange(150), random_state=rng, test_size=0.5)
    assert model.score(X[held_out], y[held_out]) == pytest.approx(model.validation_scores_[0], rel=1e-12)


@BOTH
def test_partial_fit_goes_on_counting(kind):
    X, y = IRIS
    model = kind(**USUAL, dropout=0.25)
    first = {"classes": np.unique(y)} if kind is MLPClassifier else {}
    model.partial_fit(X, y, **first)
    assert model._optimizer.t == 3
    model.partial_fit(X, y)
    assert model._optimizer.t == 6
    assert np.isfinite(parameters_of(model)).all()


@BOTH
def test_lbfgs_is_refused(kind):
    X, y = IRIS
    model = kind(solver="lbfgs", random_state=0).fit(X, y)
    before = pickle.dumps(vars(model))
    with pytest.raises(ValueError, match=r"dropout=0.5 needs a solver of"):
        model.set_params(dropout=0.5).fit(X, y)
    assert pickle.dumps(vars(model.set_params(dropout=0.0))) == before


@BOTH
@pytest.mark.parametrize("dropout", [-0.1, 1.0, 1, np.nan, "0.5", None])
def test_rates_out_of_range(kind, dropout):
    with pytest.raises(ValueError, match="'dropout' parameter"):
        kind(dropout=dropout).fit(*IRIS)


def test_no_hidden_layers_and_a_rate_near_one():
    X, y = IRIS
    linear = MLPClassifier((), random_state=0, max_iter=3, dropout=0.5).fit(X, y)
    assert np.isfinite(linear.loss_)
    nearly = MLPClassifier((30,), random_state=0, max_iter=3, dropout=np.nextafter(1, 0)).fit(X, y)
    assert np.isfinite(parameters_of(nearly)).all()


def test_warm_starts_drop_other_units():
    """Each fit of a warm start begins to count its steps anew; its numbers are others all the same."""
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = MLPClassifier(
        (20,),
        dropout=0.5,
        warm_start=True,
        max_iter=1,
        random_state=0,
        solver="sgd",
        learning_rate_init=1e-300,
    )
    losses = [model.fit(X, X[:, 0] > 0).loss_ for _ in range(4)]
    assert len(set(losses)) == 4  # the weights stand still


@pytest.mark.parametrize("rate", [1.0, -0.1, np.nan, "x", None])
def test_partial_fit_checks_dropout(rate):
    X = np.random.default_rng(0).normal(size=(20, 3))
    model = MLPClassifier((4,), random_state=0).partial_fit(X, X[:, 0] > 0, classes=[False, True])
    before = model.coefs_[0].copy()
    with pytest.raises(ValueError, match="dropout"):
        model.set_params(dropout=rate).partial_fit(X, X[:, 0] > 0)
    np.testing.assert_array_equal(model.coefs_[0], before)
