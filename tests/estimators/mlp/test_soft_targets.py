"""Targets of classes that are not 0 and 1: `label_smoothing` and `fit_soft`."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from scipy.special import xlogy
from sklearn.neural_network import _base
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import MLPClassifier, MLPRegressor
from tests import reference

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
OF_THREE = np.arange(60) % 3
LABELS = np.stack([OF_THREE > 0, OF_THREE > 1], axis=1).astype(int)
ONE_HOT = np.eye(3)[OF_THREE]
E = 0.2
# Name -> parameters, y, targets of the network for a smoothing of E.
HEADS = {
    "softmax": ({}, OF_THREE, (1 - E) * ONE_HOT + E / 3),
    "logistic": ({"out_activation": "logistic"}, OF_THREE, (1 - E) * ONE_HOT + E / 2),
    "two": ({}, OF_THREE == 1, np.where(OF_THREE == 1, 0.9, 0.1).reshape(-1, 1)),
    "labels": ({}, LABELS, np.where(LABELS, 0.9, 0.1)),
    "squares": ({"loss": "squared_error"}, LABELS, np.where(LABELS, 0.9, 0.1)),
}
each_head = pytest.mark.parametrize("head", HEADS)


def classifier(**parameters):
    usual = {"activation": "tanh", "max_iter": 8, "random_state": 0, "batch_size": 25}
    return MLPClassifier((5,), **usual | parameters)


def outputs(model, X):
    return reference.reference_predict(
        X, model.coefs_, model.intercepts_,
        hidden_activation=model.activation, output_activation=model.out_activation_,
    )  # fmt: skip


def cross_entropy(T, A):
    return -xlogy(T, A).sum(axis=1)


def binary_cross_entropy(T, A):
    return -(xlogy(T, A) + xlogy(1 - T, 1 - A)).sum(axis=1)


def probabilities(k, n=60):
    return np.random.default_rng(k).dirichlet(np.ones(k), size=n)


def assert_same(model, other):
    for array, same in zip(model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert_array_equal(array, same)
    assert model.loss_ == other.loss_


# Smoothed classes.


@each_head
def test_the_loss_is_that_of_smooth_targets(head):
    parameters, y, T = HEADS[head]
    model = classifier(label_smoothing=E, solver="lbfgs", alpha=0.0, **parameters).fit(X, y)
    A = outputs(model, X)
    of_rows = {
        "softmax": cross_entropy,
        "squares": lambda T, A: 0.5 * ((T - A) ** 2).mean(axis=1),
    }.get(head, binary_cross_entropy)
    assert model.loss_ == pytest.approx(of_rows(T, A).mean(), rel=1e-12)
    if head == "softmax":  # scikit-learn's formulas, of the same targets
        assert model.loss_ == pytest.approx(_base.log_loss(T, A), rel=1e-12)
    elif head != "squares":
        assert model.loss_ == pytest.approx(_base.binary_log_loss(T, A), rel=1e-12)


@each_head
@pytest.mark.parametrize("weighted", [False, True])
def test_gradients_are_central_differences(head, weighted):
    parameters, y, T = HEADS[head]
    weight = RNG.uniform(0, 2, size=60) if weighted else None
    model = classifier(label_smoothing=E, **parameters).fit(X, y)
    assert model.gradient_check(X, y, weight) < 1e-7
    # What of the loss is left when the network gives the targets is not what it learns by.
    model.coefs_[-1][:] = 0
    if head == "squares":
        return
    A = outputs(model, X)
    _, _, db = model.set_params(alpha=0.0).loss_and_gradients(X, y)
    assert_allclose(db[-1], (A - T).mean(axis=0), atol=1e-14)


def test_values_by_hand():
    """Softmax of (3, 2, 1, 0.1) is (0.6424, 0.2363, 0.0869, 0.0353); PyTorch's loss with label_smoothing."""
    model = MLPClassifier.from_weights([np.zeros((1, 4))], [[3, 2, 1, 0.1]], alpha=0.0, label_smoothing=0.1)
    p = np.exp([3, 2, 1, 0.1]) / np.exp([3, 2, 1, 0.1]).sum()
    loss, _, db = model.loss_and_gradients([[0.0]], [0])
    assert loss == pytest.approx(-0.9 * np.log(p[0]) - 0.1 / 4 * np.log(p).sum(), rel=1e-14)
    assert loss == pytest.approx(0.591056, abs=2e-6)
    assert_allclose(db[0], p - [0.925, 0.025, 0.025, 0.025], rtol=1e-13)
    one = MLPClassifier.from_weights([np.zeros((1, 1))], [[0.0]], alpha=0.0, label_smoothing=0.1)
    loss, _, db = one.loss_and_gradients([[0.0]], [1])
    assert loss == pytest.approx(np.log(2), rel=1e-15)
    assert_allclose(db[0], [0.5 - 0.95], rtol=1e-15)


