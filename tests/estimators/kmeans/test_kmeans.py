"""KMeans beside scikit-learn's: the same centres, labels, inertia and iterations."""

import pickle
import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn import cluster
from sklearn.datasets import load_digits, make_blobs
from sklearn.exceptions import ConvergenceWarning

from fastnn import GradKMeans, KMeans, MiniBatchKMeans
from fastnn.clustering.lloyd import same_clusters
from fastnn.clustering.passes import mean_variance
from fastnn.kernels import assign
from fastnn.kernels.shared.arrays import Csr

# The digits are whole numbers, and rows as far from one centre as from another are left to rounding: there
# scikit-learn's "lloyd" and "elkan" differ too. So they get a little noise.
DIGITS = load_digits().data + np.random.default_rng(0).normal(scale=1e-3, size=(1797, 64))


def blobs(n=900, d=3, k=6, seed=0):
    return make_blobs(n, d, centers=k, random_state=seed)[0]


def sparse_rows(n=500, d=40, seed=0, dtype=np.float64):
    return sparse.random(n, d, 0.1, format="csr", random_state=seed, dtype=dtype)


def assert_same_fit(ours, theirs, rtol=1e-9):
    np.testing.assert_array_equal(ours.labels_, theirs.labels_)
    np.testing.assert_allclose(
        ours.cluster_centers_,
        theirs.cluster_centers_,
        rtol=rtol,
        atol=rtol * np.abs(theirs.cluster_centers_).max(),
    )
    assert ours.inertia_ == pytest.approx(theirs.inertia_, rel=rtol)
    assert ours.n_iter_ == theirs.n_iter_


