"""Schedules of the learning rate, in the estimators."""

import math
import pickle

import numpy as np
import pytest
import sklearn.neural_network as peer
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import Autoencoder, MLPClassifier, MLPRegressor
from fastnn.networks.schedules import SCHEDULES
from fastnn.networks.solvers import STOCHASTIC_SOLVERS
from tests.networks.test_schedules import ENDING, FORMULAS
from tests.reference import ReferenceNetwork

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

NEW = ["exponential", *ENDING]
N = 50
X = np.random.default_rng(0).normal(size=(N, 4))
Y = np.column_stack([X[:, 0] - 2 * X[:, 1], np.sin(X[:, 2])])
SMALL = {
    "hidden_layer_sizes": (5,),
    "activation": "tanh",
    "batch_size": 8,
    "random_state": 0,
    "shuffle": False,
}


def rate_of(name, init, number, n_updates, max_iter, decay=0.95, warmup=0.0):
    """The rate of an update of all those of a fit, counted from 0."""
    if name in FORMULAS:
        rate = FORMULAS[name](init, number, n_updates * max_iter)
    else:
        rate = init * (decay ** (number // n_updates) if name == "exponential" else 1)
    return rate * min(1, (number + 1) / (warmup * n_updates)) if warmup else rate


def trained_by_hand(model, rate_of_update, *, momentum=0.0, accumulate=1):
    """W and b after gradient descent, one loop over all updates, from the first weights of an estimator."""
    twin = ReferenceNetwork([4, 5, 2], hidden_activation="tanh", loss="squared_error", dtype=np.float64)
    twin.load(model.coefs_, model.intercepts_)
    velocity, number = np.zeros_like(twin.parameters), 0
    for _ in range(model.max_iter):
        for first in range(0, N, 8 * accumulate):
            rows = slice(first, first + 8 * accumulate)
            _, gradient = twin.loss_and_gradient(X[rows], Y[rows], alpha=model.alpha)
            velocity = momentum * velocity - rate_of_update(number) * gradient
            twin.parameters += velocity
            number += 1
    return twin.intercepts_and_coefs()


@pytest.mark.parametrize("warmup", [0, 1, 1.3])
@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("name", ["constant", *NEW])
def test_gradient_descent_with_these_rates(name, accumulate, warmup):
    options = {"learning_rate": name, "learning_rate_init": 0.3, "warmup_epochs": warmup, "max_iter": 4}
    if name == "exponential":
        options["learning_rate_decay"] = 0.6
    model = MLPRegressor(
        **SMALL, **options, solver="sgd", momentum=0.5, nesterovs_momentum=False, alpha=0.01,
        accumulate_batches=accumulate,
    )  # fmt: skip
    n_updates = math.ceil(N / (8 * accumulate))
    first = clone(model).initialize(X, Y)

    def rate(number):
        return rate_of(name, 0.3, number, n_updates, 4, 0.6, warmup)

    want = trained_by_hand(first, rate, momentum=0.5, accumulate=accumulate)
    model.fit(X, Y)
    for found, wanted in zip([*model.coefs_, *model.intercepts_], want[::2] + want[1::2], strict=True):
        assert_allclose(found, wanted, rtol=1e-9, atol=1e-11)
    assert_allclose(model.learning_rate_curve_, [rate(epoch * n_updates) for epoch in range(4)], atol=1e-15)
    assert all(type(rate) is float for rate in model.learning_rate_curve_)


@pytest.mark.parametrize("solver", STOCHASTIC_SOLVERS)
@pytest.mark.parametrize("name", NEW)
def test_every_stochastic_solver_follows(solver, name):
    options = {"solver": solver, "learning_rate_init": 0.01, "max_iter": 5}
    model = MLPRegressor(**SMALL, **options, learning_rate=name).fit(X, Y)
    want = [rate_of(name, 0.01, epoch * 7, 7, 5) for epoch in range(5)]
    assert_allclose(model.learning_rate_curve_, want, atol=1e-15)
    still = MLPRegressor(**SMALL, **options).fit(X, Y)
    assert still.learning_rate_curve_ == [0.01] * 5
    assert (still.coefs_[0] != model.coefs_[0]).any()


@pytest.mark.parametrize("solver", STOCHASTIC_SOLVERS)
@pytest.mark.parametrize("name", ["invscaling", "adaptive"])
def test_schedules_of_scikit_learn_are_for_sgd(solver, name):
    options = {"solver": solver, "learning_rate_init": 0.05, "max_iter": 8, "tol": 1.0, "n_iter_no_change": 2}
    model = MLPRegressor(**SMALL, **options, learning_rate=name).fit(X, Y)
    constant = MLPRegressor(**SMALL, **options).fit(X, Y)
    if solver != "sgd":
        assert model.loss_curve_ == constant.loss_curve_
        assert model.learning_rate_curve_ == constant.learning_rate_curve_ == [0.05] * model.n_iter_
        assert_array_equal(model.coefs_[0], constant.coefs_[0])
        return
    assert len(set(model.learning_rate_curve_)) > 1
    theirs = peer.MLPRegressor(**SMALL, **options, learning_rate=name)
    rates = []
    step = theirs._compute_loss_grad  # called in every batch

    def note(*arguments):
        rates.append(theirs._optimizer.learning_rate if hasattr(theirs, "_optimizer") else 0.05)
        return step(*arguments)

    theirs._compute_loss_grad = note
    theirs.fit(X, Y)
    assert_allclose(model.learning_rate_curve_, rates[:: 2 * 7], rtol=1e-12)
    assert_allclose(model.loss_curve_, theirs.loss_curve_, rtol=1e-9)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("name", NEW)
def test_threads_change_no_bit(kind, name, any_size_uses_threads):
    digits, digit = load_digits(return_X_y=True)
    options = {"hidden_layer_sizes": (40,), "learning_rate": name, "warmup_epochs": 1, "max_iter": 4}
    models = [kind(**options, random_state=0, n_threads=n).fit(digits, digit) for n in (1, 2)]
    assert models[0].loss_curve_ == models[1].loss_curve_
    for one, two in zip(models[0].coefs_, models[1].coefs_, strict=True):
        assert_array_equal(one, two)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("name", ENDING)
def test_the_end_stays_where_training_stops_earlier(name, early_stopping):
    options = {"learning_rate": name, "early_stopping": early_stopping, "tol": 1e3, "n_iter_no_change": 2}
    model = MLPRegressor(**SMALL, **options, max_iter=50).fit(X, Y)
    assert model.n_iter_ < 10
    n_updates = math.ceil((N - 5 * early_stopping) / 8)
    want = [rate_of(name, 0.001, epoch * n_updates, n_updates, 50) for epoch in range(model.n_iter_)]
    assert_allclose(model.learning_rate_curve_, want, atol=1e-18)


@pytest.mark.parametrize("name", NEW)
def test_a_warm_start_begins_the_schedule_anew(name):
    model = MLPRegressor(**SMALL, learning_rate=name, warmup_epochs=1, max_iter=3, warm_start=True)
    once = model.fit(X, Y).learning_rate_curve_
    assert model.fit(X, Y).learning_rate_curve_ == once + once
    assert len(model.loss_curve_) == 6


@pytest.mark.parametrize("name", ["constant", "exponential"])
def test_partial_fit_goes_on(name):
    """A call is an epoch, whatever its rows."""
    model = MLPRegressor(**SMALL, solver="sgd", learning_rate=name, learning_rate_init=0.1, warmup_epochs=2.5)
    for rows in (slice(N), slice(24), slice(N), slice(24)):
        model = pickle.loads(pickle.dumps(model)).partial_fit(X[rows], Y[rows])
    decay = np.array([1, 0.95, 0.95**2, 0.95**3]) if name == "exponential" else np.ones(4)
    first = np.array([1 / 7, 1 + 1 / 3, 2 + 1 / 7, 2.5]) / 2.5
    assert_allclose(model.learning_rate_curve_, 0.1 * decay * first, rtol=1e-12)
    whole = clone(model).set_params(max_iter=3).fit(X, Y)
    steps = clone(model)
    for _ in range(3):
        steps.partial_fit(X, Y)
    assert steps.learning_rate_curve_ == whole.learning_rate_curve_
    assert_array_equal(steps.coefs_[0], whole.coefs_[0])


@pytest.mark.parametrize("name", ENDING)
def test_partial_fit_refuses_what_needs_an_end(name):
    message = f"partial_fit does not support learning_rate='{name}'"
    new = MLPRegressor(**SMALL, learning_rate=name)
    with pytest.raises(ValueError, match=message):
        new.partial_fit(X, Y)
    assert not hasattr(new, "coefs_")
    model = MLPRegressor(**SMALL, max_iter=2).fit(X, Y)
    before = model.coefs_[0].copy()
    with pytest.raises(ValueError, match=message):
        model.set_params(learning_rate=name).partial_fit(X, Y)
    assert_array_equal(model.coefs_[0], before)
    assert model.learning_rate_curve_ == [0.001] * 2


@pytest.mark.parametrize("solver", ["lbfgs", "lm"])
@pytest.mark.parametrize(
    ("parameters", "said"),
    [
        *[({"learning_rate": name}, f"learning_rate='{name}' needs a solver") for name in NEW],
        ({"warmup_epochs": 2}, "warmup_epochs=2 needs a solver"),
    ],
)
def test_solvers_without_a_rate_have_no_use_for_it(solver, parameters, said):
    with pytest.raises(ValueError, match=said):
        MLPRegressor(hidden_layer_sizes=(5,), solver=solver, **parameters).fit(X, Y)


@pytest.mark.parametrize("name", [name for name in SCHEDULES if name != "exponential"])
def test_a_decay_is_for_one_schedule(name):
    with pytest.raises(ValueError, match=r"learning_rate_decay=0.5 needs learning_rate='exponential'"):
        MLPRegressor(**SMALL, learning_rate=name, learning_rate_decay=0.5).fit(X, Y)


@pytest.mark.parametrize("solver", ["adam", "lion", "lbfgs"])
def test_scikit_learns_schedules_are_ignored_by_other_solvers_as_there(solver):
    plain = MLPRegressor(**SMALL | {"solver": solver}, max_iter=2).fit(X, Y)
    for name in ("invscaling", "adaptive"):
        model = clone(plain).set_params(learning_rate=name).fit(X, Y)
        for one, other in zip(model.coefs_, plain.coefs_, strict=True):
            assert_array_equal(one, other)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("learning_rate_decay", value) for value in (0, -1, 1.5, np.nan, "0.5", None)],
        *[("warmup_epochs", value) for value in (-1, np.inf, np.nan, "1", None)],
        *[("learning_rate", value) for value in ("cos", None, 0.1, ["cosine"])],
    ],
)
def test_invalid_parameters(name, value):
    model = MLPRegressor(**SMALL, max_iter=1).fit(X, Y)
    before = model.coefs_[0].copy()
    model.set_params(**{name: value})
    for method in (model.fit, model.partial_fit):
        with pytest.raises(InvalidParameterError, match=f"'{name}'"):
            method(X, Y)
    assert_array_equal(model.coefs_[0], before)


