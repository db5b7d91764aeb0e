"""The one file that imports numba.cuda and cuda.core: decorators, and stand-ins where there is no GPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import numba
import numpy as np

from fastnn.kernels.cuda.runtime.extra import missing

if find_spec("numba_cuda") is None:
    raise ImportError(missing("numba-cuda"))

from numba import cuda
from numba.cuda.core import config
from numba.cuda.extending import intrinsic
from numba.cuda.extending import overload as cuda_overload

# Else numba-cuda warns of every launch of less than 128 blocks: small problems are usual here, and the launch
# is not the user's.
config.CUDA_LOW_OCCUPANCY_WARNINGS = 0

# The simulator runs a kernel's threads as threads of Python, without a GPU: for tests of small shapes.
SIMULATED = bool(numba.config.ENABLE_CUDASIM)

# Of what is read 16 bytes at a time; the simulator knows of no alignment.
ALIGNMENT = None if SIMULATED else 16

__all__ = [
    "ALIGNMENT",
    "SIMULATED",
    "block_side",
    "block_threads",
    "compiled_for",
    "cooperative_blocks",
    "copy_stream",
    "cuda",
    "device_function",
    "event",
    "exported",
    "free_memory",
    "imported",
    "intrinsic",
    "kernel",
    "multiprocessors",
    "on_device",
    "overload",
]


def _core(module: str) -> Any:
    """A module of cuda.core, which little needs."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        raise ImportError(missing("cuda-core")) from error


def block_threads(n: int) -> int:
    """Threads of a block: n, a power of 2; in the simulator, where each is one of Python's, a sixteenth."""
    return max(1, n // 16) if SIMULATED else n


def block_side(n: int) -> int:
    """Threads along each side of a square block: n, a power of 2; a quarter in the simulator."""
    return n // 4 if SIMULATED else n


def _require_device(ordinal: int) -> None:
    """Make sure that there is this device.

    Raises
    ------
    RuntimeError
        The driver or the device is missing; the message says which, and how to get it.
    """
    try:
        count = 1 if SIMULATED else len(cuda.gpus)
    except cuda.CudaSupportError as error:
        said = " ".join(str(error).split()).rstrip(": ")
        raise RuntimeError(
            "device='cuda' needs an NVIDIA GPU and its driver, version 580 or later "
            f"(https://www.nvidia.com/drivers). There is no driver, or it does not answer: {said}"
        ) from error
    if ordinal >= count:
        found = "no device" if count == 0 else f"{count}, 'cuda:0' to 'cuda:{count - 1}'"
        raise RuntimeError(f"there is no device 'cuda:{ordinal}': the driver finds {found}")


@contextmanager
def on_device(ordinal: int) -> Iterator[None]:
    """Make a device the current one inside the ``with`` block.

    Raises
    ------
    RuntimeError
        A package, the driver or the device is missing.
    MemoryError
        What the block does needs more memory than the device has left.
    """
    _require_device(ordinal)
    try:
        with cuda.gpus[ordinal]:
            yield
    except Exception as error:
        # The class of the driver's errors depends on the version; the name of the error does not.
        if "OUT_OF_MEMORY" not in str(error):
            raise
        raise MemoryError(
            f"'cuda:{ordinal}', or the host's page-locked memory, has too little room for these data; other "
            "arrays there, or other processes, may hold the rest."
        ) from error


def kernel(function: Callable[..., Any], launch_bounds: tuple[int, int] | None = None) -> Any:
    """Compile a kernel at its first launch, for the types of its arguments.

    launch_bounds : threads of a block at most, and blocks that a multiprocessor has room for at least
    """
    return cuda.jit(function) if SIMULATED else cuda.jit(launch_bounds=launch_bounds)(function)


@cache
def device_function(function: Callable[..., Any]) -> Any:
    """A function for kernels, inlined into them."""
    return cuda.jit(device=True, inline="always")(function)


def overload(function: Callable[..., Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """``numba.extending.overload`` for these kernels only; the simulator calls the Python function itself."""
    return cuda_overload(function, target="cuda")


def multiprocessors() -> int:
    """Multiprocessors of the current device; a few in the simulator."""
    return 16 if SIMULATED else cuda.get_current_device().MULTIPROCESSOR_COUNT


@cache
def compiled_for(function: Any, signature: tuple[Any, ...]) -> Any:
    """A kernel compiled now, for the current device and for arguments of these types alone.

    Its launches do not find out the types of what they are given, which of named tuples takes 40 us.
    """
    if SIMULATED:
        return function
    options = function.targetoptions
    return cuda.jit(signature, launch_bounds=options["launch_bounds"])(function.py_func)


def cooperative_blocks(function: Any, signature: tuple[Any, ...], threads: int) -> int:
    """Blocks of so many threads that can all be on the current device at once, and so wait for each other.

    function : of ``compiled_for``
    """
    return function.overloads[signature].max_cooperative_grid_blocks(threads)


def free_memory() -> float:
    """Bytes of the current device that are free; without bound in the simulator."""
    context = cuda.current_context()
    if not SIMULATED:
        context.deallocations.clear()  # what Numba has put off to free
    return context.get_memory_info().free


def copy_stream(ordinal: int) -> Any:
    """A stream of the current device that neither waits for the default stream nor makes that wait.

    Numba's own streams do both, so that a copy on one would wait for all kernels before it.
    """
    if SIMULATED:
        return cuda.stream()
    core = _core("cuda.core")
    device = core.Device(ordinal)
    device.set_current()  # as it is for Numba, in the same context; cuda.core asks for it in every thread
    owner = device.create_stream(options=core.StreamOptions(nonblocking=True))
    stream = cuda.external_stream(int(owner.handle))
    stream.owner = owner  # which ends the stream when it goes
    return stream


def event() -> Any:
    """A point in a stream, for others to wait for."""
    return cuda.event() if SIMULATED else cuda.event(timing=False)


def imported(array: Any, *, to_write: bool = False) -> Any:
    """An array of another package that lies on a device, by way of DLPack: the same memory, not a copy.

    The producer makes the default stream wait for what it still has to write.

    Raises
    ------
    BufferError
        The producer does not let go of it.
    ValueError
        It is to be written to and is read-only.
    """
    # The number 1 is the default stream in DLPack.
    view = _core("cuda.core.utils").StridedMemoryView.from_dlpack(array, stream_ptr=1)
    if to_write and view.readonly:
        raise ValueError(f"a {type(array).__name__} for the result is read-only")
    dtype = np.dtype(view.dtype)
    strides = None if view.strides is None else tuple(dtype.itemsize * step for step in view.strides)
    description = {
        "shape": tuple(view.shape),
        "strides": strides,
        "typestr": dtype.str,
        "data": (view.ptr, view.readonly),
        "version": 3,
    }
    if not SIMULATED:
        return cuda.from_cuda_array_interface(description, owner=view, sync=False)
    from numba.cuda.simulator.cudadrv.devicearray import FakeCUDAArray

    return FakeCUDAArray(np.asarray(_SimulatedMemory(view, description)))


class _SimulatedMemory:
    """What the simulator takes for memory of a device, as NumPy reads it."""

    def __init__(self, owner: Any, description: dict[str, Any]) -> None:
        self.owner, self.__array_interface__ = owner, description


def exported(array: Any) -> Any:
    """A device array as an object with ``__dlpack__``, when all that is queued on it is done."""
    cuda.default_stream().synchronize()
    if SIMULATED:
        return array
    return _core("cuda.core.utils").StridedMemoryView.from_cuda_array_interface(array, stream_ptr=-1)
