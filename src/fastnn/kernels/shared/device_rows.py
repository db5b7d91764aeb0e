"""Rows that a GPU works on, as the engines see them: what kind of array they are is known there only."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

# Memory of a GPU and managed memory, in DLPack's numbers of kinds of devices.
_CUDA, _CUDA_MANAGED = 2, 13


def dlpack_device(array: Any) -> int | None:
    """Number of the GPU on which an array lies, by ``__dlpack_device__``; None where that knows of none."""
    ask = getattr(array, "__dlpack_device__", None)
    if ask is None:
        return None
    try:
        kind, number = ask()
    except (BufferError, ValueError):  # of an array that is spread over devices, or on one without a number
        return None
    return int(number) if kind in (_CUDA, _CUDA_MANAGED) else None


def is_device_array(array: Any) -> bool:
    """Whether an array lies on a GPU."""
    if hasattr(array, "__cuda_ndarray__"):
        return True
    if isinstance(array, np.ndarray):
        return False
    # DLPack first: PyTorch refuses a tensor that requires a gradient the very question for the other.
    return dlpack_device(array) is not None or hasattr(array, "__cuda_array_interface__")


class DeviceRows(ABC):
    """Rows (n, d) of float32 or float64 that a GPU works on, by what is in ``kernels.cuda``.

    They lie there (``rows``), or go there in blocks (``streamed``).

    Attributes
    ----------
    shape : tuple of int
    dtype : numpy dtype
    given : array
        What the user gave.
    ordinal : int
        Number of the GPU.
    """

    shape: tuple[int, int]
    dtype: np.dtype
    given: Any
    ordinal: int

    @abstractmethod
    def __getitem__(self, rows: Any) -> np.ndarray:
        """Some rows, by a number, an array of numbers or a slice, as an array on the host."""

    @abstractmethod
    def take(self, rows: np.ndarray) -> "DeviceRows":
        """A copy of some rows, on the GPU if there is room."""

    @abstractmethod
    def astype(self, dtype: Any, copy: bool = False) -> "DeviceRows":
        """The rows in another dtype; the same ones where they have it."""

    @abstractmethod
    def as_given(self) -> Any:
        """The rows as an array of the kind that the user gave."""
