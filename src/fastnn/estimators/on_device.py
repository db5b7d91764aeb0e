"""Rows that lie on a GPU, as an estimator takes them."""

from typing import Any

from scipy.sparse import issparse
from sklearn.utils.validation import validate_data

from fastnn.kernels import device_rows
from fastnn.kernels.shared.device_rows import DeviceRows


def refuse_sparse(X: Any, number: int | None) -> None:
    """Make sure that no sparse data are to be worked on by a GPU.

    Raises
    ------
    TypeError
        They are.
    """
    if number is not None and issparse(X):
        raise TypeError(
            f"Sparse data was passed for X, and 'cuda:{number}', which device or y asks for, needs dense "
            "data: use X.toarray(), or device='cpu'."
        )


def rows_in_place(estimator: Any, X: Any, number: int, *, reset: bool) -> DeviceRows:
    """A device array as rows, checked there, and the names and number of its features.

    Not by scikit-learn's checks of an array, which are made on the host.
    """
    rows = device_rows(X, number, estimator.precision)
    validate_data(estimator, rows, reset=reset, skip_check_array=True)
    return rows
