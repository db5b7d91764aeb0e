"""Jobs in threads of their own: their results, their errors, and how they are stopped."""

import threading
import time
from contextvars import ContextVar

import pytest

from fastnn.kernels.shared.pacing import Chunks, answer_stop, stopped_by
from fastnn.networks.side_by_side import side_by_side

NUMBER: ContextVar[int] = ContextVar("number", default=0)


def until_stopped(begun, ended):
    """A job that goes on until it is stopped."""
    begun.set()
    try:
        while True:
            answer_stop()
            time.sleep(0.001)
    except KeyboardInterrupt:
        ended.append(1)
        raise


@pytest.mark.parametrize("n_threads", [1, 2, 5])
def test_results_come_in_the_order_of_the_jobs(n_threads):
    """The first jobs last longest."""
    running, most = [], []

    def job(i):
        running.append(i)
        most.append(len(running))
        time.sleep(0.01 * (3 - i))
        running.remove(i)
        return i, NUMBER.get()

    token = NUMBER.set(7)
    try:
        results = side_by_side([lambda i=i: job(i) for i in range(4)], n_threads)
    finally:
        NUMBER.reset(token)
    assert results == [(i, 7) for i in range(4)]
    assert max(most) <= n_threads


def test_an_error_stops_the_others_and_those_that_wait_do_not_begin():
    begun, ended = threading.Event(), []

    def fail():
        begun.wait()
        raise ZeroDivisionError("this one")

    def endless():
        return until_stopped(begun, ended)

    with pytest.raises(ZeroDivisionError, match="this one"):
        side_by_side([endless, fail, *[endless] * 20], 2)
    # The first, and perhaps one that the other thread had begun before the caller heard of the error.
    assert 1 <= len(ended) <= 2
    assert not any(thread.name.startswith("fastnn") for thread in threading.enumerate())


def test_who_is_not_asked_to_stop_goes_on():
    event = threading.Event()
    with stopped_by(event):
        assert Chunks().begin(3) == 1
        event.set()
        with pytest.raises(KeyboardInterrupt):
            Chunks().begin(3)
        seen = []
        # Another thread has a context of its own.
        thread = threading.Thread(target=lambda: seen.append(Chunks().begin(3)))
        thread.start()
        thread.join()
        assert seen == [1]
    assert Chunks().begin(3) == 1
