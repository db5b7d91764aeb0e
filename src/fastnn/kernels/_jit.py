"""The one decorator of every compiled function: compiler flags and cache policy.

Numba's own file cache has three holes that this module closes:

* a cached caller keeps the old code of a callee that changed in another file (numba issues 1833, 9304): the
  key of every entry here holds a hash of all the package's sources and the SIMD row in force;
* ``cache=True`` raises at import when no directory is writable (5566, 8755), and a damaged file raises at
  the first call: here both mean compiling again, with one warning;
* nothing can switch it off without editing code: ``FASTNN_CACHE=0`` does.
"""

import hashlib
import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import FunctionCache

from fastnn.kernels.cpu import targets

# "contract" lets a multiplication and an addition become one FMA. Nothing stronger: "nnan" and "ninf" would
# break the handling of NaN and infinity, "reassoc" the error bounds of the elementary functions.
FASTMATH = frozenset({"contract"})
# For sums that may be split over vector lanes. The split is fixed at compile time, so results stay
# reproducible.
FASTMATH_SUMS = frozenset({"contract", "reassoc", "nsz"})

_CACHE_ENABLED = os.environ.get("FASTNN_CACHE", "1") not in ("0", "")


@cache
def sources_hash() -> str:
    """Hash of every source file of the package and of what shapes the generated code."""
    root = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256(targets.ROW.name.encode())
    for path in sorted(root.rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
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


class PackageCache(FunctionCache):  # type: ignore[misc]
    """Numba's function cache, keyed by the sources of the whole package."""

    def _index_key(self, sig: Any, codegen: Any) -> Any:
        return (*super()._index_key(sig, codegen), sources_hash())

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


def jit(
    function: Callable[..., Any] | None = None, *, sums: bool = False, parallel: bool = False, **options: Any
) -> Any:
    """Compile a kernel at its first call.

    Parameters
    ----------
    function : callable
        The Python function; absent when used with arguments.
    sums : bool, default=False
        The function's sums may be split over vector lanes.
    parallel : bool, default=False
        The function uses ``numba.prange``.
    **options : dict
        Further options of ``numba.njit``.

    Returns
    -------
    dispatcher : numba dispatcher
    """
    if function is None:
        return lambda f: jit(f, sums=sums, parallel=parallel, **options)
    flags = FASTMATH_SUMS if sums else FASTMATH
    dispatcher = numba.njit(
        fastmath=set(flags), error_model="numpy", nogil=True, parallel=parallel, **options
    )(function)
    if _CACHE_ENABLED:
        try:
            dispatcher._cache = PackageCache(function)
        except (RuntimeError, OSError) as error:
            _warn_once(str(error))
    return dispatcher
