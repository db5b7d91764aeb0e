"""The one file that imports numba.cuda: its decorators, and what is missing where there is no GPU."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from typing import Any

import numba

if find_spec("numba_cuda") is None:
    raise ImportError("a CUDA device needs the package numba-cuda: pip install 'fastnn[cuda]'")

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
    "cooperative_blocks",
    "cuda",
    "device_function",
    "intrinsic",
    "kernel",
    "multiprocessors",
    "on_device",
    "overload",
]


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
        raise RuntimeError(
            "device='cuda' needs an NVIDIA GPU and its driver, version 580 or later "
            f"(https://www.nvidia.com/drivers). There is no driver, or it does not answer: {error}"
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
            f"'cuda:{ordinal}' has too little free memory for these data; other arrays on it, or other "
            "processes, may hold the rest."
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


def cooperative_blocks(function: Any, signature: tuple[Any, ...], threads: int) -> int:
    """Blocks of so many threads that can all be on the current device at once, and so wait for each other."""
    if not SIMULATED:
        function.compile(signature)
    return function.overloads[signature].max_cooperative_grid_blocks(threads)