@pytest.mark.parametrize("k", [2, 3])
def test_a_constant_model_learns_smoothed_frequencies(k):
    y = OF_THREE % k
    model = MLPClassifier((), solver="lbfgs", alpha=0.0, tol=1e-9, label_smoothing=0.3, random_state=0).fit(
        0 * X, y
    )
    frequencies = np.bincount(y) / 60
    assert_allclose(model.predict_proba(X[:1] * 0)[0], 0.7 * frequencies + 0.3 / k, atol=1e-5)


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@each_head
def test_epochs_are_those_of_numbers_as_targets(head, solver, dtype):
    """Codes and bits stand for the same numbers, which ``fit_soft`` gives in full, or a regressor's y."""
    parameters, y, T = HEADS[head]
    A = X.astype(dtype)
    model = classifier(label_smoothing=E, solver=solver, **parameters).fit(A, y)
    if head == "squares":
        same = MLPRegressor(
            hidden_layer_sizes=(5,), activation="tanh", max_iter=8, random_state=0, batch_size=25,
            solver=solver, out_activation="logistic",
        ).fit(A, T)  # fmt: skip
    elif head == "labels":
        assert np.all(np.isfinite(model.loss_curve_))
        return
    else:
        same = classifier(label_smoothing=E, solver=solver, **parameters)
        same.fit_soft(A, np.eye(2)[y.astype(int)] if head == "two" else ONE_HOT)
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    for W, other in zip(model.coefs_, same.coefs_, strict=True):
        assert_allclose(W, other, atol=tolerance)
    assert model.score(A, y) == np.mean(np.all(np.reshape(model.predict(A) == y, (60, -1)), axis=1))


def test_partial_fit_and_early_stopping_smooth_too():
    model = classifier(label_smoothing=E).partial_fit(X, OF_THREE, classes=np.arange(3))
    assert_same(model, classifier(label_smoothing=E, max_iter=1).fit(X, OF_THREE))
    scored = classifier(label_smoothing=E, early_stopping=True).fit(X, OF_THREE)
    assert max(scored.validation_scores_) <= 1
    assert scored.loss_ > -xlogy([0.8 + E / 3, E / 3, E / 3], [0.8 + E / 3, E / 3, E / 3]).sum()


@each_head
def test_the_loss_of_validation_rows_is_that_of_smooth_targets(head):
    parameters, y, _ = HEADS[head]
    model = classifier(label_smoothing=E, alpha=0.0, **parameters).fit(X, y, X_val=X[:7], y_val=y[:7])
    loss = model.loss_and_gradients(X[:7], y[:7])[0]
    if head == "squares":
        loss /= 2  # the mean over two outputs
    assert model.validation_loss_curve_[-1] == pytest.approx(loss, rel=1e-12)


