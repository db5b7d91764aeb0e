"""Networks on a GPU."""

from collections.abc import Iterable, Sequence

import numpy as np

from fastnn.kernels.contract.network import EngineNetwork, NetworkBackend, TargetMatrix
from fastnn.kernels.network import networks_on_device
from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.device_rows import DeviceRows
from fastnn.kernels.shared.pacing import answer_stop
from fastnn.networks.data import dense_targets
from fastnn.networks.layout import layout_of
from fastnn.tables.activations import CODES as ACTIVATION_CODES
from fastnn.tables.activations import IDENTITY, SOFTMAX, user_name
from fastnn.tables.optimizers import Optimizer


class DeviceBackend:
    """The ``NetworkBackend`` of a GPU, for ``DeviceRows``."""

    def bind(
        self,
        network: EngineNetwork,
        X: DeviceRows,
        Y: TargetMatrix,
        *,
        sample_weight: np.ndarray | None = None,
        alpha: float = 0.0,
        l1_alpha: float = 0.0,
        optimizer: Optimizer | None = None,
    ) -> "DeviceNetwork":
        if l1_alpha != 0:
            raise ValueError(f"l1_alpha={l1_alpha} needs the processor; on a GPU it is 0.")
        return DeviceNetwork(network, X, Y, sample_weight, alpha, optimizer)

    def outputs(
        self,
        X: DeviceRows,
        parameters: np.ndarray,
        layer_sizes: Sequence[int],
        *,
        activations: Sequence[str],
    ) -> np.ndarray:
        return networks_on_device().outputs(X, parameters, list(layer_sizes), list(activations))


DEVICE: NetworkBackend[DeviceRows] = DeviceBackend()


class DeviceNetwork:
    """The ``BoundNetwork`` of a GPU; parameters as of ``DeviceBackend.bind``.

    Parameters and the state of the optimiser stay on the device from epoch to epoch. After each epoch the
    parameters are copied to the network's, and ``finish`` copies the state.
    """

    def __init__(
        self,
        network: EngineNetwork,
        X: DeviceRows,
        Y: TargetMatrix,
        sample_weight: np.ndarray | None,
        alpha: float,
        optimizer: Optimizer | None,
    ) -> None:
        self._network, self._alpha, self._optimizer = network, alpha, optimizer
        self._n_rows = X.shape[0]
        if optimizer is not None and optimizer.max_norm < np.inf:
            raise ValueError(f"max_grad_norm={optimizer.max_norm} needs the processor; on a GPU it is None.")
        if optimizer is not None and optimizer.average_rate:
            raise ValueError("average needs the processor; on a GPU it is False.")
        kinds = set(network.hidden_activations) or {IDENTITY.name}
        if len(kinds) > 1 or SOFTMAX in kinds:
            raise ValueError(
                "On a GPU networks are trained with one activation for all hidden layers, and not with "
                f"{SOFTMAX!r}; got activation={[user_name(name) for name in network.hidden_activations]}."
            )
        loss = network.loss
        if isinstance(loss.parameter, tuple):
            raise ValueError(
                f"On a GPU {loss.loss.parameter} is one number for all outputs, got {loss.parameter}."
            )
        self._training = networks_on_device().training(
            X.astype(network.dtype),
            dense_targets(Y, network.dtype, loss.class_targets),
            None if sample_weight is None else plain(sample_weight, network.dtype),
            list(network.layer_sizes),
            ACTIVATION_CODES[kinds.pop()],
            loss,
            network.bias_rates,
        )
        self._training.load(network.parameters)
        if optimizer is not None:
            self._training.load_state(optimizer.state)

    def run_epoch(
        self,
        order: np.ndarray | None,
        batch_size: int,
        accumulate: int = 1,
        rates: np.ndarray | None = None,
    ) -> float:
        optimizer = self._optimizer
        assert optimizer is not None
        if accumulate != 1:
            raise ValueError(f"accumulate_batches={accumulate} needs the processor; on a GPU it is 1.")
        answer_stop()
        order = np.arange(self._n_rows) if order is None else np.ascontiguousarray(order, np.int64)
        size = min(int(batch_size), order.size)
        if rates is None:
            rates = np.full(-(-order.size // size), optimizer.learning_rate)
        try:
            return self._training.epoch(optimizer, order, size, self._alpha, self._network.dropout, rates)
        finally:
            self._training.save(self._network.parameters)

    def loss_and_gradient(self, *, copy: bool = True) -> tuple[float, np.ndarray]:
        answer_stop()
        parameters = self._network.parameters
        self._training.load(parameters)
        total, weight, gradient = self._training.loss_and_gradient()
        if np.isnan(total):
            return total, gradient
        layout = layout_of(self._network.layer_sizes)
        return layout.mean_with_penalty(
            parameters, total, weight, gradient, self._alpha, 0.0, self._network.bias_rates
        )

    def hidden_panels(self, layer: int, most: int) -> Iterable[np.ndarray]:
        return ()  # they stay on the device

    def finish(self) -> None:
        if self._optimizer is not None:
            self._training.save_state(self._optimizer.state)
