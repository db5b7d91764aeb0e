"""Which function writes the graph of which estimator."""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastnn.convert.clustering import k_means
from fastnn.convert.networks import autoencoder, classifier, regressor
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


def writer_of(model: Any) -> Writer:
    """What writes the graph of an estimator.

    Raises
    ------
    TypeError
        Nothing does.
    ValueError
        It is an ensemble of networks.
    """
    for kind, writer in WRITERS.items():
        if isinstance(model, kind):
            if isinstance(model, BaseMLP):
                refuse_ensemble(model, "A graph of ONNX")
            return writer
    names = ", ".join(kind.__name__ for kind in WRITERS)
    raise TypeError(
        f"to_onnx takes a fitted estimator of fastnn ({names}), got one of "
        f"{type(model).__module__}.{type(model).__qualname__}."
    )


def dtype_of(model: Any) -> np.dtype:
    """Float type of a fitted model."""
    arrays = [model._centers()] if isinstance(model, BaseKMeans) else model._checked_parameters()[0]
    return arrays[0].dtype