@pytest.mark.parametrize("given", [-0.1, 1.0, np.nan, "0.1", None])
def test_bad_smoothing(given):
    with pytest.raises(InvalidParameterError, match="'label_smoothing' parameter of MLPClassifier must be"):
        classifier(label_smoothing=given).fit(X, OF_THREE)
    model = classifier().fit(X, OF_THREE)
    with pytest.raises(InvalidParameterError, match="'label_smoothing'"):
        model.set_params(label_smoothing=given).partial_fit(X, OF_THREE)


# Probabilities.


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_the_loss_of_probabilities(k, loss):
    P = probabilities(k)
    model = classifier(solver="lbfgs", alpha=0.0, loss=loss).fit_soft(X, P)
    assert_array_equal(model.classes_, np.arange(k))
    assert model.n_outputs_ == (1 if k == 2 else k)
    A = outputs(model, X)
    T = P[:, 1:] if k == 2 else P
    if loss == "squared_error":
        want = 0.5 * ((T - A) ** 2).mean()
    else:
        want = cross_entropy(P, np.hstack([1 - A, A]) if k == 2 else A).mean()
        assert_allclose(model.predict_proba(X), np.hstack([1 - A, A]) if k == 2 else A, rtol=1e-12)
    assert model.loss_ == pytest.approx(want, rel=1e-12)
    assert_array_equal(model.predict(X), model.predict_proba(X).argmax(axis=1))