@pytest.mark.parametrize("algorithm", ["lloyd", "elkan"])
@pytest.mark.parametrize("init", ["k-means++", "random"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["digits", "blobs", "sparse"])
def test_same_fit_as_scikit_learn(kind, weighted, init, algorithm):
    X = {"digits": DIGITS, "blobs": blobs(), "sparse": sparse_rows()}[kind]
    weights = np.random.default_rng(0).uniform(0.1, 3, X.shape[0]) if weighted else None
    for seed in range(2):
        same = {"n_clusters": 8, "init": init, "n_init": 2, "random_state": seed, "algorithm": algorithm}
        ours = KMeans(**same).fit(X, sample_weight=weights)
        theirs = cluster.KMeans(**same).fit(X, sample_weight=weights)
        assert_same_fit(ours, theirs)
        np.testing.assert_array_equal(ours.predict(X), ours.labels_)
        np.testing.assert_allclose(ours.transform(X), theirs.transform(X), atol=1e-6)
        assert ours.score(X, sample_weight=weights) == pytest.approx(-ours.inertia_, rel=1e-12)


@pytest.mark.parametrize("kind", ["digits", "sparse"])
def test_float32_stays_float32(kind):
    X = DIGITS.astype(np.float32) if kind == "digits" else sparse_rows(dtype=np.float32)
    C = X[:6] if kind == "digits" else X[:6].toarray()
    ours = KMeans(6, init=C, tol=0, max_iter=5).fit(X)
    theirs = cluster.KMeans(6, init=C, tol=0, max_iter=5).fit(X)
    assert ours.cluster_centers_.dtype == np.float32
    assert ours.labels_.dtype == np.int32
    assert_same_fit(ours, theirs, rtol=1e-4)


@pytest.mark.parametrize("max_iter", [1, 2, 300])
@pytest.mark.parametrize("tol", [0.0, 1e-2])
def test_stops_where_scikit_learn_stops(tol, max_iter):
    X = blobs()
    same = {"n_clusters": 6, "init": X[:6], "tol": tol, "max_iter": max_iter}
    assert_same_fit(KMeans(**same).fit(X), cluster.KMeans(**same).fit(X))


def test_verbose_prints_what_scikit_learn_prints(capsys):
    X = blobs()
    for tol in (0.0, 1.0):
        KMeans(6, init=X[:6], tol=tol, verbose=1).fit(X)
        ours = capsys.readouterr().out.splitlines()
        cluster.KMeans(6, init=X[:6], tol=tol, verbose=1).fit(X)
        theirs = capsys.readouterr().out.splitlines()
        words = [[line.split()[0] for line in lines] for lines in (ours, theirs)]
        assert words[0] == words[1]
        assert ours[-1].split(":")[0] == theirs[-1].split(":")[0]


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_empty_clusters_take_far_rows(make):
    X = blobs(200, 2, 4)
    C = np.vstack([X[:4], [[1e3, 1e3]], [[1e3, 1e3 + 1]]])
    ours = KMeans(6, init=C, tol=0).fit(make(X))
    assert len(np.unique(ours.labels_)) == 6
    assert_same_fit(ours, cluster.KMeans(6, init=C, tol=0).fit(make(X)))


def test_fewer_distinct_rows_than_clusters():
    X = np.repeat([[0.0, 0], [1, 0], [0, 1]], 10, axis=0)
    with pytest.warns(ConvergenceWarning, match=r"distinct clusters \(3\) found smaller than"):
        model = KMeans(5, random_state=0).fit(X)
    assert np.isfinite(model.cluster_centers_).all()
    assert model.inertia_ == 0
    np.testing.assert_array_equal(model.predict(X), model.labels_)


@pytest.mark.parametrize("make", [np.asarray, sparse.csr_matrix])
def test_parallel_seeding_leads_to_the_same_inertia(make):
    X = blobs(3000, 3, 8)
    fits = [
        KMeans(8, init=init, n_init=3, random_state=0).fit(make(X)).inertia_
        for init in ("k-means||", "k-means++")
    ]
    assert fits[0] == pytest.approx(fits[1], rel=0.01)


def test_integer_weights_are_repeated_rows():
    X = blobs(300)
    weights = np.random.default_rng(0).integers(0, 4, len(X))
    same = {"n_clusters": 6, "init": X[:6], "tol": 0}
    weighted = KMeans(**same).fit(X, sample_weight=weights)
    repeated = KMeans(**same).fit(np.repeat(X, weights, axis=0))
    np.testing.assert_allclose(weighted.cluster_centers_, repeated.cluster_centers_, rtol=1e-12)
    assert weighted.inertia_ == pytest.approx(repeated.inertia_, rel=1e-12)


def test_float32_far_from_the_origin():
    X = (np.random.default_rng(0).normal(size=(2000, 4)) + 1e4).astype(np.float32)
    model = KMeans(5, init=X[:5], tol=0).fit(X)
    exact = X.astype(np.float64)[:, None] - model.cluster_centers_.astype(np.float64)
    squares = (exact**2).sum(axis=2)
    assert model.inertia_ == pytest.approx(squares.min(axis=1).sum(), rel=1e-5)
    chosen = squares[np.arange(len(X)), model.labels_]
    np.testing.assert_allclose(chosen, squares.min(axis=1), rtol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
def test_result_does_not_depend_on_the_threads(threads):
    for X in (np.tile(DIGITS, (20, 1)), sparse_rows(20_000)):
        alone = KMeans(10, random_state=0, max_iter=5, n_threads=1).fit(X)
        model = KMeans(10, random_state=0, max_iter=5, n_threads=threads).fit(X)
        np.testing.assert_array_equal(model.cluster_centers_, alone.cluster_centers_)
        np.testing.assert_array_equal(model.labels_, alone.labels_)
        assert model.inertia_ == alone.inertia_


@pytest.mark.parametrize("make", ["fortran", "readonly", "strided", "list", "csc"])
def test_any_input_and_none_is_changed(make):
    X = blobs(100)
    given = {
        "fortran": np.asfortranarray(X),
        "readonly": X.copy(),
        "strided": np.repeat(X, 2, axis=0)[::2],
        "list": X.tolist(),
        "csc": sparse.csc_matrix(X),
    }[make]
    weights = np.ones(len(X))
    if make == "readonly":
        given.flags.writeable = False
        weights.flags.writeable = False
    model = KMeans(4, random_state=0, copy_x=False).fit(given, sample_weight=weights)
    expected = KMeans(4, random_state=0).fit(X)
    np.testing.assert_allclose(model.cluster_centers_, expected.cluster_centers_, rtol=1e-12)
    if make in ("fortran", "strided"):
        np.testing.assert_array_equal(given, X)
    np.testing.assert_array_equal(weights, 1)


@pytest.mark.parametrize(
    "make",
    [
        lambda **kw: KMeans(5, **kw),
        lambda **kw: MiniBatchKMeans(5, random_state=0, **kw),
        lambda **kw: GradKMeans(5, random_state=0, **kw),
    ],
)
@pytest.mark.parametrize(("offset", "dtype"), [(1e3, np.float32), (1e4, np.float32), (1e8, np.float64)])
def test_csr_far_from_the_origin(make, offset, dtype):
    X = (np.random.default_rng(0).normal(size=(600, 4)) + offset).astype(dtype)
    dense, csr = make(init=X[:5]).fit(X), make(init=X[:5]).fit(sparse.csr_matrix(X))
    np.testing.assert_allclose(csr.inertia_, dense.inertia_, rtol=1e-6)
    least = assign(X.astype(np.float64), csr.cluster_centers_.astype(np.float64))[1]
    own = ((X.astype(np.float64) - csr.cluster_centers_[csr.labels_]) ** 2).sum(axis=1)
    np.testing.assert_allclose(own, least, rtol=1e-5)


@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans])
@pytest.mark.parametrize(
    ("scale", "weight", "message"),
    [(1e20, None, "non-finite cluster centers"), (1.0, 1e306, "finite sum"), (1e10, 1e300, "non-finite")],
)
def test_numbers_too_large_are_refused_and_change_nothing(make, scale, weight, message):
    X = np.random.default_rng(4).normal(size=(300, 4))
    weights = None if weight is None else np.full(300, weight)
    model = make(3, init=X[:3], n_init=1, random_state=0).fit(X)
    before = pickle.dumps(model)
    scaled = (X * scale).astype(np.float32 if weight is None else np.float64)
    model.init = scaled[:3]
    with np.errstate(all="ignore"), pytest.raises(ValueError, match=message):
        model.fit(scaled, sample_weight=weights)
    model.init = X[:3]
    assert pickle.dumps(model) == before


