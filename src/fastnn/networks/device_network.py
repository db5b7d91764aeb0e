"""The engine of the multi-layer perceptron on a GPU: ``network.Network`` with its work done there."""

from typing import Any

import numpy as np

from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.device_rows import DeviceRows
from fastnn.networks.network import Network
from fastnn.networks.one_hot import OneHot
from fastnn.tables.activations import CODES as ACTIVATION_CODES
from fastnn.tables.losses import CODES as LOSS_CODES
from fastnn.tables.optimizers import Optimizer


class DeviceNetwork(Network):
    """A dense network that is trained on a GPU, on ``DeviceRows``.

    Parameters and the state of the optimiser stay on the device from epoch to epoch. After each epoch the
    parameters are copied to ``parameters``, and ``finish`` copies the state.
    """

    _given: tuple[Any, ...] = ()
    _training: Any = None
    _optimizer: Optimizer | None = None

    def train_epoch(
        self,
        optimizer: Optimizer,
        X: DeviceRows,
        Y: np.ndarray | OneHot,
        order: np.ndarray | None,
        batch_size: int,
        *,
        sample_weight: np.ndarray | None = None,
        alpha: float = 0.0,
    ) -> float:
        """As ``Network.train_epoch``; nothing but it may change ``parameters`` between two epochs."""
        training = self._on_device(X, Y, sample_weight)
        if self._optimizer is not optimizer:
            training.load(self.parameters)
            training.load_state(optimizer.state)
            self._optimizer = optimizer
        order = np.arange(X.shape[0]) if order is None else np.ascontiguousarray(order, np.int64)
        try:
            return training.epoch(optimizer, order, min(int(batch_size), order.size), alpha, self.dropout)
        finally:
            training.save(self.parameters)

    def finish(self, optimizer: Optimizer) -> None:
        """Copy the state of the optimiser back to it."""
        if self._optimizer is optimizer:
            self._training.save_state(optimizer.state)

    def loss_and_gradient(
        self,
        X: DeviceRows,
        Y: np.ndarray | OneHot,
        *,
        sample_weight: np.ndarray | None = None,
        alpha: float = 0.0,
        copy: bool = True,
    ) -> tuple[float, np.ndarray]:
        """As ``Network.loss_and_gradient``."""
        training = self._on_device(X, Y, sample_weight)
        self._optimizer = None
        training.load(self.parameters)
        total, weight, gradient = training.loss_and_gradient()
        if np.isnan(total):
            return total, gradient
        return self._with_penalty(total, weight, gradient, alpha)

    def _on_device(self, X: DeviceRows, Y: np.ndarray | OneHot, sample_weight: np.ndarray | None) -> Any:
        given = (X, Y, sample_weight)
        if self._training is None or any(a is not b for a, b in zip(given, self._given, strict=True)):
            self._given = given
            weights = None if sample_weight is None else plain(sample_weight, self.dtype)
            self._training = X.astype(self.dtype).training(
                Y.dense(self.dtype) if isinstance(Y, OneHot) else plain(Y, self.dtype),
                weights,
                self.layout.sizes.tolist(),
                ACTIVATION_CODES[self.hidden_activation],
                LOSS_CODES[self.loss.name],
            )
            self._optimizer = None
        return self._training
