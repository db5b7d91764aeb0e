"""Every backend of the networks: the names that the contract has, and the results of the NumPy twins.

That of CUDA runs on hardware or in the simulator, where every thread is one of Python: the data are tiny.
"""

import inspect
from importlib.util import find_spec

import numpy as np
import pytest

from fastnn.kernels import device_rows
from fastnn.kernels.contract import network as contract
from fastnn.kernels.network import networks_on_device
from fastnn.kernels.shared.device_rows import DeviceRows
from fastnn.networks.backends import rows_and_backend
from fastnn.networks.device_network import DEVICE, DeviceBackend, DeviceNetwork
from fastnn.networks.host_network import HOST, HostBackend, HostNetwork
from fastnn.networks.network import Network
from fastnn.networks.one_hot import OneHot
from fastnn.networks.rows import HostRows
from fastnn.networks.saturation import saturation
from fastnn.tables.dropout import Dropout
from fastnn.tables.losses import LOSSES, Loss, head_of
from tests.networks.test_network import optimizer_for, targets_for
from tests.reference import ReferenceNetwork, reference_predict
from tests.tables.test_losses import head_name

KEPT = {
    contract.NetworkBackend: (HostBackend, DeviceBackend),
    contract.BoundNetwork: (HostNetwork, DeviceNetwork),
    contract.EngineRows: (HostRows, DeviceRows),
    contract.PackedTargets: (OneHot,),
    contract.EngineNetwork: (Network,),
}
SIZES, N = (3, 4, 2), 21


def gpu():
    """Skip where there is neither a GPU nor its simulator."""
    if find_spec("numba_cuda") is None:
        pytest.skip("numba-cuda is not installed")
    from fastnn.kernels.cuda.runtime.compat import SIMULATED, cuda

    if not SIMULATED and not cuda.is_available():
        pytest.skip("no GPU, and no simulator")


def public_methods(protocol):
    return {
        name: value
        for name, value in vars(protocol).items()
        if not name.startswith("_") and inspect.isfunction(value)
    }


def asked(method):
    """Name, kind and default of every parameter."""
    return [(p.name, p.kind, p.default) for p in inspect.signature(method).parameters.values()]


@pytest.mark.parametrize(
    ("protocol", "kind"), [(protocol, kind) for protocol, kinds in KEPT.items() for kind in kinds]
)
def test_names_arguments_and_defaults(protocol, kind):
    for name, method in public_methods(protocol).items():
        wanted, given = asked(method), asked(getattr(kind, name))
        assert given[: len(wanted)] == wanted, name
        # What the engine does not know of must not be missed.
        assert all(default is not inspect.Parameter.empty for _, _, default in given[len(wanted) :]), name


@pytest.mark.gpu
def test_names_and_arguments_of_the_kernels_behind_a_backend():
    gpu()
    from fastnn.kernels.cuda.network import backend
    from fastnn.kernels.cuda.network.streamed_training import StreamedTraining
    from fastnn.kernels.cuda.network.training import DeviceTraining

    for kind in (DeviceTraining, StreamedTraining):
        for name, method in public_methods(contract.NetworkTraining).items():
            assert asked(getattr(kind, name)) == asked(method), name
    for name, method in public_methods(contract.DeviceNetworks).items():
        assert asked(getattr(backend, name)) == asked(method)[1:], name  # functions of a module
    assert networks_on_device() is backend


def test_a_network_has_what_a_backend_reads():
    net = Network(SIZES, hidden_activation="tanh", loss="log_loss", dtype=np.float64, backend=HOST)
    names = [name for name, value in vars(contract.EngineNetwork).items() if isinstance(value, property)]
    assert len(names) == 9
    assert all(hasattr(net, name) for name in names)


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def on_device(request):
    """A function that gives an array's rows on a device, and their backend."""
    if request.param == "cpu":
        return rows_and_backend
    gpu()
    return lambda X: rows_and_backend(device_rows(X, 0))


def test_the_door_looks_at_the_rows(on_device, request):
    rows, backend = on_device(np.ones((3, 2)))
    assert backend is (DEVICE if "cuda" in request.node.name else HOST)
    assert rows.shape == (3, 2)
    assert rows.dtype == np.float64


