"""The locks of Numba and of what it stands on, which a fork would hand to the child closed.

Nothing is imported here: a lock is looked for in the modules that are loaded.
"""

import sys
import threading
import time
from collections.abc import Iterable
from contextlib import suppress
from importlib import _bootstrap, import_module
from typing import Any

# Another thread may hold these for long, and LLVM or the compiler is in the middle of something then. So the
# fork waits for them, and the child finds them open and whole. Each can be taken twice by one thread: a
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
# Packages whose modules a child needs; Numba imports some of its own when it first compiles.
_PACKAGES = ("fastnn", "numba", "llvmlite", "numpy", "scipy", "sklearn", "joblib", "threadpoolctl")


def _resolve(path: Iterable[str]) -> Any:
    """What stands at a path of names below a loaded module; None where a version has it not."""
    module, *names = path
    value: Any = sys.modules.get(module)
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
        try:
            for i, lock in enumerate(locks):
                if i != first:
                    if not lock.acquire(blocking=False):
                        first = i
                        break
                    held.append(lock)
            else:
                return True
        except BaseException:  # of a signal handler
            release(held)
            raise
        release(held)
    return True


def release(locks: list[Any]) -> None:
    """Give back what ``take_all`` has taken."""
    for lock in reversed(locks):
        lock.release()


def _modules_being_imported() -> set[str]:
    """Modules whose locks other threads have; importlib tells it nowhere in public."""
    me = threading.get_ident()
    locks = {name: reference() for name, reference in getattr(_bootstrap, "_module_locks", {}).copy().items()}
    return {
        name
        for name, lock in locks.items()
        if name.startswith(_PACKAGES) and getattr(lock, "owner", None) not in (None, me)
    }


def take_all(seconds: float) -> list[Any] | None:
    """Wait until no other thread compiles, loads code or imports, and keep it so.

    Parameters
    ----------
    seconds : float
        How long to wait for the locks, at most.

    Returns
    -------
    locks : list or None
        To be given to ``release``; None if they could not be had.
    """
    end = time.monotonic() + seconds
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
            return None
        if not _modules_being_imported() - waited_for:
            return locks
        release(locks)


def renew() -> None:
    """Replace the locks that a child need not wait for."""
    for *path, name in _RENEWED:
        owner = _resolve(path)
        if owner is not None and hasattr(owner, name):
            setattr(owner, name, threading.Lock())
