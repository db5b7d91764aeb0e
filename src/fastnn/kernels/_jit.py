"""The one decorator of every compiled function: compiler flags and cache policy.

Numba's own file cache has three holes that this module closes:

* a cached caller keeps the old code of a callee that changed in another file (numba issues 1833, 9304): an
  index here is valid for one hash of all the package's sources, and its keys hold the SIMD row in force;
* ``cache=True`` raises at import when no directory is writable (5566, 8755), and a damaged file raises at
  the first call: here the one means compiling in every process, with one warning, the other compiling again;
* nothing can switch it off without editing code: ``FASTNN_CACHE=0`` does.
"""

import gc
import hashlib
import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import (
    CompileResultCacheImpl,
    FunctionCache,
    IndexDataCacheFile,
    NullCache,
    make_library_cache,
)
from numba.extending import register_jitable

from fastnn.kernels import _link as link
from fastnn.kernels._entry import check_entry
from fastnn.kernels._threads import threading_layer
from fastnn.kernels.cpu import targets

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

_CACHE_ENABLED = os.environ.get("FASTNN_CACHE", "1") not in ("0", "")


@cache
def sources_hash() -> str:
    """Hash of every source file that can shape code for the CPU: the estimators hold none."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        name = path.relative_to(root).as_posix()
        if not name.startswith(("estimators/", "kernels/cuda/")):
            digest.update(name.encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()


@cache
def _warn_once(reason: str) -> None:
    warnings.warn(
        f"fastnn compiles its kernels anew in every process: {reason}. Set NUMBA_CACHE_DIR to a writable "
        "directory to keep them, or FASTNN_CACHE=0 to silence this warning.",
        RuntimeWarning,
        stacklevel=2,
    )


_Base: Any = object  # a mixin: Numba's caches stand behind it


class _Linked(CompileResultCacheImpl):
    """Keeps the list of linked symbols with a compiled function, and makes them known before it is loaded."""

    def reduce(self, cres: Any) -> Any:
        return link.required_symbols(cres.library), super().reduce(cres)

    def rebuild(self, target_context: Any, payload: Any) -> Any:
        symbols, reduced = payload
        for symbol in symbols:
            link.require(symbol)
        return super().rebuild(target_context, reduced)


class _PackageCacheMixin(_Base):
    """Ties a cache to the sources of the whole package, and survives what is wrong with its files."""

    def __init__(self, py_func: Any, extra: Any = None) -> None:
        self._extra = (targets.ROW.name, extra)
        super().__init__(py_func)
        # An index with another stamp is written anew, so the code of former versions goes with it.
        self._cache_file = IndexDataCacheFile(
            cache_path=self._cache_path,
            filename_base=self._impl.filename_base,
            source_stamp=(self._impl.locator.get_source_stamp(), sources_hash()),
        )

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), self._extra)

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        # A truncated or foreign file can raise nearly anything on its way through pickle.
        try:
            return super().load_overload(sig, target_context)
        except Exception:
            return None

    def save_overload(self, sig: Any, data: Any) -> None:
        try:
            super().save_overload(sig, data)
        except OSError as error:
            _warn_once(f"the cache cannot be written ({error})")
        except Exception:
            # Saving reads the index first, and this one is damaged: start it anew.
            try:
                self._cache_file.flush()
                super().save_overload(sig, data)
            except OSError as error:
                _warn_once(f"the cache cannot be written ({error})")


class PackageCache(_PackageCacheMixin, FunctionCache):
    """Numba's function cache, keyed by the sources of the whole package."""

    _impl_class = _Linked


_TileCache: Any = make_library_cache("tile")


class LibraryCache(_PackageCacheMixin, _TileCache):
    """The same for a library that holds plain LLVM functions."""


def _open_cache(cache_class: Any, function: Any, extra: Any) -> Any:
    if not _CACHE_ENABLED:
        return NullCache()
    try:
        return cache_class(function, extra)
    except (RuntimeError, OSError) as error:
        _warn_once(str(error))
        return NullCache()


def function_cache(function: Any, extra: Any = None) -> Any:
    """Disk cache for a compiled function of the file of `function`; `extra` goes into its key."""
    return _open_cache(PackageCache, function, extra)


def library_cache(function: Any) -> Any:
    """Disk cache for libraries of plain LLVM functions, kept beside the file of `function`."""
    return _open_cache(LibraryCache, function, None)


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

    Called as ``kernel(parallel, *arguments)``; ``parallel`` is what ``_threads.threads_for`` yields. Numba's
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
def no_collection() -> Iterator[None]:
    """Let Python's garbage collector rest.

    It would walk all that Numba builds, again and again, and free little.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _dispatcher(function: Callable[..., Any], *, parallel: bool) -> Any:
    dispatcher = numba.njit(**compiler_options(parallel=parallel))(function)
    dispatcher._cache = function_cache(function, parallel)
    compile_or_load = dispatcher.compile
    compile_for_a_call = dispatcher._compile_for_args

    def enter_and_compile(*arguments: Any, **options: Any) -> Any:
        check_entry()
        return compile_for_a_call(*arguments, **options)

    def prepare_and_compile(signature: Any) -> Any:
        if parallel:
            # Numba starts its threads when parallel code is compiled or loaded, not only when it runs.
            threading_layer()
        with no_collection():
            return compile_or_load(signature)

    dispatcher.compile = prepare_and_compile
    # Asked for by a call from Python alone; a caller that is compiled asks for `compile`.
    dispatcher._compile_for_args = enter_and_compile
    return dispatcher