def test_other_solvers_have_no_rates_to_tell():
    assert not hasattr(MLPRegressor(**SMALL, solver="lbfgs", max_iter=3).fit(X, Y), "learning_rate_curve_")
    model = MLPRegressor(**SMALL, solver="lm", max_iter=3).fit(X, Y)
    assert len(model.learning_rate_curve_) == model.n_iter_
    assert np.isnan(model.learning_rate_curve_).all()


def test_a_model_of_an_older_version_goes_on():
    """It does not say by which rates it was trained, nor how many epochs its optimiser has done."""
    model = MLPRegressor(**SMALL).partial_fit(X, Y).partial_fit(X, Y)
    del model.learning_rate_curve_
    del model._optimizer.epochs
    model.partial_fit(X, Y)
    assert_array_equal(model.learning_rate_curve_, [np.nan, np.nan, 0.001])


def test_epochs_that_are_taken_back_have_no_rate():
    wild = MLPRegressor(
        **SMALL | {"activation": "identity"}, solver="sgd", learning_rate_init=1e30, max_iter=30
    )
    with pytest.raises(ValueError, match="non-finite"):
        wild.fit(X, Y)
    assert len(wild.learning_rate_curve_) == len(wild.loss_curve_) == wild.n_iter_


@pytest.mark.parametrize("options", [{"tied_weights": True}, {"noise": 0.1}, {"pretrain": "layerwise"}])
def test_autoencoders_follow(options):
    model = Autoencoder(
        (3, 2),
        learning_rate="cosine",
        warmup_epochs=1,
        max_iter=4,
        batch_size=10,
        random_state=0,
        **options,
    )
    model.fit(X)
    assert_allclose(
        model.learning_rate_curve_,
        [rate_of("cosine", 0.001, epoch * 5, 5, 4, warmup=1) for epoch in range(4)],
        rtol=1e-12,
    )
