"""The pieces of a training step, each against NumPy, with guards around every buffer they write."""

import numpy as np
import pytest
from scipy import sparse

from fastnn.kernels.compiler import targets
from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.cpu.dispatch import activation_loops, derivative_loops
from fastnn.kernels.cpu.network import panel_products, panels
from fastnn.kernels.cpu.network.packing import DEPTH_BLOCK
from fastnn.kernels.cpu.network.step_buffers import new_step_buffers, row_chunks
from fastnn.tables.activations import CODES

DTYPES = [np.float32, np.float64]
GUARD = 64
SEVEN = 7.0


def width_of(dtype):
    return targets.ROW.vector_width(np.dtype(dtype).itemsize)


def columns_of(dtype):
    return width_of(dtype) * targets.ROW.tile_vectors


def whole(n, dtype):
    """n rounded up to vectors."""
    return -(-n // width_of(dtype)) * width_of(dtype)


def guarded(size, dtype):
    """A buffer of sevens and a guard of as many as GUARD behind it."""
    return np.full(size + GUARD, SEVEN, dtype)


def to_panels(M, dtype, *, extra=0):
    """The panels of `width` columns of M (rows, samples), one after the other; `extra` rows of ones below."""
    n = M.shape[1]
    padded = M[:, np.minimum(np.arange(whole(n, dtype)), n - 1)]
    padded = np.vstack([padded, np.ones((extra, padded.shape[1]))])
    step = columns_of(dtype)
    return np.concatenate([padded[:, s : s + step].ravel() for s in range(0, n, step)]).astype(dtype)


def from_panels(buffer, n_rows, n, dtype, *, extra=0):
    """The matrix (n_rows, n) that lies in panels."""
    blocks, at = [], 0
    for s in range(0, n, columns_of(dtype)):
        wide = min(columns_of(dtype), whole(n - s, dtype))
        size = (n_rows + extra) * wide
        blocks.append(buffer[at : at + size].reshape(n_rows + extra, wide)[:n_rows])
        at += size
    return np.hstack(blocks)[:, :n]


@jit
def gather(is_sparse, d, first, start, stop, order, indices, x, indptr, staging, out):
    panels.gather_lanes(is_sparse, d, first, start, stop, order, indices, x, indptr, staging, out)


@jit
def to_columns(n_units, stop, capacity, source, target):
    panels.lanes_to_columns(False, n_units, 0, stop, capacity, 0, 0, source, target)


@jit
def to_rows_of_vectors(n_units, start, stop, source, target):
    panels.lanes_to_columns(True, n_units, start, stop, 0, 0, 0, source, target)


@jit
def to_rows(n_units, stop, source, target):
    panels.lanes_to_rows(n_units, 0, stop, 0, 2, source, target)


@jit
def forward(n_in, n_out, n, x_at, y_at, activation, keep_z, w, in_lanes, zs):
    layer = panel_products.LayerPass(n_in, n_out, 0, n, 3, x_at)
    panel_products.layer_forward(layer, y_at, activation, keep_z, w, in_lanes, zs)


@jit
def backward(n_in, n_out, n, d_at, derivative, w, in_lanes, zs, out, packed):
    layer = panel_products.LayerPass(n_in, n_out, 0, n, 3, 0)
    panel_products.layer_backward(layer, d_at, 0, derivative, w, in_lanes, zs, in_lanes, out, packed)


@jit
def weight_gradient(
    n_in, n_out, first_tile, last_tile, n_chunks, n, capacity, add, in_lanes, in_columns, gradient, sums
):
    part = panel_products.GradientPart(
        n_in, n_out, first_tile, last_tile, 0, n_chunks, n_chunks, n, capacity, 0, 0, 3
    )
    panel_products.weight_gradient(part, add, in_lanes, in_columns, gradient, sums)


@jit
def stride_of(n_units, array):
    return panels.row_stride(n_units, array)


@jit
def chunk_of(chunk, n_chunks, n, array):
    return panels.chunk_samples(chunk, n_chunks, n, array)


SAMPLES = [1, 15, 16, 17, 47, 48, 49, 113]
# Beyond DEPTH_BLOCK a product is summed in several passes.
SHAPES = [
    (1, 1),
    (3, 2),
    (64, 17),
    (13, 40),
    (11, 49),
    (DEPTH_BLOCK - 1, 3),
    (DEPTH_BLOCK, 2),
    (5, 1030),
    (30, 512),
]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_features", [1, 7, 16, 61])
@pytest.mark.parametrize("is_sparse", [False, True])
def test_gathered_samples_lie_along_the_lanes(dtype, n_features, is_sparse):
    rng = np.random.default_rng(n_features)
    X = np.where(rng.random((200, n_features)) < 0.4, rng.normal(size=(200, n_features)), 0).astype(dtype)
    order = rng.permutation(200)
    csr = sparse.csr_array(X)
    x = csr.data if is_sparse else X.ravel()
    staging = np.empty(width_of(dtype) * n_features, dtype)
    for n in SAMPLES:
        out = guarded(whole(n, dtype) * (n_features + 1), dtype)
        arrays = order, csr.indices.astype(np.int32), x, csr.indptr.astype(np.int64), staging, out
        gather(is_sparse, n_features, 4, 0, n, *arrays)
        np.testing.assert_array_equal(out[:-GUARD], to_panels(X[order[4 : 4 + n]].T, dtype, extra=1))
        assert (out[-GUARD:] == SEVEN).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_units", [1, 11, 12, 13, 16, 24, 49, 100])
def test_layouts_hold_the_same_matrix(dtype, n_units):
    rng = np.random.default_rng(n_units)
    for n in SAMPLES:
        M = rng.normal(size=(n_units, n)).astype(dtype)
        source, capacity = to_panels(M, dtype, extra=1), whole(n, dtype)
        columns = guarded(capacity * whole(n_units, dtype), dtype)
        to_columns(n_units, n, capacity, source, columns)
        if n_units == 1:
            np.testing.assert_array_equal(columns[:n], M[0])
        for u in range(0, n_units if n_units > 1 else 0, columns_of(dtype)):
            wide = min(columns_of(dtype), whole(n_units - u, dtype))
            panel = columns[u * capacity :][: n * wide].reshape(n, wide)
            some = M[u : u + wide].T
            np.testing.assert_array_equal(panel[:, : some.shape[1]], some)

        stride = 1 if n_units == 1 else whole(n_units, dtype)
        vectors = guarded(capacity * stride, dtype)
        # Samples may be cut at a panel.
        middle = n // columns_of(dtype) * columns_of(dtype)
        for start, stop in ((0, middle), (middle, n)):
            to_rows_of_vectors(n_units, start, stop, source, vectors)
        got = vectors[: n * stride].reshape(n, stride)
        np.testing.assert_array_equal(got[:, :n_units], M.T)

        rows = guarded((n + 2) * n_units, dtype)
        to_rows(n_units, n, source, rows)
        np.testing.assert_array_equal(rows[2 * n_units : -GUARD].reshape(n, n_units), M.T)
        for buffer in (columns, rows, vectors):
            assert (buffer[-GUARD:] == SEVEN).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), SHAPES)
