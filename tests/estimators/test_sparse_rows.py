"""Sparse input: counts as the dense matrix it stands for, in every format, method and estimator."""

import pickle

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone

from fastnn import GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor, kmeans_plusplus
from fastnn.estimators.sparse_rows import canonical_csr
from tests.sparse_forms import FORMATS, KINDS, forms, make
from tests.sparse_models import ASKING, ESTIMATORS, FITTING, X, Y, call

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def fitted(model):
    """What a fit leaves behind, as arrays."""
    names = (
        "cluster_centers_",
        "labels_",
        "inertia_",
        "n_iter_",
        "n_steps_",
        "loss_curve_",
        "coefs_",
        "loss_",
    )
    return [np.asarray(part) for name in names for part in _parts(getattr(model, name, ()))]


def _parts(value):
    return value if isinstance(value, list | tuple) else [value]


def results(prototype, data, y=Y):
    """Of every method, on a new model or one that was fitted to the dense X."""
    found = {}
    for method in FITTING:
        model = clone(prototype)
        if hasattr(model, method):
            call(model, method, data, y)
            found[method] = fitted(model)
    model = call(clone(prototype), "fit", X)
    for method in ASKING:
        if hasattr(model, method):
            found[method] = [call(model, method, data, y)]
    if hasattr(model, "partial_fit"):
        found["partial_fit again"] = fitted(call(model, "partial_fit", data, y))
    return found


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for method, arrays in expected.items():
        for one, other in zip(got[method], arrays, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12, err_msg=method)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_form_of_a_matrix_gives_the_same(name, kind):
    prototype = ESTIMATORS[name]
    given = forms(X, kind)
    expected = results(prototype, given["csr"])
    for form, data in given.items():
        before = pickle.dumps(vars(data))
        try:
            assert_same(results(prototype, data), expected)
        except Exception as error:
            error.add_note(f"form: {form}")
            raise
        assert pickle.dumps(vars(data)) == before, form


@pytest.mark.parametrize("name", ESTIMATORS)
def test_sparse_data_give_what_the_dense_give(name):
    prototype = ESTIMATORS[name]
    if isinstance(prototype, GradKMeans | KMeans | MiniBatchKMeans):
        prototype = clone(prototype).set_params(
            init=X[1:4], n_init=1
        )  # GradKMeans seeds sparse data otherwise
    # A row of zeros is as far from all centres by the cosine: its label is a matter of rounding.
    whole = X.any(axis=1)
    given, labels = X[whole], Y[whole]
    assert_same(results(prototype, sparse.csr_array(given), labels), results(prototype, given, labels))


@pytest.mark.parametrize("kind", KINDS)
def test_kmeans_plusplus_takes_the_same_rows(kind):
    centers, indices = kmeans_plusplus(X, 5, random_state=0)
    for form, data in forms(X, kind).items():
        got = kmeans_plusplus(data, 5, random_state=0)
        np.testing.assert_array_equal(got[1], indices, err_msg=form)
        np.testing.assert_array_equal(got[0], centers, err_msg=form)


# The door itself.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.longdouble, np.int8, np.uint16, bool, np.complex64]
)
def test_canonical_csr_keeps_kind_and_dtype(kind, dtype):
    values = (X > 2).astype(dtype)
    for form in FORMATS:
        got = canonical_csr(make(form, kind)(values))
        assert type(got) is make("csr", kind)
        assert got.dtype == dtype
        assert got.indices.dtype == got.indptr.dtype == np.int32
        assert got.has_canonical_format
        np.testing.assert_array_equal(got.toarray(), values)


def test_a_canonical_matrix_is_not_copied():
    given = sparse.csr_matrix(X)
    got = canonical_csr(given)
    assert got is not given
    assert np.shares_memory(got.data, given.data)
    assert np.shares_memory(got.indices, given.indices)
    assert canonical_csr(X) is X


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1), (4, 2)])
def test_matrices_without_entries(shape):
    for kind in KINDS:
        for form in FORMATS:
            got = canonical_csr(make(form, kind)(shape))
            assert got.shape == shape
            assert got.nnz == 0


def test_values_that_scipy_has_no_code_for():
    csr = sparse.csr_array(X)
    for dtype in (np.float16, object):
        odd = csr.copy()
        odd.data, odd.indices, odd.indptr = (
            np.repeat(odd.data / 2, 2),
            np.repeat(odd.indices, 2),
            2 * odd.indptr,
        )
        odd.data = odd.data.astype(dtype)
        got = canonical_csr(odd)
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got.toarray(), X)
    csr.data = csr.data.astype("M8[s]")
    with pytest.raises(TypeError, match="real numbers"):
        canonical_csr(csr)


