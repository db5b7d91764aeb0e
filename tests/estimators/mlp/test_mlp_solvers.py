"""Solvers beyond scikit-learn's, and what all those by mini-batches can be told, through the estimators."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.linear_model import Lasso
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import Autoencoder, MLPClassifier, MLPRegressor
from fastnn.networks.solvers import SOLVERS, STOCHASTIC_SOLVERS

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer:sklearn.exceptions.ConvergenceWarning")

NEW = ["adamw", "amsgrad", "nadam", "rmsprop", "lion"]
# A value that is no default, and the solvers that read it.
OPTIONS = {
    "weight_decay": (0.1, ("adamw", "lion")),
    "rho": (0.9, ("rmsprop",)),
    "momentum_decay": (0.1, ("nadam",)),
    "max_grad_norm": (1.0, STOCHASTIC_SOLVERS),
    "l1_alpha": (0.5, STOCHASTIC_SOLVERS),
    "average": (True, STOCHASTIC_SOLVERS),
}


@pytest.fixture(scope="module")
def digits():
    from sklearn.datasets import load_digits

    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, y[:600]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("solver", NEW)
def test_it_learns(digits, solver, dtype):
    X, y = digits[0].astype(dtype), digits[1]
    model = MLPClassifier((30,), solver=solver, max_iter=60, random_state=0, learning_rate_init=3e-3).fit(
        X, y
    )
    assert model.score(X, y) > 0.97
    assert model.coefs_[0].dtype == dtype
    other = pickle.loads(pickle.dumps(model)).partial_fit(X, y)
    model.partial_fit(X, y)
    assert_array_equal(other.coefs_[0], model.coefs_[0])
    on_sparse = clone(model).fit(sparse.csr_matrix(X), y)
    assert on_sparse.score(X, y) > 0.97


@pytest.mark.parametrize("solver", STOCHASTIC_SOLVERS)
def test_an_epoch_with_every_option_is_the_same_on_any_number_of_threads(digits, solver):
    X, y = digits
    options = {"max_grad_norm": 0.5, "l1_alpha": 0.01, "average": 0.9, "dropout": 0.25}
    options |= {name: value for name, (value, read_by) in OPTIONS.items() if read_by == (solver,)}
    models = [
        MLPClassifier(
            (300,), solver=solver, batch_size=300, max_iter=2, random_state=0, n_threads=n, **options
        ).fit(X, y)
        for n in (1, 2)
    ]
    assert_array_equal(models[0].coefs_[0], models[1].coefs_[0])
    assert models[0].loss_curve_ == models[1].loss_curve_


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("name", OPTIONS)
def test_what_no_solver_reads_is_refused(digits, solver, name):
    X, y = digits
    value, read_by = OPTIONS[name]
    model = MLPRegressor(hidden_layer_sizes=(3,), solver=solver, max_iter=1, random_state=0, **{name: value})
    if solver in read_by:
        model.fit(X, y)
    else:
        with pytest.raises(ValueError, match=rf"{name}={value} needs a solver.*solver='{solver}' has no use"):
            model.fit(X, y)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("weight_decay", -1.0),
        ("rho", 1.0),
        ("momentum_decay", -0.1),
        ("max_grad_norm", 0.0),
        ("l1_alpha", -1e-3),
        ("average", 1.0),
        ("average", 0.0),
        ("average", "polyak"),
    ],
)
def test_invalid_parameters(digits, name, value):
    X, y = digits
    model = MLPClassifier((5,), max_iter=1)
    with pytest.raises(InvalidParameterError, match=f"'{name}'"):
        clone(model).set_params(**{name: value}).fit(X, y)
    model.fit(X, y)
    before = model.coefs_[0].copy()
    with pytest.raises(InvalidParameterError, match=f"'{name}'"):
        model.set_params(**{name: value}).partial_fit(X, y)
    assert_array_equal(model.coefs_[0], before)


def test_decay_is_of_weights_and_not_in_the_loss(digits):
    X, y = digits
    options = {"solver": "adamw", "max_iter": 1, "random_state": 0, "alpha": 0.0, "batch_size": 600}
    plain, decayed = (
        MLPClassifier((5,), weight_decay=decay, learning_rate_init=0.1, **options).fit(X, y)
        for decay in (0.0, 0.5)
    )
    start = MLPClassifier((5,), **options).initialize(X, y)
    assert plain.loss_ == decayed.loss_
    # One step: the decay is 0.05 of what the weights were.
    for first, one, other in zip(start.coefs_, plain.coefs_, decayed.coefs_, strict=True):
        assert_allclose(other, one - 0.05 * first, atol=1e-14)
    for one, other in zip(plain.intercepts_, decayed.intercepts_, strict=True):
        assert_array_equal(one, other)


def test_the_l1_penalty_is_in_loss_and_gradients(digits):
    X, y = digits[0][:50], digits[1][:50]
    options = {"activation": "tanh", "random_state": 0, "alpha": 0.1, "batch_size": 50, "max_iter": 1}
    model = MLPClassifier((5,), l1_alpha=2.0, **options).fit(X, y)
    assert model.gradient_check(X, y) < 1e-5
    start = MLPClassifier((5,), l1_alpha=2.0, **options).initialize(X, y)
    loss = start.loss_and_gradients(X, y)[0]
    assert model.loss_ == pytest.approx(loss, rel=1e-12)
    without = start.set_params(l1_alpha=0.0).loss_and_gradients(X, y)[0]
    penalty = 2.0 * sum(np.abs(W).sum() for W in start.coefs_) / 50
    assert loss - without == pytest.approx(penalty, rel=1e-12)


def test_without_hidden_layers_the_l1_penalty_makes_lasso():
    X = np.random.default_rng(0).normal(size=(500, 20))
    y = 3 * X[:, 0] - 2 * X[:, 1]
    W = (
        MLPRegressor(
            hidden_layer_sizes=(),
            solver="sgd",
            l1_alpha=50.0,
            alpha=0.0,
            learning_rate_init=0.01,
            batch_size=500,
            max_iter=500,
            n_iter_no_change=np.inf,
            random_state=0,
        )
        .fit(X, y)
        .coefs_[0][:, 0]
    )
    # The penalty is divided by the 500 rows.
    assert_allclose(W, Lasso(alpha=0.1).fit(X, y).coef_, atol=0.01)


def test_clipping_bounds_every_step(digits):
    X, y = digits
    options = {
        "solver": "sgd",
        "momentum": 0.0,
        "nesterovs_momentum": False,
        "random_state": 0,
        "max_iter": 1,
    }
    start = MLPClassifier((5,), **options).initialize(X, y)
    model = MLPClassifier((5,), max_grad_norm=1e-3, learning_rate_init=1.0, batch_size=600, **options).fit(
        X, y
    )
    moved = [
        a - b
        for a, b in zip([*model.coefs_, *model.intercepts_], [*start.coefs_, *start.intercepts_], strict=True)
    ]
    assert np.sqrt(sum((step**2).sum() for step in moved)) == pytest.approx(1e-3, rel=1e-9)


@pytest.mark.parametrize("average", [True, 0.75])
def test_the_fitted_network_is_the_average_of_all_steps(digits, average):
    X, y = digits
    # A step an epoch, so that fits of 1, 2, ... epochs leave the parameters of every step.
    options = {"random_state": 0, "batch_size": 600, "learning_rate_init": 0.05, "shuffle": False}
    steps = [MLPClassifier((5,), max_iter=t, **options).fit(X, y).coefs_[0] for t in range(1, 6)]
    want = steps[0]
    for t, W in enumerate(steps[1:], start=2):
        share = 1 / t if average is True else 1 - average
        want = (1 - share) * want + share * W
    model = MLPClassifier((5,), max_iter=5, average=average, **options).fit(X, y)
    assert_allclose(model.coefs_[0], want, atol=1e-13)
    # partial_fit goes on with training and average.
    parts = MLPClassifier((5,), max_iter=2, average=average, **options).fit(X, y)
    for _ in range(3):
        parts = pickle.loads(pickle.dumps(parts)).partial_fit(X, y)
    assert_array_equal(parts.coefs_[0], model.coefs_[0])
    assert parts.loss_curve_ == model.loss_curve_
    # warm_start begins where the average is.
    model.set_params(warm_start=True, max_iter=1).fit(X, y)
    again = MLPClassifier((5,), max_iter=5, average=average, **options).fit(X, y)
    again = again.set_params(average=False, warm_start=True, max_iter=1).fit(X, y)
    assert_array_equal(model.coefs_[0], again.coefs_[0])


def test_weights_that_were_replaced_are_gone_on_from(digits):
    X, y = digits
    models = []
    for average in (True, False):
        model = MLPClassifier((5,), max_iter=1, average=average, random_state=0, solver="sgd", momentum=0)
        model.fit(X, y)
        model.coefs_ = [np.full_like(W, 0.01) for W in model.coefs_]
        model.intercepts_ = [np.zeros_like(b) for b in model.intercepts_]
        models.append(model.partial_fit(X, y))
    assert models[0].loss_ == models[1].loss_


def test_early_stopping_scores_the_average(digits):
    X, y = digits
    options = {
        "max_iter": 15, "early_stopping": True, "random_state": 0, "learning_rate_init": 0.2,
        "n_iter_no_change": 20, "batch_size": 20, "validation_fraction": 0.3,
    }  # fmt: skip
    model = MLPClassifier((20,), average=0.99, **options).fit(X, y)
    plain = MLPClassifier((20,), **options).fit(X, y)
    assert model.loss_curve_ == plain.loss_curve_
    assert model.validation_scores_ != plain.validation_scores_
    assert model.best_validation_score_ > plain.best_validation_score_
    assert not np.array_equal(model.coefs_[0], plain.coefs_[0])


def test_a_divergence_keeps_the_average_of_what_was_finite():
    X = np.random.default_rng(0).normal(size=(100, 3))
    model = MLPRegressor(
        hidden_layer_sizes=(3,),
        solver="sgd",
        learning_rate_init=1e3,
        average=True,
        max_iter=50,
        random_state=0,
    )
    with pytest.raises(ValueError, match="Solver produced non-finite"):
        model.fit(X, X[:, 0])
    assert all(np.isfinite(W).all() for W in model.coefs_)


def test_an_autoencoder_with_tied_weights():
    X = np.random.default_rng(0).normal(size=(200, 6)) @ np.random.default_rng(1).normal(size=(6, 6))
    options = {"tied_weights": True, "max_iter": 30, "random_state": 0, "learning_rate_init": 0.01}
    model = Autoencoder(
        (3,), "identity", solver="adamw", average=0.9, max_grad_norm=5.0, l1_alpha=0.01, **options
    ).fit(X)
    assert_array_equal(model.coefs_[0], model.coefs_[1].T)
    assert model.reconstruction_error(X) < 0.7 * (X**2).mean()
