"""What every update rule can be had with: decay, L1 penalty, clipped gradients, averages; on every path."""

import copy

import numpy as np
import pytest
from scipy import sparse

from fastnn.networks import data as network_data
from fastnn.networks.solvers.averaging import Averaging
from fastnn.tables.dropout import Dropout
from fastnn.tables.optimizers import CODES, RULES, Optimizer, average_share
from tests.networks.test_network import SHAPES, bound, data, pair
from tests.networks.test_tied import SIZES as TIED_SIZES
from tests.networks.test_tied import Twin, tied_network
from tests.reference import nadam_factors

N = 131
DTYPES = [np.float32, np.float64]
# Of the optimiser, of the binding.
OPTIONS = [
    ({"weight_decay": 0.3}, {}),
    ({}, {"l1_alpha": 0.4}),
    ({"max_norm": 0.05}, {"alpha": 0.1}),
    ({"average_rate": 1.0}, {}),
    ({"average_rate": 0.75}, {"alpha": 0.1}),
    ({"weight_decay": 0.3, "max_norm": 0.05, "average_rate": 1.0}, {"alpha": 0.1, "l1_alpha": 0.4}),
]


@pytest.fixture(params=["dense", "sparse", "entries"])
def kind_of_rows(request, monkeypatch):
    """A function of an array; of sparse rows the first layer reads the entries alone, or does not."""
    if request.param == "entries":
        monkeypatch.setattr(network_data, "ENTRY_FEATURES", 0)
        monkeypatch.setattr(network_data, "ENTRY_DENSITY", 1.0)
    return np.ascontiguousarray if request.param == "dense" else sparse.csr_matrix


def optimizer_for(net, name="adam", **options):
    """With a rate so small that rounding does not grow."""
    options = {"learning_rate": 1e-3, "n_parameters": net.parameters.size, "dtype": net.dtype} | options
    optimizer = Optimizer(name, RULES[CODES[name]].hyper, **options)
    optimizer.average[:] = net.parameters if optimizer.average_rate else 0
    return optimizer


def rows(sizes, dtype):
    X, Y = data(N, sizes, dtype=dtype)
    X[np.random.default_rng(0).uniform(size=X.shape) < 0.7] = 0
    return X, Y


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("of_optimizer", "of_binding"), OPTIONS)
@pytest.mark.parametrize("sizes", [[5, 3], [64, 40, 10], [30, 17, 33, 5]])
def test_epochs_follow_the_reference(kind_of_rows, sizes, of_optimizer, of_binding, dtype):
    rates = tuple(np.resize([1.0, 0.0, 0.5], len(sizes) - 1).tolist())
    networks = pair(sizes, dtype=dtype, bias_rates=rates)
    X, Y = rows(sizes, dtype)
    weight = np.random.default_rng(1).uniform(0.5, 2, size=N).astype(dtype)
    # A rule whose bias step is linear in the rate, so that the reference's is the same.
    optimizers = [optimizer_for(net, "nesterov", **of_optimizer) for net in networks]
    both = [
        bound(net, values, Y, optimizer=optimizer, sample_weight=weight, **of_binding)
        for net, values, optimizer in zip(networks, (kind_of_rows(X), X), optimizers, strict=True)
    ]
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for accumulate in (1, 2):
        order = np.random.default_rng(accumulate).permutation(N)
        # 131 rows in batches of 25: the last step has fewer.
        losses = [one.run_epoch(order, 25, accumulate) for one in both]
        assert losses[0] == pytest.approx(losses[1], rel=tolerance)
        np.testing.assert_allclose(networks[0].parameters, networks[1].parameters, atol=tolerance)
        if of_optimizer.get("average_rate"):
            np.testing.assert_allclose(optimizers[0].average, optimizers[1].average, atol=tolerance)
    assert optimizers[0].t == 6 + 3


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("rule", [rule.name for rule in RULES])
def test_every_rule_with_everything(rule, dtype):
    sizes = [20, 30, 10]
    networks = pair(sizes, dtype=dtype, dropout=Dropout(0.25, 7))
    X, Y = rows(sizes, dtype)
    options = {"weight_decay": 0.3, "max_norm": 0.05, "average_rate": 0.5}
    optimizers = [optimizer_for(net, rule, **options) for net in networks]
    for net, optimizer in zip(networks, optimizers, strict=True):
        bound(net, X, Y, optimizer=optimizer, alpha=0.1, l1_alpha=0.4).run_epoch(None, 30)
    tolerance = 2e-4 if dtype == np.float32 else 1e-11
    np.testing.assert_allclose(networks[0].parameters, networks[1].parameters, atol=tolerance)
    np.testing.assert_allclose(optimizers[0].state, optimizers[1].state, atol=tolerance)
    np.testing.assert_allclose(optimizers[0].average, optimizers[1].average, atol=tolerance)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "batch"), SHAPES)
