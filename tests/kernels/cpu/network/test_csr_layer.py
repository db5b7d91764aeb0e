"""The first layer on the entries of sparse rows: its pieces against NumPy, networks against dense ones."""

from itertools import product

import numpy as np
import pytest
from scipy import sparse

from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.cpu.dispatch import activation_loops
from fastnn.kernels.cpu.network import csr_layer
from fastnn.kernels.network import device
from fastnn.kernels.simd import tile
from fastnn.networks import data as network_data
from fastnn.networks import host_network
from fastnn.networks.backends import predict
from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.tables.activations import CODES, HIDDEN
from fastnn.tables.dropout import Dropout
from fastnn.tables.losses import LOSSES
from fastnn.tables.optimizers import RULES
from tests import reference
from tests.kernels.cpu.network.test_mlp_kernels import (
    DTYPES,
    GUARD,
    SEVEN,
    from_panels,
    guarded,
    whole,
    width_of,
)
from tests.networks.test_network import bound, data, objective, optimizer_for
from tests.reference import ReferenceNetwork, reference_predict

LOSS_NAMES = [loss.name for loss in LOSSES]


@pytest.fixture(autouse=True)
def every_csr_matrix_by_its_entries(monkeypatch):
    monkeypatch.setattr(network_data, "ENTRY_FEATURES", 0)
    monkeypatch.setattr(network_data, "ENTRY_DENSITY", 1.0)


