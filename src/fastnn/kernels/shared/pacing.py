"""How long a compiled call of a long job should last, and whether it should use threads."""

import math
import time

from fastnn.kernels.shared.threads import CALL_SECONDS, Pace


class Chunks:
    """How many steps the next call does, so that it lasts about ``CALL_SECONDS``: then Ctrl-C is answered.

    ::

        chunks = Chunks()
        while done < n_steps:
            size = chunks.begin(n_steps - done)
            with threads_for(flops if chunks.allow_threads() else 0.0) as parallel:
                reached = call(parallel, done, done + size)
            chunks.end(reached - done, parallel)
            done = reached

    Parameters
    ----------
    growth : float, default=8
        How many times as long as the chunk before a chunk may be. The first call may compile: a longer chunk
        follows only one that was short.
    most_threaded : float, default=inf
        Steps of a call on several threads at most: where the cores turn out to be taken a step lasts 10 ms
        and more, and the call must still end.
    """

    def __init__(self, growth: float = 8, most_threaded: float = math.inf) -> None:
        self._growth, self._most_threaded = growth, most_threaded
        self._size = 1
        self._started = 0.0
        self._pace = Pace()
        self._called = {True: False, False: False}

    def allow_threads(self) -> bool:
        """Whether the call that begins may use threads, by the pace of those before it (``Pace``)."""
        return self._pace.allows()

    def begin(self, left: int) -> int:
        """Steps of a call that begins now, of `left` that are left to do."""
        self._started = time.perf_counter()
        size = min(self._size, self._most_threaded) if self.allow_threads() else self._size
        return min(self._pace.steps(int(size)), left)

    def end(self, done: int, parallel: bool | None = None) -> None:
        """The call is over: it has done so many steps, and has used threads or not.

        None says that it had no choice.
        """
        # A clock may have stood still.
        seconds = max(time.perf_counter() - self._started, 1e-9)
        if parallel is not None:
            if self._called[parallel]:  # the first call may have compiled
                self._pace.report(parallel, seconds / max(done, 1))
            self._called[parallel] = True
        self._size = max(1, int(min(CALL_SECONDS / seconds * done, self._growth * self._size)))

    def shorten(self, steps: int) -> None:
        """Let the next call do so many steps at most."""
        self._size = max(1, min(self._size, steps))
