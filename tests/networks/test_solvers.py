"""The solvers without an estimator."""

from dataclasses import FrozenInstanceError, fields, is_dataclass, replace

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning

from fastnn import MLPClassifier, MLPRegressor
from fastnn.networks import host_network
from fastnn.networks.data import Data
from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.networks.progress import Progress, Validation
from fastnn.networks.rows import HostRows
from fastnn.networks.solvers import SOLVERS, STOCHASTIC_SOLVERS
from fastnn.networks.solvers.interface import Problem
from fastnn.networks.solvers.optimizer_settings import SgdSettings
from fastnn.tables.optimizers import RULES

N = 60
X = np.random.default_rng(0).normal(size=(N, 4))
Y = X[:, :1] - 2 * X[:, 1:2]
VALUES = MLPRegressor().get_params() | {"batch_size": 20, "max_iter": 5, "alpha": 0.01}


def settings_of(name, **changes):
    kind = SOLVERS[name].settings
    return kind(**{field.name: (VALUES | changes)[field.name] for field in fields(kind)})


def problem(Y=Y, scored=False, **options):
    net = Network([4, 5, 1], hidden_activation="tanh", loss="squared_error", dtype=np.float64, backend=HOST)
    net.parameters[:] = np.random.default_rng(1).normal(size=net.parameters.size) / 2
    data = Data(HostRows(X), np.ascontiguousarray(Y), None)
    options = {"progress": Progress.begin(scored), **options}
    return Problem(net, data, np.random.RandomState(0), **options)


def solve(name, task, **changes):
    return SOLVERS[name].solve(task, settings_of(name, **changes))


def test_the_table():
    stochastic = "sgd", "adam", "adamw", "amsgrad", "nadam", "rmsprop", "lion"
    assert list(SOLVERS) == ["lbfgs", *stochastic, "lm"]
    assert stochastic == STOCHASTIC_SOLVERS


@pytest.mark.parametrize("name", SOLVERS)
def test_settings_are_frozen_and_named_as_the_parameters(name):
    kind = SOLVERS[name].settings
    assert is_dataclass(kind)
    for model in (MLPClassifier, MLPRegressor):
        assert {field.name for field in fields(kind)} <= model().get_params().keys()
    with pytest.raises(FrozenInstanceError):
        settings_of(name).alpha = 1.0


@pytest.mark.parametrize("name", STOCHASTIC_SOLVERS)
def test_every_rule_is_one_of_the_table(name):
    rule, hyper = settings_of(name).rule
    assert hyper.keys() == next(entry.hyper for entry in RULES if entry.name == rule).keys()


@pytest.mark.parametrize("name", SOLVERS)
def test_a_solver_lowers_the_loss(name):
    task = problem()
    before = task.network.bind(task.data.X, task.data.Y).loss_and_gradient()[0]
    solution = solve(name, task, max_iter=30)
    assert solution.not_finite is None
    assert solution.loss < before
    assert 0 < solution.n_iter <= 30


@pytest.mark.parametrize("name", STOCHASTIC_SOLVERS)
def test_epochs_in_two_runs_are_those_of_one(name):
    whole = problem()
    solve(name, whole, max_iter=6, shuffle=False)
    task = problem()
    for _ in range(2):
        solution = solve(name, task, max_iter=3, shuffle=False)
        task = replace(task, former=(solution.optimizer, solution.schedule))
    assert task.progress.loss_curve == whole.progress.loss_curve
    np.testing.assert_array_equal(task.network.parameters, whole.network.parameters)


def noted(task, seen, scores):
    """Validation by the next of the scores; the parameters that it belongs to are kept."""
    seen.append(task.network.parameters.copy())
    score = next(scores)
    return Validation(score, 1 - score)


