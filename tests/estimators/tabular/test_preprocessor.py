"""TabularPreprocessor: what is read from tables of every kind, and what is refused."""

import datetime
import decimal
import pickle
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import NotFittedError
from sklearn.pipeline import make_pipeline
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import MLPClassifier, TabularPreprocessor
from tests.reference_tabular import preprocess

NAMES = ["age", "city", "pay", "paid", "grade"]
CATEGORICAL = [False, True, False, False, True]


def frame(n=60, seed=0, missing=False):
    """Numbers, strings, Booleans and a declared category; categories may be missing."""
    rng = np.random.default_rng(seed)
    city = rng.choice(["Ulm", "Rom", "Bern", "Oslo"], n).astype(object)
    city[rng.random(n) < 0.1] = None
    pay = rng.lognormal(8, 1, n)
    if missing:
        pay[rng.random(n) < 0.2] = np.nan
    return pd.DataFrame(
        {
            "age": rng.integers(18, 90, n),
            "city": city,
            "pay": pay,
            "paid": rng.random(n) < 0.5,
            "grade": pd.Categorical(rng.choice(["low", "high"], n), categories=["none", "low", "high"]),
        }
    )


def columns_of(X):
    """As the twin takes them."""
    return [
        list(X[name].astype(object).where(X[name].notna(), None)) if is_category else X[name].to_numpy(float)
        for name, is_category in zip(X.columns, CATEGORICAL)
    ]


def check(found, train, other):
    np.testing.assert_allclose(
        found, preprocess(columns_of(train), columns_of(other), CATEGORICAL), rtol=1e-6, atol=1e-7
    )


# What tables hold.


@pytest.mark.parametrize("missing", [False, True])
def test_a_frame_beside_the_twin(missing):
    train, other = frame(missing=missing), frame(80, 1, missing)
    model = TabularPreprocessor(missing="median" if missing else "error").fit(train)
    check(model.transform(train), train, train)
    check(model.transform(other), train, other)
    assert model.transform(train).dtype == np.float32
    assert model.is_categorical_.tolist() == CATEGORICAL
    assert [values.tolist() for values in model.categories_] == [
        ["Bern", "Oslo", "Rom", "Ulm"],
        ["high", "low"],
    ]
    added = ["pay_missing"] if missing else []
    wanted = ["age", "pay", "paid", *added, "city_Bern", "city_Oslo", "city_Rom", "city_Ulm", "grade_high"]
    assert model.get_feature_names_out().tolist() == wanted


def types_of_pandas():
    plain = frame(missing=True)
    yield "nullable", plain.convert_dtypes()
    yield "strings", plain.astype({"city": "string", "grade": "string"})
    yield "objects", plain.astype(object)
    yield "categories", plain.astype({"city": "category"})
    yield "small", plain.astype({"age": "uint8", "pay": "float32"})
    yield "decimals", plain.assign(age=[decimal.Decimal(int(each)) for each in plain["age"]])


