"""The door for a user's table: what is in its columns is found out and checked here, once.

It is told apart in numbers and categories, which ``fastnn.networks.encoding`` takes for granted.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn.utils.validation import validate_data

from fastnn.estimators.sparse_rows import dense_only
from fastnn.estimators.tabular.frames import ArrayFrame, Frame, frame_of
from fastnn.kernels.shared.device_rows import is_device_array
from fastnn.networks.columns import Category, Columns

# Numbers beyond are refused as infinite ones are, as by all estimators that compute in float32.
_MOST = float(np.finfo(np.float32).max)
# Columns that a message names, of many.
_NAMED = 3

_REMEDY = (
    "Name the column in categorical_features if it holds categories; otherwise convert it to numbers first."
)


def columns_of_fit(estimator: Any, X: Any) -> Columns:
    """A table that an estimator is to be fitted to.

    Parameters
    ----------
    estimator : object
        It has the parameters of ``TableParameters``, and gets the attributes ``is_categorical_``,
        ``n_features_in_`` and, of a frame whose columns' names are strings, ``feature_names_in_``.
    X : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_samples, n_features)
        What the user gave.

    Returns
    -------
    columns : Columns

    Raises
    ------
    ValueError
        There is no row or no column; `categorical_features` fits no columns; a number is infinite, too large
        for float32 or, with ``missing="error"``, missing; a column of numbers holds something else.
    TypeError
        X is sparse, or lies on a GPU; the values of a categorical column have no order.
    """
    chosen = estimator.categorical_features
    by_type = isinstance(chosen, str)
    chosen = None if chosen is None or by_type else np.asarray(chosen)
    frame = _checked(estimator, X, reset=True, all_numbers=chosen is None or not _chooses(chosen))
    n_features = frame.shape[1]
    if by_type:
        is_categorical = np.array([frame.is_categorical(j) for j in range(n_features)], bool)
    else:
        names = list(frame.X.columns) if frame.has_types else None
        is_categorical = _mask(chosen, n_features, names)
    estimator.is_categorical_ = is_categorical
    return _read(estimator, frame)


def columns_of_predict(estimator: Any, X: Any) -> Columns:
    """A table for an estimator that has been fitted to one by ``columns_of_fit``.

    Parameters
    ----------
    estimator : object
        The estimator.
    X : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_samples, n_features)
        What the user gave.

    Returns
    -------
    columns : Columns

    Raises
    ------
    ValueError
        As in ``columns_of_fit``; or the columns are not those of the fit, or stand in another order.
    TypeError
        As in ``columns_of_fit``.
    """
    all_numbers = not estimator.is_categorical_.any()
    return _read(estimator, _checked(estimator, X, reset=False, all_numbers=all_numbers))


def _checked(estimator: Any, X: Any, *, reset: bool, all_numbers: bool) -> Frame:
    """A table whose shape and names of columns have been checked; an array of floats if all are numbers."""
    frame = frame_of(X)
    if frame is not None:
        validate_data(estimator, X, reset=reset, skip_check_array=True)
        for what, size in zip(("sample", "feature"), frame.shape):
            if size == 0:
                raise ValueError(
                    f"Found array with 0 {what}(s) (shape={frame.shape}) while a minimum of 1 is required by "
                    f"{type(estimator).__name__}."
                )
        return frame
    if is_device_array(X):
        raise TypeError("X lies on a GPU, and tables are read on the processor: copy it to the host first.")
    dense_only(X, "X")
    if all_numbers:
        try:
            X = validate_data(
                estimator, X, reset=reset, dtype=[np.float64, np.float32], ensure_all_finite="allow-nan"
            )
        except ValueError as error:
            if "could not convert string" not in str(error):
                raise
            raise ValueError(f"{error}. {_REMEDY}") from error
    else:
        if not hasattr(X, "dtype"):
            X = np.asarray(X, dtype=object)  # which keeps numbers beside strings what they are
        X = validate_data(estimator, X, reset=reset, dtype=None, ensure_all_finite="allow-nan")
    return ArrayFrame(X)


def _chooses(chosen: np.ndarray) -> bool:
    """Whether `categorical_features` chooses any column."""
    return bool(chosen.any()) if chosen.dtype == bool else chosen.size > 0


def _mask(chosen: np.ndarray | None, n_features: int, names: Sequence[Any] | None) -> np.ndarray:
    """Which columns `categorical_features` chooses.

    names : of the columns of a frame; None for an array
    """
    mask = np.zeros(n_features, bool)
    if chosen is None or chosen.size == 0:
        return mask
    if chosen.ndim == 1 and chosen.dtype == bool:
        if len(chosen) != n_features:
            raise ValueError(
                f"categorical_features is a mask of {len(chosen)} columns, and X has {n_features} columns."
            )
        return chosen.copy()
    if chosen.ndim == 1 and chosen.dtype.kind in "iu":
        if chosen.min() < 0 or chosen.max() >= n_features:
            raise ValueError(
                f"categorical_features has places beyond those of the columns of X, 0 to {n_features - 1}: "
                f"{chosen.tolist()}."
            )
        mask[chosen] = True
        return mask
    if chosen.ndim == 1 and all(isinstance(name, str) for name in chosen):
        if names is None:
            raise ValueError("categorical_features names columns, and X has no names. Give their places.")
        for name in chosen:
            if name not in names:
                raise ValueError(f"categorical_features has {str(name)!r}, and X has the columns {names}.")
            mask[names.index(name)] = True
        return mask
    raise ValueError("categorical_features must be a one-dimensional array-like of bool, int or str.")


def _read(estimator: Any, frame: Frame) -> Columns:
    """The columns of a checked table."""
    n_features = frame.shape[1]
    names = tuple(map(str, getattr(estimator, "feature_names_in_", [f"x{j}" for j in range(n_features)])))
    is_categorical = estimator.is_categorical_
    numeric = np.flatnonzero(~is_categorical)
    numbers = _numbers(frame, numeric.tolist(), names)
    _check_numbers(numbers, [names[j] for j in numeric], estimator.missing)
    categories = tuple(_category(frame, j, names[j]) for j in np.flatnonzero(is_categorical).tolist())
    return Columns(names, is_categorical, numbers, categories)


def _numbers(frame: Frame, numeric: list[int], names: Sequence[str]) -> np.ndarray:
    """The numeric columns, NaN for missing numbers: in float32 if all of them are."""
    if not frame.has_types and frame.X.dtype.kind == "f":
        return frame.X if len(numeric) == frame.shape[1] else frame.X[:, numeric]
    columns = [_as_floats(frame, j, names[j]) for j in numeric]
    dtype = np.result_type(np.float32, *{column.dtype for column in columns})
    numbers = np.empty((frame.shape[0], len(columns)), dtype)
    for j, column in enumerate(columns):
        numbers[:, j] = column
    return numbers


def _as_floats(frame: Frame, column: int, name: str) -> np.ndarray:
    """A numeric column as it is if it is float32 or less, else in float64."""
    if frame.is_time(column):
        raise ValueError(
            f"Column {name!r} holds times. Make numbers of them first, such as days since a date."
        )
    values = frame.numbers(column)
    if values.dtype.kind == "c":
        raise ValueError(f"Complex data not supported: column {name!r}.")
    if values.dtype.kind == "f" and values.dtype.itemsize <= 4:
        return values
    try:
        return values.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"Column {name!r} holds what is no number: {error}. {_REMEDY}") from error


def _check_numbers(numbers: np.ndarray, names: Sequence[str], missing: str) -> None:
    """Refuse infinite numbers, and missing ones unless something is to be done about them."""
    # Neither takes an array of the size of the numbers; NaN is passed over.
    most = np.fmax(np.fmax.reduce(numbers, axis=0), -np.fmin.reduce(numbers, axis=0))
    is_infinite = most > _MOST
    if is_infinite.any():
        raise ValueError(
            "Input X contains infinity or a value too large for dtype('float32'): "
            f"{_listed(names, is_infinite)}."
        )
    if missing == "median":
        return
    lacks = np.isnan(numbers.sum(axis=0, dtype=np.float64))
    if lacks.any():
        raise ValueError(
            f"Input X contains NaN: numbers are missing in {_listed(names, lacks)}. Put some in before, for "
            "example by sklearn.impute.SimpleImputer; or set missing='median', which takes the medians of "
            "the training rows and adds columns that say where."
        )


def _listed(names: Sequence[str], which: np.ndarray) -> str:
    """Some columns, for a message."""
    chosen = [repr(name) for name, is_meant in zip(names, which) if is_meant]
    more = f" and {len(chosen) - _NAMED} more" if len(chosen) > _NAMED else ""
    return f"column{'s' * (len(chosen) > 1)} {', '.join(chosen[:_NAMED])}{more}"


def _category(frame: Frame, column: int, name: str) -> Category:
    """A categorical column."""
    try:
        codes, values = frame.factorized(column)
        order = np.array(sorted(range(len(values)), key=values.tolist().__getitem__), np.int64)
    except TypeError as error:
        raise TypeError(
            f"Column {name!r} holds no categories, which are all numbers or all strings, or other values "
            f"that have a hash and an order: {error}. Convert it, for example by .astype(str)."
        ) from error
    if values.dtype.kind == "f" and np.isinf(values).any():
        raise ValueError(f"Input X contains infinity: column {name!r}.")
    places = np.full(len(values) + 1, -1, np.int32)  # the last for -1
    places[order] = np.arange(len(values))
    return Category(places[codes], values[order])
