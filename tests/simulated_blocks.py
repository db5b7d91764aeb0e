"""Blocks of numba-cuda's simulator whose threads sleep while they wait for each other.

Its own manager asks all threads in turn, without a pause, whether they wait, and keeps Python's lock from
them meanwhile: it takes most of the time of a test.
"""

import threading
from typing import Any

import numpy as np
from numba.cuda.simulator import kernel


class _Meeting:
    """Where the threads of a block wait for all that have not ended."""

    def __init__(self, n_threads: int) -> None:
        self._changed = threading.Condition()
        self._alive, self._waiting, self._round = n_threads, 0, 0
        self.error: BaseException | None = None

    def wait(self) -> None:
        with self._changed:
            here = self._round
            self._waiting += 1
            self._open_if_all_wait()
            while self._round == here and self.error is None:
                self._changed.wait()
            if self.error is not None:
                raise RuntimeError("another thread of the block has failed")

    def leave(self, error: BaseException | None) -> None:
        with self._changed:
            self._alive -= 1
            self.error = self.error or error
            self._open_if_all_wait()

    def _open_if_all_wait(self) -> None:
        if self._waiting == self._alive or self.error is not None:
            self._waiting = 0
            self._round += 1
            self._changed.notify_all()


class _Thread(kernel.BlockThread):
    def __init__(self, meeting: _Meeting, *arguments: Any) -> None:
        super().__init__(*arguments)
        self._meeting = meeting

    def run(self) -> None:
        super().run()  # which keeps an exception
        self._meeting.leave(self.exception and self.exception[0].with_traceback(self.exception[1]))

    def syncthreads(self) -> None:
        self._meeting.wait()


def _run(manager: Any, block: Any, *arguments: Any) -> None:
    places = list(np.ndindex(*manager._block_dim))
    meeting = _Meeting(len(places))
    threads = [
        _Thread(meeting, lambda: manager._f(*arguments), manager, block, place, manager._debug)
        for place in places
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if meeting.error is not None:
        raise meeting.error


def let_threads_sleep() -> None:
    """Have all blocks run so from now on."""
    kernel.BlockManager.run = _run
