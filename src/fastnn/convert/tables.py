"""Networks for tables as graphs of ONNX: each column is an input, and the preprocessing is inside."""

from typing import Any, NamedTuple

import numpy as np
from onnx import ValueInfoProto

from fastnn.convert.activations import writer
from fastnn.convert.networks import class_labels
from fastnn.convert.values import N_SAMPLES, Graph, Result, Value, tensor_info, where
from fastnn.estimators.tabular.base import BaseRealMLP
from fastnn.estimators.tabular.classifier import RealMLPClassifier
from fastnn.estimators.tabular.regressor import RealMLPRegressor
from fastnn.networks.encoding import Encoding
from fastnn.networks.robust_scaling import BOUND

# In which numbers are scaled, as ``robust_scaling`` does.
_EXACT = np.dtype(np.float64)


class Column(NamedTuple):
    """A column of a table as an input of a graph."""

    value: Value  # (n, 1)
    is_text: bool

    def info(self) -> ValueInfoProto:
        """What the graph says of it."""
        dtype = np.dtype(object) if self.is_text else self.value.graph.dtype
        return tensor_info(self.value.name, dtype, (N_SAMPLES, 1))


def columns_of(model: BaseRealMLP, graph: Graph) -> list[Column]:
    """The inputs of a model's graph, by the names of the columns of ``fit``, or x0, x1 and so on."""
    encoding = getattr(model, "estimators_", [model])[0].encoding_
    kinds = iter(encoding.categories)
    columns = []
    for name, is_categorical in zip(encoding.names, encoding.is_categorical, strict=True):
        is_text = bool(is_categorical) and not _are_numbers(next(kinds))
        columns.append(Column(Value(graph, graph.unique(name)), is_text))
    return columns


def classifier(model: RealMLPClassifier, columns: list[Column]) -> list[Result]:
    """Labels, and the probabilities of the classes."""
    graph = columns[0].value.graph
    outputs, classes = _outputs(model, columns), class_labels(model.classes_)
    if model.n_outputs_ == 1:
        probabilities = graph.node("Concat", 1 - outputs, outputs, axis=1)
        numbers = (outputs > 0.5).reshape(-1).cast(np.int64)
    else:
        probabilities, numbers = outputs, outputs.node("ArgMax", axis=1, keepdims=0)
    labels = graph.constant(classes, "classes").node("Gather", numbers)
    dtype = graph.dtype if classes.dtype.kind == "f" else classes.dtype
    return [
        Result("label", labels, dtype, (N_SAMPLES,)),
        Result("probabilities", probabilities, graph.dtype, (N_SAMPLES, len(classes))),
    ]


def regressor(model: RealMLPRegressor, columns: list[Column]) -> list[Result]:
    """Predictions, a column for each of several targets."""
    outputs, dtype = _outputs(model, columns), columns[0].value.graph.dtype
    if model._is_vector:
        return [Result("prediction", outputs.reshape(-1), dtype, (N_SAMPLES,))]
    return [Result("prediction", outputs, dtype, (N_SAMPLES, model.n_outputs_))]


def _outputs(model: Any, columns: list[Column]) -> Value:
    """What is averaged over networks, for one or for many."""
    members = getattr(model, "estimators_", None)
    if members is not None:
        total = _outputs(members[0], columns)
        for member in members[1:]:
            total = total + _outputs(member, columns)
        return total / len(members)
    value, graph = _encoded(model.encoding_, columns), columns[0].value.graph
    names = [model.activation] * (len(model.coefs_) - 1) + [model.out_activation_]
    for W, b, name in zip(model.coefs_, model.intercepts_, names, strict=True):
        z = value.node("Gemm", graph.constant(W, "coefs"), graph.constant(b, "intercepts"))
        value = writer(name)(z)
    if isinstance(model, RealMLPClassifier):
        return value
    # In float64, as predictions: a large mean leaves float32 no digits for the rest.
    exact = value.cast(_EXACT) * _constant(graph, model.target_scale_) + _constant(graph, model.target_mean_)
    if model.clamp_output:
        low, high = model.target_range_
        exact = graph.node("Min", graph.node("Max", exact, _constant(graph, low)), _constant(graph, high))
    return exact.cast(graph.dtype)


