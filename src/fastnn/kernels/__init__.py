"""The compiled kernels: arrays in, arrays of the same kind out.

::

    linear_forward      training step         assign            exp log tanh
    linear_backward     and prediction        update_centers    logistic
          |                   |                     |               |
          +---  cpu/network  -+                cpu/clustering   cpu/elementary
                      |                             |               |
                      +-----------------------------+---------------+---- tables (scalar functions)
                                         |
             cpu/dispatch, compiler/linked   C functions by name or address
                                         |
                                  simd       products, minima, moves in registers: LLVM IR
                                         |
                         compiler/targets    one row per instruction set

`compiler` compiles, links and caches, `shared` is what both devices use, `contract` says what engines ask
of a device. Twins for NVIDIA GPUs, by the same names, are in `cuda`. A caller's arrays, or the parameter
`device`, choose between the two here, and nothing of CUDA is imported before that::

    assign(X, C)                    X, C: NumPy arrays              -> cpu
                                    one lies on a GPU               -> cuda, on that device
    assign(X, C, device="cuda:1")   wherever they lie               -> cuda, on device 1
"""

import inspect
from collections.abc import Callable
from functools import wraps
from importlib import import_module
from typing import Any

import numba
import numpy as np

if numba.config.DISABLE_JIT:
    raise ImportError("fastnn is compiled by Numba and cannot run with NUMBA_DISABLE_JIT=1")

from fastnn.kernels.shared.device_rows import DeviceRows, dlpack_device, is_device_array

_DEVICE_DOC = """device : {"cpu", "cuda", "cuda:0", "cuda:1", ...}, default=None
    Where to compute. None follows the data: the CPU for NumPy arrays, the GPU where an array lies on one
    (CuPy, PyTorch, JAX, or whatever has ``__cuda_array_interface__`` or DLPack). Arrays that lie on the GPU
    are used in place if they are contiguous and of one float type, and results come back as the same kind of
    array.
    Work is queued on the device's default stream: wait for data that another stream makes.
"""
_PRECISION_DOC = """precision : {None, "tf32"}, default=None
    "tf32" lets a GPU of compute capability 8.0 or later multiply float32 on its tensor cores, with factors
    rounded to 11 significant bits. """
# What that does to the results.
_IN_TF32 = {
    "assign": "The labels are as exact as without: where the rounding could have chosen one, float32 does.\n",
    "linear_forward": "Sums of products have errors of about 1e-3 of their terms.\n",
    "linear_backward": "Sums of products have errors of about 1e-3 of their terms.\n",
}


# What lies on no GPU, as arguments go.
_ON_HOST = frozenset({np.ndarray, type(None), tuple, list, str, bool, int})


def _of_data(arrays: tuple[Any, ...]) -> int | None:
    """Number of the CUDA device on which some of the arrays lie; None if all lie on the host.

    Raises
    ------
    ValueError
        They lie on several.
    """
    found: int | None = None
    # A plain loop, and the usual types first: a small kernel's call takes 10 us.
    for array in arrays:
        if type(array) in _ON_HOST:
            if type(array) is tuple and (number := _of_data(array)) is not None:  # of several results
                found = _same(found, number)
            continue
        if is_device_array(array):
            number = dlpack_device(array)
            if number is None:
                # The names of a device's number in Numba, which has no DLPack, and in packages like CuPy.
                place = getattr(array, "device", None)
                if place is None:
                    place = getattr(
                        getattr(getattr(array, "gpu_data", None), "context", None), "device", None
                    )
                number = getattr(place, "index", getattr(place, "id", None))
                number = number if isinstance(number, int) else (found or 0)
            found = _same(found, number)
    return found


def _same(found: int | None, number: int) -> int:
    if found not in (None, number):
        raise ValueError(f"arrays lie on 'cuda:{found}' and on 'cuda:{number}'.")
    return number