def sparse_rows(n, d, dtype, *, density=0.2, seed=0):
    """A matrix, and its CSR form with a few stored zeros, rows and columns without entries."""
    rng = np.random.default_rng(seed)
    X = np.where(rng.random((n, d)) < density, rng.normal(size=(n, d)), 0).astype(dtype)
    X[n // 3 : n // 3 + 2] = 0
    X[:, d // 2 : d // 2 + 2] = 0
    stored = sparse.csr_matrix(X)
    stored.data[::7] = 0
    return stored.toarray(), stored


def parts(csr):
    return csr.indices.astype(np.int32), csr.indptr.astype(np.int64), csr.data


@jit
def combine(columns, depth, values, indices, b, stride, out, has_begin):
    panel = tile.TilePanel(b, 3, stride)
    tile.combine_rows(columns, depth, values, 2, indices, 2, panel, out, 1, has_begin)


@jit
def columns_of_batch(first_feature, last_feature, at, n, order, i, p, x, places, samples, values):
    rows = device.OrderedRows(True, x, i, p, order, 0, 0)
    entries = csr_layer.BatchEntries(at, places, samples, 1, values)
    csr_layer.columns_of_batch(first_feature, last_feature, 4, n, rows, entries)


@jit
def forward(model, rows, n, activation, sums, lanes, zs):
    csr_layer.csr_forward(rows.forward, model, rows, 4, 0, n, 5, activation, True, sums, lanes, zs)


@jit
def gradient(first_row, last_row, n_in, n_out, n, values_at, stride, add, places, samples, dz, out):
    entries = csr_layer.BatchEntries(0, places, samples, values_at, dz)
    csr_layer.gradient_of_rows(first_row, last_row, n_in, n_out, n, entries, 0, stride, add, out, 2)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("depth", [0, 1, 2, 37])
def test_rows_are_picked_and_added_up(dtype, depth):
    rng = np.random.default_rng(depth)
    strip = width_of(dtype) * tile.STRIP_VECTORS
    edges = [n * width_of(dtype) + by for n in range(tile.STRIP_VECTORS + 1) for by in (-1, 0, 1)]
    for columns in [*[edge for edge in edges if edge > 0], 3 * strip + 5]:
        for stride in {columns, columns + 3}:
            B = rng.normal(size=(11, stride)).astype(dtype)
            # The last row ends with the memory: nothing behind it may be read or written.
            b = np.concatenate([np.zeros(3, dtype), B.ravel()])
            values = rng.normal(size=depth + 2).astype(dtype)
            indices = rng.integers(11, size=depth + 2).astype(np.int32)
            want = reference.combine_rows(values[2:], indices[2:], B)[:columns]
            for has_begin in (False, True):
                out = guarded(1 + columns, dtype)
                combine(columns, depth, values, indices, b, stride, out, has_begin)
                np.testing.assert_allclose(
                    out[1 : 1 + columns],
                    want + SEVEN * has_begin,
                    atol=(10 + 10 * depth) * np.finfo(dtype).eps,
                )
                assert out[0] == SEVEN
                assert (out[1 + columns :] == SEVEN).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n", "d"), [(1, 1), (1, 9), (16, 5), (50, 40)])
def test_columns_of_a_batch(dtype, n, d):
    csr = sparse_rows(n + 8, d, dtype, density=0.4)[1]
    order = np.random.default_rng(1).permutation(n + 8)
    batch = csr[order[4 : 4 + n]]
    stored = sparse.csr_matrix((np.ones_like(batch.data, dtype=bool), batch.indices, batch.indptr), (n, d))
    want = reference.entries_by_feature(batch.toarray(), stored.toarray())
    places = np.full(d + 8, -7)
    samples, values = np.full(batch.nnz + 1, -7, np.int32), guarded(1 + batch.nnz, dtype)
    cuts = [0, d // 3, d // 3, d // 2, d]
    for chunk in reversed(range(4)):  # whoever comes first
        columns_of_batch(cuts[chunk], cuts[chunk + 1], chunk, n, order, *parts(csr), places, samples, values)
    for chunk in range(4):
        for j in range(cuts[chunk], cuts[chunk + 1]):
            begin, end = places[j + chunk], places[j + chunk + 1]
            np.testing.assert_array_equal(samples[begin:end], want[j][0])
            np.testing.assert_array_equal(values[1 + begin : 1 + end], want[j][1])
    assert places[d + 3] == batch.nnz
    assert (places[d + 4 :] == -7).all()
    assert samples[-1] == -7
    assert values[0] == SEVEN
    assert (values[-GUARD:] == SEVEN).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (9, 2), (40, 17), (33, 32), (600, 12), (20, 300)])
@pytest.mark.parametrize("activation", ["identity", "silu"])
def test_forward(dtype, n_in, n_out, activation):
    rng = np.random.default_rng(n_in)
    eps = np.finfo(dtype).eps * (n_in + 8)
    X, csr = sparse_rows(120, n_in, dtype)
    order = rng.permutation(120)
    w = rng.normal(size=3 + (n_in + 1) * n_out).astype(dtype)
    address = activation_loops.address(CODES[activation], dtype)
    indices, indptr, x = parts(csr)
    loops = csr_layer.csr_forward_loops.address(0, dtype), csr_layer.csr_weights_loops.address(0, dtype)
    rows = device.OrderedRows(True, x, indices, indptr, order, *loops)
    model = device.LayerStack(np.array([n_in, n_out]), np.array([3]), w, np.array([address]), 0, 0)
    for n in (1, 15, 16, 17, 49, 113):
        size = 5 + whole(n, dtype) * (n_out + 1)
        lanes, zs, sums = (guarded(s, dtype) for s in (size, size, width_of(dtype) * n_out))
        forward(model, rows, n, address, sums, lanes, zs)
        Z = X[order[4 : 4 + n]].astype(np.float64) @ w[3:-n_out].reshape(n_in, n_out) + w[-n_out:]
        A = Z if activation == "identity" else Z / (1 + np.exp(-Z))
        for buffer, want in ((zs, Z), (lanes, A)):
            np.testing.assert_allclose(
                from_panels(buffer[5:], n_out, n, dtype, extra=1), want.T, atol=eps * 8
            )
        np.testing.assert_array_equal(from_panels(lanes[5:], n_out + 1, n, dtype)[-1], 1)
        for buffer in (lanes, zs, sums):
            assert (buffer[-GUARD:] == SEVEN).all()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("n_in", "n_out"), [(1, 1), (9, 2), (40, 17), (33, 32), (20, 300)])
