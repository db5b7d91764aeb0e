"""The compiled engine against the NumPy one, central differences, and itself on other threads."""

import numpy as np
import pytest
from scipy import sparse

from fastnn.kernels.network import device
from fastnn.kernels.shared import pacing
from fastnn.networks import host_network
from fastnn.networks.backends import predict
from fastnn.networks.host_network import HOST
from fastnn.networks.layout import Layout
from fastnn.networks.network import Network
from fastnn.networks.rows import HostRows
from fastnn.tables.activations import ACTIVATIONS, HIDDEN
from fastnn.tables.losses import LOSSES
from fastnn.tables.optimizers import CODES, RULES, Optimizer
from tests.reference import ReferenceNetwork, reference_predict

LOSS_NAMES = [loss.name for loss in LOSSES]


def targets_for(loss, n, k, rng):
    """For a loss by name, or for a head."""
    loss = loss if isinstance(loss, str) else loss.loss.name
    if loss == "poisson":
        return rng.poisson(2.0, size=(n, k)).astype(float)
    if loss == "log_loss":
        return np.eye(k)[rng.integers(k, size=n)]
    if loss == "binary_log_loss":
        return rng.integers(2, size=(n, k)).astype(float)
    return rng.normal(size=(n, k))


def pair(sizes, activation="tanh", loss="log_loss", dtype=np.float64, seed=0, **options):
    """A compiled network and its reference with the same random parameters."""
    rng = np.random.default_rng(seed)
    options |= {"hidden_activation": activation, "loss": loss, "dtype": dtype}
    networks = Network(sizes, **options, backend=HOST), ReferenceNetwork(sizes, **options)
    values = rng.normal(size=networks[0].parameters.size) / np.sqrt(max(sizes))
    for one in networks:
        one.parameters[:] = values
    return networks


def data(n, sizes, loss="log_loss", dtype=np.float64, seed=1):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, sizes[0])).astype(dtype)
    return X, targets_for(loss, n, sizes[-1], rng).astype(dtype)


def optimizer_for(net, name="adam", learning_rate=1e-2, **options):
    return Optimizer(
        name,
        RULES[CODES[name]].hyper,
        learning_rate=learning_rate,
        n_parameters=net.parameters.size,
        dtype=net.parameters.dtype,
        **options,
    )


def bound(net, X, Y, **arguments):
    """A network, or a reference network, on data of the host."""
    return net.bind(HostRows(X), Y, **arguments)


def objective(net, X, Y, **arguments):
    """What the gradient is the gradient of.

    scikit-learn reports the squared error as a mean over the outputs and follows the gradient of their sum;
    the penalty counts once in both.
    """
    head = net.loss
    net.loss = head._replace(mean_over_outputs=False)
    loss = bound(net, X, Y, **arguments).loss_and_gradient()[0]
    net.loss = head
    return loss


@pytest.mark.parametrize("loss", LOSS_NAMES)
@pytest.mark.parametrize("activation", HIDDEN)
def test_gradient_is_the_reference_and_the_central_difference(activation, loss):
    sizes = [5, 7, 6, 3]
    net, reference = pair(sizes, activation, loss)
    X, Y = data(11, sizes, loss)
    weight = np.random.default_rng(2).uniform(0.5, 2, size=11)
    for arguments in ({}, {"sample_weight": weight, "alpha": 0.3}):
        value, gradient = bound(net, X, Y, **arguments).loss_and_gradient()
        want, want_gradient = reference.loss_and_gradient(X, Y, **arguments)
        assert value == pytest.approx(want, rel=1e-12)
        np.testing.assert_allclose(gradient, want_gradient, atol=1e-12)
        numeric, h = np.empty_like(gradient), 1e-6
        for i in range(gradient.size):
            sides = []
            for sign in (1, -1):
                net.parameters[i] += sign * h
                sides.append(objective(net, X, Y, **arguments))
                net.parameters[i] -= sign * h
            numeric[i] = (sides[0] - sides[1]) / (2 * h)
        np.testing.assert_allclose(gradient, numeric, atol=1e-8)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
@pytest.mark.parametrize("sizes", [[4, 3], [1, 1, 1], [64, 100, 10], [30, 17, 33, 5, 1]])
def test_epochs_follow_the_reference(sizes, rule, dtype):
    loss = "binary_log_loss"
    net, reference = pair(sizes, "relu", loss, dtype)
    X, Y = data(131, sizes, loss, dtype)
    optimizers = [optimizer_for(one, rule) for one in (net, reference)]
    both = [
        bound(one, X, Y, alpha=1e-3, optimizer=optimizer)
        for one, optimizer in zip((net, reference), optimizers, strict=True)
    ]
    rng = np.random.default_rng(3)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for _ in range(3):
        order = rng.permutation(131)
        losses = [one.run_epoch(order, 50) for one in both]
        assert losses[0] == pytest.approx(losses[1], rel=tolerance)
        np.testing.assert_allclose(net.parameters, reference.parameters, atol=tolerance)
        np.testing.assert_allclose(optimizers[0].state, optimizers[1].state, atol=tolerance)
        assert optimizers[0].t == optimizers[1].t


