"""The estimators on a GPU beside themselves on the CPU: on hardware, or in the simulator.

The simulator runs every thread of a block as a thread of Python, so the data are tiny.
"""

import pickle
from importlib.util import find_spec

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError

from fastnn import (
    Autoencoder,
    GradKMeans,
    KMeans,
    MiniBatchKMeans,
    MLPClassifier,
    MLPRegressor,
    kmeans_plusplus,
)

if find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from fastnn.estimators.mlp import members
from fastnn.kernels.cuda.runtime.compat import SIMULATED, cuda
from fastnn.kernels.shared.device_rows import is_device_array
from fastnn.networks.side_by_side import side_by_side

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not SIMULATED and not cuda.is_available(), reason="no GPU, and no simulator"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
]


@pytest.fixture(scope="module")
def blobs():
    X, y = make_blobs(40, n_features=3, centers=3, random_state=0)
    return X, y


@pytest.mark.parametrize("options", [{"ensemble": 2}, {"n_init": 2}])
def test_many_networks(blobs, options, monkeypatch):
    X, y = blobs
    seen = []
    monkeypatch.setattr(members, "side_by_side", lambda jobs, n: seen.append(n) or side_by_side(jobs, n))
    here = MLPClassifier((3,), max_iter=1, random_state=0, **options).fit(X, y)
    there = clone(here).set_params(device="cuda", n_threads=2).fit(X, y)
    assert seen[-1] == 1  # one after the other
    np.testing.assert_allclose(there.predict_proba(X), here.predict_proba(X), rtol=1e-8)
    if "ensemble" in options:
        assert [member.device for member in there.estimators_] == ["cuda", "cuda"]
        assert type(there.predict_proba(cuda.to_device(X))) is type(cuda.to_device(X))
    else:
        assert there.best_init_ == here.best_init_


def same_fit(ours, theirs, rtol=1e-10):
    """Whether two k-means have the same attributes, but for the rounding of sums."""
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, rtol=rtol, atol=rtol)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=rtol)
    assert ours.n_iter_ == theirs.n_iter_
    assert all(type(value) is np.ndarray for value in (ours.labels_, ours.cluster_centers_))
    assert ours.cluster_centers_.dtype == theirs.cluster_centers_.dtype


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"init": "random", "n_init": 2},
        {"init": "k-means||"},
        {"init": "afk-mc2"},
        {"init": np.eye(3)},
        {"init": lambda X, n_clusters, random_state: X[:n_clusters], "n_init": 1},
        {"metric": "cosine"},
        {"tol": 0, "algorithm": "plain"},
    ],
    ids=lambda parameters: ",".join(parameters) or "default",
)
def test_kmeans(blobs, parameters):
    X, _ = blobs
    model = KMeans(3, random_state=0, **parameters)
    same_fit(clone(model).set_params(device="cuda").fit(X), model.fit(X))


def test_kmeans_with_weights_in_float32(blobs):
    X, _ = blobs
    X = X.astype(np.float32)
    weights = np.random.default_rng(0).uniform(size=len(X))
    model = KMeans(4, random_state=1)
    ours = clone(model).set_params(device="cuda").fit(X, sample_weight=weights)
    same_fit(ours, model.fit(X, sample_weight=weights), rtol=1e-5)
    assert ours.score(X, sample_weight=weights) == pytest.approx(
        model.score(X, sample_weight=weights), rel=1e-5
    )


