"""Matplotlib is loaded when a figure is drawn, and missed in words."""

import os
import subprocess
import sys

import numpy as np
import pytest
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn
from fastnn import ClusterDisplay, KMeans, LossCurveDisplay, MLPRegressor, SaturationDisplay, WeightsDisplay

X = np.arange(12.0).reshape(6, 2)


def test_nothing_is_loaded_before_a_figure_is_drawn():
    code = """
import sys
import fastnn
assert not any(name.startswith("fastnn.displays") for name in sys.modules)
for name in fastnn.__all__:
    getattr(fastnn, name)
assert "fastnn.displays.weights" in sys.modules
print("matplotlib" in sys.modules)
fastnn.WeightsDisplay([[1.0]]).plot()
print("matplotlib" in sys.modules)
"""
    environment = os.environ | {"MPLBACKEND": "Agg"}
    command = [sys.executable, "-c", code]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout
    assert shown.split() == ["False", "True"]


@pytest.fixture
def no_matplotlib(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.mark.parametrize(
    ("draw", "caller"),
    [
        (lambda: LossCurveDisplay.from_estimator(None), "LossCurveDisplay.from_estimator"),
        (lambda: WeightsDisplay.from_estimator(None), "WeightsDisplay.from_estimator"),
        (lambda: SaturationDisplay.from_estimator(None), "SaturationDisplay.from_estimator"),
        (lambda: ClusterDisplay.from_estimator(None, X), "ClusterDisplay.from_estimator"),
        (lambda: ClusterDisplay.from_labels(X, [0, 0, 0, 1, 1, 1]), "ClusterDisplay.from_labels"),
        (lambda: LossCurveDisplay([1, 2]).plot(), "LossCurveDisplay.plot"),
        (lambda: WeightsDisplay([[1]]).plot(), "WeightsDisplay.plot"),
        (lambda: SaturationDisplay([1]).plot(), "SaturationDisplay.plot"),
        (lambda: ClusterDisplay([1], [0], clusters=[0], sizes=[1]).plot(), "ClusterDisplay.plot"),
    ],
)
def test_without_matplotlib_it_is_asked_for(no_matplotlib, draw, caller):
    with pytest.raises(ImportError, match=rf"{caller} requires matplotlib"):
        draw()


@pytest.mark.parametrize("name", [name for name in fastnn.__all__ if name.endswith("Display")])
def test_names_are_listed_and_loaded(name):
    assert name in dir(fastnn)
    assert getattr(fastnn, name).__module__.startswith("fastnn.displays.")


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("display", [LossCurveDisplay, SaturationDisplay, WeightsDisplay])
def test_an_ensemble_is_refused_and_its_members_are_shown(display, pyplot):
    options = {"hidden_layer_sizes": (3,), "max_iter": 2, "random_state": 0}
    model = MLPRegressor(**options, ensemble=2).fit(X, X[:, 0])
    for estimator in (model, make_pipeline(StandardScaler(), model).fit(X, X[:, 0])):
        with pytest.raises(ValueError, match="this MLPRegressor is an ensemble: give one of estimators_"):
            display.from_estimator(estimator)
    assert not pyplot.get_fignums()
    display.from_estimator(model.estimators_[1])


def test_a_display_changes_no_estimator():
    model = MLPRegressor.from_weights([np.ones((2, 3)), np.ones((3, 1))], [np.zeros(3), np.zeros(1)])
    kmeans = KMeans(2, random_state=0).fit(X)
    before = [dict(vars(each)) for each in (model, kmeans)]
    SaturationDisplay.from_estimator(model, X)
    WeightsDisplay.from_estimator(model)
    ClusterDisplay.from_estimator(kmeans, X)
    for old, each in zip(before, (model, kmeans), strict=True):
        assert old.keys() == vars(each).keys()
        assert all(old[name] is value for name, value in vars(each).items())
