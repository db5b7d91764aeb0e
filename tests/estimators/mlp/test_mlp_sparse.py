"""The multi-layer perceptrons on sparse rows whose entries alone are read, against scikit-learn's."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

import fastnn
from fastnn.networks import data as network_data
from tests.estimators.mlp.test_mlp_parity import SOLVERS, assert_same, pair

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def words(n=300, d=400, dtype=np.float64, seed=0):
    """Rows like counts of words: few entries, some features that are frequent and some that never occur."""
    rng = np.random.default_rng(seed)
    frequency = np.minimum(1, 2 / (1 + np.arange(d)))
    frequency[::13] = 0
    X = sparse.csr_matrix((rng.random((n, d)) < frequency) * rng.integers(1, 4, size=(n, d)), dtype=dtype)
    score = X @ rng.normal(size=(d, 3))
    return X, score


def test_they_are_read_by_their_entries():
    X, _ = words()
    assert network_data.rows_of(X, X.dtype).forward
    # Narrow matrices, and those with many entries, are made dense batch by batch.
    assert not network_data.rows_of(X[:, : network_data.ENTRY_FEATURES - 1], X.dtype).forward
    assert not network_data.rows_of(sparse.csr_matrix(np.ones((30, 400))), X.dtype).forward
    assert not network_data.rows_of(X.toarray(), X.dtype).forward
    many = sparse.random(200, 400, network_data.ENTRY_DENSITY * 1.01, format="csr")
    few = sparse.random(200, 400, network_data.ENTRY_DENSITY * 0.99, format="csr")
    assert not network_data.rows_of(many, X.dtype).forward
    assert network_data.rows_of(few, X.dtype).forward


@pytest.mark.parametrize("early_stopping", [False, True], ids=["loss", "score"])
@pytest.mark.parametrize("activation", ["relu", "tanh"])
@pytest.mark.parametrize("solver", SOLVERS)
def test_twenty_epochs(solver, activation, early_stopping):
    X, score = words()
    arguments = {
        "hidden_layer_sizes": (20, 10), "activation": activation, "early_stopping": early_stopping,
        "max_iter": 20, "random_state": 0, "batch_size": 100, **SOLVERS[solver],
    }  # fmt: skip
    ours, theirs = pair("MLPClassifier", **arguments)
    y = score.argmax(axis=1)
    assert_same(ours.fit(X, y), theirs.fit(X, y))
    assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), rtol=1e-5, atol=1e-8)
    dense = fastnn.MLPClassifier(**arguments).fit(X.toarray(), y)
    assert_allclose(dense.loss_curve_, ours.loss_curve_, rtol=1e-12)
    assert_array_equal(dense.predict(X.toarray()), ours.predict(X))


@pytest.mark.parametrize("weighted", [False, True], ids=["plain", "weighted"])
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("task", ["one output", "outputs", "binary", "labels"])
def test_tasks(task, solver, weighted):
    X, score = words()
    kind, y = {
        "one output": ("MLPRegressor", score[:, 0]),
        "outputs": ("MLPRegressor", score),
        "binary": ("MLPClassifier", score[:, 0] > 0),
        "labels": ("MLPClassifier", (score > 1).astype(int)),
    }[task]
    weight = np.random.default_rng(1).uniform(0.1, 3, size=300) if weighted else None
    ours, theirs = pair(
        kind,
        hidden_layer_sizes=(8,),
        activation="tanh",
        solver=solver,
        alpha=0.1,
        max_iter=15,
        random_state=1,
    )
    ours.fit(X, y, sample_weight=weight)
    theirs.fit(X, y, sample_weight=weight)
    # Line searches amplify rounding.
    assert_same(ours, theirs, rtol=1e-6 if solver == "adam" else 1e-4)
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-3, atol=1e-5)


def test_partial_fit_and_warm_start():
    X, score = words()
    y = score.argmax(axis=1)
    ours, theirs = pair("MLPClassifier", hidden_layer_sizes=(8,), random_state=1)
    for i in range(6):
        rows = slice(i % 3 * 100, i % 3 * 100 + 100)
        for model in (ours, theirs):
            model.partial_fit(X[rows], y[rows], classes=np.arange(3))
    assert_same(ours, theirs)
    # One row, without and with entries; and rows without any.
    for row in (sparse.csr_matrix((1, 400)), X[5], sparse.csr_matrix((7, 400))):
        for model in (ours, theirs):
            model.partial_fit(row, y[: row.shape[0]])
        assert_allclose(ours.predict_proba(row), theirs.predict_proba(row), rtol=1e-6)
    ours, theirs = pair("MLPClassifier", warm_start=True, max_iter=4, random_state=0)
    for _ in range(3):
        assert_same(ours.fit(X, y), theirs.fit(X, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "parameters", [{}, {"dropout": 0.3}, {"early_stopping": True}, {"solver": "lbfgs"}], ids=str
)
def test_result_is_bitwise_the_same_for_any_number_of_threads(parameters, dtype, any_size_uses_threads):
    X, score = words(dtype=dtype)
    y = score.argmax(axis=1)
    results = []
    for n_threads in (1, 2, None):
        model = fastnn.MLPClassifier((30,), max_iter=5, random_state=0, n_threads=n_threads, **parameters)
        model.fit(X, y)
        results.append([*model.coefs_, *model.intercepts_, model.predict_proba(X), model.loss_])
    for other in results[1:]:
        for got, want in zip(other, results[0], strict=True):
            assert_array_equal(got, want)


def test_forms():
    X, score = words()
    y = score.argmax(axis=1)
    unsorted = X.copy()
    for start, stop in zip(X.indptr[:-1], X.indptr[1:], strict=True):
        unsorted.data[start:stop] = unsorted.data[start:stop][::-1].copy()
        unsorted.indices[start:stop] = unsorted.indices[start:stop][::-1].copy()
    unsorted.has_sorted_indices = False
    halves = sparse.csr_matrix((np.repeat(X.data / 2, 2), np.repeat(X.indices, 2), X.indptr * 2), X.shape)
    zeros = X.copy()
    zeros.data[::5] = 0
    model = fastnn.MLPClassifier((8,), max_iter=3, random_state=0)
    want = model.fit(X, y).loss_curve_
    for form in (X.tocsc(), unsorted, halves, sparse.csr_array(X)):
        kept = form.copy()
        assert_array_equal(model.fit(form, y).loss_curve_, want)
        assert_array_equal(form.indices, kept.indices)
        assert_array_equal(form.data, kept.data)
    removed = zeros.copy()
    removed.eliminate_zeros()
    assert_array_equal(model.fit(zeros, y).loss_curve_, model.fit(removed, y).loss_curve_)


def test_row_pointers_keep_their_64_bits():
    """Of more values than 32 bits can number, which no test can store: here they only point there."""
    X = sparse.csr_matrix(np.eye(2, 300))
    X.indptr = np.array([0, 2**31 + 5, 2**31 + 7])
    np.testing.assert_array_equal(network_data.rows_of(X, X.dtype).indptr, X.indptr)


def test_columns_that_32_bits_cannot_number_are_refused():
    X = sparse.csr_matrix((np.ones(1), [2**31 + 1], [0, 1]), shape=(1, 2**31 + 2))
    with pytest.raises(ValueError, match="at most 2147483647"):
        network_data.rows_of(X, X.dtype)
