"""GradKMeans: the estimator's parameters, attributes, and what a failing call leaves behind."""

import pickle

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import GradKMeans
from fastnn.kernels import assign
from tests import reference

OPTIMIZERS = [
    {"optimizer": "sgd"},
    {"optimizer": "sgd", "learning_rate": "sqrt"},
    {"forgetting": 0.1},
    {"optimizer": "sgd", "learning_rate": 0.1},
    {"optimizer": "sgd", "learning_rate": 1e-3, "reduction": "sum"},
    {"optimizer": "sgd", "learning_rate": 0.1, "reduction": "mean"},
    {"optimizer": "momentum", "learning_rate": 0.05},
    {"optimizer": "adam", "learning_rate": 0.05},
    {"optimizer": "rmsprop", "learning_rate": 0.05},
    {"optimizer": "newton"},
    {"optimizer": "newton", "learning_rate": 0.5},
]


def blobs(n=500, d=3, k=4, seed=0, dtype=np.float64):
    return make_blobs(n, d, centers=k, random_state=seed)[0].astype(dtype)


def state(model):
    """A deep copy of everything the estimator holds."""
    return pickle.loads(pickle.dumps(vars(model)))


def assert_same_state(model, before):
    after = vars(model)
    assert after.keys() == before.keys()
    for name in before:
        a, b = after[name], before[name]
        # The bytes of every attribute, whatever it holds.
        assert pickle.dumps(a) == pickle.dumps(b), name


def check_consistent(model, X, sample_weight=None):
    """Labels and inertia are those of the centres."""
    labels, distances = reference.assign(X, model.cluster_centers_)
    np.testing.assert_array_equal(model.labels_, labels)
    w = np.ones(len(X)) if sample_weight is None else sample_weight
    assert model.inertia_ == pytest.approx(
        (w * distances).sum(), rel=1e-4 if X.dtype == np.float32 else 1e-10
    )
    np.testing.assert_array_equal(model.predict(X), labels)


# --- fit ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("batch_size", [64, None])
@pytest.mark.parametrize("polish", [True, False])
@pytest.mark.parametrize("parameters", OPTIMIZERS, ids=str)
def test_attributes(parameters, polish, batch_size, dtype):
    X = blobs(dtype=dtype)
    model = GradKMeans(4, batch_size=batch_size, polish=polish, max_iter=15, random_state=0, **parameters)
    assert model.fit(X) is model
    check_consistent(model, X)
    assert model.cluster_centers_.shape == (4, 3)
    assert model.cluster_centers_.dtype == dtype
    assert model.labels_.dtype == np.int32
    assert 1 <= model.n_iter_ <= 15
    assert len(model.loss_curve_) == model.n_steps_
    assert model.n_steps_ <= model.n_iter_ * (8 if batch_size else 1)
    assert model.n_features_in_ == 3
    assert model.transform(X).dtype == dtype
    # Four blobs that lie far apart are found by each optimizer.
    assert model.inertia_ < 1.2 * KMeans(4, n_init=5, random_state=0).fit(X).inertia_


@pytest.mark.parametrize("batch_size", [100, None])
def test_same_random_state_same_result(batch_size):
    X = blobs()
    a, b, c = (GradKMeans(4, batch_size=batch_size, random_state=s, polish=False).fit(X) for s in (0, 0, 1))
    np.testing.assert_array_equal(a.cluster_centers_, b.cluster_centers_)
    assert a.loss_curve_ == b.loss_curve_
    assert (a.cluster_centers_ != c.cluster_centers_).any()


def test_newton_on_all_rows_is_kmeans():
    X = load_digits().data
    init = X[:10].copy()
    ours = GradKMeans(10, init=init, optimizer="newton", batch_size=None, polish=False, max_iter=300).fit(X)
    theirs = KMeans(10, init=init, n_init=1, algorithm="lloyd").fit(X)
    np.testing.assert_allclose(ours.cluster_centers_, theirs.cluster_centers_, atol=1e-10)
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    assert ours.n_iter_ == theirs.n_iter_
    assert ours.inertia_ == pytest.approx(theirs.inertia_)


