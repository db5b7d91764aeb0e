"""Callbacks, lines, and Ctrl-C of the networks; scikit-learn's own callbacks are in ``test_callbacks``."""

import re
import warnings

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris

from fastnn import Autoencoder, MLPClassifier, MLPRegressor
from fastnn.kernels.network import device
from fastnn.kernels.shared import pacing
from fastnn.networks import host_network

X, Y = load_iris(return_X_y=True)
SMALL = {"hidden_layer_sizes": (5,), "activation": "tanh", "random_state": 0, "max_iter": 4}
SOLVERS = ["adam", "sgd", "lbfgs", "lm"]
STOCHASTIC = ("adam", "sgd")


class Noted:
    """Notes its calls; gives `value` after the epoch `at`, or raises it."""

    def __init__(self, at=None, value=True):
        self.at, self.value, self.calls = at, value, []

    def __call__(self, epoch, logs):
        self.calls.append((epoch, logs))
        if epoch != self.at:
            return None
        if isinstance(self.value, BaseException):
            raise self.value
        return self.value


def regressor(**options):
    return MLPRegressor(**SMALL | options)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", SOLVERS)
def test_a_callback_is_called_after_each_epoch_and_changes_nothing(solver):
    noted = Noted()
    model, plain = regressor(solver=solver, callback=noted).fit(X, X), regressor(solver=solver).fit(X, X)
    assert [epoch for epoch, _ in noted.calls] == list(range(model.n_iter_))
    losses = [logs["loss"] for _, logs in noted.calls]
    assert losses[-1] == model.loss_ == plain.loss_
    if solver != "lbfgs":
        assert losses == model.loss_curve_
    keys = {"loss", "learning_rate"} if solver in STOCHASTIC else {"loss"}
    assert all(logs.keys() == keys for _, logs in noted.calls)
    for a, b in zip(model.coefs_, plain.coefs_, strict=True):
        assert_array_equal(a, b)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_logs_hold_validation_and_the_rate_of_the_epoch():
    noted = Noted()
    model = MLPClassifier(
        **SMALL, solver="sgd", learning_rate="invscaling", callback=noted, early_stopping=True
    ).fit(X, Y)
    logs = [logs for _, logs in noted.calls]
    assert [one["validation_score"] for one in logs] == model.validation_scores_
    assert [one["validation_loss"] for one in logs] == model.validation_loss_curve_
    rates = [0.001, *(0.001 / np.sqrt(135 * epoch + 1) for epoch in range(1, 4))]
    np.testing.assert_allclose([one["learning_rate"] for one in logs], rates)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("value", [True, 1, "enough", np.True_], ids=str)
