"""How a table becomes inputs of a network: scaled numbers, and a column for each category.

A category's column holds 1 in the rows that have it and 0 elsewhere, and is scaled like numbers; so it has
but two values, ``on`` and ``off``, which are known before any row is encoded. Rows are kept as numbers and
places of categories, and become dense, or a CSR matrix, a few at a time: ten thousand categories are four
bytes a row.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from scipy import sparse

from fastnn.networks.columns import Category, Columns, kind_of
from fastnn.networks.robust_scaling import RobustScaling, bounded, scaling_of, scaling_of_counts

# Of a block of dense rows: some MB, which a kernel runs through in milliseconds.
_BLOCK_BYTES = 1 << 24
# Inputs from which on rows are kept sparse, provided that few of them are not 0: a step's time grows with the
# inputs, and a sparse entry costs about as much as eight dense ones.
_WIDE, _DENSE_PER_ENTRY = 1024, 8


@dataclass(frozen=True)
class Encoding:
    """What the inputs of a network are made of, learnt from some rows of a table.

    The inputs are, in this order: the numeric columns; a column for each of them that lacks some numbers, 1
    where it does; for each categorical column its categories. Two categories share one column, +1 for the
    first and -1 for the second, and 0 for neither. All of them are scaled (``robust_scaling``).

    A *group* is what has a place in ``codes``: an indicator of missing numbers, or a categorical column.
    """

    names: tuple[str, ...]  # of the columns of the table
    is_categorical: np.ndarray  # (n_columns,) bool
    scaling: RobustScaling  # of the numeric columns
    indicated: np.ndarray  # (n_indicators,) numeric columns that have an indicator, as counted among them
    categories: tuple[np.ndarray, ...]  # values of each categorical column, sorted
    # Of the groups. Codes count from 1; the inputs, behind the numbers, from 0.
    starts: np.ndarray  # (n_groups + 1,) where the codes of each begin in `places` and `on`
    widths: np.ndarray  # (n_groups,) inputs of each
    places: np.ndarray  # (n_codes,) int32: the input that a code changes
    on: np.ndarray  # (n_codes,) float32: what it becomes
    off: np.ndarray  # (n_inputs,) float32: what it is without that

    @classmethod
    def of(cls, columns: Columns, rows: Any = None) -> "Encoding":
        """The encoding that follows from a table, or from some rows of it alone.

        Parameters
        ----------
        columns : Columns
            At least one row.
        rows : array of int or bool, or slice, default=None
            Rows whose medians, quartiles and categories are meant; None for all.

        Returns
        -------
        encoding : Encoding
        """
        if rows is not None:
            columns = columns.take(rows)
        missing = np.isnan(columns.numbers).sum(axis=0)
        indicated = np.flatnonzero((missing > 0) & (missing < columns.n_rows))
        groups = [_of_two_values(missing[j], columns.n_rows) for j in indicated]
        categories = []
        for category in columns.categories:
            counts = np.bincount(category.codes + 1, minlength=len(category.values) + 1)
            present = np.flatnonzero(counts[1:])
            categories.append(category.values[present])
            groups.append(_group(counts[1:][present], columns.n_rows))
        return cls(
            names=columns.names,
            is_categorical=columns.is_categorical,
            scaling=scaling_of(columns.numbers),
            indicated=indicated,
            categories=tuple(categories),
            **_joined(groups),
        )

    @property
    def n_numbers(self) -> int:
        """Numeric columns."""
        return len(self.scaling.centers)

    @property
    def n_features_out(self) -> int:
        """Inputs of the network."""
        return self.n_numbers + len(self.off)

    @cached_property
    def _codes_of(self) -> tuple[dict[Any, int], ...]:
        """Code of each value of each categorical column; equal numbers of different types are one value."""
        return tuple(
            {value: code for code, value in enumerate(values.tolist(), 1)} for values in self.categories
        )

    def encode(self, columns: Columns, rows: Any = None) -> "EncodedRows":
        """Rows of a table of the same columns, or some of them; categories that are unknown count as missing.

        Raises
        ------
        TypeError
            A column has strings for the numbers that it had, or the reverse, so that all would be unknown.
        """
        if rows is not None:
            columns = columns.take(rows)
        numbers = self.scaling(columns.numbers, np.empty(columns.numbers.shape, np.float32))
        codes = np.empty((columns.n_rows, len(self.widths)), np.int32)
        n_indicators = len(self.indicated)
        codes[:, :n_indicators] = np.isnan(columns.numbers[:, self.indicated])
        known = zip(
            np.flatnonzero(self.is_categorical).tolist(), self.categories, self._codes_of, strict=True
        )
        for j, (category, (column, values, code_of)) in enumerate(
            zip(columns.categories, known, strict=True), n_indicators
        ):
            _check_kind(self.names[column], category.kind, kind_of(values))
            codes[:, j] = _codes(category, code_of)
        return EncodedRows(self, numbers, codes)

    def feature_names(self, names: Sequence[str]) -> list[str]:
        """Names of the inputs, from those of the columns of the table."""
        numeric = [name for name, other in zip(names, self.is_categorical) if not other]
        found = numeric + [f"{numeric[j]}_missing" for j in self.indicated]
        for column, values in zip(np.flatnonzero(self.is_categorical).tolist(), self.categories):
            shown = values[:1] if len(values) == 2 else values
            found += [f"{names[column]}_{value}" for value in shown.tolist()] or [names[column]]
        return found


@dataclass(frozen=True)
class EncodedRows:
    """Rows as inputs of a network, in few bytes: they are made dense, or sparse, when they are needed."""

    encoding: Encoding
    numbers: np.ndarray  # (n, n_numbers) float32, scaled
    codes: np.ndarray  # (n, n_groups) int32: 0 for neither of the categories, else from 1

    dtype = np.dtype(np.float32)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, rows: Any) -> "EncodedRows":
        """Some of the rows, by an array of places, a mask or a slice."""
        return EncodedRows(self.encoding, self.numbers[rows], self.codes[rows])

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and inputs."""
        return len(self), self.encoding.n_features_out

    @property
    def is_wide(self) -> bool:
        """Whether there are so many inputs, most of them 0, that a network should get them as ``csr``."""
        entries = self.numbers.shape[1] + self.codes.shape[1]
        return self.shape[1] > _WIDE and self.shape[1] > _DENSE_PER_ENTRY * entries

    def dense(self, rows: Any = None, out: np.ndarray | None = None) -> np.ndarray:
        """All inputs of all rows, or of some.

        Parameters
        ----------
        rows : array of int or bool, or slice, default=None
            Which; None for all.
        out : float32 array of shape (n_rows, n_features_out), default=None
            Where to write them.

        Returns
        -------
        X : float32 array of shape (n_rows, n_features_out)
            In C order, unless `out` has another.
        """
        if rows is not None:
            return self[rows].dense(out=out)
        X = np.empty(self.shape, np.float32) if out is None else out
        encoding, d = self.encoding, self.numbers.shape[1]
        X[:, :d] = self.numbers
        X[:, d:] = encoding.off
        for start, codes in zip(encoding.starts, self.codes.T):
            found = np.flatnonzero(codes)
            at = start - 1 + codes[found]
            X[found, d + encoding.places[at]] = encoding.on[at]
        return X

    def blocks(self, n_rows: int | None = None) -> Iterator[tuple[slice, np.ndarray]]:
        """All rows, some at a time, dense.

        Parameters
        ----------
        n_rows : int, default=None
            Rows of a block; None for as many as take about 16 MB.

        Yields
        ------
        part : slice
            Which rows they are.
        X : float32 array of shape (at most n_rows, n_features_out)
            A new array each time.
        """
        if n_rows is None:
            n_rows = max(1, _BLOCK_BYTES // (4 * max(1, self.shape[1])))
        for start in range(0, len(self), n_rows):
            part = slice(start, min(start + n_rows, len(self)))
            yield part, self[part].dense()

    def csr(self) -> sparse.csr_matrix:
        """All inputs of all rows, without zeros among those of the categories.

        ``off`` is 0 for all but the categories that half the rows have, so a row has one entry for each
        group, and seldom two.

        Returns
        -------
        X : float32 csr_matrix of shape (n_rows, n_features_out)
            In canonical form.
        """
        n, encoding, d = len(self), self.encoding, self.numbers.shape[1]
        rows = [np.repeat(np.arange(n), d)]
        columns, values = [np.tile(np.arange(d), n)], [self.numbers.ravel()]
        inputs = np.concatenate([[0], encoding.widths.cumsum()])
        for start, bounds, codes in zip(encoding.starts, pairwise(inputs), self.codes.T):
            found = np.flatnonzero(codes)
            at = start - 1 + codes[found]
            mine = np.full(n, -1)  # the input that the row's category changes
            mine[found] = encoding.places[at]
            rows.append(found)
            columns.append(d + encoding.places[at])
            values.append(encoding.on[at])
            for place in bounds[0] + np.flatnonzero(encoding.off[slice(*bounds)]):
                others = np.flatnonzero(mine != place)
                rows.append(others)
                columns.append(np.full(others.size, d + place))
                values.append(np.full(others.size, encoding.off[place]))
        triplets = np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))
        X = sparse.csr_matrix(triplets, shape=self.shape, dtype=np.float32)
        X.eliminate_zeros()
        X.sort_indices()
        return X


