"""How many steps a compiled call does."""

import math
from types import SimpleNamespace

import pytest

from fastnn.kernels.shared import pacing
from fastnn.kernels.shared.pacing import Chunks
from fastnn.kernels.shared.threads import CALL_SECONDS, Pace


@pytest.fixture
def call(monkeypatch):
    """A function that lets a call last some seconds a step; it gives the number of steps."""
    now = [0.0]
    monkeypatch.setattr(pacing, "time", SimpleNamespace(perf_counter=lambda: now[0]))

    def lasting(chunks, left, seconds, parallel=None):
        size = chunks.begin(left)
        now[0] += seconds * size
        chunks.end(size, parallel)
        return size

    return lasting


def test_a_call_lasts_about_as_long_as_it_may(call):
    chunks = Chunks(growth=math.inf)
    step = CALL_SECONDS / 50.5
    assert call(chunks, 1000, step) == 1  # nothing is known yet
    assert call(chunks, 1000, step) == 50
    assert call(chunks, 30, step) == 30
    assert call(chunks, 1000, 2 * step) == 50
    assert call(chunks, 1000, step) == 25


def test_a_step_that_takes_longer_than_a_call_is_done_all_the_same(call):
    chunks = Chunks()
    assert [call(chunks, 1000, 100 * CALL_SECONDS) for _ in range(3)] == [1, 1, 1]
    chunks.begin(10)
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
    chunks = Chunks(growth=math.inf, most_threaded=128)
    call(chunks, 1, CALL_SECONDS / 1000, True)
    assert chunks.allow_threads()
    assert chunks.begin(10**9) == 128


def test_the_first_call_of_each_way_is_not_compared(call):
    """It may have compiled."""
    chunks = Chunks()
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


def test_a_call_without_a_choice_changes_nothing(call):
    chunks = Chunks()
    for _ in range(100):
        call(chunks, 1, 0.1)
        assert chunks.allow_threads()