def _encoded(encoding: Encoding, columns: list[Column]) -> Value:
    """Inputs of a network, in the order of ``Encoding``."""
    graph = columns[0].value.graph
    numeric = [column for column, other in zip(columns, encoding.is_categorical, strict=True) if not other]
    texts = [column for column, other in zip(columns, encoding.is_categorical, strict=True) if other]
    parts = []
    if numeric:
        numbers = graph.node("Concat", *(column.value for column in numeric), axis=1)
        scaled = (numbers.cast(_EXACT) - _constant(graph, encoding.scaling.centers)) * _constant(
            graph, encoding.scaling.factors
        )
        scaled = where(scaled.node("IsNaN"), _constant(graph, np.zeros(1)), scaled)
        ratio = scaled / _constant(graph, np.array([BOUND]))
        root = (ratio * ratio + _constant(graph, np.ones(1))).node("Sqrt")
        parts.append((scaled / root).cast(graph.dtype))
    groups: list[Value] = [
        numeric[j].value.node("IsNaN").reshape(-1).cast(np.int64) for j in encoding.indicated.tolist()
    ]
    groups += [_code(column, values) for column, values in zip(texts, encoding.categories, strict=True)]
    ends = encoding.widths.cumsum()
    for number, code in enumerate(groups):
        codes = slice(encoding.starts[number], encoding.starts[number + 1])
        end, width = int(ends[number]), int(encoding.widths[number])
        places = encoding.places[codes] - (end - width)
        parts.append(_one_hot(code, places, encoding.on[codes], encoding.off[end - width : end]))
    return parts[0] if len(parts) == 1 else graph.node("Concat", *parts, axis=1)


def _one_hot(code: Value, places: np.ndarray, on: np.ndarray, off: np.ndarray) -> Value:
    """The inputs (n, n_inputs) of a group, from its codes (n,)."""
    graph = code.graph
    if len(off) < len(on) or len(on) < 2:
        # Few: a row of a table for each code.
        table = np.tile(off, (len(on) + 1, 1))
        table[np.arange(1, len(on) + 1), places] = on
        return graph.constant(table, "inputs").node("Gather", code)
    # Code k is of input k - 1; a column before these is for code 0. Runtimes have no flags of float64.
    depth = graph.constant(np.array(len(on) + 1), "n_codes")
    flags = code.node("OneHot", depth, graph.constant(np.array([0.0, 1.0]), "flags", np.float32))
    ends = [np.array([at], np.int64) for at in (1, len(on) + 1, 1)]
    flags = flags.node("Slice", *(graph.constant(end, "bound") for end in ends)).cast(graph.dtype)
    return flags * graph.constant(on - off, "on") + graph.constant(off, "off")


def _code(column: Column, values: np.ndarray) -> Value:
    """Codes (n,) of the values of a categorical column, 0 for others."""
    codes = list(range(1, len(values) + 1))
    # Lists of keys may not be empty.
    if column.is_text:
        keys: dict[str, Any] = {"keys_strings": [str(value) for value in values] or [""]}
    else:
        keys = {"keys_floats": [float(value) for value in values.tolist()] or [0.0]}
    attributes = keys | {"values_int64s": codes or [0], "default_int64": 0, "domain": "ai.onnx.ml"}
    value = column.value if column.is_text else column.value.cast(np.float32)
    return value.node("LabelEncoder", **attributes).reshape(-1)


def _are_numbers(values: np.ndarray) -> bool:
    return values.dtype.kind in "biuf" and len(values) > 0


def _constant(graph: Graph, array: np.ndarray) -> Value:
    return graph.constant(array, "exact", _EXACT)
