"""scikit-learn's callbacks in KMeans and the networks."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import Autoencoder, KMeans, MLPClassifier, MLPRegressor

callback = pytest.importorskip("sklearn.callback")
X = make_blobs(300, 3, centers=5, random_state=0)[0]


class Recorder:
    """Notes what it is told, and ends a run after `stop_after` iterations."""

    def __init__(self, stop_after=None, fail=False, data=(X,)):
        self.stop_after, self.fail, self.data = stop_after, fail, data
        self.events = []

    def setup(self, estimator, context):
        self.events.append("setup")

    def on_fit_task_begin(self, estimator, context, *, X):
        self.events.append(f"begin {context.task_name}")

    def on_fit_task_end(self, estimator, context, *, fitted_estimator):
        self.events.append(f"end {context.task_name}")
        if context.task_name == "fit" and hasattr(fitted_estimator, "estimators_"):
            self.score = fitted_estimator.score(*self.data)
        if context.task_name in ("iteration", "epoch"):
            self.score = fitted_estimator.score(*self.data)
            if self.fail:
                raise RuntimeError("the callback failed")
            n_done = self.events.count(f"end {context.task_name}")
            return self.stop_after is not None and n_done >= self.stop_after

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


# Networks.

Y = (X[:, 0] > 0).astype(int)
SMALL = {"hidden_layer_sizes": (4,), "max_iter": 5, "random_state": 0}
NETWORKS = [
    MLPClassifier(**SMALL),
    MLPClassifier(**SMALL, solver="sgd", early_stopping=True, dropout=0.2),
    MLPRegressor(**SMALL, solver="lbfgs", activation="tanh"),
    MLPRegressor(**SMALL, solver="lm", activation="tanh"),
    Autoencoder(**SMALL, tied_weights=True, activation="tanh"),
]
each_network = pytest.mark.parametrize("network", NETWORKS, ids=lambda model: type(model).__name__)
unfinished = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@unfinished
@each_network
def test_every_epoch_is_a_task(network):
    recorder = Recorder(data=(X, Y))
    model, plain = clone(network).set_callbacks(recorder).fit(X, Y), clone(network).fit(X, Y)
    epochs = ["begin epoch", "end epoch"] * model.n_iter_
    assert recorder.events == ["setup", "begin fit", *epochs, "end fit", "teardown"]
    for a, b in zip(model.coefs_, plain.coefs_, strict=True):
        np.testing.assert_array_equal(a, b)
    if not network.early_stopping:  # which may keep another epoch than the last
        assert recorder.score == model.score(X, Y)


@each_network
def test_a_callback_ends_the_fit_of_a_network(network):
    model = clone(network).set_callbacks(Recorder(stop_after=2, data=(X, Y))).fit(X, Y)
    assert model.n_iter_ == 2


@unfinished
@each_network
def test_a_failing_callback_leaves_the_network(network):
    model = clone(network).fit(X, Y)
    before = dict(vars(model))
    recorder = Recorder(fail=True, data=(X, Y))
    with pytest.raises(RuntimeError, match="callback failed"):
        model.set_callbacks(recorder).fit(X, Y)
    assert recorder.events[-1] == "teardown"
    model.set_callbacks()
    assert vars(model) == before


@unfinished
@pytest.mark.parametrize("options", [{"n_init": 2}, {"ensemble": 2}])
def test_many_networks_are_one_task(options):
    """They run side by side, and tasks come one after the other."""
    network, recorder = MLPClassifier(**SMALL, **options), Recorder(data=(X, Y))
    model, plain = clone(network).set_callbacks(recorder).fit(X, Y), clone(network).fit(X, Y)
    assert recorder.events == ["setup", "begin fit", "end fit", "teardown"]
    np.testing.assert_array_equal(model.predict_proba(X), plain.predict_proba(X))
    if "ensemble" in options:
        assert recorder.score == model.score(X, Y)


@unfinished
def test_partial_fit_has_no_tasks():
    recorder = Recorder(data=(X, Y))
    MLPClassifier(**SMALL).set_callbacks(recorder).partial_fit(X, Y, classes=[0, 1])
    assert recorder.events == []


@unfinished
@pytest.mark.parametrize("in_pipeline", [False, True])
def test_a_scoring_monitor_logs_the_scores_of_each_epoch(in_pipeline):
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = MLPClassifier(**SMALL).set_callbacks(monitor)
    weights = np.arange(len(X)) % 3
    if in_pipeline:
        make_pipeline(StandardScaler(), model).fit(X, Y)
    else:
        model.fit(X, Y, sample_weight=weights)
    scores = [row["accuracy"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(scores) == model.n_iter_ == 5
    data = StandardScaler().fit_transform(X) if in_pipeline else X
    assert scores[-1] == model.score(data, Y, None if in_pipeline else weights)


@unfinished
def test_progress_bar_of_a_network(capsys):
    pytest.importorskip("rich")
    MLPClassifier(**SMALL).set_callbacks(callback.ProgressBar()).fit(X, Y)
    out = capsys.readouterr().out
    assert "MLPClassifier" in out
    assert "100%" in out
