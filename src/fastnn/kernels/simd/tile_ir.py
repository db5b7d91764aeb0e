"""From the LLVM of a loop to a function that kernels call.

Each loop of ``tile`` is compiled once per float type, as a C function with a symbol (``link``). What it holds
is written in the files ``ir_``, by kind: the register tile of products, sums of picked rows, distances and
their minimum, sums, moves between rows and lanes.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import zip_longest
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
    unpacked,
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

    Arrays may have any number of axes, in structures too; an offset is that of the array before it.
    """

    def decorate(function: Callable[..., None]) -> Any:
        parameters = _parameters[kind] = parameters_of(function)
        link.provide(kind, partial(_compile, kind), partial(_c_type, kind))

        def define(*arguments: Any) -> Any:
            dtype = float_type(parameters, arguments, any_axes=True)
            expected = [
                argument if parameter.structure or value.ndim else value.element_type(dtype)
                for argument, parameter in zip(arguments, parameters, strict=True)
                for value in parameter.values[:1]
            ]

            def codegen(
                context: Any, builder: ir.IRBuilder, signature: Any, given: Sequence[ir.Value]
            ) -> Any:
                parts = list(unpacked(builder, parameters, expected, given))
                passed: list[ir.Value] = []
                for (value, member, part), behind in zip_longest(parts, parts[1:]):
                    if value.ndim:
                        offset = ir.Constant(_I64, 0)
                        if behind and behind[0].is_offset:
                            offset = context.cast(builder, behind[2], behind[1], types.int64)
                        passed.append(pointer(context, builder, member, part, offset))
                    elif not value.is_offset:
                        passed.append(context.cast(builder, part, member, value.element_type(dtype)))
                name = link.symbol(kind, dtype)
                callee = link.declare(builder.module, name, address_type(parameters, dtype))
                builder.call(callee, passed)
                return context.get_dummy_value()

            return types.void(*expected), codegen

        return intrinsic_of([parameter.name for parameter in parameters], define, function)

    return decorate
