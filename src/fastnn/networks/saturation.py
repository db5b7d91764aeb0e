"""Units that hardly learn any more: whatever the row, their activation is where its slope is next to 0.

Judged once, when a training has ended, from what the buffers of its last batch still hold. That costs next to
nothing, and suffices for a layer that is well. Where it is not, or the batch was of a few rows, rows from all
over the data go through the network.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np

from fastnn.kernels.contract.network import BoundNetwork, EngineRows
from fastnn.networks.network import Network
from fastnn.tables.activations import LOGISTIC, RELU_AT_ZERO, TANH, user_name

# Rows that are looked at, at most; and rows below which a unit that is well may well be 0 for all of them.
MOST_ROWS, FEW_ROWS = 256, 32
# Share of a layer's units above which it is worth a word.
LIMIT = 0.9


class Rule(NamedTuple):
    """When a unit of an activation has stopped to learn."""

    word: str  # what it is then
    ways: tuple[Callable[[np.ndarray], np.ndarray], ...]  # to be it: all its activations pass one of these


_DEAD = Rule("dead", (lambda a: a == 0,))
RULES = {
    LOGISTIC.name: Rule("saturated", (lambda a: a < 0.01, lambda a: a > 0.99)),
    TANH.name: Rule("saturated", (lambda a: np.abs(a) > 0.99,)),
    **{relu.name: _DEAD for relu in RELU_AT_ZERO.values()},
}


def saturation(network: Network, X: EngineRows, bound: BoundNetwork | None) -> np.ndarray:
    """Share of each hidden layer's units that are saturated or dead; NaN for activations that are not judged.

    Parameters
    ----------
    network : Network
    X : EngineRows of shape (n, n_features)
        Of the network's dtype.
    bound : BoundNetwork or None
        What it was trained by, if its last batch tells of the network as it is.

    Returns
    -------
    shares : ndarray of shape (n_hidden_layers,)
    """
    n = X.shape[0]
    shares = np.full(len(network.hidden_activations), np.nan)
    for layer, name in enumerate(network.hidden_activations):
        if name not in RULES:
            continue
        ways = RULES[name].ways
        share, seen = share_of_units(() if bound is None else bound.hidden_panels(layer, MOST_ROWS), ways)
        if share > LIMIT or seen < min(n, FEW_ROWS):
            some = X.take(np.arange(0, n, -(-n // MOST_ROWS)))
            share, _ = share_of_units([network.outputs(some, layer + 1).T], ways)
        shares[layer] = share
    return shares


def share_of_units(
    panels: Iterable[np.ndarray], ways: tuple[Callable[[np.ndarray], np.ndarray], ...]
) -> tuple[float, float]:
    """Share of the units that are stuck, by a rule's ways, and the rows by which they were found to be.

    Where no unit is, that is known for sure: the number of rows is infinite then.

    panels : arrays of shape (n_units, rows of the panel)
    """
    left: list[np.ndarray] = []  # for each way the units that may still be stuck in it
    n_units, seen = 1, 0
    for panel in panels:
        if not seen:
            n_units = panel.shape[0]
            left = [np.flatnonzero(way(panel).all(axis=1)) for way in ways]
        else:
            left = [units[way(panel[units]).all(axis=1)] for way, units in zip(ways, left, strict=True)]
        seen += panel.shape[1]
        if not any(units.size for units in left):
            return 0.0, np.inf
    return sum(units.size for units in left) / n_units, seen


def remark_on_saturation(network: Network, shares: np.ndarray) -> Warning | None:
    """What to tell the user of layers of which nearly all units have stopped to learn."""
    bad = [
        f"{share:.0%} of the units of hidden layer {layer + 1} ({user_name(name)}) are {RULES[name].word}"
        for layer, (share, name) in enumerate(zip(shares, network.hidden_activations, strict=True))
        if share > LIMIT
    ]
    if not bad:
        return None
    return UserWarning(
        f"{'; '.join(bad)}: their gradients are next to nothing for every row, so that they hardly learn. "
        "Scale the inputs, for example with StandardScaler; take smaller first weights (weight_init='auto' "
        "suits the sizes of the layers); or lower learning_rate_init."
    )
