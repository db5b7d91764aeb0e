"""C functions out of Python functions, compiled once per float type and called from kernels without a copy.

Numba copies a callee's code into each of its callers and optimises it there again. What is large, or called
from many places, is compiled here as a C function of its own, in one of two ways:

* ``linked``: callers hold a symbol, which ``link`` resolves before their code is loaded;
* ``LoopTable``: one loop for each entry of a registry, reached by an address that is a run-time value. So a
  kernel is compiled once whatever its activation, and a process compiles only the entries it uses.

The C types of the parameters follow from the functions' annotations (``signature``).

A C function has no way to raise: nothing that may fail stands in one, no allocation either. Buffers come from
its caller.
"""

from collections.abc import Callable, Sequence
from functools import cache
from types import FunctionType
from typing import Any, cast

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.core.ccallback import CFunc

from fastnn.kernels.compiler import link
from fastnn.kernels.compiler.cache import FunctionCache
from fastnn.kernels.compiler.entry import check_entry
from fastnn.kernels.compiler.jit import compiler_options, compiling
from fastnn.kernels.compiler.signature import (
    KernelParameter,
    float_type,
    intrinsic_of,
    parameters_of,
    unpacked,
    view_element,
    view_type,
)
from fastnn.tables.jitable import register_jitable

# Address of the loop of an entry that has none: there is nothing to call.
NOTHING = 0

# Which the stubs do not know.
_pointer_to: Any = types.__dict__["CPointer"]
_tuple_of: Any = types.__dict__["BaseTuple"].from_types


def _numbered(values: Sequence[Any]) -> list[str]:
    return [f"a{i}" for i in range(len(values))]


def _assembler(parameters: Sequence[KernelParameter], dtype: Any) -> tuple[list[Any], Any]:
    """Numba's types of a C function's parameters, and an intrinsic: the arguments of the function in it.

    One call makes them all: that is compiled sooner than a ``carray`` for each.
    """
    c_types: list[Any] = []
    kinds = []
    for parameter in parameters:
        members = []
        for value in parameter.values:
            element = view_element(value, dtype)
            c_types += [_pointer_to(element), *[types.int64] * value.ndim] if value.ndim else [element]
            members.append(value.numba_type(dtype) if value.ndim else element)
        structure = parameter.structure
        kinds.append(_tuple_of(members, structure) if structure else members[0])

    def define(*arguments: Any) -> Any:
        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, flat: Sequence[ir.Value]) -> Any:
            rest = iter(flat)
            made = []
            for parameter, kind in zip(parameters, kinds, strict=True):
                parts = []
                for value in parameter.values:
                    first, lengths = next(rest), [next(rest) for _ in range(value.ndim)]
                    view = value.numba_type(dtype)
                    parts.append(_view(context, builder, view, first, lengths) if lengths else first)
                made.append(context.make_tuple(builder, kind, parts) if parameter.structure else parts[0])
            return context.make_tuple(builder, signature.return_type, made)

        return _tuple_of(kinds)(*arguments), codegen

    return c_types, intrinsic_of(_numbered(c_types), define)


def _view(context: Any, builder: ir.IRBuilder, kind: Any, data: ir.Value, shape: list[ir.Value]) -> ir.Value:
    """The contiguous array of a Numba type in the memory at `data`, which it does not own."""
    from numba.np.arrayobj import populate_array  # for who compiles alone: it takes long to import

    itemsize = context.get_constant(types.intp, context.get_abi_sizeof(context.get_data_type(kind.dtype)))
    strides = [itemsize]
    for length in shape[:0:-1]:
        strides.insert(0, builder.mul(strides[0], length))
    array = context.make_array(kind)(context, builder)
    populate_array(array, data, shape, strides, itemsize, None)
    return array._getvalue()


def _compile(function: Callable[..., Any], dtype_name: str, key: Any) -> Any:
    """The C function of `function`; an array is a pointer and the lengths of its axes."""
    parameters = parameters_of(function)
    c_types, assembled = _assembler(parameters, getattr(types, dtype_name))
    # A cached function is rebuilt in the module that its globals name.
    namespace = {"__name__": __name__, "function": function, "assembled": assembled}
    listed = ", ".join(_numbered(c_types))
    exec(f"def entry({listed}):\n    function(*assembled({listed}))\n", namespace)
    entry = cast(FunctionType, namespace["entry"])
    # Numba tells functions of one name and signature apart by a number that it counts up in each process. Two
    # that were compiled in different processes may have the same, and where both are then loaded from the
    # cache LLVM takes one for the other.
    entry.__qualname__ = "entry_" + (key if isinstance(key, str) else "_".join(key))
    compiled: Any = CFunc(
        entry,
        (tuple(c_types), types.void),
        locals={},
        options={"nopython": True, **compiler_options()},
    )
    compiled._cache = FunctionCache(entry, key)
    with compiling():
        compiled.compile()
    return compiled


