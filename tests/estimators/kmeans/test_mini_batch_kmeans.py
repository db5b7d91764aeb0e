"""MiniBatchKMeans beside scikit-learn's: the same centres, labels, inertia, steps and printed lines."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import cluster
from sklearn.base import clone
from sklearn.datasets import load_digits, make_blobs
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from benchmarks.memory import fit_peak
from fastnn import KMeans, MiniBatchKMeans
from fastnn.clustering import mini_batch

# Whole numbers leave ties to rounding.
DIGITS = load_digits().data + np.random.default_rng(0).normal(scale=1e-3, size=(1797, 64))


def blobs(n=900, d=3, k=6, seed=0):
    return make_blobs(n, d, centers=k, random_state=seed)[0]


def sparse_rows(n=700, d=40, seed=0, dtype=np.float64):
    return sparse.random(n, d, 0.1, format="csr", random_state=seed, dtype=dtype)


DATA = {"digits": DIGITS, "blobs": blobs(), "sparse": sparse_rows()}


def weights_of(X, seed=0):
    return np.random.default_rng(seed).uniform(0.1, 3, X.shape[0])


def assert_same_fit(ours, theirs, rtol=1e-9):
    np.testing.assert_allclose(
        ours.cluster_centers_,
        theirs.cluster_centers_,
        rtol=rtol,
        atol=rtol * np.abs(theirs.cluster_centers_).max(),
    )
    np.testing.assert_allclose(ours._counts, theirs._counts, rtol=rtol)
    assert ours._n_since_last_reassign == theirs._n_since_last_reassign
    for name in ("n_steps_", "n_iter_"):
        assert getattr(ours, name, None) == getattr(theirs, name, None)
    if hasattr(theirs, "labels_"):
        np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    if hasattr(theirs, "inertia_"):
        assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=rtol)


def both(X, sample_weight=None, **parameters):
    parameters = {"n_clusters": 8, "random_state": 0, **parameters}
    ours = MiniBatchKMeans(**parameters).fit(X, sample_weight=sample_weight)
    # Thousands of steps on two threads take scikit-learn seconds where the cores are not idle.
    with threadpool_limits(1):
        return ours, cluster.MiniBatchKMeans(**parameters).fit(X, sample_weight=sample_weight)


# --- beside scikit-learn ------------------------------------------------------------------------------


@pytest.mark.usefixtures("same_batches")
@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", DATA)
def test_same_fit_as_scikit_learn(kind, weighted, init):
    X = DATA[kind]
    w = weights_of(X) if weighted else None
    for seed in range(3):
        ours, theirs = both(X, w, init=init, batch_size=100, random_state=seed)
        assert_same_fit(ours, theirs)
        np.testing.assert_array_equal(ours.predict(X), ours.labels_)
        np.testing.assert_allclose(ours.transform(X), theirs.transform(X), atol=1e-6)
        assert ours.score(X, sample_weight=w) == pytest.approx(-ours.inertia_, rel=1e-12)


@pytest.mark.usefixtures("same_batches")
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"batch_size": 17, "max_iter": 3, "max_no_improvement": None},
        {"batch_size": 1, "max_iter": 1},
        {"max_iter": 1},
        {"max_iter": 2, "max_no_improvement": 0},
        {"batch_size": 64, "max_no_improvement": 3},
        {"batch_size": 64, "tol": 1e-3, "max_no_improvement": None},
        {"batch_size": 64, "tol": 1e-2},
        {"n_init": 4},
        {"init": "random", "n_init": "auto"},
        {"init_size": 50},
        {"init_size": 5000},
        {"compute_labels": False, "batch_size": 100},
        {"reassignment_ratio": 0},
        {"reassignment_ratio": 0.3, "batch_size": 64},
        {
            "reassignment_ratio": 0.9,
            "batch_size": 10,
            "n_clusters": 20,
            "max_no_improvement": None,
            "max_iter": 4,
        },
        {"n_clusters": 1},
        {"n_clusters": 100, "batch_size": 30},
    ],
    ids=str,
)
@pytest.mark.parametrize("kind", ["digits", "sparse"])
def test_same_fit_with_other_parameters(kind, parameters):
    X = DATA[kind]
    ours, theirs = both(X, **parameters)
    assert_same_fit(ours, theirs)
    assert hasattr(ours, "labels_") == ours.compute_labels
    assert_same_fit(*both(X, weights_of(X), **parameters))


@pytest.mark.usefixtures("same_batches")
def test_many_reassignments_in_one_fit(capsys):
    """Clouds of very different size: centres starve, and are reassigned again and again."""
    rng = np.random.default_rng(0)
    X = np.concatenate(
        [rng.normal(size=(3000, 2)), rng.normal(size=(20, 2)) + 30, rng.normal(size=(9, 2)) - 30]
    )
    same = {"n_clusters": 12, "batch_size": 40, "max_no_improvement": None, "max_iter": 10}
    for ratio in (0.01, 0.2):
        assert_same_fit(*both(X, reassignment_ratio=ratio, **same))
    both(X, reassignment_ratio=0.2, verbose=1, **same)
    assert capsys.readouterr().out.count("Reassigning") > 10


@pytest.mark.usefixtures("same_batches")
def test_rows_without_weight_are_never_drawn():
    X = blobs()
    w = np.random.default_rng(0).integers(0, 2, len(X)).astype(float)
    X[w == 0] = 1e6
    init = X[w > 0][:6]
    ours, theirs = both(X, w, init=init, n_clusters=6)
    assert_same_fit(ours, theirs)
    assert np.abs(ours.cluster_centers_).max() < 100


@pytest.mark.usefixtures("same_batches")
@pytest.mark.parametrize("form", ["array", "callable", "list"])
def test_init_forms(form):
    X = blobs()
    seen = []

    def from_rows(X, n_clusters, random_state):
        seen.append(X.shape)
        return X[random_state.permutation(len(X))[:n_clusters]]

    init = {"array": X[:6], "list": X[:6].tolist(), "callable": from_rows}[form]
    assert_same_fit(*both(X, n_clusters=6, init=init, batch_size=100))
    assert_same_fit(*both(X, n_clusters=6, init=init, batch_size=500))
    if form == "callable":
        assert seen == [(300, 3)] * 6 + [(900, 3)] * 6
    else:
        with pytest.warns(
            RuntimeWarning, match="performing only one init in MiniBatchKMeans instead of n_init=3"
        ):
            MiniBatchKMeans(6, init=init, n_init=3).fit(X)


@pytest.mark.usefixtures("same_batches")
def test_small_init_size_warns():
    with pytest.warns(
        RuntimeWarning, match=r"init_size=5 should be larger than n_clusters=8. Setting it to min"
    ):
        ours, theirs = both(DIGITS, init_size=5)
    assert_same_fit(ours, theirs)


@pytest.mark.usefixtures("same_batches")
@pytest.mark.parametrize(
    "parameters",
    [
        {"batch_size": 300},
        {"batch_size": 300, "tol": 0.1},
        {"init": "random", "batch_size": 300, "max_no_improvement": 0},
        {"reassignment_ratio": 0.5, "batch_size": 50},
    ],
    ids=str,
)
def test_verbose_prints_what_scikit_learn_prints(parameters, capsys):
    X = blobs()
    words = []
    for kind in (MiniBatchKMeans, cluster.MiniBatchKMeans):
        kind(6, random_state=0, verbose=1, **parameters).fit(X)
        lines = capsys.readouterr().out.splitlines()
        words.append([[_number(word) for word in line.split()] for line in lines])
    assert len(words[0]) == len(words[1])
    for ours, theirs in zip(*words, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-9) if _are_numbers(ours) else ours == _like(theirs, ours)


def _number(word):
    try:
        return float(word.strip(","))
    except ValueError:
        return word


def _are_numbers(words):
    return all(isinstance(word, float) for word in words)


def _like(theirs, ours):
    """Their words, with those of ours that are the same numbers but for rounding."""
    return [
        b if isinstance(a, float) and isinstance(b, float) and b == pytest.approx(a, rel=1e-9) else a
        for a, b in zip(theirs, ours, strict=True)
    ]


@pytest.mark.usefixtures("same_batches")
@pytest.mark.parametrize("kind", ["digits", "sparse"])
def test_float32_stays_float32(kind):
    X = DIGITS.astype(np.float32) if kind == "digits" else sparse_rows(dtype=np.float32)
    ours, theirs = both(X, max_no_improvement=None, max_iter=3, batch_size=100)
    assert ours.cluster_centers_.dtype == np.float32
    assert ours.labels_.dtype == np.int32
    assert ours.n_steps_ == theirs.n_steps_
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=1e-3)


@pytest.mark.parametrize("kind", DATA)
def test_parallel_seeding_leads_to_the_same_inertia(kind):
    X = DATA[kind]
    ours = MiniBatchKMeans(8, init="k-means||", n_init=3, random_state=0).fit(X)
    theirs = MiniBatchKMeans(8, n_init=3, random_state=0).fit(X)
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=0.1)


@pytest.mark.usefixtures("same_batches")
def test_a_generator_is_drawn_from_as_scikit_learn_does():
    a, b = np.random.RandomState(0), np.random.RandomState(0)
    for batch_size in (50, 1024):
        MiniBatchKMeans(8, batch_size=batch_size, random_state=a).fit(DIGITS)
        cluster.MiniBatchKMeans(8, batch_size=batch_size, random_state=b).fit(DIGITS)
        assert a.randint(2**31) == b.randint(2**31)


# --- partial_fit --------------------------------------------------------------------------------------


@pytest.mark.parametrize("init", ["k-means++", "random", "array"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", DATA)
def test_partial_fit_as_in_scikit_learn(kind, weighted, init):
    X = DATA[kind]
    C = X[:8].toarray() if sparse.issparse(X) else X[:8]
    same = {
        "n_clusters": 8,
        "init": C if init == "array" else init,
        "random_state": 0,
        "reassignment_ratio": 0.1,
        "batch_size": 30,
    }
    ours, theirs = MiniBatchKMeans(**same), cluster.MiniBatchKMeans(**same)
    for rows in np.array_split(np.arange(X.shape[0]), 12):
        w = weights_of(X)[rows] if weighted else None
        ours = pickle.loads(pickle.dumps(ours)).partial_fit(X[rows], sample_weight=w)
        theirs.partial_fit(X[rows], sample_weight=w)
        assert_same_fit(ours, theirs)
    assert ours.n_steps_ == 12
    ours.partial_fit(X[:1])
    theirs.partial_fit(X[:1])
    assert_same_fit(ours, theirs)


@pytest.mark.usefixtures("same_batches")
@pytest.mark.parametrize("parameters", [{}, {"nested": True}])
def test_partial_fit_after_fit(parameters):
    same = {"n_clusters": 6, "random_state": 0, "batch_size": 200, "compute_labels": False}
    X, more = blobs(), blobs(300, seed=1)
    ours = MiniBatchKMeans(**same, **parameters).fit(X)
    theirs = cluster.MiniBatchKMeans(**same).fit(X)
    if parameters:
        assert ours._counts.sum() == len(X)
    else:
        assert_same_fit(ours.partial_fit(more), theirs.partial_fit(more))
        assert_same_fit(ours.fit(X), theirs.fit(X))
        assert_same_fit(ours.partial_fit(more), theirs.partial_fit(more))
    steps = ours.n_steps_
    assert ours.partial_fit(more).n_steps_ == steps + 1
    assert not hasattr(ours, "labels_")


def test_batches_of_another_dtype_than_the_centers():
    X = blobs()
    model = MiniBatchKMeans(6, random_state=0).fit(X.astype(np.float32))
    model.partial_fit(X)
    assert model.cluster_centers_.dtype == np.float32
    model = MiniBatchKMeans(6, random_state=0).fit(sparse.csr_matrix(X))
    model.partial_fit(sparse.csr_matrix(X.astype(np.float32)), sample_weight=weights_of(X))
    assert model.cluster_centers_.dtype == np.float64


def test_another_number_of_clusters_is_refused():
    model = MiniBatchKMeans(6, random_state=0).fit(blobs())
    with pytest.raises(ValueError, match="Cannot go on with n_clusters=5: there are 6 centres"):
        model.set_params(n_clusters=5).partial_fit(blobs())


# --- nested -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", DATA)
def test_nested_ends_at_a_fixed_point_of_lloyd(kind, weighted):
    X = DATA[kind]
    w = weights_of(X) if weighted else None
    model = MiniBatchKMeans(8, nested=True, batch_size=50, random_state=0).fit(X, sample_weight=w)
    lloyd = KMeans(8, init=model.cluster_centers_, max_iter=1).fit(X, sample_weight=w)
    np.testing.assert_array_equal(model.labels_, lloyd.labels_)
    np.testing.assert_allclose(model.cluster_centers_, lloyd.cluster_centers_, rtol=1e-12, atol=1e-12)
    assert model.n_iter_ <= 100
    again = clone(model).fit(X, sample_weight=w)
    np.testing.assert_array_equal(again.cluster_centers_, model.cluster_centers_)
    other = clone(model).set_params(random_state=1).fit(X, sample_weight=w)
    assert other.n_steps_ != model.n_steps_ or other.inertia_ != model.inertia_


def test_nested_is_no_worse():
    ratios = []
    for seed in range(5):
        X = blobs(5000, 5, 20, seed=seed)
        plain = MiniBatchKMeans(20, random_state=seed, batch_size=200).fit(X)
        nested = MiniBatchKMeans(20, random_state=seed, batch_size=200, nested=True).fit(X)
        ratios.append(nested.inertia_ / plain.inertia_)
    assert np.median(ratios) <= 1


def test_nested_tol_and_verbose(capsys):
    X = np.random.default_rng(0).normal(size=(3000, 4))
    same = {"n_clusters": 9, "nested": True, "batch_size": 100, "random_state": 0}
    early = MiniBatchKMeans(tol=1e-3, verbose=1, **same).fit(X)
    assert "Nested round 1: 100 rows, mean squared distance" in capsys.readouterr().out
    late = MiniBatchKMeans(**same).fit(X)
    assert early.n_steps_ < late.n_steps_
    assert late.inertia_ < early.inertia_
    short = MiniBatchKMeans(max_iter=2, compute_labels=False, **same).fit(X)
    assert short.n_iter_ <= 2
    assert short.inertia_ == pytest.approx(-short.score(X), rel=0.1)


# --- data ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", ["fortran", "readonly", "strided", "list", "csc", "memmap"])
def test_any_input_and_none_is_changed(make, tmp_path):
    X = blobs(200)
    np.save(tmp_path / "X.npy", X)
    given = {
        "fortran": np.asfortranarray(X),
        "readonly": X.copy(),
        "strided": np.repeat(X, 2, axis=0)[::2],
        "list": X.tolist(),
        "csc": sparse.csc_matrix(X),
        "memmap": np.load(tmp_path / "X.npy", mmap_mode="r"),
    }[make]
    weights, init = np.ones(len(X)), X[:4].copy()
    if make == "readonly":
        for array in (given, weights, init):
            array.flags.writeable = False
    for nested in (False, True):
        model = MiniBatchKMeans(4, init=init, random_state=0, nested=nested, batch_size=50)
        expected = clone(model).fit(X, sample_weight=weights).partial_fit(X)
        model.fit(given, sample_weight=weights).partial_fit(given, sample_weight=weights)
        np.testing.assert_allclose(model.cluster_centers_, expected.cluster_centers_, rtol=1e-12)
    np.testing.assert_array_equal(init, X[:4])
    np.testing.assert_array_equal(weights, 1)


@pytest.mark.parametrize("nested", [False, True])
def test_a_memory_mapped_array_is_not_copied(nested, tmp_path):
    n, d = 200_000, 30
    file = np.lib.format.open_memmap(tmp_path / "X.npy", "w+", np.float32, (n, d))
    file[:] = np.random.default_rng(0).normal(size=(n, d))
    file.flush()
    X = np.load(tmp_path / "X.npy", mmap_mode="r")
    model = MiniBatchKMeans(4, random_state=0, max_iter=2, nested=nested, compute_labels=nested)
    model.fit(X).partial_fit(X[:2000])  # what is compiled stays
    # Some blocks of random numbers; for nested batches the order of the rows, its sorted part, labels and
    # distances, and a block of rows.
    peak = fit_peak(model, X, None)
    assert peak < (8 * 2**20 + 4 * 8 * n if nested else 5 * 2**20)


def test_float32_far_from_the_origin():
    X = (np.random.default_rng(0).normal(size=(2000, 4)) + 1e4).astype(np.float32)
    model = MiniBatchKMeans(5, random_state=0).fit(X)
    squares = ((X.astype(float)[:, None] - model.cluster_centers_.astype(float)) ** 2).sum(axis=2)
    assert model.inertia_ == pytest.approx(squares.min(axis=1).sum(), rel=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_result_does_not_depend_on_the_threads(threads):
    for X in (np.tile(DIGITS, (5, 1)), sparse_rows(5000)):
        same = {"n_clusters": 40, "random_state": 0, "max_iter": 5, "batch_size": 2048}
        alone = MiniBatchKMeans(n_threads=1, **same).fit(X).partial_fit(X)
        model = MiniBatchKMeans(n_threads=threads, **same).fit(X).partial_fit(X)
        np.testing.assert_array_equal(model.cluster_centers_, alone.cluster_centers_)
        np.testing.assert_array_equal(model.labels_, alone.labels_)
        assert model.inertia_ == alone.inertia_


def test_equal_rows_and_few_of_them():
    X = np.repeat([[0.0, 0], [1, 0], [0, 1]], 10, axis=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model = MiniBatchKMeans(3, random_state=0, n_init=5).fit(X)
        assert model.inertia_ < 1e-25
        for nested in (False, True):
            many = MiniBatchKMeans(7, random_state=0, nested=nested).fit(X)
            assert np.isfinite(many.cluster_centers_).all()
        MiniBatchKMeans(1).fit([[1.0]])


def test_a_ratio_by_which_all_are_starved():
    X = blobs()
    model = MiniBatchKMeans(6, reassignment_ratio=2.0, random_state=0, max_iter=3).fit(X)
    assert np.isfinite(model.cluster_centers_).all()


# --- failures -----------------------------------------------------------------------------------------


def state(model):
    return {name: pickle.dumps(value) for name, value in vars(model).items()}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_clusters": 1000}, "n_samples=900 should be >= n_clusters=1000"),
        ({"init": np.zeros((3, 3))}, "does not match the number of clusters"),
        ({"init": np.zeros((6, 2))}, "does not match the number of features"),
        ({"init": np.full((6, 3), np.nan)}, "NaN"),
        ({"init": "first"}, "'init' parameter"),
        ({"batch_size": 0}, "'batch_size' parameter"),
        ({"init_size": 0}, "'init_size' parameter"),
        ({"max_no_improvement": -1}, "'max_no_improvement' parameter"),
        ({"reassignment_ratio": -0.1}, "'reassignment_ratio' parameter"),
        ({"compute_labels": "yes"}, "'compute_labels' parameter"),
        ({"nested": "yes"}, "'nested' parameter"),
        ({"tol": -1.0}, "'tol' parameter"),
        ({"n_threads": 0}, "'n_threads' parameter"),
    ],
    ids=lambda value: None if isinstance(value, dict) else value[:40],
)
def test_bad_parameters_leave_the_model_as_it_was(changes, message):
    X = blobs()
    model = MiniBatchKMeans(6, random_state=0).partial_fit(X)
    model.set_params(**changes)
    before = state(model)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    assert state(model) == before
    with pytest.raises(ValueError, match=message):
        MiniBatchKMeans(**{"n_clusters": 6, **changes}).partial_fit(X)


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_bad_data_leave_the_model_as_it_was(make, method):
    X = blobs()
    model = MiniBatchKMeans(6, random_state=0).partial_fit(X)
    before = state(model)
    call = getattr(model, method)
    for value in (np.nan, np.inf):
        bad = X.copy()
        bad[3, 1] = value
        with pytest.raises(ValueError, match="Input X contains"):
            call(make(bad))
        assert state(model) == before
    for w in (-np.ones(len(X)), np.zeros(len(X)), np.ones(3), np.full(len(X), np.nan)):
        with pytest.raises(ValueError, match=r"weight"):
            call(make(X), sample_weight=w)
        assert state(model) == before
    assert vars(MiniBatchKMeans()) == MiniBatchKMeans().get_params()


def test_an_interrupted_step_leaves_the_model_and_its_generator(monkeypatch):
    X = blobs()
    model = MiniBatchKMeans(6, random_state=0, reassignment_ratio=0.9, batch_size=10).partial_fit(X)
    before = state(model)

    def interrupt(*arguments, **named):
        raise KeyboardInterrupt

    for name in ("labels_inertia", "partial_step"):
        with monkeypatch.context() as patch:
            patch.setattr(f"fastnn.estimators.kmeans.mini_batch.{name}", interrupt)
            with pytest.raises(KeyboardInterrupt):
                model.partial_fit(X)
        assert state(model) == before
    with monkeypatch.context() as patch:
        patch.setattr(mini_batch, "reassign", interrupt)
        with pytest.raises(KeyboardInterrupt):
            model.fit(X)
    assert state(model) == before


def test_csr_with_bad_indices_or_duplicates():
    X = sparse_rows(40, 5)
    bad = X.copy()
    bad.indices[0] = 7
    for method in ("fit", "partial_fit"):
        with pytest.raises(ValueError, match=r"index|indices"):
            getattr(MiniBatchKMeans(2), method)(bad)
    rows = np.repeat(np.arange(40), np.diff(X.indptr))
    order = np.argsort(np.r_[rows, rows], kind="stable")
    twice = sparse.csr_matrix(
        ((np.r_[X.data, X.data] / 2)[order], np.r_[X.indices, X.indices][order], 2 * X.indptr), shape=X.shape
    )
    assert not twice.has_canonical_format
    for nested in (False, True):
        same = {
            "n_clusters": 3,
            "init": X[:3].toarray(),
            "random_state": 0,
            "nested": nested,
            "batch_size": 9,
        }
        ours, expected = MiniBatchKMeans(**same).fit(twice), MiniBatchKMeans(**same).fit(X)
        np.testing.assert_allclose(ours.cluster_centers_, expected.cluster_centers_, atol=1e-12)
        np.testing.assert_array_equal(ours.labels_, expected.labels_)


# --- in scikit-learn's tools --------------------------------------------------------------------------


def test_frames_and_output():
    pandas = pytest.importorskip("pandas")
    X = pandas.DataFrame(blobs(), columns=list("abc"))
    pipeline = make_pipeline(StandardScaler(), MiniBatchKMeans(3, random_state=0)).set_output(
        transform="pandas"
    )
    out = pipeline.fit_transform(X)
    assert list(out.columns) == ["minibatchkmeans0", "minibatchkmeans1", "minibatchkmeans2"]
    model = MiniBatchKMeans(3, random_state=0).fit(X)
    assert list(model.feature_names_in_) == list("abc")
    with pytest.raises(ValueError, match="feature names should match"):
        model.partial_fit(X.rename(columns={"a": "z"}))
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.labels_)
    assert clone(model).get_params() == model.get_params()


def test_parameters_are_scikit_learns():
    theirs = cluster.MiniBatchKMeans().get_params()
    ours = MiniBatchKMeans().get_params()
    extra = {"nested": False, "metric": "euclidean", "n_threads": None, "device": None, "precision": None}
    assert ours == {**theirs, **extra}
