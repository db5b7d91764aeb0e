"""The loops of ``tile``: each is compiled once per float type, as a C function with a symbol (``_link``).

What they hold is written in the files ``ir_``, by kind: the register tile of products, sums of picked rows,
distances and their minimum, sums, moves between rows and lanes.
"""

from functools import partial
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.registry import cpu_target

from fastnn.kernels.compiler import link
from fastnn.kernels.compiler.cache import LibraryCache
from fastnn.kernels.simd import ir_combine, ir_moves, ir_nearest, ir_product, ir_sums

# Name of a loop: what writes it into a module, and its C type.
_LOOPS: dict[str, tuple[Any, Any]] = {
    **ir_product.LOOPS,
    **ir_combine.LOOPS,
    **ir_nearest.LOOPS,
    **ir_sums.LOOPS,
    **ir_moves.LOOPS,
}


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
        _LOOPS[kind][0](module, name, getattr(types, dtype_name))
        library.add_ir_module(module)
        library.finalize()
        cache.save_overload(name, library)
    return library.get_pointer_to_function(name), library


def _c_type(kind: str, dtype_name: str) -> str:
    return str(_LOOPS[kind][1](getattr(types, dtype_name)))


for _kind in _LOOPS:
    link.provide(_kind, partial(_compile, _kind), partial(_c_type, _kind))


def declare(builder: ir.IRBuilder, kind: str, dtype: Any) -> ir.Function:
    """The function of this kind for a Numba float type, known to the module that `builder` writes."""
    return link.declare(builder.module, link.symbol(kind, dtype), _LOOPS[kind][1](dtype))
