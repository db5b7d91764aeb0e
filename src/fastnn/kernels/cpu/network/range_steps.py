"""A step of an update rule whose gradient was made elsewhere, on ranges of a vector of parameters."""

from typing import NamedTuple

import numpy as np

from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.cpu.dispatch import step_coefficients, update_parameters
from fastnn.kernels.cpu.network.updates import add_to_average, sum_of_gradient_squares
from fastnn.kernels.shared.value_types import Float64s, Int64s
from fastnn.tables.optimizers import N_COEFFICIENTS, average_share


class RuleStep(NamedTuple):
    """An update rule, and which of its steps is to be made."""

    update: int  # addresses of the loops of the rule
    coefficients: int
    hyper: Float64s  # IN (MAX_HYPER,)
    learning_rate: float
    t: int  # number of the step, from 1
    weight_decay: float  # the others as of ``UpdatePlan``
    max_norm: float
    average_rate: float


class Ranges(NamedTuple):
    """Ranges of a vector of parameters, R of them, and what each has of its own."""

    ends: Int64s  # IN (R,): where each ends, and the next begins
    rates: Float64s  # IN (R,): factor of the step; where it is 0 parameters and state stay
    decays: Float64s  # IN (R,): L2 penalty
    l1_penalties: Float64s  # IN (R,)
    shrinks: Float64s  # IN (R,): factor of the decoupled decay


@jit
def step_on_ranges(step, ranges, scale, parameters, gradient, state, average):
    """Parameters and state after a step; the gradient is (gradient + those of the penalties) * scale.

    parameters : INOUT (n,)
    gradient : IN (n,)
    state : INOUT (n_slots, n)
    average : INOUT (n,) float64, or empty
    """
    real = parameters.dtype.type
    c = np.empty(N_COEFFICIENTS, parameters.dtype)
    step_coefficients(step.coefficients, step.learning_rate, step.t, step.hyper, c)
    share, last = average_share(step.average_rate, step.t), state.shape[0] - 1
    for update in range(0 if step.max_norm < np.inf else 1, 2):
        total, begin = 0.0, 0
        for r in range(ranges.ends.size):
            end, decay, l1 = ranges.ends[r], real(ranges.decays[r]), real(ranges.l1_penalties[r])
            w, g = parameters[begin:end], gradient[begin:end]
            if ranges.rates[r] > 0 and not update:
                total += sum_of_gradient_squares(g, w, decay, l1)
            elif ranges.rates[r] > 0:
                shrink = step.learning_rate * step.weight_decay * ranges.shrinks[r]
                update_parameters(
                    step.update, decay, l1, real(shrink), real(scale),
                    c[0] * real(ranges.rates[r]), c[1], c[2], c[3], c[4], c[5], w, g,
                    state[0, begin:end], state[(last + 1) // 2, begin:end], state[last, begin:end],
                )  # fmt: skip
                if average.size > 0:
                    add_to_average(share, w, average[begin:end])
            begin = end
        norm = np.sqrt(total) * scale
        if norm > step.max_norm:
            scale *= step.max_norm / norm