def test_results_do_not_depend_on_the_number_of_threads(
    kind_of_rows, sizes, batch, dtype, one_thread, any_size_uses_threads
):
    loss = "log_loss" if sizes[-1] > 1 else "binary_log_loss"
    X, Y = data(450, sizes, loss, dtype)
    X[X < 1] = 0

    def train():
        net = pair(sizes, loss=loss, dtype=dtype)[0]
        optimizer = optimizer_for(net, "amsgrad", weight_decay=0.3, max_norm=0.05, average_rate=1.0)
        training = bound(net, kind_of_rows(X), Y, alpha=1e-3, l1_alpha=1e-3, optimizer=optimizer)
        losses = [training.run_epoch(None, batch, accumulate) for accumulate in (1, 2)]
        return np.array(losses), net.parameters, optimizer.state, optimizer.average

    two = train()
    with one_thread():
        one = train()
    for a, b in zip(one, two, strict=True):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "batch"), SHAPES)
def test_a_bound_that_is_never_reached_changes_nothing(kind_of_rows, sizes, batch, dtype):
    loss = "log_loss" if sizes[-1] > 1 else "binary_log_loss"
    X, Y = data(300, sizes, loss, dtype)
    results = []
    for options in ({}, {"max_norm": 1e30}):
        net = pair(sizes, loss=loss, dtype=dtype)[0]
        optimizer = optimizer_for(net, **options)
        losses = bound(net, kind_of_rows(X), Y, alpha=1e-3, optimizer=optimizer).run_epoch(None, batch)
        results.append((losses, net.parameters, optimizer.state))
    for a, b in zip(*results, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_step_is_the_gradient_with_the_norm_of_the_bound():
    net = pair([6, 5, 3])[0]
    X, Y = data(40, [6, 3])
    gradient = bound(net, X, Y, alpha=0.2, l1_alpha=0.3).loss_and_gradient()[1]
    before = net.parameters.copy()
    limit = 0.5 * np.linalg.norm(gradient)
    optimizer = optimizer_for(net, "momentum", max_norm=limit, learning_rate=0.1)
    bound(net, X, Y, alpha=0.2, l1_alpha=0.3, optimizer=optimizer).run_epoch(None, 40)
    step = (before - net.parameters) / 0.1
    assert np.linalg.norm(step) == pytest.approx(limit, rel=1e-12)
    np.testing.assert_allclose(step, 0.5 * gradient, atol=1e-13)


def test_gradients_whose_squares_overflow_are_clipped():
    net = pair([5, 4, 1], loss="squared_error", dtype=np.float32)[0]
    X, Y = data(20, [5, 1], "squared_error", np.float32)
    before = net.parameters.copy()
    optimizer = optimizer_for(net, "momentum", max_norm=1.0, learning_rate=0.5)
    bound(net, X, Y + np.float32(1e25), optimizer=optimizer).run_epoch(None, 20)
    assert np.linalg.norm(net.parameters - before) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("loss", ["log_loss", "squared_error"])
def test_the_l1_penalty_is_in_the_loss_and_its_gradient(loss):
    net, reference = pair([5, 7, 3], loss=loss)
    X, Y = data(11, [5, 3], loss)
    net.parameters[3] = reference.parameters[3] = 0  # of slope 0
    arguments = {"sample_weight": np.random.default_rng(2).uniform(0.5, 2, size=11), "l1_alpha": 0.3}
    value, gradient = bound(net, X, Y, **arguments).loss_and_gradient()
    want, want_gradient = reference.loss_and_gradient(X, Y, **arguments)
    assert value == pytest.approx(want, rel=1e-12)
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-13)


@pytest.mark.parametrize("beta_1", [0.0, 0.5, 0.9, 0.999])
@pytest.mark.parametrize("momentum_decay", [0.0, 0.004, 1.0])
def test_nadams_product_of_factors(beta_1, momentum_decay):
    coefficients = RULES[CODES["nadam"]].coefficients
    for t in (1.0, 2.0, 30.0, 2000.0):
        factor, following, product = nadam_factors(t, beta_1, momentum_decay)
        got = coefficients(0.1, np.array([beta_1, 0.999, 1e-8, momentum_decay]), t)
        assert got[4] == pytest.approx((1 - factor) / (1 - product), rel=1e-11)
        assert got[5] == pytest.approx(following / (1 - product * following), rel=1e-11)


@pytest.mark.parametrize(
    ("rule", "step"),
    [
        # With bias corrected both moments are g and g^2: a step of the rate.
        ("adamw", 0.1),
        ("amsgrad", 0.1),
        # 1 / sqrt(1 - 0.99) times the rate.
        ("rmsprop", 1.0),
        ("lion", 0.1),
        # mu_1 = 0.450073, mu_2 = 0.450147: 1 + 0.1 mu_2 / (1 - mu_1 mu_2).
        ("nadam", 0.1 * (1 + 0.1 * 0.450147 / (1 - 0.450073 * 0.450147))),
    ],
)
@pytest.mark.parametrize("gradient", [0.5, -3.0])
def test_first_steps_by_hand(rule, step, gradient):
    entry = RULES[CODES[rule]]
    hyper = np.array(list(entry.hyper.values()))
    state = [0.0] * max(2, entry.n_slots)
    w = entry.update(2.0, gradient, *state, *entry.coefficients(0.1, hyper, 1.0))[0]
    assert w == pytest.approx(2.0 - np.sign(gradient) * step, abs=1e-6)


