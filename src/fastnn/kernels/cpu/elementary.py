"""Elementary functions of whole arrays."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.shared.arrays import plain
from fastnn.tables import elementary


@jit
def _exp(x, out):
    for i in range(x.size):
        out[i] = elementary.exp(x[i])


@jit
def _log(x, out):
    for i in range(x.size):
        out[i] = elementary.log(x[i])


@jit
def _tanh(x, out):
    for i in range(x.size):
        out[i] = elementary.tanh(x[i])


@jit
def _logistic(x, out):
    for i in range(x.size):
        out[i] = elementary.logistic(x[i])


def _elementwise(loop: Callable[..., Any], x: ArrayLike, out: NDArray[Any] | None) -> NDArray[Any]:
    x = np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise TypeError(f"x must be an array of real numbers, got dtype {x.dtype}")
    dtype = np.dtype(np.float32) if x.dtype.char == "f" else np.dtype(np.float64)
    if out is None:
        out = np.empty(x.shape, dtype)
    elif not isinstance(out, np.ndarray) or out.dtype != dtype or out.shape != x.shape:
        found = f"{out.dtype} {out.shape}" if isinstance(out, np.ndarray) else type(out).__name__
        raise ValueError(f"out must be an ndarray of dtype {dtype} and shape {x.shape}, got {found}")
    elif not out.flags.writeable:
        raise ValueError("out must be writeable")
    # The loop runs over flat memory, and, as LLVM's check for overlap finds the scalar loop otherwise, into
    # memory of its own.
    separate = out.flags.c_contiguous and not np.may_share_memory(x, out)
    result = out if separate else np.empty(x.shape, dtype)
    loop(plain(x, dtype).reshape(-1), result.reshape(-1))
    if result is not out:
        np.copyto(out, result)
    return out


def exp(x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Exponential function, elementwise.

    Parameters
    ----------
    x : array-like of real numbers
        Any shape and memory layout. float32 and float64 are kept, other types become float64.
    out : ndarray, optional
        Where to write the result; it has the shape of `x` and the result's dtype, and may be `x` itself.

    Returns
    -------
    a : ndarray of float32 or float64, of the shape of x
        `out`, if given. At most 1.1 ulp from the exact value; 0, subnormal, infinite and NaN as
        ``numpy.exp`` has it.

    Raises
    ------
    TypeError
        `x` does not hold real numbers.
    ValueError
        `out` has another shape or dtype, or cannot be written to.
    """
    return _elementwise(_exp, x, out)


def log(x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Natural logarithm, elementwise.

    Parameters
    ----------
    x : array-like of real numbers
        Any shape and memory layout. float32 and float64 are kept, other types become float64.
    out : ndarray, optional
        Where to write the result; it has the shape of `x` and the result's dtype, and may be `x` itself.

    Returns
    -------
    a : ndarray of float32 or float64, of the shape of x
        `out`, if given. At most 0.9 ulp from the exact value; -inf for 0 and NaN below 0, without a warning.

    Raises
    ------
    TypeError
        `x` does not hold real numbers.
    ValueError
        `out` has another shape or dtype, or cannot be written to.
    """
    return _elementwise(_log, x, out)


def tanh(x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Hyperbolic tangent, elementwise.

    Parameters
    ----------
    x : array-like of real numbers
        Any shape and memory layout. float32 and float64 are kept, other types become float64.
    out : ndarray, optional
        Where to write the result; it has the shape of `x` and the result's dtype, and may be `x` itself.

    Returns
    -------
    a : ndarray of float32 or float64, of the shape of x
        `out`, if given. At most 2.6 ulp from the exact value, near 0 too.

    Raises
    ------
    TypeError
        `x` does not hold real numbers.
    ValueError
        `out` has another shape or dtype, or cannot be written to.
    """
    return _elementwise(_tanh, x, out)


def logistic(x: ArrayLike, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Logistic function ``1 / (1 + exp(-x))``, elementwise.

    Parameters
    ----------
    x : array-like of real numbers
        Any shape and memory layout. float32 and float64 are kept, other types become float64.
    out : ndarray, optional
        Where to write the result; it has the shape of `x` and the result's dtype, and may be `x` itself.

    Returns
    -------
    a : ndarray of float32 or float64, of the shape of x
        `out`, if given. At most 2.3 ulp from the exact value, in the tail of very negative `x` too, where the
        result becomes subnormal.

    Raises
    ------
    TypeError
        `x` does not hold real numbers.
    ValueError
        `out` has another shape or dtype, or cannot be written to.
    """
    return _elementwise(_logistic, x, out)
