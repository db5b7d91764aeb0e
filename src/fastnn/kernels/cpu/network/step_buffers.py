"""Work buffers of a training step, and how its two phases are cut between threads."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np

from fastnn.kernels.compiler.targets import ROW
from fastnn.kernels.cpu.network.packing import DEPTH_BLOCK
from fastnn.kernels.cpu.network.team import signals_size
from fastnn.kernels.shared.value_types import (
    Float64s,
    Float64s2D,
    Int32s,
    Int64s,
    Int64s2D,
    Reals,
    Reals2D,
    Reals3D,
)
from fastnn.tables.jitable import register_jitable
from fastnn.tables.optimizers import N_COEFFICIENTS

# Samples of one chunk of the rows' phase at most: a block of DEPTH_BLOCK inputs of them lies in the
# second-level cache.
CHUNK_SAMPLES = 256
# The same where each chunk has a gradient of its own: for small networks (``_has_partials``).
PARTIAL_SAMPLES = 128
# Chunks of the weights' phase for every thread where the first layer reads entries: some features have many,
# and who gets them shall leave other chunks to others.
CSR_CHUNKS = 4
# What an element of W costs where the first layer reads entries, in multiply-adds of a product: it is updated
# at the pace of memory.
UPDATE_COST = 50
# How many times farther the samples' values must travel than the gradients, for chunks to have some. On two
# threads, at two times, gradients of their own take 1 to 10% off a step, and add as much where it is one.
_TRAVEL = 2
# Places in `counts`: batches before the end or the first loss that is NaN; steps of the optimiser so far.
DONE, STEPS = range(2)
# Places in `sums`: of the last batch, the summed loss (where it is NaN, nothing came after it) and the
# weight of the rows; of all batches, the losses (with ``learn`` each the mean with penalty, times the rows)
# and the weights; and of the step, the share that weights lose, the factor that clips the gradient, and the
# share of the parameters in their average.
LOSS, WEIGHT, TOTAL, TOTAL_WEIGHT, SHRINK, CLIP, SHARE = range(7)
# Rows of `tile_sums`: of each tile's W the sum of squares and, with an L1 penalty, of magnitudes; and where
# gradients are clipped, of their squares.
SQUARES, MAGNITUDES, GRADIENT_SQUARES = range(3)
_LINE = 64  # bytes of a cache line
_TILE_ROWS, _TILE_VECTORS = ROW.tile_rows, ROW.tile_vectors


class StepBuffers(NamedTuple):
    """Buffers for batches of at most `capacity` samples, in the layouts of ``panels``; of float type T."""

    capacity: int  # a multiple of a vector
    row_chunks: int  # of the rows' phase
    tiles: Int64s2D  # IN (n_tiles, 2): layer and number of each row tile of all [W; b]
    cuts: Int64s  # IN (n_weight_chunks + 1,): first tile of each chunk of the weights' phase
    lanes_at: Int64s  # IN (L + 1,): offset of each layer in `in_lanes`
    columns_at: Int64s  # IN (L + 1,): offset of each layer in `in_columns`, without the inputs
    in_lanes: Reals  # WORK
    in_columns: Reals  # WORK
    zs: Reals  # WORK, as in_lanes where the derivative needs z; else in_lanes itself
    whole: Reals  # WORK, as in_lanes with dropout: the activations before it; else in_lanes itself
    scratch: Reals2D  # WORK (n_workers, scratch_size)
    dz: Reals3D  # WORK (n_workers, 2, samples of a chunk * (1 + units of the widest hidden layer))
    partials: Reals2D  # WORK (row_chunks, n_parameters): each chunk's gradient; (0, 0) without
    # WORK (capacity,): where each sample's targets begin; behind these, of ``csr_layer``, where each
    # feature's entries begin, whose values stand behind the last layer in `in_columns`.
    places: Int64s
    samples: Int32s  # WORK (entries of a batch,): the samples of these entries
    row_loss: Float64s  # WORK (capacity,)
    tile_sums: Float64s2D  # WORK (3, n_tiles), see SQUARES
    signals: Int64s  # WORK, of ``team``
    counts: Int64s  # INOUT (2,), see DONE
    sums: Float64s  # INOUT (7,), see LOSS
    step: Reals  # WORK (N_COEFFICIENTS,): the numbers of the optimiser's step

    def on_one_thread(self) -> "StepBuffers":
        """The same buffers, cut for one thread."""
        if self.partials.size:
            return self._replace(cuts=self.cuts[[0, -1]])
        return self._replace(
            row_chunks=-(-self.capacity // CHUNK_SAMPLES),
            cuts=self.cuts[[0, -1]],
            # All workers' places are large enough for one longer chunk.
            dz=self.dz.reshape(1, 2, -1),
        )


@register_jitable
def _whole_lines(n_elements):
    """At least `n_elements`, such that what follows them begins on a cache line whatever their size."""
    return (n_elements + _LINE - 1) // _LINE * _LINE


@register_jitable
def scratch_size(sizes, width, on_entries):
    """Elements of scratch for a worker, for vectors of `width`.

    on_entries : whether the first layer reads entries of sparse rows (``csr_layer``), not rows in lanes.
    """
    packed = (DEPTH_BLOCK + 1) * max(width, _TILE_ROWS)
    # Rows on the way into lanes; or those of the first layer, and a tile of its gradient.
    staging = max(width, _TILE_ROWS) * sizes[1] if on_entries else width * (sizes[0] + 2)
    targets = width * _TILE_VECTORS * (sizes[sizes.size - 1] + 2)
    return _whole_lines(max(packed, max(staging, targets)))


def aligned_empty(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A new array that starts on a cache line: a vector across two lines is two loads."""
    size = int(np.prod(shape))
    itemsize = np.dtype(dtype).itemsize
    memory = np.empty(size * itemsize + _LINE, np.uint8)
    start = -memory.ctypes.data % _LINE
    return memory[start : start + size * itemsize].view(dtype).reshape(shape)


