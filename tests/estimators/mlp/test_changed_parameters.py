"""Parameters that are changed between two calls which train the same network."""

import pickle
from copy import deepcopy

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.datasets import load_digits

from fastnn import MLPClassifier
from fastnn.networks.schedules import SCHEDULES

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*units of hidden layer:UserWarning"),
]

X, Y = load_digits(return_X_y=True)
X, Y = X[:200] / 16, Y[:200]
ENDING = [name for name, kind in SCHEDULES.items() if kind.needs_end]


def fitted(**parameters):
    usual = {"hidden_layer_sizes": (8,), "max_iter": 4, "batch_size": 50, "shuffle": False, "random_state": 0}
    return MLPClassifier(**usual | parameters).fit(X, Y)


def weights_after_an_epoch(model):
    return np.concatenate([W.ravel() for W in model.partial_fit(X, Y).coefs_])


@pytest.mark.parametrize("schedule", ENDING)
@pytest.mark.parametrize(("following", "factor"), [("constant", 1.0), ("exponential", 0.95)])
def test_a_schedule_that_has_ended_does_not_go_on_behind_its_end(schedule, following, factor):
    model = fitted(learning_rate=schedule, learning_rate_init=0.01)
    model.set_params(learning_rate=following, learning_rate_init=0.002)
    for _ in range(3):
        model.partial_fit(X, Y)
    assert_allclose(model.learning_rate_curve_[4:], 0.002 * factor ** np.arange(3), rtol=1e-12)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({}, {"max_grad_norm": 0.01}),
        ({"max_grad_norm": 0.01}, {"max_grad_norm": None}),
        ({"solver": "adamw"}, {"weight_decay": 0.5}),
        ({"solver": "lion"}, {"weight_decay": 0.5}),
        ({"solver": "rmsprop"}, {"rho": 0.5}),
        ({"solver": "nadam"}, {"momentum_decay": 1.0}),
        ({"average": True}, {"average": 0.3}),
        ({"average": 0.3}, {"average": 0.9}),
        ({}, {"warmup_epochs": 50}),
    ],
)
def test_partial_fit_heeds_what_scikit_learn_does_not_have(before, after):
    model = fitted(**before)
    as_before = weights_after_an_epoch(deepcopy(model))
    other = weights_after_an_epoch(model.set_params(**after))
    assert not np.array_equal(other, as_before)
    assert np.isfinite(other).all()


def test_a_bound_that_is_taken_away_is_as_if_it_had_never_been():
    # It was so large that nothing was clipped.
    model = fitted(max_grad_norm=1e6).set_params(max_grad_norm=None)
    assert_allclose(weights_after_an_epoch(model), weights_after_an_epoch(fitted()), rtol=1e-12)


def test_another_decay_counts_from_the_next_epoch_on():
    model = fitted(learning_rate="exponential").partial_fit(X, Y)
    model.set_params(learning_rate_decay=0.5).partial_fit(X, Y).partial_fit(X, Y)
    rates = np.array(model.learning_rate_curve_)
    assert_allclose(rates[1:] / rates[:-1], [0.95] * 5 + [0.5], rtol=1e-12)


@pytest.mark.parametrize(
    "changed", [{"learning_rate_init": 0.1}, {"beta_1": 0.1}, {"learning_rate": "adaptive"}]
)
def test_partial_fit_keeps_what_scikit_learns_keeps(changed):
    model = fitted()
    assert_array_equal(
        weights_after_an_epoch(deepcopy(model).set_params(**changed)), weights_after_an_epoch(model)
    )


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ({}, {"solver": "lion"}, "solver='lion', and the state of the optimizer is that of 'adam'"),
        ({"solver": "sgd"}, {"solver": "adam"}, "solver='adam', .* that of 'sgd'"),
        ({}, {"average": True}, "average=True, and the training so far was without"),
        ({"average": 0.9}, {"average": False}, "average=False, and the training so far was with"),
    ],
)
def test_partial_fit_refuses_another_optimizer(before, after, message):
    model = fitted(**before).set_params(**after)
    state = pickle.dumps(model)
    with pytest.raises(ValueError, match=f"^Cannot continue training: {message}"):
        model.partial_fit(X, Y)
    assert pickle.dumps(model) == state
    model.set_params(warm_start=True).fit(X, Y)  # as the message says
    model.partial_fit(X, Y)


def test_the_two_rules_of_gradient_descent_share_their_state():
    model = fitted(solver="sgd").set_params(nesterovs_momentum=False)
    assert_array_equal(weights_after_an_epoch(model), weights_after_an_epoch(fitted(solver="sgd")))


def test_a_scorer_that_has_been_taken_away_does_not_keep_a_model_from_being_pickled():
    model = fitted(early_stopping=True, scoring=lambda estimator, X, y: -1.0)
    loaded = pickle.loads(pickle.dumps(model.set_params(scoring=None)))
    assert_array_equal(loaded.predict_proba(X), model.predict_proba(X))
    loaded.set_params(warm_start=True).fit(X, Y)
    assert len(loaded.validation_scores_) == 4
    assert min(loaded.validation_scores_) >= 0


def test_two_functions_of_one_name_are_two_scores():
    scorers = [lambda estimator, X, y, value=value: value for value in (2.0, 1.0)]
    model = fitted(early_stopping=True, scoring=scorers[0], warm_start=True)
    assert model.set_params(scoring=scorers[1]).fit(X, Y).validation_scores_ == [1.0] * 4
    assert model.fit(X, Y).validation_scores_ == [1.0] * 8
