"""C functions out of Python functions, compiled once per float type and called from kernels without a copy.

Numba copies a callee's code into each of its callers and optimises it there again. What is large, or called
from many places, is compiled here as a C function of its own, in one of two ways:

* ``linked``: callers hold a symbol, which ``kernels._link`` resolves before their code is loaded;
* ``LoopTable``: one loop for each entry of a registry, reached by an address that is a run-time value. So a
  kernel is compiled once whatever its activation, and a process compiles only the entries it uses.

The parameters of a function are written as a string, a letter each. T stands for the float type::

    i  int64         j  int32         t  a T          d  float64
    I  int64 array   J  int32 array   T  array of T   D  float64 array

Arrays are contiguous; I2, T3 and so on have two or three axes.

Where there are many, they stand in named tuples: in a list beside such strings, a pair of the class and the
letters of its fields.

A C function has no way to raise: nothing that may fail stands in one, no allocation either. Buffers come from
its caller.
"""

from collections.abc import Callable, Sequence
from functools import cache, partial
from types import FunctionType
from typing import Any, NamedTuple, cast

import numpy as np
from llvmlite import ir
from numba import carray
from numba.core import cgutils, types
from numba.core.ccallback import CFunc
from numba.extending import intrinsic, register_jitable

from fastnn.kernels.compiler import link
from fastnn.kernels.compiler.cache import FunctionCache
from fastnn.kernels.compiler.entry import check_entry
from fastnn.kernels.compiler.jit import compiler_options, compiling

# Address of the loop of an entry that has none: there is nothing to call.
NOTHING = 0

Parameters = str | Sequence[Any]

_pointer_to: Any = types.__dict__["CPointer"]  # which the stubs do not know


def _element(letter: str, dtype: Any) -> Any:
    return {"i": types.int64, "j": types.int32, "t": dtype, "d": types.float64}[letter.lower()]


class _Slot(NamedTuple):
    """A scalar, an array or a member of a structure among a function's parameters."""

    letter: str
    ndim: int  # 0 for a scalar


def _slots(letters: str) -> list[_Slot]:
    """ "iTT2" -> an integer, an array and a two-dimensional array."""
    slots: list[_Slot] = []
    for letter in letters:
        if letter.isdigit():
            slots[-1] = slots[-1]._replace(ndim=int(letter))
        else:
            slots.append(_Slot(letter, int(letter.isupper())))
    return slots


def _expand(parameters: Parameters) -> list[tuple[type | None, list[_Slot]]]:
    """The slots of every parameter, with the class of those that are structures."""
    if isinstance(parameters, str):
        return [(None, [slot]) for slot in _slots(parameters)]
    expanded: list[tuple[type | None, list[_Slot]]] = []
    for part in parameters:
        expanded += _expand(part) if isinstance(part, str) else [(part[0], _slots(part[1]))]
    return expanded


def _llvm_element(letter: str, dtype: Any) -> ir.Type:
    element = _element(letter, dtype)
    if isinstance(element, types.Integer):
        return ir.IntType(cast(Any, element).bitwidth)
    return ir.FloatType() if element == types.float32 else ir.DoubleType()


def _c_type(parameters: Parameters, dtype_name: str) -> str:
    """The C function's type, as LLVM writes it."""
    dtype = getattr(types, dtype_name)
    members: list[ir.Type] = []
    for _, slots in _expand(parameters):
        for letter, ndim in slots:
            element = _llvm_element(letter, dtype)
            members += [element.as_pointer(), *[ir.IntType(64)] * ndim] if ndim else [element]
    return str(ir.FunctionType(ir.VoidType(), members))


def _compile(function: Callable[..., Any], parameters: Parameters, dtype_name: str, key: Any) -> Any:
    """The C function of `function`; an array is a pointer and the lengths of its axes."""
    dtype = getattr(types, dtype_name)
    # A cached function is rebuilt in the module that its globals name.
    namespace = {"__name__": __name__, "function": function, "carray": carray}
    names: list[str] = []
    argument_types: list[Any] = []
    arguments = []
    for structure, slots in _expand(parameters):
        members = []
        for letter, ndim in slots:
            name = f"a{len(names)}"
            lengths = [f"{name}_{axis}" for axis in range(ndim)]
            names += [name, *lengths]
            element = _element(letter, dtype)
            argument_types += [_pointer_to(element) if ndim else element, *[types.int64] * ndim]
            members.append(f"carray({name}, ({', '.join(lengths)},))" if ndim else name)
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


