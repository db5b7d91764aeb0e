"""What the kernel of training steps gets, in groups that its phases hand on.

The phases are compiled into the kernel, so a group costs no more there than its fields by themselves.
"""

from typing import Any, NamedTuple

from fastnn.kernels.cuda.runtime.structures import (
    Doubles,
    Int,
    Ints,
    Real,
    RealMatrix,
    Reals,
    field_type,
    structure_type,
)
from fastnn.tables.optimizers import N_COEFFICIENTS

# A row of the table of steps: the rule's coefficients, the gradient's factor, the penalty's.
SCALE, PENALTY, ROW = N_COEFFICIENTS, N_COEFFICIENTS + 1, N_COEFFICIENTS + 2


class Batches(NamedTuple):
    """The rows in training, and which of them each step takes."""

    X: Reals  # (n_rows * n_inputs,)
    order: Ints  # (n,) numbers of the rows, in the order of training
    Y: Reals  # (n_rows * n_outputs,)
    weights: Reals  # (n_rows,), or any array
    weighted: Int  # whether the weights count
    numbers: Ints  # (n_steps,) the batch of each step
    size: Int  # rows of a batch, of which the last may have fewer
    n: Int


class LayerLayout(NamedTuple):
    """Units of each layer, the inputs first, and where what belongs to a layer begins."""

    sizes: Ints  # (n_layers + 1,)
    w_at: Ints  # (n_layers,) in the parameters: W, then b
    a_at: Ints  # (n_layers + 1,) in the units


class Parameters(NamedTuple):
    """The parameters (n_parameters,), and the update rule's state; with one slot both are the same."""

    w: Reals
    first_slot: Reals
    second_slot: Reals


class Units(NamedTuple):
    """What a batch leaves in the units of every layer, and each row's loss."""

    A: Reals
    Z: Reals  # A itself where no derivative needs z
    D: Reals  # the loss's derivative by z
    row_loss: Doubles  # (batch_size,)


class DropoutMask(NamedTuple):
    """As ``tables.dropout.Dropout``, with the steps that had been done before the first of the table."""

    before: Int
    seed: Int
    threshold: Int
    scale: Real
    kept: Real


class Results(NamedTuple):
    """What the host reads after a launch."""

    losses: Doubles  # (n_steps,)
    squares: Doubles  # (n_blocks,)
    done: Ints  # (1,)


def signature(real: Any) -> tuple[Any, ...]:
    """Types of the arguments of ``train_kernel``: see there."""
    groups = (Batches, LayerLayout, Parameters, Units, DropoutMask, Results)
    others = (RealMatrix, Real, Int, Int)
    return (
        *[structure_type(group, real) for group in groups],
        *[field_type(kind, real) for kind in others],
    )
