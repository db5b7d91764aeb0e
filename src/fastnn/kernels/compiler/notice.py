"""What the user is told about compiling: one line where it takes long, one warning where it is in vain."""

import itertools
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from fastnn.kernels.shared.user_warnings import warn

logger = logging.getLogger("fastnn")

# Seconds of compiling that nobody wonders about.
PATIENCE = 1.0


class _Stopwatch:
    """Adds up the seconds in which this process compiles, and says once that it does.

    Compiling a function begins when no cache holds it and ends when it is saved; functions that it calls are
    compiled meanwhile. One that fails is not saved: ``reset`` forgets it.
    """

    def __init__(self) -> None:
        self._of_thread = threading.local()
        self._seconds = 0.0
        self._told = itertools.count()
        self._silent = os.environ.get("FASTNN_QUIET", "0") not in ("0", "")

    @property
    def _begun(self) -> list[float]:
        """When this thread began the function that it compiles, behind those that wait for it."""
        begun: list[float] = self._of_thread.__dict__.setdefault("begun", [])
        return begun

    def begin(self, keeper: str | None) -> None:
        """A function is about to be compiled, to be kept in the directory `keeper`."""
        self._begun.append(time.perf_counter())
        self._log_once(keeper)

    def end(self, keeper: str | None) -> None:
        """The function begun last is compiled."""
        if self._begun:
            self._log_once(keeper)
            begun = self._begun.pop()
            if not self._begun:
                self._seconds += time.perf_counter() - begun

    def reset(self) -> None:
        """This thread compiles nothing any more."""
        self._begun.clear()

    @contextmanager
    def silenced(self) -> Iterator[None]:
        """Say nothing about what is compiled inside the block: it is what the user has asked for."""
        before, self._silent = self._silent, True
        try:
            yield
        finally:
            self._silent = before

    def _log_once(self, keeper: str | None) -> None:
        seconds = self._seconds + time.perf_counter() - self._begun[0]
        if seconds < PATIENCE or self._silent or next(self._told):
            return
        if keeper is None:
            kept = "They are not kept for later processes"
        else:
            kept = f"Later processes load them from {keeper}"
        logger.warning(
            "fastnn compiles its kernels for this processor, for some 10 to 30 seconds. %s. "
            "fastnn.precompile() does this ahead of time; FASTNN_QUIET=1 silences this line.",
            kept,
        )


stopwatch = _Stopwatch()

_warned = itertools.count()


def warn_that_code_is_lost(reason: str) -> None:
    """Warn, once a process, that compiled code is not kept."""
    if next(_warned) == 0:
        warn(
            f"fastnn compiles its kernels anew in every process: {reason}. Set NUMBA_CACHE_DIR to a "
            "directory that only you can write to, or FASTNN_CACHE=0 to silence this warning.",
            RuntimeWarning,
        )
