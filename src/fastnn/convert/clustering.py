"""k-means as a graph of ONNX."""

import numpy as np
from onnx import GraphProto, helper, numpy_helper

from fastnn.convert.values import N_SAMPLES, Result, Value, tensor_info, where
from fastnn.estimators.kmeans.base import BaseKMeans


def k_means(model: BaseKMeans, X: Value) -> list[Result]:
    """Number of the nearest centre, and the distances to all."""
    centers, dtype = model._centers(), X.graph.dtype
    rows = _unit_rows(X, centers.shape[1]) if model.metric == "cosine" else X
    squared = _squared_distances(rows, centers)
    return [
        Result("label", squared.node("ArgMin", axis=1, keepdims=0), np.dtype(np.int64), (N_SAMPLES,)),
        Result("distances", squared.node("Sqrt"), dtype, (N_SAMPLES, len(centers))),
    ]


def _unit_rows(X: Value, n_features: int) -> Value:
    """Rows at unit length, one of zeros as it is. Squares of what the largest element divides are finite."""
    largest = abs(X).row_maxima()
    X = X / where(largest > 0, largest, 1)
    lengths = (X * X).row_sums(n_features).node("Sqrt")
    return X / where(lengths > 0, lengths, 1)


def _squared_distances(X: Value, centers: np.ndarray) -> Value:
    """Squared distances (n, k), from differences: their relative error is that of a sum of positive numbers.

    The expanded form |x|^2 - 2 x c + |c|^2 would lose as many digits as |x|^2 has more than the distance. The
    differences from one centre after the other take as much memory as X, those from all at once k times that.
    """
    graph = X.graph
    body = _differences(graph.dtype, centers.shape[1])
    _, by_center = graph.nodes_of(
        "Scan", 2, X, graph.constant(centers, "centers"), body=body, num_scan_inputs=1
    )
    by_row = by_center.node("Transpose", perm=[1, 0, 2])
    return by_row.reshape(0, len(centers))  # 0 stands for what was there


def _differences(dtype: np.dtype, n_features: int) -> GraphProto:
    """The body of a loop over centres: squared distances of all rows to one; the rows are handed on."""
    nodes = [
        helper.make_node("Sub", ["rows", "center"], ["difference"]),
        helper.make_node("Mul", ["difference", "difference"], ["square"]),
        helper.make_node("MatMul", ["square", "ones"], ["squared_distance"]),
        helper.make_node("Identity", ["rows"], ["same_rows"]),
    ]
    all_rows, per_row = (N_SAMPLES, n_features), (N_SAMPLES, 1)
    return helper.make_graph(
        nodes,
        "squared_distances_to_a_center",
        [tensor_info("rows", dtype, all_rows), tensor_info("center", dtype, (n_features,))],
        [tensor_info("same_rows", dtype, all_rows), tensor_info("squared_distance", dtype, per_row)],
        [numpy_helper.from_array(np.ones((n_features, 1), dtype), "ones")],
    )
