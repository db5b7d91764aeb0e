"""Arguments of the kernels: what a caller gives, as the few array types that the kernels are compiled for."""

from typing import Any, NamedTuple

import numpy as np

_FLOAT32, _FLOAT64 = np.dtype(np.float32), np.dtype(np.float64)


class _Memory:
    """An array's memory with the claim that it is writeable."""

    def __init__(self, array: np.ndarray) -> None:
        self.owner = array
        self.__array_interface__ = {**array.__array_interface__, "data": (array.ctypes.data, False)}


def plain(array: Any, dtype: Any) -> np.ndarray:
    """The array as the one type that kernels are compiled for: C-contiguous, aligned, writeable.

    Numba compiles again for a read-only array, which is what joblib hands to its workers. No kernel writes to
    what is passed through here.
    """
    if type(array) is np.ndarray and array.dtype == dtype and array.flags.carray:
        return array  # what nearly every call brings; np.require takes 2 us to find out
    array = np.require(np.asarray(array), dtype, ["C", "A"])
    return array if array.flags.writeable else np.asarray(_Memory(array))


def working_dtype(*arrays: Any) -> np.dtype:
    """float32 if every array is float32, else float64.

    Raises
    ------
    TypeError
        An array does not hold real numbers.
    """
    working: np.dtype = _FLOAT32
    for array in arrays:
        dtype = array.dtype if type(array) is np.ndarray else np.asarray(array).dtype
        if dtype is _FLOAT32:  # NumPy has one object for each native type: the quick way out
            continue
        if dtype.kind not in "biuf":
            raise TypeError(f"Expected real numbers, got an array of dtype {dtype}.")
        if dtype != _FLOAT32:
            working = _FLOAT64
    return working


def checked(array: Any, name: str, shape: tuple[int | None, ...]) -> np.ndarray:
    """`array` as an ndarray of the given shape, in which None stands for any length.

    Raises
    ------
    ValueError
        The shape is another.
    """
    array = np.asarray(array)
    fits = array.ndim == len(shape)
    if fits:
        # A plain loop: a generator costs a small kernel's call half a microsecond.
        for have, want in zip(array.shape, shape, strict=True):
            fits = fits and (want is None or have == want)
    if not fits:
        wanted = ", ".join("any" if length is None else str(length) for length in shape)
        comma = "," if len(shape) == 1 else ""
        raise ValueError(f"{name} must have shape ({wanted}{comma}), got {array.shape}")
    return array


def output_array(
    out: Any, shape: tuple[int, ...], dtype: Any, name: str = "out", others: tuple[np.ndarray, ...] = ()
) -> np.ndarray:
    """`out` if it can take a result, a new array if it is None.

    Raises
    ------
    ValueError
        `out` has another shape or dtype, is not C-contiguous and writeable, or shares memory with `others`.
    """
    if out is None:
        return np.empty(shape, dtype)
    if not isinstance(out, np.ndarray) or out.shape != shape or out.dtype != dtype:
        have = f"{getattr(out, 'dtype', type(out).__name__)} {getattr(out, 'shape', '')}"
        raise ValueError(f"{name} must be an array of {np.dtype(dtype)} {shape}, got {have}")
    if not (out.flags.c_contiguous and out.flags.writeable):
        raise ValueError(f"{name} must be C-contiguous and writeable")
    if any(np.may_share_memory(out, array) for array in others):
        raise ValueError(f"{name} must not share memory with another argument")
    return out


def several(out: Any, n: int) -> tuple[Any, ...]:
    """`out` as a tuple of `n` outputs; None stands for that many new arrays.

    Raises
    ------
    ValueError
        It is no tuple of that length.
    """
    if out is None:
        return (None,) * n
    if not isinstance(out, tuple) or len(out) != n:
        raise ValueError(f"out must be a tuple of {n} arrays")
    return out


class Csr(NamedTuple):
    """A CSR matrix as kernels take it: no duplicates, and every index within its bounds."""

    data: np.ndarray  # (nnz,)
    indices: np.ndarray  # (nnz,) column of each value
    indptr: np.ndarray  # (n_rows + 1,) where each row begins
    shape: tuple[int, int]

    @property
    def dtype(self) -> np.dtype:
        """Float type of the values."""
        return self.data.dtype

    @classmethod
    def of(cls, X: Any, dtype: Any, index_dtype: Any) -> "Csr":
        """The parts of a SciPy matrix in CSR format, which keeps what this class promises.

        That is not looked at again. What a user gives is, where it comes in (``estimators.sparse_rows``), and
        rows that an engine takes out of it are as good.
        """
        return cls(plain(X.data, dtype), plain(X.indices, index_dtype), plain(X.indptr, index_dtype), X.shape)

    def row(self, i: int) -> np.ndarray:
        """Row i, dense."""
        begin, end = self.indptr[i : i + 2]
        row = np.zeros(self.shape[1], self.dtype)
        row[self.indices[begin:end]] = self.data[begin:end]
        return row

    def between(self, start: int, stop: int) -> "Csr":
        """Rows start..stop, which share their values with these."""
        begin, end = self.indptr[start], self.indptr[stop]
        return Csr(
            self.data[begin:end],
            self.indices[begin:end],
            self.indptr[start : stop + 1] - begin,
            (stop - start, self.shape[1]),
        )
