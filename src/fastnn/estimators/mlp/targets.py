"""Targets of a fit that were given in another form than is meant."""

import numpy as np
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import column_or_1d

from fastnn.kernels.shared.user_warnings import warn


def as_vector(y: np.ndarray) -> np.ndarray:
    """Targets in a column as what was meant, with scikit-learn's warning; others as they are."""
    if y.ndim != 2 or y.shape[1] != 1:
        return y
    warn(
        "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
        "(n_samples, ), for example using ravel().",
        DataConversionWarning,
    )
    return column_or_1d(y)
