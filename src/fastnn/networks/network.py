"""What a multi-layer perceptron is: layers, activations, a loss, and parameters in one flat vector."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from fastnn.kernels.contract.network import BoundNetwork, EngineRows, NetworkBackend, TargetMatrix
from fastnn.networks.layer_steps import LayerSteps
from fastnn.networks.layout import layout_of
from fastnn.tables.dropout import NO_DROPOUT, Dropout
from fastnn.tables.losses import Head, head_of
from fastnn.tables.optimizers import Optimizer


class Network:
    """A dense network.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, inputs first: at least two numbers.
    hidden_activation : str or sequence of str
        Name from ``LAYER_ACTIVATIONS`` of ``fastnn.tables.activations``, of all hidden layers or of each.
    loss : str or Head
        Name of an entry of ``fastnn.tables.losses``, with its usual output activation, or a pair of them.
    dtype : numpy dtype
        float32 or float64: of parameters, activations and gradients.
    backend : NetworkBackend
        Where it is trained and predicts: that of its rows, see ``fastnn.networks.backends``.
    dropout : Dropout, default=NO_DROPOUT
        Of every hidden layer in an epoch, and nowhere else. Its random numbers follow from the number of the
        optimiser's step.
    bias_rates : sequence of float, default=None
        Factor of the step of each layer's biases; where it is 0 they stay what they are. None: all 1.

    Attributes
    ----------
    layer_steps : LayerSteps
        What else differs in the layers' steps; nothing at first.
    parameters : ndarray of shape (n_parameters,)
        All parameters: W and b of every layer, one layer after the other.
    coefs : list of ndarray of shape (n_in, n_out)
        Views of the weights.
    intercepts : list of ndarray of shape (n_out,)
        Views of the biases.
    """

    def __init__(
        self,
        layer_sizes: Sequence[int],
        *,
        hidden_activation: str | Sequence[str],
        loss: str | Head,
        dtype: DTypeLike,
        backend: NetworkBackend[EngineRows],
        dropout: Dropout = NO_DROPOUT,
        bias_rates: Sequence[float] | None = None,
    ) -> None:
        self.dtype = np.dtype(dtype)
        self.dropout = dropout
        self.layer_sizes = tuple(layer_sizes)
        self.layout = layout_of(self.layer_sizes)
        n_hidden = len(self.layer_sizes) - 2
        if isinstance(hidden_activation, str):
            hidden_activation = (hidden_activation,) * n_hidden
        self.hidden_activations = tuple(hidden_activation)
        self.layer_steps = LayerSteps(n_hidden + 1, bias_rates)
        self.loss = head_of(loss) if isinstance(loss, str) else loss
        self.parameters = np.zeros(self.layout.n_parameters, self.dtype)
        self.coefs = self.layout.weights(self.parameters)
        self.intercepts = self.layout.biases(self.parameters)
        self.backend = backend

    @property
    def bias_rates(self) -> tuple[float, ...]:
        """Factor of the step of each layer's biases."""
        return self.layer_steps.bias_rates

    @bias_rates.setter
    def bias_rates(self, rates: Sequence[float]) -> None:
        self.layer_steps.bias_rates = tuple(rates)

    @property
    def step_factors(self) -> np.ndarray:
        """Of ``layer_steps``: (4, n_layers + 1)."""
        return self.layer_steps.factors

    @property
    def front_values(self) -> np.ndarray | None:
        """Of the scale in front of the first layer; None without."""
        front = self.layer_steps.front
        return None if front is None else front.values

    def load(self, coefs: Sequence[Any], intercepts: Sequence[Any]) -> None:
        """Copy the given weights and biases into the parameters."""
        for view, values in zip(self.coefs + self.intercepts, [*coefs, *intercepts], strict=True):
            view[...] = values

    def layer_copies(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Copies of weights and biases as they are."""
        flat = self.layout.flat([*self.coefs, *self.intercepts], self.dtype).copy()
        return self.layout.weights(flat), self.layout.biases(flat)

    def bind(
        self,
        X: EngineRows,
        Y: TargetMatrix,
        *,
        sample_weight: np.ndarray | None = None,
        alpha: float = 0.0,
        l1_alpha: float = 0.0,
        optimizer: Optimizer | None = None,
    ) -> BoundNetwork:
        """Prepare training on these data; see ``fastnn.kernels.contract.network.NetworkBackend``."""
        return self.backend.bind(
            self, X, Y, sample_weight=sample_weight, alpha=alpha, l1_alpha=l1_alpha, optimizer=optimizer
        )

    def outputs(self, X: EngineRows, n_layers: int | None = None) -> np.ndarray:
        """Outputs (n, n_outputs) with the present parameters, for rows of the network's dtype.

        n_layers : those of the first so many layers of weights; None stands for all
        """
        end = len(self.coefs) if n_layers is None else n_layers
        activations = *self.hidden_activations, self.loss.output_activation
        n_parameters = int(self.layout.b_at[end - 1]) + self.layer_sizes[end]
        return self.backend.outputs(
            X,
            self.parameters[:n_parameters],
            self.layer_sizes[: end + 1],
            activations=activations[:end],
        )