def test_polish_ends_where_lloyd_does_not_move():
    X = blobs(k=1)
    model = GradKMeans(7, max_iter=1, tol=0, random_state=0).fit(X)
    np.testing.assert_allclose(
        reference.lloyd_iteration(X, model.cluster_centers_), model.cluster_centers_, rtol=1e-12
    )
    rough = GradKMeans(7, max_iter=1, polish=False, random_state=0).fit(X)
    assert model.inertia_ < rough.inertia_


def test_loss_curve_is_the_mean_squared_distance_before_each_step():
    X = blobs()
    w = np.random.default_rng(0).uniform(size=len(X))
    init = X[:4].copy()
    model = GradKMeans(4, init=init, batch_size=None, max_iter=1).fit(X, sample_weight=w)
    assert model.loss_curve_ == [pytest.approx(np.average(reference.assign(X, init)[1], weights=w))]


@pytest.mark.parametrize("init", ["k-means++", "random"])
def test_n_init_keeps_the_best_run(init):
    X = blobs(k=12)
    one = [
        GradKMeans(12, init=init, n_init=1, random_state=s, polish=False).fit(X).inertia_ for s in range(9)
    ]
    many = [
        GradKMeans(12, init=init, n_init=8, random_state=s, polish=False).fit(X).inertia_ for s in range(3)
    ]
    assert np.median(many) <= np.median(one)


def test_init_forms():
    X = blobs()
    calls = []

    def init(X, n_clusters, random_state):
        calls.append(random_state)
        return X[:n_clusters].tolist()

    from_callable = GradKMeans(4, init=init, random_state=0).fit(X)
    assert len(calls) == 10
    from_array = GradKMeans(4, init=X[:4], random_state=0).fit(X)
    from_list = GradKMeans(4, init=X[:4].tolist(), random_state=0).fit(X)
    np.testing.assert_array_equal(from_array.cluster_centers_, from_list.cluster_centers_)
    assert from_callable.inertia_ <= from_array.inertia_ * (1 + 1e-9)
    with pytest.warns(RuntimeWarning, match="performing only one init in GradKMeans instead of n_init=3"):
        GradKMeans(4, init=X[:4], n_init=3).fit(X)


def test_init_array_and_data_are_not_changed():
    X = blobs()
    init, w = X[:4].copy(), np.ones(len(X))
    copies = X.copy(), init.copy(), w.copy()
    for array in (X, init, w):
        array.flags.writeable = False
    model = GradKMeans(4, init=init, random_state=0).fit(X, sample_weight=w)
    model.partial_fit(X, sample_weight=w)
    for array, copy in zip((X, init, w), copies):
        np.testing.assert_array_equal(array, copy)


def test_starved_centers_are_reseeded_deterministically():
    X = blobs(400, 2, 4)
    init = np.vstack([X[:1], np.full((3, 2), 1e4)])
    for batch_size in (100, None):
        models = [
            GradKMeans(4, init=init, batch_size=batch_size, random_state=0, polish=False).fit(X) for _ in "ab"
        ]
        np.testing.assert_array_equal(models[0].cluster_centers_, models[1].cluster_centers_)
        assert len(np.unique(models[0].labels_)) == 4
        assert np.abs(models[0].cluster_centers_).max() < 100


def test_fewer_distinct_rows_than_clusters_warns():
    X = np.repeat([[0.0, 0.0], [1.0, 1.0]], 10, axis=0)
    with pytest.warns(ConvergenceWarning, match=r"Number of distinct clusters \(2\) found smaller"):
        model = GradKMeans(4, random_state=0).fit(X)
    assert model.inertia_ == 0
    assert np.isfinite(model.cluster_centers_).all()


