"""Launch rules: when a kernel may run on more than one thread.

Every parallel kernel has a serial form that does the same sums in the same order; so the answer here changes
the time, never the result.
"""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from functools import cache
from numbers import Integral
from typing import Any

import joblib
import numba
from threadpoolctl import OpenBLASController, ThreadpoolController

from fastnn._forks import inherited

# FLOPs (or bytes moved) below which a second thread costs more than it saves. An empty parallel region takes
# 2 us with OpenMP, in which one core does about 2e5 FLOPs; workqueue takes about 100 us.
MIN_FLOPS = {"omp": 5e5, "tbb": 1e6, "workqueue": 2e7}

# Threads at most, where somebody has said so for a block of code; of this Python thread (or task) alone.
_limit: ContextVar[int | None] = ContextVar("fastnn_threads", default=None)

# Whether every launch uses threads, where this has been settled for a block of code.
_forced: ContextVar[bool | None] = ContextVar("fastnn_forced", default=None)

_workqueue_lock = threading.Lock()


def _after_fork_in_child() -> None:
    global _workqueue_lock
    _workqueue_lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


# Turns that a thread of GNU OpenMP waits at a barrier before it sleeps: some 100 us, the pause between two
# epochs of a small network, so that it need not be woken. The library's own 300,000 keep a core for
# milliseconds from whoever else needs it, and on a shared machine that is the thread waited for.
SPIN_COUNT = "5000"


@cache
def threading_layer() -> str:
    """Name of the threading layer Numba has chosen; starts it."""
    from numba.np.ufunc import parallel

    # libgomp reads the environment once, when it is loaded; a user's own setting stands.
    ours = not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    if ours:
        os.environ["GOMP_SPINCOUNT"] = SPIN_COUNT
    try:
        parallel._launch_threads()
    finally:
        if ours:
            os.environ.pop("GOMP_SPINCOUNT", None)
    layer = str(numba.threading_layer())
    inherited.check_pool(layer)
    return layer


class use_threads:
    """Let the launches inside the block use at most `n` threads; None for all that this process may use.

    A class, which is entered in a third of the time of a generator: a prediction for one row enters it.

    Raises
    ------
    ValueError
        `n` is no integer or less than 1.
    """

    __slots__ = "_n", "_token"

    def __init__(self, n: int | None) -> None:
        if n is not None and not (isinstance(n, Integral) and n >= 1):
            raise ValueError(f"n_threads must be None or an integer of at least 1, got {n!r}.")
        self._n = None if n is None else int(n)

    def __enter__(self) -> None:
        self._token = _limit.set(self._n)

    def __exit__(self, *raised: object) -> None:
        _limit.reset(self._token)


@contextmanager
def force_threads(parallel: bool) -> Iterator[None]:
    """Let every launch inside the block use threads, or none, however few its FLOPs: to compile both forms.

    In a forked child, and beside a region of the workqueue layer, none are used all the same.
    """
    token = _forced.set(parallel)
    try:
        yield
    finally:
        _forced.reset(token)


class _OneBlasThread:
    """The limit of the BLAS libraries, set by the first who enters and taken away by the last who leaves.

    It belongs to the process: if each took back what it had found, the second of two Python threads would
    restore the limit that the first had set.

    threadpoolctl lets one Python thread alone change OpenBLAS's limit, the first that asks. It is made to
    forget who that was before each change and after: the last who leaves need not be the first who entered,
    and the user's own ``threadpool_limits`` go on working in every thread.
    """

    def __init__(self) -> None:
        self._limits: Any = None
        self._found: Any = None
        self._n_modules = 0
        self.after_fork_in_child()

    def after_fork_in_child(self) -> None:
        """Nobody is inside; what a thread of the parent had limited is set free by the next who leaves."""
        self._lock = threading.Lock()
        self._inside = 0

    def __enter__(self) -> None:
        with self._lock:
            if self._inside == 0 and self._limits is None:
                _let_any_thread_set_limits()
                self._limits = self._libraries().limit(limits=1, user_api="blas")
                _let_any_thread_set_limits()
            self._inside += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._inside -= 1
            if self._inside == 0 and self._limits is not None:
                _let_any_thread_set_limits()
                self._limits.restore_original_limits()
                _let_any_thread_set_limits()
                self._limits = None

    def _libraries(self) -> Any:
        """What limits the libraries of the process. They come with imports; looking for them takes 3 ms."""
        n_modules = len(sys.modules)
        if self._found is None or n_modules != self._n_modules:
            self._n_modules, self._found = n_modules, ThreadpoolController()
        return self._found