@pytest.mark.parametrize("scale", [1e18, 5e18, 1e19])
def test_csr_whose_scores_overflow_though_its_distances_do_not(scale):
    generator = np.random.default_rng(0)
    C = (scale * generator.normal(size=(40, 20))).astype(np.float32)
    X = (C * np.float32(1.0001)).astype(np.float32)
    with np.errstate(over="ignore"):
        model = KMeans(40, init=C, n_init=1, max_iter=1).fit(sparse.csr_matrix(X))
    np.testing.assert_array_equal(model.labels_, np.arange(40))


def test_weights_whose_sum_overflows_float32():
    X = np.random.default_rng(4).normal(size=(300, 4)).astype(np.float32)
    plain = MiniBatchKMeans(3, init=X[:3], random_state=0).fit(X, sample_weight=np.full(300, 1e20))
    large = MiniBatchKMeans(3, init=X[:3], random_state=0).fit(X, sample_weight=np.full(300, 1e37))
    np.testing.assert_array_equal(large.labels_, plain.labels_)


def test_callable_init():
    X = blobs()
    seen = []

    def init(X, n_clusters, random_state):
        seen.append(isinstance(random_state, np.random.RandomState))
        return X[:n_clusters]

    model = KMeans(6, init=init, n_init=2).fit(X)
    assert seen == [True, True]
    assert_same_fit(model, KMeans(6, init=X[:6]).fit(X))
    with pytest.raises(ValueError, match="does not match the number of clusters"):
        KMeans(5, init=lambda X, n_clusters, random_state: X[:4]).fit(X)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_clusters": 1000}, "n_samples=900 should be >= n_clusters=1000"),
        ({"init": np.zeros((3, 3))}, "does not match the number of clusters"),
        ({"init": np.zeros((6, 2))}, "does not match the number of features"),
        ({"init": np.full((6, 3), np.nan)}, "NaN"),
        ({"init": "first"}, "'init' parameter"),
        ({"algorithm": "full"}, "'algorithm' parameter"),
        ({"n_clusters": 0}, "'n_clusters' parameter"),
    ],
)
def test_bad_input_leaves_the_model_as_it_was(changes, message):
    X = blobs()
    model = KMeans(6, random_state=0).fit(X)
    before = dict(vars(model))
    params = model.get_params()
    model.set_params(**changes)
    with pytest.raises(ValueError, match=message):
        model.fit(X)
    model.set_params(**params)
    assert vars(model) == before
    for bad in (np.where(X > 3, np.nan, X), X[:, :0]):
        with pytest.raises(ValueError, match=r"NaN|feature"):
            model.fit(bad)
        assert vars(model) == before


def test_csr_with_bad_indices_or_duplicates():
    X = sparse_rows(20, 5)
    bad = X.copy()
    bad.indices[0] = 7
    with pytest.raises(ValueError, match=r"index|indices"):
        KMeans(2).fit(bad)
    twice = sparse.csr_matrix(
        (np.r_[X.data, X.data] / 2, np.r_[X.indices, X.indices], X.indptr), shape=X.shape
    )
    rows = np.repeat(np.arange(20), np.diff(X.indptr))
    order = np.argsort(np.r_[rows, rows], kind="stable")
    twice = sparse.csr_matrix(
        ((np.r_[X.data, X.data] / 2)[order], np.r_[X.indices, X.indices][order], 2 * X.indptr), shape=X.shape
    )
    assert not twice.has_canonical_format
    ours = KMeans(3, init=X[:3].toarray(), n_init=1).fit(twice)
    assert_same_fit(ours, KMeans(3, init=X[:3].toarray()).fit(X))


def test_mean_variance_of_csr():
    X = sparse_rows()
    assert mean_variance(Csr.of(X, X.dtype, np.int32)) == pytest.approx(
        X.toarray().var(axis=0).mean(), rel=1e-12
    )


def test_the_same_clusters_in_another_order_are_no_better_run():
    assert same_clusters(np.array([0, 1, 1, 2]), np.array([2, 0, 0, 1]), 3)
    assert not same_clusters(np.array([0, 1, 1, 2]), np.array([2, 0, 1, 1]), 3)
    # Well separated: every run finds the same clusters, and the first one is kept.
    X = np.random.default_rng(0).normal(size=(300, 2)) + 50 * np.arange(3)[np.arange(300) % 3, None]
    for seed in range(5):
        same = {"n_clusters": 3, "init": "k-means++", "n_init": 5, "random_state": seed}
        assert_same_fit(KMeans(**same).fit(X), cluster.KMeans(**same).fit(X))


def test_elkan_with_one_cluster_warns():
    with pytest.warns(RuntimeWarning, match="doesn't make sense for a single cluster"):
        KMeans(1, algorithm="elkan").fit(DIGITS)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        KMeans(1).fit(DIGITS)
