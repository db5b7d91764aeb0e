"""Dropout: its random numbers, and the compiled training step with it."""

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.cpu.network.dropout import drop_units, dropout_loops
from fastnn.kernels.network import device
from fastnn.kernels.shared import pacing
from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.tables.activations import HIDDEN
from fastnn.tables.dropout import Dropout, is_dropped, philox, random_words
from fastnn.tables.optimizers import Optimizer
from tests import reference
from tests.kernels.cpu.network.test_mlp_kernels import (
    DTYPES,
    GUARD,
    SAMPLES,
    SEVEN,
    from_panels,
    guarded,
    to_panels,
)
from tests.networks.test_network import bound, data, optimizer_for
from tests.reference import ReferenceNetwork, dropout_factors

SEED = 3 + (5 << 40)

# Random numbers.


@jit
def compiled_philox(counter, key, out):
    out[0], out[1], out[2], out[3] = philox(counter[0], counter[1], counter[2], counter[3], key[0], key[1])


@jit
def compiled_words(seed, step, layer, sample, block, out):
    out[0], out[1], out[2], out[3] = random_words(seed, step, layer, sample, block)


@jit
def draw(seed, threshold, out):
    """out[step, layer, sample, unit] = whether the unit is dropped."""
    for step in range(out.shape[0]):
        for layer in range(out.shape[1]):
            for sample in range(out.shape[2]):
                for unit in range(out.shape[3]):
                    out[step, layer, sample, unit] = is_dropped(seed, step, layer, sample, unit, threshold)


