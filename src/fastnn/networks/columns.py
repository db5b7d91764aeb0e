"""A table in columns: numbers, and categories as places in lists of values."""

from typing import Any, NamedTuple

import numpy as np


class Category(NamedTuple):
    """A categorical column."""

    codes: np.ndarray  # (n,) int32: place of the value, -1 where there is none
    values: np.ndarray  # the distinct values, sorted

    @property
    def kind(self) -> type | None:
        """What the values are: numbers, strings or others; None where there are none."""
        return kind_of(self.values)


class Columns(NamedTuple):
    """Columns of a table, apart by what they hold, each group in the order of the table.

    What is in it has been checked: no number is infinite, or larger than float32 can hold.
    """

    names: tuple[str, ...]  # of all columns of the table, as messages call them
    is_categorical: np.ndarray  # (n_columns,) bool
    numbers: np.ndarray  # (n, n_numeric) float32 or float64, NaN where a number is missing
    categories: tuple[Category, ...]

    @property
    def n_rows(self) -> int:
        """Rows of the table."""
        return len(self.numbers)

    def take(self, rows: Any) -> "Columns":
        """Some of the rows, by an array of places, a mask or a slice; values that they lack stay listed."""
        return self._replace(
            numbers=self.numbers[rows],
            categories=tuple(each._replace(codes=each.codes[rows]) for each in self.categories),
        )


def kind_of(values: np.ndarray) -> type | None:
    """``float`` for numbers, ``str`` for strings, ``object`` for others; None for no values.

    Values of two kinds are never equal, so that who gives numbers for strings gets nothing but unknown ones.
    """
    if not len(values):
        return None
    if values.dtype.kind in "biuf":
        return float
    return str if isinstance(values[0], str) else object
