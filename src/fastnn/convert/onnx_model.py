"""Fitted models as models of ONNX."""

from collections import Counter
from typing import Any

import numpy as np
from sklearn.utils.validation import check_is_fitted

# Versions that runtimes since 2022 know: of the operators (ONNX 1.12), of those for tables, of the format.
OPSET, ML_OPSET, IR_VERSION = 17, 3, 8


def to_onnx(model, dtype=None):
    """Write a fitted model as a graph of ONNX.

    Runtimes such as onnxruntime predict with it, in any language, without this package. It is what the model
    is now: replaced ``coefs_``, ``intercepts_``, ``out_activation_`` and ``cluster_centers_`` count.

    Parameters
    ----------
    model : estimator
        A fitted MLPClassifier, MLPRegressor, RealMLPClassifier, RealMLPRegressor, Autoencoder, KMeans,
        MiniBatchKMeans or GradKMeans.
    dtype : {"float32", "float64"} or numpy dtype, default=None
        Type of the input, in which the graph computes. None stands for that of the fitted arrays.

    Returns
    -------
    onnx_model : onnx.ModelProto
        With one input, ``X`` of shape (n_samples, n_features); of a RealMLP with one of shape (n_samples, 1)
        for each column of the table, by its name or ``x0``, ``x1`` and so on, of texts where categories are
        none of numbers. And with tensors as outputs: of a classifier
        ``label`` and ``probabilities``, of a regressor ``prediction``, of an autoencoder ``codes`` and
        ``reconstruction``, of k-means ``label`` and ``distances``. Shapes are those of ``predict``,
        ``predict_proba`` and ``transform``; integer labels have 64 bits.

    Raises
    ------
    ImportError
        The package onnx is not installed.
    TypeError
        It is no such model.
    NotFittedError
        It is not fitted.
    ValueError
        `dtype` is another type, ONNX has no class labels of this kind, or the model is an ensemble of
        networks for matrices.

    Notes
    -----
    Results differ from those of the model by rounding. Distances to centres are made of differences, so that
    their relative error is a few machine epsilons, or more for thousands of features; labels are those of
    ``predict`` unless two centres are equally far to that. The graph takes dense rows, and does not check
    whether they are finite.

    Examples
    --------
    >>> from fastnn import KMeans
    >>> from fastnn.convert import to_onnx
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit([[1.0, 2], [1, 4], [10, 2], [10, 4]])
    >>> [output.name for output in to_onnx(kmeans).graph.output]
    ['label', 'distances']
    """
    try:
        from onnx import checker, helper
    except ImportError as error:
        raise ImportError("to_onnx needs the package onnx; in a checkout: pip install '.[onnx]'") from error

    import fastnn
    from fastnn.convert.values import Graph, Value, tensor_info
    from fastnn.convert.writers import TABLE_WRITERS, dtype_of, writer_of

    write = writer_of(model)
    check_is_fitted(model)
    is_table, names = type(model) in TABLE_WRITERS, Names()
    graph = Graph(dtype_of(model) if dtype is None else _checked(dtype), OPSET, names)
    opsets = [helper.make_opsetid("", OPSET)]
    if is_table:
        from fastnn.convert.tables import columns_of

        columns = columns_of(model, graph)
        results = write(model, columns)
        inputs = [column.info() for column in columns]
        opsets.append(helper.make_opsetid("ai.onnx.ml", ML_OPSET))
    else:
        results = write(model, Value(graph, names("X")))
        inputs = [tensor_info("X", graph.dtype, ("n_samples", model.n_features_in_))]
    for result in results:
        graph.give(result.value, result.name)
    onnx_model = helper.make_model(
        helper.make_graph(
            graph.nodes,
            type(model).__name__,
            inputs,
            [tensor_info(result.name, result.dtype, result.shape) for result in results],
            graph.constants,
        ),
        opset_imports=opsets,
        ir_version=IR_VERSION,
        producer_name="fastnn",
        producer_version=fastnn.__version__,
    )
    checker.check_model(onnx_model)
    return onnx_model


class Names:
    """Gives each value of a graph a name of its own.

    Parameters
    ----------
    *taken : str
        Names that values have already.
    """

    def __init__(self, *taken: str) -> None:
        self._uses = Counter(taken)

    def __call__(self, wanted: str) -> str:
        self._uses[wanted] += 1
        n = self._uses[wanted]
        return wanted if n == 1 else f"{wanted}_{n}"


def _checked(dtype: Any) -> np.dtype:
    """A float type that a graph may have."""
    try:
        checked = np.dtype(dtype)
    except TypeError:
        checked = None
    if checked not in (np.float32, np.float64):
        raise ValueError(f"dtype must be float32, float64 or None, got {dtype!r}.")
    return checked
