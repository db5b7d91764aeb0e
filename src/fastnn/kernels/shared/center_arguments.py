"""What the kernels that move centres take, as named tuples: their fields are written down here once."""

from typing import NamedTuple

import numpy as np


class CenterRule(NamedTuple):
    """How a centre moves in a gradient step."""

    code: int  # COUNT, SQRT, NEWTON, or a rule of ``optimizers.RULES``
    update: int  # addresses of that rule's loops, on the CPU
    coefficients: int
    rate: float
    reduction: int  # SUM, MEAN or CLUSTER
    hyper: np.ndarray  # (MAX_HYPER,) that rule's; COUNT has the share of `seen` that a step forgets, in [0]
    on_sphere: bool  # whether a centre is divided by its length after the step


class Motion(NamedTuple):
    """What a centre carries from gradient step to step: arrays, changed in place."""

    seen: np.ndarray  # (k,) weight seen so far: N_j
    clock: np.ndarray  # (k,) steps in which the centre moved
    slots: np.ndarray  # (2, k, d) the update rule's state

    @classmethod
    def zeros(cls, k: int, d: int) -> "Motion":
        """The state of centres that have not moved."""
        return cls(np.zeros(k), np.zeros(k), np.zeros((2, k, d)))

    def copy(self) -> "Motion":
        """An independent copy."""
        return Motion(self.seen.copy(), self.clock.copy(), self.slots.copy())

    def forget(self, j: np.ndarray) -> None:
        """Make the centres `j` ones that have not moved."""
        self.seen[j] = 0
        self.clock[j] = 0
        self.slots[:, j] = 0


class Centers(NamedTuple):
    """The centres of gradient steps: arrays, changed in place."""

    C: np.ndarray  # (k, d)
    safe: np.ndarray  # (k, d) the last ones known to have a loss within bounds
    touched: np.ndarray  # (k,) the weight that each had in the epoch


class MiniBatchRule(NamedTuple):
    """When mini-batch steps reassign centres, and when they stop."""

    due_after: float  # rows after which starved centres are looked for; at once where one has no weight
    ratio: float  # share of the largest weight below which a centre is starved; 0 for never
    alpha: float  # weight of one batch in the smoothed inertia
    tol: float  # least squared movement of the centres; 0 for any
    patience: int  # steps without a smoothed inertia below all before; negative for any number
    on_sphere: bool = False