# Known answers of Random123, the library of the generator's authors: rounds, counter, key, words.
KNOWN = [
    (7, "00000000 00000000 00000000 00000000", "00000000 00000000", "5f6fb709 0d893f64 4f121f81 4f730a48"),
    (7, "ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "5207ddc2 45165e59 4d8ee751 8c52f662"),
    (7, "243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "4dfccaba 190a87f0 c47362ba b6b5242a"),
    (10, "00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (10, "ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (10, "243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


@pytest.mark.parametrize(("rounds", "counter", "key", "words"), KNOWN)
def test_known_answers(rounds, counter, key, words):
    counter, key, words = ([int(word, 16) for word in text.split()] for text in (counter, key, words))
    assert list(reference.philox(counter, key, rounds)) == words
    if rounds == 7:
        out = np.empty(4, np.uint64)
        compiled_philox(np.array(counter, np.uint64), np.array(key, np.uint64), out)
        assert out.tolist() == words


@pytest.mark.parametrize("seed", [0, 1, 2**32 - 1, 2**32, SEED, 2**63 - 2])
def test_words_are_those_of_the_place(seed):
    out = np.empty(4, np.uint64)
    for place in ((0, 0, 0, 0), (1, 2, 3, 4), (2**31, 0, 2**20, 2**18), (2**32 - 1, 7, 0, 1)):
        step, layer, sample, block = place
        compiled_words(seed, *place, out)
        expected = reference.philox((block, sample, step, layer), (seed % 2**32, seed >> 32))
        assert out.tolist() == list(expected)
        # As Python's integers too, which are what the simulator of kernels for GPUs has.
        assert [int(word) for word in random_words(seed, *place)] == list(expected)
        assert [bool(is_dropped(seed, step, layer, sample, 4 * block + j, 2**31)) for j in range(4)] == [
            word < 2**31 for word in expected
        ]
    beyond = np.empty(4, np.uint64)
    compiled_words(seed, 2**32 + 5, 1, 2, 3, beyond)
    compiled_words(seed, 5, 1, 2, 3, out)
    assert_array_equal(beyond, out)


def test_rates_are_multiples_of_a_word():
    assert Dropout().threshold == Dropout(np.nextafter(0, 1)).threshold == Dropout(2.0**-34).threshold == 0
    assert Dropout(2.0**-34).scale == Dropout(0.0).scale == 1
    assert (Dropout(2.0**-32).threshold, Dropout(0.5).threshold) == (1, 2**31)
    assert (Dropout(0.5).scale, Dropout(0.75).scale, Dropout(0.75).kept) == (2, 4, 0.25)
    for rate in (np.nextafter(1, 0), 1 - 2.0**-32):
        assert Dropout(rate).threshold == 2**32 - 1
        assert Dropout(rate).scale == 2.0**32
    for rate in (0.1, 0.3, 0.999):
        assert Dropout(rate).scale == pytest.approx(1 / (1 - rate), rel=1e-6)


@pytest.mark.parametrize("rate", [0.01, 0.1, 0.5, 0.9])
def test_as_many_are_kept_as_there_should_be(rate):
    out = np.empty((8, 3, 200, 101), bool)
    draw(SEED, Dropout(rate).threshold, out)
    deviation = np.sqrt(rate * (1 - rate))
    assert abs(out.mean() - rate) < 5 * deviation / np.sqrt(out.size)
    # In every step, layer and unit too.
    for axes in ((1, 2, 3), (0, 2, 3), (0, 1, 2)):
        shares = out.mean(axis=axes)
        assert abs(shares - rate).max() < 5 * deviation / np.sqrt(out.size / shares.size)


@pytest.mark.parametrize("axis", range(4), ids=["steps", "layers", "samples", "units"])
def test_neighbours_are_not_correlated(axis):
    rate, seeds = 0.3, (0, 1, SEED, SEED + 1)
    draws = np.empty((len(seeds), 6, 5, 150, 60), bool)
    for out, seed in zip(draws, seeds, strict=True):
        draw(seed, Dropout(rate).threshold, out)
    z = np.moveaxis((draws - rate) / np.sqrt(rate * (1 - rate)), axis + 1, 0)
    for distance in range(1, min(9, len(z))):
        pairs = z[distance:] * z[:-distance]
        assert abs(pairs.mean()) < 5 / np.sqrt(pairs.size)
    between = draws[1:] != draws[:-1]  # seeds, also where they are neighbours
    assert abs(between.mean() - 2 * rate * (1 - rate)) < 5 / np.sqrt(between.size)


# The kernel.


@jit
def drop(address, n_units, start, stop, at, seed, step, layer, threshold, scale, values):
    drop_units(address, n_units, start, stop, at, seed, step, layer, threshold, scale, values)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("n_units", [1, 2, 3, 4, 5, 7, 12, 33])
def test_units_are_dropped_in_place(dtype, n_units):
    rng, dropout = np.random.default_rng(n_units), Dropout(0.4, SEED)
    for n in SAMPLES:
        values = rng.normal(size=(n_units, n)).astype(dtype)
        factors = dropout_factors(0.4, SEED, 9, 2, n, n_units).astype(dtype)
        values[factors.T == 0] = np.inf  # of a dropped unit nothing is left
        panels = to_panels(values, dtype, extra=1)
        buffer = guarded(3 + panels.size, dtype)
        buffer[3:-GUARD] = panels
        address, scale = dropout_loops.address(0, dtype), dtype(dropout.scale)
        drop(address, n_units, 0, n, 3, SEED, 9, 2, dropout.threshold, scale, buffer)
        got = from_panels(buffer[3:], n_units, n, dtype, extra=1)
        expected = np.where(factors.T == 0, 0, np.where(factors.T == 0, 0, values) * factors.T)
        assert_allclose(got, expected, rtol=1e-6)
        assert not got[factors.T == 0].any()
        # The row of ones behind the units, and what is around.
        assert_array_equal(from_panels(buffer[3:], n_units + 1, n, dtype)[-1], 1)
        assert (buffer[:3] == SEVEN).all()
        assert (buffer[-GUARD:] == SEVEN).all()


# The engine.


def pair(sizes, activation, loss, dtype, dropout):
    """A compiled network and its twin, with the same parameters."""
    options = {"hidden_activation": activation, "loss": loss, "dtype": dtype, "dropout": dropout}
    networks = Network(sizes, **options, backend=HOST), ReferenceNetwork(sizes, **options)
    values = np.random.default_rng(0).normal(size=networks[0].parameters.size) / np.sqrt(max(sizes))
    for one in networks:
        one.parameters[:] = values
    return networks


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("activation", HIDDEN)
@pytest.mark.parametrize(
    ("sizes", "batch"), [([4, 3], 20), ([5, 1, 1], 7), ([64, 100, 10], 50), ([30, 17, 33, 6, 2], 41)]
)
def test_epochs_follow_the_reference(sizes, batch, activation, dtype):
    loss = "log_loss" if sizes[-1] > 1 else "binary_log_loss"
    net, twin = pair(sizes, activation, loss, dtype, Dropout(0.3125, SEED))
    X, Y = data(101, sizes, loss, dtype)
    weight = np.random.default_rng(2).uniform(0.5, 2, size=101).astype(dtype)
    optimizers = [optimizer_for(one) for one in (net, twin)]
    both = [
        bound(one, X, Y, sample_weight=weight, alpha=1e-3, optimizer=optimizer)
        for one, optimizer in zip((net, twin), optimizers, strict=True)
    ]
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for epoch in range(2):
        order = np.random.default_rng(epoch).permutation(101)
        losses = [one.run_epoch(order, batch) for one in both]
        assert losses[0] == pytest.approx(losses[1], rel=tolerance)
        assert_allclose(net.parameters, twin.parameters, atol=tolerance)
        assert optimizers[0].t == optimizers[1].t


@pytest.mark.parametrize("loss", ["log_loss", "poisson"])
@pytest.mark.parametrize("activation", [name for name in HIDDEN if name not in reference.KINKS])
def test_gradient_of_the_thinned_network_is_the_central_difference(activation, loss):
    sizes = [5, 7, 6, 3]
    net, _ = pair(sizes, activation, loss, np.float64, Dropout(0.25, SEED))
    X, Y = data(11, sizes, loss)
    start = net.parameters.copy()

    def step(parameters, learning_rate):
        """One step with the numbers of step 4: the loss before it, and the parameters after it."""
        net.parameters[:] = parameters
        optimizer = Optimizer(
            "momentum", {"momentum": 0.0}, learning_rate=learning_rate, n_parameters=start.size, dtype=float
        )
        optimizer.t = 4
        value = bound(net, X, Y, alpha=0.2, optimizer=optimizer).run_epoch(None, 11)
        return value, net.parameters.copy()

    gradient = start - step(start, 1.0)[1]
    numeric, h = np.empty_like(start), 1e-6
    for i in range(start.size):
        move = np.zeros_like(start)
        move[i] = h
        numeric[i] = (step(start + move, 0.0)[0] - step(start - move, 0.0)[0]) / (2 * h)
    assert_allclose(gradient, numeric, atol=1e-8)
    # Not that of the whole network.
    assert np.abs(gradient - bound(net, X, Y, alpha=0.2).loss_and_gradient()[1]).max() > 1e-3


def test_full_gradient_has_no_dropout():
    sizes = [6, 9, 8, 3]
    X, Y = data(30, sizes)
    for activation in ("relu", "silu"):
        thinned, _ = pair(sizes, activation, "log_loss", np.float64, Dropout(0.5, SEED))
        whole, _ = pair(sizes, activation, "log_loss", np.float64, Dropout())
        ours = bound(thinned, X, Y, optimizer=optimizer_for(thinned))
        ours.run_epoch(None, 30)  # its buffers stay
        whole.parameters[:] = thinned.parameters
        (ours, gradient), (theirs, expected) = (one.loss_and_gradient() for one in (ours, bound(whole, X, Y)))
        assert ours == theirs
        assert_array_equal(gradient, expected)


# With a gradient for each chunk and without, with several outputs and one.
SHAPES = [([64, 100, 10], 200), ([64, 100, 37, 10], 173), ([50, 101, 1], 200), ([300, 40, 1, 3], 64)]


def trained(sizes, batch, dtype, activation="silu", epochs=2):
    loss = "log_loss" if sizes[-1] > 1 else "binary_log_loss"
    X, Y = data(1000, sizes, loss, dtype)
    net, _ = pair(sizes, activation, loss, dtype, Dropout(0.2, SEED))
    optimizer = optimizer_for(net)
    training = bound(net, X, Y, alpha=1e-3, optimizer=optimizer)
    losses = [training.run_epoch(None, batch) for _ in range(epochs)]
    return losses, net.parameters.copy(), optimizer.t


def assert_same(one, other):
    assert one[0] == other[0]
    assert_array_equal(one[1], other[1])
    assert one[2] == other[2]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "batch"), SHAPES)
def test_results_do_not_depend_on_the_number_of_threads(
    sizes, batch, dtype, one_thread, any_size_uses_threads
):
    two = trained(sizes, batch, dtype)
    with one_thread():
        assert_same(trained(sizes, batch, dtype), two)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("sizes", "batch"), SHAPES)
@pytest.mark.parametrize(("parallel", "n_workers", "patience"), [(False, 3, 0), (True, 2, 0)])
def test_results_do_not_depend_on_who_does_the_work(sizes, batch, dtype, parallel, n_workers, patience):
    loss = "log_loss" if sizes[-1] > 1 else "binary_log_loss"
    X, Y = data(450, sizes, loss, dtype)
    results = []
    for how in ((False, 1, 10_000), (parallel, n_workers, patience)):
        net, _ = pair(sizes, "tanh", loss, dtype, Dropout(0.2, SEED))
        optimizer = optimizer_for(net)
        training = bound(net, X, Y, alpha=1e-3, optimizer=optimizer)
        buffers = device.new_step_buffers(
            net.layout.sizes, batch, net.dtype, keep_z=False, n_threads=how[1], keep_whole=True
        )
        buffers.counts[device.STEPS] = 5
        n_batches = -(-450 // batch)
        places = min(how[1], len(buffers.scratch))
        device.run_batches(
            how[0], device.BatchRun(places, how[2], 0, n_batches, batch, 450, True, np.array([1e-3]), 1),
            training._model, training._rows, training._targets, training._steps, buffers,
        )  # fmt: skip
        results.append((net.parameters, buffers.sums[device.TOTAL], optimizer.state))
    for a, b in zip(*results, strict=True):
        assert_array_equal(a, b)


def test_cutting_an_epoch_into_calls_changes_nothing(monkeypatch):
    results = []
    for seconds in (1e9, 0.0):
        monkeypatch.setattr(pacing, "CALL_SECONDS", seconds)
        results.append(trained([8, 16, 3], 20, np.float64))
    assert_same(*results)
    assert results[0][2] == 100


def test_a_batch_of_zero_weight_uses_up_no_number():
    X, Y = data(30, [5, 3])
    weight = np.r_[np.ones(10), np.zeros(10), np.ones(10)]
    kept = np.r_[:10, 20:30]
    results = []
    for rows in (np.arange(30), kept):
        net, _ = pair([5, 8, 3], "tanh", "log_loss", np.float64, Dropout(0.5, SEED))
        optimizer = optimizer_for(net)
        bound(net, X, Y, sample_weight=weight, optimizer=optimizer).run_epoch(rows, 10)
        results.append((net.parameters, optimizer.t))
    assert_array_equal(results[0][0], results[1][0])
    assert results[0][1] == results[1][1] == 2
