"""What a forked child inherits: threads that are gone, and locks that nobody will open.

Importing ``fastnn`` loads this file and nothing of Numba: a parent that has not yet used the package may have
used the libraries below it. What these hold is looked up in ``sys.modules`` when a fork happens.
"""

import mmap
import os
import sys
import threading
import time
from typing import Any, NamedTuple

from fastnn import _locks, _mappings

# Seconds that a fork waits for another thread to finish what it compiles; some four times the longest kernel
# on a busy machine. Longer than that only who waits for the forking thread itself can hold a lock.
PATIENCE = 120.0


# What the parent writes for its child, once it has looked which threads it has left: nothing yet, only
# those of Python, or others.
_NOTHING, _PYTHONS, _OTHERS = range(3)


class _Fork(NamedTuple):
    """A fork that this process comes from, as far as it is known.

    Attributes
    ----------
    parent : int
        Number of the process that was forked.
    maps : str
        What it had mapped.
    threads : mmap.mmap or None
        Memory shared with it: one of the numbers above. A parent that is gone before it has written leaves
        `_NOTHING`.
    """

    parent: int
    maps: str
    threads: mmap.mmap | None

    def may_have_ended(self, file: str) -> bool:
        """Whether the fork may have ended threads of a library."""
        place = _mappings.places(_mappings.read_maps()).get(file)
        # Where that cannot be read, or the file not be found, it counts as inherited.
        if self.maps and place is not None and _mappings.places(self.maps).get(file) != place:
            return False
        end = time.monotonic() + 1.0  # the parent writes within milliseconds, if it goes on at all
        while self._threads() == _NOTHING and os.getppid() == self.parent and time.monotonic() < end:
            time.sleep(1e-4)
        return self._threads() != _PYTHONS

    def _threads(self) -> int:
        return self.threads[0] if self.threads else _OTHERS


class _Inherited:
    """What this process has from those that it was forked from.

    Attributes
    ----------
    pool : bool
        Numba's threads had been started, or those of the OpenMP library that they are made with may have
        been: they are gone, and a parallel region would wait for them for ever, or end the process.
    compiler : bool
        Another thread was compiling, and could not be waited for: its locks stay closed here.
    forks : list of _Fork
        The forks between this process and the first that loaded this file, but for those of a process that
        had no threads except Python's.
    """

    def __init__(self) -> None:
        self.pool = self.compiler = False
        self.forks: list[_Fork] = []

    def check_pool(self, layer: str) -> None:
        """Look at the pool that Numba has just started, or somebody else before.

        GNU OpenMP keeps its threads for the thread that asked for them, and does not notice that a fork has
        ended them. It cannot be asked whether it had any: where the parent had threads that Python knows
        nothing of, a library that was loaded counts as used. Elsewhere than on Linux Numba's OpenMP makes new
        threads in a child.
        """
        if self.forks and layer == "omp" and sys.modules[_OMP].openmp_vendor == "GNU":
            files = _openmp_libraries()
            self.pool = self.pool or any(fork.may_have_ended(file) for fork in self.forks for file in files)


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
    fork = _Fork(os.getppid(), _mappings.maps_of_ancestors(), None)
    inherited.forks.append(fork)
    layers = [os.path.realpath(sys.modules[name].__file__ or "") for name in _LAYERS if name in sys.modules]
    # This process has started it itself if its parent has not even loaded it.
    inherited.pool = _pool_is_started() and any(fork.may_have_ended(file) for file in layers)


class _Forking(NamedTuple):
    """What a thread that forks notes before."""

    threads: set[int]  # Python's
    note: mmap.mmap | None  # for the child; None if there are no other threads
    locks: list[Any] | None  # that the thread holds; None if it could not get them


_forking: dict[int, _Forking] = {}


def _pythons_threads() -> set[int]:
    return {thread.native_id or 0 for thread in threading.enumerate()}


def _are_pythons(threads: set[int]) -> bool:
    alive = _mappings.own_threads()
    return alive is not None and alive <= threads


def _before() -> None:
    me = threading.get_ident()
    threads = _pythons_threads()
    note = None if _are_pythons(threads) else mmap.mmap(-1, 1)
    _forking[me] = _Forking(threads, note, None)
    locks = _locks.take_all(0.0 if inherited.compiler else PATIENCE)
    _forking[me] = _Forking(threads, note, locks)


def _after_in_parent() -> None:
    forking = _forking.pop(threading.get_ident(), None)
    if forking is None:
        return
    _locks.release(forking.locks or [])
    if forking.note is not None:
        # OpenBLAS has ended its own threads before the fork, as a library should.
        ours = _are_pythons(forking.threads | _pythons_threads())
        forking.note[0] = _PYTHONS if ours else _OTHERS
        forking.note.close()


def _after_in_child() -> None:
    # What forks without asking Python first, as uWSGI does, comes here only.
    forking = _forking.get(threading.get_ident(), _Forking(set(), None, []))
    is_known = bool(forking.threads)
    _forking.clear()
    if forking.locks is None:
        inherited.compiler = True
    else:
        _locks.release(forking.locks)
    _locks.renew()
    if forking.note is not None or not is_known:
        inherited.forks.append(_Fork(os.getppid(), _mappings.read_maps(), forking.note))
    inherited.pool = inherited.pool or _pool_is_started()


if hasattr(os, "register_at_fork"):
    _look_back()
    # Logging, which ``_mappings`` imports, has registered before: hooks before a fork run from the last to
    # the first, and who compiles may be waiting for logging's lock.
    os.register_at_fork(before=_before, after_in_parent=_after_in_parent, after_in_child=_after_in_child)
