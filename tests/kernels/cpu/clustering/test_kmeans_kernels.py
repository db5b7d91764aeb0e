"""The k-means kernels against their naive twins, over ragged shapes, dtypes, layouts and thread counts."""

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn.kernels import assign, update_centers
from fastnn.kernels.cpu.clustering.distances import distances_to
from fastnn.kernels.cpu.clustering.sweep import _COLUMNS, _ROWS, sum_chunks
from tests import reference

DTYPES = [np.float32, np.float64]
n_rows = st.sampled_from([0, 1, 2, 15, 16, 17, 31, 33, 127, 128, 129, _ROWS - 1, _ROWS + 1, 2600])
n_columns = st.sampled_from([0, 1, 2, 3, 7, 8, 15, 16, 17, 33, _COLUMNS + 1, 2 * _COLUMNS])
n_centers = st.sampled_from([1, 2, 3, 11, 12, 13, 24, 25, 40])


def on_threads(count, call):
    before = numba.get_num_threads()
    numba.set_num_threads(min(count, numba.config.NUMBA_NUM_THREADS))
    try:
        return call()
    finally:
        numba.set_num_threads(before)


def problem(n, d, k, dtype, seed, weighted=False):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)).astype(dtype)
    C = rng.normal(size=(k, d)).astype(dtype)
    return X, C, rng.uniform(0, 2, n).astype(dtype) if weighted else None


def tolerance(dtype, d):
    return (1 + d) * np.finfo(dtype).eps


def check_assignment(X, C, labels, distances):
    """The winner is a nearest centre up to rounding, and its distance is right."""
    assert labels.dtype == np.int32
    assert distances.dtype == X.dtype
    exact = ((X[:, None].astype(np.float64) - C[None].astype(np.float64)) ** 2).sum(axis=2)
    rows = np.arange(len(X))
    # An argmin may be found from the expanded form, whose error is that of the squared norms.
    norms = (X.astype(np.float64) ** 2).sum(axis=1) + (C.astype(np.float64) ** 2).sum(axis=1).max(initial=0)
    slack = 4 * tolerance(X.dtype, X.shape[1]) * norms
    assert (exact[rows, labels] <= exact.min(axis=1, initial=np.inf) + slack).all()
    np.testing.assert_allclose(
        distances, exact[rows, labels], rtol=tolerance(X.dtype, X.shape[1]), atol=1e-30
    )


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=60)
@given(n=n_rows, d=n_columns, k=n_centers, seed=st.integers(0, 2**16))
def test_assign_finds_the_nearest_center(dtype, n, d, k, seed):
    X, C, _ = problem(n, d, k, dtype, seed)
    check_assignment(X, C, *assign(X, C))


# (features, centres): the distance itself is compared, with points or features along the lanes, or the
# bracket of the expanded form.
FORMS = [(6, 8), (60, 10), (17, 30)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "k"), FORMS)
@pytest.mark.parametrize("far", [[1e5], [1e5, -1e5, 3e4]])
def test_a_few_far_centers_do_not_blur_the_near_ones(dtype, far, d, k):
    X, C, _ = problem(500, d, k, dtype, 0)
    C = np.concatenate([C, np.full((len(far), d), 0, dtype) + np.array(far, dtype)[:, None]])
    labels = assign(X, C)[0]
    exact = ((X[:, None].astype(np.float64) - C[None]) ** 2).sum(axis=2)
    slack = 40 * np.finfo(dtype).eps * (1 + exact.min(axis=1))
    assert (exact[np.arange(500), labels] <= exact.min(axis=1) + slack).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("d", "k"), FORMS)