@pytest.mark.parametrize("n", [1, 16, 100])
def test_gradient(dtype, n_in, n_out, n):
    rng = np.random.default_rng(n_in)
    X, csr = sparse_rows(n, n_in, dtype)
    stride = 1 if n_out == 1 else whole(n_out, dtype)
    dZ = np.zeros((n, stride), dtype)
    dZ[:, :n_out] = rng.normal(size=(n, n_out))
    # The values of the entries stand behind dZ.
    in_rows = np.concatenate([dZ.ravel(), np.empty(1 + csr.nnz, dtype)])
    places, samples = np.empty(n_in + 1, np.int64), np.empty(csr.nnz, np.int32)
    order = np.arange(-4, n)
    columns_of_batch(0, n_in, 0, n, order, *parts(csr), places, samples, in_rows[dZ.size :])
    want = np.hstack([X, np.ones((n, 1))]).astype(np.float64).T @ dZ[:, :n_out]
    first = n_in // 2
    out = guarded(2 + want[first:].size, dtype)
    for add in (False, True):
        gradient(first, n_in + 1, n_in, n_out, n, dZ.size + 1, stride, add, places, samples, in_rows, out)
        got = out[2:-GUARD].reshape(-1, n_out)
        np.testing.assert_allclose(got, (1 + add) * want[first:], atol=np.finfo(dtype).eps * n * 8)
        assert (out[:2] == SEVEN).all()
        assert (out[-GUARD:] == SEVEN).all()


# Whole networks.


def networks(sizes, activation="relu", loss="log_loss", dtype=np.float64, **arguments):
    """Two compiled networks and the reference, with the same parameters."""
    made = [
        Network(sizes, hidden_activation=activation, loss=loss, dtype=dtype, backend=HOST, **arguments)
        for _ in range(2)
    ]
    values = np.random.default_rng(0).normal(size=made[0].parameters.size) / 4
    for one in made:
        one.parameters[:] = values
    return made


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("activation", HIDDEN)
def test_gradient_is_the_reference_and_the_central_difference(activation, loss):
    sizes = [9, 5, 3]
    net, _ = networks(sizes, activation, loss)
    twin = ReferenceNetwork(sizes, hidden_activation=activation, loss=loss, dtype=np.float64)
    twin.parameters[:] = net.parameters
    dense, X = sparse_rows(14, 9, np.float64, density=0.4)
    Y = data(14, sizes, loss)[1]
    arguments = {"sample_weight": np.random.default_rng(2).uniform(0.5, 2, size=14), "alpha": 0.3}
    value, found = bound(net, X, Y, **arguments).loss_and_gradient()
    want, want_gradient = twin.loss_and_gradient(dense, Y, **arguments)
    assert value == pytest.approx(want, rel=1e-12)
    np.testing.assert_allclose(found, want_gradient, atol=1e-12)
    h = 1e-6
    for i in range(found.size):
        sides = []
        for sign in (1, -1):
            net.parameters[i] += sign * h
            sides.append(objective(net, X, Y, **arguments))
            net.parameters[i] -= sign * h
        assert found[i] == pytest.approx((sides[0] - sides[1]) / (2 * h), abs=1e-8)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