def row_chunks(n_rows: int, n_threads: int) -> int:
    """Chunks of the rows' phase: as many for every thread."""
    return n_threads * -(-n_rows // (CHUNK_SAMPLES * n_threads))


def _partial_chunks(n_rows: int, width: int) -> int:
    """Chunks with gradients of their own: a function of the shape, for their sum is one of their number."""
    return max(-(-n_rows // PARTIAL_SAMPLES), 2 if n_rows >= 4 * width else 1)


def _has_partials(n_partials: int, n_elements: int) -> bool:
    """Whether chunks of samples have gradients of their own, which are summed in the weights' phase.

    Otherwise that phase computes each weight's gradient over all samples, whose values then travel from the
    core that made them to the others: `n_elements`, where the gradients of all chunks have `n_partials`.
    """
    return _TRAVEL * n_partials <= n_elements


def _offsets(lengths: np.ndarray) -> np.ndarray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)


def _weight_tiles(sizes: np.ndarray, costs: np.ndarray, n_chunks: int) -> tuple[np.ndarray, np.ndarray]:
    """Row tiles of every [W; b], and their cuts into chunks of equal cost; `costs` : of a layer's element."""
    tiles, tile_costs = [], []
    for layer, (n_in, n_out) in enumerate(pairwise(sizes)):
        numbers = np.arange(-(-(n_in + 1) // ROW.tile_rows))
        tiles.append(np.column_stack([np.full_like(numbers, layer), numbers]))
        rows = np.minimum(ROW.tile_rows, n_in + 1 - numbers * ROW.tile_rows)
        tile_costs.append(rows * n_out * costs[layer])
    done = np.concatenate([[0], np.cumsum(np.concatenate(tile_costs))])
    # The boundaries nearest to equal shares.
    shares = np.arange(n_chunks + 1) * (done[-1] / n_chunks)
    cuts = np.abs(done[:, None] - shares).argmin(axis=0)
    return np.concatenate(tiles).astype(np.int64), cuts.astype(np.int64)


def new_step_buffers(
    sizes: np.ndarray,
    n_rows: int,
    dtype: Any,
    *,
    keep_z: bool,
    n_threads: int,
    keep_whole: bool = False,
    n_entries: int | None = None,
) -> StepBuffers:
    """Buffers for training on batches of `n_rows`.

    Parameters
    ----------
    sizes : ndarray of int64 of shape (n_layers + 1,)
        Units of each layer, inputs first.
    n_rows : int
        Rows of a batch at most.
    dtype : numpy dtype
        float32 or float64.
    keep_z : bool
        Whether to keep the arguments of the hidden activations.
    n_threads : int
        Threads to cut the work for; there are places for as many workers as `scratch` has rows.
    keep_whole : bool, default=False
        Whether there is dropout, and the activations before it are kept.
    n_entries : int, default=None
        Entries of a batch at most, where the first layer reads those of sparse rows (``csr_layer``): then no
        buffer has a place for every feature of a sample. None where it reads rows in lanes.

    Returns
    -------
    StepBuffers
    """
    width = ROW.vector_width(np.dtype(dtype).itemsize)
    capacity = -(-n_rows // width) * width
    on_entries = n_entries is not None
    in_lanes_sizes = np.concatenate([[0 if on_entries else sizes[0] + 1], sizes[1:] + 1])
    lanes_at = _offsets(capacity * in_lanes_sizes)
    columns_at = _offsets(
        np.concatenate([[0], capacity * np.where(sizes[1:] == 1, 1, width * -(-sizes[1:] // width))])
    )
    n_parameters = int(((sizes[:-1] + 1) * sizes[1:]).sum())
    vectors = capacity // width
    chunks = _partial_chunks(n_rows, width)
    partial = not on_entries and _has_partials(chunks * n_parameters, int(lanes_at[-1] + columns_at[-1]))
    # More threads than chunks would need buffers and have nothing to do; unless weights outweigh the batch.
    n_workers = n_threads if on_entries else min(n_threads, chunks if partial else vectors)
    if not partial:
        chunks = row_chunks(n_rows, n_workers)
    costs, weight_chunks = np.full(sizes.size - 1, n_rows), n_workers
    if n_entries is not None:
        costs[0] = UPDATE_COST + n_entries // max(1, sizes[0])
        weight_chunks = CSR_CHUNKS * n_workers
    tiles, cuts = _weight_tiles(sizes, costs, weight_chunks)
    dz_size = -(-vectors // chunks) * width * (1 + max([0, *sizes[1:-1]]))
    in_lanes = aligned_empty((lanes_at[-1],), dtype)
    return StepBuffers(
        capacity=capacity,
        row_chunks=chunks,
        tiles=tiles,
        cuts=cuts,
        lanes_at=lanes_at,
        columns_at=columns_at,
        in_lanes=in_lanes,
        in_columns=aligned_empty((int(columns_at[-1]) + (n_entries or 0),), dtype),
        zs=aligned_empty(in_lanes.shape, dtype) if keep_z else in_lanes,
        whole=aligned_empty(in_lanes.shape, dtype) if keep_whole else in_lanes,
        scratch=aligned_empty((n_workers, scratch_size(sizes, width, on_entries)), dtype),
        dz=aligned_empty((n_workers, 2, _whole_lines(dz_size)), dtype),
        partials=aligned_empty((chunks, n_parameters) if partial else (0, 0), dtype),
        places=aligned_empty((capacity + (int(sizes[0]) + cuts.size if on_entries else 0),), np.int64),
        samples=aligned_empty((n_entries or 0,), np.int32),
        row_loss=np.empty(capacity),
        tile_sums=np.zeros((3, len(tiles))),
        signals=aligned_empty((signals_size(max(chunks, cuts.size - 1)),), np.int64),
        counts=np.zeros(2, np.int64),
        sums=np.zeros(7),
        step=np.zeros(N_COEFFICIENTS, dtype),
    )
