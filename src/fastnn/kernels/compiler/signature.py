"""The parameters of a compiled function, by their annotations (``shared.value_types``).

How arrays reach a function depends on who wrote it:

* ``view_type``: one that is compiled from Python (``linked``) takes a pointer and the lengths of the axes,
  and truth values as int64;
* ``address_type``: one that is written in LLVM's language (``tile_ir``) takes a pointer, to which an offset
  is added before, and truth values as bits.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import cache
from typing import Any, NamedTuple

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastnn.kernels.shared.value_types import FLOAT, ValueType, fields_of, value_type

_LENGTH = ir.IntType(64)
_LLVM_ELEMENTS = {
    types.boolean: ir.IntType(1),
    types.int32: ir.IntType(32),
    types.int64: ir.IntType(64),
    types.float32: ir.FloatType(),
    types.float64: ir.DoubleType(),
}


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
        A parameter has no annotation, or one that ``value_types`` does not know.
    """
    hints, code = function.__annotations__, function.__code__
    return tuple(_parameter(name, hints.get(name), function) for name in code.co_varnames[: code.co_argcount])


def _parameter(name: str, hint: Any, owner: Any) -> KernelParameter:
    if isinstance(hint, type) and hasattr(hint, "_fields"):
        return KernelParameter(name, hint, fields_of(hint))
    return KernelParameter(name, None, (value_type(name, hint, owner),))


def values_of(parameters: Sequence[KernelParameter]) -> list[ValueType]:
    """All scalars and arrays of the parameters, in order."""
    return [value for parameter in parameters for value in parameter.values]


def float_type(
    parameters: Sequence[KernelParameter], arguments: Sequence[Any], *, any_axes: bool = False
) -> Any:
    """T, from the arguments' Numba types; with `any_axes` one axis stands for any number of them.

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
    dtype = next(member.dtype for member, value in pairs if value.element == FLOAT and value.ndim)
    for member, value in pairs:
        found = _flattened(member) if any_axes else member
        if value.ndim and found != value.numba_type(dtype):
            raise TypeError(f"a compiled function takes contiguous {value} with T = {dtype}, got {member}")
    return dtype


def _flattened(kind: Any) -> Any:
    """The type of an array's elements one after the other, where they lie so."""
    if isinstance(kind, types.Array) and kind.layout == "C":
        return types.Array(kind.dtype, 1, "C")
    return kind


def unpacked(
    builder: ir.IRBuilder,
    parameters: Sequence[KernelParameter],
    kinds: Sequence[Any],
    arguments: Sequence[ir.Value],
) -> Iterator[tuple[ValueType, Any, ir.Value]]:
    """All scalars and arrays of a call's arguments, with their Numba types, in order."""
    for parameter, kind, argument in zip(parameters, kinds, arguments, strict=True):
        parts = [argument] if parameter.structure is None else cgutils.unpack_tuple(builder, argument)
        yield from zip(parameter.values, parameter.members(kind), parts, strict=True)


def view_element(value: ValueType, dtype: Any) -> Any:
    """Numba's type of a scalar or element of a function that is compiled from Python."""
    element = value.element_type(dtype)
    return types.int64 if element == types.boolean else element


def view_type(parameters: Sequence[KernelParameter], dtype: Any) -> ir.FunctionType:
    """LLVM's type of a function that takes arrays as pointers and lengths, for T = `dtype`."""
    members: list[ir.Type] = []
    for value in values_of(parameters):
        element = _LLVM_ELEMENTS[view_element(value, dtype)]
        members += [element.as_pointer(), *[_LENGTH] * value.ndim] if value.ndim else [element]
    return ir.FunctionType(ir.VoidType(), members)


def address_type(parameters: Sequence[KernelParameter], dtype: Any) -> ir.FunctionType:
    """LLVM's type of a function that takes arrays as pointers alone, for T = `dtype`."""
    members = []
    for value in values_of(parameters):
        if not value.is_offset:
            element = _LLVM_ELEMENTS[value.element_type(dtype)]
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
