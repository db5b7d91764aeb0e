"""Validation rows: split off before training begins, and the loss of a network for them."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from fastnn.kernels.network import device
from fastnn.networks.data import Data, dense_targets
from fastnn.networks.network import Network

# Elements of targets that are written out at a time.
DENSE_ELEMENTS = 1 << 18


def hold_out(
    data: Data, fraction: float, rng: np.random.RandomState, labels: Any = None
) -> tuple[np.ndarray, Data]:
    """Split off a share of the rows.

    Parameters
    ----------
    data : Data
    fraction : float
        Share of the rows that are held out.
    rng : numpy.random.RandomState
        Draws them, as scikit-learn does.
    labels : array of shape (n,), default=None
        Class of each row, as a message may name it, where every class is to have the same share in both
        parts.

    Returns
    -------
    rows : ndarray of int64
        Numbers of the rows to train on.
    held_out : Data
        Copies of the others.

    Raises
    ------
    ValueError
        Fewer than two rows, or no row that counts, would be held out or be left; or a class has too few rows.
    """
    # Splitting indices draws what splitting X and y would draw.
    rows, others = train_test_split(
        np.arange(data.Y.shape[0]), random_state=rng, test_size=fraction, stratify=labels
    )
    if len(others) < 2:
        raise ValueError(
            "The validation set is too small. Increase 'validation_fraction' or the size of your dataset."
        )
    weight = data.sample_weight
    if weight is not None and not (weight[others].any() and weight[rows].any()):
        raise ValueError(
            "Sample weights must contain at least one non-zero number in both the training and the "
            "validation part."
        )
    return rows.astype(np.int64, copy=False), data.take(others)


def mean_loss(network: Network, data: Data) -> Callable[[np.ndarray], float]:
    """The loss that a network is trained to make small, without the penalty, as a function of its outputs.

    It is computed on the processor, wherever the outputs come from.

    Parameters
    ----------
    network : Network
        Its head counts.
    data : Data
        Targets and weights of the rows.

    Returns
    -------
    loss_of : callable
        ``loss_of(outputs) -> float``: the weighted mean over rows, as of ``BoundNetwork.run_epoch``. NaN
        where an output is.
    """
    head, dtype = network.loss, network.dtype
    parameters = head.parameter if isinstance(head.parameter, tuple) else (head.parameter,)
    (n, n_outputs), weight = data.Y.shape, data.sample_weight
    scale, address = head.scale(n_outputs), device.loss_loops.address(head.code, dtype)
    total = float(n) if weight is None else weight.sum(dtype=np.float64)
    # Targets that are classes are written out for few rows at a time.
    at_once = max(1, DENSE_ELEMENTS // n_outputs)

    def losses_of(rows: np.ndarray, outputs: np.ndarray) -> np.ndarray:
        Y = data.Y[rows] if isinstance(data.Y, np.ndarray) else data.Y.take(rows)
        losses, outputs = dense_targets(Y, dtype, head.class_targets), outputs[rows]  # copies
        if len(parameters) == 1:
            device.element_losses(address, losses.reshape(-1), outputs.reshape(-1), float(parameters[0]))
        else:
            for j, parameter in enumerate(parameters):
                column = losses[:, j].copy()
                device.element_losses(address, column, outputs[:, j].copy(), float(parameter))
                losses[:, j] = column
        # On the way to divergence sums overflow: then the loss is infinite.
        with np.errstate(over="ignore", invalid="ignore"):
            return losses.sum(axis=1, dtype=np.float64)

    def loss_of(outputs: np.ndarray) -> float:
        of_rows = np.concatenate(
            [losses_of(np.arange(i, min(i + at_once, n)), outputs) for i in range(0, n, at_once)]
        )
        with np.errstate(over="ignore", invalid="ignore"):
            return float((of_rows if weight is None else of_rows * weight).sum() / total * scale)

    return loss_of
