"""Rows of unit length, for spherical k-means: there the nearest centre is that of the largest cosine."""

import numpy as np

from fastnn.kernels.clustering import clustering_backend
from fastnn.kernels.contract.clustering import Data, Rows


def unit_rows(X: Data) -> Data:
    """The rows divided by their lengths, where they lie; X itself if all rows have unit length already.

    X : ndarray, CSR matrix or DeviceRows, of shape (n_samples, n_features). A row of zeros stays one: its
    distance is the same to all centres.
    """
    return clustering_backend(X).unit_rows(X)


def have_direction(X: Data) -> np.ndarray:
    """Which rows are not all zeros: a mask (n_samples,), of any kind of rows."""
    return clustering_backend(X).have_direction(X)


def with_direction(X: "Data | Rows", weights: np.ndarray | None) -> np.ndarray | None:
    """Weights by which a row of zeros, which has no direction, can not become a centre.

    Parameters
    ----------
    X : ndarray, CSR matrix, Csr or DeviceRows, of shape (n_samples, n_features)
    weights : ndarray of shape (n_samples,) or None
        None stands for ones.

    Returns
    -------
    weights : ndarray of shape (n_samples,) or None
        0 for rows of zeros; those given where there are no such rows, or no others.
    """
    directed = have_direction(X)
    weighing = directed if weights is None else directed & (weights > 0)
    if directed.all() or not weighing.any():
        return weights
    return directed.astype(X.dtype) if weights is None else np.where(directed, weights, 0)
