"""From an entry of a registry to the compiled loop over arrays that a kernel calls.

A kernel gets the loop's address as a run-time integer, so one compilation of the kernel serves every network,
and only the entries in use are compiled. Each entry brings a loop of its own: a switch inside the loop would
keep it from becoming vector code.
"""

from collections.abc import Callable
from typing import Any

from fastnn.kernels.compiler.linked import LoopTable
from fastnn.kernels.shared.value_types import Float64s, Real, Reals
from fastnn.tables.activations import ACTIVATIONS, IDENTITY
from fastnn.tables.jitable import register_jitable
from fastnn.tables.losses import HEADS, Head
from fastnn.tables.optimizers import RULES, UpdateRule, on_three_slots


def _value_loop(value: Callable[..., Any]) -> Any:
    @register_jitable
    def loop(z: Reals) -> None:
        for i in range(z.size):
            z[i] = value(z[i])

    return loop


def _derivative_loop(derivative: Callable[..., Any]) -> Any:
    @register_jitable
    def loop(d: Reals, z: Reals, a: Reals) -> None:
        for i in range(d.size):
            d[i] *= derivative(z[i], a[i])

    return loop


@register_jitable
def with_penalties(g, w, decay, l1):
    """The gradient of a loss summed over rows, g, and of ``decay w^2 / 2 + l1 |w|``, at a weight."""
    zero = type(w)(0)
    return (g + decay * w) + (l1 if w > zero else (-l1 if w < zero else zero))


def _update_loop(rule: UpdateRule, *, shrinks: bool) -> Any:
    """shrinks : whether there are an L1 penalty and decoupled decay, which take time"""
    step, n_slots = on_three_slots(rule), rule.n_slots

    @register_jitable
    def loop(
        decay: Real, l1: Real, shrink: Real, scale: Real,
        c0: Real, c1: Real, c2: Real, c3: Real, c4: Real, c5: Real,
        w: Reals, g: Reals, s0: Reals, s1: Reals, s2: Reals,
    ) -> None:  # fmt: skip
        for i in range(w.size):
            old = w[i]
            if shrinks:
                gradient = with_penalties(g[i], old, decay, l1) * scale
                old -= shrink * old
            else:
                gradient = (g[i] + decay * old) * scale
            w[i], s0[i], second, third = step(
                old, gradient, s0[i], s1[i], s2[i], c0, c1, c2, c3, c4, c5
            )  # fmt: skip
            # Slots that a rule has not are others of its own.
            if n_slots > 1:
                s1[i] = second
            if n_slots > 2:
                s2[i] = third

    return loop


def _loss_loop(head: Head) -> Any:
    value, (first, second) = head.loss.value, head.dz_factors

    @register_jitable
    def loop(y: Reals, a: Reals, p: Real) -> None:
        for i in range(y.size):
            target, output = y[i], a[i]
            y[i] = value(target, output, p)
            a[i] = first(target, output, p) * second(output, output)

    return loop


def _coefficients_loop(rule: UpdateRule) -> Any:
    coefficients = rule.coefficients

    @register_jitable
    def fill(learning_rate: float, t: float, hyper: Float64s, c: Reals) -> None:
        c[0], c[1], c[2], c[3], c[4], c[5] = coefficients(learning_rate, hyper, t)

    return fill


# activate(address, z): z[i] <- value(z[i]), in place.
activation_loops = LoopTable(
    "activate",
    {entry.name: None if entry is IDENTITY else _value_loop(entry.value) for entry in ACTIVATIONS},
)

# chain_rule(address, d, z, a): d[i] <- d[i] * f'(z[i]), where a[i] = f(z[i]). d shares no memory with the
# others, or the loop runs one element at a time. z is read only where the entry needs it, and may be a.
derivative_loops = LoopTable(
    "chain-rule", {entry.name: _derivative_loop(entry.derivative) for entry in ACTIVATIONS}
)

# losses_and_dz(address, y, a, p): y[i] <- the loss of output a[i] for target y[i]; a[i] <- its derivative
# with respect to the argument of the output's activation. p is the loss's parameter.
loss_loops = LoopTable(
    "loss",
    {f"{head.loss.name}_{head.output_activation}": _loss_loop(head) for head in HEADS},
)

# update_parameters(address, decay, l1, shrink, scale, c0, ..., c5, w, g, s0, s1, s2): one step on a range of
# parameters, whose gradient is (g + decay w) scale. Behind the loops of all rules come those that know the
# other two numbers: to the gradient belongs l1 sign(w) too, and the step is one from w (1 - shrink).
update_loops = LoopTable(
    "update",
    {rule.name: _update_loop(rule, shrinks=False) for rule in RULES}
    | {f"{rule.name}_shrinking": _update_loop(rule, shrinks=True) for rule in RULES},
)

# step_coefficients(address, learning_rate, t, hyper, c): the numbers of step t, into c.
coefficient_loops = LoopTable("coefficients", {rule.name: _coefficients_loop(rule) for rule in RULES})


def update_address(code: int, dtype: Any, *, shrinks: bool = False) -> int:
    """Where the loop of an update rule lies; `shrinks`, with L1 penalty and decoupled decay."""
    return int(update_loops.address(code + shrinks * len(RULES), dtype))


# What kernels call; Numba knows no attributes of Python objects.
activate = activation_loops.call
chain_rule = derivative_loops.call
losses_and_dz = loss_loops.call
update_parameters = update_loops.call
step_coefficients = coefficient_loops.call