def test_what_a_user_gives_and_gets(blobs):
    X, y = blobs
    there, seen = cuda.to_device(X), []

    def init(X, n_clusters, random_state):
        seen.append(is_device_array(X))
        return (X.copy_to_host() if is_device_array(X) else X)[:n_clusters]

    # Also where the centres are chosen among a few of the rows.
    MiniBatchKMeans(3, init=init, init_size=6, n_init=1, max_iter=1, batch_size=8).fit(there)
    assert seen == [True]
    kmeans = KMeans(3, random_state=0, max_iter=1).fit(there)
    frame = kmeans.set_output(transform="pandas").transform(there)
    np.testing.assert_allclose(frame.to_numpy(), kmeans.set_output(transform="default").transform(X))
    with pytest.raises(ValueError, match="requires y to be passed"):
        MLPClassifier().fit(there, None)
    mlp = MLPClassifier((2,), batch_size=20, random_state=0)
    mlp.partial_fit(there, y, classes=cuda.to_device(np.arange(3)))
    expected = mlp.predict_proba(X)
    mlp.coefs_ = [cuda.to_device(W) for W in mlp.coefs_]
    np.testing.assert_allclose(mlp.predict_proba(X), expected)
    single = MLPRegressor(hidden_layer_sizes=(2,), max_iter=1, random_state=0, device="cuda").fit(
        X.astype(np.float32), y
    )
    assert single.predict(X.astype(np.float16)).dtype == single.predict(X > 0).dtype == np.float32
    assert single.predict(X).dtype == np.float64
    labels = sparse.csr_array((y[:, None] == np.arange(2)).astype(int))
    several = MLPClassifier((2,), max_iter=1, random_state=0).fit(there, labels)
    assert sparse.issparse(several.predict(there))


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero)")
def test_a_search_ends_where_the_loss_is_not_finite(blobs):
    X, _ = blobs
    kept = []
    for device in ("cuda", "cpu"):
        model = MLPRegressor(hidden_layer_sizes=(2,), solver="lbfgs", random_state=0, device=device)
        with pytest.raises(ValueError, match="non-finite"):
            model.fit(X, X[:, 0] * 1e200)
        kept.append((model.loss_, model.coefs_[0]))
    assert kept[0][0] == kept[1][0] == np.inf
    np.testing.assert_array_equal(kept[0][1], kept[1][1])


def test_levenberg_marquardt_is_refused(blobs):
    X, _ = blobs
    with pytest.raises(ValueError, match="solver='lm' computes on the processor"):
        MLPRegressor(solver="lm", device="cuda").fit(X, X[:, 0])


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_autoencoder(blobs, solver):
    X, _ = blobs
    options = {"activation": "tanh", "solver": solver, "max_iter": 2, "random_state": 0}
    model = Autoencoder((3, 2), pretrain="layerwise", **options)
    ours, theirs = clone(model).fit(cuda.to_device(X)), model.fit(X)
    for W, V in zip(ours.coefs_, theirs.coefs_, strict=True):
        np.testing.assert_allclose(W, V, rtol=1e-6, atol=1e-9)
    codes = ours.transform(cuda.to_device(X))
    assert is_device_array(codes)
    np.testing.assert_allclose(codes.copy_to_host(), theirs.transform(X), rtol=1e-6, atol=1e-9)
    back = ours.inverse_transform(codes)
    assert is_device_array(back)
    np.testing.assert_allclose(back.copy_to_host(), theirs.inverse_transform(theirs.transform(X)), rtol=1e-5)
    assert ours.reconstruction_error(cuda.to_device(X)) == pytest.approx(theirs.reconstruction_error(X))
    for refused in ({"tied_weights": True}, {"noise": 0.1, "solver": "adam"}):
        with pytest.raises(ValueError, match="noise and tied_weights need the processor"):
            Autoencoder(2, **options | refused, device="cuda").fit(X)


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("scoring", [None, "loss"])
def test_validation_rows(blobs, early_stopping, scoring):
    X, y = blobs
    model = MLPClassifier((3,), batch_size=15, max_iter=2, random_state=0, scoring=scoring)
    model.set_params(early_stopping=early_stopping)
    val = {"X_val": X[:9], "y_val": y[:9], "sample_weight_val": np.arange(9)}
    if scoring is None and early_stopping:  # rows that are split off
        val = {}
    expected, epochs = model.fit(X, y, **val), []
    # The rows for validation go where those for training lie.
    for device, wanted in (("cuda", X), (None, cuda.to_device(X))):
        ours = clone(model).set_params(device=device, callback=lambda epoch, logs: epochs.append(logs))
        ours.fit(wanted, y, **val)
        np.testing.assert_allclose(ours.validation_scores_, expected.validation_scores_, rtol=1e-9)
        np.testing.assert_allclose(ours.validation_loss_curve_, expected.validation_loss_curve_, rtol=1e-9)
        assert ours.best_epoch_ == expected.best_epoch_
        assert epochs[-1]["validation_loss"] == ours.validation_loss_curve_[-1]
    there = {**val, "X_val": cuda.to_device(X[:9])} if val else {}
    assert clone(model).set_params(device="cpu").fit(X, y, **there).loss_curve_ == expected.loss_curve_
    with pytest.raises(ValueError, match="scoring='accuracy' needs the processor"):
        clone(model).set_params(device="cuda", scoring="accuracy", early_stopping=True).fit(X, y, **val)
    with pytest.raises(TypeError, match="Sparse data was passed for X_val"):
        clone(model).set_params(device="cuda").fit(X, y, X_val=sparse.csr_matrix(X), y_val=y)


