"""Multi-layer perceptrons. Each is loaded when it is first asked for."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fastnn.estimators.mlp.autoencoder import Autoencoder as Autoencoder
    from fastnn.estimators.mlp.classifier import MLPClassifier as MLPClassifier
    from fastnn.estimators.mlp.regressor import MLPRegressor as MLPRegressor

_MODULES = {"Autoencoder": "autoencoder", "MLPClassifier": "classifier", "MLPRegressor": "regressor"}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
