"""What a forked child inherits: threads that are gone, and locks that nobody will open.

Importing ``fastnn`` loads this file and nothing of Numba: a parent that has not yet used the package may have
used the libraries below it. What these hold is looked up in ``sys.modules`` when a fork happens.
"""

import os
import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import _bootstrap, import_module
from typing import Any, NamedTuple

from fastnn import _mappings

# Seconds that a fork waits for another thread to finish what it compiles; some four times the longest kernel
# on a busy machine. Longer than that only who waits for the forking thread itself can hold a lock.
PATIENCE = 120.0


class _Inherited:
    """What this process has from those that it was forked from.

    Attributes
    ----------
    pool : bool
        Numba's threads had been started, or the OpenMP library that they are made with may have been: they
        are gone, and a parallel region would wait for them for ever, or end the process.
    compiler : bool
        Another thread was compiling, and could not be waited for: its locks stay closed here.
    """

    def __init__(self) -> None:
        self.pool = self.compiler = False
        # Where each file was mapped at the moment of the fork, or the system's list of that; None in a
        # process that is not known to have been forked, or to have lost no threads by it.
        self._places: _mappings.Places | str | None = None

    def take(self, places: _mappings.Places | str | None, pool: bool) -> None:
        """This process was forked with this much; with None if no threads of any library were lost then."""
        if places is not None:  # a parent that was forked itself may have lost some before
            self._places = places
        self.pool = self.pool or pool

    def has(self, file: str) -> bool:
        """Whether a file was mapped, where it is now, before this process was forked."""
        if self._places is None:
            return False
        if isinstance(self._places, str):
            self._places = _mappings.places(self._places)
        if not self._places:  # not to be found out on this system
            return True
        return self._places.get(file) == _mappings.places(_mappings.read_maps()).get(file)

    def check_pool(self, layer: str) -> None:
        """Look at the pool that Numba has just started, or somebody else before.

        GNU OpenMP keeps its threads for the thread that asked for them, and does not notice that a fork has
        ended them. It cannot be asked whether it had any: where the parent had threads that Python knows
        nothing of, a library that was loaded counts as used. Elsewhere than on Linux Numba's OpenMP makes new
        threads in a child.
        """
        if self._places is None or layer != "omp" or sys.modules[_OMP].openmp_vendor != "GNU":
            return
        self.pool = self.pool or any(self.has(file) for file in _openmp_libraries())


inherited = _Inherited()

_POOL = "numba.np.ufunc.parallel"
_OMP = "numba.np.ufunc.omppool"
_LAYERS = (_OMP, "numba.np.ufunc.tbbpool", "numba.np.ufunc.workqueue")


def _pool_is_started() -> bool:
    return bool(getattr(sys.modules.get(_POOL), "_is_initialized", False))


def _openmp_libraries() -> set[str]:
    """Files that may give Numba's threading layer its OpenMP: several copies may be loaded.

    scikit-learn, PyTorch and others bring their own, which are no concern of Numba's unless their names have
    been made known to everybody.
    """
    import ctypes

    maps = _mappings.read_maps()
    found = set()
    for scope in (None, sys.modules[_OMP].__file__):
        try:
            function = ctypes.CDLL(scope).omp_get_max_threads
        except (OSError, AttributeError):
            continue
        address = ctypes.cast(function, ctypes.c_void_p).value
        file = _mappings.file_at(maps, address or 0)
        found.add(file or "")
    return found


def _look_back() -> None:
    """Find out what has been inherited by a process that was forked before it imported this package."""
    if not _mappings.was_forked():
        return
    places = _mappings.places_of_ancestors()
    inherited.take(places, pool=False)
    layers = [os.path.realpath(sys.modules[name].__file__ or "") for name in _LAYERS if name in sys.modules]
    # This process has started it itself if its parent has not even loaded it.
    inherited.pool = _pool_is_started() and any(inherited.has(file) for file in layers)