def test_callbacks_get_the_data(blobs):
    pytest.importorskip("sklearn.callback", reason="scikit-learn before 1.9")
    seen = []

    class Spy:
        def setup(self, estimator=None, context=None):
            pass

        def teardown(self, estimator=None, context=None):
            pass

        def on_fit_task_begin(self, estimator, context, *, X=None):
            seen.append(type(X))

        def on_fit_task_end(self, estimator, context, *, X=None, fitted_estimator=None):
            pass

    KMeans(2, random_state=0, max_iter=1, device="cuda").set_callbacks(Spy()).fit(blobs[0])
    assert set(seen) == {np.ndarray}


def test_one_feature_and_one_output():
    x = np.linspace(0, 1, 12)
    y = x[:, None] ** 2
    kmeans = KMeans(2, random_state=0)
    same_fit(clone(kmeans).set_params(device="cuda").fit(x[:, None]), kmeans.fit(x[:, None]))
    mlp = MLPRegressor(hidden_layer_sizes=(3,), max_iter=1, random_state=0)
    ours = clone(mlp).set_params(device="cuda").fit(x[:, None], y.ravel())
    np.testing.assert_allclose(ours.predict(x[:, None]), mlp.fit(x[:, None], y.ravel()).predict(x[:, None]))


def test_an_empty_cluster_is_filled():
    X = np.array([[0.0], [0.1], [5.0], [5.1], [9.0]])
    model = KMeans(3, init=np.array([[0.0], [5.0], [100.0]]))
    same_fit(clone(model).set_params(device="cuda").fit(X), model.fit(X))


def test_kmeans_plusplus(blobs):
    X, _ = blobs
    weights = np.arange(40.0)
    expected = kmeans_plusplus(X, 5, sample_weight=weights, random_state=0)
    for data, kind in ((X, np.asarray), (cuda.to_device(X), lambda array: array.copy_to_host())):
        found = kmeans_plusplus(data, 5, sample_weight=weights, random_state=0, device="cuda")
        for ours, theirs in zip(found, expected, strict=True):
            np.testing.assert_array_equal(kind(ours), theirs)


@pytest.mark.parametrize("nested", [False, True])
def test_mini_batch_kmeans(blobs, nested):
    X, _ = blobs
    model = MiniBatchKMeans(3, batch_size=16, max_iter=4, nested=nested, random_state=0)
    ours = clone(model).set_params(device="cuda").fit(X)
    same_fit(ours, model.fit(X))
    assert ours.n_steps_ == model.n_steps_
    if not nested:
        same_fit(ours.partial_fit(X[:9]), model.partial_fit(X[:9]))


@pytest.mark.parametrize(
    "parameters", [{}, {"optimizer": "adam", "learning_rate": 0.1}, {"batch_size": None}]
)
def test_grad_kmeans(blobs, parameters):
    X, _ = blobs
    model = GradKMeans(3, random_state=0, max_iter=2, **{"batch_size": 16} | parameters)
    ours = clone(model).set_params(device="cuda").fit(X)
    same_fit(ours, model.fit(X))
    np.testing.assert_allclose(ours.loss_curve_, model.loss_curve_, rtol=1e-10)
    same_fit(ours.partial_fit(X[:9]), model.partial_fit(X[:9]))


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_results_are_of_the_kind_of_the_data(blobs, metric):
    X, _ = blobs
    there = cuda.to_device(X)
    model = KMeans(3, random_state=0, metric=metric).fit(X)
    ours = clone(model)
    labels = ours.fit_predict(there)
    same_fit(ours, model)
    for result, expected in (
        (labels, model.labels_),
        (ours.predict(there), model.predict(X)),
        (ours.transform(there), model.transform(X)),
    ):
        assert is_device_array(result)
        np.testing.assert_allclose(result.copy_to_host(), expected, rtol=1e-12)
    # NumPy in, NumPy out; and a model of the CPU takes what lies on a GPU.
    assert type(ours.predict(X)) is np.ndarray
    assert type(clone(model).set_params(device="cpu").fit(there).predict(there)) is np.ndarray
    assert type(ours.set_params(device="cuda").transform(X)) is np.ndarray
    assert ours.score(there) == pytest.approx(model.score(X))