@pytest.mark.parametrize("activation", ["identity", "tanh", "silu"])
def test_layer_products(dtype, n_in, n_out, activation):
    rng = np.random.default_rng(n_in)
    eps = np.finfo(dtype).eps * (n_in + n_out + max(SAMPLES))
    code = CODES[activation]
    w = rng.normal(size=3 + (n_in + 1) * n_out).astype(dtype)
    W, b = w[3:-n_out].reshape(n_in, n_out), w[-n_out:]
    for n in SAMPLES:
        X = rng.normal(size=(n, n_in)).astype(dtype)
        x = to_panels(X.T, dtype, extra=1)
        y_at = x.size
        in_lanes, zs = (guarded(y_at + whole(n, dtype) * (n_out + 1), dtype) for _ in range(2))
        in_lanes[:y_at] = x
        address = activation_loops.address(code, dtype)
        forward(n_in, n_out, n, 0, y_at, address, True, w, in_lanes, zs)
        Z = X.astype(np.float64) @ W + b
        A = {"identity": Z, "tanh": np.tanh(Z), "silu": Z / (1 + np.exp(-Z))}[activation]
        for buffer, want in ((zs, Z), (in_lanes, A)):
            got = from_panels(buffer[y_at:], n_out, n, dtype, extra=1)
            np.testing.assert_allclose(got, want.T, atol=eps * 8)
            assert (buffer[-GUARD:] == SEVEN).all()
        ones = from_panels(in_lanes[y_at:], n_out + 1, n, dtype)[-1]
        np.testing.assert_array_equal(ones, 1)

        # Backward: the same two layers, with a gradient where the outputs were.
        dZ = rng.normal(size=(n, n_out)).astype(dtype)
        in_lanes[y_at:-GUARD] = to_panels(dZ.T, dtype, extra=1)
        s = 1 / (1 + np.exp(-X.astype(np.float64)))
        if activation == "silu":  # its derivative takes both z and the output
            in_lanes[:y_at] = to_panels((X * s).T, dtype, extra=1)
            zs[:y_at] = to_panels(X.T, dtype, extra=1)
        before, out = in_lanes.copy(), guarded(whole(n, dtype) * (n_in + 1), dtype)
        packed = guarded(DEPTH_BLOCK * targets.ROW.tile_rows + width_of(dtype), dtype)
        address = derivative_loops.address(code, dtype)
        backward(n_in, n_out, n, y_at, address, w, in_lanes, zs, out, packed)
        slope = {
            "identity": np.ones_like(s),
            "tanh": 1 - X.astype(np.float64) ** 2,
            "silu": s + s * (1 - s) * X,
        }
        want = (dZ.astype(np.float64) @ W.T) * slope[activation]
        got = from_panels(out, n_in, n, dtype, extra=1)
        np.testing.assert_allclose(got, want.T, atol=eps * 16 * max(1, np.abs(slope[activation]).max()))
        np.testing.assert_array_equal(in_lanes, before)
        for buffer in (out, packed):
            assert (buffer[-GUARD:] == SEVEN).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), SHAPES)
