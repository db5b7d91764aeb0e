"""How long a compiled call of a long job should last."""

import time

from fastnn.kernels.shared.threads import CALL_SECONDS


class Chunks:
    """How many steps the next call does, so that it lasts about ``CALL_SECONDS``: then Ctrl-C is answered.

    ::

        chunks = Chunks()
        while done < n_steps:
            size = chunks.begin(n_steps - done)
            reached = call(done, done + size)
            chunks.end(reached - done)
            done = reached

    Parameters
    ----------
    growth : int, default=8
        How many times as long as the chunk before a chunk may be. The first call may compile: a longer chunk
        follows only one that was short.
    """

    def __init__(self, growth: int = 8) -> None:
        self._growth = growth
        self._size = 1
        self._started = 0.0

    def begin(self, left: int) -> int:
        """Steps of a call that begins now, of `left` that are left to do."""
        self._started = time.perf_counter()
        return min(self._size, left)

    def end(self, done: int) -> None:
        """The call is over, and has done so many steps."""
        # A clock may have stood still.
        seconds = max(time.perf_counter() - self._started, 1e-9)
        self._size = max(1, min(int(CALL_SECONDS / seconds * done), self._growth * self._size))

    def shorten(self, steps: int) -> None:
        """Let the next call do so many steps at most."""
        self._size = max(1, min(self._size, steps))
