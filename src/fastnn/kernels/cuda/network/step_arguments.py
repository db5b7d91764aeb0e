"""What the kernel of training steps gets, in groups that its phases hand on.

The phases are compiled into the kernel, so a group costs no more there than its fields by themselves.
"""

from typing import Any, NamedTuple

from fastnn.kernels.cuda.runtime.structures import structure_type
from fastnn.kernels.shared.value_types import Float64s, Int64s, Real, Reals, Reals2D, value_type
from fastnn.tables.optimizers import N_COEFFICIENTS

# A row of the table of steps: the rule's coefficients, the gradient's factor, the penalty's, and the share
# that weights lose before the step.
SCALE, PENALTY, SHRINK, ROW = range(N_COEFFICIENTS, N_COEFFICIENTS + 4)


class Batches(NamedTuple):
    """The rows in training, and which of them each step takes."""

    X: Reals  # (n_rows * n_inputs,)
    order: Int64s  # (n,) numbers of the rows, in the order of training
    Y: Reals  # (n_rows * n_outputs,)
    weights: Reals  # (n_rows,), or any array
    weighted: int  # whether the weights count
    p: Real  # the loss's parameter
    numbers: Int64s  # (n_steps,) the batch of each step
    size: int  # rows of a batch, of which the last may have fewer
    n: int


class LayerLayout(NamedTuple):
    """Units of each layer, the inputs first, and where what belongs to a layer begins."""

    sizes: Int64s  # (n_layers + 1,)
    w_at: Int64s  # (n_layers,) in the parameters: W, then b
    a_at: Int64s  # (n_layers + 1,) in the units
    bias_rates: Reals  # (n_layers,) factor of the step of the biases; those with 0 stay


class Parameters(NamedTuple):
    """The parameters (n_parameters,), and the update rule's state; for slots that it has not others stand."""

    w: Reals
    first_slot: Reals
    second_slot: Reals
    third_slot: Reals


class Units(NamedTuple):
    """What a batch leaves in the units of every layer, and each row's loss."""

    A: Reals
    Z: Reals  # A itself where no derivative needs z
    D: Reals  # the loss's derivative by z
    row_loss: Float64s  # (batch_size,)


class DropoutMask(NamedTuple):
    """As ``tables.dropout.Dropout``, with the steps that had been done before the first of the table."""

    before: int
    seed: int
    threshold: int
    scale: Real
    kept: Real


class Results(NamedTuple):
    """What the host reads after a launch."""

    losses: Float64s  # (n_steps,)
    squares: Float64s  # (n_blocks,)
    done: Int64s  # (1,)


def signature(real: Any) -> tuple[Any, ...]:
    """Types of the arguments of ``train_kernel``: see there."""
    groups = (Batches, LayerLayout, Parameters, Units, DropoutMask, Results)
    others = {"steps": Reals2D, "decay": Real, "begin": int, "end": int}
    return (
        *[structure_type(group, real) for group in groups],
        *[value_type(name, kind, signature).numba_type(real) for name, kind in others.items()],
    )
