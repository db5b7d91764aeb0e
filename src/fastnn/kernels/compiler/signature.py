"""The types of a compiled function's parameters: written once, as annotations of parameters and of fields.

=======================  =================================================================
annotation               stands for
=======================  =================================================================
int, float               int64, float64
bool                     a truth value
Int32, Real              int32, and T: the float type that the function is compiled for
Int64s, Int32s           an array; as Reals2D and so on, one with two or three axes
Reals, Float64s          the same, of T and of float64
Offset                   where the array before it begins, in elements
a named tuple            its fields, one after the other
=======================  =================================================================

Arrays are contiguous. How they reach a function depends on who wrote it:

* ``view_type``: one that is compiled from Python (``linked``) takes a pointer and the lengths of the axes,
  and truth values as int64;
* ``address_type``: one that is written in LLVM's language (``tile_ir``) takes a pointer, to which an offset
  is added before, and truth values as bits.
"""

from collections.abc import Callable, Sequence
from functools import cache
from typing import Annotated, Any, NamedTuple

import numpy as np
from llvmlite import ir
from numba.core import types
from numba.extending import intrinsic

_T = "T"  # the float type that a function is compiled for
_LENGTH = ir.IntType(64)


class ValueType(NamedTuple):
    """What an annotation stands for: an element type, and the axes of an array."""

    element: str
    ndim: int = 0  # 0 for a scalar
    is_offset: bool = False

    def element_type(self, dtype: Any) -> Any:
        """Numba's type of a scalar or element, for T = `dtype`."""
        return dtype if self.element == _T else getattr(types, self.element)

    def __str__(self) -> str:
        return f"{self.element}[{', '.join(':' * self.ndim)}]" if self.ndim else self.element


Int32 = Annotated[int, ValueType("int32")]
Real = Annotated[float, ValueType(_T)]
Offset = Annotated[int, ValueType("int64", is_offset=True)]
Int32s = Annotated[np.ndarray, ValueType("int32", 1)]
Int64s = Annotated[np.ndarray, ValueType("int64", 1)]
Int64s2D = Annotated[np.ndarray, ValueType("int64", 2)]
Reals = Annotated[np.ndarray, ValueType(_T, 1)]
Reals2D = Annotated[np.ndarray, ValueType(_T, 2)]
Reals3D = Annotated[np.ndarray, ValueType(_T, 3)]
Float64s = Annotated[np.ndarray, ValueType("float64", 1)]
Float64s2D = Annotated[np.ndarray, ValueType("float64", 2)]
Float64s3D = Annotated[np.ndarray, ValueType("float64", 3)]

_PLAIN = {int: ValueType("int64"), float: ValueType("float64"), bool: ValueType("boolean")}


class KernelParameter(NamedTuple):
    """A parameter of a function: a scalar or an array; or a structure, of many of them."""

    name: str
    structure: Any  # the class of a named tuple; None
    values: tuple[ValueType, ...]

    def members(self, kind: Any) -> list[Any]:
        """Numba's types of the values in an argument of Numba type `kind`.

        Raises
        ------
        TypeError
            The argument is no structure of this class.
        """
        if self.structure is None:
            return [kind]
        if getattr(kind, "instance_class", None) is not self.structure:
            raise TypeError(f"{self.name} is a {self.structure.__name__}, got {kind}")
        return list(kind.types)


@cache
def parameters_of(function: Callable[..., Any]) -> tuple[KernelParameter, ...]:
    """The parameters of a function with annotations.

    Raises
    ------
    TypeError
        A parameter has no annotation, or one that the table above does not know.
    """
    hints, code = function.__annotations__, function.__code__
    return tuple(_parameter(name, hints.get(name), function) for name in code.co_varnames[: code.co_argcount])


def _parameter(name: str, hint: Any, owner: Any) -> KernelParameter:
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return KernelParameter(name, hint, _fields_of(hint))
    return KernelParameter(name, None, (_value(name, hint, owner),))


@cache
def _fields_of(structure: Any) -> tuple[ValueType, ...]:
    return tuple(_value(name, structure.__annotations__[name], structure) for name in structure._fields)


def _value(name: str, hint: Any, owner: Any) -> ValueType:
    found = (
        _PLAIN.get(hint) if isinstance(hint, type) else next(iter(getattr(hint, "__metadata__", ())), None)
    )
    if not isinstance(found, ValueType):
        raise TypeError(f"{owner.__qualname__}: no compiled function takes {name} of type {hint}")
    return found


def values_of(parameters: Sequence[KernelParameter]) -> list[ValueType]:
    """All scalars and arrays of the parameters, in order."""
    return [value for parameter in parameters for value in parameter.values]


def float_type(parameters: Sequence[KernelParameter], arguments: Sequence[Any]) -> Any:
    """T, from the arguments' Numba types.

    Raises
    ------
    TypeError
        An array has another element type than it is to have, or too many axes, or is not contiguous.
    """
    pairs = [
        pair
        for parameter, kind in zip(parameters, arguments, strict=True)
        for pair in zip(parameter.members(kind), parameter.values, strict=True)
    ]
    dtype = next(member.dtype for member, value in pairs if value.element == _T and value.ndim)
    for member, value in pairs:
        if value.ndim and member != types.Array(value.element_type(dtype), value.ndim, "C"):
            raise TypeError(f"a compiled function takes contiguous {value} with T = {dtype}, got {member}")
    return dtype


def _llvm_element(element: Any) -> ir.Type:
    return {
        types.boolean: ir.IntType(1),
        types.int32: ir.IntType(32),
        types.int64: ir.IntType(64),
        types.float32: ir.FloatType(),
        types.float64: ir.DoubleType(),
    }[element]


def view_element(value: ValueType, dtype: Any) -> Any:
    """Numba's type of a scalar or element of a function that is compiled from Python."""
    element = value.element_type(dtype)
    return types.int64 if element == types.boolean else element


def view_type(parameters: Sequence[KernelParameter], dtype: Any) -> ir.FunctionType:
    """LLVM's type of a function that takes arrays as pointers and lengths, for T = `dtype`."""
    members: list[ir.Type] = []
    for value in values_of(parameters):
        element = _llvm_element(view_element(value, dtype))
        members += [element.as_pointer(), *[_LENGTH] * value.ndim] if value.ndim else [element]
    return ir.FunctionType(ir.VoidType(), members)


def address_type(parameters: Sequence[KernelParameter], dtype: Any) -> ir.FunctionType:
    """LLVM's type of a function that takes arrays as pointers alone, for T = `dtype`."""
    members = []
    for value in values_of(parameters):
        if not value.is_offset:
            element = _llvm_element(value.element_type(dtype))
            members.append(element.as_pointer() if value.ndim else element)
    return ir.FunctionType(ir.VoidType(), members)


def intrinsic_of(
    names: Sequence[str], define: Callable[..., Any], like: Callable[..., Any] | None = None
) -> Any:
    """Intrinsic with parameters of these names: ``define`` gets their types, as Numba's decorator wants it.

    It takes name and docstring of the function `like`.
    """
    namespace: dict[str, Any] = {"define": define}
    listed = ", ".join(names)
    # Numba wants an intrinsic's arguments by name.
    exec(f"def call(typingctx, {listed}):\n    return define({listed})\n", namespace)
    call = namespace["call"]
    if like is not None:
        call.__doc__, call.__name__ = like.__doc__, like.__name__
    return intrinsic(call)
