"""What the engine of the networks asks of a device.

::

    backend.bind(network, X, Y, ...)      data, weights and optimiser, bound once a fit  ->  bound
        bound.run_epoch(order, batch_size)    steps of the optimiser
        bound.loss_and_gradient()             over all rows
        bound.hidden_panels(layer)            what is left of the last batch
        bound.finish()                        what was kept elsewhere comes back
    backend.outputs(X, parameters, ...)   a forward pass over all rows

The networks choose a backend once, by the rows (``networks.backends``). Behind that of a GPU stands
``DeviceNetworks``. A test (``tests/kernels/test_contract_network.py``) holds every backend to these names,
arguments and defaults, and to the results of the NumPy twins.
"""

from collections.abc import Iterable, Sequence
from typing import Protocol, Self, TypeVar

import numpy as np
from numpy.typing import DTypeLike

from fastnn.tables.dropout import Dropout
from fastnn.tables.losses import Head
from fastnn.tables.optimizers import Optimizer

# Rows of one device, which it alone takes.
Taken = TypeVar("Taken", contravariant=True)


class EngineRows(Protocol):
    """Rows (n, d) on some device. They know no algorithm."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def dtype(self) -> np.dtype:
        """Of the values."""

    def take(self, rows: np.ndarray) -> "EngineRows":
        """A copy of some rows, on the same device."""

    def astype(self, dtype: DTypeLike) -> "EngineRows":
        """The rows in another dtype, as the backend takes them; the same ones where they are so."""


class PackedTargets(Protocol):
    """Targets (n, n_outputs) that are kept as something smaller than an array."""

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of the matrix."""

    def take(self, rows: np.ndarray) -> Self:
        """Some of the rows."""

    def dense(self, dtype: DTypeLike) -> np.ndarray:
        """The matrix itself."""


TargetMatrix = np.ndarray | PackedTargets


class EngineNetwork(Protocol):
    """What a backend has to know of a network."""

    @property
    def dtype(self) -> np.dtype:
        """float32 or float64: of parameters, activations and gradients."""

    @property
    def layer_sizes(self) -> tuple[int, ...]:
        """Units of each layer, inputs first."""

    @property
    def hidden_activations(self) -> tuple[str, ...]:
        """Name of each hidden layer's activation, of ``LAYER_ACTIVATIONS``."""

    @property
    def bias_rates(self) -> tuple[float, ...]:
        """Factor of the step of each layer's biases; 0 where they stay, and their gradient counts as 0."""

    @property
    def step_factors(self) -> np.ndarray:
        """Of learning rate and epsilon (4, n_layers + 1), for weights and for biases; all 1 but on the CPU.

        The third row has the ``bias_rates``; the last column is for a scale of each input.
        """

    @property
    def front_values(self) -> np.ndarray | None:
        """Of a trained scale of each input, on the CPU alone; None without."""

    @property
    def loss(self) -> Head:
        """Entry of ``HEADS``, or one with another parameter, mean or targets: loss and output activation."""

    @property
    def dropout(self) -> Dropout:
        """Of every hidden layer in ``run_epoch``, and nowhere else."""

    @property
    def parameters(self) -> np.ndarray:
        """``W_1, b_1, ..., W_L, b_L`` in one vector of the host."""


class BoundNetwork(Protocol):
    """A network on its data: what lasts from epoch to epoch is made once.

    The network's parameters are up to date when a method ends. From its binding to its last epoch nobody else
    may change them; ``loss_and_gradient`` is that of the present ones.
    """

    def run_epoch(
        self,
        order: np.ndarray | None,
        batch_size: int,
        accumulate: int = 1,
        rates: np.ndarray | None = None,
    ) -> float:
        """One pass over the rows in mini-batches, updating the parameters after each.

        Parameters
        ----------
        order : ndarray of int64 or None
            The rows in the order of training; None stands for all in their own order.
        batch_size : int
            Rows a batch; the last one of the epoch may be shorter.
        accumulate : int, default=1
            Batches whose gradients make an update together, as one batch of all their rows would.
        rates : ndarray of float64 of shape (n_updates,), default=None
            Learning rate of each update. None stands for the optimiser's in all of them.

        Returns
        -------
        loss : float
            Mean over rows of their batch's loss. If a batch's loss is NaN the epoch stops before that batch's
            update and returns NaN. An infinite loss may have a finite gradient, and the epoch goes on.
        """

    def loss_and_gradient(self, *, copy: bool = True) -> tuple[float, np.ndarray]:
        """Loss and its gradient over all rows, without dropout; changes nothing.

        Parameters
        ----------
        copy : bool, default=True
            Without a copy the gradient may be one that the next call overwrites.

        Returns
        -------
        loss : float
        gradient : ndarray of shape (n_parameters,)
            In the order of ``parameters``. Meaningless where the loss is NaN.
        """

    def hidden_panels(self, layer: int, most: int) -> Iterable[np.ndarray]:
        """A hidden layer's activations for rows of the last batch, as far as they are at hand.

        Those before dropout, by the parameters before the batch's update.

        Parameters
        ----------
        layer : int
            0 is the first hidden layer.
        most : int
            Rows at most.

        Returns
        -------
        panels : iterable of ndarray of shape (n_units, rows of the panel)
            Views, which the next epoch or gradient overwrites. None of them where nothing has been kept.
        """

    def finish(self) -> None:
        """To be called after the last epoch, and as often as wanted between epochs.

        The optimiser's state is that of the training then.
        """


