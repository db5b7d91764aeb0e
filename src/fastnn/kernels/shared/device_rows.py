"""Rows that a GPU works on, as the engines see them: what kind of array they are is known there only."""

from abc import ABC, abstractmethod
from typing import Any

import numpy as np

# How far the length of a row may be from 1, in eps of its dtype, for the row to be one of unit length.
UNIT_ROUNDING = 8


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
    """

    shape: tuple[int, int]
    dtype: np.dtype
    given: Any

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

    @abstractmethod
    def nearest(self, C: np.ndarray) -> Any:
        """Number of the nearest centre of every row (n,) int32, as an array of the user's kind."""

    @abstractmethod
    def distances_to(self, C: np.ndarray) -> Any:
        """Distance of every row to every centre (n, k), as an array of the user's kind."""

    @abstractmethod
    def workspace(self, n: int, k: int) -> Any:
        """A ``clustering.passes.Workspace`` on the GPU, for n rows like these."""

    def mini_batches(self, n_clusters: int, batch_size: int) -> Any:
        """Steps of mini-batch k-means that stay on the GPU, as ``kernels.cuda.mini_batch.MiniBatches``.

        None where the rows do not all lie there: then the engines go on batch by batch.
        """
        return None

    def center_steps(
        self, weights: np.ndarray | None, n_clusters: int, n_rows: int, batch_size: int | None
    ) -> Any:
        """Gradient steps that stay on the GPU, as ``kernels.cuda.center_steps.CenterSteps``, or None."""
        return None

    def iterations(self, weights: np.ndarray | None, C: np.ndarray, on_sphere: bool) -> Any:
        """Lloyd's iterations whose centres stay on the GPU, as ``kernels.cuda.lloyd.Iterations``, or None."""
        return None

    @abstractmethod
    def seeding(self, weights: np.ndarray | None, n_clusters: int, n_trials: int) -> Any:
        """A ``clustering.seeding.Passes`` on the GPU."""

    @abstractmethod
    def have_direction(self) -> np.ndarray:
        """Which rows are not all zeros."""

    @abstractmethod
    def unit_rows(self) -> "DeviceRows":
        """The rows divided by their lengths; the same ones where all have unit length."""
