"""Learning rates from epoch to epoch, and from update to update, against formulas written out."""

import math
from itertools import product

import numpy as np
import pytest

from fastnn.networks.schedules import SCHEDULES, Constant

ENDING = [name for name, kind in SCHEDULES.items() if kind.needs_end]


def made(name, rate=0.1, **options):
    return SCHEDULES[name](rate, 0.5, **options)


def cosine(rate, number, total):
    return rate * (1 + math.cos(math.pi * number / total)) / 2


def coslog4(rate, number, total):
    return rate * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * number / total))) / 2


def one_cycle(rate, number, total):
    """The loop over phases of PyTorch's OneCycleLR.get_lr, with its defaults: two phases along a cosine."""
    initial = rate / 25
    lowest = initial / 1e4
    phases = [(0.3 * total - 1, initial, rate), (total - 1, rate, lowest)]
    start_step = 0
    for i, (end_step, start, end) in enumerate(phases):
        if number <= end_step or i == len(phases) - 1:
            share = (number - start_step) / (end_step - start_step)
            return end + (start - end) / 2.0 * (math.cos(math.pi * share) + 1)
        start_step = end_step
    raise AssertionError


FORMULAS = {"cosine": cosine, "one_cycle": one_cycle, "coslog4": coslog4}


def test_the_table():
    assert list(SCHEDULES) == [
        *("constant", "invscaling", "adaptive"),
        *("exponential", "cosine", "one_cycle", "coslog4"),
    ]
    assert list(FORMULAS) == ENDING
    assert [name for name, kind in SCHEDULES.items() if kind.of_descent] == ["invscaling", "adaptive"]


def test_constant():
    schedule = made("constant")
    assert schedule.after_epoch(0.1, 1000) == 0.1
    assert schedule.when_stalled(0.1) == (None, "Stopping.")


def test_inverse_scaling():
    schedule = made("invscaling")
    assert schedule.after_epoch(0.03, 99) == pytest.approx(0.01)
    assert schedule.when_stalled(0.01)[0] is None


def test_adaptive_divides_by_five_down_to_a_millionth():
    schedule = made("adaptive")
    assert schedule.after_epoch(0.1, 1000) == 0.1
    assert schedule.when_stalled(0.1) == (0.02, "Setting learning rate to 0.020000")
    assert schedule.when_stalled(1e-6) == (None, "Learning rate too small. Stopping.")


def test_exponential_multiplies_after_each_epoch():
    schedule = made("exponential", learning_rate_decay=0.5)
    assert schedule.after_epoch(0.1, 1000) == 0.05
    assert schedule.when_stalled(0.1) == (None, "Stopping.")
    assert made("exponential").after_epoch(1.0, 1) == 0.95


def test_those_of_whole_epochs_leave_the_updates_alone():
    for name in SCHEDULES.keys() - FORMULAS.keys():
        assert made(name, max_iter=10).rates(0.1, 3, 7) is None


@pytest.mark.parametrize("name", ENDING)
@pytest.mark.parametrize(("max_iter", "n_updates"), [(1, 1), (1, 3), (5, 2), (10, 1), (3, 10), (20, 50)])
def test_rates_are_the_formula(name, max_iter, n_updates):
    schedule = made(name, 0.3, max_iter=max_iter)
    total = max_iter * n_updates
    found = np.concatenate([schedule.rates(0.3, epoch, n_updates) for epoch in range(max_iter)])
    assert found.dtype == np.float64
    want = [FORMULAS[name](0.3, number, total) for number in range(total)]
    np.testing.assert_allclose(found, want, rtol=1e-12, atol=1e-16)


def test_where_they_begin_and_end():
    """Of 1,000 updates: the ends, the top, and where there is none."""
    rates = {name: made(name, 1.0, max_iter=1).rates(1.0, 0, 1000) for name in ENDING}
    assert rates["cosine"][0] == 1
    assert rates["cosine"][500] == pytest.approx(0.5)
    assert rates["cosine"][-1] == pytest.approx((np.pi / 2000) ** 2, rel=1e-3)
    assert rates["one_cycle"][0] == pytest.approx(1 / 25)
    assert rates["one_cycle"][299] == rates["one_cycle"].max() == 1
    assert rates["one_cycle"][-1] == pytest.approx(1 / 250_000)
    assert rates["coslog4"][0] == 0
    # Back at 0 at 1, 3 and 7 fifteenths, and at the end.
    schedule = made("coslog4", 1.0, max_iter=15)
    assert [epoch for epoch in range(15) if schedule.rates(1.0, epoch, 1)[0] < 1e-12] == [0, 1, 3, 7]
    assert rates["coslog4"][-1] < 1e-3


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("warmup", [0.5, 1, 2, 2.75, 100])
def test_a_warm_up_is_a_factor_of_each_rate(name, warmup):
    n_updates, max_iter = 8, 6
    plain = made(name, 0.2, max_iter=max_iter)
    warm = made(name, 0.2, max_iter=max_iter, warmup_epochs=warmup)
    for epoch, rate in product(range(max_iter), (0.2, 0.04)):
        without, found = (schedule.rates(rate, epoch, n_updates) for schedule in (plain, warm))
        without = [rate] * n_updates if without is None else without
        number = epoch * n_updates + 1 + np.arange(n_updates)
        want = [min(1.0, i / (warmup * n_updates)) * r for i, r in zip(number, without, strict=True)]
        np.testing.assert_allclose([rate] * n_updates if found is None else found, want, rtol=1e-14)
        if epoch >= warmup:
            np.testing.assert_array_equal(found, plain.rates(rate, epoch, n_updates))


def test_schedules_of_older_pickles_go_on():
    """They have two numbers."""
    former = object.__new__(Constant)
    vars(former).update(learning_rate_init=0.1, power_t=0.5)
    assert former.rates(0.1, 5, 3) is None
    assert former == Constant(0.1, 0.5)


def test_each_says_what_it_is():
    """A model's pickle holds one, and they compare by value."""
    for kind in SCHEDULES.values():
        assert kind(0.1, 0.5) == kind(0.1, 0.5)
        assert kind(0.1, 0.5) != kind(0.2, 0.5)