def test_the_best_parameters_by_the_score_are_kept():
    scores, seen = iter([0.1, 0.9, 0.5]), []
    task = problem(scored=True, early_stopping=True, validate=lambda: noted(task, seen, scores))
    solution = solve("adam", task, max_iter=3)
    assert not solution.has_converged
    np.testing.assert_array_equal(task.network.parameters, seen[1])
    assert solution.progress.best_validation_score == 0.9
    assert solution.progress.validation_scores == [0.1, 0.9, 0.5]
    assert solution.progress.validation_losses == [0.9, 1 - 0.9, 0.5]
    assert solution.progress.best_epoch == 1


def test_validation_that_does_not_decide_leaves_the_training_alone():
    plain = problem()
    solve("adam", plain, max_iter=3)
    scores, seen = iter([0.1, 0.9, 0.5]), []
    task = problem(progress=Progress.begin(False, True), validate=lambda: noted(task, seen, scores))
    progress = solve("adam", task, max_iter=3).progress
    np.testing.assert_array_equal(task.network.parameters, plain.network.parameters)
    np.testing.assert_array_equal(task.network.parameters, seen[-1])
    assert progress.loss_curve == plain.progress.loss_curve
    assert (progress.best_loss, progress.best_validation_score) == (plain.progress.best_loss, 0.9)
    assert (progress.validation_scores, progress.best_epoch) == ([0.1, 0.9, 0.5], 1)


def test_an_interrupted_validation_leaves_a_gap_in_its_curves():
    def validate():
        if task.progress.n_iter == 2:
            raise KeyboardInterrupt
        return Validation(0.5, 0.25)

    task = problem(scored=True, early_stopping=True, validate=validate)
    progress = solve("adam", task).progress
    assert len(progress.loss_curve) == 2
    np.testing.assert_array_equal(progress.validation_scores, [0.5, np.nan])
    np.testing.assert_array_equal(progress.validation_losses, [0.25, np.nan])


def test_an_interruption_while_the_score_is_told_leaves_the_best_parameters():
    scores, seen = iter([0.1, 0.9, 0.5]), []

    def watch(epoch):
        if epoch.validation.score == 0.9:
            raise KeyboardInterrupt

    task = problem(scored=True, early_stopping=True, validate=lambda: noted(task, seen, scores), watch=watch)
    solution = solve("adam", task, max_iter=3)
    assert str(solution.remark) == "Training interrupted by user."
    assert solution.progress.best_validation_score == 0.9
    assert len(seen) == 2
    np.testing.assert_array_equal(task.network.parameters, seen[1])


def test_rows_that_are_held_out_are_not_trained_on():
    rows = np.arange(0, N, 2)
    spoilt = Y.copy()
    spoilt[1::2] = 1e6
    curves = []
    for targets in (Y, spoilt):
        task = problem(targets, rows=rows)
        curves.append(solve("sgd", task, learning_rate_init=1e-3).progress.loss_curve)
        assert task.progress.t == 5 * 30
    assert curves[0] == curves[1]


def test_the_stopping_rule_ends_it():
    solution = solve("adam", problem(), tol=1e9, n_iter_no_change=2, max_iter=50)
    assert solution.has_converged
    # The first epoch is better than infinity; of the others three in a row are not better by so much.
    assert solution.n_iter == 4


@pytest.mark.parametrize("name", SOLVERS)
def test_the_number_of_iterations_ends_it(name):
    solution = solve(name, problem(), max_iter=2)
    assert not solution.has_converged
    assert solution.n_iter == 2
    # A run of epochs may be one of several; of L-BFGS it is a whole fit.
    told = solution.remark if name == "lbfgs" else solution.unfinished
    assert isinstance(told, ConvergenceWarning)
    assert "(2) reached" in str(told) or "max_iter=2" in str(told)


def test_lbfgs_that_reaches_its_aim_has_converged():
    solution = solve("lbfgs", problem(), max_iter=500, tol=0.1)
    assert solution.has_converged
    assert solution.remark is None
    assert solution.unfinished is None


def test_what_is_told():
    lines = []
    solve("sgd", problem(tell=lines.append), learning_rate="adaptive", tol=1e9, n_iter_no_change=1)
    assert lines[0] == (
        "Training loss did not improve more than tol=1000000000.000000 for 1 consecutive epochs. "
        "Setting learning rate to 0.000200"
    )


