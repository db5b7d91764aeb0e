"""Validation rows, which are split off before training begins and judge each epoch."""

from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split

from fastnn.networks.data import Data


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
