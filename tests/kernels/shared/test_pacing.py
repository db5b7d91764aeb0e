"""How many steps a compiled call does, and whether it uses threads."""

from types import SimpleNamespace

import pytest

from fastnn.kernels.shared import pacing
from fastnn.kernels.shared.pacing import CALL_SECONDS, Chunks, Pace, ThreadedChunks


@pytest.fixture
def call(monkeypatch):
    """A function that lets a call last some seconds a step; it gives the number of steps."""
    now = [0.0]
    monkeypatch.setattr(pacing, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def lasting(chunks, left, seconds, *parallel):
        size = chunks.begin(left)
        now[0] += 1000.0  # for what is prepared
        chunks.start()
        now[0] += seconds * size
        chunks.end(size, *parallel)
        return size

    return lasting


@pytest.mark.parametrize(("chunks", "parallel"), [(Chunks(100), ()), (ThreadedChunks(), (True,))])
def test_a_call_lasts_about_as_long_as_it_may(call, chunks, parallel):
    step = CALL_SECONDS / 50.5
    assert call(chunks, 1000, step, *parallel) == 1  # nothing is known yet
    assert call(chunks, 1000, step, *parallel) == 50
    assert call(chunks, 30, step, *parallel) == 30
    assert call(chunks, 1000, 2 * step, *parallel) == 50
    assert call(chunks, 1000, step, *parallel) == 25


def test_a_step_that_takes_longer_than_a_call_is_done_all_the_same(call):
    chunks = Chunks()
    assert [call(chunks, 1000, 100 * CALL_SECONDS) for _ in range(3)] == [1, 1, 1]
    chunks.begin(10)
    chunks.start()
    chunks.end(0)
    assert chunks.begin(10) == 1


def test_chunks_grow_by_a_factor(call):
    chunks = Chunks()
    assert [call(chunks, 10**9, 0.0) for _ in range(4)] == [1, 8, 64, 512]


def test_a_chunk_can_be_made_shorter(call):
    chunks = Chunks()
    for _ in range(3):
        call(chunks, 10**9, 0.0)
    chunks.shorten(5)
    assert call(chunks, 10**9, 0.0) == 5
    chunks.shorten(0)
    assert call(chunks, 10**9, 0.0) == 1


def test_a_call_on_threads_has_a_bound(call):
    chunks = ThreadedChunks(128)
    call(chunks, 1, CALL_SECONDS / 1000, True)
    assert chunks.allow_threads()
    assert chunks.begin(10**9) == 128


def test_the_first_call_of_each_way_is_not_compared(call):
    """It may have compiled."""
    chunks = ThreadedChunks()
    call(chunks, 1, 100.0, True)
    # After so many that counted, a call on a single thread is tried.
    for _ in range(Pace.FIRST_PAUSE):
        assert chunks.allow_threads()
        call(chunks, 1, 0.1, True)
    assert not chunks.allow_threads()
    call(chunks, 1, 100.0, False)
    assert not chunks.allow_threads()
    call(chunks, 1, 0.05, False)
    assert not chunks.allow_threads()  # which was faster


def test_asking_for_threads_changes_nothing(call):
    often, once = ThreadedChunks(), ThreadedChunks()
    for _ in range(100):
        answer = [often.allow_threads() for _ in range(5)]
        assert answer == [once.allow_threads()] * 5
        assert call(often, 1000, 1 / 64, answer[0]) == call(once, 1000, 1 / 64, answer[0])


def launches(pace, seconds, n):
    """Which of n launches used threads, when a step takes seconds[parallel]."""
    used = []
    for _ in range(n):
        used.append(pace.allows())
        pace.report(used[-1], seconds[used[-1]])
    return used


def test_pace_settles_on_the_faster_way():
    pace = Pace()
    used = launches(pace, {True: 1.0, False: 1.8}, 300)
    trials = [i for i, parallel in enumerate(used) if not parallel]
    first = pace.FIRST_PAUSE
    assert trials[:3] == [first, 3 * first + 1, 7 * first + 2]  # ever more rarely
    used = launches(pace, {True: 1.0, False: 0.5}, 300)
    assert used[-100:].count(True) <= 2
    used = launches(pace, {True: 0.5, False: 1.0}, 300)
    assert used[-100:].count(True) >= 98


def test_pace_learns_nothing_where_no_threads_are_to_be_had():
    pace = Pace()
    for _ in range(100):
        assert pace.allows()
        pace.report(False, 1.0)


def test_a_trial_is_short():
    pace = Pace()
    launches(pace, {True: 1e-3, False: 1e-3}, pace.FIRST_PAUSE)
    assert not pace.allows()
    assert pace.steps(1000) == int(pace.TRIAL_SECONDS / 1e-3)
    pace.report(False, 1e-3)
    assert pace.steps(1000) == 1000


def test_one_disturbed_launch_changes_nothing():
    pace = Pace()
    launches(pace, {True: 1.0, False: 1.7}, pace.FIRST_PAUSE - 1)
    pace.report(True, 2.0)
    assert not pace.allows()
    pace.report(False, 1.7)
    assert pace.allows()