@pytest.mark.parametrize(
    "model", [KMeans(2), MiniBatchKMeans(2), GradKMeans(2)], ids=lambda m: type(m).__name__
)
def test_bad_data_leave_the_model_as_it_was(blobs, model):
    X, _ = blobs
    model = clone(model).set_params(random_state=0, max_iter=1, device="cuda")
    with pytest.raises(NotFittedError):
        model.predict(cuda.to_device(X))
    before = pickle.dumps(model.fit(X).__dict__)
    wrong = X.copy()
    wrong[3, 1] = np.nan
    infinite = X.astype(np.float32)
    infinite[2, 0] = -np.inf
    for data, error, message in (
        (cuda.to_device(wrong), ValueError, "Input X contains NaN"),
        (cuda.to_device(infinite), ValueError, "Input X contains infinity"),
        (wrong, ValueError, "Input X contains NaN"),
        (cuda.to_device(X[0]), ValueError, "Expected 2D array, got 1D array"),
        (cuda.to_device(X[:1]), ValueError, "n_samples=1 should be >= n_clusters=2"),
        (sparse.csr_array(X), TypeError, "needs dense data"),
    ):
        with pytest.raises(error, match=message):
            model.fit(data)
        assert pickle.dumps(model.__dict__) == before
    with pytest.raises(ValueError, match="X has 2 features, but"):
        model.predict(cuda.to_device(np.ascontiguousarray(X[:, :2])))
    with pytest.raises(ValueError, match="device must be"):
        clone(model).set_params(device="gpu").fit(X)


