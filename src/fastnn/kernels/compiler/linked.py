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
from numba import carray
from numba.core import cgutils, types
from numba.core.ccallback import CFunc
from numba.extending import register_jitable

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

# Address of the loop of an entry that has none: there is nothing to call.
NOTHING = 0

_pointer_to: Any = types.__dict__["CPointer"]  # which the stubs do not know


def _compile(function: Callable[..., Any], dtype_name: str, key: Any) -> Any:
    """The C function of `function`; an array is a pointer and the lengths of its axes."""
    dtype = getattr(types, dtype_name)
    # A cached function is rebuilt in the module that its globals name.
    namespace = {"__name__": __name__, "function": function, "carray": carray}
    names: list[str] = []
    argument_types: list[Any] = []
    arguments = []
    for parameter in parameters_of(function):
        members = []
        for value in parameter.values:
            name = f"a{len(names)}"
            lengths = [f"{name}_{axis}" for axis in range(value.ndim)]
            names += [name, *lengths]
            element = view_element(value, dtype)
            argument_types += [_pointer_to(element) if value.ndim else element, *[types.int64] * value.ndim]
            members.append(f"carray({name}, ({', '.join(lengths)},))" if value.ndim else name)
        structure = parameter.structure
        if structure is None:
            arguments += members
        else:
            namespace[structure.__name__] = structure
            arguments.append(f"{structure.__name__}({', '.join(members)})")
    exec(f"def entry({', '.join(names)}):\n    function({', '.join(arguments)})\n", namespace)
    entry = cast(FunctionType, namespace["entry"])
    # Numba tells functions of one name and signature apart by a number that it counts up in each process. Two
    # that were compiled in different processes may have the same, and where both are then loaded from the
    # cache LLVM takes one for the other.
    entry.__qualname__ = "entry_" + (key if isinstance(key, str) else "_".join(key))
    compiled: Any = CFunc(
        entry,
        (tuple(argument_types), types.void),
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
