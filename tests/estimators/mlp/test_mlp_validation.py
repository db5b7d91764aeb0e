"""Validation rows of one's own, what they are scored by, and the curves."""

import pickle

import numpy as np
import pandas as pd
import pytest
import sklearn
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    log_loss,
    make_scorer,
    max_error,
    mean_squared_error,
    r2_score,
)
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import Autoencoder, MLPClassifier, MLPRegressor
from fastnn.estimators.mlp import training

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

DIGITS = train_test_split(*load_digits(return_X_y=True), random_state=0)
DIGITS[:2] = [X / 16 for X in DIGITS[:2]]
X, X_VAL, Y, Y_VAL = DIGITS
TARGETS, TARGETS_VAL = X @ np.eye(64)[:, [10, 20]] + 1, X_VAL @ np.eye(64)[:, [10, 20]] + 1
WEIGHTS_VAL = np.random.default_rng(0).integers(0, 3, size=len(X_VAL)) / 2
SMALL = {"hidden_layer_sizes": (12,), "random_state": 0, "max_iter": 6}
CURVES = {"validation_scores_", "validation_loss_curve_", "best_epoch_", "best_validation_score_"}


def classifier(**options):
    return MLPClassifier(**SMALL | {"learning_rate_init": 0.01} | options)


def regressor(**options):
    return MLPRegressor(**SMALL | {"learning_rate_init": 0.01} | options)


def assert_same_training(one, other):
    for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert_array_equal(a, b)
    assert one.loss_curve_ == other.loss_curve_


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize(
    "options", [{}, {"dropout": 0.3, "batch_size": 50}, {"learning_rate": "adaptive", "tol": 0.5}], ids=str
)
def test_validation_does_not_touch_the_training(solver, options):
    plain = classifier(solver=solver, **options).fit(X, Y)
    model = classifier(solver=solver, **options).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert_same_training(model, plain)
    assert {name: vars(plain)[name] for name in CURVES} == dict.fromkeys(CURVES)
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == model.n_iter_
    assert model.best_loss_ == plain.best_loss_
    assert model.t_ == model.n_iter_ * len(X)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("weights", [None, WEIGHTS_VAL], ids=["equal", "weighted"])
def test_curves_are_those_of_the_fitted_model(dtype, weights):
    val = {"X_val": X_VAL.astype(dtype), "sample_weight_val": weights}
    for n_epochs in (1, 3):
        model = classifier(max_iter=n_epochs, alpha=3.0).fit(X.astype(dtype), Y, y_val=Y_VAL, **val)
        proba = model.predict_proba(val["X_val"])
        assert model.validation_scores_[-1] == accuracy_score(
            Y_VAL, proba.argmax(axis=1), sample_weight=weights
        )
        assert_allclose(
            model.validation_loss_curve_[-1], log_loss(Y_VAL, proba, sample_weight=weights), rtol=1e-5
        )
        numbers = regressor(max_iter=n_epochs, alpha=3.0).fit(
            X.astype(dtype), TARGETS, y_val=TARGETS_VAL, **val
        )
        prediction = numbers.predict(val["X_val"])
        assert_allclose(
            numbers.validation_scores_[-1],
            r2_score(TARGETS_VAL, prediction, sample_weight=weights),
            rtol=1e-5,
        )
        # scikit-learn's loss is half of the mean over both axes.
        assert_allclose(
            numbers.validation_loss_curve_[-1],
            mean_squared_error(TARGETS_VAL, prediction, sample_weight=weights) / 2,
            rtol=1e-5,
        )


@pytest.mark.parametrize("X_val", [sparse.csr_matrix(X_VAL), sparse.coo_array(X_VAL), X_VAL.tolist()])
def test_rows_of_every_form(X_val):
    expected = classifier().fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    model = classifier().fit(X, Y, X_val=X_val, y_val=Y_VAL.tolist())
    assert_same_training(model, expected)
    assert_allclose(model.validation_loss_curve_, expected.validation_loss_curve_, rtol=1e-12)


def test_early_stopping_trains_on_all_rows_and_keeps_the_best():
    model = classifier(early_stopping=True, n_iter_no_change=3, max_iter=60, learning_rate_init=0.1, tol=1e-3)
    model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    scores = model.validation_scores_
    assert model.n_iter_ < 60
    assert model.t_ == model.n_iter_ * len(X)
    assert scores[model.best_epoch_] == max(scores) == model.best_validation_score_
    assert model.best_epoch_ == int(np.argmax(scores)) < model.n_iter_ - 1
    assert model.best_loss_ is None
    assert model.score(X_VAL, Y_VAL) == max(scores)
    # The training up to there is that without validation.
    plain = classifier(max_iter=model.best_epoch_ + 1, learning_rate_init=0.1).fit(X, Y)
    for a, b in zip(model.coefs_, plain.coefs_, strict=True):
        assert_array_equal(a, b)


