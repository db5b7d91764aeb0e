"""Greedy pretraining of an autoencoder: one layer of the encoder at a time, with the one that undoes it.

References
----------
Bengio, Lamblin, Popovici and Larochelle (2007), "Greedy layer-wise training of deep networks", NeurIPS 19.
"""

import numpy as np

from fastnn.kernels.contract.network import EngineRows
from fastnn.networks.network import Network
from fastnn.tables.activations import IDENTITY, user_name
from fastnn.tables.losses import head_of


def layer_pair(whole: Network, layer: int) -> Network:
    """A layer of an autoencoder's first half, and the layer that undoes it, with a copy of their parameters.

    The outputs have the activation that the second layer has, or none where no squared error goes with it.

    layer : its number
    """
    places = layer, _opposite(whole, layer)
    first, second = ((*whole.hidden_activations, whole.loss.output_activation)[place] for place in places)
    output = user_name(second)  # as an output relu has one derivative at 0
    can_be = head_of("squared_error").loss.outputs
    n_in, n_out = whole.coefs[layer].shape
    pair = Network(
        (n_in, n_out, n_in),
        hidden_activation=first,
        loss=head_of("squared_error", output if output in can_be else IDENTITY.name),
        dtype=whole.dtype,
        backend=whole.backend,
        dropout=whole.dropout,
        bias_rates=[whole.bias_rates[place] for place in places],
    )
    pair.load([whole.coefs[place] for place in places], [whole.intercepts[place] for place in places])
    return pair


def put_back(pair: Network, whole: Network, layer: int) -> None:
    """Copy the parameters of a pair to their places."""
    for place, W, b in zip((layer, _opposite(whole, layer)), pair.coefs, pair.intercepts, strict=True):
        whole.coefs[place][...], whole.intercepts[place][...] = W, b


def codes(pair: Network, X: EngineRows) -> np.ndarray:
    """Outputs (n, n_units) of a pair's first layer."""
    parameters = np.concatenate([pair.coefs[0].ravel(), pair.intercepts[0]])
    return pair.backend.outputs(X, parameters, pair.layer_sizes[:2], activations=pair.hidden_activations)


def _opposite(whole: Network, layer: int) -> int:
    return len(whole.coefs) - 1 - layer
