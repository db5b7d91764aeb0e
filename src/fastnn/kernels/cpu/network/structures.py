"""The structures that the functions of a training step are called with."""

from typing import NamedTuple

from fastnn.kernels.shared.value_types import Float64s, Int32s, Int64s, Reals, Reals2D

# In place of the address of an activation's loop.
SOFTMAX_LOOP = -1
# Rows of ``UpdatePlan.factors``: of the learning rate and of epsilon, of weights and of biases.
WEIGHT_RATE, WEIGHT_EPSILON, BIAS_RATE, BIAS_EPSILON = range(4)


class LayerStack(NamedTuple):
    """What a forward pass needs. L layers of weights."""

    sizes: Int64s  # IN (L + 1,): units of each layer, inputs first
    w_at: Int64s  # IN (L,): offset of each [W; b], (n_in + 1, n_out), in the parameters
    parameters: Reals  # IN, and OUT of training (n_parameters,)
    activations: Int64s  # IN (L,): address of the loop of each layer's activation; NOTHING, or SOFTMAX_LOOP
    softmax: int  # where a layer has softmax, address of its loop, and of the exponential function's
    exp: int


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
    # Of flags the two targets that they stand for.
    y: Reals  # IN, flat
    codes: Int32s  # IN (n,): where in `y` each row's piece begins; or the flags
    flags: int  # address of the loop of targets that are flags, 32 to a code, of ``output``; or NOTHING
    weights: Reals  # IN (n,), or empty: all 1
    loss: int  # address of the loop of the loss, for the output's activation
    parameters: Reals  # IN (1,) or (n_outputs,): of the loss, for all outputs or for each
    loss_scale: float  # factor of the summed loss
    alpha: float  # L2 penalty
    l1_alpha: float  # L1 penalty


class RowTiles(NamedTuple):
    """Row tiles of a layer's [W; b], one behind the other."""

    number: int  # of the first, among all tiles
    n_tiles: int
    n_out: int  # units of the layer
    begin: int  # place of the first in the parameters
    end: int  # where W ends there, and b begins: behind some of these tiles, or amid the last


class UpdatePlan(NamedTuple):
    """How gradients and updates are made, and where they go."""

    derivatives: Int64s  # IN (L - 1,): address of the loop of each hidden activation's derivative
    keep_z: Int64s  # IN (L - 1,): whether that needs the activation's argument
    softmax_back: int  # address of the loop of softmax's Jacobian, where a hidden layer has it
    # IN (4, L + 1): what each layer's steps are multiplied by, see WEIGHT_RATE; last those of a scale in
    # front. Where the rate of biases is 0 these stay.
    factors: Reals2D
    front: int  # address of the loop of weights behind a scale, of ``front``; NOTHING without
    front_values: Reals  # INOUT (n_in * (n_out + 4),) of the first layer: of that loop; or empty
    update: int  # addresses of the loops of the update rule
    coefficients: int
    hyper: Float64s  # IN (MAX_HYPER,)
    gradient: Reals  # OUT (n_parameters,)
    state: Reals2D  # INOUT (n_slots, n_parameters)
    tile_sums: int  # address of the loop of sums before an update, of ``updates``; NOTHING where no need
    weight_decay: float  # decoupled: times the learning rate, the share that weights lose before a step
    max_norm: float  # to which a longer gradient is scaled down; infinite for any length
    average_rate: float  # of ``fastnn.tables.optimizers.average_share``
    averaging: int  # address of the loop of the average, of ``updates``; NOTHING without
    average: Float64s  # INOUT (n_parameters,): of the parameters after each step; or empty
    drop: int  # address of the loop of dropout; NOTHING without
    threshold: int  # of ``fastnn.tables.dropout.Dropout``
    scale: float
    seed: int


class BatchRun(NamedTuple):
    """Which batches a call of ``run_batches`` goes through, and how."""

    n_workers: int  # threads
    patience: int  # turns that one of them waits for the others, see ``team``
    first_batch: int
    last_batch: int  # exclusive
    batch_size: int
    n_samples: int
    learn: bool
    # IN (n,), n > 0: learning rate of each update of the epoch; those behind the end have the last one's.
    rates: Float64s
    accumulate: int  # batches whose gradients make an update together, where it learns