@pytest.mark.parametrize("batch_size", [64, None])
def test_zero_weight_removes_a_row(batch_size):
    X = blobs()
    w = np.random.default_rng(0).integers(0, 2, len(X)).astype(float)
    init = X[w > 0][:4]
    weighted = GradKMeans(4, init=init, batch_size=batch_size, random_state=0).fit(X, sample_weight=w)
    removed = GradKMeans(4, init=init, batch_size=batch_size, random_state=0).fit(X[w > 0])
    np.testing.assert_allclose(weighted.cluster_centers_, removed.cluster_centers_)
    assert weighted.inertia_ == pytest.approx(removed.inertia_)
    assert weighted.score(X, sample_weight=w) == pytest.approx(-weighted.inertia_)


def test_weights_are_repetitions_on_the_full_batch():
    X = blobs(100)
    w = np.random.default_rng(0).integers(1, 4, len(X))
    for parameters in OPTIMIZERS:
        model = GradKMeans(4, init=X[:4], batch_size=None, max_iter=8, polish=False, **parameters)
        weighted = clone(model).fit(X, sample_weight=w)
        repeated = clone(model).fit(np.repeat(X, w, axis=0))
        np.testing.assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_, rtol=1e-9)


def test_a_scale_of_all_weights_changes_nothing_for_the_defaults():
    X = blobs()
    a = GradKMeans(4, random_state=0, polish=False).fit(X, sample_weight=np.full(len(X), 3.0))
    b = GradKMeans(4, random_state=0, polish=False).fit(X)
    np.testing.assert_allclose(a.cluster_centers_, b.cluster_centers_)


def test_max_no_improvement_and_tol_end_the_epochs():
    X = blobs(1000)
    endless = GradKMeans(4, batch_size=100, tol=0, max_no_improvement=None, max_iter=50, random_state=0).fit(
        X
    )
    assert endless.n_iter_ == 50
    assert endless.n_steps_ == 500
    assert GradKMeans(4, batch_size=100, tol=0, max_no_improvement=5, random_state=0).fit(X).n_iter_ < 50
    assert GradKMeans(4, batch_size=100, max_no_improvement=None, random_state=0).fit(X).n_iter_ < 50


def test_verbose(capsys):
    GradKMeans(4, verbose=1, random_state=0).fit(blobs())
    printed = capsys.readouterr().out
    assert "Epoch 1, mean squared distance" in printed
    assert "Polish 1" in printed


def test_float32_stays_and_integers_become_float64():
    X = blobs()
    assert GradKMeans(4, random_state=0).fit(X.astype(np.float32)).cluster_centers_.dtype == np.float32
    assert GradKMeans(4, random_state=0).fit((10 * X).astype(int)).cluster_centers_.dtype == np.float64


@pytest.mark.parametrize("layout", ["fortran", "strided", "read-only", "memory-mapped"])
def test_any_layout_gives_the_result_of_a_copy(layout, tmp_path):
    X = blobs()
    if layout == "fortran":
        other = np.asfortranarray(X)
    elif layout == "strided":
        other = np.repeat(X, 2, axis=1)[:, ::2]
    else:
        np.save(tmp_path / "X.npy", X)
        other = np.load(tmp_path / "X.npy", mmap_mode="r" if layout == "memory-mapped" else None)
        other.flags.writeable = False
    a, b = (GradKMeans(4, batch_size=100, random_state=0).fit(data) for data in (X, other))
    np.testing.assert_array_equal(a.cluster_centers_, b.cluster_centers_)
    np.testing.assert_array_equal(a.transform(X), b.transform(other))
    a.partial_fit(X)
    b.partial_fit(other)
    np.testing.assert_array_equal(a.cluster_centers_, b.cluster_centers_)


