"""scikit-learn's callbacks in KMeans."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import KMeans

callback = pytest.importorskip("sklearn.callback")
X = make_blobs(300, 3, centers=5, random_state=0)[0]


class Recorder:
    """Notes what it is told, and ends a run after `stop_after` iterations."""

    def __init__(self, stop_after=None, fail=False):
        self.stop_after, self.fail = stop_after, fail
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def on_fit_task_begin(self, estimator, context, *, X):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.events.append(f"end {context.task_name}")
        if context.task_name == "iteration":
            self.score = fitted_estimator.score(X)
            if self.fail:
                raise RuntimeError("the callback failed")
            return self.stop_after is not None and self.events.count("end iteration") >= self.stop_after

    def teardown(self, estimator, context):
        self.events.append("teardown")


def test_every_iteration_of_every_run_is_a_task():
    recorder = Recorder()
    model = KMeans(5, init="random", n_init=2, random_state=0).set_callbacks(recorder).fit(X)
    assert recorder.events[:3] == ["setup", "begin fit", "begin run"]
    assert recorder.events[-3:] == ["end run", "end fit", "teardown"]
    assert recorder.events.count("end run") == 2
    assert recorder.events.count("end iteration") >= model.n_iter_
    plain = KMeans(5, init="random", n_init=2, random_state=0).fit(X)
    np.testing.assert_array_equal(model.labels_, plain.labels_)
    assert recorder.score <= 0


def test_a_callback_ends_the_run():
    model = KMeans(5, init=X[:5]).set_callbacks(Recorder(stop_after=2)).fit(X)
    expected = KMeans(5, init=X[:5], max_iter=2).fit(X)
    assert model.n_iter_ == 2
    np.testing.assert_array_equal(model.cluster_centers_, expected.cluster_centers_)
    np.testing.assert_array_equal(model.predict(X), model.labels_)


def test_a_failing_callback_or_fit_leaves_the_model_and_tears_down():
    model = KMeans(5, random_state=0).fit(X)
    before = dict(vars(model))
    recorder = Recorder(fail=True)
    with pytest.raises(RuntimeError, match="callback failed"):
        model.set_callbacks(recorder).fit(X)
    assert recorder.events[-1] == "teardown"
    recorder = Recorder()
    with pytest.raises(ValueError, match="NaN"):
        model.set_callbacks(recorder).fit(np.full((9, 3), np.nan))
    assert recorder.events == ["setup", "teardown"]
    model.set_callbacks()
    assert vars(model) == before


def test_progress_bar(capsys):
    pytest.importorskip("rich")
    KMeans(5, random_state=0).set_callbacks(callback.ProgressBar()).fit(X)
    assert "KMeans" in capsys.readouterr().out
    pipeline = make_pipeline(StandardScaler(), KMeans(5, random_state=0))
    clone(pipeline).set_callbacks(callback.ProgressBar()).fit(X)
    assert "KMeans" in capsys.readouterr().out
