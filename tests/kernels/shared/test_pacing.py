"""How many steps a compiled call does."""

import pytest

from fastnn.kernels.shared import pacing
from fastnn.kernels.shared.pacing import CallPacing
from fastnn.kernels.shared.threads import CALL_SECONDS, Pace


def test_a_call_lasts_about_as_long_as_it_may():
    calls = CallPacing()
    assert calls.steps(1000) == 1  # nothing is known yet
    calls.report(True, 1, CALL_SECONDS / 50)
    assert calls.steps(1000) == 50
    assert calls.steps(30) == 30
    calls.report(True, 50, 2 * CALL_SECONDS)
    assert calls.steps(1000) == 25


def test_a_step_that_takes_longer_than_a_call_is_done_all_the_same():
    calls = CallPacing()
    calls.report(True, 1, 100 * CALL_SECONDS)
    assert calls.steps(1000) == 1
    # A call that ends before its first step's end has done none.
    calls.report(True, 0, CALL_SECONDS)
    assert calls.steps(1000) == 1


def test_calls_grow_by_a_factor():
    calls = CallPacing(growth=8)
    done = []
    for _ in range(4):
        done.append(calls.steps(10**9))
        calls.report(True, done[-1], 0.0)
    assert done == [1, 8, 64, 512]


def test_a_call_on_threads_has_a_bound():
    calls = CallPacing(most_threaded=128)
    calls.report(True, 1, CALL_SECONDS / 1000)
    assert calls.allows_threads()
    assert calls.steps(10**9) == 128


def test_the_first_call_of_each_way_is_not_compared():
    """It may have compiled."""
    calls = CallPacing()
    calls.report(True, 1, 100.0)
    # After so many that counted, one call on a single thread is tried.
    for _ in range(Pace.FIRST_PAUSE):
        assert calls.allows_threads()
        calls.report(True, 1, 0.1)
    assert not calls.allows_threads()
    calls.report(False, 1, 100.0)
    assert not calls.allows_threads()
    calls.report(False, 1, 0.05)
    assert not calls.allows_threads()  # which was faster


def test_the_length_is_read_when_it_is_needed(monkeypatch):
    calls = CallPacing()
    monkeypatch.setattr(pacing, "CALL_SECONDS", 1e9)
    calls.report(True, 1, 1e-3)
    assert calls.steps(10**15) == pytest.approx(1e12)
