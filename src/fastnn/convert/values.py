"""Values of an ONNX graph that is being written: arithmetic of them writes its nodes.

Nothing is written whose form depends on the version of the operators, or with one form for each: a graph is
valid in any version since 11, as skl2onnx needs it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Union

import numpy as np
from onnx import NodeProto, TensorProto, ValueInfoProto, helper, numpy_helper

# Numbers stand for constants of the graph's type.
Operand = Union["Value", float]


class Graph:
    """Nodes and constants of a graph, in the order in which they are written.

    Parameters
    ----------
    dtype : numpy dtype
        float32 or float64, in which it computes.
    opset : int
        Version of the operators, at least 11.
    unique : callable
        Gives a name that is not taken yet for one that may be.

    Attributes
    ----------
    nodes : list of onnx.NodeProto
    constants : list of onnx.TensorProto
    """

    def __init__(self, dtype: Any, opset: int, unique: Callable[[str], str]) -> None:
        self.dtype, self.opset, self.unique = np.dtype(dtype), opset, unique
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []
        self._numbers: dict[float, Value] = {}

    def constant(self, array: np.ndarray, name: str, dtype: Any = None) -> "Value":
        """An array; of numbers of a float type in the graph's, or in `dtype`."""
        name = self.unique(name)
        if array.dtype.kind == "f":
            array = array.astype(self.dtype if dtype is None else dtype)
        if array.dtype.kind in "OU":
            texts = [str(text).encode() for text in array.ravel()]
            self.constants.append(helper.make_tensor(name, TensorProto.STRING, array.shape, texts))
        else:
            self.constants.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return Value(self, name)

    def value(self, operand: Operand) -> "Value":
        """A value itself, a number as a constant, which all its uses share."""
        if isinstance(operand, Value):
            return operand
        if operand not in self._numbers:
            self._numbers[operand] = self.constant(np.asarray(float(operand)), "number")
        return self._numbers[operand]

    def node(self, operator: str, *operands: Operand, **attributes: Any) -> "Value":
        """The result of an operator that has one."""
        (result,) = self.nodes_of(operator, 1, *operands, **attributes)
        return result

    def give(self, value: "Value", name: str) -> None:
        """Make a value a result of the graph, under this name."""
        self.nodes.append(
            helper.make_node("Identity", [value.name], [name], name=self.unique("node_Identity"))
        )

    def nodes_of(self, operator: str, n_results: int, *operands: Operand, **attributes: Any) -> list["Value"]:
        """The results of an operator."""
        inputs = [self.value(operand).name for operand in operands]
        outputs = [self.unique(operator.lower()) for _ in range(n_results)]
        name = self.unique(f"node_{operator}")
        self.nodes.append(helper.make_node(operator, inputs, outputs, name=name, **attributes))
        return [Value(self, output) for output in outputs]


@dataclass(frozen=True, eq=False)
class Value:
    """A value of a graph, by its name."""

    graph: Graph
    name: str

    def node(self, operator: str, *operands: Operand, **attributes: Any) -> "Value":
        """The result of an operator, of which this is the first operand."""
        return self.graph.node(operator, self, *operands, **attributes)

    def __add__(self, other: Operand) -> "Value":
        return self.node("Add", other)

    def __radd__(self, other: Operand) -> "Value":
        return self.graph.node("Add", other, self)

    def __sub__(self, other: Operand) -> "Value":
        return self.node("Sub", other)

    def __rsub__(self, other: Operand) -> "Value":
        return self.graph.node("Sub", other, self)

    def __mul__(self, other: Operand) -> "Value":
        return self.node("Mul", other)

    def __rmul__(self, other: Operand) -> "Value":
        return self.graph.node("Mul", other, self)

    def __truediv__(self, other: Operand) -> "Value":
        return self.node("Div", other)

    def __rtruediv__(self, other: Operand) -> "Value":
        return self.graph.node("Div", other, self)

    def __neg__(self) -> "Value":
        return self.node("Neg")

    def __abs__(self) -> "Value":
        return self.node("Abs")

    def __gt__(self, other: Operand) -> "Value":
        return self.node("Greater", other)

    def __lt__(self, other: Operand) -> "Value":
        return self.node("Less", other)

    def cast(self, dtype: Any) -> "Value":
        """Its numbers, or truth values, as those of another type."""
        return self.node("Cast", to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def row_sums(self, n_columns: int) -> "Value":
        """Sums (n, 1) of the rows of a matrix."""
        # As a product: what ReduceSum takes depends on the version of the operators.
        return self.node("MatMul", self.graph.constant(np.ones((n_columns, 1)), "ones"))

    def row_maxima(self) -> "Value":
        """Largest elements (n, 1) of the rows of a matrix."""
        if self.graph.opset < 18:
            return self.node("ReduceMax", axes=[1], keepdims=1)
        return self.node("ReduceMax", self.graph.constant(np.array([1], np.int64), "axes"), keepdims=1)

    def sorted_rows(self, n_columns: int) -> "Value":
        """The elements of each row of a matrix, the least first."""
        k = self.graph.constant(np.array([n_columns], np.int64), "n_columns")
        return self.graph.nodes_of("TopK", 2, self, k, axis=1, largest=0, sorted=1)[0]

    def reshape(self, *shape: int) -> "Value":
        """The same elements in another shape, of which -1 stands for what is left, 0 for a size as it was."""
        return self.node("Reshape", self.graph.constant(np.array(shape, np.int64), "shape"))


class Result(NamedTuple):
    """What a graph gives."""

    name: str
    value: Value
    dtype: np.dtype  # of objects for texts
    shape: tuple[int | str, ...]  # a text names a size that is not known


# The number of rows, in a shape.
N_SAMPLES = "n_samples"


def tensor_info(name: str, dtype: np.dtype, shape: tuple[int | str, ...]) -> ValueInfoProto:
    """What a graph says of an input or an output."""
    kind = TensorProto.STRING if dtype.kind == "O" else helper.np_dtype_to_tensor_dtype(dtype)
    return helper.make_tensor_value_info(name, kind, shape)


def where(condition: Value, chosen: Operand, other: Operand) -> Value:
    """One of two, element by element."""
    return condition.node("Where", chosen, other)
