"""The structures that the functions of a training step are called with."""

from typing import NamedTuple

from fastnn.kernels.shared.value_types import Float64s, Int32s, Int64s, Reals, Reals2D


class LayerStack(NamedTuple):
    """What a forward pass needs. L layers of weights."""

    sizes: Int64s  # IN (L + 1,): units of each layer, inputs first
    w_at: Int64s  # IN (L,): offset of each [W; b], (n_in + 1, n_out), in the parameters
    parameters: Reals  # IN, and OUT of training (n_parameters,)
    hidden: int  # address of the loop of the hidden layers' activation
    output: int  # address of that of the last one's; with softmax, of the exponential function
    is_softmax: bool


class OrderedRows(NamedTuple):
    """The data: a matrix, dense or CSR, in the order in which its rows are taken."""

    is_sparse: bool
    x: Reals  # IN flat (n * n_features,) or (nnz,)
    indices: Int32s  # IN (nnz,) of CSR; empty for a dense matrix
    indptr: Int64s  # IN (n + 1,) of CSR; empty for a dense matrix
    order: Int64s  # IN (n_used,)
    # Addresses of the functions of ``csr_layer``; NOTHING where the first layer reads rows in lanes.
    forward: int
    weights: int


class LossTargets(NamedTuple):
    """What is learned."""

    # Rows of numbers, (n, n_outputs), with no `codes`; or a vector of which every row's targets are a piece.
    y: Reals  # IN, flat
    codes: Int32s  # IN (n,): where in `y` each row's piece begins; or the flags
    flags: int  # address of the loop of targets that are flags, 32 to a code, of ``output``; or NOTHING
    weights: Reals  # IN (n,), or empty: all 1
    loss: int  # address of the loop of the loss, for the output's activation
    parameter: float  # of the loss
    loss_scale: float  # factor of the summed loss
    alpha: float  # L2 penalty


class UpdatePlan(NamedTuple):
    """How gradients and updates are made, and where they go."""

    derivative: int  # address of the loop of the hidden activation's derivative
    keep_z: bool  # which needs the activation's argument
    update: int  # addresses of the loops of the update rule
    coefficients: int
    hyper: Float64s  # IN (MAX_HYPER,)
    gradient: Reals  # OUT (n_parameters,)
    state: Reals2D  # INOUT (n_slots, n_parameters)
    drop: int  # address of the loop of dropout; NOTHING without
    threshold: int  # of ``fastnn.tables.dropout.Dropout``
    scale: float
    seed: int
