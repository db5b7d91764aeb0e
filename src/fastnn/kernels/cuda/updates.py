"""One step of an update rule on a range of parameters. A thread has a parameter."""

from functools import cache
from typing import Any

import numpy as np

from fastnn.kernels.cuda import scalars as scalars  # what the rules' functions are, in kernels
from fastnn.kernels.cuda.compat import cuda, device_function, kernel
from fastnn.kernels.cuda.memory import blocks
from fastnn.optimizers import RULES

_THREADS = 256


@cache
def update_kernel(rule: int) -> Any:
    """``w, state <- update(w, (g + decay w) scale, state)``, in place; one slot leaves `s1` alone."""
    update = device_function(RULES[rule].update)
    two = RULES[rule].n_slots == 2

    @kernel
    def update_parameters(decay, scale, c0, c1, c2, c3, c4, c5, w, g, s0, s1):
        i = cuda.grid(1)
        if i < w.shape[0]:
            gradient = (g[i] + decay * w[i]) * scale
            second = s1[i] if two else scale
            w[i], s0[i], second = update(w[i], gradient, s0[i], second, c0, c1, c2, c3, c4, c5)
            if two:
                s1[i] = second

    return update_parameters


def update_range(
    rule: int,
    learning_rate: float,
    hyper: Any,
    t: int,
    decay: float,
    scale: float,
    w: Any,
    g: Any,
    slots: Any,
) -> None:
    """Step t of a rule on device arrays.

    Parameters
    ----------
    rule : int
        Place in ``RULES``.
    learning_rate : float
    hyper : array-like of shape (MAX_HYPER,)
        The rule's hyperparameters.
    t : int
        Number of the step, from 1.
    decay, scale : float
        The gradient is ``(g + decay w) scale``.
    w, g : device arrays (n,)
        Parameters and what is added up as their gradient.
    slots : sequence of device arrays (n,)
        As many as the rule has.
    """
    if not w.shape[0]:
        return
    real = np.dtype(w.dtype).type
    # Once a step, in float64, as on the CPU.
    numbers = [real(c) for c in RULES[rule].coefficients(learning_rate, hyper, float(t))]
    update_kernel(rule)[blocks(w.shape[0], _THREADS), _THREADS](
        real(decay), real(scale), *numbers, w, g, slots[0], slots[-1]
    )
