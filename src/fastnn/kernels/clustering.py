"""What the engines of k-means use of the kernels: the processor's as `device`, and a backend for rows."""

from importlib import import_module
from typing import cast

import numpy as np

from fastnn.kernels.contract.clustering import ClusteringBackend, Data, Rows
from fastnn.kernels.cpu import clustering as device
from fastnn.kernels.shared.device_rows import DeviceRows

__all__ = ["clustering_backend", "device"]


def clustering_backend(X: "Data | Rows") -> ClusteringBackend[Rows]:
    """The device on which k-means works on these rows, and on their kind alone: asked at an engine's door."""
    # The usual type first: an abstract class takes its time to know its own.
    if type(X) is not np.ndarray and isinstance(X, DeviceRows):
        return import_module("fastnn.kernels.cuda").device_clustering
    return cast(ClusteringBackend[Rows], device.host_clustering)
