"""Tables of pandas, polars and NumPy, column by column; neither pandas nor polars is imported for it."""

import sys
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np


class Frame(ABC):
    """A user's table, as columns are read from it."""

    # Whether columns have types of their own.
    has_types: ClassVar[bool] = True

    def __init__(self, X: Any) -> None:
        self.X = X

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.X.shape

    @abstractmethod
    def is_categorical(self, column: int) -> bool:
        """Whether a column's type is one of categories: declared ones, or strings alone, or nothing."""

    @abstractmethod
    def is_time(self, column: int) -> bool:
        """Whether a column holds dates, times or durations."""

    @abstractmethod
    def numbers(self, column: int) -> np.ndarray:
        """A column as an array of numbers, or of objects that should be some: NaN or None for no value."""

    @abstractmethod
    def factorized(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        """Places of a column's values, -1 for none, and the distinct values in any order.

        Raises
        ------
        TypeError
            A value has no hash.
        """


class PandasFrame(Frame):
    """A ``pandas.DataFrame``."""

    def is_categorical(self, column: int) -> bool:
        series = self.X.iloc[:, column]
        kind = series.dtype
        if isinstance(kind, np.dtype) and kind.kind == "O":
            return all(isinstance(value, str) for value in series[series.notna()])
        return kind.name == "category" or kind.type is str

    def is_time(self, column: int) -> bool:
        return getattr(self.X.dtypes.iloc[column], "kind", "O") in "mM"

    def numbers(self, column: int) -> np.ndarray:
        series = self.X.iloc[:, column]
        if isinstance(series.dtype, np.dtype) and series.dtype.kind != "O":
            return series.to_numpy()
        values = series.to_numpy(dtype=object, copy=True)
        values[series.isna().to_numpy()] = None
        return values

    def factorized(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        codes, values = self.X.iloc[:, column].factorize()
        return codes, as_array(values.tolist())


class PolarsFrame(Frame):
    """A ``polars.DataFrame``."""

    def is_categorical(self, column: int) -> bool:
        return self.X.dtypes[column].base_type().__name__ in ("Categorical", "Enum", "String", "Null")

    def is_time(self, column: int) -> bool:
        return self.X.dtypes[column].is_temporal()

    def numbers(self, column: int) -> np.ndarray:
        return self.X[:, column].to_numpy()

    def factorized(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        return factorized(self.X[:, column].to_list())


class ArrayFrame(Frame):
    """An array of two dimensions, whose columns have no types of their own."""

    has_types = False

    def is_categorical(self, column: int) -> bool:
        return False

    def is_time(self, column: int) -> bool:
        return False

    def numbers(self, column: int) -> np.ndarray:
        return self.X[:, column]

    def factorized(self, column: int) -> tuple[np.ndarray, np.ndarray]:
        values = self.X[:, column]
        if values.dtype.kind not in "biuf":
            return factorized(values.tolist())
        is_there = ~np.isnan(values)
        codes = np.full(len(values), -1)
        found, codes[is_there] = np.unique(values[is_there], return_inverse=True)
        return codes, found


def frame_of(X: Any) -> Frame | None:
    """A frame of pandas or polars; None for what is neither."""
    for package, kind in (("pandas", PandasFrame), ("polars", PolarsFrame)):
        module = sys.modules.get(package)
        if module is not None and isinstance(X, module.DataFrame):
            return kind(X)
    return None


def factorized(values: list[Any]) -> tuple[np.ndarray, np.ndarray]:
    """``Frame.factorized`` of a list, in which None, NaN and pandas's NA are no values."""
    distinct = dict.fromkeys(values)
    found = [value for value in distinct if not is_missing(value)]
    places = dict.fromkeys(distinct, -1) | {value: place for place, value in enumerate(found)}
    codes = np.fromiter(map(places.__getitem__, values), np.int32, len(values))
    return codes, as_array(found)


def is_missing(value: Any) -> bool:
    """Whether a value stands for none: NaN and pandas's NA are not equal to themselves."""
    if value is None:
        return True
    is_itself = value == value
    return not (isinstance(is_itself, bool | np.bool_) and is_itself)


def as_array(values: list[Any]) -> np.ndarray:
    """Values of a column in an array of numbers if they are all numbers, else of objects."""
    if values and all(isinstance(value, int | float | np.number | np.bool_) for value in values):
        return np.array(values)
    array = np.empty(len(values), object)
    for place, value in enumerate(values):  # one by one, since tuples would be taken for rows
        array[place] = value
    return array