@pytest.mark.parametrize(
    ("name", "X"), list(types_of_pandas()), ids=lambda value: value if isinstance(value, str) else ""
)
def test_types_of_pandas(name, X):
    """The same values of other types are the same rows, in fit and afterwards."""
    plain = frame(missing=True)
    wanted = TabularPreprocessor(missing="median").fit(plain).transform(plain)
    # float32 has other numbers.
    tolerance = 1e-5 if name == "small" else 0
    model = TabularPreprocessor(missing="median").fit(X)
    np.testing.assert_allclose(model.transform(X), wanted, rtol=tolerance)
    np.testing.assert_allclose(model.transform(plain), wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("strings", ["String", "Categorical", "Enum"])
def test_polars(strings):
    pl = pytest.importorskip("polars")
    plain = frame(missing=True)
    kind = pl.Enum(["Ulm", "Rom", "Bern", "Oslo"]) if strings == "Enum" else getattr(pl, strings)
    X = pl.DataFrame(
        {
            "age": plain["age"].to_list(),
            "city": pl.Series(
                plain["city"].astype(object).where(plain["city"].notna(), None).to_list(), dtype=kind
            ),
            "pay": [None if value != value else value for value in plain["pay"]],
            "paid": plain["paid"].to_list(),
            "grade": plain["grade"].to_list(),
        }
    )
    model = TabularPreprocessor(missing="median").fit(X)
    check(model.transform(X), plain, plain)
    assert model.feature_names_in_.tolist() == NAMES
    np.testing.assert_array_equal(model.transform(plain), model.transform(X))
    with pytest.raises(ValueError, match="numbers are missing in column 'pay'"):
        TabularPreprocessor().fit(X)
    with pytest.raises(ValueError, match="feature names"):
        model.transform(X[:, ::-1])
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        model.fit(X[:0])
    times = pl.DataFrame({"day": [datetime.date(2024, 1, 1)] * 3})
    with pytest.raises(ValueError, match="Column 'day' holds times"):
        model.fit(times)
    nothing = pl.DataFrame({"age": [1.0, 2.0, 3.0], "nothing": [None] * 3})
    assert not TabularPreprocessor().fit_transform(nothing)[:, 1].any()


def test_arrays_hold_numbers_unless_told_otherwise():
    X = np.array([[0, 1.5], [1, 2.5], [2, 0.0], [0, 7.0]])
    assert TabularPreprocessor().fit_transform(X).shape == (4, 2)
    wanted = preprocess([list(X[:, 0]), X[:, 1]], [list(X[:, 0]), X[:, 1]], [True, False])
    for chosen in ([0], [True, False], np.array([0]), (0,)):
        for same in (X, X.astype(np.float32), X.astype(object), X.tolist()):
            found = TabularPreprocessor(categorical_features=chosen).fit_transform(same)
            np.testing.assert_allclose(found, wanted, rtol=1e-6)
    for chosen in (None, [], [False, False]):
        found = TabularPreprocessor(categorical_features=chosen).fit_transform(X)
        np.testing.assert_array_equal(found, TabularPreprocessor().fit_transform(X))


def test_an_array_of_strings_and_numbers():
    rows = [["a", 1], ["b", 2.5], [None, 3], ["a", np.float32(4)], [np.nan, 5], ["c", 6], [pd.NA, 7]]
    columns = [
        [None if pd.isna(row[0]) else row[0] for row in rows],
        np.array([float(row[1]) for row in rows]),
    ]
    wanted = preprocess(columns, columns, [True, False])
    for X in (rows, np.array(rows, dtype=object)):
        model = TabularPreprocessor(categorical_features=[0]).fit(X)
        np.testing.assert_allclose(model.transform(X), wanted, rtol=1e-6)
    names = np.array([["a", "b"], ["c", "d"], ["a", "d"]])
    model = TabularPreprocessor(categorical_features=[0, 1]).fit(names)
    assert model.transform(names).shape == (3, 2)


def test_names_choose_columns_of_a_frame():
    X = frame()
    chosen = TabularPreprocessor(categorical_features=["city", "paid", "grade"]).fit(X)
    assert chosen.is_categorical_.tolist() == [False, True, False, True, True]
    assert chosen.categories_[1].tolist() == [False, True]
    numbers = TabularPreprocessor(categorical_features=None).fit(X[["age", "pay"]])
    np.testing.assert_array_equal(
        numbers.transform(X[["age", "pay"]]), TabularPreprocessor().fit(X).transform(X)[:, :2]
    )


def test_declared_types_are_those_that_boosting_finds():
    X = frame().drop(columns="city")
    model = HistGradientBoostingClassifier(max_iter=1).fit(X, X["paid"])
    np.testing.assert_array_equal(model.is_categorical_, TabularPreprocessor().fit(X).is_categorical_)


def test_categories_that_do_not_occur_count_for_nothing():
    X = pd.DataFrame({"grade": pd.Categorical(["b", "a", "b", None], categories=["z", "b", "a", "y"])})
    model = TabularPreprocessor().fit(X)
    assert model.categories_[0].tolist() == ["a", "b"]
    # Unknown and missing ones are the same.
    others = pd.DataFrame({"grade": ["y", None, "z", "other"]})
    assert np.ptp(model.transform(others)) == 0
    np.testing.assert_array_equal(model.transform(others)[0], model.transform(X)[3])


def test_intervals_are_categories():
    X = pd.DataFrame({"age": pd.cut(pd.Series([3.0, 15, 27, 33, 8]), [0, 10, 20, 40])})
    model = TabularPreprocessor().fit(X)
    assert model.transform(X).shape == (5, 3)
    assert model.get_feature_names_out()[0] == "age_(0, 10]"


def test_columns_without_content_become_zero():
    X = pd.DataFrame(
        {
            "constant": np.ones(5),
            "nothing": np.full(5, np.nan),
            "no category": pd.Series([None] * 5, dtype=object),
            "one category": ["a"] * 5,
            "varies": np.arange(5.0),
        }
    )
    model = TabularPreprocessor(missing="median").fit(X)
    found = pd.DataFrame(model.transform(X), columns=model.get_feature_names_out())
    assert list(found) == ["constant", "nothing", "varies", "no category", "one category_a"]
    assert not found.drop(columns="varies").to_numpy().any()
    # And stay there, whatever comes later.
    later = X.assign(constant=9.0, nothing=4.0)
    later["no category"], later["one category"] = "a", "b"
    assert not model.transform(later)[:, [0, 1, 3, 4]].any()


def test_numbers_that_are_missing_later_are_the_median():
    X = frame()
    model = TabularPreprocessor(missing="median").fit(X)
    gap = X.assign(pay=X["pay"].where(X["pay"] > 3000))
    found = model.transform(gap)
    assert found.shape[1] == model.transform(X).shape[1]
    assert not found[X["pay"] <= 3000, 1].any()
    np.testing.assert_array_equal(found[X["pay"] > 3000], model.transform(X)[X["pay"] > 3000])


# Forms of the result.


def test_blocks_and_sparse_output_hold_the_same():
    X = frame(200)
    model = TabularPreprocessor().fit(X)
    wanted = model.transform(X)
    for n_rows in (None, 1, 33, 1000):
        np.testing.assert_array_equal(np.concatenate(list(model.transform_blocks(X, n_rows))), wanted)
    found = TabularPreprocessor(sparse_output=True).fit(X).transform(X)
    assert sparse.issparse(found)
    np.testing.assert_array_equal(found.toarray(), wanted)
    for wrong in (0, -1, 1.5, "all"):
        with pytest.raises(ValueError, match="n_rows must be an int of at least 1"):
            model.transform_blocks(X, wrong)


def test_in_a_pipeline_with_a_network():
    X, y = load_iris(return_X_y=True)
    for output in (False, True):
        model = make_pipeline(
            TabularPreprocessor(sparse_output=output), MLPClassifier((16,), solver="lbfgs", random_state=0)
        )
        assert model.fit(X, y).score(X, y) > 0.95


def test_set_output_gives_frames():
    X = frame()
    model = TabularPreprocessor().set_output(transform="pandas").fit(X)
    found = model.transform(X)
    assert list(found) == list(model.get_feature_names_out())
    np.testing.assert_array_equal(found.to_numpy(), TabularPreprocessor().fit_transform(X))


def test_names_of_arrays_columns():
    model = TabularPreprocessor(categorical_features=[1]).fit([[1.0, 3], [2.0, 4], [3.0, 5]])
    assert model.get_feature_names_out().tolist() == ["x0", "x1_3", "x1_4", "x1_5"]
    assert model.get_feature_names_out(["a", "b"]).tolist() == ["a", "b_3", "b_4", "b_5"]
    with pytest.raises(ValueError, match="input_features should have length"):
        model.get_feature_names_out(["a"])


def test_pickled_and_cloned():
    X = frame(missing=True)
    model = TabularPreprocessor(missing="median").fit(X)
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.transform(X), model.transform(X))
    assert clone(model).get_params() == model.get_params()
    with pytest.raises(NotFittedError):
        clone(model).transform(X)
    with pytest.raises(NotFittedError):
        clone(model).get_feature_names_out()


