"""A step of an update rule whose gradient was made elsewhere, on ranges of a vector of parameters."""

from typing import NamedTuple

import numpy as np

from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.cpu.dispatch import step_coefficients, update_parameters
from fastnn.kernels.shared.value_types import Float64s
from fastnn.tables.optimizers import N_COEFFICIENTS


class RuleStep(NamedTuple):
    """An update rule, and which of its steps is to be made."""

    update: int  # addresses of the loops of the rule
    coefficients: int
    hyper: Float64s  # IN (MAX_HYPER,)
    learning_rate: float
    t: int  # number of the step, from 1


@jit
def step_on_ranges(step, ends, rates, decays, scale, parameters, gradient, state):
    """Parameters and state after a step of the rule; the gradient is (gradient + decay * parameters) * scale.

    ends : IN (R,), where each range ends, and the next begins
    rates : IN (R,), factor of the step in each; where it is 0 parameters and state stay
    decays : IN (R,)
    parameters : INOUT (n,)
    gradient : IN (n,)
    state : INOUT (n_slots, n)
    """
    real = parameters.dtype.type
    c = np.empty(N_COEFFICIENTS, parameters.dtype)
    step_coefficients(step.coefficients, step.learning_rate, step.t, step.hyper, c)
    begin = 0
    for r in range(ends.size):
        end = ends[r]
        if rates[r] > 0:
            update_parameters(
                step.update, real(decays[r]), real(scale),
                c[0] * real(rates[r]), c[1], c[2], c[3], c[4], c[5],
                parameters[begin:end], gradient[begin:end],
                state[0, begin:end], state[state.shape[0] - 1, begin:end],
            )  # fmt: skip
        begin = end