@pytest.mark.parametrize("activation", ["relu", *[e.name for e in ACTIVATIONS if e.needs_z]])
def test_csr_rows_weights_and_a_subset_of_rows(activation):
    sizes = [20, 9, 4]
    net, reference = pair(sizes, activation)
    X, Y = data(90, sizes)
    X[np.random.default_rng(0).uniform(size=X.shape) < 0.8] = 0
    weight = np.random.default_rng(1).integers(0, 3, size=90).astype(float)
    order = np.random.default_rng(2).permutation(90)[:70]
    arguments = {"sample_weight": weight, "alpha": 0.1}
    got = bound(net, sparse.csr_matrix(X), Y, optimizer=optimizer_for(net), **arguments).run_epoch(order, 32)
    want = reference.train_epoch(optimizer_for(reference), X, Y, order, 32, **arguments)
    assert got == pytest.approx(want, rel=1e-12)
    np.testing.assert_allclose(net.parameters, reference.parameters, atol=1e-12)


@pytest.mark.parametrize("tiny", [0.0, 1e-310])
def test_a_batch_of_zero_weight_changes_nothing(tiny):
    net, _ = pair([3, 4, 2])
    X, Y = data(20, [3, 2])
    weight = np.r_[np.full(10, tiny), np.ones(10)]
    optimizer = optimizer_for(net)
    assert np.isfinite(bound(net, X, Y, sample_weight=weight, optimizer=optimizer).run_epoch(None, 10))
    assert optimizer.t == 1


# With a gradient for each chunk and without, with several outputs and one.
SHAPES = [([64, 100, 10], 200), ([64, 100, 37, 10], 173), ([50, 100, 1], 200), ([300, 40, 1, 3], 64)]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_shapes_are_of_both_kinds(dtype):
    kinds = set()
    for sizes, batch in SHAPES:
        buffers = device.new_step_buffers(Layout(sizes).sizes, batch, dtype, keep_z=False, n_threads=2)
        kinds.add(buffers.partials.size > 0)
    assert kinds == {True, False}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("sizes", "batch"), SHAPES)
def test_results_do_not_depend_on_the_number_of_threads(
    sizes, batch, dtype, one_thread, any_size_uses_threads
):
    loss = "log_loss" if sizes[-1] > 1 else "binary_log_loss"
    X, Y = data(1000, sizes, loss, dtype)

    def train():
        net, _ = pair(sizes, loss=loss, dtype=dtype)
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


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("sizes", "batch"), SHAPES)
@pytest.mark.parametrize(("parallel", "n_workers", "patience"), [(False, 3, 0), (True, 2, 0), (True, 5, 1)])
def test_results_do_not_depend_on_who_does_the_work(sizes, batch, dtype, parallel, n_workers, patience):
    """Workers one after the other, and workers that leave at the first wait."""
    loss = "log_loss" if sizes[-1] > 1 else "binary_log_loss"
    X, Y = data(450, sizes, loss, dtype)
    results = []
    for how in ((False, 1, 10_000), (parallel, n_workers, patience)):
        net, _ = pair(sizes, loss=loss, dtype=dtype)
        optimizer = optimizer_for(net)
        training = bound(net, X, Y, alpha=1e-3, optimizer=optimizer)
        buffers = device.new_step_buffers(net.layout.sizes, batch, net.dtype, keep_z=False, n_threads=how[1])
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


def test_cutting_an_epoch_into_calls_changes_nothing(monkeypatch):
    X, Y = data(500, [8, 3])
    results = []
    for seconds in (1e9, 0.0):
        monkeypatch.setattr(pacing, "CALL_SECONDS", seconds)
        net, _ = pair([8, 16, 3])
        optimizer = optimizer_for(net)
        training = bound(net, X, Y, optimizer=optimizer)
        losses = [training.run_epoch(None, 20) for _ in range(3)]
        results.append((losses, net.parameters.copy(), optimizer.t))
    assert results[0][0] == results[1][0]
    np.testing.assert_array_equal(results[0][1], results[1][1])
    assert results[0][2] == results[1][2] == 75


