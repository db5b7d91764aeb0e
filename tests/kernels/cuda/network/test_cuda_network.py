"""Networks on CUDA: gradients over many rows, and the steps of training, against the reference.

On a GPU, or in the simulator (NUMBA_ENABLE_CUDASIM=1).
"""

from importlib.util import find_spec

import numba
import numpy as np
import pytest

from fastnn.tables.activations import CODES
from fastnn.tables.dropout import Dropout
from fastnn.tables.losses import head_of
from fastnn.tables.optimizers import MAX_HYPER, RULES
from tests import reference

if find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from fastnn.kernels.cuda.network import steps
from fastnn.kernels.cuda.network.layer_by_layer import Gradients
from fastnn.kernels.cuda.network.step_arguments import PENALTY, ROW, SCALE, SHRINK, signature
from fastnn.kernels.cuda.network.steps import Steps
from fastnn.kernels.cuda.runtime.compat import SIMULATED
from fastnn.kernels.cuda.tiles.plain_tile import SIDE
from tests.kernels.cuda.test_cuda_kernels import HEIGHT, TOLERANCE, WIDTH, close, needs_device, on_device

pytestmark = pytest.mark.gpu

NETWORKS = [
    ("relu", "log_loss", np.float32, False),
    ("gelu", "squared_error", np.float64, True),
    ("tanh", "poisson", np.float64, False),
    ("silu", "binary_log_loss", np.float64, True),
    ("tanh", head_of("huber", "softplus")._replace(parameter=0.3), np.float64, True),
]


def network_and_data(hidden, loss, dtype, sizes, n):
    """A network of the reference, and X, Y, weights and an order of n rows; the last batch is short."""
    generator = np.random.default_rng(17)
    network = reference.ReferenceNetwork(sizes, hidden_activation=hidden, loss=loss, dtype=np.float64)
    network.parameters[:] = (0.5 * generator.normal(size=network.parameters.size)).astype(dtype)
    X = generator.normal(size=(n, sizes[0])).astype(dtype)
    Y = np.eye(sizes[-1])[generator.integers(0, sizes[-1], n)].astype(dtype)
    return network, X, Y, generator.uniform(0.5, 2, n).astype(dtype), generator.permutation(n)


@needs_device
@pytest.mark.parametrize(("hidden", "loss", "dtype", "weighted"), NETWORKS)
def test_gradients_over_rows(hidden, loss, dtype, weighted):
    sizes = (3, 5, 4, 2)
    network, X, Y, weights, _ = network_and_data(hidden, loss, dtype, sizes, 7)
    own = weights.astype(float) if weighted else np.ones(7)
    expected, gradient = network.loss_and_gradient(
        X.astype(float), Y.astype(float), sample_weight=own, alpha=0.0
    )
    head = head_of(loss) if isinstance(loss, str) else loss
    adder = Gradients(sizes, CODES[hidden], head, 4, on_device(network.parameters.astype(dtype)))
    data = on_device(X), on_device(Y), on_device(weights) if weighted else None
    total = sum(adder.add(*data, first, n, anew=first == 0) for first, n in ((0, 4), (4, 3)))
    assert total * head.scale(2) / own.sum() == pytest.approx(expected, rel=10 * TOLERANCE[dtype])
    assert close(adder.sum.copy_to_host(), gradient * own.sum(), dtype)