# What is refused.


def test_missing_numbers_are_named_with_a_remedy():
    X = frame().astype({"age": float, "paid": object})
    X.loc[3, "age"] = np.nan
    X.loc[4, "paid"] = None
    with pytest.raises(
        ValueError, match=r"NaN: .* columns 'age', 'paid'\. .*SimpleImputer.*missing='median'"
    ):
        TabularPreprocessor().fit(X)
    model = TabularPreprocessor().fit(frame())
    with pytest.raises(ValueError, match="numbers are missing in columns 'age', 'paid'"):
        model.transform(X)
    with pytest.raises(ValueError, match=r"columns 'x0', 'x1', 'x2' and 2 more\."):
        TabularPreprocessor().fit(np.full((3, 5), np.nan))


@pytest.mark.parametrize("value", [np.inf, -np.inf, 1e39])
@pytest.mark.parametrize("missing", ["error", "median"])
def test_infinite_numbers_are_refused(value, missing):
    X = frame()
    X.loc[3, "pay"] = value
    with pytest.raises(ValueError, match="infinity or a value too large for dtype"):
        TabularPreprocessor(missing=missing).fit(X)
    model = TabularPreprocessor(missing=missing).fit(frame())
    with pytest.raises(ValueError, match="column 'pay'"):
        model.transform(X)
    array = np.array([[1.0, 2.0], [value, 3.0]])
    with pytest.raises(ValueError, match="infinity"):
        TabularPreprocessor(missing=missing).fit(array)
    if np.isinf(value):
        with pytest.raises(ValueError, match="infinity"):
            TabularPreprocessor(categorical_features=[0]).fit(array)
        with pytest.raises(ValueError, match="infinity: column 'x0'"):
            TabularPreprocessor(categorical_features=[0]).fit(array.astype(object))


