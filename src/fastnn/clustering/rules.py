"""How a centre moves in a gradient step: the rules by the names of GradKMeans's parameters."""

from typing import NamedTuple

import numpy as np

from fastnn.kernels.clustering import device
from fastnn.kernels.shared.center_arguments import CenterRule
from fastnn.kernels.shared.center_arguments import Motion as Motion  # where pickled models find it
from fastnn.kernels.shared.codes import CLUSTER, COUNT, MEAN, NEWTON, SQRT, SUM
from fastnn.tables.optimizers import CODES, MAX_HYPER, RULES

REDUCTIONS = {"sum": SUM, "mean": MEAN, "cluster": CLUSTER}
# Ways to move a centre, by name: those of its own, and update rules. Gradient descent, "sgd", is the momentum
# rule with a factor of 0.
OPTIMIZERS = ("sgd", "newton", *(rule.name for rule in RULES if not rule.of_networks))


class Rate(NamedTuple):
    """A rate of each centre's own, which follows from its weight."""

    code: int
    optimizers: tuple[str, ...]  # those that it goes with


# Newton's step has a rate already, and takes the default to mean that.
RATES = {"count": Rate(COUNT, ("sgd", "newton")), "sqrt": Rate(SQRT, ("sgd",))}


def center_rule(
    optimizer: str,
    learning_rate: str | float,
    reduction: str,
    forgetting: float = 0.0,
    *,
    on_sphere: bool = False,
) -> CenterRule:
    """The rule of GradKMeans's parameters; the estimator has seen to it that they go together."""
    hyper = np.zeros(MAX_HYPER)
    if optimizer == "newton":
        rate = 1.0 if isinstance(learning_rate, str) else float(learning_rate)
        return CenterRule(NEWTON, 0, 0, rate, SUM, hyper, on_sphere)
    if isinstance(learning_rate, str):
        hyper[0] = forgetting
        return CenterRule(RATES[learning_rate].code, 0, 0, 1.0, SUM, hyper, on_sphere)
    rule = RULES[CODES["momentum" if optimizer == "sgd" else optimizer]]
    if optimizer != "sgd":
        hyper[: len(rule.hyper)] = list(rule.hyper.values())
    code = CODES[rule.name]
    # Centres move in float64.
    addresses = (
        device.update_address(code, np.float64),
        device.coefficient_loops.address(code, np.float64),
    )
    return CenterRule(code, *addresses, float(learning_rate), REDUCTIONS[reduction], hyper, on_sphere)
