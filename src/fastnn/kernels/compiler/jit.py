"""The one decorator of every compiled function: compiler flags, and the cache of its code."""

import gc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numba

from fastnn.kernels.compiler.cache import FunctionCache
from fastnn.kernels.compiler.entry import check_entry
from fastnn.kernels.compiler.notice import stopwatch
from fastnn.kernels.shared.threads import threading_layer
from fastnn.tables.jitable import register_jitable

# "contract" lets a multiplication and an addition become one FMA. Nothing stronger: "nnan" and "ninf" would
# break the handling of NaN and infinity, "reassoc" the error bounds of the elementary functions.
FASTMATH = frozenset({"contract"})
# For sums that may be split over vector lanes. The split is fixed at compile time, so results stay
# reproducible.
FASTMATH_SUMS = frozenset({"contract", "reassoc", "nsz"})


def sums_in_any_order(function: Callable[..., Any]) -> Any:
    """Decorator of a function for kernels whose sums the compiler may split over vector lanes.

    Always inlined. Left a function of its own, it would stand in its callers, split one way, and by
    itself, split another way: in the process that compiles LLVM may call the one, in those that load the
    callers from the cache the other, and the last bit of a sum would differ.
    """
    return register_jitable(forceinline=True, fastmath=set(FASTMATH_SUMS))(function)


# Only explicit prange loops run in parallel: Numba would otherwise turn every slice assignment of the same
# function into a parallel region of its own.
PARALLEL = {
    "prange": True,
    "comprehension": False,
    "reduction": False,
    "inplace_binop": False,
    "setitem": False,
    "numpy": False,
    "stencil": False,
    "fusion": False,
}


def compiler_options(*, parallel: bool = False) -> dict[str, Any]:
    """Options of ``numba.njit`` for every compiled function of the package."""
    return {
        "fastmath": set(FASTMATH),
        "error_model": "numpy",
        "nogil": True,
        "parallel": PARALLEL if parallel else False,
    }


def jit(function: Callable[..., Any]) -> Any:
    """Compile a kernel at its first call.

    Parameters
    ----------
    function : callable
        The Python function.

    Returns
    -------
    dispatcher : numba dispatcher
    """
    return _dispatcher(function, parallel=False)


class parallel_jit:
    """Compile a kernel with ``prange`` loops twice, each at its first call: without threads, and with.

    Called as ``kernel(parallel, *arguments)``; ``parallel`` is what ``threads.threads_for`` yields. Numba's
    parallel region costs several times the serial loop to compile, so who only has small problems never pays
    for it.

    Parameters
    ----------
    function : callable
        The Python function, without the flag.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.__doc__ = function.__doc__
        self.__name__ = function.__name__
        self.serial = _dispatcher(function, parallel=False)
        self.threaded = _dispatcher(function, parallel=True)

    def __call__(self, parallel: bool, *arguments: Any) -> Any:
        return (self.threaded if parallel else self.serial)(*arguments)


@contextmanager
def compiling() -> Iterator[None]:
    """What surrounds compiling a function, or loading it.

    Python's garbage collector rests: it would walk all that Numba builds, again and again, and free little.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    except BaseException:
        stopwatch.reset()
        raise
    finally:
        if enabled:
            gc.enable()


def _dispatcher(function: Callable[..., Any], *, parallel: bool) -> Any:
    dispatcher = numba.njit(no_cfunc_wrapper=True, **compiler_options(parallel=parallel))(function)
    dispatcher._cache = FunctionCache(function, parallel)
    compile_or_load = dispatcher.compile
    compile_for_a_call = dispatcher._compile_for_args

    def enter_and_compile(*arguments: Any, **options: Any) -> Any:
        check_entry()
        return compile_for_a_call(*arguments, **options)

    def prepare_and_compile(signature: Any) -> Any:
        if parallel:
            # Numba starts its threads when parallel code is compiled or loaded, not only when it runs.
            threading_layer()
        with compiling():
            return compile_or_load(signature)

    dispatcher.compile = prepare_and_compile
    # Asked for by a call from Python alone; a caller that is compiled asks for `compile`.
    dispatcher._compile_for_args = enter_and_compile
    return dispatcher