def test_other_columns_are_refused():
    X = frame()
    model = TabularPreprocessor().fit(X)
    with pytest.raises(ValueError, match="must be in the same order"):
        model.transform(X[NAMES[::-1]])
    with pytest.raises(ValueError, match="unseen at fit time"):
        model.transform(X.rename(columns={"pay": "wage"}))
    with pytest.raises(ValueError, match="missing"):
        model.transform(X.drop(columns="pay"))
    with pytest.raises(ValueError, match="X has 2 features, but TabularPreprocessor is expecting 3"):
        TabularPreprocessor().fit(np.eye(3)).transform(np.eye(2))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        found = model.transform(X.to_numpy(object))
    np.testing.assert_array_equal(found, model.transform(X))


def test_what_is_no_number_is_named_with_a_remedy():
    X = frame()
    with pytest.raises(ValueError, match=r"Column 'city' holds what is no number.*categorical_features"):
        TabularPreprocessor(categorical_features=None).fit(X)
    model = TabularPreprocessor().fit(X)
    with pytest.raises(ValueError, match="Column 'age' holds what is no number"):
        model.transform(X.astype({"age": str}).assign(age="many"))
    with pytest.raises(ValueError, match=r"could not convert string.*categorical_features"):
        TabularPreprocessor().fit(np.array([["a", "b"], ["c", "d"]]))
    with pytest.raises(ValueError, match="Column 'mixed' holds what is no number"):
        TabularPreprocessor().fit(pd.DataFrame({"mixed": [1, "a", None]}))
    with pytest.raises(ValueError, match="Complex data not supported: column 'z'"):
        TabularPreprocessor().fit(pd.DataFrame({"z": [1j, 2.0]}))
    for times in (pd.to_datetime(["2024-01-01", "2024-01-02"]), pd.to_timedelta([1, 2], "s")):
        with pytest.raises(ValueError, match="Column 'when' holds times"):
            TabularPreprocessor().fit(pd.DataFrame({"when": times}))


def test_categories_that_cannot_be_told_apart_or_ordered():
    for values in ([1, "a", 2], [[1], [2], [1]], [1, (2, 3), "b"]):
        X = pd.DataFrame({"what": pd.Series(values, dtype=object)})
        with pytest.raises(TypeError, match=r"Column 'what' holds no categories.*\.astype\(str\)"):
            TabularPreprocessor(categorical_features=["what"]).fit(X)
        with pytest.raises(TypeError, match="Column 'x0' holds no categories"):
            TabularPreprocessor(categorical_features=[0]).fit(X.to_numpy())
    pairs = pd.DataFrame({"what": pd.Series([(1, 2), (3, 4), (1, 2)], dtype=object)})
    assert TabularPreprocessor(categorical_features=[0]).fit_transform(pairs).shape == (3, 1)


