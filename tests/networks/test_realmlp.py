"""RealMLP's step against the formulas of its paper, and what its scale of the inputs does to a step."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from fastnn.estimators.mlp.heads import with_smoothing
from fastnn.kernels.shared.threads import use_threads
from fastnn.networks.host_network import HOST
from fastnn.networks.layer_steps import FrontScale
from fastnn.networks.network import Network
from fastnn.networks.one_hot import OneHot
from fastnn.networks.realmlp import StepFactors, real_mlp
from fastnn.networks.rows import HostRows
from fastnn.networks.schedules import CosLog4
from fastnn.tables.losses import head_of
from fastnn.tables.optimizers import Optimizer
from tests.reference_realmlp import ReferenceRealMLP, real_mlp_rates

FACTORS = StepFactors(1.0, 0.1, 6.0)
HYPER = {"beta_1": 0.9, "beta_2": 0.95, "epsilon": 1e-8}
SMOOTHING, RATE, BATCH = 0.1, 0.04, 32


def optimizer_for(network, rule="adamw", **options):
    hyper = HYPER | options.pop("hyper", {})
    return Optimizer(
        rule,
        hyper,
        learning_rate=RATE,
        n_parameters=network.parameters.size,
        dtype=network.dtype,
        **options,
    )


def problem(kind, n, n_in, seed=0):
    """Rows, the engine's targets, those of the formulas, and the head."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, n_in))
    if kind.startswith("numbers"):
        Y = rng.normal(size=(n, int(kind[-1])))
        return X, Y, Y, head_of("squared_error")
    k = int(kind[-1])
    codes = rng.integers(0, k, size=n)
    targets = (1 - SMOOTHING) * np.eye(k)[codes] + SMOOTHING / k
    if k == 2:
        return X, (codes == 1)[:, None], targets, with_smoothing(head_of("binary_log_loss"), SMOOTHING, 2)
    head = with_smoothing(head_of("log_loss"), SMOOTHING, k)
    return X, OneHot(codes.astype(np.int32), k), targets, head


def pair(kind, hidden, n_in, activation, head, n_outputs, factors=FACTORS, dtype=np.float64):
    """The engine's network, and its twin with the same first parameters."""
    rng = np.random.RandomState(3)
    sizes = [n_in, *hidden, n_outputs]
    net = real_mlp(sizes, rng, factors, activation=activation, head=head, dtype=dtype, backend=HOST)
    weights = [W * np.sqrt(len(W)) for W in net.coefs]
    biases = [b.copy() for b in net.intercepts]
    if kind == "classes-2":
        weights[-1], biases[-1] = np.zeros((hidden[-1], 2)), np.zeros(2)
    rates = factors.scale or 0.0, factors.weights, factors.biases
    targets = "numbers" if kind.startswith("numbers") else "classes"
    twin = ReferenceRealMLP(
        np.ones(n_in), weights, biases, activation=activation, targets=targets, factors=rates
    )
    return net, twin


