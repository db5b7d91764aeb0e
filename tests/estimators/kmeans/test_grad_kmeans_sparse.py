"""GradKMeans on CSR rows: what it gives for the dense array, without ever making it."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastnn import GradKMeans, KMeans
from fastnn.clustering import seeding
from fastnn.kernels.shared.arrays import Csr
from tests.estimators.kmeans.test_grad_kmeans import OPTIMIZERS, assert_same_state, state


def rows(n=400, d=30, density=0.3, seed=0, dtype=np.float64):
    return sparse.random(n, d, density, format="csr", random_state=seed, dtype=dtype)


def assert_same_model(ours, dense, rtol=1e-7):
    np.testing.assert_array_equal(ours.labels_, dense.labels_)
    np.testing.assert_allclose(ours.cluster_centers_, dense.cluster_centers_, rtol=rtol, atol=rtol)
    np.testing.assert_allclose(ours.loss_curve_, dense.loss_curve_, rtol=rtol)
    assert ours.inertia_ == pytest.approx(dense.inertia_, rel=rtol)
    assert (ours.n_iter_, ours.n_steps_) == (dense.n_iter_, dense.n_steps_)


@pytest.mark.parametrize("polish", [True, False])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("batch_size", [64, 100, None])
@pytest.mark.parametrize("parameters", OPTIMIZERS, ids=str)
def test_same_fit_as_the_dense_array(parameters, batch_size, weighted, polish):
    X = rows()
    w = np.random.default_rng(0).integers(0, 3, X.shape[0]).astype(float) if weighted else None
    init = X[:5].toarray()
    model = GradKMeans(5, init=init, batch_size=batch_size, max_iter=4, polish=polish, random_state=0)
    model.set_params(**parameters)
    dense = clone(model).fit(X.toarray(), sample_weight=w)
    assert_same_model(model.fit(X, sample_weight=w), dense)
    np.testing.assert_array_equal(model.predict(X), dense.predict(X.toarray()))
    np.testing.assert_allclose(model.transform(X), dense.transform(X.toarray()), atol=1e-6)
    assert model.score(X, sample_weight=w) == pytest.approx(dense.score(X.toarray(), sample_weight=w))


def test_random_init_takes_the_same_rows():
    X = rows()
    model = GradKMeans(5, init="random", n_init=3, batch_size=50, random_state=0)
    assert_same_model(clone(model).fit(X), model.fit(X.toarray()))


@pytest.mark.parametrize("weighted", [False, True])
def test_plus_plus_is_drawn_from_a_sample_of_the_rows(weighted, monkeypatch):
    monkeypatch.setattr(seeding, "_SAMPLE", 100)
    monkeypatch.setattr(seeding, "_SAMPLE_PER_CLUSTER", 1)
    X = rows()
    w = np.where(np.arange(400) < 50, 1.0, 0.0) if weighted else None
    C = seeding.searched_plus_plus(X, 5, w, np.random.RandomState(0))
    allowed = X.toarray()[:50] if weighted else X.toarray()
    assert all((c == allowed).all(axis=1).any() for c in C)
    model = GradKMeans(5, random_state=0).fit(X, sample_weight=w)
    assert model.inertia_ < 1.1 * KMeans(5, random_state=0).fit(X, sample_weight=w).inertia_


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_partial_fit_follows_the_dense_array(dtype):
    X = rows(900, dtype=dtype)
    for parameters in OPTIMIZERS:
        ours = GradKMeans(5, init=X[:5].toarray(), **parameters)
        dense = clone(ours)
        for start in range(0, 900, 100):
            # Batches of other formats and float types are taken, too.
            batch = X[start : start + 100].astype(np.float64 if start == 300 else dtype)
            ours.partial_fit(batch.tocsc() if start == 500 else batch)
            dense.partial_fit(batch.toarray())
        assert ours.cluster_centers_.dtype == dtype
        rtol = 1e-4 if dtype == np.float32 else 1e-7
        np.testing.assert_allclose(ours.cluster_centers_, dense.cluster_centers_, rtol=rtol, atol=rtol)
        np.testing.assert_allclose(ours.loss_curve_, dense.loss_curve_, rtol=rtol)
    # From dense to sparse batches and back.
    ours.partial_fit(X[:100].toarray()).partial_fit(X[:100]).partial_fit(X[:1])
    assert ours.labels_.shape == (1,)


@pytest.mark.parametrize("batch_size", [100, None])
def test_starved_centers_move_to_the_same_rows(batch_size):
    X = rows()
    init = np.vstack([X[:3].toarray(), np.full((2, 30), 1e4)])
    model = GradKMeans(5, init=init, batch_size=batch_size, polish=False, random_state=0)
    assert_same_model(clone(model).fit(X), model.fit(X.toarray()))
    assert len(np.unique(model.labels_)) == 5


def test_farthest_rows_know_a_row_that_is_a_center():
    X = rows(50, 200, 0.5)
    csr = Csr.of(X, X.dtype, np.int32)
    C = X[:3].toarray()
    np.testing.assert_array_equal(
        seeding.farthest_rows(csr, C, None, 4), seeding.farthest_rows(X.toarray(), C, None, 4)
    )
    # Norms in float64 may be added up in another order than what is taken from them.
    assert len(seeding.farthest_rows(csr, X.toarray(), None, 4)) == 0
    empty = sparse.csr_matrix((3, 4))
    assert len(seeding.farthest_rows(Csr.of(empty, np.float64, np.int32), np.zeros((1, 4)), None, 2)) == 0


def test_fewer_distinct_rows_than_clusters():
    X = sparse.csr_matrix(np.repeat(rows(2).toarray(), 10, axis=0))
    with pytest.warns(ConvergenceWarning, match=r"Number of distinct clusters \(2\) found smaller"):
        model = GradKMeans(4, batch_size=7, random_state=0).fit(X)
    assert model.inertia_ == pytest.approx(0, abs=1e-12)
    assert model.n_iter_ < 100


def test_rows_are_never_made_dense(monkeypatch):
    X = rows()
    for kind in (sparse.csr_matrix, sparse.csr_array):
        plain = kind.toarray

        def toarray(self, *args, plain=plain, **kwargs):
            assert self.shape[0] <= 5
            return plain(self, *args, **kwargs)

        monkeypatch.setattr(kind, "toarray", toarray)
        monkeypatch.setattr(kind, "todense", None)
    for init in ("k-means++", "random"):
        for batch_size in (64, None):
            model = GradKMeans(5, init=init, batch_size=batch_size, random_state=0).fit(X)
            model.partial_fit(X)
            model.predict(X), model.transform(X), model.score(X)


@pytest.mark.parametrize("make", ["csr_array", "csc", "coo", "duplicates", "read-only"])
def test_any_format_and_none_is_changed(make):
    X = rows(100)
    data = {
        "csr_array": sparse.csr_array,
        "csc": sparse.csc_matrix,
        "coo": sparse.coo_matrix,
        "duplicates": lambda X: sparse.csr_matrix(
            (np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), 2 * X.indptr), shape=X.shape
        ),
        "read-only": lambda X: X.copy(),
    }[make](X)
    if make == "read-only":
        for array in (data.data, data.indices, data.indptr):
            array.flags.writeable = False
    model = GradKMeans(4, init="random", batch_size=30, random_state=0)
    assert_same_model(clone(model).fit(data), model.fit(X.toarray()))
    clone(model).partial_fit(data)
    np.testing.assert_array_equal(data.toarray(), X.toarray())


def test_result_does_not_depend_on_the_threads(any_size_uses_threads):
    X = rows(3000)
    one, two = (GradKMeans(6, batch_size=700, random_state=0, n_threads=n).fit(X) for n in (1, 2))
    np.testing.assert_array_equal(one.cluster_centers_, two.cluster_centers_)
    assert one.loss_curve_ == two.loss_curve_
    assert one.inertia_ == two.inertia_


@pytest.mark.parametrize("method", ["fit", "partial_fit"])
def test_a_failing_call_leaves_the_model_as_it_was(method):
    X = rows()
    model = GradKMeans(4, random_state=0).fit(X)
    before = state(model)
    missing, outside = X.copy(), X.copy()
    missing.data[7] = np.nan
    outside.indices[3] = 99
    for bad, message in [(missing, "NaN"), (outside, "ind"), (X[:0], "0 sample"), (X[:, :0], "feature")]:
        with pytest.raises(ValueError, match=message):
            getattr(model, method)(bad)
        assert_same_state(model, before)


@pytest.mark.parametrize("batch_size", [100, None])
def test_divergence_keeps_the_last_good_centers(batch_size):
    X = rows()
    model = GradKMeans(4, learning_rate=1e12, reduction="sum", batch_size=batch_size, random_state=0)
    with pytest.raises(ValueError, match="Lower learning_rate"):
        model.fit(X)
    assert np.abs(model.cluster_centers_).max() < 100
    np.testing.assert_array_equal(model.labels_, model.predict(X))
    assert np.isfinite(model.loss_curve_).all()
