"""Rows of a table as inputs of a network: by hand, and beside the naive twin."""

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastnn.networks import encoding as module
from fastnn.networks.columns import Category, Columns
from fastnn.networks.encoding import Encoding
from fastnn.networks.robust_scaling import bounded, scaling_of, scaling_of_counts
from tests.reference_tabular import preprocess, scale, smooth_clip


def columns_of(numbers, categories):
    """A table of arrays of floats and lists of categories."""
    found = []
    for column in categories:
        values = sorted({value for value in column if value is not None})
        codes = [-1 if value is None else values.index(value) for value in column]
        found.append(Category(np.array(codes, np.int32), np.array(values, object)))
    d = numbers.shape[1]
    is_categorical = np.repeat([False, True], [d, len(categories)])
    names = tuple(f"x{j}" for j in range(is_categorical.size))
    return Columns(names, is_categorical, numbers, tuple(found))


def twin(table, other):
    """The twin, for tables as ``columns_of`` takes them."""
    lists = [[*numbers.astype(float).T, *categories] for numbers, categories in (table, other)]
    n_numbers = table[0].shape[1]
    return preprocess(*lists, [j >= n_numbers for j in range(len(lists[0]))])


def random_table(n, n_numbers, sizes, seed=0, missing=0.0):
    rng = np.random.default_rng(seed)
    numbers = rng.standard_t(2, (n, n_numbers))
    numbers[rng.random(numbers.shape) < missing] = np.nan
    categories = [
        [
            None if rng.random() < missing else f"c{min(int(rng.exponential(size / 3)), size - 1)}"
            for _ in range(n)
        ]
        for size in sizes
    ]
    return numbers, categories


def test_values_by_hand():
    """Quartiles 2, 3, 4 of the numbers 1 to 5; of ten rows one has category a, two b, seven c."""
    numbers = np.arange(1.0, 6.0)[:, None]
    X = Encoding.of(columns_of(numbers, [])).encode(columns_of(numbers, [])).dense()
    half, one = 0.5 / np.sqrt(1 + 1 / 36), 1 / np.sqrt(1 + 1 / 9)
    np.testing.assert_allclose(X[:, 0], [-one, -half, 0, half, one], rtol=1e-7)

    table = columns_of(np.empty((10, 0)), [["a"] + ["b"] * 2 + ["c"] * 7])
    X = Encoding.of(table).encode(table).dense()
    # a: the quartiles are equal, half the range is 1/2. c: the third of ten places is at 0.25 * 9 = 2.25,
    # between b and c, so the lower quartile is 0.25, the median 1 and the factor 4/3.
    two = 2 / np.sqrt(1 + 4 / 9)
    c = (4 / 3) / np.sqrt(1 + 16 / 81)
    np.testing.assert_allclose(X[0], [two, 0, -c], rtol=1e-7)
    np.testing.assert_allclose(X[1], [0, two, -c], rtol=1e-7)
    np.testing.assert_allclose(X[-1], [0, 0, 0])


def test_two_categories_share_a_column():
    table = columns_of(np.empty((4, 0)), [["b", "a", "b", "a"]])
    encoding = Encoding.of(table)
    # The quartiles of -1, -1, 1, 1 are -1 and 1.
    half = 0.5 / np.sqrt(1 + 1 / 36)
    others = columns_of(np.empty((4, 0)), [["a", "b", None, "c"]])
    np.testing.assert_allclose(encoding.encode(others).dense()[:, 0], [half, -half, 0, 0], rtol=1e-7)


def test_scaling_is_bounded_and_monotonic():
    z = np.concatenate([-np.logspace(60, -60, 500), [0.0], np.logspace(-60, 60, 500)])
    found = bounded(z)
    assert (np.abs(found) <= 3).all()
    assert (np.diff(found) >= 0).all()
    np.testing.assert_allclose(found[np.abs(z) < 1e-9], z[np.abs(z) < 1e-9])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 40_000])
