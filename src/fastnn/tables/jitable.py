"""The decorator of the functions that kernels are made of, on every device."""

from collections.abc import Callable
from typing import Any

from numba import extending


def register_jitable(function: Callable[..., Any] | None = None, **options: Any) -> Any:
    """Numba's decorator of this name, without the wrapper for C that it compiles for every such function.

    Nothing calls that one, and it is a tenth of what compiling takes.
    """
    decorate = extending.register_jitable(no_cfunc_wrapper=True, **options)
    return decorate if function is None else decorate(function)
