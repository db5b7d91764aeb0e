"""Spherical k-means: metric='cosine' in the estimators."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import normalize

from fastnn import GradKMeans, KMeans, MiniBatchKMeans
from fastnn.clustering.sphere import unit_rows

DTYPES = [np.float32, np.float64]


def directions(n=600, d=12, k=5, dtype=np.float64, seed=0):
    """Rows about k directions, of lengths that say nothing; and which direction each is about."""
    rng = np.random.default_rng(seed)
    which = rng.integers(k, size=n)
    rows = normalize(rng.normal(size=(k, d)))[which] + 0.1 * rng.normal(size=(n, d))
    return (rows * rng.lognormal(sigma=2, size=(n, 1))).astype(dtype), which


def spherical_iterations(X, C, weights, n_iter):
    """The naive twin: rows and centres on the unit sphere, the largest cosine wins."""
    X, C = normalize(X), normalize(C)
    for _ in range(n_iter):
        labels = (X @ C.T).argmax(axis=1)
        sums = np.array([(weights[labels == j, None] * X[labels == j]).sum(axis=0) for j in range(len(C))])
        lengths = np.linalg.norm(sums, axis=1, keepdims=True)
        C = np.where(lengths > 0, sums / np.where(lengths > 0, lengths, 1), C)
    labels = (X @ C.T).argmax(axis=1)
    return C, labels, (weights * 2 * (1 - (X * C[labels]).sum(axis=1))).sum()


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
def test_iterations_are_those_of_the_naive_twin(form, weighted):
    X, _ = directions()
    weights = np.random.default_rng(1).uniform(0.1, 2, len(X)) if weighted else np.ones(len(X))
    model = KMeans(5, metric="cosine", init=X[:5], n_init=1, max_iter=7, tol=0)
    model.fit(form(X), sample_weight=weights if weighted else None)
    centers, labels, inertia = spherical_iterations(X, X[:5], weights, model.n_iter_)
    assert_allclose(model.cluster_centers_, centers, atol=1e-12)
    assert_array_equal(model.labels_, labels)
    assert_allclose(model.inertia_, inertia, rtol=1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("init", ["k-means++", "k-means||", "random"])
def test_lengths_do_not_matter(init, dtype):
    X, which = directions(dtype=dtype)
    model = KMeans(5, metric="cosine", init=init, n_init=10, random_state=0).fit(X)
    assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1, rtol=1e-6)
    # Each direction's rows are one cluster.
    assert len({*zip(which.tolist(), model.labels_.tolist(), strict=True)}) == 5
    assert_array_equal(model.predict(X * 7), model.labels_)
    distances = model.transform(X)
    assert_array_equal(distances.argmin(axis=1), model.labels_)
    cosines = normalize(X).astype(float) @ model.cluster_centers_.T.astype(float)
    assert_allclose(distances**2 / 2, 1 - cosines, atol=1e-5 if dtype == np.float32 else 1e-12)
    assert_allclose(model.score(X), -model.inertia_, rtol=1e-5)


def test_rows_of_unit_length_are_not_copied():
    X = normalize(directions()[0])
    assert unit_rows(X) is X
    twice = 2 * X
    before = twice.copy()
    KMeans(3, metric="cosine", random_state=0).fit(twice)
    assert_array_equal(twice, before)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_lengths_whose_squares_overflow(scale):
    X, _ = directions(dtype=np.float32)
    model = KMeans(5, metric="cosine", init=X[:5], n_init=1).fit(X)
    scaled = KMeans(5, metric="cosine", init=X[:5], n_init=1).fit(X * np.float32(scale))
    assert_array_equal(model.labels_, scaled.labels_)


def test_rows_of_zeros_and_rows_that_cancel():
    """A mean of opposite rows has no direction: its centre stays."""
    X = np.array([[1.0, 0], [-1, 0], [0, 1], [0, 0]])
    model = KMeans(2, metric="cosine", init=np.array([[1.0, 1e-9], [0, 1]]), n_init=1).fit(X)
    assert np.isfinite(model.cluster_centers_).all()
    assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1)
    assert np.isfinite(model.inertia_)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(
    "make",
    [
        lambda **kw: MiniBatchKMeans(5, batch_size=50, max_iter=3, **kw),
        lambda **kw: MiniBatchKMeans(5, batch_size=50, nested=True, **kw),
        lambda **kw: GradKMeans(5, batch_size=50, max_iter=3, polish=False, **kw),
        lambda **kw: GradKMeans(5, optimizer="adam", learning_rate=0.01, max_iter=20, **kw),
        lambda **kw: GradKMeans(5, optimizer="newton", batch_size=None, **kw),
    ],
)
def test_batches_on_the_sphere(make, form):
    """Centres stay at unit length, lengths of rows do not matter, and the directions are found."""
    X, which = directions()
    model = make(metric="cosine", random_state=1).fit(form(X))
    assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1, rtol=1e-12)
    assert len({*zip(which.tolist(), model.labels_.tolist(), strict=True)}) == 5
    longer = make(metric="cosine", random_state=1).fit(form(X * 8))
    assert_allclose(model.cluster_centers_, longer.cluster_centers_, atol=1e-9)
    model.partial_fit(form(X[:50]))
    assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1, rtol=1e-12)


def test_newton_on_the_sphere_is_spherical_lloyd():
    X, _ = directions()
    same = {"init": X[:5], "metric": "cosine", "max_iter": 4, "tol": 0}
    model = GradKMeans(5, optimizer="newton", batch_size=None, polish=False, **same).fit(X)
    assert_array_equal(model.cluster_centers_, KMeans(5, n_init=1, **same).fit(X).cluster_centers_)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize(
    "make",
    [
        lambda **kw: KMeans(**kw),
        lambda **kw: KMeans(init="k-means||", **kw),
        lambda **kw: KMeans(init="afk-mc2", **kw),
        lambda **kw: KMeans(init="random", n_init=5, **kw),
        lambda **kw: MiniBatchKMeans(batch_size=20, reassignment_ratio=0.5, **kw),
        lambda **kw: MiniBatchKMeans(nested=True, batch_size=20, **kw),
        lambda **kw: GradKMeans(batch_size=20, max_iter=5, **kw),
    ],
)
def test_rows_of_zeros_are_no_centers(make, form):
    X = np.vstack([directions(n=60)[0], np.zeros((30, 12))])[np.random.default_rng(1).permutation(90)]
    model = make(n_clusters=25, metric="cosine", random_state=0).fit(form(X))
    assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1, rtol=1e-12)
    # They count in the inertia all the same: 1 each, like any row at a right angle to its centre.
    assert_allclose(model.transform(form(X))[~X.any(axis=1)], 1, rtol=1e-6)


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix])
@pytest.mark.parametrize("nested", [False, True])
def test_few_rows_with_a_direction(nested, form):
    X = np.zeros((2000, 3))
    X[::100] = np.random.default_rng(0).normal(size=(20, 3))
    for seed in range(4):
        model = MiniBatchKMeans(
            3, metric="cosine", batch_size=10, init_size=10, max_iter=2, nested=nested, random_state=seed
        )
        model.fit(form(X))
        assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1, rtol=1e-12)


@pytest.mark.parametrize("make", [KMeans, MiniBatchKMeans, GradKMeans])
def test_nothing_but_zeros(make):
    with pytest.raises(ValueError, match="All rows are zeros"):
        make(2, metric="cosine").fit(np.zeros((5, 3)))


@pytest.mark.parametrize("rate", [1e160, 1e308])
def test_divergence_on_the_sphere(rate):
    model = GradKMeans(3, metric="cosine", learning_rate=rate, reduction="sum", polish=False, random_state=0)
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="non-finite"):
        model.fit(directions()[0])


def test_a_far_row_of_zeros_fills_no_empty_cluster():
    X = np.array([[1.0, 0], [1, 0.1], [1, 0.2], [0, 0]])
    model = KMeans(3, metric="cosine", init=np.array([[1.0, 0], [-1, 0], [0, -1]]), n_init=1).fit(X)
    assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1)


def test_fewer_rows_with_a_direction_than_clusters():
    X = np.array([[1.0, 0], [0, 0], [0, 0], [0, 2]])
    with pytest.warns(ConvergenceWarning, match="distinct clusters"):
        model = KMeans(3, metric="cosine", random_state=0).fit(X)
    assert_allclose(np.linalg.norm(model.cluster_centers_, axis=1), 1)


@pytest.mark.parametrize("init", [np.eye(3)[:2] * [[1], [0]], lambda X, k, random_state: X[:2] * 0])
def test_an_initial_center_of_zeros_is_refused(init):
    with pytest.raises(ValueError, match="row of zeros, which has no direction"):
        KMeans(2, metric="cosine", init=init, n_init=1).fit(np.eye(3))


def test_an_unknown_metric():
    with pytest.raises(ValueError, match="metric"):
        KMeans(2, metric="manhattan").fit(directions()[0])
