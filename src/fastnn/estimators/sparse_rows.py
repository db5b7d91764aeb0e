"""The one door for a user's sparse data: they are looked at before anything follows their indices.

SciPy makes a matrix of whatever arrays it is given, and lets them be changed afterwards. Its compiled code
and scikit-learn's then read and write where the indices say. Nor do the two agree on entries that are stored
twice: SciPy adds them up, scikit-learn's norms and distances take each by itself. Everything behind
``canonical_csr`` takes for granted what that promises.
"""

from collections.abc import Iterable
from copy import copy
from itertools import chain
from math import prod
from typing import Any, NoReturn

import numpy as np
from scipy import sparse

_INT32_MAX = np.iinfo(np.int32).max
_CSR = sparse.csr_array, sparse.csr_matrix


def canonical_csr(X: Any, name: str = "X", *, wide: bool = True) -> Any:
    """A sparse matrix of any format as CSR in canonical form; what is not sparse as it is.

    Parameters
    ----------
    X : object
        What the user gave. It is not changed, and its flags are not believed: SciPy keeps
        ``has_canonical_format`` when the arrays change.
    name : str, default="X"
        As messages call it.
    wide : bool, default=True
        Whether indices that need 64 bits are taken.

    Returns
    -------
    X : object
        A new ``csr_array`` or ``csr_matrix``, as X is an array or a matrix, whose indices are within bounds,
        sorted and without duplicates, in 32 bits where they fit. It shares the arrays of X where these are so
        already. Zeros may be stored in it. The dtype is that of X; float16 and objects, for which SciPy has
        no code, become float64.

    Raises
    ------
    ValueError
        The arrays do not describe a matrix, which has two dimensions; or it needs indices of 64 bits.
    TypeError
        The values are no numbers, such as dates.
    """
    if not sparse.issparse(X):
        return X
    if X.ndim != 2:
        raise ValueError(f"Expected 2D input for {name}, got input with shape {X.shape}.")
    rows = getattr(_Given(X, name, wide), X.format)()
    if _is_canonical(rows):
        rows.has_canonical_format = True
    else:
        rows = rows.copy()  # without the flags
        rows.sum_duplicates()
    return rows


def dense_only(array: Any, name: str) -> None:
    """Make sure that `array` is not sparse, before scikit-learn refuses complex numbers by printing them.

    Raises
    ------
    TypeError
        It is.
    """
    if sparse.issparse(array):
        raise TypeError(
            f"Sparse data was passed for {name}, but dense data is required. Use '.toarray()' to convert to "
            "a dense numpy array."
        )


