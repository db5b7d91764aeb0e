"""scikit-learn's neural networks and k-means on fused Numba kernels.

Importing this package compiles nothing: the estimators, and with them the kernels, are loaded when they
are first asked for, and so are the displays.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from fastnn import _forks as _forks
from fastnn import _moved

if TYPE_CHECKING:
    from fastnn import convert as convert
    from fastnn import kernels as kernels
    from fastnn._precompile import precompile as precompile
    from fastnn.displays.clusters import ClusterDisplay as ClusterDisplay
    from fastnn.displays.loss_curve import LossCurveDisplay as LossCurveDisplay
    from fastnn.displays.saturation import SaturationDisplay as SaturationDisplay
    from fastnn.displays.weights import WeightsDisplay as WeightsDisplay
    from fastnn.estimators.kmeans.gradient import GradKMeans as GradKMeans
    from fastnn.estimators.kmeans.kmeans import KMeans as KMeans
    from fastnn.estimators.kmeans.mini_batch import MiniBatchKMeans as MiniBatchKMeans
    from fastnn.estimators.kmeans.plus_plus import kmeans_plusplus as kmeans_plusplus
    from fastnn.estimators.mlp.autoencoder import Autoencoder as Autoencoder
    from fastnn.estimators.mlp.classifier import MLPClassifier as MLPClassifier
    from fastnn.estimators.mlp.regressor import MLPRegressor as MLPRegressor
    from fastnn.estimators.tabular.classifier import RealMLPClassifier as RealMLPClassifier
    from fastnn.estimators.tabular.preprocessor import TabularPreprocessor as TabularPreprocessor
    from fastnn.estimators.tabular.regressor import RealMLPRegressor as RealMLPRegressor

__version__ = "0.1.0"

_moved.install()

# Public name -> the module that defines it.
_PUBLIC = {
    "Autoencoder": "fastnn.estimators.mlp.autoencoder",
    "ClusterDisplay": "fastnn.displays.clusters",
    "GradKMeans": "fastnn.estimators.kmeans.gradient",
    "KMeans": "fastnn.estimators.kmeans.kmeans",
    "LossCurveDisplay": "fastnn.displays.loss_curve",
    "MLPClassifier": "fastnn.estimators.mlp.classifier",
    "MLPRegressor": "fastnn.estimators.mlp.regressor",
    "MiniBatchKMeans": "fastnn.estimators.kmeans.mini_batch",
    "RealMLPClassifier": "fastnn.estimators.tabular.classifier",
    "RealMLPRegressor": "fastnn.estimators.tabular.regressor",
    "SaturationDisplay": "fastnn.displays.saturation",
    "TabularPreprocessor": "fastnn.estimators.tabular.preprocessor",
    "WeightsDisplay": "fastnn.displays.weights",
    "kmeans_plusplus": "fastnn.estimators.kmeans.plus_plus",
    "precompile": "fastnn._precompile",
}

__all__ = [
    "Autoencoder",
    "ClusterDisplay",
    "GradKMeans",
    "KMeans",
    "LossCurveDisplay",
    "MLPClassifier",
    "MLPRegressor",
    "MiniBatchKMeans",
    "RealMLPClassifier",
    "RealMLPRegressor",
    "SaturationDisplay",
    "TabularPreprocessor",
    "WeightsDisplay",
    "__version__",
    "convert",
    "kernels",
    "kmeans_plusplus",
    "precompile",
]


def __getattr__(name: str) -> Any:
    if name in ("convert", "kernels"):
        return import_module(f"fastnn.{name}")
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