def trainings(
    on_device,
    loss,
    dtype=np.float64,
    dropout=None,
    weighted=True,
    rule="adam",
    scale=0.5,
    decay=0.0,
    **options,
):
    """A network on a device and its reference, bound to the same data, and their optimisers."""
    rng = np.random.default_rng(0)
    X, Y = rng.normal(size=(N, 3)).astype(dtype), targets_for(loss, N, 2, rng).astype(dtype)
    weight = rng.integers(0, 3, size=N).astype(dtype) if weighted else None
    rows, backend = on_device(X)
    options = {"hidden_activation": "tanh", "loss": loss, "dtype": dtype} | options
    if dropout is not None:
        options["dropout"] = dropout
    networks = Network(SIZES, **options, backend=backend), ReferenceNetwork(SIZES, **options)
    values = scale * rng.normal(size=networks[0].parameters.size)
    optimizers, bound = [], []
    for net, data in zip(networks, (rows, X), strict=True):
        net.parameters[:] = values
        optimizers.append(optimizer_for(net, rule, weight_decay=decay))
        bound.append(net.bind(data, Y, sample_weight=weight, alpha=0.01, optimizer=optimizers[-1]))
    return networks, bound, optimizers


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    ("loss", "rule"),
    [("squared_error", "nesterov"), ("log_loss", "adam"), ("log_loss", "amsgrad"), ("poisson", "nadam")],
)
@pytest.mark.parametrize("dropout", [None, Dropout(0.25, 5)], ids=["whole", "dropout"])
def test_epochs_follow_the_reference(on_device, loss, rule, dropout, dtype):
    networks, bound, optimizers = trainings(on_device, loss, dtype, dropout, rule=rule)
    tolerance = 1e-4 if dtype == np.float32 else 1e-11
    for order in (None, np.random.default_rng(1).permutation(N)[:17]):
        losses = [one.run_epoch(order, 8) for one in bound]
        assert losses[0] == pytest.approx(losses[1], rel=tolerance)
        np.testing.assert_allclose(networks[0].parameters, networks[1].parameters, atol=tolerance)
        bound[0].finish()  # between epochs it changes nothing
        np.testing.assert_allclose(optimizers[0].state, optimizers[1].state, atol=tolerance)
    assert optimizers[0].t == optimizers[1].t > 3


@pytest.mark.parametrize(
    "loss",
    [*LOSSES, head_of("quantile", "tanh")._replace(parameter=0.2), head_of("poisson", "softplus")],
    ids=lambda loss: loss.name if isinstance(loss, Loss) else head_name(loss),
)
def test_gradient_is_the_reference(on_device, loss):
    loss = loss.name if isinstance(loss, Loss) else loss
    networks, bound, _ = trainings(on_device, loss)
    before = networks[0].parameters.copy()
    (value, gradient), (want, want_gradient) = (one.loss_and_gradient() for one in bound)
    assert value == pytest.approx(want, rel=1e-12)
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-12)
    np.testing.assert_array_equal(networks[0].parameters, before)
    # A copy, and of the present parameters.
    networks[0].parameters[:] = 0
    assert bound[0].loss_and_gradient(copy=False)[0] != value
    np.testing.assert_allclose(gradient, want_gradient, atol=1e-12)


@pytest.mark.parametrize("rule", ["lion", "adamw"])
def test_decoupled_decay(on_device, rule):
    networks, bound, _ = trainings(on_device, "log_loss", rule=rule, decay=0.25)
    for one in bound:
        one.run_epoch(None, 8)
    np.testing.assert_allclose(networks[0].parameters, networks[1].parameters, atol=1e-11)


@pytest.mark.parametrize("rule", ["nesterov", "adam"])
def test_a_learning_rate_for_each_update(on_device, rule):
    """The rows of one batch have no weight: its rate goes with it."""
    networks, _, optimizers = trainings(on_device, "squared_error", rule=rule)
    rng = np.random.default_rng(3)
    X, Y, weight = rng.normal(size=(N, 3)), rng.normal(size=(N, 2)), np.repeat([1.0, 0.0, 2.0], 7)
    for net, rows, optimizer in zip(networks, (on_device(X)[0], X), optimizers, strict=True):
        training = net.bind(rows, Y, sample_weight=weight, alpha=0.01, optimizer=optimizer)
        for rates in (np.array([0.3, 5.0, 0.0]), np.array([0.0, 5.0, 0.1])):
            training.run_epoch(None, 7, 1, rates)
    np.testing.assert_allclose(networks[0].parameters, networks[1].parameters, atol=1e-11)
    assert optimizers[0].t == optimizers[1].t == 4


@pytest.mark.parametrize("rule", ["momentum", "adam"])
@pytest.mark.parametrize("rates", [(0.0, 1.0), (0.25, 3.0)])
def test_rates_of_biases(on_device, rule, rates):
    networks, bound, _ = trainings(on_device, "log_loss", rule=rule, bias_rates=rates)
    before = [b.copy() for b in networks[0].intercepts]
    want = bound[1].loss_and_gradient()[1]
    np.testing.assert_allclose(bound[0].loss_and_gradient()[1], want, atol=1e-12)
    # One step: of the reference's the state is another one.
    for one in bound:
        one.run_epoch(None, N)
    np.testing.assert_allclose(networks[0].parameters, networks[1].parameters, atol=1e-11)
    for b, former, rate in zip(networks[0].intercepts, before, rates, strict=True):
        assert (b == former).all() == (rate == 0)


@pytest.mark.parametrize("hidden", [("softmax", "tanh"), ("mish", "softmax"), ("hard_limit", "selu")])
def test_outputs_with_an_activation_for_each_layer(on_device, hidden):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(5, 3))
    rows, backend = on_device(X)
    net = Network((3, 4, 5, 2), hidden_activation=hidden, loss="log_loss", dtype=np.float64, backend=backend)
    net.parameters[:] = rng.normal(size=net.parameters.size)
    want = reference_predict(
        X, net.coefs, net.intercepts, hidden_activation=hidden, output_activation="softmax"
    )
    np.testing.assert_allclose(net.outputs(rows), want, rtol=1e-12)