def test_a_loss_of_nan_stops_the_epoch_before_its_update():
    X, Y = data(60, [5, 3])
    X[25] = np.nan
    stopped, whole = pair([5, 4, 3])[0], pair([5, 4, 3])[0]
    assert np.isnan(bound(stopped, X, Y, optimizer=optimizer_for(stopped)).run_epoch(None, 10))
    bound(whole, X[:20], Y[:20], optimizer=optimizer_for(whole)).run_epoch(None, 10)
    np.testing.assert_array_equal(stopped.parameters, whole.parameters)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
def test_an_infinite_loss_with_a_finite_gradient_does_not_end_the_epoch(dtype):
    """The square of 1e200 (in float32 of 1e25) is infinite, its derivative is not."""
    net, reference = pair([5, 4, 1], loss="squared_error", dtype=dtype)
    X, Y = data(60, [5, 1], "squared_error", dtype)
    Y[55] = 1e200 if dtype == np.float64 else 1e25
    expected = reference.loss_and_gradient(X, np.where(np.arange(60)[:, None] == 55, 1e10, Y))[1]
    loss, gradient = bound(net, X, Y).loss_and_gradient()
    assert loss == np.inf
    # It is that row's, and grows with its target.
    np.testing.assert_allclose(gradient, expected * (Y[55, 0] / 1e10), rtol=1e-5)
    optimizer = optimizer_for(net, "momentum", 1e-3)
    assert bound(net, X, Y, optimizer=optimizer).run_epoch(None, 10) == np.inf
    assert optimizer.t == 6
    assert np.isfinite(net.parameters).all()


def test_gradient_over_blocks_is_the_gradient_over_all(monkeypatch):
    net, _ = pair([6, 9, 3])
    X, Y = data(300, [6, 3])
    value, gradient = bound(net, X, Y, alpha=0.1).loss_and_gradient()
    monkeypatch.setattr(host_network, "GRADIENT_ROWS", 64)
    value_blocks, gradient_blocks = bound(net, X, Y, alpha=0.1).loss_and_gradient()
    assert value_blocks == pytest.approx(value, rel=1e-13)
    np.testing.assert_allclose(gradient_blocks, gradient, atol=1e-14)


@pytest.mark.parametrize("output", ["softmax", "logistic", "identity", "exp"])
@pytest.mark.parametrize("n", [0, 1, 5, 200])
def test_predict(output, n):
    net, _ = pair([7, 12, 5, 3])
    X = np.random.default_rng(0).normal(size=(n, 7))
    arguments = {"hidden_activation": "tanh", "output_activation": output}
    got = predict(X, net.coefs, net.intercepts, **arguments)
    assert got.shape == (n, 3)
    if n:
        want = reference_predict(X, net.coefs, net.intercepts, **arguments)
        np.testing.assert_allclose(got, want, rtol=1e-12)
        np.testing.assert_array_equal(
            predict(sparse.csr_matrix(X), net.coefs, net.intercepts, **arguments), got
        )


def test_softmax_of_known_and_of_large_scores():
    identity = [np.eye(4)], [np.zeros(4)]
    arguments = {"hidden_activation": "relu", "output_activation": "softmax"}
    got = predict(np.array([[3.0, 2.0, 1.0, 0.1]]), *identity, **arguments)
    np.testing.assert_allclose(got[0], [0.642, 0.236, 0.087, 0.035], atol=6e-4)
    large = predict(np.array([[1e4, 1e4 - 1, 0, -1e4]]), *identity, **arguments)
    np.testing.assert_allclose(large[0], [1 / (1 + np.exp(-1)), 1 / (1 + np.e), 0, 0], rtol=1e-12)


def test_layout_is_one_flat_vector_dealt_out_once():
    layout = Layout([5, 40, 3])
    flat = np.arange(layout.n_parameters)
    layers = zip(layout.weights(flat), layout.biases(flat), strict=True)
    parts = [part for layer in layers for part in layer]
    assert [part.shape for part in parts] == [(5, 40), (40,), (40, 3), (3,)]
    np.testing.assert_array_equal(np.concatenate([p.ravel() for p in parts]), flat)
    assert all(np.shares_memory(p, flat) for p in parts)


def test_subnormal_state_is_flushed_and_the_callers_environment_kept():
    net, _ = pair([4, 3, 2], dtype=np.float32)
    X, Y = data(10, [4, 2], dtype=np.float32)
    optimizer = optimizer_for(net)
    optimizer.state[:] = 1e-40
    bound(net, np.zeros_like(X), Y, optimizer=optimizer).run_epoch(None, 10)
    # The first layer's weights got no gradient from zero inputs: only decay, which flushes them.
    assert (optimizer.state[0, :12] == 0).all()
    tiny = np.array([1e-40], np.float32)
    assert tiny[0] * np.float32(1) != 0
