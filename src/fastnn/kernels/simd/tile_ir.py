"""From the LLVM of a loop to a function that kernels call.

Each loop of ``tile`` is compiled once per float type, as a C function with a symbol (``link``). What it holds
is written in the files ``ir_``, by kind: the register tile of products, sums of picked rows, distances and
their minimum, sums, moves between rows and lanes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target

from fastnn.kernels.compiler import link
from fastnn.kernels.compiler.cache import LibraryCache
from fastnn.kernels.compiler.signature import (
    KernelParameter,
    address_type,
    float_type,
    intrinsic_of,
    parameters_of,
    values_of,
)
from fastnn.kernels.simd import ir_combine, ir_moves, ir_nearest, ir_product, ir_sums

# What writes a loop into its function, by the loop's name: ``write(function, dtype)``.
_WRITERS: dict[str, Callable[[ir.Function, Any], None]] = {
    **ir_product.LOOPS,
    **ir_combine.LOOPS,
    **ir_nearest.LOOPS,
    **ir_sums.LOOPS,
    **ir_moves.LOOPS,
}
# The parameters of each, once a function of ``tile`` has said what they are.
_parameters: dict[str, tuple[KernelParameter, ...]] = {}
_I64 = ir.IntType(64)


def write(module: ir.Module, kind: str, name: str, dtype: Any) -> None:
    """Define the loop of this kind in a module, for a Numba float type."""
    function = ir.Function(module, address_type(_parameters[kind], dtype), name)
    function.attributes.add("nounwind")
    _WRITERS[kind](function, dtype)


def _compile(kind: str, dtype_name: str) -> tuple[int, Any]:
    """Address of one tile function, from the disk cache or compiled, and the library that holds it."""
    context = cpu_target.target_context
    name = link.symbol(kind, dtype_name)
    cache = LibraryCache(_compile, _c_type(kind, dtype_name))
    library = cache.load_overload(name, context)
    if library is None:
        library = context.codegen().create_library(name)
        library.enable_object_caching()
        module = library.create_ir_module(name)
        write(module, kind, name, getattr(types, dtype_name))
        library.add_ir_module(module)
        library.finalize()
        cache.save_overload(name, library)
    return library.get_pointer_to_function(name), library


def _c_type(kind: str, dtype_name: str) -> str:
    return str(address_type(_parameters[kind], getattr(types, dtype_name)))


def pointer(
    context: Any, builder: ir.IRBuilder, array_type: Any, array: ir.Value, offset: ir.Value
) -> ir.Value:
    """Address of an array's element, counted in elements."""
    data = context.make_array(array_type)(context, builder, array).data
    return builder.gep(data, [offset])


def tile_function(kind: str) -> Callable[[Callable[..., None]], Any]:
    """Decorator: the function's parameters and docstring, with the loop of this kind as its body.

    Arrays may have any number of axes; an offset is that of the array before it.
    """

    def decorate(function: Callable[..., None]) -> Any:
        parameters = _parameters[kind] = parameters_of(function)
        link.provide(kind, partial(_compile, kind), partial(_c_type, kind))
        values = values_of(parameters)

        def define(*arguments: Any) -> Any:
            dtype = float_type(parameters, [_flattened(argument) for argument in arguments])
            expected = [
                argument if value.ndim else value.element_type(dtype)
                for argument, value in zip(arguments, values, strict=True)
            ]

            def codegen(
                context: Any, builder: ir.IRBuilder, signature: Any, given: Sequence[ir.Value]
            ) -> Any:
                passed: list[ir.Value] = []
                for i, value in enumerate(values):
                    if value.ndim:
                        behind = values[i + 1 : i + 2]
                        offset = given[i + 1] if behind and behind[0].is_offset else ir.Constant(_I64, 0)
                        passed.append(pointer(context, builder, expected[i], given[i], offset))
                    elif not value.is_offset:
                        passed.append(given[i])
                name = link.symbol(kind, dtype)
                callee = link.declare(builder.module, name, address_type(parameters, dtype))
                builder.call(callee, passed)
                return context.get_dummy_value()

            return types.void(*expected), codegen

        return intrinsic_of([parameter.name for parameter in parameters], define, function)

    return decorate


def _flattened(argument: Any) -> Any:
    """The type of an array's elements one after the other, where they lie so."""
    if isinstance(argument, types.Array) and argument.layout == "C":
        return types.Array(argument.dtype, 1, "C")
    return argument