def _caller(
    parameters: Sequence[KernelParameter], callee: Callable[..., ir.Value], *, by_address: bool
) -> Any:
    """Intrinsic that calls a C function; `callee` emits it, from the builder, dtype, type and address."""

    def define(*arguments: Any) -> Any:
        address, arguments = arguments[: int(by_address)], arguments[int(by_address) :]
        dtype = float_type(parameters, arguments)
        expected = [
            kind if parameter.structure or value.ndim else view_element(value, dtype)
            for kind, parameter in zip(arguments, parameters, strict=True)
            for value in parameter.values[:1]
        ]
        signature = types.void(*[types.int64] * len(address), *expected)

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Sequence[ir.Value]) -> Any:
            where, values = (values[0], values[1:]) if by_address else (None, values)
            flat: list[ir.Value] = []
            for value, kind, part in unpacked(builder, parameters, expected, values):
                if value.ndim:
                    view = context.make_array(kind)(context, builder, part)
                    flat += [view.data, *cgutils.unpack_tuple(builder, view.shape)]
                else:
                    flat.append(context.cast(builder, part, kind, view_element(value, dtype)))
            builder.call(callee(builder, dtype, view_type(parameters, dtype), where), flat)
            return context.get_dummy_value()

        return signature, codegen

    names = [parameter.name for parameter in parameters]
    return intrinsic_of(["address", *names] if by_address else names, define)


def linked(kind: str) -> Callable[[Callable[..., None]], Any]:
    """Decorator: compile the function once per dtype, and link it into its callers by name.

    Parameters
    ----------
    kind : str
        Name of the symbol.

    Returns
    -------
    decorator
        It gives an intrinsic that kernels call like the function.
    """

    def decorate(function: Callable[..., None]) -> Any:
        body, parameters = register_jitable(function), parameters_of(function)

        def address_of(dtype_name: str) -> tuple[int, Any]:
            compiled = _compile(body, dtype_name, kind)
            return int(compiled.address), compiled

        def callee(
            builder: ir.IRBuilder, dtype: Any, function_type: ir.FunctionType, _: ir.Value
        ) -> ir.Value:
            return link.declare(builder.module, link.symbol(kind, dtype), function_type)

        def c_type_of(dtype_name: str) -> str:
            return str(view_type(parameters, getattr(types, dtype_name)))

        link.provide(kind, address_of, c_type_of)
        return _caller(parameters, callee, by_address=False)

    return decorate


class LoopTable:
    """The loops of a registry's entries, each a C function, compiled when its address is first asked for.

    Parameters
    ----------
    kind : str
        Names the table in the cache.
    loops : dict of str to callable or None
        A loop for each entry, by the entry's name, in the order of its code; None where it does nothing. All
        have parameters of the same types.

    Attributes
    ----------
    call : intrinsic
        ``call(address, *arguments)``, for kernels.
    address : callable
        ``address(code, dtype)``: where the loop of the entry with this code lies, for float32 or float64;
        NOTHING if it has none.
    """

    def __init__(self, kind: str, loops: dict[str, Callable[..., None] | None]) -> None:
        self.kind, self.loops = kind, loops
        signatures = []
        for name, loop in loops.items():
            if loop is not None:
                loop.__qualname__ = f"{kind}_{name}"  # of its own, see ``_compile``
                signatures.append(parameters_of(loop))
        self.parameters = signatures[0]
        if any(signature != self.parameters for signature in signatures):
            raise TypeError(f"the loops of {kind!r} differ in their parameters")
        # Asked for at every call of a kernel: kept by what the caller gives, and by what that means.
        self.address = cache(self._address)
        self._compiled = cache(self._compile)
        self.call = _caller(self.parameters, _by_address, by_address=True)

    def _compile(self, code: int, dtype_name: str) -> Any:
        check_entry()
        name, loop = list(self.loops.items())[code]
        return loop and _compile(loop, dtype_name, (self.kind, name))

    def _address(self, code: int, dtype: Any) -> int:
        compiled = self._compiled(code, np.dtype(dtype).name)
        return int(compiled.address) if compiled else NOTHING


def _by_address(
    builder: ir.IRBuilder, dtype: Any, function_type: ir.FunctionType, address: ir.Value
) -> ir.Value:
    return builder.inttoptr(address, function_type.as_pointer())
