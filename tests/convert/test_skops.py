"""skops dumps and loads fitted estimators, and has to trust no types but the package's own."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.datasets import load_iris

from fastnn import Autoencoder, GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor
from fastnn.networks.schedules import SCHEDULES

io = pytest.importorskip("skops.io")

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

X, Y = load_iris(return_X_y=True)
NET = {"hidden_layer_sizes": (5,), "max_iter": 3, "random_state": 0}
MODELS = {
    "strings": MLPClassifier(**NET),
    **{name: MLPRegressor(solver="sgd", learning_rate=name, **NET) for name in SCHEDULES},
    "early stopping": MLPRegressor(early_stopping=True, **NET),
    "lbfgs": MLPRegressor(solver="lbfgs", **NET),
    "lm": MLPRegressor(solver="lm", **NET),
    "autoencoder": Autoencoder(noise=0.1, **NET),
    "k-means": KMeans(3, random_state=0),
    "mini-batches": MiniBatchKMeans(3, random_state=0),
    "gradient": GradKMeans(3, optimizer="adam", learning_rate=0.01, random_state=0),
}
# What the documentation lists.
PAGE = (Path(__file__).resolve().parents[2] / "docs/conversion.md").read_text()
LISTED = set(re.findall(r'^    "(fastnn\.[\w.]+)",$', PAGE, re.M))


def outputs(model):
    return (model.predict if hasattr(model, "predict") else model.transform)(X)


@pytest.mark.parametrize("name", MODELS)
def test_a_model_comes_back(name):
    model = MODELS[name]
    target = np.array(["a", "b", "c"])[Y] if name == "strings" else Y
    model.fit(X, target)
    dumped = io.dumps(model)
    untrusted = io.get_untrusted_types(data=dumped)
    assert set(untrusted) <= LISTED
    assert f"{type(model).__module__}.{type(model).__name__}" in untrusted
    restored = io.loads(dumped, trusted=untrusted)
    assert restored.get_params() == model.get_params()
    assert_array_equal(outputs(restored), outputs(model))
    whole = getattr(model, "early_stopping", False) or (name in SCHEDULES and SCHEDULES[name].needs_end)
    if hasattr(model, "partial_fit") and not whole:
        for each in (model, restored):
            each.partial_fit(X, target)
        assert_array_equal(outputs(restored), outputs(model))


def test_weights_that_were_begun_come_back():
    model = MLPClassifier(**NET).initialize(X, Y)
    dumped = io.dumps(model)
    restored = io.loads(dumped, trusted=io.get_untrusted_types(data=dumped))
    for each in (model, restored):
        each.set_params(warm_start=True).fit(X, Y)
    assert_array_equal(restored.predict_proba(X), model.predict_proba(X))


def test_the_list_of_the_documentation_holds_no_more_than_there_is():
    found = set()
    for model in MODELS.values():
        found |= set(io.get_untrusted_types(data=io.dumps(model.fit(X, Y))))
    assert found == LISTED
