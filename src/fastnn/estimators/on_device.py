"""Rows that lie on a GPU, as an estimator takes them."""

from typing import Any

from sklearn.utils.validation import validate_data

from fastnn.kernels import device_rows
from fastnn.kernels._on_device import DeviceRows


def rows_in_place(estimator: Any, X: Any, number: int, *, reset: bool) -> DeviceRows:
    """A device array as rows, checked there, and the names and number of its features.

    Not by scikit-learn's checks of an array, which are made on the host.
    """
    rows = device_rows(X, number, estimator.precision)
    validate_data(estimator, rows, reset=reset, skip_check_array=True)
    return rows
