"""Rows on a GPU, for the engines: where a user's array has gone, or lies already."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fastnn.kernels.cuda.rows.by_blocks import Change, RowsByBlocks
from fastnn.kernels.cuda.rows.finite import check_finite
from fastnn.kernels.cuda.rows.gather import gathered
from fastnn.kernels.cuda.rows.streamed import StreamedRows
from fastnn.kernels.cuda.runtime.capacity import fits, rows_with_results
from fastnn.kernels.cuda.runtime.compat import cuda, on_device
from fastnn.kernels.cuda.runtime.memory import Arguments, as_dtype, as_kind_of, upload
from fastnn.kernels.shared.device_rows import is_device_array


class ResidentRows(RowsByBlocks):
    """Rows on a device.

    Parameters
    ----------
    array : device array (n, d), contiguous, of float32 or float64
    ordinal : int
        The device.
    given : array
        What the user gave.
    host : ndarray of shape (n, d), default=None
        The same rows on the host, where there are any.
    precision : str, default=None
        As of the kernels.
    """

    def __init__(
        self,
        array: Any,
        ordinal: int,
        given: Any,
        host: np.ndarray | None = None,
        precision: str | None = None,
    ) -> None:
        self.array, self.ordinal, self.given, self._host = array, ordinal, given, host
        self.precision = precision
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)

    def iter_blocks(self, columns: int = 0) -> Iterator[tuple[int, Any]]:
        n = self.shape[0]
        size = rows_with_results(columns, self.dtype.itemsize) if columns else n
        for first in range(0, n, size):
            yield first, self.array if size >= n else self.array[first : first + size]

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(self.shape[0])[rows]
        numbers = np.asarray(rows)
        with on_device(self.ordinal):
            found = gathered(self.array, np.atleast_1d(numbers)).copy_to_host()
        return found[0] if numbers.ndim == 0 else found

    def take(self, rows: np.ndarray) -> "ResidentRows":
        with on_device(self.ordinal):
            return self._with(gathered(self.array, rows))

    def astype(self, dtype: Any, copy: bool = False) -> "ResidentRows":
        if np.dtype(dtype) == self.dtype and not copy:
            return self
        with on_device(self.ordinal):
            return self._with(as_dtype(self.array, np.dtype(dtype)))

    def as_given(self) -> Any:
        with on_device(self.ordinal):
            return as_kind_of(self.given, self.array)

    def in_blocks(self) -> StreamedRows | None:
        """The rows as some that stay on the host; None where they do not lie there."""
        if self._host is None:
            return None
        return StreamedRows(self._host, self.ordinal, self.dtype, ResidentRows, self.precision)

    def changed(self, change: Change) -> "ResidentRows":
        with on_device(self.ordinal):
            is_users = is_device_array(self.given)
            found = self._with(cuda.device_array(self.shape, self.dtype)) if is_users else self
            change(self.array, found.array)
        found._host = None
        return found

    def _with(self, array: Any) -> "ResidentRows":
        return ResidentRows(array, self.ordinal, self.given, precision=self.precision)


def device_rows(X: Any, ordinal: int, precision: str | None = None) -> ResidentRows | StreamedRows:
    """A user's array on a device: where it lies, if it lies there; in blocks, if there is no room for it.

    Parameters
    ----------
    X : device array or ndarray of shape (n_samples, n_features)
    ordinal : int
    precision : str or None
        As of the kernels.

    Raises
    ------
    ValueError
        It is no matrix, has no row or no column, or holds a value that is not finite.
    TypeError
        It does not hold real numbers.
    """
    shape = tuple(X.shape)
    if len(shape) != 2:
        raise ValueError(f"Expected 2D array, got {len(shape)}D array instead.")
    for length, what in zip(shape, ("sample", "feature"), strict=True):
        if length == 0:
            raise ValueError(
                f"Found array with 0 {what}(s) (shape={shape}) while a minimum of 1 is required."
            )
    with on_device(ordinal):
        arguments = Arguments(X)
        if not is_device_array(X) and not fits(shape, arguments.dtype):
            return StreamedRows(np.asarray(X), ordinal, arguments.dtype, ResidentRows, precision)
        array = arguments.matrix(X, "X", (None, None))
        if is_device_array(X):
            check_finite(array)
    return ResidentRows(array, ordinal, X, None if is_device_array(X) else np.asarray(X), precision)


def to_kind_of(like: Any, array: np.ndarray, ordinal: int) -> Any:
    """An array of NumPy as the kind of array that `like` is, on a device."""
    with on_device(ordinal):
        return as_kind_of(like, upload(array))