def test_a_gradient_of_zero_moves_nothing_and_of_nan_everything():
    for entry in RULES:
        hyper, state = np.array(list(entry.hyper.values())), [0.0] * max(2, entry.n_slots)
        coefficients = entry.coefficients(0.1, hyper, 1.0)
        assert entry.update(2.0, 0.0, *state, *coefficients)[0] == 2.0
        assert np.isnan(entry.update(2.0, np.nan, *state, *coefficients)[0])


@pytest.mark.parametrize("t", [1, 2, 5])
def test_shares_of_an_average(t):
    assert average_share(1.0, t) == 1 / t
    assert average_share(0.75, t) == (1.0 if t == 1 else 0.25)


def test_a_mean_of_float32_is_exact():
    n, rate = 20_000, 2.0**-20
    net = pair([1, 1], loss="squared_error", dtype=np.float32)[0]
    net.parameters[:] = 1
    X, Y = np.ones((n, 1), np.float32), np.full((n, 1), -1e3, np.float32)
    optimizer = optimizer_for(net, "lion", average_rate=1.0, learning_rate=rate)
    bound(net, X, Y, optimizer=optimizer).run_epoch(None, 1)
    # All gradients are positive: step t leads to 1 - rate t, which float32 holds.
    np.testing.assert_array_equal(net.parameters, 1 - rate * n)
    np.testing.assert_allclose(optimizer.average, 1 - rate * (n + 1) / 2, rtol=1e-12)


def test_averaging_shows_the_average_and_goes_back():
    net = pair([3, 2])[0]
    X, Y = data(20, [3, 2])
    optimizer = optimizer_for(net, average_rate=1.0)
    averaging = Averaging(net, optimizer)
    bound(net, X, Y, optimizer=optimizer).run_epoch(None, 5)
    last = net.parameters.copy()
    with averaging.shown():
        np.testing.assert_array_equal(net.parameters, optimizer.average)
    np.testing.assert_array_equal(net.parameters, last)
    with pytest.raises(KeyboardInterrupt), averaging.shown():
        raise KeyboardInterrupt
    np.testing.assert_array_equal(net.parameters, last)
    averaging.end()
    np.testing.assert_array_equal(net.parameters, optimizer.average)
    # Another training goes on from the last parameters; from others, where somebody has changed them.
    Averaging(net, optimizer.copy(net.dtype))
    np.testing.assert_array_equal(net.parameters, last)
    net.parameters[:] = 1
    other = optimizer.copy(net.dtype)
    Averaging(net, other)
    np.testing.assert_array_equal(net.parameters, 1)
    np.testing.assert_array_equal(other.average, 1)
    assert not (optimizer.average == 1).any()


def test_an_optimizer_of_an_older_pickle():
    net = pair([3, 2])[0]
    X, Y = data(20, [3, 2])
    new, old = optimizer_for(net), optimizer_for(net)
    for name in ("weight_decay", "max_norm", "average_rate"):
        del vars(old)[name]
    old.hyper = old.hyper[:3]
    results = []
    for optimizer in (new, copy.deepcopy(old).copy(net.dtype)):
        net = pair([3, 2])[0]
        bound(net, X, Y, optimizer=optimizer).run_epoch(None, 5)
        results.append(net.parameters)
    np.testing.assert_array_equal(*results)


def test_tied_weights_with_everything():
    X, Y = data(23, TIED_SIZES, "squared_error")
    net = tied_network(bias_rates=(1.0, 0.0, 0.5, 1.0))[1]
    twin = Twin(net)
    options = {"alpha": 0.1, "l1_alpha": 0.2}
    loss, gradient = twin.loss_and_gradient(X, Y, **options)
    # Biases of rate 0 have no gradient, in the twin too.
    limit = 0.25 * np.linalg.norm(gradient)
    optimizer = optimizer_for(
        net, "momentum", max_norm=limit, weight_decay=0.5, average_rate=1.0, learning_rate=0.1
    )
    assert bound(net, X, Y, optimizer=optimizer, **options).run_epoch(None, 23) == pytest.approx(loss)
    n_weights = net.ranges(0, 0).ends[1]
    rates = np.concatenate([np.full(n, rate) for n, rate in zip(TIED_SIZES[1:], net.bias_rates, strict=True)])
    rates = np.concatenate([np.ones(n_weights), rates])
    want = twin.parameters * np.where(np.arange(rates.size) < n_weights, 1 - 0.1 * 0.5, 1)
    want -= 0.1 * rates * 0.25 * gradient
    np.testing.assert_allclose(net.parameters, want, atol=1e-12)
    np.testing.assert_allclose(optimizer.average, want, atol=1e-12)