def test_data_far_from_the_origin(dtype, d, k):
    X, C, _ = problem(500, d, k, dtype, 0)
    X, C = X + dtype(1e4), C + dtype(1e4)
    labels, distances = assign(X, C)
    exact = ((X[:, None].astype(np.float64) - C[None]) ** 2).sum(axis=2)
    slack = 40 * np.finfo(dtype).eps * (1 + exact.min(axis=1))
    assert (exact[np.arange(500), labels] <= exact.min(axis=1) + slack).all()
    np.testing.assert_allclose(distances, exact[np.arange(500), labels], rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize(("d", "k"), FORMS)
@pytest.mark.parametrize("at", [0, 3, -1])
def test_a_center_that_is_not_finite_is_never_the_nearest(bad, at, d, k):
    rng = np.random.default_rng(0)
    X, C = rng.normal(size=(100, d)), rng.normal(size=(k, d))
    C[at, 2] = bad
    labels, distances = assign(X, C)
    others = np.delete(np.arange(k), at)
    expected, expected_distances = reference.assign(X, C[others])
    np.testing.assert_array_equal(labels, others[expected])
    np.testing.assert_allclose(distances, expected_distances, rtol=1e-12)
    C[:] = bad
    np.testing.assert_array_equal(assign(X, C)[0], 0)


def test_infinity_does_not_win_over_a_distance_that_is_no_number():
    for X, C in (
        ([[np.inf, 0.0]], [[np.inf, 0.0], [1.0, 1.0]]),
        ([[np.inf] * 60], [[np.inf] * 60, [1.0] * 60]),
    ):
        assert assign(np.array(X), np.array(C))[0] == 0


@pytest.mark.parametrize("row", [[np.nan, 0, 0], [np.inf, 0, 0], [np.inf, -np.inf, 1]])
@pytest.mark.parametrize(("d", "k"), FORMS)
def test_a_row_without_a_finite_distance_gets_label_0(row, d, k):
    # More rows than a tile has columns: whole tiles and ragged ones are looked through in different places.
    X, C = np.ones((70, d)), np.random.default_rng(0).normal(size=(k, d))
    C[1] = 1
    X[[0, 69], :3] = row
    labels, distances = assign(X, C)
    np.testing.assert_array_equal(labels, [0, *[1] * 68, 0])
    assert not np.isfinite(distances[[0, 69]]).any()
    assert (distances[1:69] == 0).all()


@pytest.mark.parametrize("weight", [-1.0, np.nan])
def test_update_centers_refuses_bad_weights(weight):
    with pytest.raises(ValueError, match="Negative or missing"):
        update_centers(np.zeros((3, 2)), [0, 0, 1], 2, [1.0, weight, 1.0])


def test_outputs_share_no_memory_with_other_arguments():
    X = np.random.default_rng(0).normal(size=(4, 4))
    with pytest.raises(ValueError, match="share memory"):
        update_centers(X, [0, 1, 2, 3], 4, out=(X, np.empty(4)))
    with pytest.raises(ValueError, match="share memory"):
        assign(X, X[:2], out=(np.empty(4, np.int32), X[0]))


@pytest.mark.parametrize("dtype", DTYPES)
@settings(deadline=None, max_examples=60)
@given(n=n_rows, d=n_columns, k=n_centers, seed=st.integers(0, 2**16), weighted=st.booleans())
def test_update_centers_adds_up_the_rows(dtype, n, d, k, seed, weighted):
    X, _, w = problem(n, d, k, dtype, seed, weighted)
    labels = np.random.default_rng(seed).integers(0, k, n)
    sums, counts = update_centers(X, labels, k, w)
    expected_sums, expected_counts = reference.update_centers(X, labels, k, w)
    assert sums.dtype == counts.dtype == np.float64
    np.testing.assert_allclose(sums, expected_sums, rtol=1e-12, atol=1e-11)
    np.testing.assert_allclose(counts, expected_counts, rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", [(5000, 3, 4), (3000, 130, 7), (700, 200, 300), (1, 1, 1)])
def test_same_bits_for_any_number_of_threads(dtype, shape, any_size_uses_threads):
    X, C, w = problem(*shape, dtype, 0, weighted=True)
    results = [
        on_threads(t, lambda: (*assign(X, C), *update_centers(X, assign(X, C)[0], shape[2], w)))
        for t in (1, 2)
    ]
    for one, two in zip(*results):
        np.testing.assert_array_equal(one, two)


def test_both_ways_of_adding_up_are_tested():
    assert sum_chunks(5000, 4, 3) > 1
    assert sum_chunks(700, 300, 200) == 1


@pytest.mark.parametrize("dtype", DTYPES)
def test_ties_go_to_the_lowest_index(dtype):
    X = np.zeros((50, 3), dtype)
    C = np.ones((20, 3), dtype)
    C[::2] *= -1
    labels, distances = assign(X, C)
    assert not labels.any()
    assert (distances == 3).all()


def test_small_distances_far_from_the_origin_are_exact():
    X = np.float32([[1000.25, 1000.0], [1000.0, 1000.125]])
    C = np.float32([[1000.0, 1000.0], [900.0, 900.0]])
    labels, distances = assign(X, C)
    assert not labels.any()
    np.testing.assert_array_equal(distances, np.float32([0.0625, 0.015625]))


def layouts(a):
    read_only = a.copy()
    read_only.flags.writeable = False
    unaligned = np.frombuffer(b"x" + a.tobytes(), dtype=np.uint8)[1:].view(a.dtype).reshape(a.shape)
    return {
        "fortran": np.asfortranarray(a),
        "strided": np.repeat(a, 2, axis=0)[::2],
        "reversed": a[::-1].copy()[::-1],
        "read-only": read_only,
        "unaligned": unaligned,
        "list": a.tolist(),
    }


@pytest.mark.parametrize("layout", ["fortran", "strided", "reversed", "read-only", "unaligned", "list"])
def test_any_layout_gives_the_result_of_a_copy(layout):
    X, C, w = problem(300, 5, 7, np.float64, 1, weighted=True)
    labels, distances = assign(X, C)
    for given_X, given_C in [(layouts(X)[layout], C), (X, layouts(C)[layout])]:
        np.testing.assert_array_equal(assign(given_X, given_C)[0], labels)
        np.testing.assert_array_equal(assign(given_X, given_C)[1], distances)
    expected = update_centers(X, labels, 7, w)
    result = update_centers(layouts(X)[layout], layouts(labels)[layout], 7, layouts(w)[layout])
    for a, b in zip(result, expected):
        np.testing.assert_array_equal(a, b)


def test_read_only_input_compiles_nothing_new():
    from fastnn.kernels.cpu.clustering import kmeans

    X, C, _ = problem(40, 3, 4, np.float64, 2)
    assign(X, C)
    compiled = len(kmeans.sweep.serial.signatures)
    X.flags.writeable = C.flags.writeable = False
    assign(X, C)
    assert len(kmeans.sweep.serial.signatures) == compiled
    assert not X.flags.writeable


def test_dtypes():
    X, C, _ = problem(20, 3, 4, np.float32, 3)
    assert assign(X, C)[1].dtype == np.float32
    assert assign(X, C.astype(np.float64))[1].dtype == np.float64
    integers = np.arange(12).reshape(4, 3)
    labels, distances = assign(integers, integers)
    np.testing.assert_array_equal(labels, range(4))
    assert distances.dtype == np.float64


def test_out_is_filled_and_returned():
    X, C, _ = problem(30, 4, 5, np.float32, 4)
    out = np.empty(30, np.int32), np.empty(30, np.float32)
    labels, distances = assign(X, C, out=out)
    assert labels is out[0]
    assert distances is out[1]
    np.testing.assert_array_equal(labels, assign(X, C)[0])
    out = np.empty((5, 4)), np.empty(5)
    sums, counts = update_centers(X, labels, 5, out=out)
    assert sums is out[0]
    assert counts is out[1]


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda X, C: assign(X[0], C), ValueError, r"X must have shape \(any, any\)"),
        (lambda X, C: assign(X, C[:, :2]), ValueError, r"C must have shape \(any, 3\)"),
        (lambda X, C: assign(X, C[:0]), ValueError, "at least one row"),
        (lambda X, C: assign(X.astype(str), C), TypeError, "real numbers"),
        (lambda X, C: assign(X * 1j, C), TypeError, "real numbers"),
        (lambda X, C: assign(X, C, out=np.empty(9)), ValueError, "tuple of 2 arrays"),
        (
            lambda X, C: assign(X, C, out=(np.empty(9), np.empty(9))),
            ValueError,
            r"\(labels\) must be an array of int32",
        ),
        (
            lambda X, C: assign(X, C, out=(np.empty(18, np.int32)[::2], np.empty(9))),
            ValueError,
            "C-contiguous and writeable",
        ),
        (lambda X, C: update_centers(X, np.zeros(8, int), 2), ValueError, r"labels must have shape \(9,\)"),
        (lambda X, C: update_centers(X, np.zeros(9), 2), TypeError, "labels must be integers"),
        (lambda X, C: update_centers(X, np.full(9, 2), 2), ValueError, r"labels must lie in 0\.\.1"),
        (lambda X, C: update_centers(X, np.full(9, -1), 2), ValueError, r"labels must lie in 0\.\.1"),
        (lambda X, C: update_centers(X, np.zeros(9, int), 0), ValueError, "n_clusters must be at least 1"),
        (
            lambda X, C: update_centers(X, np.zeros(9, int), 2, np.ones(3)),
            ValueError,
            "sample_weight must have shape",
        ),
    ],
)
def test_bad_input(call, error, message):
    X, C, _ = problem(9, 3, 2, np.float64, 5)
    with pytest.raises(error, match=message):
        call(X, C)