@pytest.mark.parametrize("sizes", [[4, 3], [1, 1, 1], [25, 1], [300, 40, 10], [30, 17, 33, 5, 1]])
def test_epochs_follow_the_reference(sizes, rule, dtype):
    loss = "binary_log_loss"
    net, _ = networks(sizes, loss=loss, dtype=dtype)
    twin = ReferenceNetwork(sizes, hidden_activation="relu", loss=loss, dtype=dtype)
    twin.parameters[:] = net.parameters
    dense, X = sparse_rows(131, sizes[0], dtype)
    Y = data(131, sizes, loss, dtype)[1]
    weight = np.random.default_rng(1).integers(0, 3, size=131).astype(dtype)
    optimizers = [optimizer_for(one, rule) for one in (net, twin)]
    rng = np.random.default_rng(3)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    both = [
        bound(one, rows, Y, sample_weight=weight, alpha=1e-3, optimizer=optimizer)
        for one, rows, optimizer in zip((net, twin), (X, dense), optimizers, strict=True)
    ]
    for _ in range(3):
        order = rng.permutation(131)[:120]
        got, want = (one.run_epoch(order, 50) for one in both)
        assert got == pytest.approx(want, rel=tolerance)
        np.testing.assert_allclose(net.parameters, twin.parameters, atol=tolerance)
        np.testing.assert_allclose(optimizers[0].state, optimizers[1].state, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rate", [0.0, 0.5])
def test_bits_are_those_of_the_dense_rows(dtype, rate):
    """Each sum is the dense one less terms that are zero, wherever chunks have no gradient of their own."""
    sizes = [700, 100, 7]
    dense, X = sparse_rows(300, 700, dtype, density=0.03)
    Y = data(300, sizes, dtype=dtype)[1]
    one, other = networks(sizes, "gelu", dtype=dtype, dropout=Dropout(rate, 5))
    results = []
    for net, rows in ((one, X), (other, dense)):
        optimizer = optimizer_for(net)
        order = np.random.default_rng(0).permutation(300)
        training = bound(net, rows, Y, alpha=1e-3, optimizer=optimizer)
        losses = [training.run_epoch(order, 64) for _ in range(3)]
        arguments = {"hidden_activation": "gelu", "output_activation": "softmax"}
        outputs = predict(rows, net.coefs, net.intercepts, **arguments)
        found = training.loss_and_gradient()
        results.append([losses, net.parameters, optimizer.state, outputs, *found])
    for got, want in zip(*results, strict=True):
        np.testing.assert_array_equal(got, want)


SHAPES = [([900, 100, 10], 200), ([400, 37, 10], 173), ([60, 1], 200), ([300, 40, 1, 3], 64), ([50, 3], 1)]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "batch"), SHAPES)
def test_results_do_not_depend_on_the_number_of_threads(
    sizes, batch, dtype, one_thread, any_size_uses_threads
):
    loss = "log_loss" if sizes[-1] > 1 else "binary_log_loss"
    n = 1000 if batch > 1 else 40
    _, X = sparse_rows(n, sizes[0], dtype, density=0.05)
    Y = data(n, sizes, loss, dtype)[1]

    def train():
        net, _ = networks(sizes, loss=loss, dtype=dtype)
        training = bound(net, X, Y, alpha=1e-3, optimizer=optimizer_for(net))
        losses = [training.run_epoch(None, batch) for _ in range(3)]
        out = predict(X, net.coefs, net.intercepts, hidden_activation="tanh", output_activation="softmax")
        return losses, net.parameters, bound(net, X, Y).loss_and_gradient()[1], out

    two = train()
    with one_thread():
        one = train()
    assert one[0] == two[0]
    for a, b in zip(one[1:], two[1:], strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "batch"), SHAPES[:4])