def test_rows_that_are_split_off_have_curves_too(monkeypatch):
    parts = []

    def hold_out(*arguments):
        parts.append(plain(*arguments))
        return parts[-1]

    plain = training.hold_out
    monkeypatch.setattr(training, "hold_out", hold_out)
    model = classifier(early_stopping=True, max_iter=1).fit(X, Y)
    ((_, held_out),) = parts
    proba = model.predict_proba(held_out.X.X)
    assert_allclose(model.validation_loss_curve_, [log_loss(held_out.Y.codes, proba)], rtol=1e-9)
    assert (len(held_out.Y.codes), model.best_epoch_) == (135, 0)


def test_warm_starts_go_on_with_the_curves():
    val = {"X_val": X_VAL, "y_val": Y_VAL}
    model = classifier(warm_start=True, max_iter=2).fit(X, Y, **val)
    first = list(model.validation_scores_)
    model.fit(X, Y, **val)
    assert model.validation_scores_[:2] == first
    assert len(model.validation_scores_) == len(model.validation_loss_curve_) == len(model.loss_curve_) == 4
    assert model.validation_scores_[model.best_epoch_] == max(model.validation_scores_)
    model.partial_fit(X, Y)
    assert model.validation_scores_ is None
    assert len(model.loss_curve_) == 5
    # One that was pickled before there was a curve of losses.
    model.fit(X, Y, **val)
    del model.validation_loss_curve_
    model = pickle.loads(pickle.dumps(model)).fit(X, Y, **val)
    assert_array_equal(np.isnan(model.validation_loss_curve_), [True, True, False, False])


# Scores.


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_warm_start_with_another_score_compares_none_of_the_former(early_stopping):
    val = {"X_val": X_VAL, "y_val": Y_VAL}
    model = classifier(warm_start=True, early_stopping=early_stopping).fit(X, Y, **val)
    model.set_params(scoring="loss").fit(X, Y, **val)
    assert model.n_iter_ == len(model.validation_scores_) == 6
    assert_array_equal(model.validation_scores_, -np.array(model.validation_loss_curve_))
    assert len(model.loss_curve_) == 12
    assert model.best_epoch_ == 5  # the loss still falls
    loss = log_loss(Y_VAL, model.predict_proba(X_VAL))
    assert_allclose(model.best_validation_score_, -loss, rtol=1e-12)


@pytest.mark.parametrize("early_stopping", [False, True])
def test_the_loss_as_score(early_stopping):
    model = classifier(scoring="loss", early_stopping=early_stopping).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert_array_equal(model.validation_scores_, -np.array(model.validation_loss_curve_))
    assert model.best_epoch_ == int(np.argmin(model.validation_loss_curve_))


@pytest.mark.parametrize("scoring", ["balanced_accuracy", make_scorer(balanced_accuracy_score)], ids=str)
@pytest.mark.parametrize("weights", [None, WEIGHTS_VAL], ids=["equal", "weighted"])
def test_scorers_of_scikit_learn(scoring, weights):
    model = classifier(scoring=scoring, max_iter=1)
    model.fit(X, Y, X_val=X_VAL, y_val=Y_VAL, sample_weight_val=weights)
    expected = balanced_accuracy_score(Y_VAL, model.predict(X_VAL), sample_weight=weights)
    assert model.validation_scores_ == [expected]


def test_a_scorer_without_weights_gets_none():
    model = regressor(scoring=make_scorer(max_error, greater_is_better=False), max_iter=1)
    model.fit(X, TARGETS[:, 0], X_val=X_VAL, y_val=TARGETS_VAL[:, 0], sample_weight_val=WEIGHTS_VAL + 1)
    assert model.validation_scores_ == [-max_error(TARGETS_VAL[:, 0], model.predict(X_VAL))]


def test_a_scorer_gets_targets_of_the_shape_of_predictions():
    def scorer(estimator, X, y):
        assert y.shape == estimator.predict(X).shape
        return -np.mean((y - estimator.predict(X)) ** 2)

    for y, y_val in ((TARGETS, TARGETS_VAL), (TARGETS[:, 0], TARGETS_VAL[:, 0])):
        model = regressor(scoring=scorer).fit(X, y, X_val=X_VAL, y_val=y_val)
        assert_allclose(
            model.validation_scores_[-1], -mean_squared_error(y_val, model.predict(X_VAL)), rtol=1e-12
        )