def test_any_true_value_ends_training_without_a_warning(solver, value):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = regressor(solver=solver, callback=Noted(1, value)).fit(X, X)
    assert model.n_iter_ == 2
    with pytest.warns(Warning, match="2"):
        short = regressor(solver=solver, max_iter=2).fit(X, X)
    for a, b in zip(model.coefs_, short.coefs_, strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize("value", [False, 0, "", None], ids=str)
def test_no_other_value_ends_training(value):
    with pytest.warns(Warning, match="Maximum iterations"):
        assert regressor(callback=Noted(1, value)).fit(X, X).n_iter_ == 4


def test_the_last_epoch_may_be_ended_too():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert regressor(callback=Noted(3)).fit(X, X).n_iter_ == 4


def test_early_stopping_keeps_the_best_where_a_callback_ends_it():
    model = MLPClassifier(**SMALL | {"max_iter": 50}, early_stopping=True, learning_rate_init=0.5)
    model.set_params(callback=Noted(6)).fit(X, Y)
    assert model.n_iter_ == 7
    assert model.validation_scores_[model.best_epoch_] == max(model.validation_scores_)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("error", [RuntimeError("no more"), StopIteration("no more")], ids=repr)
def test_what_it_raises_leaves_the_estimator_as_before(solver, error):
    fresh = regressor(solver=solver, callback=Noted(1, error))
    before = dict(vars(fresh))
    with pytest.raises(type(error), match="no more"):
        fresh.fit(X, X)
    assert vars(fresh) == before
    model = regressor(solver=solver).fit(X, X)
    before = dict(vars(model.set_params(callback=Noted(1, error))))
    with pytest.raises(type(error), match="no more"):
        model.fit(X, X)
    assert vars(model) == before


def test_partial_fit_calls_back_and_goes_on_whatever_it_says():
    noted = Noted(0)
    model, plain = regressor(solver="sgd", learning_rate="invscaling"), regressor(solver="sgd")
    plain.set_params(learning_rate="invscaling")
    model.set_params(callback=noted)
    for _ in range(3):
        model.partial_fit(X, X)
        plain.partial_fit(X, X)
    assert [epoch for epoch, _ in noted.calls] == [0, 0, 0]
    assert [logs["loss"] for _, logs in noted.calls] == plain.loss_curve_
    assert_array_equal(model.coefs_[0], plain.coefs_[0])


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_autoencoder_calls_back_for_all_layers_together():
    noted = Noted()
    model = Autoencoder((3, 2), max_iter=3, random_state=0, pretrain="layerwise", callback=noted).fit(X)
    assert [logs["loss"] for _, logs in noted.calls] == model.loss_curve_


def test_what_is_no_function_is_refused():
    with pytest.raises(ValueError, match="callback"):
        regressor(callback=3).fit(X, X)
    with pytest.raises(ValueError, match="callback"):
        regressor().partial_fit(X, X).set_params(callback=3).partial_fit(X, X)


# Lines.


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("verbose", [True, 1, 2, 3])
def test_each_epoch_has_a_line(solver, verbose, capsys):
    model = regressor(solver=solver, verbose=verbose).fit(X, X)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == model.n_iter_ == 4
    for number, line in enumerate(lines, start=1):
        if verbose == 1:
            assert re.fullmatch(rf"Iteration {number}, loss = \d+\.\d{{8}}", line)
        else:
            rate = r", learning rate 0\.001, [\d,]+ rows/s" if solver in STOCHASTIC else ""
            assert re.fullmatch(rf"Iteration {number}/4: loss [\d.]+{rate}, at most [\d:]+( s)? left", line)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_lines_hold_validation(capsys):
    model = MLPClassifier(**SMALL, verbose=2, early_stopping=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    for line, loss, score in zip(lines, model.validation_loss_curve_, model.validation_scores_, strict=True):
        assert f", validation loss {loss:.6g}, validation score {score:.6g}, learning rate" in line


def test_a_stall_is_told_beside_the_lines(capsys):
    regressor(verbose=2, tol=1e9, n_iter_no_change=1, max_iter=50).fit(X, X)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-2].startswith("Iteration 3/50: ")
    assert lines[-1].startswith("Training loss did not improve more than tol=1000000000.000000 for 1 ")


# Ctrl-C, which Python answers between two compiled calls.


class Clock:
    """Time that goes by when a call computes."""

    def __init__(self, seconds_of_a_batch):
        self.now, self.seconds = 0.0, seconds_of_a_batch

    def perf_counter(self):
        return self.now


@pytest.mark.parametrize(("seconds", "most"), [(1e-3, 200), (0.03, 6), (5.0, 1)])
def test_a_call_lasts_no_longer_than_a_fifth_of_a_second_or_one_batch(seconds, most, monkeypatch):
    clock, calls = Clock(seconds), []

    def run_batches(parallel, run, model, rows, targets, steps, buffers):
        plain(parallel, run, model, rows, targets, steps, buffers)
        calls.append(run.last_batch - run.first_batch)
        clock.now += clock.seconds * calls[-1]
        if sum(calls) >= 700:
            raise KeyboardInterrupt

    plain = device.run_batches
    monkeypatch.setattr(device, "run_batches", run_batches)
    monkeypatch.setattr(pacing, "time", clock)
    model = regressor(solver="sgd", batch_size=1, max_iter=10, n_threads=1)
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model.fit(X, X)
    assert max(calls) <= most
    assert max(calls) >= most / 2
    assert model.n_iter_ == 4
    assert np.isfinite(model.predict(X)).all()
    assert host_network.MAX_THREADED <= 200


def test_ctrl_c_in_a_callback_keeps_the_model():
    with pytest.warns(UserWarning, match="Training interrupted by user"):
        model = regressor(callback=Noted(1, KeyboardInterrupt())).fit(X, X)
    assert model.n_iter_ == 2
    assert len(model.loss_curve_) == 2
