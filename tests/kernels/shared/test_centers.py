"""Arithmetic per coordinate of a centre, which the kernels of every device compile."""

import math

import numpy as np
import pytest

from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.shared import centers

CASES = [
    (centers.mean_or_same, (6.0, 4.0, 9.0), 1.5),
    (centers.mean_or_same, (6.0, 0.0, 9.0), 9.0),
    (centers.toward_mean, (1.0, 6.0, 2.0, 0.25), 1.5),
    # Exactly the mean, which 1e17 + 1 (3 - 1e17) is not.
    (centers.toward_mean, (1e17, 6.0, 2.0, 1.0), 3.0),
    (centers.gradient_of, (2.0, 5.0, 3.0, 0.5), 0.5),
    (centers.with_batch, (2.0, 3.0, 4.0, 0.2), 2.0),
    (centers.direction_of, (2.0, 3.0, -6.0), 0.0),
    (centers.squared_change, (5.0, 2.0), 9.0),
    (centers.length_of, (9.0,), 3.0),
]


@pytest.mark.parametrize(
    ("function", "arguments", "expected"), CASES, ids=lambda value: getattr(value, "__name__", str(value))
)
def test_a_coordinate(function, arguments, expected):
    assert function(*arguments) == pytest.approx(expected, rel=1e-15)


def test_a_length_that_is_not_finite_is_no_number():
    assert math.isnan(centers.length_of(math.inf))
    assert math.isnan(centers.length_of(math.nan))


def test_float32_is_taken_for_float64():
    compiled = jit(centers.squared_change)
    a, b = np.float32(1e10), np.float32(0.1)
    assert compiled(a, b) == (float(a) - float(b)) ** 2
