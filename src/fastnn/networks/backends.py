"""The door: which device works on a network follows from its rows, and is asked here alone."""

from collections.abc import Iterator, Sequence
from typing import Any, cast

import numpy as np
from scipy.sparse import issparse

from fastnn.kernels import device_rows
from fastnn.kernels.contract.network import EngineRows, NetworkBackend
from fastnn.kernels.shared.device_rows import DeviceRows
from fastnn.networks.device_network import DEVICE
from fastnn.networks.host_network import HOST
from fastnn.networks.layout import layout_of
from fastnn.networks.rows import HostRows

# Bytes of rows that are copied from a GPU at a time.
BLOCK_BYTES = 1 << 24


def rows_and_backend(X: Any) -> tuple[EngineRows, NetworkBackend[EngineRows]]:
    """Data as rows that can be taken and cast, and the backend that works on them.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, n_features), or DeviceRows
    """
    # A backend takes rows of its own kind alone: from here on the two go together.
    if isinstance(X, DeviceRows):
        return X, cast(NetworkBackend[EngineRows], DEVICE)
    return HostRows(X), cast(NetworkBackend[EngineRows], HOST)


def networks_at_once(X: Any, n_threads: int) -> int:
    """How many networks, at most, are best trained at one time on data as of ``rows_and_backend``."""
    return 1 if isinstance(X, DeviceRows) else n_threads  # one fills a GPU


def rows_beside(rows: EngineRows, array: np.ndarray, precision: str | None) -> EngineRows:
    """An array as rows on the device of other rows; `precision` is that of the estimators."""
    if isinstance(rows, DeviceRows):
        return device_rows(array, rows.ordinal, precision)
    return HostRows(array)


def contents(rows: EngineRows) -> Iterator[tuple[str, np.ndarray]]:
    """What rows hold, as arrays of the host with names; from a GPU in blocks, with its own."""
    if isinstance(rows, DeviceRows):
        n_rows = max(1, BLOCK_BYTES // max(1, rows.shape[1] * rows.dtype.itemsize))
        for first in range(0, rows.shape[0], n_rows):
            yield "rows on a GPU", rows[first : first + n_rows]
        return
    X = cast(HostRows, rows).X
    if issparse(X):
        yield from (("shape", np.array(X.shape)), ("data", X.data), ("indices", X.indices))
        yield "indptr", X.indptr
    else:
        yield "rows", X


def predict(
    X: Any,
    coefs: Sequence[np.ndarray],
    intercepts: Sequence[np.ndarray],
    *,
    hidden_activation: str | Sequence[str],
    output_activation: str,
) -> np.ndarray:
    """Output of the network with the given weights.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n, n_features), or DeviceRows
        Rows; float32 is kept if the weights are float32 too, anything else is computed in float64.
    coefs : sequence of ndarray of shape (n_in, n_out)
        Weights of each layer.
    intercepts : sequence of ndarray of shape (n_out,)
        Biases of each layer.
    hidden_activation : str or sequence of str
        Name from ``fastnn.tables.activations``, of all hidden layers or of each.
    output_activation : str
        Name from there.

    Returns
    -------
    out : ndarray of shape (n, n_outputs)
    """
    rows, backend = rows_and_backend(X)
    dtypes = {rows.dtype, *(W.dtype for W in coefs)}
    dtype = dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)
    dtype = np.dtype(np.float32 if dtype == np.float32 else np.float64)
    sizes = coefs[0].shape[0], *[W.shape[1] for W in coefs]
    if isinstance(hidden_activation, str):
        hidden_activation = (hidden_activation,) * (len(coefs) - 1)
    return backend.outputs(
        rows.astype(dtype),
        layout_of(sizes).flat([*coefs, *intercepts], dtype),
        sizes,
        activations=(*hidden_activation, output_activation),
    )