@pytest.mark.parametrize("early_stopping", [False, True])
def test_a_scorer_gets_a_fitted_copy(early_stopping):
    seen = []

    def scorer(estimator, X, y):
        seen.append(estimator)
        assert not hasattr(estimator, "loss_curve_")
        return (estimator.predict(X) == y).mean()

    names = pd.DataFrame(X, columns=[f"pixel {i}" for i in range(64)])
    val = {} if early_stopping else {"X_val": names[:200], "y_val": Y[:200]}
    model = classifier(scoring=scorer, early_stopping=early_stopping).fit(names, Y, **val)
    plain = classifier(early_stopping=early_stopping).fit(names, Y, **val)
    assert_same_training(model, plain)
    assert model.validation_scores_ == plain.validation_scores_
    # Each has kept the weights of its epoch.
    assert len(seen) == len({estimator.coefs_[0][0, 0] for estimator in seen}) == model.n_iter_
    assert_array_equal(seen[model.best_epoch_ if early_stopping else -1].coefs_[0], model.coefs_[0])


def test_an_autoencoder_is_scored_by_its_own_rows():
    model = Autoencoder(
        (8, 3), random_state=0, max_iter=3, pretrain="layerwise", tied_weights=True, noise=0.1
    )
    model.set_params(early_stopping=True).fit(X, X_val=X_VAL, sample_weight_val=WEIGHTS_VAL)
    assert model.t_ == model.n_iter_ * len(X)
    assert_allclose(model.best_validation_score_, model.score(X_VAL, sample_weight=WEIGHTS_VAL), rtol=1e-12)
    assert_allclose(model.validation_loss_curve_, -np.array(model.validation_scores_) / 2, rtol=1e-12)
    by_scorer = clone(model).set_params(scoring=lambda estimator, X, y: estimator.score(X))
    by_scorer.fit(X, X_val=X_VAL)
    own = clone(model).fit(X, X_val=X_VAL)
    assert_same_training(by_scorer, own)
    assert_allclose(by_scorer.validation_scores_, own.validation_scores_, rtol=1e-12)
    codes = clone(model).fit_transform(X, X_val=X_VAL)
    assert_array_equal(codes, own.transform(X))


@pytest.mark.parametrize("scoring", [None, "loss", "r2"])
def test_predictions_that_are_not_finite_have_no_score(scoring):
    big = np.full((len(X_VAL), 64), 1e308)
    model = regressor(scoring=scoring).fit(X, TARGETS, X_val=big, y_val=TARGETS_VAL)
    assert not np.isfinite(model.validation_scores_).any()
    assert not np.isfinite(model.validation_loss_curve_).any()
    assert model.best_epoch_ is None
    assert_same_training(model, regressor().fit(X, TARGETS))


# Routing.


def test_a_pipeline_transforms_the_validation_rows():
    scaler = StandardScaler().fit(X)
    expected = classifier().fit(scaler.transform(X), Y, X_val=scaler.transform(X_VAL), y_val=Y_VAL)
    with sklearn.config_context(enable_metadata_routing=True):
        final = classifier().set_fit_request(X_val=True, y_val=True, sample_weight_val=False)
        pipeline = Pipeline([("scale", StandardScaler()), ("net", final)], transform_input=["X_val"])
        model = pipeline.fit(X, Y, X_val=X_VAL, y_val=Y_VAL)["net"]
    assert_same_training(model, expected)
    assert model.validation_scores_ == expected.validation_scores_
    prefixed = make_pipeline(StandardScaler(), classifier())
    prefixed.fit(X, Y, mlpclassifier__X_val=scaler.transform(X_VAL), mlpclassifier__y_val=Y_VAL)
    assert prefixed[-1].validation_scores_ == expected.validation_scores_


# Bad input.

IRIS = load_iris(return_X_y=True)