# Locks that another thread may hold for long. LLVM and the compiler are in the middle of something then: so the
# fork waits for them, and the child finds them open and whole. Each can be taken twice by one thread, for a
# signal handler may fork while its thread compiles.
_WAITED_FOR = (
    ("numba.core.compiler_lock", "global_compiler_lock", "_lock"),
    ("numba.core.registry", "CPUTarget", "_toplevel_target_context", "_lock"),
    ("numba.core.registry", "CPUTarget", "_toplevel_typing_context", "_lock"),
    ("numba.np.ufunc.parallel", "_backend_init_thread_lock"),
    ("llvmlite.binding.ffi", "lib", "_lock", "_lock"),
    ("numpy.random.mtrand", "_rand", "_bit_generator", "lock"),
)
# Locks around a few lines of Python, nothing of which a fork can leave half done: the child gets new ones.
_RENEWED = (
    ("threadpoolctl", "_CACHE_LOCK"),
    ("threadpoolctl", "OpenBLASController", "_SHARED_STATE", "lock"),
)


def _resolve(path: Iterable[str]) -> Any:
    """What stands at a path of names below a loaded module; None where a version has it not."""
    module, *names = path
    value = sys.modules.get(module)
    for name in names:
        # A cached property is wanted itself, not what it gives: asking would take its lock.
        value = vars(value).get(name) if isinstance(value, type) else getattr(value, name, None)
    return value


def _take(locks: list[Any], seconds: float) -> bool:
    """Take all the locks, whatever the order in which others do: one is waited for while none is held."""
    end = time.monotonic() + seconds
    first = 0
    while locks:
        if not locks[first].acquire(timeout=max(0.0, end - time.monotonic())):
            return False
        held = [locks[first]]
        for i, lock in enumerate(locks):
            if i == first:
                continue
            if not lock.acquire(blocking=False):
                first = i
                break
            held.append(lock)
        else:
            return True
        _release(held)
    return True


def _release(locks: list[Any]) -> None:
    for lock in reversed(locks):
        lock.release()


# Packages whose modules a child needs; Numba imports some of its own when it first compiles.
_PACKAGES = ("fastnn", "numba", "llvmlite", "numpy", "scipy", "sklearn", "joblib", "threadpoolctl")


def _modules_being_imported() -> set[str]:
    """Modules whose locks other threads have; importlib tells it nowhere in public."""
    me = threading.get_ident()
    locks = {name: reference() for name, reference in getattr(_bootstrap, "_module_locks", {}).copy().items()}
    return {
        name
        for name, lock in locks.items()
        if name.startswith(_PACKAGES) and getattr(lock, "owner", None) not in (None, me)
    }


class _Fork(NamedTuple):
    """What is noted before a fork, by the thread that forks."""

    locks: list[Any] | None  # that it holds; None if it could not get them
    threads: set[int]  # Python's


_forking: dict[int, _Fork] = {}


def _before() -> None:
    me = threading.get_ident()
    _forking[me] = _Fork(None, set())
    end = time.monotonic() + (0.0 if inherited.compiler else PATIENCE)
    waited_for: set[str] = set()
    while True:
        # The lock of a module that another thread is importing would stay closed as well. One that is left
        # locked after that belongs to a thread which waits for this one.
        while names := _modules_being_imported() - waited_for:
            waited_for |= names
            for name in names:
                with suppress(Exception):  # told to who imports it
                    import_module(name)
        locks = [lock for lock in map(_resolve, _WAITED_FOR) if lock is not None]
        if not _take(locks, end - time.monotonic()):
            return
        if not _modules_being_imported() - waited_for:
            _forking[me] = _Fork(locks, {thread.native_id or 0 for thread in threading.enumerate()})
            return
        _release(locks)


def _after_in_parent() -> None:
    fork = _forking.pop(threading.get_ident(), None)
    if fork is not None:
        _release(fork.locks or [])


def _after_in_child() -> None:
    # What forks without asking Python first, as uWSGI does, comes here only.
    fork = _forking.get(threading.get_ident(), _Fork([], set()))
    _forking.clear()
    if fork.locks is None:
        inherited.compiler = True
    else:
        _release(fork.locks)
    for *path, name in _RENEWED:
        owner = _resolve(path)
        if owner is not None and hasattr(owner, name):
            setattr(owner, name, threading.Lock())
    # OpenBLAS has ended its own threads before the fork, as a library should.
    alive = _mappings.threads_of(os.getppid())
    lost = alive is None or bool(alive - fork.threads)
    inherited.take(_mappings.read_maps() if lost else None, _pool_is_started())


if hasattr(os, "register_at_fork"):
    _look_back()
    # Logging, which ``_mappings`` imports, has registered before: hooks before a fork run from the last to the
    # first, and who compiles may be waiting for logging's lock.
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