@pytest.mark.parametrize("name", SOLVERS)
def test_each_epoch_is_watched_with_its_parameters(name):
    epochs, seen = [], []

    def watch(epoch):
        epochs.append(epoch)
        seen.append(task.network.parameters.copy())

    task = problem(watch=watch)
    plain = problem()
    solution, unwatched = solve(name, task), solve(name, plain)
    np.testing.assert_array_equal(task.network.parameters, plain.network.parameters)
    np.testing.assert_array_equal(task.network.parameters, seen[-1])
    assert [epoch.number for epoch in epochs] == list(range(solution.n_iter))
    assert epochs[-1].loss == solution.loss == unwatched.loss
    stochastic = name in STOCHASTIC_SOLVERS
    assert {epoch.learning_rate for epoch in epochs} == {0.001 if stochastic else None}
    if stochastic:
        assert [epoch.loss for epoch in epochs] == solution.progress.loss_curve


@pytest.mark.parametrize("name", SOLVERS)
def test_who_watches_may_end_it(name):
    task, shorter = problem(watch=lambda epoch: epoch.number == 1), problem()
    solution = solve(name, task, max_iter=2)
    solve(name, shorter, max_iter=2)
    assert (solution.n_iter, solution.has_converged) == (2, True)
    assert solution.remark is None
    assert solution.unfinished is None
    np.testing.assert_array_equal(task.network.parameters, shorter.network.parameters)


def test_divergence_leaves_what_was_finite():
    task = problem(Y * 1e200)
    solution = solve("sgd", task, learning_rate_init=1e300)
    assert solution.not_finite == "parameter weights"
    assert solution.optimizer is None
    assert solution.n_iter == 0
    assert np.isfinite(task.network.parameters).all()


def test_an_infinite_loss_is_told():
    solution = solve("adam", problem(Y * 1e200))
    assert solution.not_finite is None
    assert isinstance(solution.remark, ConvergenceWarning)
    assert "the loss is infinite in 5 of 5 epochs" in str(solution.remark)


@pytest.mark.parametrize("at", ["bind", "run_epoch"])
def test_an_interruption_leaves_what_was_done(monkeypatch, at):
    plain, calls = host_network.HostNetwork.run_epoch, []

    def interrupt(*arguments, **options):
        calls.append(0)
        if at == "bind" or len(calls) == 3:
            raise KeyboardInterrupt
        return plain(*arguments, **options)

    monkeypatch.setattr(*((Network, at) if at == "bind" else (host_network.HostNetwork, at)), interrupt)
    task = problem()
    solution = solve("adam", task)
    assert str(solution.remark) == "Training interrupted by user."
    assert solution.not_finite is None
    assert solution.n_iter == (0 if at == "bind" else 2)
    assert solution.has_converged
    assert solution.optimizer.t == 3 * solution.n_iter


def test_a_batch_of_no_rows_or_too_many_is_clipped():
    with pytest.warns(UserWarning, match="It is going to be clipped"):
        large = solve("adam", problem(), batch_size=1000)
    assert large.progress.loss_curve == solve("adam", problem(), batch_size=N).progress.loss_curve
    assert large.progress.loss_curve == solve("adam", problem(), batch_size="auto").progress.loss_curve
    with pytest.warns(UserWarning, match="It is going to be clipped"):
        none = solve("adam", problem(), batch_size=0)
    assert none.progress.loss_curve == solve("adam", problem(), batch_size=1).progress.loss_curve


def test_schedules_and_rules_follow_the_settings():
    settings = settings_of("sgd", learning_rate="invscaling", nesterovs_momentum=False)
    assert isinstance(settings, SgdSettings)
    assert type(settings.schedule).__name__ == "InverseScaling"
    assert settings.rule[0] == "momentum"
    assert settings_of("adam", learning_rate="invscaling").schedule == settings_of("sgd").schedule