@pytest.mark.gpu
@pytest.mark.parametrize("hidden", [("softmax", "softmax"), ("tanh", "relu")])
def test_what_is_not_trained_on_a_gpu(hidden):
    gpu()
    rows, backend = rows_and_backend(device_rows(np.ones((4, 3)), 0))
    options = {"loss": "squared_error", "dtype": np.float64, "backend": backend}
    net = Network((3, 4, 4, 2), hidden_activation=hidden, **options)
    with pytest.raises(ValueError, match="On a GPU networks are trained with one activation"):
        net.bind(rows, np.ones((4, 2)))
    net = Network((3, 4, 2), hidden_activation="relu", **options)
    bound = net.bind(rows, np.ones((4, 2)), optimizer=optimizer_for(net))
    with pytest.raises(ValueError, match="accumulate_batches=2 needs the processor"):
        bound.run_epoch(None, 2, 2)
    with pytest.raises(ValueError, match=r"l1_alpha=0\.5 needs the processor"):
        net.bind(rows, np.ones((4, 2)), l1_alpha=0.5)
    for name, option in (("max_grad_norm", {"max_norm": 1.0}), ("average", {"average_rate": 1.0})):
        with pytest.raises(ValueError, match=f"{name}.* needs the processor"):
            net.bind(rows, np.ones((4, 2)), optimizer=optimizer_for(net, **option))
    options["loss"] = head_of("quantile")._replace(parameter=(0.1, 0.9))
    net = Network((3, 4, 2), hidden_activation="relu", **options)
    with pytest.raises(ValueError, match=r"On a GPU quantile is one number .*, got \(0.1, 0.9\)"):
        net.bind(rows, np.ones((4, 2)))


def test_the_loss_as_a_sum_over_the_outputs(on_device):
    losses = []
    for head in (head_of("squared_error"), head_of("squared_error")._replace(mean_over_outputs=False)):
        _, bound, _ = trainings(on_device, head)
        losses.append((bound[0].loss_and_gradient(), bound[0].run_epoch(None, N)))
    (mean, gradient), first = losses[0]
    (total, same), other = losses[1]
    np.testing.assert_array_equal(gradient, same)
    penalty = 2 * mean - total
    assert 0 < penalty < mean
    assert 2 * first - other == pytest.approx(penalty, rel=1e-9)


@pytest.mark.parametrize("output", ["log_loss", "squared_error"])
def test_outputs_are_the_reference(on_device, output):
    networks, _, _ = trainings(on_device, output)
    net, X = networks[0], np.random.default_rng(2).normal(size=(5, 3))
    want = reference_predict(
        X,
        net.coefs,
        net.intercepts,
        hidden_activation="tanh",
        output_activation=net.loss.output_activation,
    )
    got = net.outputs(on_device(X)[0])
    assert isinstance(got, np.ndarray)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_units_that_hardly_learn_are_found(on_device):
    networks, bound, _ = trainings(on_device, "squared_error")
    net, X = networks[0], np.random.default_rng(0).normal(size=(N, 3))
    bound[0].run_epoch(None, 8)
    assert saturation(net, on_device(X)[0], bound[0]) == [0]
    net.intercepts[0][:3] = 100, -100, 100
    bound[0].loss_and_gradient()
    assert saturation(net, on_device(X)[0], bound[0]) == [0.75]


def test_a_loss_of_nan_ends_the_epoch(on_device):
    _, bound, optimizers = trainings(on_device, "squared_error", weighted=False, scale=np.nan)
    assert np.isnan(bound[0].run_epoch(None, 8))
    assert optimizers[0].t == 0


def test_targets_that_are_packed(on_device):
    rng = np.random.default_rng(0)
    rows, backend = on_device(rng.normal(size=(N, 3)))
    codes = OneHot(rng.integers(2, size=N).astype(np.int32), 2)
    for class_targets in ((0.0, 1.0), (0.1, 0.9)):
        losses = []
        head = head_of("log_loss")._replace(class_targets=class_targets)
        for Y in (codes, codes.dense(bool), np.where(codes.dense(bool), *class_targets[::-1])):
            net = Network(SIZES, hidden_activation="relu", loss=head, dtype=np.float64, backend=backend)
            net.parameters[:] = np.linspace(-1, 1, net.parameters.size)
            losses.append(net.bind(rows, Y).loss_and_gradient()[0])
        assert losses[0] == losses[1] == losses[2]


def test_rows_are_taken_and_cast(on_device):
    X = np.arange(12.0).reshape(4, 3)
    rows, backend = on_device(X)
    some = rows.take(np.array([2, 0])).astype(np.float32)
    assert (some.shape, some.dtype) == ((2, 3), np.float32)
    # Through a network that gives back its input.
    net = Network((3, 3), hidden_activation="relu", loss="squared_error", dtype=np.float32, backend=backend)
    net.load([np.eye(3)], [np.zeros(3)])
    np.testing.assert_array_equal(net.outputs(some), X[[2, 0]])
