"""Networks as graphs of ONNX."""

from typing import Any

import numpy as np

from fastnn.convert.activations import writer
from fastnn.convert.values import N_SAMPLES, Result, Value, where
from fastnn.estimators.mlp.autoencoder import Autoencoder
from fastnn.estimators.mlp.classifier import MLPClassifier
from fastnn.estimators.mlp.heads import several_quantiles
from fastnn.estimators.mlp.regressor import MLPRegressor
from fastnn.tables.activations import FROM_0_TO_1


def classifier(model: MLPClassifier, X: Value) -> list[Result]:
    """Labels, and the probabilities of the classes."""
    outputs, n_outputs, graph = _layers(model, X)[-1], model.n_outputs_, X.graph
    if n_outputs == 1:
        probabilities = graph.node("Concat", 1 - outputs, outputs, axis=1)
    elif model.out_activation_ in FROM_0_TO_1 and model._one_of_several:
        total = outputs.row_sums(n_outputs)
        probabilities = where(total > 0, outputs / where(total > 0, total, 1), 1 / n_outputs)
    else:
        probabilities = outputs
    shape = (N_SAMPLES, max(2, n_outputs))
    return [_labels(model, outputs), Result("probabilities", probabilities, graph.dtype, shape)]


def _labels(model: MLPClassifier, outputs: Value) -> Result:
    """What `MLPClassifier._decide` makes of outputs; the label of a row is looked up by its number."""
    kind, classes = model._label_binarizer.y_type_, class_labels(model.classes_)
    if kind == "multilabel-indicator":
        labels = (outputs > 0.5).cast(np.int64)
        return Result("label", labels, np.dtype(np.int64), (N_SAMPLES, model.n_outputs_))
    if kind == "multiclass":
        numbers = outputs.node("ArgMax", axis=1, keepdims=0)
    else:
        numbers = (outputs > 0.5).reshape(-1).cast(np.int64)
        if len(classes) == 1:  # whatever the output says
            classes = classes.repeat(2)
    dtype = outputs.graph.dtype if classes.dtype.kind == "f" else classes.dtype
    labels = outputs.graph.constant(classes, "classes").node("Gather", numbers)
    return Result("label", labels, dtype, (N_SAMPLES,))


def class_labels(classes: np.ndarray) -> np.ndarray:
    """Labels as a tensor may hold them: texts as objects, integers in 64 bits, truth values and floats.

    Raises
    ------
    ValueError
        They are of another kind.
    """
    if all(isinstance(label, str) for label in classes.tolist()):
        return classes.astype(object)
    if classes.dtype.kind in "iu":
        return classes.astype(np.int64)
    if classes.dtype.kind in "bf":
        return classes
    raise ValueError(f"ONNX has no class labels of dtype {classes.dtype}.")


def regressor(model: MLPRegressor, X: Value) -> list[Result]:
    """Predictions, a column for each of several targets or quantiles."""
    outputs = _layers(model, X)[-1]
    if several_quantiles(model) is not None:
        outputs = outputs.sorted_rows(model.n_outputs_)
    elif model.n_outputs_ == 1:
        return [Result("prediction", outputs.reshape(-1), X.graph.dtype, (N_SAMPLES,))]
    return [Result("prediction", outputs, X.graph.dtype, (N_SAMPLES, model.n_outputs_))]


def autoencoder(model: Autoencoder, X: Value) -> list[Result]:
    """Codes, and what the decoder makes of them."""
    values, dtype = _layers(model, X), X.graph.dtype
    code = values[model._n_encoding - 1]
    return [
        Result("codes", code, dtype, (N_SAMPLES, model._n_features_out)),
        Result("reconstruction", values[-1], dtype, (N_SAMPLES, model.n_outputs_)),
    ]


def _layers(model: Any, X: Value) -> list[Value]:
    """Values of each layer but the input, with what is in ``coefs_`` and the like now."""
    coefs, intercepts = model._checked_parameters()
    names = (*model._activation_names(len(coefs) - 1), model.out_activation_)
    values = [X]
    for number, (W, b, name) in enumerate(zip(coefs, intercepts, names, strict=True), start=1):
        weights = X.graph.constant(W, f"coefs_{number}")
        z = values[-1].node("Gemm", weights, X.graph.constant(b, f"intercepts_{number}"))
        values.append(writer(name)(z))
    return values[1:]
