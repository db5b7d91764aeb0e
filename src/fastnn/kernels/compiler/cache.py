"""Numba's compiled functions, and libraries of plain LLVM functions, in the store on disk.

Numba's own file cache is not used. Its index says "key -> number of a file" and is written before the file,
without a lock; a full disk, a kill or a second writer leaves another function's code under a key, to be run
by every later process. A cached caller keeps the old code of a callee that changed in another file (numba
issues 1833, 9304), and a directory that cannot be written to is not read. Here a file's content is bound to
its name (``store``), the stamp is that of all the package's sources (``sources``), and reading is not
writing (``places``).

What goes wrong with a file means compiling again; what goes wrong elsewhere while a file is read or written
is not caught: a signal's handler may raise at any place.
"""

import hashlib
import os
import pickle
from collections.abc import Callable
from functools import cache
from typing import Any

from numba.core.compiler import CompileResult
from numba.core.errors import NumbaWarning
from numba.core.serialize import dumps

from fastnn.kernels.compiler import link, targets
from fastnn.kernels.compiler.notice import stopwatch, warn_that_code_is_lost
from fastnn.kernels.compiler.places import Place, is_trusted, places, trusts_everybody
from fastnn.kernels.compiler.sources import stamp
from fastnn.kernels.compiler.store import Store, directory_name, raised_by_the_system
from fastnn.kernels.shared.user_warnings import warn

_ENABLED = os.environ.get("FASTNN_CACHE", "1") not in ("0", "")


def _places() -> tuple[Place, ...]:
    return places(directory_name(stamp()))


@cache
def _store(place: Place) -> Store:
    return Store(place.path, stamp(), lambda status: trusts_everybody() or is_trusted(status))


def _stores() -> list[tuple[Store, str | None]]:
    """A store for each place, in order, and why it is not to be trusted."""
    return [(_store(place), place.distrust()) for place in _places()]


def _read(label: str, key: bytes) -> bytes | None:
    """The payload of a key, from the first directory that has it."""
    for store, distrust in _stores() if _ENABLED else ():
        if distrust:
            warn_that_code_is_lost(distrust)
            return None
        try:
            payload = store.load(label, key)
        except OSError as error:
            if not raised_by_the_system(error):
                raise
            payload = None
        if payload is not None:
            return payload
    return None


def _write(label: str, key: bytes, payload: bytes) -> None:
    """Keep a payload in the first directory that takes it."""
    reason = "no directory for them can be written to"
    for store, distrust in _stores():
        if distrust:
            reason = distrust
            break
        try:
            store.save(label, key, payload)
        except OSError as error:
            if not raised_by_the_system(error):
                raise
            reason = f"the cache cannot be written ({error})"
        else:
            return
    warn_that_code_is_lost(reason)


def _keeper() -> str | None:
    """The directory that new code will go to, for the user to read; None for none."""
    if not _ENABLED:
        return None
    usable = [place for place in _places() if place.is_writable() and not place.distrust()]
    return str(usable[0].path.parent) if usable else None


class FunctionCache:
    """Numba's interface of a cache, for one Python function.

    Parameters
    ----------
    function : callable
        The function, whose module, name, bytecode and closure go into its keys.
    extra : object
        What else tells its compiled forms apart; its ``repr`` goes into the keys.
    """

    def __init__(self, function: Callable[..., Any], extra: Any = None) -> None:
        self._function, self._extra = function, extra

    # What Numba asks of a cache beside loading and saving.
    cache_path = None

    def enable(self) -> None:
        """Nothing: ``FASTNN_CACHE`` decides."""

    disable = flush = enable

    def _label(self, signature: Any) -> str:
        return str(self._function.__qualname__)

    def _key(self, signature: Any, codegen: Any) -> bytes:
        function = self._function
        cells = [cell.cell_contents for cell in function.__closure__ or ()]
        return _text(
            f"function {function.__module__}.{function.__qualname__}",
            f"extra {self._extra!r}",
            f"bytecode {hashlib.sha256(function.__code__.co_code).hexdigest()}",
            f"closure {hashlib.sha256(dumps(cells)).hexdigest() if cells else None}",
            f"signature {_described(signature)}",
            f"processor {codegen.magic_tuple()}",
            f"tiles {targets.ROW.name}",
        )

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        """The compiled function of a signature; None if it is to be compiled."""
        target_context.refresh()
        found = None
        payload = _read(self._label(signature), self._key(signature, target_context.codegen()))
        if payload is not None:
            found = self._rebuild(signature, target_context, pickle.loads(payload))
        if found is None:
            stopwatch.begin(_keeper())
        return found

    def save_overload(self, signature: Any, compiled: Any) -> None:
        """Keep a compiled function."""
        stopwatch.end(_keeper())
        if _ENABLED and self._can_be_kept(compiled):
            payload = dumps(self._reduce(compiled))
            _write(self._label(signature), self._key(signature, compiled.codegen), payload)

    # What depends on the kind of what is kept.

    def _can_be_kept(self, compiled: Any) -> bool:
        if compiled.library.has_dynamic_globals or any(not lifted.can_cache for lifted in compiled.lifted):
            warn(f"{self._function.__qualname__} cannot be cached", NumbaWarning)
            return False
        return True

    def _reduce(self, compiled: Any) -> Any:
        return link.required_symbols(compiled.library), compiled._reduce()

    def _rebuild(self, signature: Any, target_context: Any, payload: Any) -> Any:
        symbols, reduced = payload
        # Known to LLVM before it sees the code, or it aborts.
        for symbol, c_type in symbols:
            if not link.require(symbol, c_type):
                return None
        compiled = CompileResult._rebuild(target_context, *reduced)
        return compiled if _agree(signature, compiled.signature) else None


class LibraryCache(FunctionCache):
    """The same for a library that holds one plain LLVM function; its "signature" is the function's name.

    Parameters
    ----------
    function : callable
        What writes the library.
    c_type : str
        The LLVM function's type.
    """

    def _label(self, signature: Any) -> str:
        return str(signature)

    def _can_be_kept(self, compiled: Any) -> bool:
        return not compiled.has_dynamic_globals

    def _reduce(self, compiled: Any) -> Any:
        return self._extra, compiled.serialize_using_object_code()

    def _rebuild(self, signature: Any, target_context: Any, payload: Any) -> Any:
        c_type, serialized = payload
        return target_context.codegen().unserialize_library(serialized) if c_type == self._extra else None


def _text(*lines: str) -> bytes:
    return "\n".join(lines).encode()


def _described(signature: Any) -> str:
    """The types of a signature by name, and of named tuples the class: two may have one name."""
    if isinstance(signature, str):
        return signature
    arguments = getattr(signature, "args", signature)
    parts = [str(signature)]
    for argument in arguments:
        if members := getattr(argument, "instance_class", None):
            parts.append(f"{members.__module__}.{members.__qualname__}{members._fields}")
    return " ".join(parts)


def _agree(wanted: Any, have: Any) -> bool:
    """Whether compiled code takes the arguments that it is to be called with."""
    return tuple(getattr(wanted, "args", wanted)) == tuple(have.args)