def steps_beside_the_reference(
    hidden, loss, dtype, weighted, rule, sizes, n, batch_size, n_blocks=None, rate=0.0, before=0,
    precision=None, tolerance=None, shrink=0.0,
):  # fmt: skip
    """Two launches of steps against the reference's: parameters, losses and squares of the weights."""
    network, X, Y, weights, order = network_and_data(hidden, loss, dtype, sizes, n)
    dropout = Dropout(rate, 3 + (5 << 40))
    network.rate, network.seed = dropout
    code, entry = next((i, entry) for i, entry in enumerate(RULES) if entry.name == rule)
    hyper, state = np.zeros(MAX_HYPER), np.zeros((3, network.parameters.size))
    hyper[: len(entry.hyper)] = list(entry.hyper.values())
    head = head_of(loss) if isinstance(loss, str) else loss
    steps = Steps(sizes, CODES[hidden], head, code, batch_size, dtype, precision)
    steps.n_blocks = n_blocks or steps.n_blocks
    n_batches = -(-n // batch_size)
    table = np.empty((2 * n_batches, ROW), dtype)
    batches = np.tile(np.arange(n_batches), 2)
    parameters = on_device(network.parameters.astype(dtype))
    slots = [on_device(np.zeros(network.parameters.size, dtype)) for _ in range(entry.n_slots)]
    losses, penalty = [], 0.0
    for t, batch in enumerate(batches, start=1):
        rows = order[batch * batch_size : (batch + 1) * batch_size]
        own = weights[rows].astype(float) if weighted else np.ones(len(rows))
        loss_here, gradient = network.loss_and_gradient(
            X[rows].astype(float), Y[rows].astype(float), sample_weight=own, alpha=0.1,
            factors=network.factors(len(rows), before + t - 1),
        )  # fmt: skip
        squares = sum((W * W).sum() for W in network.coefs)
        losses.append((loss_here - 0.05 * squares / own.sum()) * own.sum())
        penalty += t * squares
        table[t - 1, :SCALE] = entry.coefficients(0.01, hyper, t)
        table[t - 1, SCALE], table[t - 1, PENALTY], table[t - 1, SHRINK] = 1 / own.sum(), t, shrink
        for W in network.coefs:
            W -= shrink * W
        reference.RULES[rule](network.parameters, gradient, state, 0.01, t, *hyper)
    got, squares = on_device(np.full(2 * n_batches, np.nan)), on_device(np.zeros(steps.n_blocks))
    done = on_device(np.zeros(1, np.int64))
    for buffer in steps._units:
        buffer.copy_to_device(np.full(buffer.shape, np.nan, buffer.dtype))
    for begin, end in ((0, 1), (1, 2 * n_batches)):
        steps.run(
            on_device(X), on_device(order), on_device(Y), on_device(weights) if weighted else None,
            on_device(batches), begin, end, on_device(table), 0.1, parameters, slots, got, squares, done,
            dropout, before,
        )  # fmt: skip
        assert done.copy_to_host()[0] == end
    assert close(parameters.copy_to_host(), network.parameters, dtype, tolerance)
    assert close(got.copy_to_host() * head.scale(sizes[-1]), np.array(losses), dtype, tolerance)
    assert squares.copy_to_host().sum() == pytest.approx(penalty, rel=tolerance or 10 * TOLERANCE[dtype])


@needs_device
@pytest.mark.parametrize(("hidden", "loss", "dtype", "weighted"), NETWORKS)
def test_steps_of_a_network(hidden, loss, dtype, weighted):
    steps_beside_the_reference(hidden, loss, dtype, weighted, "adam", (3, 5, 4, 2), 7, 4)


@needs_device
@pytest.mark.parametrize(("hidden", "loss", "dtype", "weighted"), NETWORKS)
def test_steps_with_dropout(hidden, loss, dtype, weighted):
    steps_beside_the_reference(
        hidden, loss, dtype, weighted, "adam", (3, 6, 5, 2), 7, 4, rate=0.375, before=11
    )


@needs_device
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_dropout_of_large_tiles(dtype, chosen_tiles):
    sizes, n = (2, 2 * WIDTH + 1, SIDE + 1, 2), HEIGHT + 1
    steps_beside_the_reference("elu", "log_loss", dtype, False, "momentum", sizes, n, n, rate=0.5)
    assert chosen_tiles == [steps.TILES[np.dtype(dtype).itemsize][1]]


@needs_device
@pytest.mark.parametrize("rule", [entry.name for entry in RULES])
def test_steps_of_every_rule(rule):
    steps_beside_the_reference("relu", "log_loss", np.float64, False, rule, (2, 3, 2), 3, 2)


@needs_device
@pytest.mark.parametrize("rule", ["adamw", "amsgrad", "lion"])
def test_steps_with_decoupled_decay(rule):
    steps_beside_the_reference(
        "tanh", "log_loss", np.float64, True, rule, (2, 3, 2), 3, 2, before=4, shrink=0.125
    )


@needs_device
@pytest.mark.parametrize("sizes", [(1, 1), (SIDE + 1, 2 * SIDE + 1, 3), (HEIGHT, 2, 4 * WIDTH)])
def test_steps_of_ragged_layers(sizes, chosen_tiles):
    steps_beside_the_reference(
        "tanh", "squared_error", np.float64, True, "momentum", sizes, SIDE + 4, SIDE + 1
    )
    assert chosen_tiles == [steps.TILES[8][max(sizes) > HEIGHT]]


@pytest.mark.skipif(not SIMULATED, reason="on a GPU every test of steps has several blocks")
@pytest.mark.parametrize("late", [0, 2])
def test_steps_on_several_blocks(late, monkeypatch):
    from tests.simulated_grid import blocks_at_once

    # More inputs than the grid has threads, and tiles for every block in each phase.
    sizes, n = (11, 2 * SIDE + 1, SIDE), 2 * SIDE + 1
    with blocks_at_once(monkeypatch, late):
        steps_beside_the_reference(
            "gelu", "log_loss", np.float64, True, "adam", sizes, n, SIDE + 1, n_blocks=3, rate=0.25
        )


@needs_device
@pytest.mark.filterwarnings("ignore:.*invalid value")  # of the simulator's scalars
def test_a_loss_of_nan_ends_the_steps():
    network, X, Y, _, order = network_and_data("tanh", "squared_error", np.float64, (2, 3, 1), 6)
    X[order[2]] = np.nan
    steps = Steps((2, 3, 1), CODES["tanh"], head_of("squared_error"), 0, 2, np.float64)
    table = np.zeros((3, ROW))
    table[:, 0] = table[:, SCALE] = 0.1
    parameters, slot = on_device(network.parameters), on_device(np.zeros(network.parameters.size))
    losses, squares = on_device(np.zeros(3)), on_device(np.zeros(steps.n_blocks))
    done = on_device(np.zeros(1, np.int64))
    rest = on_device(np.arange(3)), 0, 3, on_device(table), 0.0, parameters, [slot], losses, squares, done
    steps.run(on_device(X), on_device(order), on_device(Y), None, *rest)
    assert done.copy_to_host()[0] == 1
    losses = losses.copy_to_host()
    assert np.isfinite(losses).tolist() == [True, False, True]
    assert losses[2] == 0  # not reached
    rows = order[:2]
    _, gradient = network.loss_and_gradient(X[rows], Y[rows], sample_weight=np.ones(2), alpha=0.0)
    assert close(parameters.copy_to_host(), network.parameters - 0.1 * gradient * 2 * 0.1, np.float64)


@needs_device
@pytest.mark.parametrize(
    ("hidden", "dtype", "weighted"), [("relu", np.float32, False), ("gelu", np.float64, True)]
)
def test_a_launch_gets_what_the_kernel_is_compiled_for(hidden, dtype, weighted, monkeypatch):
    """Nobody looks at the types of what a launch gets: they are those that the kernel is compiled for."""
    given = []

    class Launch:
        def __init__(self, kernel):
            self.kernel = kernel

        def __getitem__(self, grid):
            def run(*arguments):
                given.append(tuple(map(numba.typeof, arguments)))
                self.kernel[grid](*arguments)

            return run

    def watched(*arguments):
        made = steps.Steps(*arguments)
        made._train = Launch(made._train)
        return made

    monkeypatch.setitem(globals(), "Steps", watched)
    steps_beside_the_reference(hidden, "log_loss", dtype, weighted, "adam", (3, 4, 2), 5, 3, rate=0.25)
    assert given == [signature(numba.from_dtype(np.dtype(dtype)))] * 2