# --- partial_fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("learning_rate", [1e-4, 1e-3])
def test_200_steps_follow_the_pytorch_loop(learning_rate):
    rng = np.random.default_rng(0)
    X = blobs(2000, 5, 6)
    batches = [X[rng.permutation(len(X))[:64]] for _ in range(200)]
    init = X[:6].copy()
    centers, losses = reference.kmeans_gradient_descent(batches, init, learning_rate)
    model = GradKMeans(6, init=init, optimizer="sgd", reduction="sum", learning_rate=learning_rate)
    for batch in batches:
        model.partial_fit(batch)
    np.testing.assert_allclose(model.cluster_centers_, centers, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(model.loss_curve_, losses, rtol=1e-5)
    assert model.n_steps_ == 200
    single = GradKMeans(6, init=init, optimizer="sgd", reduction="sum", learning_rate=learning_rate)
    for batch in batches:
        single.partial_fit(batch.astype(np.float32))
    assert single.cluster_centers_.dtype == np.float32
    np.testing.assert_allclose(single.cluster_centers_, centers, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("parameters", OPTIMIZERS, ids=str)
def test_partial_fit_goes_on_after_pickling(parameters):
    X = blobs(900)
    straight = GradKMeans(4, init=X[:4], **parameters)
    pickled = clone(straight)
    for batch in np.array_split(X, 9):
        straight.partial_fit(batch)
        pickled = pickle.loads(pickle.dumps(pickled)).partial_fit(batch)
    np.testing.assert_array_equal(straight.cluster_centers_, pickled.cluster_centers_)
    assert straight.loss_curve_ == pickled.loss_curve_
    assert straight.n_steps_ == 9
    check_consistent(straight, np.array_split(X, 9)[-1])


def test_partial_fit_with_count_is_the_running_mean_of_fit_and_after():
    X = blobs(200, 2, 1)
    model = GradKMeans(1, init=X[:1], batch_size=50, max_iter=1, polish=False).fit(X[:150])
    np.testing.assert_allclose(model.cluster_centers_[0], X[:150].mean(axis=0))
    model.partial_fit(X[150:])
    np.testing.assert_allclose(model.cluster_centers_[0], X.mean(axis=0))


def test_partial_fit_does_not_move_centers_without_rows():
    X = blobs(100, 2, 1)
    init = np.vstack([X[:1], [[1e5, 0.0]]])
    for parameters in OPTIMIZERS:
        model = GradKMeans(2, init=init, **parameters)
        for _ in range(3):
            model.partial_fit(X)
        np.testing.assert_array_equal(model.cluster_centers_[1], init[1])


def test_forgetting_follows_a_stream_that_drifts():
    rng = np.random.default_rng(0)
    start = np.array([[0.0, 0.0], [20.0, 0.0]])
    models = [GradKMeans(2, init=start, forgetting=share) for share in (0.0, 0.2)]
    for t in range(100):
        center = start + np.array([0.0, 0.1 * t])
        X = center[rng.integers(2, size=50)] + rng.normal(size=(50, 2))
        for model in models:
            model.partial_fit(X)
    still, moving = (np.abs(model.cluster_centers_ - center).max() for model in models)
    assert still > 3
    assert moving < 1
    # By default nothing is forgotten, and what is forgotten may change at any time.
    plain = GradKMeans(2, init=start).partial_fit(X)
    none = GradKMeans(2, init=start, forgetting=0.0).partial_fit(X)
    np.testing.assert_array_equal(plain.partial_fit(X).cluster_centers_, none.partial_fit(X).cluster_centers_)
    seen = plain._motion.seen
    plain.set_params(forgetting=0.5).partial_fit(X)
    np.testing.assert_array_equal(plain._motion.seen, seen / 2 + seen / 2)


def test_a_center_that_was_away_for_long_moves_to_its_next_rows():
    X = blobs(100, 2, 1)
    init = np.vstack([X.mean(axis=0), [1e3, 1e3]])
    model = GradKMeans(2, init=init, forgetting=0.5).partial_fit(np.vstack([X, X + 1e3]))
    for _ in range(2000):  # until nothing is left of its weight
        model.partial_fit(X)
    assert model._motion.seen[1] == 0
    model.partial_fit(X[:10] + 1e3)
    np.testing.assert_allclose(model.cluster_centers_[1], X[:10].mean(axis=0) + 1e3)


def test_partial_fit_may_get_fewer_rows_later():
    X = blobs()
    model = GradKMeans(4, random_state=0).partial_fit(X)
    model.partial_fit(X[:1])
    assert model.n_steps_ == 2
    assert model.labels_.shape == (1,)


def test_optimizer_may_change_between_steps():
    X = blobs()
    model = GradKMeans(4, optimizer="adam", learning_rate=0.1, random_state=0).partial_fit(X)
    model.set_params(optimizer="momentum", learning_rate=1e-3).partial_fit(X)
    fresh = GradKMeans(
        4,
        optimizer="momentum",
        learning_rate=1e-3,
        init=GradKMeans(4, optimizer="adam", learning_rate=0.1, random_state=0)
        .partial_fit(X)
        .cluster_centers_,
    ).partial_fit(X)
    np.testing.assert_array_equal(model.cluster_centers_, fresh.cluster_centers_)


# --- what is done with a fitted model -----------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_predict_transform_score(dtype):
    X = blobs(dtype=dtype)
    model = GradKMeans(4, random_state=0).fit(X)
    distances = model.transform(X)
    np.testing.assert_allclose(
        distances, np.sqrt(((X[:, None] - model.cluster_centers_) ** 2).sum(axis=2)), rtol=1e-5
    )
    np.testing.assert_array_equal(model.predict(X), distances.argmin(axis=1))
    assert model.score(X) == pytest.approx(-model.inertia_)
    before = state(model)
    model.predict(X[:7])
    assert_same_state(model, before)


def test_fit_predict_and_fit_transform():
    X = blobs()
    w = np.random.default_rng(0).uniform(size=len(X))
    model = GradKMeans(4, random_state=0).fit(X, sample_weight=w)
    np.testing.assert_array_equal(
        GradKMeans(4, random_state=0).fit_predict(X, sample_weight=w), model.labels_
    )
    np.testing.assert_array_equal(
        GradKMeans(4, random_state=0).fit_transform(X, sample_weight=w), model.transform(X)
    )


def test_data_of_another_dtype_than_the_centers():
    X = blobs()
    model = GradKMeans(4, random_state=0).fit(X)
    np.testing.assert_array_equal(model.predict(X.astype(np.float32)), model.labels_)
    model = GradKMeans(4, random_state=0).fit(X.astype(np.float32))
    assert model.transform(X).dtype == np.float64
    model.partial_fit(X)
    assert model.cluster_centers_.dtype == np.float32


def test_in_scikit_learns_tools():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(blobs(), columns=["a", "b", "c"])
    pipeline = make_pipeline(StandardScaler(), GradKMeans(random_state=0)).set_output(transform="pandas")
    search = GridSearchCV(pipeline, {"gradkmeans__n_clusters": [2, 4]}, n_jobs=2, cv=2).fit(X)
    assert search.best_params_ == {"gradkmeans__n_clusters": 4}
    out = search.best_estimator_.transform(X)
    assert list(out.columns) == ["gradkmeans0", "gradkmeans1", "gradkmeans2", "gradkmeans3"]
    model = search.best_estimator_[-1]
    assert model._repr_html_()
    assert list(GradKMeans(2).fit(X).feature_names_in_) == ["a", "b", "c"]
    assert clone(model).get_params() == model.get_params()


# --- bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_clusters": 0}, "The 'n_clusters' parameter of GradKMeans must be"),
        ({"init": "first"}, "The 'init' parameter of GradKMeans must be"),
        ({"init": "k-means||"}, "The 'init' parameter of GradKMeans must be"),
        ({"n_init": 0}, "The 'n_init' parameter of GradKMeans must be"),
        ({"optimizer": "adagrad"}, "The 'optimizer' parameter of GradKMeans must be"),
        ({"learning_rate": 0.0}, "The 'learning_rate' parameter of GradKMeans must be"),
        ({"learning_rate": "root"}, "The 'learning_rate' parameter of GradKMeans must be"),
        ({"learning_rate": "constant"}, "The 'learning_rate' parameter of GradKMeans must be"),
        ({"forgetting": 1.0}, "The 'forgetting' parameter of GradKMeans must be"),
        ({"forgetting": -0.1}, "The 'forgetting' parameter of GradKMeans must be"),
        ({"forgetting": np.nan}, "The 'forgetting' parameter of GradKMeans must be"),
        ({"forgetting": "0.1"}, "The 'forgetting' parameter of GradKMeans must be"),
        ({"forgetting": 0.1, "learning_rate": 0.1}, "forgetting=0.1 needs learning_rate='count'"),
        ({"forgetting": 0.1, "learning_rate": "sqrt"}, "forgetting=0.1 needs learning_rate='count'"),
        ({"forgetting": 0.1, "optimizer": "newton"}, "forgetting=0.1 needs .* and optimizer='sgd'"),
        ({"reduction": "max"}, "The 'reduction' parameter of GradKMeans must be"),
        ({"batch_size": 0}, "The 'batch_size' parameter of GradKMeans must be"),
        ({"max_iter": 0}, "The 'max_iter' parameter of GradKMeans must be"),
        ({"tol": -1.0}, "The 'tol' parameter of GradKMeans must be"),
        ({"max_no_improvement": -1}, "The 'max_no_improvement' parameter of GradKMeans must be"),
        ({"polish": "yes"}, "The 'polish' parameter of GradKMeans must be"),
        ({"random_state": "0"}, "The 'random_state' parameter of GradKMeans must be"),
        ({"optimizer": "adam"}, "learning_rate='count' cannot be used with optimizer='adam'"),
        ({"optimizer": "momentum"}, "learning_rate='count' cannot be used with optimizer='momentum'"),
        ({"optimizer": "rmsprop"}, "learning_rate='count' cannot be used with optimizer='rmsprop'"),
        (
            {"optimizer": "adam", "learning_rate": "sqrt"},
            "learning_rate='sqrt' cannot be used with optimizer='adam'",
        ),
        (
            {"optimizer": "newton", "learning_rate": "sqrt"},
            "learning_rate='sqrt' cannot be used with optimizer='newton'",
        ),
        ({"n_clusters": 501}, r"n_samples=500 should be >= n_clusters=501\."),
        ({"init": np.zeros((3, 3))}, r"\(3, 3\) does not match the number of clusters 4"),
        ({"init": np.zeros((4, 2))}, r"\(4, 2\) does not match the number of features of the data 3"),
        ({"init": np.full((4, 3), np.nan)}, "Input contains NaN"),
        ({"init": lambda X, k, random_state: X[:2]}, r"\(2, 3\) does not match the number of clusters"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:40],
)
def test_bad_parameters(parameters, message):
    X = blobs()
    model = GradKMeans(4, random_state=0).fit(X)
    model.set_params(**parameters)
    before = state_without_parameters(model)
    with pytest.raises(ValueError, match=message):
        model.fit(np.hstack([X]))
    assert_same_state_without_parameters(model, before)
    with pytest.raises(ValueError, match=message):
        GradKMeans(**{"n_clusters": 4, **parameters}).partial_fit(X)


def state_without_parameters(model):
    return pickle.loads(pickle.dumps({k: v for k, v in vars(model).items() if k not in model.get_params()}))


def assert_same_state_without_parameters(model, before):
    after = state_without_parameters(model)
    assert after.keys() == before.keys()
    for name in before:
        assert pickle.dumps(after[name]) == pickle.dumps(before[name]), name


def with_entry(X, value):
    X = X.copy()
    X[3, 1] = value
    return X


BAD_CALLS = {
    "nan": (lambda X: {"X": with_entry(X, np.nan)}, "Input X contains NaN"),
    "inf": (lambda X: {"X": with_entry(X, np.inf)}, "Input X contains infinity"),
    "strings": (lambda X: {"X": np.full((9, 3), "a")}, "could not convert string to float"),
    "one dimension": (lambda X: {"X": X[0]}, "Expected 2D array, got 1D array"),
    "no rows": (lambda X: {"X": X[:0]}, "Found array with 0 sample"),
    "no columns": (lambda X: {"X": X[:, :0]}, "0 feature"),
    "complex": (lambda X: {"X": X * 1j}, "Complex data not supported"),
    "negative weight": (
        lambda X: {"X": X, "sample_weight": np.r_[-1.0, np.ones(len(X) - 1)]},
        "Negative values in data passed to `sample_weight`",
    ),
    "zero weights": (
        lambda X: {"X": X, "sample_weight": np.zeros(len(X))},
        "Sample weights must contain at least one non-zero number",
    ),
    "nan weight": (
        lambda X: {"X": X, "sample_weight": np.r_[np.nan, np.ones(len(X) - 1)]},
        "Input sample_weight contains NaN",
    ),
    "short weights": (lambda X: {"X": X, "sample_weight": np.ones(3)}, r"sample_weight.shape == \(3,\)"),
    "2-d weights": (
        lambda X: {"X": X, "sample_weight": np.ones((len(X), 2))},
        "Sample weights must be 1D array or scalar",
    ),
}


@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("name", BAD_CALLS)
def test_a_failing_call_leaves_the_model_as_it_was(name, method):
    pandas = pytest.importorskip("pandas")
    X = blobs()
    make, message = BAD_CALLS[name]
    fresh = GradKMeans(4, random_state=0)
    with pytest.raises(ValueError, match=message):
        getattr(fresh, method)(**make(X))
    assert vars(fresh) == GradKMeans(4, random_state=0).get_params()
    model = GradKMeans(4, random_state=0).fit(pandas.DataFrame(X, columns=list("abc")))
    before = state(model)
    with pytest.raises(ValueError, match=message):
        getattr(model, method)(**make(X))
    assert_same_state(model, before)


NEW_OPTIONS = [
    {"optimizer": "rmsprop", "learning_rate": 0.05},
    {"learning_rate": "sqrt"},
    {"forgetting": 0.2},
    {"init": "afk-mc2"},
]


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("parameters", NEW_OPTIONS, ids=str)
def test_pickled_and_failed_calls_between_steps_change_nothing(parameters, make):
    X = blobs(900)
    straight = GradKMeans(4, random_state=0, **parameters)
    disturbed = clone(straight)
    for batch in np.array_split(X, 9):
        straight.partial_fit(make(batch))
        if hasattr(disturbed, "cluster_centers_"):
            disturbed = pickle.loads(pickle.dumps(disturbed))
            before = state(disturbed)
            for bad in (with_entry(batch, np.nan), batch[:, :2]):
                with pytest.raises(ValueError, match=r"NaN|features"):
                    disturbed.partial_fit(make(bad))
            with pytest.raises(ValueError, match="Negative"):
                disturbed.partial_fit(make(batch), sample_weight=-np.ones(len(batch)))
            assert_same_state(disturbed, before)
            for name, bad in (("forgetting", 2.0), ("learning_rate", "root"), ("optimizer", "adagrad")):
                disturbed.set_params(**{name: bad})
                with pytest.raises(ValueError, match=f"'{name}' parameter of GradKMeans"):
                    disturbed.partial_fit(make(batch))
                disturbed.set_params(**{name: getattr(straight, name)})
        disturbed.partial_fit(make(batch))
    np.testing.assert_array_equal(straight.cluster_centers_, disturbed.cluster_centers_)
    assert straight.loss_curve_ == disturbed.loss_curve_
    for ours, theirs in zip(straight._motion, disturbed._motion):
        np.testing.assert_array_equal(ours, theirs)


def test_other_columns_than_in_fit():
    X = blobs()
    model = GradKMeans(4, random_state=0).fit(X)
    before = state(model)
    for call in (model.predict, model.transform, model.score, model.partial_fit):
        with pytest.raises(ValueError, match="X has 2 features, but GradKMeans is expecting 3 features"):
            call(X[:, :2])
    assert_same_state(model, before)


def test_not_fitted():
    X = blobs()
    for method in ("predict", "transform", "score"):
        with pytest.raises(NotFittedError):
            getattr(GradKMeans(), method)(X)


def test_score_refuses_negative_weights():
    X = blobs()
    model = GradKMeans(4, random_state=0).fit(X)
    with pytest.raises(ValueError, match="Negative values"):
        model.score(X, sample_weight=-np.ones(len(X)))


# --- divergence and interruption ----------------------------------------------------------------------


@pytest.mark.parametrize("batch_size", [100, None])
@pytest.mark.parametrize("optimizer", ["sgd", "momentum", "adam", "rmsprop", "newton"])
def test_divergence_names_the_remedy(optimizer, batch_size):
    X = blobs()
    model = GradKMeans(
        4, optimizer=optimizer, learning_rate=1e12, reduction="sum", batch_size=batch_size, random_state=0
    )
    message = r"Solver produced non-finite .* Lower learning_rate \(it is 1000000000000.0\)"
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    # A first fit keeps the last centres that were good.
    assert np.abs(model.cluster_centers_).max() < 100
    check_consistent(model, X)
    assert model.n_features_in_ == 3
    # A refit keeps the former model.
    model = GradKMeans(4, batch_size=batch_size, random_state=0).fit(X)
    model.set_params(optimizer=optimizer, learning_rate=1e12, reduction="sum")
    before = state_without_parameters(model)
    with pytest.raises(ValueError, match=message):
        model.fit(X[:, :2])
    assert_same_state_without_parameters(model, before)
    assert model.n_features_in_ == 3


def test_partial_fit_refuses_another_number_of_clusters():
    X = blobs()
    model = GradKMeans(4, random_state=0).partial_fit(X).set_params(n_clusters=5)
    with pytest.raises(ValueError, match="n_clusters=5: there are 4"):
        model.partial_fit(X)
    assert model.cluster_centers_.shape[0] == 4


def test_divergence_in_partial_fit_keeps_the_centers():
    X = blobs()
    model = GradKMeans(4, learning_rate=1e300, reduction="sum", random_state=0)

    def go_on():
        for _ in range(5):
            model.partial_fit(X)

    with pytest.raises(ValueError, match="Lower learning_rate"):
        go_on()
    assert np.isfinite(model.cluster_centers_).all()
    before = state(model)
    with pytest.raises(ValueError, match="Lower learning_rate"):
        model.partial_fit(X)
    assert_same_state(model, before)
    # With the remedy it goes on from there.
    model.set_params(learning_rate=0.1, reduction="cluster").partial_fit(X)
    assert np.isfinite(model.inertia_)


def test_data_too_large_for_its_dtype_diverges():
    X = blobs(dtype=np.float32) * np.float32(1e30)
    with pytest.raises(ValueError, match="may contain large values"):
        GradKMeans(4, random_state=0).fit(X)


def test_interruption_propagates_and_leaves_the_model(monkeypatch):
    X = blobs()
    model = GradKMeans(4, random_state=0).fit(X)
    before = state(model)

    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastnn.kernels.cpu.clustering.steps.run_center_batches", interrupt)
    model.set_params(batch_size=100)
    with pytest.raises(KeyboardInterrupt):
        model.fit(X[:, :2])
    assert_same_state(model, {**before, "batch_size": 100})
    fresh = GradKMeans(4, batch_size=100)
    with pytest.raises(KeyboardInterrupt):
        fresh.fit(X)
    assert vars(fresh) == fresh.get_params()


def test_replaced_centers_are_checked():
    X = np.random.default_rng(0).normal(size=(300, 4))
    model = GradKMeans(8, random_state=0).fit(X)
    for wrong in (np.zeros((8, 64)), np.zeros((8, 2)), np.zeros(8), np.empty((0, 4))):
        model.cluster_centers_ = wrong
        for call in (model.predict, model.transform, model.score, model.partial_fit):
            with pytest.raises(ValueError, match="cluster_centers_ has shape"):
                call(X)
    model.cluster_centers_ = np.array([["a"] * 4] * 8)
    with pytest.raises(ValueError, match="real numbers"):
        model.predict(X)
    # Other types and containers are taken for what they hold, other numbers of centres begin anew.
    whole = np.round(X[:12])
    model.set_params(n_clusters=12)
    for centers in (whole.astype(int), whole.astype(np.float16), whole.tolist(), np.asfortranarray(whole)):
        model.cluster_centers_ = centers
        np.testing.assert_array_equal(model.predict(X), assign(X, whole)[0])
        model.partial_fit(X)
        assert model._motion.seen.shape == (12,)
