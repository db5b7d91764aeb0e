"""How long a compiled call of a long job should last, and whether it should use threads."""

import math
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Event

# A compiled call of a long job should last about this long, so that Ctrl-C is answered.
CALL_SECONDS = 0.2

# Is set when this thread's work is wanted no more: Ctrl-C reaches the first thread of a process alone.
_stop: ContextVar[Event | None] = ContextVar("fastnn_stop", default=None)


@contextmanager
def stopped_by(event: Event) -> Iterator[None]:
    """Let work of this thread end at its next compiled call once the event is set, as Ctrl-C would end it."""
    token = _stop.set(event)
    try:
        yield
    finally:
        _stop.reset(token)


def answer_stop() -> None:
    """Between two compiled calls: raise what Ctrl-C would, if this thread has been asked to stop."""
    event = _stop.get()
    if event is not None and event.is_set():
        raise KeyboardInterrupt


class Chunks:
    """How many steps the next call does, so that it lasts about ``CALL_SECONDS``: then Ctrl-C is answered.

    ::

        chunks = Chunks()
        while done < n_steps:
            size = chunks.begin(n_steps - done)
            ...                     # what is prepared counts for nothing
            chunks.start()
            reached = call(done, done + size)
            chunks.end(reached - done)
            done = reached

    Parameters
    ----------
    growth : float, default=8
        How many times as long as the chunk before a chunk may be. The first call may compile: a longer chunk
        follows only one that was short.
    """

    def __init__(self, growth: float = 8) -> None:
        self._growth = growth
        self._size = 1
        self._started = 0.0

    def begin(self, left: int) -> int:
        """Steps of the next call, of `left` that are left to do."""
        answer_stop()
        return min(self._size, left)

    def start(self) -> None:
        """The call begins now: to be told right before it."""
        self._started = time.perf_counter()

    def end(self, done: int) -> float:
        """The call is over, and has done so many steps; the seconds it took."""
        # A clock may have stood still.
        seconds = max(time.perf_counter() - self._started, 1e-9)
        self._size = max(1, int(min(CALL_SECONDS / seconds * done, self._growth * self._size)))
        return seconds

    def shorten(self, steps: int) -> None:
        """Let the next call do so many steps at most."""
        self._size = max(1, min(self._size, steps))


class ThreadedChunks:
    """Chunks of steps that may use several threads, and do where that has come out faster (``Pace``).

    ::

        size = chunks.begin(n_steps - done)
        with threads_for(flops if chunks.allow_threads() else 0.0) as parallel:
            chunks.start()
            reached = call(parallel, done, done + size)
        chunks.end(reached - done, parallel)

    Parameters
    ----------
    most_threaded : int, default=None
        Steps of a call on several threads at most: where the cores turn out to be taken a step lasts 10 ms
        and more, and the call must still end. None for any number.
    """

    def __init__(self, most_threaded: int | None = None) -> None:
        self._most_threaded = most_threaded
        self._chunks = Chunks(growth=math.inf)
        self._pace = Pace()
        self._called = {True: False, False: False}

    def allow_threads(self) -> bool:
        """Whether the next call may use threads, by the pace of those before it; asking changes nothing."""
        return self._pace.allows()

    def begin(self, left: int) -> int:
        """Steps of the next call, of `left` that are left to do."""
        if self._most_threaded is not None and self._pace.allows():
            left = min(left, self._most_threaded)
        return self._pace.steps(self._chunks.begin(left))

    def start(self) -> None:
        """The call begins now: to be told right before it, inside the block of ``threads_for``."""
        self._chunks.start()

    def end(self, done: int, parallel: bool) -> None:
        """The call is over: it has done so many steps, and has used threads or not."""
        seconds = self._chunks.end(done)
        if self._called[parallel]:  # the first call may have compiled
            self._pace.report(parallel, seconds / max(done, 1))
        self._called[parallel] = True


class Pace:
    """Chooses between one thread and all by their measured pace, for a loop of many launches.

    Several threads may be slower than one: where the cores are taken by others, so that a step of 50 us waits
    10 ms for the scheduler, or where a small network's weights travel far between the cores, as between the
    parts of a large processor. Kernels give the same result with and without threads, so a loop may try both.
    Now and then, ever more rarely, one launch runs the other way; where that is faster, it stays.
    """

    # Launches between two trials: doubled as long as trials change nothing.
    FIRST_PAUSE, LAST_PAUSE = 8, 64  # a first fit of a few epochs does not load code for a trial
    # A trial that takes less than this share of the present way's time is a change for the better.
    GAIN = 0.9
    # Length of a trial, about.
    TRIAL_SECONDS = 0.005

    def __init__(self) -> None:
        self._threads = True
        # Seconds of a step of each way's last launches.
        self._last: dict[bool, deque[float]] = {True: deque(maxlen=2), False: deque(maxlen=2)}
        self._pause = self._waiting = self.FIRST_PAUSE

    def _trial(self) -> bool:
        return self._waiting == 0

    def allows(self) -> bool:
        """Whether the next launch may use threads."""
        return self._threads != self._trial()

    def steps(self, at_once: int) -> int:
        """How many of `at_once` steps the next launch should do."""
        if not self._trial():
            return at_once
        slowest = max(seconds for last in self._last.values() for seconds in last)
        return min(at_once, max(1, int(self.TRIAL_SECONDS / slowest)))

    def report(self, parallel: bool, seconds: float) -> None:
        """Tell whether a launch has used threads, and how many seconds a step of it took."""
        self._last[parallel].append(max(seconds, 1e-9))
        if self._threads and not parallel and not self._trial():
            return  # none are to be had
        if not self._trial():
            self._waiting -= 1
            return
        self._pause = min(2 * self._pause, self.LAST_PAUSE)
        # Of the present way the better launch counts: one may have been disturbed.
        if parallel != self._threads and seconds < self.GAIN * min(self._last[self._threads]):
            self._threads, self._pause = parallel, self.FIRST_PAUSE
        self._waiting = self._pause