def test_scaling_beside_the_twin(n, dtype):
    rng = np.random.default_rng(n)
    X = rng.lognormal(0, 3, (n, 5)).astype(dtype)
    X[:, 1] = 7  # constant
    X[:, 2] = rng.random(n) < 0.1  # equal quartiles
    X[: n // 2, 3] = np.nan
    X[:, 4] = np.nan
    found = scaling_of(X)(X, np.empty(X.shape, np.float32))
    assert found.dtype == np.float32
    for j in range(5):
        wanted = scale(X[:, j].astype(float), X[:, j].astype(float))
        np.testing.assert_allclose(found[:, j], wanted, rtol=1e-6, atol=1e-30)
    assert not found[:, [1, 4]].any()


def test_extreme_numbers_stay_finite():
    most = float(np.finfo(np.float32).max)
    for column in (
        [-most, 0.0, most],
        [0.0, 5e-324, 1e-323, most],
        [1.0, 1.0, 1.0, most],
        [0.0, 0.0, 5e-324],
    ):
        X = np.array(column)[:, None]
        found = scaling_of(X)(np.array([[-most], [0.0], [most]]), np.empty((3, 1), np.float32))
        assert np.isfinite(found).all()
        assert (np.abs(found) <= 3).all()


def test_numbers_that_float32_cannot_tell_apart():
    """Seconds since 1970 have a resolution of 128 in float32; centred, they are exact."""
    X = (1.7e9 + np.arange(101.0))[:, None]
    found = scaling_of(X)(X, np.empty(X.shape, np.float32))
    np.testing.assert_allclose(found[:, 0], smooth_clip((np.arange(101.0) - 50) / 50), rtol=1e-6)


@given(
    counts=st.lists(st.tuples(*[st.integers(0, 30)] * 3).filter(any), min_size=1, max_size=5),
)
@settings(max_examples=60, deadline=None)
def test_scaling_of_counts_is_that_of_the_columns(counts):
    values = np.array([-1.0, 0.0, 1.0])
    found = scaling_of_counts(values, np.array(counts))
    for j, each in enumerate(counts):
        wanted = scaling_of(np.repeat(values, each)[:, None])
        assert found.centers[j] == wanted.centers[0]
        assert found.factors[j] == wanted.factors[0]


@pytest.mark.parametrize("n_rows", [1, 7, 200])
@pytest.mark.parametrize("missing", [0.0, 0.2, 0.7])
@pytest.mark.parametrize(
    ("n_numbers", "sizes"), [(3, []), (0, [3]), (2, [1, 2, 3, 40]), (0, [2]), (1, [1]), (0, [1, 1])]
)
def test_encoding_beside_the_twin(n_numbers, sizes, missing, n_rows):
    table = random_table(n_rows, n_numbers, sizes, 0, missing)
    # Other rows have categories and gaps that these have not.
    other = random_table(150, n_numbers, [size + 3 for size in sizes], 1, 0.3)
    encoding = Encoding.of(columns_of(*table))
    for rows in (table, other):
        wanted = twin(table, rows)
        encoded = encoding.encode(columns_of(*rows))
        assert encoded.shape == wanted.shape
        assert encoding.n_features_out == wanted.shape[1] == len(encoding.feature_names(encoding.names))
        np.testing.assert_allclose(encoded.dense(), wanted, rtol=1e-6, atol=1e-7)


def test_statistics_and_categories_are_those_of_the_rows_that_are_named():
    numbers, categories = random_table(300, 2, [2, 9], missing=0.1)
    columns = columns_of(numbers, categories)
    rows = np.random.default_rng(1).permutation(300)[:40]
    subset = numbers[rows], [[column[row] for row in rows] for column in categories]
    encoding = Encoding.of(columns, rows)
    np.testing.assert_array_equal(
        encoding.encode(columns).dense(),
        Encoding.of(columns_of(*subset)).encode(columns).dense(),
    )
    np.testing.assert_array_equal(
        encoding.encode(columns, rows).dense(), encoding.encode(columns)[rows].dense()
    )


def test_every_form_of_the_rows_is_the_same():
    numbers, categories = random_table(500, 3, [2, 5, 60, 1], missing=0.15)
    columns = columns_of(numbers, categories)
    encoded = Encoding.of(columns).encode(columns)
    dense = encoded.dense()
    assert dense.dtype == np.float32
    assert dense.flags.c_contiguous

    csr = encoded.csr()
    assert csr.has_canonical_format
    assert csr.dtype == np.float32
    assert csr.data.all()
    np.testing.assert_array_equal(csr.toarray(), dense)

    for n_rows in (1, 7, 499, 500, 501, None):
        parts = list(encoded.blocks(n_rows))
        assert all(len(block) == len(range(500)[part]) for part, block in parts)
        np.testing.assert_array_equal(np.concatenate([block for _, block in parts]), dense)

    rows = np.random.default_rng(0).integers(500, size=33)
    out = np.full((33, dense.shape[1]), np.nan, np.float32)
    assert encoded.dense(rows, out=out) is out
    np.testing.assert_array_equal(out, dense[rows])
    np.testing.assert_array_equal(encoded[10:20].dense(), dense[10:20])
    np.testing.assert_array_equal(encoded[dense[:, 0] > 0].csr().toarray(), dense[dense[:, 0] > 0])
    assert len(encoded[:0].dense()) == encoded[:0].csr().shape[0] == 0


def test_ten_thousand_categories_are_four_bytes_a_row():
    n, k = 20_000, 10_000
    rng = np.random.default_rng(0)
    codes = np.concatenate([np.arange(k), rng.integers(k, size=n - k)]).astype(np.int32)
    names, is_categorical = ("x0", "x1"), np.array([False, True])
    values = np.array([f"{value:05d}" for value in range(k)], object)
    columns = Columns(names, is_categorical, rng.normal(size=(n, 1)), (Category(codes, values),))
    encoded = Encoding.of(columns).encode(columns)
    assert encoded.shape == (n, k + 1)
    assert encoded.is_wide
    assert encoded.numbers.nbytes + encoded.codes.nbytes == 8 * n
    # No block is larger than said, where all rows would take 800 MB.
    sizes = [block.nbytes for _, block in encoded.blocks()]
    assert max(sizes) <= module._BLOCK_BYTES
    csr = encoded.csr()
    assert csr.nnz == 2 * n
    picked = rng.integers(n, size=50)
    np.testing.assert_array_equal(csr[picked].toarray(), encoded.dense(picked))
    np.testing.assert_allclose(
        encoded.dense(picked)[np.arange(50), 1 + codes[picked]], 2 / np.sqrt(1 + 4 / 9), rtol=1e-7
    )


def test_few_inputs_are_not_wide():
    numbers, categories = random_table(50, 2000, [3])
    columns = columns_of(numbers, categories)
    assert not Encoding.of(columns).encode(columns).is_wide
    columns = columns_of(*random_table(500, 2, [40]))
    assert not Encoding.of(columns).encode(columns).is_wide


def test_numbers_are_found_whatever_their_type():
    """1, 1.0 and True are one value, as for Python."""
    table = Columns(
        ("x0",), np.array([True]), np.empty((3, 0)), (Category(np.arange(3), np.array([1, 2, 3])),)
    )
    encoding = Encoding.of(table)
    floats = table._replace(categories=(Category(np.arange(3), np.array([1.0, 2.0, 4.5])),))
    X = encoding.encode(table).dense()
    np.testing.assert_array_equal(encoding.encode(floats).dense()[:2], X[:2])
    assert not encoding.encode(floats).codes[2]


def test_strings_for_numbers_are_refused():
    table = Columns(
        ("size",), np.array([True]), np.empty((2, 0)), (Category(np.arange(2), np.array([1, 2])),)
    )
    strings = table._replace(categories=(Category(np.arange(2), np.array(["1", "2"], object)),))
    with pytest.raises(TypeError, match=r"column 'size' are strings, and were numbers in fit.*astype"):
        Encoding.of(table).encode(strings)
    # Of a column without categories nothing is known.
    nothing = table._replace(categories=(Category(np.full(2, -1), np.array([], object)),))
    assert not Encoding.of(nothing).encode(strings).dense().any()
    assert not Encoding.of(strings).encode(nothing).codes.any()


def test_an_encoding_is_pickled():
    columns = columns_of(*random_table(60, 2, [4, 2], missing=0.1))
    encoding = Encoding.of(columns)
    wanted = encoding.encode(columns).dense()
    again = pickle.loads(pickle.dumps(encoding))
    np.testing.assert_array_equal(again.encode(columns).dense(), wanted)
