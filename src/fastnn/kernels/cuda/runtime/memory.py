"""Arrays on their way to a device and back.

An array that lies on a device already (CuPy's, PyTorch's, JAX's, Numba's) is used where it lies, by way of
``__cuda_array_interface__`` or else of DLPack. One of NumPy's is copied there, and what is computed from
NumPy arrays alone comes back as NumPy arrays.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fastnn.kernels.cuda.runtime.compat import SIMULATED, block_threads, cuda, exported, imported, kernel
from fastnn.kernels.shared.arrays import output_array, plain, working_dtype
from fastnn.kernels.shared.device_rows import is_device_array

# How a package that a user's array comes from wraps a device array without a copy: by its name, with its
# module, the device array, and the user's. Others are asked for `from_dlpack`.
_WRAPPERS: dict[str, Callable[[Any, Any, Any], Any]] = {
    "cupy": lambda cupy, array, like: cupy.asarray(array),
    "torch": lambda torch, array, like: torch.as_tensor(array, device=like.device),
}
_THREADS = block_threads(256)


def dtype_of(array: Any) -> np.dtype:
    """The dtype of an array-like, wherever it lies."""
    return np.dtype(_as_cuda(array).dtype) if is_device_array(array) else np.asarray(array).dtype


@kernel
def _copy_vector(source, target):
    i = cuda.grid(1)
    if i < target.shape[0]:
        target[i] = source[i]


@kernel
def _copy_matrix(source, target):
    i = cuda.grid(1)
    columns = target.shape[1]
    if i < target.shape[0] * columns:
        target[i // columns, i % columns] = source[i // columns, i % columns]


def blocks_per_grid(n: int, threads: int) -> int:
    """Blocks of a launch that has a thread, or whatever `threads` counts, for each of n items."""
    return -(-n // threads)


class Scratch:
    """Work arrays on a device, made when they are first asked for and used again.

    To make one takes longer than many a kernel.
    """

    def __init__(self) -> None:
        self._arrays: dict[str, Any] = {}

    def array(self, name: str, shape: int | tuple[int, ...], dtype: Any) -> Any:
        """The array of this name, with whatever it holds; a new one if it had another shape or dtype."""
        shape = shape if isinstance(shape, tuple) else (shape,)
        array = self._arrays.get(name)
        if array is None or tuple(array.shape) != shape or array.dtype != dtype:
            array = self._arrays[name] = cuda.device_array(shape, dtype)
        return array


class Arguments:
    """The arrays of one call: their common dtype, and the kind of array that its results are to be.

    Parameters
    ----------
    *arrays : array-like
        All that have a say in the dtype; None is passed over.
    beside : sequence of array-like
        Those that have none, but may lie on the device too.
    """

    def __init__(self, *arrays: Any, beside: Sequence[Any] = ()) -> None:
        given = [array for array in arrays if array is not None]
        self._like = next((array for array in (*given, *beside) if is_device_array(array)), None)
        self._host_outputs: list[np.ndarray] = []
        # Not of the arrays themselves: NumPy would copy one that lies on a device.
        self.dtype = working_dtype(*(np.empty(0, dtype_of(array)) for array in given))

    def matrix(self, array: Any, name: str, shape: tuple[int | None, ...], dtype: Any = None) -> Any:
        """`array` on the device: contiguous, in the dtype of the call or another, and of this shape.

        Raises
        ------
        ValueError
            The shape is another; None stands for any length.
        """
        dtype = np.dtype(self.dtype if dtype is None else dtype)
        on_device = is_device_array(array)
        array = _as_cuda(array) if on_device else np.asarray(array)
        if len(array.shape) != len(shape) or any(
            want not in (None, have) for have, want in zip(array.shape, shape, strict=True)
        ):
            wanted = ", ".join("any" if length is None else str(length) for length in shape)
            comma = "," if len(shape) == 1 else ""
            raise ValueError(f"{name} must have shape ({wanted}{comma}), got {tuple(array.shape)}")
        if not on_device:
            return upload(array, dtype)
        if array.dtype == dtype and array.is_c_contiguous():
            return array
        return as_dtype(array, dtype)

    def output(
        self,
        out: Any,
        shape: tuple[int, ...],
        dtype: Any,
        name: str,
        others: tuple[Any, ...] = (),
        *,
        keep: bool = False,
    ) -> Any:
        """A new array on the device, or `out` where that lies there and can take the result.

        With `keep` it has the numbers of `out`, to be added to.

        Raises
        ------
        ValueError
            `out` has another shape or dtype, is not C-contiguous or read-only, or shares memory with
            `others`.
        """
        if out is None:
            return cuda.device_array(shape, dtype)
        if not is_device_array(out):
            output_array(out, shape, dtype, name)
            if any(np.may_share_memory(out, former) for former in self._host_outputs):
                raise ValueError(f"{name} must not share memory with another argument")
            self._host_outputs.append(out)
            return upload(out, dtype) if keep else cuda.device_array(shape, dtype)
        array = _as_cuda(out, to_write=True)
        if tuple(array.shape) != shape or array.dtype != dtype:
            have = f"{array.dtype} {tuple(array.shape)}"
            raise ValueError(f"{name} must be an array of {np.dtype(dtype)} {shape}, got {have}")
        if not array.is_c_contiguous():
            raise ValueError(f"{name} must be C-contiguous")
        if any(_overlap(array, other) for other in others):
            raise ValueError(f"{name} must not share memory with another argument")
        return array

    def result(self, array: Any, out: Any = None) -> Any:
        """A device array as what the caller gets: `out`, or an array of the kind of the arguments."""
        if out is not None:
            if not is_device_array(out):
                out[...] = array.copy_to_host()
            return out
        return as_kind_of(self._like, array)


def upload(array: Any, dtype: Any = None) -> Any:
    """An array of the host as a new one on the device, in its own dtype or another.

    By way of one dimension: of an array whose only column has a stride of 0, which NumPy calls contiguous,
    numba-cuda makes one that is not.
    """
    array = plain(array, np.asarray(array).dtype if dtype is None else dtype)
    return cuda.to_device(array.reshape(-1)).reshape(array.shape) if array.size else cuda.to_device(array)


def to_host(array: Any) -> np.ndarray:
    """A device array as an array of NumPy."""
    return _as_cuda(array).copy_to_host()


def _as_cuda(array: Any, *, to_write: bool = False) -> Any:
    """An array as Numba's, on the default stream, which waits for what its producer still has to write.

    By DLPack, which asks for that, unless ``__cuda_array_interface__`` has a stream to wait for: PyTorch's
    and JAX's have none.

    Raises
    ------
    ValueError
        It is to be written to and is read-only.
    """
    if hasattr(array, "__cuda_ndarray__"):
        return array
    has_dlpack = hasattr(array, "__dlpack__")
    interface = None
    if not has_dlpack or hasattr(type(array), "__cuda_array_interface__"):
        interface = array.__cuda_array_interface__
    if interface is None or (has_dlpack and "stream" not in interface):
        return imported(array, to_write=to_write)
    if to_write and interface["data"][1]:
        raise ValueError(f"a {type(array).__name__} for the result is read-only")
    return cuda.as_cuda_array(array).bind(0)


def as_kind_of(like: Any, array: Any) -> Any:
    """A device array as the kind of array that `like` is: one of NumPy if that is on the host."""
    if not is_device_array(like):
        return array.copy_to_host()
    package = type(like).__module__.partition(".")[0]
    wrap = _WRAPPERS.get(package)
    if wrap is not None:
        return wrap(sys.modules[package], array, like)
    if hasattr(like, "__cuda_ndarray__"):
        return array
    # The array API standard's name for the module with an array's functions; JAX has it in another package.
    ask = getattr(like, "__array_namespace__", None)
    module = sys.modules.get(package) if ask is None else ask()
    take = getattr(module, "from_dlpack", None)
    return array if take is None else take(exported(array))


def _overlap(a: Any, b: Any) -> bool:
    """Whether two contiguous device arrays share memory."""
    if not a.size or not b.size:
        return False
    if SIMULATED:
        return np.may_share_memory(np.asarray(a._ary), np.asarray(b._ary))
    first, second = (x.__cuda_array_interface__["data"][0] for x in (a, b))
    return first < second + b.size * b.dtype.itemsize and second < first + a.size * a.dtype.itemsize


def as_dtype(array: Any, dtype: np.dtype) -> Any:
    """A contiguous copy of a device array, in another dtype.

    Raises
    ------
    ValueError
        It has more than two dimensions and is not contiguous.
    """
    target = cuda.device_array(array.shape, dtype)
    if not target.size:
        return target
    source, copied = array, target
    if target.ndim > 2:
        if not array.is_c_contiguous():
            raise ValueError("an array of a GPU with more than two dimensions must be C-contiguous")
        source, copied = array.reshape(array.size), target.reshape(target.size)
    copy = _copy_vector if copied.ndim == 1 else _copy_matrix
    copy[blocks_per_grid(target.size, _THREADS), _THREADS](source, copied)
    return target