@pytest.mark.parametrize("is_sparse", [False, True])
@pytest.mark.parametrize(("n_in", "hidden"), [(5, (7, 6)), (37, (9, 8, 11)), (300, (40,))])
@pytest.mark.parametrize("kind", ["classes-2", "classes-4", "numbers-1", "numbers-3"])
def test_steps_are_those_of_the_paper(kind, n_in, hidden, is_sparse):
    n_steps = 20
    X, Y, targets, head = problem(kind, BATCH * n_steps // 4, n_in)
    if is_sparse:
        X[np.random.default_rng(1).uniform(size=X.shape) < 0.97] = 0
    activation = "mish" if kind.startswith("numbers") else "selu"
    net, twin = pair(kind, hidden, n_in, activation, head, Y.shape[1])
    rates = real_mlp_rates(RATE, n_steps, np.arange(n_steps)).reshape(4, -1)
    rows = HostRows(sparse.csr_matrix(X) if is_sparse else X)
    bound = net.bind(rows, Y, optimizer=optimizer_for(net))
    rng = np.random.RandomState(7)
    for of_epoch in rates:
        order = rng.permutation(len(X))
        loss, want = bound.run_epoch(order, BATCH, 1, of_epoch), []
        for rate, batch in zip(of_epoch, order.reshape(-1, BATCH), strict=True):
            want.append(twin.step(X[batch], targets[batch], rate))
        # Of a squared error the engine has half.
        factor = 0.5 if kind.startswith("numbers") else 1.0
        assert loss == pytest.approx(factor * np.mean(want), rel=1e-10)
    scale, weights, biases = twin.parts
    assert_allclose(net.layer_steps.front.scale, scale, rtol=1e-10)
    V = [W / np.sqrt(len(W)) for W in weights]
    assert_allclose(net.layer_steps.front.weights, V[0], rtol=1e-10, atol=1e-12)
    V[0] = scale[:, None] * V[0]
    if kind == "classes-2":
        V[-1], biases[-1] = V[-1][:, 1:] - V[-1][:, :1], biases[-1][1:] - biases[-1][:1]
    for got, expected in zip([*net.coefs, *net.intercepts], [*V, *biases], strict=True):
        assert_allclose(got, expected, rtol=1e-10, atol=1e-12)
    assert not np.allclose(scale, 1, atol=0.1)


def test_first_forward_pass_is_that_of_the_formula():
    X, _, _, head = problem("classes-4", 50, 6)
    net, twin = pair("classes-4", (8, 7), 6, "selu", head, 4)
    assert_array_equal(net.outputs(HostRows(X)), 0.25)  # the last layer is zero
    _, weights, biases = twin.parts
    z = X @ weights[0] / np.sqrt(6) + biases[0]
    scale, alpha = 1.0507009873554805, 1.6732632423543772
    want = scale * np.where(z > 0, z, alpha * np.expm1(z))
    assert_allclose(net.outputs(HostRows(X), n_layers=1), want, rtol=1e-12)
    assert np.std(weights[1]) == pytest.approx(1, rel=0.3)


@pytest.mark.parametrize("at", [0, 1, 40, 67, 100, 333, 500, 700, 900, 999])
def test_rate_at_points_of_the_schedule(at):
    n_updates, n_epochs = 10, 100
    schedule = CosLog4(0.04, 0.5, max_iter=n_epochs)
    rates = schedule.rates(0.04, at // n_updates, n_updates)
    want = 0.04 * (1 - np.cos(2 * np.pi * np.log2(1 + 15 * at / 1000))) / 2
    assert rates[at % n_updates] == pytest.approx(want, rel=1e-12)
    if at == 0:
        assert rates[0] == 0


def test_a_step_of_rate_0_leaves_the_parameters_and_not_the_moments():
    X, Y, _, head = problem("classes-4", BATCH, 6)
    net, _ = pair("classes-4", (8,), 6, "selu", head, 4)
    before, optimizer = net.parameters.copy(), optimizer_for(net)
    net.bind(HostRows(X), Y, optimizer=optimizer).run_epoch(None, BATCH, 1, np.zeros(1))
    assert_array_equal(net.parameters, before)
    assert optimizer.t == 1
    assert optimizer.state.any()


def test_without_a_scale_and_with_equal_factors_it_is_any_network():
    X, Y, _, head = problem("classes-4", 3 * BATCH, 4)
    net, _ = pair("classes-4", (8,), 4, "selu", head, 4, StepFactors(1.0, 1.0, None))
    net.layer_steps.factors[:] = 1
    plain = Network((4, 8, 4), hidden_activation="selu", loss=head, dtype=np.float64, backend=HOST)
    plain.load(net.coefs, net.intercepts)
    for one in (net, plain):
        one.bind(HostRows(X), Y, optimizer=optimizer_for(one)).run_epoch(None, BATCH)
    assert_array_equal(net.parameters, plain.parameters)


@pytest.mark.parametrize("sizes", [(5, 9, 3), (40, 256, 256, 7)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_same_bits_for_any_number_of_threads(sizes, dtype):
    X, Y, _, head = problem(f"classes-{sizes[-1]}", 512, sizes[0])
    results = []
    for n_threads in (1, 2):
        net, _ = pair("classes", sizes[1:-1], sizes[0], "selu", head, sizes[-1], dtype=dtype)
        with use_threads(n_threads):
            bound = net.bind(HostRows(X.astype(dtype)), Y, optimizer=optimizer_for(net))
            for _ in range(3):
                bound.run_epoch(None, 256)
        results.append((net.parameters, net.layer_steps.front.values))
    for one, other in zip(*results, strict=True):
        assert_array_equal(one, other)


def test_accumulated_and_clipped_steps_have_the_scale_too():
    X, Y, _, head = problem("classes-4", 4 * BATCH, 6)
    results = []
    for batch_size, accumulate, max_norm in ((2 * BATCH, 1, np.inf), (BATCH, 2, 1e9)):
        net, _ = pair("classes-4", (8,), 6, "selu", head, 4)
        optimizer = optimizer_for(net, max_norm=max_norm)
        net.bind(HostRows(X), Y, optimizer=optimizer).run_epoch(None, batch_size, accumulate)
        results.append((net.parameters, net.layer_steps.front.scale))
    for one, other in zip(*results, strict=True):
        assert_allclose(one, other, rtol=1e-9)


def test_a_scale_of_0_comes_back():
    """Of U = diag(s) V nothing could be made of s where it is 0: V is kept."""
    X, Y, _, head = problem("classes-4", BATCH, 6)
    net, _ = pair("classes-4", (8,), 6, "selu", head, 4)
    net.coefs[-1][...] = np.random.default_rng(0).normal(size=(8, 4))  # else no gradient comes to the scale
    front = net.layer_steps.front
    front.scale[2], net.coefs[0][2] = 0, 0
    net.bind(HostRows(X), Y, optimizer=optimizer_for(net)).run_epoch(None, BATCH)
    assert abs(front.scale[2]) > 0.1
    assert_allclose(net.coefs[0], front.scale[:, None] * front.weights, rtol=1e-12)


def test_front_scale_begins_with_1():
    V = np.arange(6.0).reshape(2, 3)
    front = FrontScale(V, np.float32)
    assert_array_equal(front.weights, V)
    assert_array_equal(front.scale, [1, 1])
    assert front.values.size == 2 * 3 + 4 * 2
