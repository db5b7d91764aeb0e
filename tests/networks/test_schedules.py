"""Learning rates from epoch to epoch."""

import pytest

from fastnn.networks.schedules import SCHEDULES


def test_constant():
    schedule = SCHEDULES["constant"](0.1, 0.5)
    assert schedule.after_epoch(0.1, 1000) == 0.1
    assert schedule.when_stalled(0.1) == (None, "Stopping.")


def test_inverse_scaling():
    schedule = SCHEDULES["invscaling"](0.1, 0.5)
    assert schedule.after_epoch(0.03, 99) == pytest.approx(0.01)
    assert schedule.when_stalled(0.01)[0] is None


def test_adaptive_divides_by_five_down_to_a_millionth():
    schedule = SCHEDULES["adaptive"](0.1, 0.5)
    assert schedule.after_epoch(0.1, 1000) == 0.1
    assert schedule.when_stalled(0.1) == (0.02, "Setting learning rate to 0.020000")
    assert schedule.when_stalled(1e-6) == (None, "Learning rate too small. Stopping.")


def test_each_says_what_it_is():
    """A model's pickle holds one, and they compare by value."""
    for kind in SCHEDULES.values():
        assert kind(0.1, 0.5) == kind(0.1, 0.5)
        assert kind(0.1, 0.5) != kind(0.2, 0.5)