class NetworkBackend(Protocol[Taken]):
    """A device on which networks are trained and predict."""

    def bind(
        self,
        network: EngineNetwork,
        X: Taken,
        Y: TargetMatrix,
        *,
        sample_weight: np.ndarray | None = None,
        alpha: float = 0.0,
        l1_alpha: float = 0.0,
        optimizer: Optimizer | None = None,
    ) -> BoundNetwork:
        """Prepare training. A change of the data in place afterwards may go unnoticed.

        Parameters
        ----------
        network : EngineNetwork
        X : EngineRows of shape (n, n_features)
            The backend's own.
        Y : ndarray or PackedTargets of shape (n, n_outputs)
            Targets; 0 or 1 for classes. Where a backend knows how, those of bool take a bit each.
        sample_weight : ndarray of shape (n,), default=None
            A batch's loss is the weighted mean over its rows. A batch of zero weight changes nothing.
        alpha : float, default=0.0
            L2 penalty on the weights, ``0.5 alpha sum(W^2)``, divided by the batch's weight.
        l1_alpha : float, default=0.0
            L1 penalty on the weights, ``l1_alpha sum(|W|)``, divided by the same.
        optimizer : Optimizer, default=None
            For ``run_epoch``, which updates its state, step count and average.
        """

    def outputs(
        self,
        X: Taken,
        parameters: np.ndarray,
        layer_sizes: Sequence[int],
        *,
        activations: Sequence[str],
    ) -> np.ndarray:
        """Outputs (n, n_outputs) of a network for rows of the parameters' dtype.

        activations : name of each layer's activation, the output's last
        """


class NetworkTraining(Protocol):
    """A network in training on a device that is not the host, where its parameters stay."""

    def load(self, parameters: np.ndarray) -> None:
        """Take these parameters."""

    def save(self, parameters: np.ndarray) -> None:
        """Copy the parameters to where they are wanted."""

    def load_state(self, state: np.ndarray) -> None:
        """Take the state of an update rule (n_slots, n_parameters)."""

    def save_state(self, state: np.ndarray) -> None:
        """Copy the state of the update rule to where it is wanted."""

    def epoch(
        self,
        optimizer: Optimizer,
        order: np.ndarray,
        batch_size: int,
        alpha: float,
        dropout: Dropout,
        rates: np.ndarray,
    ) -> float:
        """One pass over the rows of an order; the loss, as of ``BoundNetwork.run_epoch``.

        The optimiser's count of steps is set; its state is that which has been loaded.

        rates : float64 (n_batches,), the learning rate of each batch
        """

    def loss_and_gradient(self) -> tuple[float, float, np.ndarray]:
        """Over all rows: the loss summed, the weight of the rows, and the gradient's sum; without penalty."""


class DeviceNetworks(Protocol[Taken]):
    """Networks on the rows of such a device: ``kernels.networks_on_device``.

    In training all hidden layers have one activation, of the table, given by its code.
    """

    def training(
        self,
        X: Taken,
        Y: np.ndarray,
        weights: np.ndarray | None,
        layer_sizes: Sequence[int],
        hidden: int,
        loss: Head,
        bias_rates: Sequence[float],
    ) -> NetworkTraining:
        """A network in training on these rows."""

    def outputs(
        self, X: Taken, parameters: np.ndarray, layer_sizes: Sequence[int], activations: Sequence[str]
    ) -> np.ndarray:
        """Outputs (n, n_outputs) of a network for these rows; each layer's activation by its name."""