def _caller(parameters: Parameters, callee: Callable[..., ir.Value], *, by_address: bool) -> Any:
    """Intrinsic that calls a C function; `callee` emits it, from the builder, dtype, type and address."""
    expanded = _expand(parameters)
    names = [f"a{i}" for i in range(len(expanded))]

    def members(kind: Any, structure: type | None) -> list[Any]:
        return [kind] if structure is None else list(kind.types)

    def define(*arguments: Any) -> Any:
        pairs = [
            (member, slot)
            for argument, (structure, slots) in zip(arguments, expanded, strict=True)
            for member, slot in zip(members(argument, structure), slots, strict=True)
        ]
        dtype = next(member.dtype for member, slot in pairs if slot.letter == "T")
        for member, slot in pairs:
            if slot.ndim and member != types.Array(_element(slot.letter, dtype), slot.ndim, "C"):
                letters = slot.letter + str(slot.ndim)
                raise TypeError(f"a linked function takes {letters} with T = {dtype}, got {member}")
        signature = types.void(
            *([types.int64] if by_address else []),
            *(
                argument if structure or slots[0].ndim else _element(slots[0].letter, dtype)
                for argument, (structure, slots) in zip(arguments, expanded, strict=True)
            ),
        )

        def codegen(context: Any, builder: ir.IRBuilder, signature: Any, values: Sequence[ir.Value]) -> Any:
            address, values = (values[0], values[1:]) if by_address else (None, values)
            flat: list[ir.Value] = []
            for value, kind, (structure, slots) in zip(
                values, signature.args[-len(values) :], expanded, strict=True
            ):
                parts = [value] if structure is None else cgutils.unpack_tuple(builder, value)
                for part, member, slot in zip(parts, members(kind, structure), slots, strict=True):
                    if slot.ndim:
                        view = context.make_array(member)(context, builder, part)
                        flat += [view.data, *cgutils.unpack_tuple(builder, view.shape)]
                    else:
                        flat.append(context.cast(builder, part, member, _element(slot.letter, dtype)))
            function_type = ir.FunctionType(ir.VoidType(), [value.type for value in flat])
            builder.call(callee(builder, dtype, function_type, address), flat)
            return context.get_dummy_value()

        return signature, codegen

    # Numba wants an intrinsic's arguments by name.
    head = ["address"] if by_address else []
    namespace: dict[str, Any] = {"define": define}
    exec(
        f"def call(typingctx, {', '.join(head + names)}):\n    return define({', '.join(names)})\n", namespace
    )
    return intrinsic(namespace["call"])


def linked(kind: str, parameters: Parameters) -> Callable[[Callable[..., None]], Any]:
    """Decorator: compile the function once per dtype, and link it into its callers by name.

    Parameters
    ----------
    kind : str
        Name of the symbol.
    parameters : str, or list of str and pairs (class, str)
        The function's parameters, see the module.

    Returns
    -------
    decorator
        It gives an intrinsic that kernels call like the function.
    """

    def decorate(function: Callable[..., None]) -> Any:
        body = register_jitable(function)

        def address_of(dtype_name: str) -> tuple[int, Any]:
            compiled = _compile(body, parameters, dtype_name, kind)
            return int(compiled.address), compiled

        def callee(
            builder: ir.IRBuilder, dtype: Any, function_type: ir.FunctionType, _: ir.Value
        ) -> ir.Value:
            return link.declare(builder.module, link.symbol(kind, dtype), function_type)

        link.provide(kind, address_of, partial(_c_type, parameters))
        return _caller(parameters, callee, by_address=False)

    return decorate


class LoopTable:
    """The loops of a registry's entries, each a C function, compiled when its address is first asked for.

    Parameters
    ----------
    kind : str
        Names the table in the cache.
    loops : dict of str to callable or None
        A loop for each entry, by the entry's name, in the order of its code; None where it does nothing.
    parameters : str, or list of str and pairs (class, str)
        The loops' parameters, see the module.

    Attributes
    ----------
    call : intrinsic
        ``call(address, *arguments)``, for kernels.
    address : callable
        ``address(code, dtype)``: where the loop of the entry with this code lies, for float32 or float64;
        NOTHING if it has none.
    """

    def __init__(
        self, kind: str, loops: dict[str, Callable[..., None] | None], parameters: Parameters
    ) -> None:
        self.kind, self.loops, self.parameters = kind, loops, parameters
        for name, loop in loops.items():
            if loop is not None:
                loop.__qualname__ = f"{kind}_{name}"  # of its own, see ``_compile``
        # Asked for at every call of a kernel: kept by what the caller gives, and by what that means.
        self.address = cache(self._address)
        self._compiled = cache(self._compile)
        self.call = _caller(parameters, _by_address, by_address=True)

    def _compile(self, code: int, dtype_name: str) -> Any:
        check_entry()
        name, loop = list(self.loops.items())[code]
        return loop and _compile(loop, self.parameters, dtype_name, (self.kind, name))

    def _address(self, code: int, dtype: Any) -> int:
        compiled = self._compiled(code, np.dtype(dtype).name)
        return int(compiled.address) if compiled else NOTHING


def _by_address(
    builder: ir.IRBuilder, dtype: Any, function_type: ir.FunctionType, address: ir.Value
) -> ir.Value:
    return builder.inttoptr(address, function_type.as_pointer())
