"""Lets skl2onnx find the estimators: by themselves, and in what scikit-learn builds of them."""

from typing import Any

import numpy as np

# What skl2onnx asks of every classifier, and can do for one.
_OPTIONS = {"zipmap": [True, False, "columns"], "output_class_labels": [False, True], "nocl": [False]}


def register() -> None:
    """Tell skl2onnx of the estimators, where it is installed."""
    try:
        from skl2onnx import update_registered_converter
    except ImportError:
        return
    from fastnn.convert.writers import WRITERS

    for kind in WRITERS:
        options = _OPTIONS if hasattr(kind, "predict_proba") else None
        name = f"Fastnn{kind.__name__}"
        update_registered_converter(kind, name, _declare_outputs, _convert, options=options)


def _declare_outputs(operator: Any) -> None:
    """Say what types and shapes the outputs of an operator of skl2onnx have."""
    from skl2onnx.common import data_types

    from fastnn.convert.onnx_model import OPSET, Names

    kinds = {
        "int64": data_types.Int64TensorType,
        "object": data_types.StringTensorType,
        "float32": data_types.FloatTensorType,
        "float64": data_types.DoubleTensorType,
    }
    n_rows = operator.inputs[0].get_first_dimension()
    _, results = _written(operator, OPSET, Names(operator.inputs[0].full_name))
    for output, result in zip(operator.outputs, results, strict=True):
        output.set_type(kinds[result.dtype.name]([n_rows, *result.shape[1:]]))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Write an operator of skl2onnx."""
    from onnx import helper

    graph, results = _written(operator, container.target_opset, scope.get_unique_variable_name)
    for output, result in zip(operator.outputs, results, strict=True):
        graph.give(result.value, output.full_name)
    for tensor in graph.constants:
        content = list(tensor.string_data) or tensor
        container.add_initializer(tensor.name, tensor.data_type, list(tensor.dims), content)
    for node in graph.nodes:
        attributes = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        container.add_node(node.op_type, list(node.input), list(node.output), name=node.name, **attributes)


def _written(operator: Any, opset: int, unique: Any) -> tuple[Any, list[Any]]:
    """The graph of an operator's model, and its results as skl2onnx wants them.

    There predictions are a matrix, labels are texts or integers, and a transformer has one output.
    """
    from skl2onnx.common.data_types import DoubleTensorType

    from fastnn.convert.values import Graph, Value
    from fastnn.convert.writers import writer_of

    model, rows = operator.raw_operator, operator.inputs[0]
    dtype = np.float64 if isinstance(rows.type, DoubleTensorType) else np.float32
    graph = Graph(dtype, opset, unique)
    results = []
    for result in writer_of(model)(model, Value(graph, rows.full_name).cast(dtype))[: len(operator.outputs)]:
        if result.name == "prediction" and len(result.shape) == 1:
            result = result._replace(value=result.value.reshape(-1, 1), shape=(*result.shape, 1))
        if result.name == "label" and result.dtype.kind in "bf":
            result = result._replace(value=result.value.cast(np.int64), dtype=np.dtype(np.int64))
        results.append(result)
    return graph, results