class _Given:
    """A sparse matrix of the user's, of which a method for each format makes one in CSR format.

    What the format stores is read and checked here; SciPy converts it in an object of its own.
    """

    def __init__(self, X: Any, name: str, wide: bool) -> None:
        self.X, self.name, self.wide = X, name, wide
        self.shape: tuple[int, int] = X.shape

    def csr(self) -> Any:
        n, d = self.shape
        data, indices, indptr = self._compressed(n, d)
        X = self.X
        if data is X.data and indices is X.indices and indptr is X.indptr and type(X) in _CSR:
            return copy(X)  # what SciPy does to make a matrix takes as long as all the checks of a small one
        return self._new("csr", (data, indices, indptr))

    def csc(self) -> Any:
        n, d = self.shape
        return self._new("csc", self._compressed(d, n)).tocsr()

    def bsr(self) -> Any:
        data = np.asarray(self.X.data)
        block = data.shape[1:]
        if data.ndim != 3 or 0 in block or any(n % b for n, b in zip(self.shape, block, strict=True)):
            self._refuse(f"blocks of shape {block} do not tile a matrix of shape {self.shape}")
        (n, d), (height, width) = self.shape, block
        return self._new("bsr", self._compressed(n // height, d // width, block)).tocsr()

    def coo(self) -> Any:
        coords = self.X.coords
        if len(coords) != 2:
            self._refuse(f"coords must be two vectors, not {len(coords)}")
        return self._triplets(np.asarray(self.X.data), *coords)

    def dok(self) -> Any:
        keys = list(self.X.keys())
        if not all(isinstance(key, tuple) and len(key) == 2 for key in keys):
            self._refuse("a key is no pair of indices")
        row, col = ([key[axis] for key in keys] for axis in range(2))
        return self._triplets(self._array_of(self.X.values()), row, col)

    def lil(self) -> Any:
        n = self.shape[0]
        of_rows, of_values = (np.asarray(part, object) for part in (self.X.rows, self.X.data))
        for lists in (of_rows, of_values):
            if lists.shape != (n,) or not all(isinstance(of_row, list | tuple) for of_row in lists):
                self._refuse(f"rows and data must each hold a list for each of the {n} rows")
        lengths = [len(of_row) for of_row in of_rows]
        if lengths != [len(of_row) for of_row in of_values]:
            self._refuse("a row has not as many values as indices")
        data = self._array_of(chain.from_iterable(of_values))
        return self._triplets(data, np.repeat(np.arange(n), lengths), list(chain.from_iterable(of_rows)))

    def dia(self) -> Any:
        data, offsets = np.asarray(self.X.data), self._indices("offsets", self.X.offsets)
        if data.ndim != 2 or len(data) != offsets.size:
            self._refuse(f"{offsets.size} offsets do not belong to diagonals of shape {data.shape}")
        if np.unique(offsets).size != offsets.size:
            self._refuse("an offset stands twice")
        n, d = self.shape
        # A diagonal may lie outside the matrix, however far: then there is nothing of it.
        crossing = (offsets > -n) & (offsets < d)
        data, offsets = data[crossing, :d], offsets[crossing].astype(np.int64)
        col = np.arange(data.shape[1])
        row = col - offsets[:, None]
        # A diagonal that is shorter than others is filled up with zeros.
        stored = (row >= 0) & (row < n) & (data != 0)
        return self._triplets(data[stored], row[stored], np.broadcast_to(col, data.shape)[stored])

    def _compressed(self, n_lines: int, n_cells: int, block: tuple[int, ...] = ()) -> tuple[np.ndarray, ...]:
        """Values, indices and pointers, as far as the last pointer goes, of what is stored line by line."""
        indptr, indices = self._indices("indptr", self.X.indptr), self._indices("indices", self.X.indices)
        data = np.asarray(self.X.data)
        if indptr.size != n_lines + 1 or indptr[0] != 0 or (indptr[1:] < indptr[:-1]).any():
            self._refuse(f"indptr must be {n_lines + 1} numbers that ascend from 0")
        stored = int(indptr[-1])
        if data.shape != (indices.size, *block) or indices.size < stored:
            self._refuse(f"{stored} entries have {indices.size} indices and values of shape {data.shape}")
        if stored < indices.size:
            data, indices = data[:stored], indices[:stored]
        self._check_range("indices", indices, n_cells)
        dtype = self._index_dtype(stored * prod(block))
        return _numbers(data), _in_order(indices, dtype), _in_order(indptr, dtype)

    def _triplets(self, data: np.ndarray, row: Any, col: Any) -> Any:
        """The matrix in CSR format that has these values at these places."""
        row, col = self._indices("row indices", row), self._indices("column indices", col)
        if data.ndim != 1 or not data.size == row.size == col.size:
            self._refuse(f"{row.size} row and {col.size} column indices have values of shape {data.shape}")
        self._check_range("row indices", row, self.shape[0])
        self._check_range("column indices", col, self.shape[1])
        dtype = self._index_dtype(data.size)
        places = _in_order(row, dtype), _in_order(col, dtype)
        return self._new("coo", (_numbers(data), places)).tocsr()

    def _new(self, form: str, parts: Any) -> Any:
        """A matrix in a format of SciPy's, of this one's kind: array or matrix."""
        kind = "array" if isinstance(self.X, sparse.sparray) else "matrix"
        return getattr(sparse, f"{form}_{kind}")(parts, shape=self.shape)

    def _indices(self, what: str, values: Any) -> np.ndarray:
        """Indices as a vector of some type of integers."""
        try:
            values = np.asarray(values)
        except ValueError:  # not all of them are numbers
            values = np.empty((), object)
        if values.shape == (0,):
            values = values.astype(np.int32)  # of an empty list NumPy makes floats
        if values.ndim != 1 or values.dtype.kind not in "iu":
            self._refuse(f"{what} must be a vector of integers")
        return values

    def _check_range(self, what: str, values: np.ndarray, length: int) -> None:
        # As an unsigned number one below zero is a large one.
        if values.size and values.view(values.dtype.str.replace("i", "u")).max() >= length:
            self._refuse(f"{what} must lie in 0..{length - 1}")

    def _index_dtype(self, stored: int) -> type:
        """The type that indices get where so many values are stored."""
        if max(*self.shape, stored) <= _INT32_MAX:
            return np.int32
        if self.wide:
            return np.int64
        n, d = self.shape
        raise ValueError(
            f"{self.name} has {n} rows, {d} columns and {stored} stored values. At most {_INT32_MAX} of each "
            "are taken, as many as indices of 32 bits can number: take a part of the rows, or leave out "
            "columns that are empty."
        )

    def _array_of(self, values: Iterable[Any]) -> np.ndarray:
        """Python's numbers as an array of the matrix's dtype."""
        dtype = self.X.dtype
        try:
            return np.array(list(values), dtype)
        except (ValueError, TypeError, OverflowError) as reason:
            message = f"The values of {self.name} are no numbers of dtype {dtype}: {reason}"
            raise ValueError(message) from reason

    def _refuse(self, why: str) -> NoReturn:
        form = self.X.format.upper()
        raise ValueError(f"The arrays of {self.name} do not describe a matrix in {form} format: {why}.")


def _is_canonical(X: Any) -> bool:
    """Whether the indices in every row of a CSR matrix ascend; in a third of SciPy's time for many."""
    indices, starts = X.indices, X.indptr[1:-1]
    ascends = indices[1:] > indices[:-1]
    # Between rows they need not.
    first, last = starts.searchsorted(np.array((1, indices.size), starts.dtype))
    ascends[starts[first:last] - 1] = True
    return bool(ascends.all())


def _numbers(data: np.ndarray) -> np.ndarray:
    """Values of a type, and in a byte order, that SciPy has code for."""
    dtype = data.dtype
    if dtype in (np.float16, np.object_):
        dtype = np.dtype(np.float64)
    if dtype.kind not in "biufc":
        raise TypeError(f"Expected real numbers, got a sparse matrix of dtype {dtype}.")
    return _in_order(data, dtype if dtype.isnative else dtype.newbyteorder("="))


def _in_order(array: np.ndarray, dtype: Any) -> np.ndarray:
    """An array as compiled code takes it: of this type, C-contiguous and aligned."""
    if array.dtype == dtype and array.flags.c_contiguous and array.flags.aligned:
        return array
    return np.require(array, dtype, ["C", "A"])