@pytest.mark.parametrize(
    ("val", "message"),
    [
        ({"X_val": X_VAL}, "X_val is provided, but y_val was not"),
        ({"y_val": Y_VAL}, "y_val is provided, but X_val was not"),
        ({"sample_weight_val": WEIGHTS_VAL}, "sample_weight_val is provided, but X_val was not"),
        (
            {"X_val": X_VAL[:, :5], "y_val": Y_VAL},
            "X_val.*X has 5 features, but MLPClassifier is",
        ),
        ({"X_val": X_VAL[:9], "y_val": Y_VAL}, "X_val.*inconsistent numbers of samples"),
        ({"X_val": X_VAL, "y_val": Y_VAL + 90}, "y_val.*classes not in"),
        ({"X_val": X_VAL * np.nan, "y_val": Y_VAL}, "X_val.*NaN"),
        (
            {"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": -WEIGHTS_VAL},
            "sample_weight_val.*[Nn]egative",
        ),
        ({"X_val": X_VAL, "y_val": Y_VAL, "sample_weight_val": [1.0]}, "sample_weight_val"),
    ],
)
def test_bad_rows_are_refused_and_change_nothing(val, message):
    model = classifier().fit(X, Y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=message):
        model.fit(X, Y, **val)
    assert vars(model) == before


def test_other_outputs_are_refused():
    with pytest.raises(ValueError, match="y_val has 1 outputs, but y has 2"):
        regressor().fit(X, TARGETS, X_val=X_VAL, y_val=TARGETS_VAL[:, 0])


def test_one_label_a_row_is_refused_by_a_network_of_several():
    labels = np.eye(10, dtype=int)[Y] | np.eye(10, dtype=int)[::-1][Y]
    message = "y must be a 0/1 matrix with a column for each of 10 labels"
    with pytest.raises(ValueError, match=f"Of X_val, y_val and sample_weight_val: {message}"):
        classifier().fit(X, labels, X_val=X_VAL, y_val=Y_VAL)
    model = classifier().fit(X, labels)
    for method in (model.partial_fit, model.set_params(warm_start=True).fit):
        with pytest.raises(ValueError, match=message):
            method(X, Y)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"scoring": "nonsense", "early_stopping": True}, "nonsense"),
        ({"scoring": 3, "early_stopping": True}, "scoring"),
        ({"scoring": "loss"}, "scoring='loss' needs validation rows"),
        ({"scoring": "r2", "solver": "lbfgs", "early_stopping": True}, "scoring='r2' needs validation rows"),
        (
            {"scoring": lambda estimator, X, y: "high", "early_stopping": True},
            "must return a number, got 'high'",
        ),
    ],
)
def test_a_scoring_without_use_or_meaning_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        classifier(**options).fit(X, Y)


def test_a_scorer_may_return_an_array_without_dimensions():
    model = classifier(scoring=lambda estimator, X, y: np.array(0.5)).fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
    assert model.validation_scores_ == [0.5] * model.n_iter_


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning")
@pytest.mark.parametrize("scoring", [None, lambda estimator, X, y: np.nan])
def test_scores_without_a_value_are_not_blamed_on_the_data(scoring):
    model, y = regressor(early_stopping=True, scoring=scoring), TARGETS[:, 0]
    message = "validation scores in every epoch. Their losses are finite: .* another scoring, such as 'loss'"
    with pytest.raises(ValueError, match=message):
        model.fit(X, y, X_val=X[:1], y_val=y[:1])
    model.set_params(scoring="loss").fit(X, y, X_val=X[:1], y_val=y[:1])


@pytest.mark.parametrize("scoring", ["loss", "accuracy", lambda estimator, X, y: 0.0])
def test_partial_fit_refuses_a_scoring(scoring):
    model = classifier().fit(X, Y)
    before = dict(vars(model))
    with pytest.raises(ValueError, match=r"partial_fit does not support scoring=.*no validation rows"):
        model.set_params(scoring=scoring).partial_fit(X, Y)
    assert vars(model.set_params(scoring=None)) == before


def test_an_autoencoder_has_no_predictions_to_score():
    model = Autoencoder((3,), scoring="r2", random_state=0)
    with pytest.raises(ValueError, match="scoring='r2' is a scorer of predictions, and Autoencoder has no"):
        model.fit(X, X_val=X_VAL)


@pytest.mark.parametrize("solver", ["lbfgs", "lm"])
def test_solvers_without_epochs_refuse_validation_rows(solver):
    with pytest.raises(ValueError, match=f"X_val needs a solver that goes by epochs.*solver='{solver}'"):
        regressor(solver=solver).fit(X, TARGETS, X_val=X_VAL, y_val=TARGETS_VAL)


def test_few_classes_in_the_validation_rows_are_enough_even_under_warm_start():
    X, y = IRIS
    model = classifier(warm_start=True).fit(X, y).fit(X, y, X_val=X[:20], y_val=y[:20])
    assert len(model.validation_scores_) == model.n_iter_


def test_no_convergence_is_told_as_before():
    with pytest.warns(ConvergenceWarning, match=r"Maximum iterations \(6\) reached"):
        classifier().fit(X, Y, X_val=X_VAL, y_val=Y_VAL)