def _let_any_thread_set_limits() -> None:
    if hasattr(OpenBLASController, "clear_controlling_thread"):  # threadpoolctl 3.8
        OpenBLASController.clear_controlling_thread(force=True)


# BLAS threads spin for a tenth of a second after each operation, and leave ours half of the cores.
one_blas_thread = _OneBlasThread()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=one_blas_thread.after_fork_in_child)


@cache
def _usable_cores(affinity: frozenset[int]) -> int:
    return int(joblib.cpu_count())


def usable_cores() -> int:
    """Cores that this process may use: by its affinity, its cgroup's quota and LOKY_MAX_CPU_COUNT."""
    affinity = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else ()
    return _usable_cores(frozenset(affinity))


def _allowed_threads() -> int:
    """Threads that a launch may use, as far as this can be known without starting Numba's threads."""
    limit = _limit.get()
    return min(numba.config.NUMBA_NUM_THREADS, usable_cores() if limit is None else limit)


def threads_allowed() -> int:
    """Threads that this Python thread may keep busy, be they Numba's or of its own."""
    if inherited.pool:  # a forked child computes on one
        return 1
    n = _allowed_threads()
    started = getattr(sys.modules.get("numba.np.ufunc.parallel"), "_is_initialized", False)
    # Until Numba's threads are started nobody can have set another number of them.
    return min(n, int(numba.get_num_threads())) if started and _limit.get() is None else n


def threads_for(flops: float) -> AbstractContextManager[bool]:
    """Whether the launch inside the ``with`` block may use threads; inside it, Numba is set to their number.

    Parameters
    ----------
    flops : float
        FLOPs or bytes of the parallel region, whichever is larger.

    Yields
    ------
    parallel : bool
        False for few FLOPs, for one thread, in a forked child whose parent had loaded the runtime of these
        threads, and while another Python thread is inside a region of the workqueue layer, which is not
        thread-safe.
    """
    forced = _forced.get()
    # OpenMP's floor is the lowest: below it no layer has to be started to know the answer.
    if forced is False or inherited.pool or (forced is None and flops < MIN_FLOPS["omp"]):
        return _SERIAL
    return _region(flops, forced)


# A generator would cost 2 us, and the fit of a small table asks some thirty times.
_SERIAL = nullcontext(False)


@contextmanager
def _region(flops: float, forced: bool | None) -> Iterator[bool]:
    """What ``threads_for`` gives, where there is enough to do for threads."""
    if forced is None:
        n = _allowed_threads()
        if n == 1 or flops < MIN_FLOPS[threading_layer()]:
            yield False
            return
    else:
        threading_layer()
        n = _allowed_threads()
    if inherited.pool:  # which is known now that the layer is
        yield False
        return
    before = numba.get_num_threads()
    if _limit.get() is None:
        n = min(n, before)
    if n == 1 and forced is None:
        yield False
        return
    lock = _workqueue_lock if threading_layer() == "workqueue" else None
    if lock is not None and not lock.acquire(blocking=False):
        yield False
        return
    try:
        if n != before:
            numba.set_num_threads(n)
        yield True
    finally:
        if n != before:
            numba.set_num_threads(before)
        if lock is not None:
            lock.release()


def workers(parallel: bool) -> int:
    """Threads of a launch, inside the block of ``threads_for`` that gave `parallel`."""
    return int(numba.get_num_threads()) if parallel else 1