@pytest.mark.parametrize("dtype", DTYPES)
def test_distances_to(dtype):
    X, C, _ = problem(700, 5, 6, dtype, 6)
    expected = np.sqrt(((X[:, None] - C[None]) ** 2).sum(axis=2))
    result = distances_to(X, C)
    assert result.dtype == dtype
    np.testing.assert_allclose(result, expected, rtol=20 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(distances_to(X[:1], X[:1]), 0)


@pytest.mark.parametrize(("dtype", "apart"), [(np.float32, 1e4), (np.float64, 1e8)])
def test_clusters_far_apart_are_told_by_the_direct_form(dtype, apart):
    rng = np.random.default_rng(0)
    X = np.concatenate([rng.normal(size=(500, 2)), rng.normal(size=(500, 2)) + apart]).astype(dtype)
    C = X[::50].copy()
    labels, distances = assign(X, C)
    direct = ((X[:, None] - C[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(distances, direct.min(axis=1), rtol=0.02)
    np.testing.assert_array_equal(labels[::50], np.arange(20))
    assert not distances[::50].any()


def test_rows_whose_squares_overflow():
    X = np.random.default_rng(0).normal(size=(50, 3)) * 1e200
    labels, distances = assign(X, X[:3])
    np.testing.assert_array_equal(labels[:3], [0, 1, 2])
    np.testing.assert_array_equal(distances[:3], 0)
