"""Many networks for one table: folds, networks on all rows, ensembles."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastnn import RealMLPClassifier, RealMLPRegressor
from tests.estimators.tabular.test_realmlp import DIABETES, SMALL, each_model


@each_model
@pytest.mark.parametrize("options", [{"n_cv": 3}, {"ensemble": 3}, {"n_cv": 2, "n_refit": 2, "ensemble": 2}])
def test_many_networks_have_the_same_bits_too(Model, data, options):
    models = [Model(**SMALL, **options, n_threads=n).fit(*data) for n in (1, 2)]
    assert_array_equal(*(model.predict(data[0]) for model in models))
    members = models[0].estimators_
    assert len(members) == options.get("ensemble", 1) * options.get("n_refit", options.get("n_cv", 1))
    assert not np.array_equal(members[0].coefs_[1], members[1].coefs_[1])
    if Model is RealMLPRegressor:
        mean = np.mean([member.predict(data[0]) for member in members], axis=0)
        assert_allclose(models[0].predict(data[0]), mean, rtol=1e-6)
    else:
        mean = np.mean([member.predict_proba(data[0]) for member in members], axis=0)
        assert_allclose(models[0].predict_proba(data[0]), mean, rtol=1e-5)


@each_model
def test_out_of_fold_predictions_are_of_networks_that_have_not_seen_the_row(Model, data):
    X, y = data
    model = Model(**SMALL, n_cv=3).fit(X, y)
    predicts = "predict_proba" if Model is RealMLPClassifier else "predict"
    by_member = [getattr(member, predicts)(X) for member in model.estimators_]
    of = model.out_of_fold_
    assert of.shape == by_member[0].shape
    close = [np.isclose(of, one, rtol=1e-5).reshape(len(X), -1).all(axis=1) for one in by_member]
    assert np.any(close, axis=0).all()
    sizes = [int(one.sum()) for one in close]
    assert sum(sizes) == pytest.approx(len(X), abs=3)
    # The network of a fold has learnt its preprocessing from the other rows.
    assert len({member.encoding_.scaling.centers.tobytes() for member in model.estimators_}) > 1


def test_refitted_networks_stop_at_the_epoch_of_the_best_mean_score():
    X, y = DIABETES
    model = RealMLPRegressor(**SMALL, n_cv=3, n_refit=1).fit(X, y)
    folds = RealMLPRegressor(**SMALL, n_cv=3).fit(X, y)
    scores = np.mean([member.validation_scores_ for member in folds.estimators_], axis=0)
    assert model.estimators_[0].n_iter_ == scores.argmax() + 1
    assert model.estimators_[0].validation_scores_ is None
    assert_array_equal(model.out_of_fold_, folds.out_of_fold_)
    assert_allclose(model.estimators_[0].target_mean_, y.mean())


@each_model
def test_another_fit_leaves_nothing_of_the_one_before(Model, data):
    model = Model(**SMALL, n_cv=2).fit(*data)
    model.set_params(n_cv=1).fit(*data)
    fresh = Model(**SMALL).fit(*data)
    assert vars(model).keys() == vars(fresh).keys()
    assert_array_equal(model.predict(data[0]), fresh.predict(data[0]))
