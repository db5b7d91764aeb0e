"""onnx, onnxruntime and skl2onnx, as the tests need them: these are skipped where one is missing."""

import numpy as np
import pytest

from fastnn.convert import to_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
skl2onnx = pytest.importorskip("skl2onnx")

from fastnn.convert.activations import writer as writer  # noqa: E402  which needs onnx


def session(model):
    """A session that runs a model of ONNX on the processor."""
    return onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def run(model, X, dtype=None):
    """Outputs of a fitted estimator in ONNX, in a list, for rows X."""
    written = session(to_onnx(model, dtype))
    (given,) = written.get_inputs()
    assert given.name == "X"
    assert given.shape[1:] == [X.shape[1]]
    return [np.asarray(output) for output in written.run(None, {"X": X})]


def outputs(written):
    """Name of each output -> name of its type, and its shape."""
    return {
        each.name: (
            onnx.TensorProto.DataType.Name(each.type.tensor_type.elem_type),
            [size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim],
        )
        for each in written.graph.output
    }
