"""Heavy code is compiled once and linked by name.

Numba copies the code of every callee into each of its callers and optimises it there again: a leaf that takes
a second to compile, five levels below a training step with its serial and threaded forms, costs ten. The
register tiles and the ``linked`` functions are therefore compiled once per dtype, as C functions, and their
callers hold nothing but the symbol:

    provider (tile_ir, linked)  --compiles-->  address  --LLVM symbol "fastnn_<kind>_<dtype>"-->  callers

A symbol must be known before a caller's code is loaded, or LLVM aborts the process. Lowering a call makes it
known; for callers loaded from the disk cache the cache keeps the list of symbols they need
(``required_symbols``), with the types for which they were compiled, and asks for them first.
"""

from collections.abc import Callable
from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils
from numba.core.compiler_lock import global_compiler_lock

from fastnn.kernels.shared.threads import threading_layer

PREFIX = "fastnn_"
# Known to LLVM once Numba has started its threads. A function that contains `prange` loops of a callee does
# not see to that itself when it is loaded from the cache.
PARALLEL_FOR = "numba_parallel_for"

# Kind of function -> what gives its address, and its C type, for a dtype's name.
_providers: dict[str, Callable[[str], int]] = {}
_types: dict[str, Callable[[str], str]] = {}
_addresses: dict[str, int] = {}
# What the providers made stays alive as long as the process: nothing else refers to the code.
_owners: list[Any] = []


def provide(kind: str, address_of: Callable[[str], tuple[int, Any]], c_type_of: Callable[[str], str]) -> None:
    """Register a kind of function.

    Parameters
    ----------
    kind : str
        First part of the symbol; no underscore at its end.
    address_of : callable
        ``address_of(dtype_name)`` compiles or loads the function for "float32" or "float64" and returns its
        address and the object that keeps it alive.
    c_type_of : callable
        ``c_type_of(dtype_name)`` is its type, as LLVM writes it: a caller from the disk cache is linked only
        if it was compiled for this one.
    """

    def address(dtype_name: str) -> int:
        value, owner = address_of(dtype_name)
        _owners.append(owner)
        return value

    if kind in _providers:
        raise ValueError(f"two functions are called {kind!r}")
    _providers[kind] = address
    _types[kind] = c_type_of


def symbol(kind: str, dtype: Any) -> str:
    """Name of the function of this kind for a Numba dtype."""
    return f"{PREFIX}{kind}_{dtype}"


def c_type(name: str) -> str:
    """Type of the function of this name, as LLVM writes it; empty for the launch of threads, Numba's own.

    Raises
    ------
    KeyError
        No provider of that kind is registered.
    """
    if name == PARALLEL_FOR:
        return ""
    kind, dtype_name = _parts(name)
    return _types[kind](dtype_name)


def _parts(name: str) -> list[str]:
    return name.removeprefix(PREFIX).rsplit("_", 1)


@global_compiler_lock
def require(name: str, wanted_type: str) -> bool:
    """Make a symbol known to LLVM; compiles its function if no cache holds it.

    Returns
    -------
    known : bool
        False, and nothing is done, if the function has another type than `wanted_type`, or there is none.
    """
    if name == PARALLEL_FOR:
        threading_layer()
        return True
    kind, dtype_name = _parts(name)
    if kind not in _types or c_type(name) != wanted_type:
        return False
    if name not in _addresses:
        address = _providers[kind](dtype_name)
        # A signal's handler may raise between any two lines: what is in `_addresses` is known to LLVM.
        llvm.add_symbol(name, address)
        _addresses[name] = address
    return True


def declare(module: ir.Module, name: str, function_type: ir.FunctionType) -> ir.Function:
    """The external function `name` in `module`, known to LLVM from here on.

    Raises
    ------
    TypeError
        The function has another type.
    """
    if not require(name, str(function_type)):
        raise TypeError(f"{name} is a {c_type(name)}, not a {function_type}")
    function = cgutils.get_or_insert_function(module, function_type, name)
    # No exception leaves it: without this every call would be a branch point for the optimiser.
    function.attributes.add("nounwind")
    return function


def required_symbols(library: Any) -> list[tuple[str, str]]:
    """Symbols that a compiled Numba library calls, with their types: ours, and the launch of threads."""
    declared = (f.name for f in library._final_module.functions if f.is_declaration)
    ours = sorted(name for name in declared if name.startswith(PREFIX) or name == PARALLEL_FOR)
    return [(name, c_type(name)) for name in ours]
