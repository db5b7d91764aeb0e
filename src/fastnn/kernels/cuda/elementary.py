"""Elementary functions of whole arrays, on the current device. A thread has an element."""

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np

from fastnn.kernels.cuda import scalars as scalars  # what the functions are, in kernels
from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, kernel
from fastnn.kernels.cuda.runtime.memory import Arguments, blocks_per_grid, dtype_of
from fastnn.tables import elementary

_THREADS = block_threads(256)


@cache
def elementwise_kernel(function: Callable[..., Any]) -> Any:
    """out = function(x), on flat arrays."""

    @kernel
    def elementwise(x, out):
        i = cuda.grid(1)
        if i < x.shape[0]:
            out[i] = function(x[i])

    return elementwise


def _elementwise(function: Callable[..., Any], x: Any, out: Any) -> Any:
    found = dtype_of(x)
    if found.kind not in "fiub":
        raise TypeError(f"x must be an array of real numbers, got dtype {found}")
    arguments = Arguments(x)
    dtype = np.dtype(np.float32) if found.char == "f" else np.dtype(np.float64)
    shape = tuple(np.shape(x))
    values = arguments.matrix(x, "x", shape, dtype)
    # `out` may be x itself: an element is read before it is written, by one thread.
    result = arguments.output(out, shape, dtype, "out")
    if values.size:
        grid = blocks_per_grid(values.size, _THREADS), _THREADS
        elementwise_kernel(function)[grid](values.reshape(values.size), result.reshape(values.size))
    return arguments.result(result, out)


def exp(x: Any, out: Any = None) -> Any:
    """The twin of the CPU's ``exp``."""
    return _elementwise(elementary.exp, x, out)


def log(x: Any, out: Any = None) -> Any:
    """The twin of the CPU's ``log``."""
    return _elementwise(elementary.log, x, out)


def tanh(x: Any, out: Any = None) -> Any:
    """The twin of the CPU's ``tanh``."""
    return _elementwise(elementary.tanh, x, out)


def logistic(x: Any, out: Any = None) -> Any:
    """The twin of the CPU's ``logistic``."""
    return _elementwise(elementary.logistic, x, out)
