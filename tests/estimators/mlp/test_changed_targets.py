"""Targets of another kind than those that the network has: one of several classes, or several labels."""

import pickle

import numpy as np
import pytest
from scipy import sparse

from fastnn import MLPClassifier

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 4))
# Columns are numbered 0, 1, 2, as the classes are.
LABELS, CLASSES = RNG.integers(0, 2, size=(60, 3)), RNG.permutation(np.arange(60) % 3)
ONE_CLASS, SEVERAL_LABELS = "has several labels .* has one class", "has one of several .* has several labels"
PAIRS = [
    (LABELS, CLASSES, ONE_CLASS),
    (LABELS, LABELS[:, 0], ONE_CLASS),
    (sparse.csr_array(LABELS), CLASSES, ONE_CLASS),
    (CLASSES, LABELS, SEVERAL_LABELS),
    (CLASSES, sparse.csr_array(LABELS), SEVERAL_LABELS),
    (CLASSES > 1, LABELS, SEVERAL_LABELS),
]


def classifier(**parameters):
    return MLPClassifier((5,), max_iter=3, random_state=0, **parameters)


@pytest.mark.parametrize(("y", "other", "message"), PAIRS)
@pytest.mark.parametrize(
    "call",
    [
        lambda model, other: model.partial_fit(X, other),
        lambda model, other: model.set_params(warm_start=True).fit(X, other),
        lambda model, other: model.loss_and_gradients(X, other),
    ],
)
def test_a_fitted_network_refuses_them(y, other, message, call):
    model = classifier().fit(X, y)
    state = pickle.dumps({name: value for name, value in vars(model).items() if name != "warm_start"})
    with pytest.raises(ValueError, match=message):
        call(model, other)
    after = {name: value for name, value in vars(model).items() if name != "warm_start"}
    assert pickle.dumps(after) == state


@pytest.mark.parametrize(("y", "other", "message"), PAIRS)
def test_validation_rows_have_to_be_of_the_same_kind(y, other, message):
    with pytest.raises(ValueError, match=f"^Of X_val, y_val and sample_weight_val: .*{message}"):
        classifier().fit(X, y, X_val=X, y_val=other)


@pytest.mark.parametrize("y", [LABELS, sparse.csr_array(LABELS), CLASSES, CLASSES > 1])
def test_the_same_kind_goes_on(y):
    model = classifier().fit(X, y, X_val=X, y_val=y)
    assert np.isfinite(model.partial_fit(X, y).set_params(warm_start=True).fit(X, y).loss_)
