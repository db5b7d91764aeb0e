"""Rows on a GPU, for the engines: where a user's array has gone, or lies already."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from fastnn.kernels._on_device import DeviceRows, is_device_array
from fastnn.kernels.cuda.center_steps import CenterSteps
from fastnn.kernels.cuda.compat import on_device
from fastnn.kernels.cuda.distances import distances_to
from fastnn.kernels.cuda.gather import gathered
from fastnn.kernels.cuda.kmeans import assign
from fastnn.kernels.cuda.lengths import check_finite, have_direction, unit_rows
from fastnn.kernels.cuda.lloyd import Iterations
from fastnn.kernels.cuda.memory import Arguments, as_dtype, as_kind_of, upload
from fastnn.kernels.cuda.mini_batch import MiniBatches
from fastnn.kernels.cuda.passes import SeedingPasses, Workspace
from fastnn.kernels.cuda.training import Training, outputs


class Rows(DeviceRows):
    """Rows on a device.

    Parameters
    ----------
    array : device array (n, d), contiguous, of float32 or float64
    ordinal : int
        The device.
    given : array
        What the user gave.
    """

    def __init__(self, array: Any, ordinal: int, given: Any) -> None:
        self.array, self.ordinal, self.given = array, ordinal, given
        self.shape, self.dtype = tuple(array.shape), np.dtype(array.dtype)

    def __getitem__(self, rows: Any) -> np.ndarray:
        if isinstance(rows, slice):
            rows = np.arange(self.shape[0])[rows]
        numbers = np.asarray(rows)
        with on_device(self.ordinal):
            found = gathered(self.array, np.atleast_1d(numbers)).copy_to_host()
        return found[0] if numbers.ndim == 0 else found

    def take(self, rows: np.ndarray) -> "Rows":
        with on_device(self.ordinal):
            return Rows(gathered(self.array, rows), self.ordinal, self.given)

    def astype(self, dtype: Any, copy: bool = False) -> "Rows":
        if np.dtype(dtype) == self.dtype and not copy:
            return self
        with on_device(self.ordinal):
            return Rows(as_dtype(self.array, np.dtype(dtype)), self.ordinal, self.given)

    def as_given(self) -> Any:
        with on_device(self.ordinal):
            return as_kind_of(self.given, self.array)

    def nearest(self, C: np.ndarray) -> Any:
        with on_device(self.ordinal):
            return as_kind_of(self.given, assign(self.array, C)[0])

    def distances_to(self, C: np.ndarray) -> Any:
        with on_device(self.ordinal):
            return as_kind_of(self.given, distances_to(self.array, C))

    def workspace(self, n: int, k: int) -> Workspace:
        return Workspace(self.ordinal, n, k, self.shape[1], self.dtype)

    def mini_batches(self, n_clusters: int, batch_size: int) -> MiniBatches:
        return MiniBatches(self.ordinal, self.array, n_clusters, batch_size)

    def center_steps(
        self, weights: np.ndarray | None, n_clusters: int, n_rows: int, batch_size: int | None
    ) -> CenterSteps:
        return CenterSteps(self.ordinal, self.array, weights, n_clusters, n_rows, batch_size)

    def iterations(self, weights: np.ndarray | None, C: np.ndarray, on_sphere: bool) -> Iterations:
        return Iterations(self.ordinal, self.array, weights, C, on_sphere)

    def seeding(self, weights: np.ndarray | None, n_clusters: int, n_trials: int) -> SeedingPasses:
        return SeedingPasses(self.ordinal, self.array, weights, n_trials)

    def training(
        self, Y: np.ndarray, weights: np.ndarray | None, layer_sizes: Sequence[int], hidden: int, loss: int
    ) -> Training:
        return Training(self.ordinal, self.array, Y, weights, layer_sizes, hidden, loss)

    def outputs(
        self, parameters: np.ndarray, layer_sizes: Sequence[int], hidden: int, output: str
    ) -> np.ndarray:
        with on_device(self.ordinal):
            return outputs(self.array, parameters, layer_sizes, hidden, output).copy_to_host()

    def have_direction(self) -> np.ndarray:
        with on_device(self.ordinal):
            return have_direction(self.array)

    def unit_rows(self) -> "Rows":
        with on_device(self.ordinal):
            array = unit_rows(self.array)
        return self if array is self.array else Rows(array, self.ordinal, self.given)


def device_rows(X: Any, ordinal: int) -> Rows:
    """A user's array on a device: used where it lies, if it lies there.

    Parameters
    ----------
    X : device array or ndarray of shape (n_samples, n_features)
    ordinal : int

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
        array = arguments.matrix(X, "X", (None, None))
        if is_device_array(X):
            check_finite(array)
    return Rows(array, ordinal, X)


def to_kind_of(like: Any, array: np.ndarray, ordinal: int) -> Any:
    """An array of NumPy as the kind of array that `like` is, on a device."""
    with on_device(ordinal):
        return as_kind_of(like, upload(array))
