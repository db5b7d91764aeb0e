"""Which function writes the graph of which estimator."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.convert import tables
from fastnn.convert.clustering import k_means
from fastnn.convert.networks import autoencoder, classifier, regressor
from fastnn.convert.tables import Column
from fastnn.convert.values import Result, Value
from fastnn.estimators.kmeans.base import BaseKMeans
from fastnn.estimators.kmeans.gradient import GradKMeans
from fastnn.estimators.kmeans.kmeans import KMeans
from fastnn.estimators.kmeans.mini_batch import MiniBatchKMeans
from fastnn.estimators.mlp.autoencoder import Autoencoder
from fastnn.estimators.mlp.base import BaseMLP
from fastnn.estimators.mlp.classifier import MLPClassifier
from fastnn.estimators.mlp.many import refuse_ensemble
from fastnn.estimators.mlp.regressor import MLPRegressor
from fastnn.estimators.tabular.base import BaseRealMLP
from fastnn.estimators.tabular.classifier import RealMLPClassifier
from fastnn.estimators.tabular.regressor import RealMLPRegressor

# Gets a fitted model and the rows; gives the results of its methods, in their shapes.
Writer = Callable[[Any, Value], list[Result]]

WRITERS: dict[type, Writer] = {
    MLPClassifier: classifier,
    MLPRegressor: regressor,
    Autoencoder: autoencoder,
    KMeans: k_means,
    MiniBatchKMeans: k_means,
    GradKMeans: k_means,
}
# They get a fitted model and the columns of a table, which skl2onnx has not.
TABLE_WRITERS: dict[type, Callable[[Any, list[Column]], list[Result]]] = {
    RealMLPClassifier: tables.classifier,
    RealMLPRegressor: tables.regressor,
}


def writer_of(model: Any) -> Callable[[Any, Any], list[Result]]:
    """What writes the graph of an estimator.

    Raises
    ------
    TypeError
        Nothing does.
    ValueError
        It is an ensemble of networks.
    """
    for kind, writer in _all_writers().items():
        if isinstance(model, kind):
            if isinstance(model, BaseMLP):
                refuse_ensemble(model, "A graph of ONNX")
            return writer
    names = ", ".join(kind.__name__ for kind in _all_writers())
    raise TypeError(
        f"to_onnx takes a fitted estimator of fastnn ({names}), got one of "
        f"{type(model).__module__}.{type(model).__qualname__}."
    )


def _all_writers() -> dict[type, Callable[[Any, Any], list[Result]]]:
    return WRITERS | TABLE_WRITERS


def dtype_of(model: Any) -> np.dtype:
    """Float type of a fitted model."""
    if isinstance(model, BaseRealMLP):
        return np.dtype(np.float32)
    arrays = [model._centers()] if isinstance(model, BaseKMeans) else model._checked_parameters()[0]
    return arrays[0].dtype
