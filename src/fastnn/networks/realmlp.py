"""RealMLP: a network of neural tangent parametrisation behind a scale of each input, and how it is trained.

Of a layer with n inputs z = x W / sqrt(n) + b, and W begins with normal numbers of variance 1. Trained is
V = W / sqrt(n), as in any other network: a step of Adam on W is one on V with a learning rate that is divided
by sqrt(n), and an epsilon that is multiplied by it.

References
----------
Holzmüller, Grinsztajn and Steinwart (2024), "Better by default: strong pre-tuned MLPs and boosted trees on
tabular data", NeurIPS 37. The simplified variant, RealMLP-TD-S.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import DTypeLike

from fastnn.kernels.contract.network import EngineRows, NetworkBackend
from fastnn.kernels.network import device
from fastnn.networks.layer_steps import FrontScale
from fastnn.networks.network import Network
from fastnn.networks.solvers.optimizer_settings import AdamSettings
from fastnn.tables.activations import LOGISTIC
from fastnn.tables.losses import Head


@dataclass(frozen=True)
class RealMLPSettings(AdamSettings):
    """Settings of Adam with PyTorch's place of epsilon, on whole batches alone."""

    drops_last: ClassVar[bool] = True

    @property
    def rule(self) -> tuple[str, dict[str, float]]:
        return "adamw", super().rule[1]  # which, without a decay of the weights, is that Adam


class StepFactors(NamedTuple):
    """Factors of the learning rate."""

    weights: float
    biases: float
    scale: float | None  # None where there is none in front


def real_mlp(
    layer_sizes: Sequence[int],
    rng: np.random.RandomState,
    factors: StepFactors,
    *,
    activation: str,
    head: Head,
    dtype: DTypeLike,
    backend: NetworkBackend[EngineRows],
) -> Network:
    """A network with first parameters, whose outputs are 0.

    Parameters
    ----------
    layer_sizes : sequence of int
        Units of each layer, inputs first.
    rng : numpy.random.RandomState
        Draws W and b of each hidden layer, one layer after the other.
    factors : StepFactors
    activation : str
        Of the hidden layers.
    head : Head
    dtype : numpy dtype
        float32 or float64.
    backend : NetworkBackend

    Returns
    -------
    network : Network
        Its ``layer_steps`` have the factors of each layer.
    """
    network = Network(layer_sizes, hidden_activation=activation, loss=head, dtype=dtype, backend=backend)
    hidden = list(zip(network.coefs, network.intercepts, strict=True))[:-1]
    for V, b in hidden:
        V[...] = rng.standard_normal(V.shape) / np.sqrt(len(V))
        b[...] = rng.standard_normal(b.shape)
    roots = np.sqrt(network.layout.sizes[:-1].astype(np.float64))
    steps, n_outputs = network.layer_steps, layer_sizes[-1]
    # Adam sees no factor of the loss but where epsilon is added: of a squared error this network has half,
    # and of several outputs the sum.
    of_loss = n_outputs / 2.0 if head.mean_over_outputs else 1.0
    steps.factors[:] = 1.0
    steps.factors[device.WEIGHT_RATE, :-1] = factors.weights / roots
    steps.factors[device.WEIGHT_EPSILON, :-1] = of_loss * roots
    steps.factors[device.BIAS_RATE, :-1] = factors.biases
    steps.factors[device.BIAS_EPSILON, :-1] = of_loss
    if head.output_activation == LOGISTIC.name:
        # One output for the difference of two, whose parameters go opposite ways: its step is that of both.
        steps.factors[[device.WEIGHT_RATE, device.BIAS_RATE], -2] *= 2.0
    if factors.scale is not None:
        steps.factors[device.WEIGHT_RATE, -1] = factors.scale
        steps.factors[device.WEIGHT_EPSILON, -1] = of_loss
        steps.front = FrontScale(network.coefs[0], dtype)
    return network
