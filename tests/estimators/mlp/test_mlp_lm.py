"""``solver="lm"`` of MLPRegressor: Levenberg-Marquardt."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastnn import MLPClassifier, MLPRegressor
from fastnn.networks.least_squares import LeastSquares
from fastnn.networks.solvers import levenberg_marquardt
from fastnn.tables.activations import HIDDEN

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 3))
Y = np.column_stack([np.sin(X[:, 0]) + X[:, 1], X[:, 1] * X[:, 2]])
WEIGHTS = RNG.integers(0, 3, size=80) / 2
LINE = np.linspace(-1, 1, 200).reshape(-1, 1)
CURVES = {
    "sin(pi x)": np.sin(np.pi * LINE[:, 0]),
    "sin 3x + sin 5x": np.sin(3 * LINE[:, 0]) + np.sin(5 * LINE[:, 0]),
}
LINEAR = {"hidden_layer_sizes": (), "solver": "lm", "tol": 1e-12, "random_state": 0}
SMALL = {"hidden_layer_sizes": (6,), "activation": "tanh", "solver": "lm", "max_iter": 10, "random_state": 0}


def parameters_of(model):
    return np.concatenate([array.ravel() for array in model.coefs_ + model.intercepts_])


def objective(model, X, Y, weights=None):
    weights = np.ones(len(X)) if weights is None else weights
    errors = ((model.predict(X).reshape(len(X), -1) - Y.reshape(len(X), -1)) ** 2).sum(axis=1)
    penalty = model.alpha * sum((W**2).sum() for W in model.coefs_)
    return 0.5 * (weights @ errors + penalty) / weights.sum()


# What it finds.


@pytest.mark.parametrize("alpha", [0.0, 2.5])
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
def test_a_linear_model_is_solved(weights, alpha):
    model = MLPRegressor(**LINEAR, alpha=alpha).fit(X, Y, weights)
    root = np.sqrt(np.ones(len(X)) if weights is None else weights)[:, None]
    # The penalty is one more row for every weight, and none for the bias.
    A = np.vstack([root * np.column_stack([X, np.ones(len(X))]), np.sqrt(alpha) * np.eye(3, 4)])
    solution = np.linalg.lstsq(A, np.vstack([root * Y, np.zeros((3, 2))]), rcond=None)[0]
    assert_allclose(model.coefs_[0], solution[:3], atol=1e-8)
    assert_allclose(model.intercepts_[0], solution[3], atol=1e-8)


def test_a_linear_model_takes_few_iterations():
    exact = np.linalg.lstsq(np.column_stack([X, np.ones(len(X))]), Y, rcond=None)[1].sum() / (2 * len(X))
    curve = MLPRegressor(**LINEAR, alpha=0).fit(X, Y).loss_curve_
    # The first step is damped; the damping is gone soon.
    assert_allclose(curve[3:], exact, rtol=1e-6)
    assert len(curve) <= 8


@pytest.mark.parametrize("name", CURVES)
def test_waves_are_learned_in_fewer_iterations_than_lbfgs_takes(name, capsys):
    y, iterations = CURVES[name], {"lm": [], "lbfgs": []}
    usual = {"hidden_layer_sizes": (10,), "activation": "tanh", "alpha": 0, "tol": 0}
    for seed in range(10):
        model = MLPRegressor(**usual, solver="lm", max_iter=50, random_state=seed).fit(LINE, y)
        reached = np.flatnonzero(2 * np.array(model.loss_curve_) < 3e-4)
        iterations["lm"].append(reached[0] + 1 if reached.size else np.inf)
        assert_allclose(((model.predict(LINE) - y) ** 2).mean(), 2 * model.loss_, rtol=1e-6)
        capsys.readouterr()
        MLPRegressor(**usual, solver="lbfgs", max_iter=2000, random_state=seed, verbose=True).fit(LINE, y)
        losses = [float(line.split("= ")[1]) for line in capsys.readouterr().out.splitlines()]
        reached = np.flatnonzero(2 * np.array(losses) < 3e-4)
        iterations["lbfgs"].append(reached[0] + 1 if reached.size else np.inf)
    assert np.isfinite(iterations["lm"]).sum() >= 9
    assert np.median(iterations["lm"]) <= np.median(iterations["lbfgs"]) / 4


def test_more_parameters_than_samples():
    model = MLPRegressor(**SMALL | {"hidden_layer_sizes": (30, 20), "max_iter": 60}, alpha=0, tol=0).fit(
        X[:9], Y[:9]
    )
    assert_allclose(model.predict(X[:9]), Y[:9], atol=1e-4)


def test_rows_of_no_weight_do_not_count():
    spoilt = np.where(WEIGHTS[:, None] > 0, Y, 1e6)
    model = MLPRegressor(**SMALL).fit(X, spoilt, WEIGHTS)
    assert_array_equal(parameters_of(model), parameters_of(MLPRegressor(**SMALL).fit(X, Y, WEIGHTS)))


# The course of a fit.


@pytest.mark.parametrize("activation", HIDDEN)
@pytest.mark.parametrize("weights", [None, WEIGHTS], ids=["equal", "weighted"])
@pytest.mark.filterwarnings("ignore:.*are saturated")
def test_the_curve_is_the_objective_and_falls(activation, weights):
    model = MLPRegressor(**SMALL | {"activation": activation, "hidden_layer_sizes": (5, 4)}, alpha=0.3)
    model.fit(X, Y, weights)
    assert model.n_iter_ == len(model.loss_curve_) > 0
    assert (np.diff(model.loss_curve_) < 0).all()
    assert model.loss_ == model.loss_curve_[-1] == model.best_loss_
    assert_allclose(model.loss_, objective(model, X, Y, weights), rtol=1e-9)


def test_it_ends_where_the_gradient_is_small():
    model = MLPRegressor(**SMALL | {"max_iter": 500}, alpha=0.1, tol=1e-5).fit(X, Y)
    assert model.n_iter_ < 500
    parameters = [array for pair in zip(model.coefs_, model.intercepts_, strict=True) for array in pair]
    for array in parameters:
        for place in np.ndindex(array.shape):
            value, h, ends = array[place], 1e-5, []
            for array[place] in (value - h, value + h):
                ends.append(objective(model, X, Y))
            array[place] = value
            assert abs(ends[1] - ends[0]) / (2 * h) < 1.1e-5


def test_it_ends_where_no_damping_helps(recwarn):
    """At a minimum to the last bit, the damping rises to its bound, and no iteration is counted for that."""
    model = MLPRegressor(**LINEAR | {"tol": 0}, alpha=0.1, warm_start=True).fit(X, Y)
    assert model.n_iter_ < model.max_iter
    before = parameters_of(model)
    assert model.fit(X, Y).n_iter_ <= 2
    assert_allclose(parameters_of(model), before, rtol=1e-9)
    assert not [warning for warning in recwarn if issubclass(warning.category, ConvergenceWarning)]


@pytest.mark.filterwarnings("default::sklearn.exceptions.ConvergenceWarning")
def test_the_number_of_iterations_ends_it():
    with pytest.warns(ConvergenceWarning, match=r"Levenberg-Marquardt: Maximum iterations \(3\) reached"):
        model = MLPRegressor(**SMALL | {"max_iter": 3}).fit(X, Y)
    assert model.n_iter_ == len(model.loss_curve_) == 3


def test_warm_start_goes_on():
    model = MLPRegressor(**SMALL | {"max_iter": 4}, warm_start=True).fit(X, Y)
    first = model.loss_
    model.fit(X, Y)
    assert model.loss_ < first
    assert len(model.loss_curve_) == 8
    assert (np.diff(model.loss_curve_) < 0).all()
    adam = MLPRegressor(**SMALL | {"solver": "adam"}, warm_start=True).fit(X, Y)
    before = objective(adam, X, Y)
    assert adam.set_params(solver="lm").fit(X, Y).loss_ < before


@pytest.mark.parametrize("at", [0, 2])
def test_an_interruption_keeps_what_was_done(monkeypatch, at):
    plain, calls = LeastSquares.normal_equations, []

    def interrupted(self):
        calls.append(0)
        if len(calls) > at:
            raise KeyboardInterrupt
        return plain(self)

    monkeypatch.setattr(LeastSquares, "normal_equations", interrupted)
    with pytest.warns(UserWarning, match=r"Training interrupted by user\."):
        model = MLPRegressor(**SMALL).fit(X, Y)
    assert model.n_iter_ == at
    assert_allclose(model.loss_, objective(model, X, Y), rtol=1e-9)


def test_it_tells_its_iterations(capsys):
    model = MLPRegressor(**SMALL, verbose=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    assert lines == [f"Iteration {i + 1}, loss = {loss:.8f}" for i, loss in enumerate(model.loss_curve_)]


def test_a_trial_that_has_no_factor_or_no_loss_is_rejected(monkeypatch):
    plain, seen = levenberg_marquardt.dpotrf, []

    def spoilt(matrix, **options):
        seen.append(0)
        factor, failed = plain(matrix, **options)
        if len(seen) % 3 == 1:
            return factor, 1
        return factor * np.nan if len(seen) % 3 == 2 else factor, failed

    monkeypatch.setattr(levenberg_marquardt, "dpotrf", spoilt)
    model = MLPRegressor(**SMALL).fit(X, Y)
    assert len(seen) >= 30
    assert model.n_iter_ == 10
    assert (np.diff(model.loss_curve_) < 0).all()


# Kinds of data.


def test_float32_is_trained_in_float64():
    single = MLPRegressor(**SMALL).fit(X.astype(np.float32), Y.astype(np.float32))
    double = MLPRegressor(**SMALL).fit(X, Y)
    assert {array.dtype for array in single.coefs_ + single.intercepts_} == {np.dtype(np.float32)}
    assert single.predict(X.astype(np.float32)).dtype == np.float32
    assert_allclose(single.loss_, double.loss_, rtol=1e-4)


@pytest.mark.parametrize("form", [sparse.csr_matrix, sparse.coo_matrix])
def test_sparse_rows(form):
    rare = np.where(RNG.random((80, 3)) < 0.5, X, 0)
    dense = MLPRegressor(**SMALL).fit(rare, Y)
    assert_array_equal(parameters_of(MLPRegressor(**SMALL).fit(form(rare), Y)), parameters_of(dense))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_number_of_threads_changes_no_bit(dtype):
    wide = np.random.default_rng(1).normal(size=(2000, 8)).astype(dtype)
    Y = np.column_stack([np.sin(wide[:, 0]), wide[:, 1] * wide[:, 2]])
    found = [
        parameters_of(MLPRegressor(**SMALL | {"hidden_layer_sizes": (20, 5)}, n_threads=n).fit(wide, Y))
        for n in (1, 2, None)
    ]
    assert_array_equal(found[1], found[0])
    assert_array_equal(found[2], found[0])


# What is refused.


def test_a_classifier_refuses_it():
    with pytest.raises(ValueError, match="minimises the squared errors of an MLPRegressor"):
        MLPClassifier(solver="lm").fit(X, X[:, 0] > 0)


def test_another_loss_is_refused():
    with pytest.raises(ValueError, match="solver='lm' needs loss='squared_error', got loss='poisson'"):
        MLPRegressor("poisson", solver="lm").fit(X, np.abs(Y))


def test_dropout_and_partial_fit_are_refused():
    with pytest.raises(ValueError, match=r"dropout=0\.5 needs a solver of .*solver='lm'"):
        MLPRegressor(solver="lm", dropout=0.5).fit(X, Y)
    with pytest.raises(AttributeError, match="partial_fit"):
        MLPRegressor(solver="lm").partial_fit(X, Y)


def test_large_networks_are_refused_with_what_they_would_take():
    model = MLPRegressor(hidden_layer_sizes=(1500,), solver="lm")
    # 4 x 1500 and 1501 x 2 parameters.
    with pytest.raises(ValueError, match=r"9002 parameters would take 1\.2 GiB, more than 1\.0 GiB"):
        model.fit(X, Y)
    assert not hasattr(model, "coefs_")


def test_losses_that_are_not_finite_are_an_error():
    model = MLPRegressor(**SMALL)
    with pytest.raises(ValueError, match="Solver produced non-finite losses"):
        model.fit(X, Y * 1e200)
    fitted = MLPRegressor(**SMALL).fit(X, Y)
    before = parameters_of(fitted)
    with pytest.raises(ValueError, match="non-finite losses"):
        fitted.fit(X, Y * 1e200)
    assert_array_equal(parameters_of(fitted), before)


def test_it_is_cloned_and_repeats_itself():
    model = MLPRegressor(**SMALL).fit(X, Y)
    assert_array_equal(parameters_of(clone(model).fit(X, Y)), parameters_of(model))