def _codes(category: Category, code_of: dict[Any, int]) -> np.ndarray:
    """Codes of a column's rows, from those of its values."""
    codes = np.zeros(len(category.values) + 1, np.int32)  # the last for -1
    codes[:-1] = [code_of.get(value, 0) for value in category.values.tolist()]
    return codes[category.codes]


def _check_kind(name: str, given: type | None, fitted: type | None) -> None:
    """Refuse values none of which can be among the known ones."""
    if given is not None and fitted is not None and given is not fitted:
        words = {float: "numbers", str: "strings", object: "other objects"}
        raise TypeError(
            f"The categories of column {name!r} are {words[given]}, and were {words[fitted]} in fit. Give "
            "both the same type, for example by .astype(str)."
        )


def _of_two_values(n_on: int, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``_group`` of a single category."""
    return _group(np.array([n_on]), n)


def _group(counts: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The inputs of a group.

    counts : int array of shape (n_categories,), rows that have each category, at least one
    n : all rows

    Returns places and on, of shape (n_categories,), and off, of shape (n_inputs,).
    """
    k = len(counts)
    if k == 2:
        values = np.array([-1.0, 0.0, 1.0])
        of_values = np.array([[counts[1], n - counts.sum(), counts[0]]])
        places, inputs = np.zeros(2, np.int32), np.array([1.0, -1.0])
    else:
        values, inputs, places = np.array([0.0, 1.0]), np.ones(k), np.arange(k, dtype=np.int32)
        # Without any category there is one column, of zeros, so that a network has an input.
        of_values = np.stack([n - counts, counts], axis=1) if k else np.array([[n, 0]])
    scaling = scaling_of_counts(values, of_values)
    on = bounded((inputs - scaling.centers[places]) * scaling.factors[places])
    off = bounded((0.0 - scaling.centers) * scaling.factors)
    return places, on, off


def _joined(groups: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> dict[str, np.ndarray]:
    """What an ``Encoding`` says of its groups."""
    widths = np.array([len(off) for _, _, off in groups], np.int64)
    inputs = np.concatenate([[0], widths.cumsum()])
    empty = np.zeros(0)
    return {
        "starts": np.concatenate([[0], np.cumsum([len(on) for _, on, _ in groups])]).astype(np.int64),
        "widths": widths,
        "places": np.concatenate(
            [empty, *(start + places for start, (places, _, _) in zip(inputs, groups))]
        ).astype(np.int32),
        "on": np.concatenate([empty, *(on for _, on, _ in groups)]).astype(np.float32),
        "off": np.concatenate([empty, *(off for _, _, off in groups)]).astype(np.float32),
    }
