"""How centres move, number by number: scalar functions that the kernels of every device compile.

Devices differ in who goes through the coordinates of a centre, never in what is done to one. Arithmetic is in
float64: it is a thousandth of a batch's, and rates and weights become small and large. (A float32 that stands
beside a float64 is taken for one.)
"""

import math

import numpy as np

from fastnn.kernels.shared.codes import CLUSTER, COUNT, MEAN, SQRT
from fastnn.tables.jitable import register_jitable

# How far the length of a row may be from 1, in eps of its dtype, for the row to be one of unit length.
UNIT_ROUNDING = 8


@register_jitable
def mean_or_same(total, divisor, c):
    """What a coordinate of a cluster's mean is; `c`, that of its centre, where there is nothing to divide by.

    total : of the cluster's rows. divisor : their weight, or the length of their sum on the sphere.
    """
    return c if divisor == 0.0 else total / divisor


@register_jitable
def toward_mean(c, total, n, share):
    """A coordinate of a centre that goes a share of its way to the mean of its rows, whose weight is n."""
    mean = total / n
    # Computed in any case: a choice between two numbers keeps the loop over the coordinates in vectors.
    on_the_way = c + share * (mean - c)
    # c + 1 (mean - c) may differ from the mean in the last bit.
    return mean if share == 1.0 else on_the_way


@register_jitable
def gradient_of(c, total, n, factor):
    """A coordinate of the gradient; `factor` is of ``gradient_factor``."""
    return factor * (n * c - total)


@register_jitable
def with_batch(c, weight, total, scale):
    """A coordinate of the mean of all rows that a centre has had, with those of a batch.

    weight : of the rows before. scale : 1 over that of all.
    """
    return (np.float64(c) * weight + total) * scale


@register_jitable
def direction_of(c, weight, total):
    """What ``with_batch`` scales: not 0 for some coordinate of every centre that has a direction."""
    return np.float64(c) * weight + total


@register_jitable
def squared_change(new, old):
    """The square of how far a coordinate has moved."""
    difference = np.float64(new) - np.float64(old)
    return difference * difference


@register_jitable
def length_of(square):
    """The length of a vector with this square; NaN where that is infinite."""
    return math.sqrt(square) if square < np.inf else np.nan


@register_jitable
def share_of_way(code, rate, n, seen, total):
    """How much of the way to the mean of its rows a centre goes, by a rule of its own.

    code : COUNT, SQRT or NEWTON. n, total : weight of the centre's rows in the batch, and of the batch.
    seen : weight that the centre has had, with this batch.
    """
    if code == COUNT:
        return n / seen
    if code == SQRT:
        return math.sqrt(n / total)
    return rate


@register_jitable
def gradient_factor(reduction, n, total):
    """What ``n_j c_j - s_j`` is multiplied by; arguments as in ``share_of_way``."""
    if reduction == MEAN:
        return 2.0 / total
    if reduction == CLUSTER:
        return 1.0 / n
    return 2.0