@pytest.mark.parametrize(("parallel", "n_workers", "patience"), [(False, 3, 0), (True, 2, 0), (True, 5, 1)])
def test_results_do_not_depend_on_who_does_the_work(sizes, batch, dtype, parallel, n_workers, patience):
    loss = "log_loss" if sizes[-1] > 1 else "binary_log_loss"
    _, X = sparse_rows(450, sizes[0], dtype, density=0.05)
    Y = data(450, sizes, loss, dtype)[1]
    results = []
    for how in ((False, 1, 10_000), (parallel, n_workers, patience)):
        net, _ = networks(sizes, loss=loss, dtype=dtype)
        optimizer = optimizer_for(net)
        training = bound(net, X, Y, alpha=1e-3, optimizer=optimizer)
        buffers = device.new_step_buffers(
            net.layout.sizes, batch, net.dtype, keep_z=False, n_threads=how[1], n_entries=X.nnz
        )
        places = min(how[1], len(buffers.scratch))
        n_batches = -(-450 // batch)
        device.run_batches(
            how[0], device.BatchRun(places, how[2], 0, n_batches, batch, 450, True, np.array([1e-3]), 1),
            training._model, training._rows, training._targets, training._steps, buffers,
        )  # fmt: skip
        assert buffers.counts[device.DONE] == n_batches
        results.append((net.parameters, buffers.sums[device.TOTAL], optimizer.state))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("case", ["no entries", "no entries in a batch", "one row", "one entry"])
@pytest.mark.parametrize("dtype", DTYPES)
def test_degenerate_rows(case, dtype):
    dense = np.zeros((1 if case == "one row" else 20, 40), dtype)
    if case == "no entries in a batch":
        dense[8:] = np.random.default_rng(0).normal(size=(12, 40))
    elif case == "one row":
        dense[0, ::3] = 1.5
    elif case == "one entry":
        dense[19, 39] = -2
    Y = data(len(dense), [40, 3], dtype=dtype)[1]
    one, other = networks([40, 6, 3], dtype=dtype)
    for batch, alpha in product((1, 4, 20), (0.0, 0.1)):
        losses = [
            bound(net, rows, Y, alpha=alpha, optimizer=optimizer_for(net)).run_epoch(None, batch)
            for net, rows in ((one, sparse.csr_matrix(dense)), (other, dense))
        ]
        assert losses[0] == pytest.approx(losses[1], rel=1e-5 if dtype == np.float32 else 1e-12)
        np.testing.assert_allclose(
            one.parameters, other.parameters, atol=1e-5 if dtype == np.float32 else 1e-13
        )
        one.parameters[:] = other.parameters


def test_an_order_may_repeat_the_longest_row():
    """What a batch has room for follows from its own rows."""
    dense = np.zeros((50, 64))
    dense[7] = np.random.default_rng(0).normal(size=64)
    dense[8, 3] = 1
    X, Y = sparse.csr_matrix(dense), data(50, [64, 3])[1]
    one, other = networks([64, 5, 3])
    both = [bound(net, rows, Y, optimizer=optimizer_for(net)) for net, rows in ((one, X), (other, dense))]
    for order in (np.arange(50), np.full(50, 7), np.full(50, 8), np.arange(50)[::-1]):
        for training in both:
            training.run_epoch(order, 25)
        np.testing.assert_allclose(one.parameters, other.parameters, atol=1e-12)


def test_gradient_over_blocks_is_the_gradient_over_all(monkeypatch):
    net, _ = networks([60, 9, 3])
    _, X = sparse_rows(300, 60, np.float64)
    Y = data(300, [60, 3])[1]
    value, found = bound(net, X, Y, alpha=0.1).loss_and_gradient()
    monkeypatch.setattr(host_network, "GRADIENT_ROWS", 64)
    in_blocks = bound(net, X, Y, alpha=0.1).loss_and_gradient()
    assert in_blocks[0] == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(in_blocks[1], found, atol=1e-14)


@pytest.mark.parametrize("output", ["softmax", "logistic", "identity", "exp"])
@pytest.mark.parametrize("n", [0, 1, 5, 600])
@pytest.mark.parametrize("sizes", [[90, 12, 5, 3], [90, 3]])
def test_predict(output, n, sizes):
    net, _ = networks(sizes)
    dense, X = sparse_rows(n, 90, np.float64) if n else (np.zeros((0, 90)), sparse.csr_matrix((0, 90)))
    arguments = {"hidden_activation": "tanh", "output_activation": output}
    got = predict(X, net.coefs, net.intercepts, **arguments)
    assert got.shape == (n, 3)
    want = reference_predict(dense, net.coefs, net.intercepts, **arguments)
    np.testing.assert_allclose(got, want, rtol=1e-12)
    np.testing.assert_array_equal(predict(dense, net.coefs, net.intercepts, **arguments), got)


def test_a_non_finite_loss_stops_the_epoch_before_its_update():
    X = sparse_rows(60, 20, np.float64)[1]
    Y = data(60, [20, 3])[1]
    X.data[X.indptr[25]] = np.inf
    stopped, whole_one = networks([20, 4, 3])
    assert not np.isfinite(bound(stopped, X, Y, optimizer=optimizer_for(stopped)).run_epoch(None, 10))
    bound(whole_one, X[:20], Y[:20], optimizer=optimizer_for(whole_one)).run_epoch(None, 10)
    np.testing.assert_array_equal(stopped.parameters, whole_one.parameters)
