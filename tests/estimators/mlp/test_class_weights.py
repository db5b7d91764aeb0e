"""The parameter `class_weight`: a fit with it is one with these weights of the rows, to the last bit."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.metrics import balanced_accuracy_score
from sklearn.utils._param_validation import InvalidParameterError
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight

from fastnn import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 4))
OF_THREE = np.repeat([0, 1, 2], [80, 30, 10])
TARGETS = {
    "two": (OF_THREE > 0).astype(int),
    "three": OF_THREE,
    "names": np.array(["few", "many", "none"])[OF_THREE],
    "labels": np.stack([OF_THREE > 0, OF_THREE > 1, np.arange(120) % 4 == 0], axis=1).astype(int),
}
# Sets of weights that go with the targets.
GIVEN = {
    "two": {0: 0.5, 1: 4},
    "three": {0: 1, 1: 2.5, 2: 7},
    "names": {"few": 1, "many": np.float32(2.5), "none": 7},
    "labels": [{0: 1, 1: 2}, {1: 5}, {0: 0.5, 1: 1.5}],
}
each_target = pytest.mark.parametrize("targets", TARGETS)


def classifier(**parameters):
    return MLPClassifier((5,), **{"max_iter": 4, "random_state": 0, "batch_size": 25} | parameters)


def assert_same(model, other):
    for array, same in zip(model.coefs_ + model.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert_array_equal(array, same)
    assert model.loss_ == other.loss_


@each_target
@pytest.mark.parametrize("how", ["given", "balanced"])
@pytest.mark.parametrize(
    "parameters",
    [
        {"solver": "sgd", "alpha": 0.1},
        {"solver": "lbfgs"},
        {"early_stopping": True, "learning_rate_init": 0.05},
    ],
)
def test_they_multiply_the_weights_of_the_rows(targets, how, parameters):
    y = TARGETS[targets]
    class_weight = GIVEN[targets] if how == "given" else "balanced"
    of_rows = compute_sample_weight(class_weight, y)
    model = classifier(class_weight=class_weight, **parameters).fit(X, y)
    weighted = classifier(**parameters).fit(X, y, sample_weight=of_rows)
    assert_same(model, weighted)
    if "early_stopping" in parameters:  # of all of y, and for the score too
        assert model.validation_scores_ == weighted.validation_scores_
        plain = classifier(**parameters).fit(X, y)
        assert model.validation_scores_ != plain.validation_scores_
    if how == "given":
        weight = RNG.uniform(0, 2, size=120)
        both = model.fit(X, y, sample_weight=weight)
        assert_same(both, classifier(**parameters).fit(X, y, sample_weight=weight * of_rows))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_balanced_counts_weights(dtype):
    A, y = X[:6].astype(dtype), np.array([0, 0, 0, 0, 1, 1])
    model = classifier(class_weight="balanced", batch_size=6).fit(A, y)
    assert_allclose(model.class_weight_, [6 / (2 * 4), 6 / (2 * 2)], rtol=1e-15)
    weight = np.array([1, 1, 1, 1, 3, 3])
    model.fit(A, y, sample_weight=weight)
    assert_allclose(model.class_weight_, [10 / (2 * 4), 10 / (2 * 6)], rtol=1e-15)
    want = weight * np.array([1.25, 10 / 12])[y]
    assert_same(model, classifier(batch_size=6).fit(A, y, sample_weight=want))
    # Weights are as good as repetitions: those of the classes are the same.
    model.fit(A.repeat(weight, axis=0), y.repeat(weight))
    assert_allclose(model.class_weight_, [10 / (2 * 4), 10 / (2 * 6)], rtol=1e-15)
    # A class without any weight.
    model.fit(A, y, sample_weight=y)
    assert_array_equal(model.class_weight_, [0, 0.5])
    # Each label counts by itself; one that all rows have has one class.
    labels = np.stack([y, np.ones(6, int)], axis=1)
    model.fit(A, labels, sample_weight=weight)
    assert_allclose(model.class_weight_, [[1.25, 10 / 12], [0, 1]], rtol=1e-15)


def test_balanced_counts_as_scikit_learn():
    y, weight = OF_THREE, RNG.uniform(0, 2, size=120)
    try:
        want = compute_class_weight("balanced", classes=np.arange(3), y=y, sample_weight=weight)
    except TypeError:
        pytest.skip("scikit-learn 1.9 has weights there")
    model = classifier(class_weight="balanced").fit(X, y, sample_weight=weight)
    assert_allclose(model.class_weight_, want, rtol=1e-12)


def test_the_rare_class_is_found():
    rng = np.random.default_rng(1)
    y = (np.arange(1020) % 51 == 0).astype(int)  # 1 : 50
    A = rng.normal(size=(1020, 3)) + 1.5 * y[:, None]
    parameters = {"solver": "lbfgs", "max_iter": 50, "alpha": 1.0}
    plain = classifier(**parameters).fit(A, y)
    balanced = clone(plain).set_params(class_weight="balanced").fit(A, y)
    score, better = (balanced_accuracy_score(y, model.predict(A)) for model in (plain, balanced))
    assert score < 0.8 < 0.9 < better


@each_target
def test_partial_fit(targets):
    y = TARGETS[targets]
    classes = np.arange(3) if targets == "labels" else np.unique(y)
    model, weighted = classifier(class_weight=GIVEN[targets]), classifier()
    for part in (slice(90), slice(30, 120)):
        model.partial_fit(X[part], y[part], classes=classes)
        of_rows = compute_sample_weight(GIVEN[targets], y)[part]
        weighted.partial_fit(X[part], y[part], of_rows, classes=classes)
        assert_same(model, weighted)


@pytest.mark.parametrize("given", ["balanced", ["balanced", {0: 1}, {0: 1}]], ids=["all", "one"])
def test_partial_fit_does_not_know_how_often_classes_come(given):
    model = classifier(class_weight=given)
    with pytest.raises(ValueError, match=r"partial_fit does not support class_weight=.*'balanced'"):
        model.partial_fit(X, TARGETS["labels"], classes=np.arange(3))
    assert not hasattr(model, "classes_")


def test_labels_may_be_balanced_one_by_one():
    y = TARGETS["labels"]
    balanced = classifier(class_weight="balanced").fit(X, y).class_weight_
    model = classifier(class_weight=["balanced", {0: 1, 1: 3}, "balanced"]).fit(X, y)
    assert_array_equal(model.class_weight_, [balanced[0], [1, 3], balanced[2]])


@each_target
def test_gradients_are_those_of_the_fit(targets):
    y = TARGETS[targets]
    for class_weight in (GIVEN[targets], "balanced"):
        model = classifier(class_weight=class_weight, activation="tanh").fit(X, y)
        loss, gradient = model.loss_and_gradients(X, y, flat=True)
        of_rows = compute_sample_weight(class_weight, y)
        want = model.set_params(class_weight=None).loss_and_gradients(X, y, of_rows, flat=True)
        assert loss == want[0]
        assert_array_equal(gradient, want[1])


def test_what_a_fit_leaves():
    model = classifier(class_weight={0: 2, 1: 1, 2: 1}).fit(X, OF_THREE)
    assert_array_equal(model.class_weight_, [2, 1, 1])
    assert_array_equal(pickle.loads(pickle.dumps(model)).class_weight_, [2, 1, 1])
    assert clone(model).get_params()["class_weight"] == {0: 2, 1: 1, 2: 1}
    assert not hasattr(model.set_params(class_weight=None).fit(X, OF_THREE), "class_weight_")


@each_target
@pytest.mark.parametrize("how", ["given", "balanced"])
@pytest.mark.parametrize("early_stopping", [False, True])
def test_validation_rows_have_the_weights_of_the_fit(targets, how, early_stopping):
    y, of_training = TARGETS[targets], slice(0, 120, 2)
    of_validation, weight = [3, 119, 101, 41, 5], np.arange(5.0)
    class_weight = GIVEN[targets] if how == "given" else "balanced"
    rows = compute_sample_weight(class_weight, y[of_training])
    # The same classes there, of other shares: they have the weights that they have in training.
    of_each = dict(zip(map(str, y[of_training]), rows, strict=True))
    val = weight * [of_each[str(y[i])] for i in of_validation]
    parameters = {"early_stopping": early_stopping, "learning_rate_init": 0.05}
    validation = {"X_val": X[of_validation], "y_val": y[of_validation]}
    model = classifier(class_weight=class_weight, **parameters)
    model.fit(X[of_training], y[of_training], sample_weight_val=weight, **validation)
    weighted = classifier(**parameters)
    weighted.fit(X[of_training], y[of_training], rows, sample_weight_val=val, **validation)
    assert_same(model, weighted)
    assert model.validation_scores_ == weighted.validation_scores_
    assert model.validation_loss_curve_ == weighted.validation_loss_curve_


def test_validation_rows_of_classes_without_weight():
    model = classifier(class_weight={0: 1, 1: 1, 2: 0})
    with pytest.raises(ValueError, match=r"Of X_val, y_val and .* class_weight=.* all samples are 0"):
        model.fit(X, OF_THREE, X_val=X[-5:], y_val=OF_THREE[-5:])
    assert not hasattr(model, "classes_")


def message(call):
    with pytest.raises(ValueError, match="class_weight") as caught:
        call()
    return str(caught.value)


@pytest.mark.parametrize("targets", ["two", "three", "names"])
def test_classes_that_a_mapping_does_not_have(targets):
    y = TARGETS[targets]
    classes = np.unique(y)
    for given in ({"other": 2}, {classes[0]: 1, "other": 2, "third": 1, "fourth": 1}):
        want = message(lambda given=given: compute_class_weight(given, classes=classes, y=y))
        assert "are not in class_weight" in want
        assert message(lambda given=given: classifier(class_weight=given).fit(X, y)) == want
    # Some of the classes, or none of them.
    some = classifier(class_weight={classes[0]: 3}).fit(X, y)
    assert_array_equal(some.class_weight_, [3, *[1] * (len(classes) - 1)])
    assert_array_equal(classifier(class_weight={}).fit(X, y).class_weight_, 1)


@pytest.mark.parametrize(
    ("targets", "given", "told"),
    [
        ("three", {0: -1.0}, "finite numbers that are not negative, got -1.0"),
        ("three", {0: np.nan}, "finite numbers that are not negative, got nan"),
        ("three", {0: np.inf}, "finite numbers that are not negative, got inf"),
        ("three", {0: "1"}, "finite numbers that are not negative, got '1'"),
        ("three", [{0: 1}], 'must be a mapping or "balanced"'),
        (
            "three",
            {0: 0, 1: 0, 2: 0},
            r"^With class_weight=\{0: 0, 1: 0, 2: 0\} the weights of all samples are 0",
        ),
        ("labels", {0: 1, 1: 2}, "list of one mapping for each label"),
        ("labels", [{0: 1, 1: 2}] * 2, "it has 2 elements, and there are 3 labels"),
        ("labels", [{0: 1}, {0: 1}, 3], 'must be a mapping or "balanced"'),
        ("labels", [{0: 1}, {0: 1}, {1: -3}], "finite numbers that are not negative"),
    ],
)
def test_bad_weights_leave_a_model_as_it_was(targets, given, told):
    y = TARGETS[targets]
    model = classifier().fit(X, y)
    before = pickle.dumps(model.coefs_)
    with pytest.raises(ValueError, match=told):
        model.set_params(class_weight=given).fit(X, y)
    with pytest.raises(ValueError, match=told):
        model.partial_fit(X, y)
    assert pickle.dumps(model.coefs_) == before


@pytest.mark.parametrize("given", ["balance", 1, ({0: 1},), np.ones(3)])
def test_bad_types(given):
    with pytest.raises(InvalidParameterError, match="'class_weight' parameter of MLPClassifier must be"):
        classifier(class_weight=given).fit(X, OF_THREE)
