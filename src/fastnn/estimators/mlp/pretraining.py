"""The layers of an autoencoder, trained one after the other before all of them together."""

from collections.abc import Callable

from fastnn.networks.backends import rows_beside
from fastnn.networks.data import Data
from fastnn.networks.layerwise import codes, layer_pair, put_back
from fastnn.networks.network import Network
from fastnn.networks.solvers.interface import Solution


def pretrain(
    network: Network,
    data: Data,
    validation: Data | None,
    train: Callable[[Network, Data, Data | None], Solution],
    precision: str | None,
) -> None:
    """Train one layer of the encoder after the other, with its mirror image.

    Parameters
    ----------
    network : Network
        Trained in place.
    data : Data
    validation : Data or None
        Rows that stop the training of each layer early, if the user gives any for it.
    train : callable
        ``train(pair, data, validation)`` trains a layer and the one that undoes it.
    precision : str or None
        As of the estimators.

    Raises
    ------
    ValueError
        A layer's training leads to no usable model.
    """
    for layer in range(len(network.coefs) // 2):
        pair = layer_pair(network, layer)
        solution = train(pair, data, validation)
        if solution.not_finite is not None:
            raise ValueError(
                f"Pretraining of layer {layer + 1} produced non-finite {solution.not_finite}. "
                f"{solution.remedy}"
            )
        put_back(pair, network, layer)
        data = _coded(pair, data, precision)
        validation = None if validation is None else _coded(pair, validation, precision)


def _coded(pair: Network, data: Data, precision: str | None) -> Data:
    """What a layer makes of rows, to learn to give them back."""
    Y = codes(pair, data.X)
    return Data(rows_beside(data.X, Y, precision), Y, data.sample_weight)