WIDE = 2**31 + 10


def wide_matrices():
    """Name -> a matrix with an index, or a number of entries, that 32 bits do not hold."""
    columns = (np.ones(2), np.array([0, WIDE - 1]), np.array([0, 1, 2]))
    blocks = sparse.bsr_matrix((np.ones((1, 1, 1)), [0], [0, 1]), shape=(1, 1))
    side = 46_342  # whose square is above 2**31
    blocks.data, blocks._shape = np.broadcast_to(1.0, (1, side, side)), (side, side)
    return {
        "csr": sparse.csr_array(columns, shape=(2, WIDE)),
        "narrow in 64 bits": sparse.csr_array((np.ones(1), np.array([0]), np.array([0, 1])), shape=(1, WIDE)),
        "coo": sparse.coo_matrix((np.ones(1), ([0], [WIDE - 1])), shape=(3, WIDE)),
        "rows": sparse.coo_matrix((np.ones(1), ([WIDE - 1], [0])), shape=(WIDE, 3)),
        "csc": sparse.csc_matrix((np.ones(1), np.array([WIDE - 1]), np.array([0, 0, 1])), shape=(WIDE, 2)),
        "bsr": blocks,
    }


@pytest.mark.parametrize("name", wide_matrices())
@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans, GradKMeans])
def test_indices_that_need_64_bits(name, estimator):
    data = wide_matrices()[name]
    with pytest.raises(ValueError, match="At most 2147483647 of each are taken") as caught:
        estimator(2).fit(data)
    assert "issue" not in str(caught.value)


def test_networks_take_indices_of_64_bits():
    data = wide_matrices()["csr"]
    got = canonical_csr(data)
    assert got.indices.dtype == np.int64
    np.testing.assert_array_equal(got.indices, data.indices)
    model = MLPRegressor(hidden_layer_sizes=(2,), max_iter=1, random_state=0).fit(X, X[:, 0])
    with pytest.raises(ValueError, match=f"X has {WIDE} features, but MLPRegressor is expecting 12"):
        model.predict(data)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_other_errors_are_those_of_scikit_learn(name):
    for value, message in ((np.nan, "Input X contains NaN"), (np.inf, "infinity"), (1j, "Complex data")):
        data = sparse.csc_array(X.astype(type(value)))
        data.data[3] = value
        model = clone(ESTIMATORS[name])
        with pytest.raises(ValueError, match=message):
            call(model, "fit", data)
    if hasattr(sparse.coo_array, "coords") and name == "KMeans":
        with pytest.raises(ValueError, match="Expected 2D input"):
            KMeans(2).fit(sparse.coo_array(X[0]))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_float32_stays(name):
    for form in FORMATS:
        data = make(form, "array")(X.astype(np.float32))
        model = call(clone(ESTIMATORS[name]), "fit", data)
        assert (model.coefs_[0] if hasattr(model, "coefs_") else model.cluster_centers_).dtype == np.float32


def test_sparse_data_frames():
    frame = pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(X))
    frame.columns = [f"x{i}" for i in range(X.shape[1])]
    for name in ("KMeans", "MLPClassifier"):
        got, expected = (call(clone(ESTIMATORS[name]), "fit", data) for data in (frame, sparse.csr_array(X)))
        for one, other in zip(fitted(got), fitted(expected), strict=True):
            np.testing.assert_array_equal(one, other)


# Other arguments that may be sparse.


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_labels(kind):
    labels = (X > 1.5).astype(float)
    expected = MLPClassifier((4,), max_iter=2, random_state=0).fit(X, labels)
    for form, data in forms(labels, kind).items():
        model = MLPClassifier((4,), max_iter=2, random_state=0).fit(X, data)
        np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0], err_msg=form)
        assert model.score(X, data) == expected.score(X, labels), form
        model = MLPClassifier((4,), random_state=0).partial_fit(X, data, classes=np.arange(12))
        assert model.coefs_[1].shape == (4, 12)


@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans, GradKMeans])
def test_a_callable_init_has_its_own_rows(estimator):
    data = sparse.csr_array(X)
    expected = estimator(3, init=X[1:4], n_init=1, random_state=0).fit(data).cluster_centers_

    def init(rows, n_clusters, random_state):
        rows.indices[:], rows.data[:] = -1, 1e300
        return X[1:4]

    got = estimator(3, init=init, n_init=1, random_state=0).fit(data).cluster_centers_
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(data.toarray(), X)