def test_weight_gradient_of_some_tiles(dtype, n_in, n_out):
    rng = np.random.default_rng(n_in)
    tile_rows = targets.ROW.tile_rows
    n_tiles = -(-(n_in + 1) // tile_rows)
    for n, n_chunks in [*((n, 1) for n in SAMPLES), (3, 2), (200, 2), (200, 3), (173, 5)]:
        X, dZ = rng.normal(size=(n, n_in)).astype(dtype), rng.normal(size=(n, n_out)).astype(dtype)
        capacity = whole(n, dtype)
        columns = np.empty(capacity * whole(n_out, dtype), dtype)
        to_columns(n_out, n, capacity, to_panels(dZ.T, dtype, extra=1), columns)
        # Every chunk of samples begins panels of its own.
        cuts = [chunk_of(chunk, n_chunks, n, X) for chunk in range(n_chunks)]
        lanes = np.concatenate(
            [to_panels(X[start:stop].T, dtype, extra=1) for start, stop in cuts if stop > start]
        )
        want = np.hstack([X, np.ones((n, 1))]).astype(np.float64).T @ dZ
        eps = np.finfo(dtype).eps * n * 8
        first = n_tiles // 2
        gradient, sums = guarded(3 + want.size, dtype), guarded(tile_rows * width_of(dtype), dtype)
        for add in (False, True):
            weight_gradient(
                n_in, n_out, first, n_tiles, n_chunks, n, capacity, add, lanes, columns, gradient, sums
            )
            begin = 3 + first * tile_rows * n_out
            got = gradient[begin:-GUARD].reshape(-1, n_out)
            np.testing.assert_allclose(got, (1 + add) * want[first * tile_rows :], atol=eps)
            assert (gradient[:begin] == SEVEN).all()
            assert (gradient[-GUARD:] == SEVEN).all()
            assert (sums[-GUARD:] == SEVEN).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_out", [1, 2, 17])
def test_weight_gradient_does_not_depend_on_the_chunks(dtype, n_out):
    rng = np.random.default_rng(n_out)
    n, n_in = 500, 30
    X, dZ = rng.normal(size=(n, n_in)).astype(dtype), rng.normal(size=(n, n_out)).astype(dtype)
    capacity = whole(n, dtype)
    columns = np.empty(capacity * whole(n_out, dtype), dtype)
    to_columns(n_out, n, capacity, to_panels(dZ.T, dtype, extra=1), columns)
    results = []
    for n_chunks in (1, 2, 3, 7, 40):
        cuts = [chunk_of(chunk, n_chunks, n, X) for chunk in range(n_chunks)]
        lanes = np.concatenate(
            [to_panels(X[start:stop].T, dtype, extra=1) for start, stop in cuts if stop > start]
        )
        gradient, sums = (guarded(size, dtype) for size in (3 + (n_in + 1) * n_out, 1024))
        tiles = -(-(n_in + 1) // targets.ROW.tile_rows)
        weight_gradient(n_in, n_out, 0, tiles, n_chunks, n, capacity, False, lanes, columns, gradient, sums)
        results.append(gradient)
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_threads", [1, 2, 5, 64])
@pytest.mark.parametrize("sizes", [[4, 3], [64, 100, 10], [300, 333, 7], [1, 1, 1]])
def test_step_buffers_are_cut_whole(dtype, n_threads, sizes):
    for n_rows in (1, 16, 173, 1000):
        buffers = new_step_buffers(np.array(sizes), n_rows, dtype, keep_z=False, n_threads=n_threads)
        assert buffers.capacity % width_of(dtype) == 0
        assert buffers.capacity >= n_rows
        assert buffers.zs is buffers.in_lanes
        n_workers = len(buffers.scratch)
        assert 1 <= n_workers <= n_threads
        assert (buffers.cuts[0], buffers.cuts[-1], buffers.cuts.size) == (
            0,
            len(buffers.tiles),
            n_workers + 1,
        )
        assert (np.diff(buffers.cuts) >= 0).all()
        want = [
            (layer, t) for layer, n in enumerate(sizes[:-1]) for t in range(n // targets.ROW.tile_rows + 1)
        ]
        np.testing.assert_array_equal(buffers.tiles, want)
        for buffer in (
            buffers.in_lanes,
            buffers.in_columns,
            *buffers.scratch,
            *buffers.dz.reshape(2 * n_workers, -1),
        ):
            assert buffer.ctypes.data % 64 == 0
        activations = buffers.capacity * (sum(sizes) + len(sizes)) + 64 * 2 * n_threads  # with ones and slack
        assert buffers.in_lanes.size + buffers.in_columns.size + buffers.dz.size <= 4 * activations
        alone = buffers.on_one_thread()
        assert alone.cuts.size == 2
        # How many gradients are added up is a function of the shape: the result does not depend on threads.
        one = new_step_buffers(np.array(sizes), n_rows, dtype, keep_z=False, n_threads=1)
        assert buffers.partials.shape == alone.partials.shape == one.partials.shape


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_threads", [1, 2, 5])
@pytest.mark.parametrize("sizes", [[4, 3], [5000, 100, 10], [300, 1], [12, 1, 1]])
def test_step_buffers_for_entries_have_no_place_for_a_dense_batch(dtype, n_threads, sizes):
    n_rows, n_entries = 173, 700
    arguments = {"keep_z": True, "n_threads": n_threads, "keep_whole": True, "n_entries": n_entries}
    buffers = new_step_buffers(np.array(sizes), n_rows, dtype, **arguments)
    assert (buffers.cuts[0], buffers.cuts[-1]) == (0, len(buffers.tiles))
    assert (np.diff(buffers.cuts) >= 0).all()
    assert buffers.partials.size == 0
    assert buffers.places.size >= buffers.capacity + sizes[0] + buffers.cuts.size
    assert buffers.samples.size == buffers.in_columns.size - buffers.columns_at[-1] == n_entries
    units = max(sizes[1:])
    # A gradient's rows are whole vectors.
    most = buffers.capacity * (sum(sizes[1:]) + len(sizes)) + buffers.capacity * (width_of(dtype) - 1) * len(
        sizes
    )
    assert max(buffers.in_lanes.size, buffers.columns_at[-1], buffers.zs.size, buffers.whole.size) <= most
    assert buffers.scratch.shape[1] <= 64 + (DEPTH_BLOCK + 1 + 2 * units) * 2 * columns_of(dtype)
    assert buffers.on_one_thread().row_chunks == 1


def test_a_row_of_the_layout_rows_is_whole_vectors():
    for dtype in DTYPES:
        for n_units in (1, 2, 16, 17, 100):
            got = stride_of(n_units, np.empty(1, dtype))
            assert got == (1 if n_units == 1 else whole(n_units, dtype))


def test_rows_are_cut_for_every_thread():
    assert [row_chunks(n, 1) for n in (1, 256, 257)] == [1, 1, 2]
    assert all(row_chunks(n, 3) % 3 == 0 for n in (1, 200, 5000))