def test_a_constant_model_learns_the_mean():
    for k in (2, 4):
        P, weight = probabilities(k), np.arange(60.0)
        model = MLPClassifier((), solver="lbfgs", alpha=0.0, tol=1e-9, random_state=0).fit_soft(
            0 * X, P, weight
        )
        want = np.average(P, axis=0, weights=weight)
        assert_allclose(model.predict_proba(0 * X[:1])[0], want, atol=1e-5)


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("k", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_classes_that_are_certain_make_the_model_of_fit(solver, k, dtype):
    y = OF_THREE % k
    for P in (np.eye(k)[y], np.eye(k, dtype=np.float32)[y], np.eye(k, dtype=int)[y].tolist()):
        model = classifier(solver=solver).fit_soft(X.astype(dtype), P)
        assert_same(model, classifier(solver=solver).fit(X.astype(dtype), y))


@pytest.mark.parametrize("k", [2, 3])
def test_early_stopping_takes_the_most_probable_class(k):
    P = probabilities(k)
    y = P.argmax(axis=1)
    model = classifier(early_stopping=True, validation_fraction=0.3).fit_soft(X, P)
    hard = classifier(early_stopping=True, validation_fraction=0.3).fit(X, y)
    # The same split, of the same size; and the scores of shares of 18 rows.
    assert len(model.validation_scores_) == len(hard.validation_scores_) == 8
    assert_allclose(np.array(model.validation_scores_) * 18 % 1, 0, atol=1e-9)
    assert model.best_validation_score_ == max(model.validation_scores_)
    certain = classifier(early_stopping=True, validation_fraction=0.3).fit_soft(X, np.eye(k)[y])
    assert certain.validation_scores_ == hard.validation_scores_
    assert_same(certain, hard)


def test_validation_and_callbacks_of_probabilities():
    P, told = probabilities(3), []
    model = classifier(
        early_stopping=True, validation_fraction=0.3, scoring="loss", alpha=0.0,
        callback=lambda epoch, logs: told.append(logs["validation_loss"]),
    ).fit_soft(X, P)  # fmt: skip
    assert told == model.validation_loss_curve_ == [-score for score in model.validation_scores_]
    scored = classifier(early_stopping=True, validation_fraction=0.3, scoring="accuracy").fit_soft(X, P)
    plain = classifier(early_stopping=True, validation_fraction=0.3).fit_soft(X, P)
    assert scored.validation_scores_ == plain.validation_scores_


def test_names_of_the_classes():
    names = np.array(["a", "b", "c"])
    model = classifier().fit_soft(X, probabilities(3), classes=names)
    assert_array_equal(model.classes_, names)
    assert set(model.predict(X)) <= set(names)
    assert 0 <= model.score(X, names[OF_THREE]) <= 1
    # It may be trained further, on classes or on probabilities.
    model.partial_fit(X, names[OF_THREE])
    model.set_params(warm_start=True).fit_soft(X, probabilities(3))
    assert_array_equal(model.classes_, names)
    model.fit_soft(X, probabilities(3), classes=names)
    for bad in (["a", "b", "d"], ["a", "b"]):
        with pytest.raises(ValueError, match="warm_start can only be used where P has the classes"):
            model.fit_soft(X, probabilities(3), classes=bad)
    with pytest.raises(ValueError, match="warm_start can only be used where P has the classes"):
        model.fit_soft(X, probabilities(4))
    labels = classifier(warm_start=True).fit(X, LABELS)
    with pytest.raises(ValueError, match="cannot go on with a network of several labels"):
        labels.fit_soft(X, probabilities(2))
    for bad in (["b", "a", "c"], ["a", "b"], ["a", "a", "b"]):
        with pytest.raises(ValueError, match="classes must be 3 labels, sorted and different"):
            classifier().fit_soft(X, probabilities(3), classes=bad)


def test_smoothing_of_probabilities():
    for k in (2, 3):
        P = probabilities(k)
        model = classifier(label_smoothing=E).fit_soft(X, P)
        same = classifier().fit_soft(X, (1 - E) * P + E / k)
        assert_allclose(model.coefs_[0], same.coefs_[0], atol=1e-12)


def test_sums_that_are_rounded():
    P = np.round(probabilities(3), 4)
    assert abs(P.sum(axis=1) - 1).max() > 5e-5
    model = classifier().fit_soft(X, P)
    assert_same(model, classifier().fit_soft(X, P / P.sum(axis=1, keepdims=True)))
    assert_array_equal(classifier().fit_soft(X, probabilities(3).astype(np.float16)).classes_, [0, 1, 2])


def test_sparse_rows_and_weights():
    P, weight = probabilities(3), np.arange(60) % 3
    model = classifier(solver="lbfgs", max_iter=3).fit_soft(sparse.csr_matrix(X), P, weight)
    want = classifier(solver="lbfgs", max_iter=3).fit_soft(X.repeat(weight, axis=0), P.repeat(weight, axis=0))
    assert model.loss_ == pytest.approx(want.loss_, rel=1e-9)


def row(values):
    P = probabilities(len(values))
    P[7] = values
    return P


@pytest.mark.parametrize(
    ("P", "error", "told"),
    [
        (row([0.5, 0.2, 0.2]), ValueError, "row 7 sums to 0.9"),
        (row([0.5, 0.3, 0.2015]), ValueError, "must sum to 1 within 0.001: row 7 sums to 1.0015"),
        (row([1.2, -0.2]), ValueError, "some are negative"),
        (row([np.nan, 0.5]), ValueError, "Input P contains NaN"),
        (row([np.inf, 0.5]), ValueError, "Input P contains infinity"),
        (np.ones((60, 1)), ValueError, "two classes or more, got shape"),
        (np.ones(60), ValueError, "Expected 2D array"),
        (probabilities(3, 59), ValueError, "inconsistent numbers of samples"),
        (sparse.csr_matrix(probabilities(3)), TypeError, "Sparse data was passed for P"),
        (np.full((60, 3), "a"), ValueError, "could not convert string to float"),
        (None, ValueError, "Expected 2D array"),
    ],
)
def test_what_are_no_probabilities(P, error, told):
    model = classifier().fit(X, OF_THREE)
    before = pickle.dumps(vars(model))
    with pytest.raises(error, match=told):
        model.fit_soft(X, P)
    assert pickle.dumps(vars(model)) == before


@pytest.mark.parametrize("class_weight", ["balanced", {0: 1, 1: 2, 2: 3}])
def test_weights_of_classes_have_no_use(class_weight):
    with pytest.raises(ValueError, match="has no use in fit_soft"):
        classifier(class_weight=class_weight).fit_soft(X, probabilities(3))