def device_number(device: str | None, arrays: tuple[Any, ...]) -> int | None:
    """Number of the CUDA device on which to compute; None for the CPU.

    Parameters
    ----------
    device : str or None
        As of every kernel and estimator.
    arrays : tuple
        The data, which None follows.

    Raises
    ------
    ValueError
        There is no device of such a name, or the arrays lie on another GPU.
    """
    if device is None:
        return _of_data(arrays)
    if device == "cpu":
        return None
    kind, _, number = device.partition(":") if isinstance(device, str) else ("", "", "")
    if kind != "cuda" or (number and not number.isdecimal()) or device == "cuda:":
        raise ValueError(f"device must be None, 'cpu', 'cuda' or 'cuda:<number>', got {device!r}.")
    found = _of_data(arrays)
    if number and found not in (None, int(number)):
        raise ValueError(f"device is {device!r}, and an array lies on 'cuda:{found}'.")
    return int(number or found or 0)


def check_precision(precision: Any) -> None:
    """Make sure that there is such a precision.

    Raises
    ------
    ValueError
        There is none.
    """
    if precision not in (None, "tf32"):
        raise ValueError(f"precision must be None or 'tf32', got {precision!r}.")


def _cuda() -> Any:
    """The package for GPUs, imported when it is first needed."""
    return import_module("fastnn.kernels.cuda")


def device_rows(X: Any, number: int, precision: str | None = None) -> DeviceRows:
    """An array (n, d) on a CUDA device, where the engines work on it, in this precision."""
    return _cuda().device_rows(X, number, precision)


def to_host(array: Any) -> Any:
    """An array that lies on a GPU as one of NumPy; any other as it is."""
    if not is_device_array(array):
        return array
    cuda = _cuda()
    with cuda.on_device(_of_data((array,))):
        return cuda.to_host(array)


def to_kind_of(like: Any, array: np.ndarray, device: str | None) -> Any:
    """What was computed from `like` as an array of its kind, if that was on a GPU and it has numbers."""
    number = device_number(device, (like,))
    is_numbers = isinstance(array, np.ndarray) and array.dtype.kind in "biuf"  # no sparse matrix, no strings
    if number is None or not is_device_array(like) or not is_numbers:
        return array
    return _cuda().to_kind_of(like, array, number)


def _on_the_device_of_its_data(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel of the CPU, with a parameter `device` by which its CUDA twin takes its place.

    And with `precision`, which only the twin takes, where there are products.
    """

    name = function.__name__
    multiplies = name in _IN_TF32

    @wraps(function)
    def chosen(*arguments: Any, device: str | None = None, **options: Any) -> Any:
        precision = options.pop("precision", None) if multiplies else None
        check_precision(precision)
        number = device_number(device, (*arguments, *options.values()))
        if number is None:
            return function(*arguments, **options)
        cuda = _cuda()
        if multiplies:
            options["precision"] = precision
        with cuda.on_device(number):
            return getattr(cuda, name)(*arguments, **options)

    parameters = [*inspect.signature(function).parameters.values()]
    for added in ("device", "precision")[: 1 + multiplies]:
        kind = inspect.Parameter.KEYWORD_ONLY
        parameters.append(inspect.Parameter(added, kind, default=None, annotation="str | None"))
    chosen.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    before, heading, after = inspect.cleandoc(function.__doc__ or "").partition("\nReturns\n")
    precision_doc = _PRECISION_DOC + _IN_TF32[name] if multiplies else ""
    chosen.__doc__ = before.rstrip() + "\n" + _DEVICE_DOC + precision_doc + heading + after
    return chosen


# A function -> the module below `cpu` that holds it. Each is loaded when it is first asked for, so that one
# who trains networks does not wait for the kernels of k-means.
_HOMES = {
    "assign": "clustering.kmeans",
    "exp": "elementary",
    "linear_backward": "network.linear",
    "linear_forward": "network.linear",
    "log": "elementary",
    "logistic": "elementary",
    "tanh": "elementary",
    "update_centers": "clustering.kmeans",
}

assign: Callable[..., Any]
exp: Callable[..., Any]
linear_backward: Callable[..., Any]
linear_forward: Callable[..., Any]
log: Callable[..., Any]
logistic: Callable[..., Any]
tanh: Callable[..., Any]
update_centers: Callable[..., Any]

__all__ = ["assign", "exp", "linear_backward", "linear_forward", "log", "logistic", "tanh", "update_centers"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = import_module(f"fastnn.kernels.cpu.{_HOMES[name]}")
    # Two threads that ask at once are given one function.
    return globals().setdefault(name, _on_the_device_of_its_data(getattr(home, name)))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