def test_a_model_of_a_gpu_is_one_of_the_cpu_too(blobs):
    X, y = blobs
    kmeans = KMeans(3, random_state=0, device="cuda").fit(X)
    again = pickle.loads(pickle.dumps(kmeans)).set_params(device=None)
    np.testing.assert_array_equal(again.predict(X), kmeans.labels_)
    mlp = MLPClassifier((4,), max_iter=1, random_state=0, device="cuda").fit(X, y)
    again = pickle.loads(pickle.dumps(mlp)).set_params(device="cpu")
    np.testing.assert_allclose(again.predict_proba(X), mlp.predict_proba(X), rtol=1e-12)
    again.partial_fit(X, y)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "sgd", "activation": "gelu", "learning_rate": "adaptive", "alpha": 0.1},
        {"solver": "lbfgs", "activation": "tanh", "max_iter": 1, "hidden_layer_sizes": (3,)},
        {"early_stopping": True, "alpha": 0},
        {"shuffle": False, "batch_size": 40},
        {"dropout": 0.3, "activation": "silu"},
        {"learning_rate": "one_cycle", "learning_rate_init": 0.02},
        {"solver": "sgd", "learning_rate": "coslog4", "learning_rate_init": 0.2, "warmup_epochs": 0.6},
        {"dropout": 0.5, "early_stopping": True, "solver": "sgd", "hidden_layer_sizes": (9,)},
    ],
    ids=lambda parameters: ",".join(map(str, parameters.values())) or "default",
)
def test_mlp_classifier(blobs, parameters):
    X, y = blobs
    usual = {"hidden_layer_sizes": (5, 4), "batch_size": 16, "max_iter": 2}
    model = MLPClassifier(random_state=0, **usual | parameters)
    ours = clone(model).set_params(device="cuda").fit(X, y)
    model.fit(X, y)
    assert ours.loss_ == pytest.approx(model.loss_, rel=1e-9)
    for mine, theirs in zip(ours.coefs_ + ours.intercepts_, model.coefs_ + model.intercepts_, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(ours.predict_proba(X), model.predict_proba(X), rtol=1e-6)
    assert ours.score(cuda.to_device(X), y) == model.score(X, y)
    if model.solver != "lbfgs":
        np.testing.assert_allclose(ours.loss_curve_, model.loss_curve_, rtol=1e-9)
        assert ours.learning_rate_curve_ == model.learning_rate_curve_
        assert (ours.t_, ours._optimizer.t) == (model.t_, model._optimizer.t)
        np.testing.assert_allclose(ours._optimizer.state, model._optimizer.state, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_mlp_classifier_goes_on(blobs, dropout):
    X, y = blobs
    ours, theirs = (
        MLPClassifier((4,), batch_size=16, random_state=0, device=device, dropout=dropout)
        for device in ("cuda", "cpu")
    )
    weights = np.random.default_rng(1).integers(0, 2, len(X)) * 2.0
    for model in (ours, theirs):
        for _ in range(2):
            model.partial_fit(X, y, sample_weight=weights, classes=[0, 1, 2])
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
    np.testing.assert_allclose(ours.coefs_[0], theirs.coefs_[0], rtol=1e-8)


@pytest.mark.parametrize("options", [{}, {"dropout": 0.25, "early_stopping": True, "solver": "sgd"}])
def test_mlp_classifier_goes_on_from_a_checkpoint(blobs, options, tmp_path):
    """To the same bits: state and parameters go there and back as they are."""
    X, y = blobs

    def stop(epoch, logs):
        if epoch == 1:
            raise RuntimeError("enough")

    usual = {"batch_size": 16, "max_iter": 3, "random_state": 0, "device": "cuda"} | options
    undisturbed = MLPClassifier((4,), **usual).fit(X, y)
    model = MLPClassifier((4,), **usual, checkpoint=tmp_path / "fit", checkpoint_every=1, callback=stop)
    with pytest.raises(RuntimeError, match="enough"):
        model.fit(X, y)
    model.set_params(callback=None).fit(X, y)
    assert model.loss_curve_ == undisturbed.loss_curve_
    np.testing.assert_array_equal(model.coefs_[0], undisturbed.coefs_[0])
    np.testing.assert_array_equal(model._optimizer.state, undisturbed._optimizer.state)
    with pytest.raises(ValueError, match=r"the parameter device was 'cuda' and is 'cpu'; X differs"):
        model.set_params(device="cpu").fit(X, y)


@pytest.mark.parametrize("loss", ["squared_error", "poisson"])
def test_mlp_regressor_on_device_arrays(blobs, loss):
    X = blobs[0].astype(np.float32)
    Y = np.abs(X[:, :2]) + 0.5
    model = MLPRegressor(loss, (4,), max_iter=2, batch_size=16, random_state=0)
    ours = clone(model).fit(cuda.to_device(X), cuda.to_device(Y))
    model.fit(X, Y)
    np.testing.assert_allclose(ours.loss_curve_, model.loss_curve_, rtol=1e-5)
    prediction = ours.predict(cuda.to_device(X))
    assert is_device_array(prediction)
    np.testing.assert_allclose(prediction.copy_to_host(), model.predict(X), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_gradients_and_hidden_layers(blobs, kind, dtype):
    X, y = blobs[0].astype(dtype), blobs[1]
    y = y if kind is MLPClassifier else X[:, :2]
    weights = np.random.default_rng(0).uniform(size=40)
    theirs = kind(hidden_layer_sizes=(5, 4), use_bias=[False, True, True], alpha=0.5, random_state=0)
    theirs.initialize(X, y)
    ours, tolerance = (
        clone(theirs).set_params(device="cuda").initialize(X, y),
        1e-4 if dtype == np.float32 else 1e-9,
    )
    for rows in (X, cuda.to_device(X)):
        got, want = (model.loss_and_gradients(rows, y, weights, flat=True) for model in (ours, theirs))
        assert got[0] == pytest.approx(want[0], rel=tolerance)
        assert type(got[1]) is np.ndarray
        assert got[1].dtype == dtype
        np.testing.assert_allclose(got[1], want[1], atol=tolerance)
        assert not got[1][15:20].any()  # the biases that there are none of
    hidden = ours.hidden_activations(cuda.to_device(X), 0)
    assert is_device_array(hidden)
    np.testing.assert_allclose(
        hidden.copy_to_host(), theirs.hidden_activations(X, 0), rtol=tolerance, atol=tolerance
    )
    assert ours.hidden_activations(X).shape == (40, 4)


def test_gradient_check(blobs):
    X, _ = blobs
    model = MLPRegressor(hidden_layer_sizes=(2,), activation="tanh", random_state=0, device="cuda")
    assert model.initialize(X, X[:, 0]).gradient_check(X[:6], X[:6, 0]) < 1e-6
    model = MLPRegressor.from_weights(
        [np.ones((3, 2)), np.ones((2, 2)), np.ones((2, 1))], [np.zeros(2), np.zeros(2), [0.0]],
        activation=["tanh", "softmax"], device="cuda",
    )  # fmt: skip
    with pytest.raises(ValueError, match="On a GPU networks are trained with one activation"):
        model.gradient_check(X, X[:, 0])
    np.testing.assert_allclose(model.hidden_activations(X), 0.5)


@pytest.mark.parametrize("dropout", [0.0, 0.25])
def test_batches_without_weight_are_no_steps(blobs, dropout):
    X, y = blobs
    weights = np.repeat([1.0, 0.0, 2.0, 0.0], 10)
    ours, theirs = (
        MLPClassifier(
            (4,), batch_size=10, shuffle=False, max_iter=2, random_state=0, device=device, dropout=dropout
        ).fit(X, y, sample_weight=weights)
        for device in ("cuda", "cpu")
    )
    np.testing.assert_allclose(ours.loss_curve_, theirs.loss_curve_, rtol=1e-10)
    assert ours._optimizer.t == theirs._optimizer.t == 4


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero):RuntimeWarning")
def test_divergence_is_told_and_stops_the_updates(blobs):
    X, _ = blobs
    Y = X[:, 0] * 1e30
    messages = []
    for device in ("cuda", "cpu"):
        model = MLPRegressor(
            hidden_layer_sizes=(4,),
            solver="sgd",
            learning_rate_init=1e30,
            batch_size=10,
            random_state=0,
            device=device,
        )
        with pytest.raises(ValueError, match="non-finite") as error:
            model.fit(X, Y)
        messages.append(str(error.value))
        # The last finite parameters of a first fit are kept.
        assert all(np.isfinite(W).all() for W in model.coefs_)
    assert messages[0] == messages[1]


@pytest.mark.filterwarnings("ignore:(overflow|invalid value|divide by zero):RuntimeWarning")
def test_an_infinite_loss_is_no_end_there_either(blobs):
    X, _ = blobs
    models = []
    for device in ("cuda", "cpu"):
        # The gradient's square is infinite too: Adam does not follow it.
        model = MLPRegressor(
            hidden_layer_sizes=(4,), max_iter=2, batch_size=10, random_state=0, device=device
        )
        with pytest.warns(ConvergenceWarning, match="the loss is infinite in 2 of 2 epochs"):
            model.fit(X, X[:, 0] * 1e200)
        models.append(model)
    ours, theirs = models
    assert ours.loss_curve_ == theirs.loss_curve_ == [np.inf] * 2
    for W, expected in zip(ours.coefs_ + ours.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True):
        np.testing.assert_allclose(W, expected, rtol=1e-6)


def test_too_little_memory_is_told(blobs, monkeypatch):
    X, _ = blobs
    model = KMeans(2, random_state=0, device="cuda").fit(X)
    before = pickle.dumps(model.__dict__)

    def refuse(*arguments):
        raise RuntimeError("[CUresult.CUDA_ERROR_OUT_OF_MEMORY] Call to cuMemAlloc results in ...")

    with monkeypatch.context() as patch:
        patch.setattr(cuda, "to_device", refuse)
        with pytest.raises(MemoryError, match="has too little room"):
            model.fit(X)
    assert pickle.dumps(model.__dict__) == before
    np.testing.assert_array_equal(model.fit(X).labels_, pickle.loads(before)["labels_"])