def test_strings_for_numbers_of_a_category_are_refused():
    X = pd.DataFrame({"size": pd.Categorical([1, 2, 3, 1])})
    model = TabularPreprocessor().fit(X)
    with pytest.raises(TypeError, match=r"The categories of column 'size' are strings, and were numbers"):
        model.transform(X.astype(str))


@pytest.mark.parametrize("shape", [(0, 2), (2, 0)])
def test_empty_tables_are_refused(shape):
    for X in (np.empty(shape), pd.DataFrame(np.empty(shape))):
        with pytest.raises(ValueError, match=r"Found array with 0 (sample|feature)\(s\)"):
            TabularPreprocessor().fit(X)
    with pytest.raises(ValueError, match="Expected 2D array"):
        TabularPreprocessor().fit(np.arange(3.0))
    with pytest.raises(ValueError, match="Expected a 2-dimensional container"):
        TabularPreprocessor().fit(pd.Series([1.0, 2.0]))


@pytest.mark.parametrize("chosen", ["from_dtype", [0]])
def test_sparse_and_complex_data_are_refused(chosen):
    model = TabularPreprocessor(categorical_features=chosen)
    for X in (sparse.eye_array(3, format="csr"), sparse.csc_matrix(np.eye(3))):
        with pytest.raises(TypeError, match="Sparse data was passed for X"):
            model.fit(X)
    with pytest.raises(ValueError, match="Complex data not supported"):
        model.fit(np.eye(3) * 1j)


def test_arrays_on_a_gpu_are_refused():
    array = SimpleNamespace(__cuda_array_interface__={"shape": (3, 2)}, shape=(3, 2))
    with pytest.raises(TypeError, match="X lies on a GPU"):
        TabularPreprocessor().fit(array)
    with pytest.raises(TypeError, match="X lies on a GPU"):
        TabularPreprocessor().fit(np.eye(2)).transform(array)


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ([True, False], "mask of 2 columns, and X has 5"),
        ([5], "beyond those of the columns of X, 0 to 4"),
        ([-1], "beyond those of the columns of X"),
        (["town"], "has 'town', and X has the columns"),
        ([0.5], "one-dimensional array-like of bool, int or str"),
        ([[0, 1]], "one-dimensional array-like of bool, int or str"),
        ([None], "one-dimensional array-like of bool, int or str"),
    ],
)
def test_columns_that_are_none(chosen, message):
    with pytest.raises(ValueError, match=message):
        TabularPreprocessor(categorical_features=chosen).fit(frame())


def test_names_need_a_frame():
    with pytest.raises(ValueError, match="X has no names"):
        TabularPreprocessor(categorical_features=["x0"]).fit(np.eye(3))


@pytest.mark.parametrize(
    "parameters",
    [
        {"categorical_features": "all"},
        {"categorical_features": 1},
        {"missing": "mean"},
        {"missing": None},
        {"sparse_output": 2},
    ],
)
def test_wrong_parameters(parameters):
    with pytest.raises(InvalidParameterError, match=next(iter(parameters))):
        TabularPreprocessor(**parameters).fit(frame())


def test_a_failing_fit_changes_nothing():
    X = frame()
    model = TabularPreprocessor().fit(X)
    wanted, before = model.transform(X), dict(vars(model))
    for wrong in (
        X.assign(pay=np.nan),
        np.full((2, 2), np.inf),
        pd.DataFrame({"a": [1, "b"]}),
        np.empty((0, 5)),
    ):
        with pytest.raises(ValueError, match=r"NaN|infinity|no number|0 sample"):
            model.fit(wrong)
        assert vars(model) == before
    np.testing.assert_array_equal(model.transform(X), wanted)
    model.fit(np.eye(4))
    assert not hasattr(model, "feature_names_in_")
