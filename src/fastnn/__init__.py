"""scikit-learn's neural networks and k-means on fused Numba kernels.

Importing this package compiles nothing: the estimators, and with them the kernels, are loaded when they
are first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastnn import _forks as _forks

if TYPE_CHECKING:
    from fastnn import kernels as kernels
    from fastnn._precompile import precompile as precompile
    from fastnn.estimators.grad_kmeans import GradKMeans as GradKMeans
    from fastnn.estimators.kmeans import KMeans as KMeans
    from fastnn.estimators.mini_batch_kmeans import MiniBatchKMeans as MiniBatchKMeans
    from fastnn.estimators.mlp import MLPClassifier as MLPClassifier
    from fastnn.estimators.mlp import MLPRegressor as MLPRegressor
    from fastnn.estimators.plus_plus import kmeans_plusplus as kmeans_plusplus

__version__ = "0.1.0"

# Public name -> the module that defines it.
_PUBLIC = {
    "GradKMeans": "fastnn.estimators.grad_kmeans",
    "KMeans": "fastnn.estimators.kmeans",
    "MLPClassifier": "fastnn.estimators.mlp",
    "MLPRegressor": "fastnn.estimators.mlp",
    "MiniBatchKMeans": "fastnn.estimators.mini_batch_kmeans",
    "kmeans_plusplus": "fastnn.estimators.plus_plus",
    "precompile": "fastnn._precompile",
}

__all__ = [
    "GradKMeans",
    "KMeans",
    "MLPClassifier",
    "MLPRegressor",
    "MiniBatchKMeans",
    "__version__",
    "kernels",
    "kmeans_plusplus",
    "precompile",
]


def __getattr__(name: str) -> Any:
    if name == "kernels":
        return import_module("fastnn.kernels")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
