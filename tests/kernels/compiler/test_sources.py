"""The hash of the sources leaves no file out that can shape compiled code."""

import ast
from pathlib import Path

import pytest

from fastnn.kernels.compiler.sources import COMPILED, NOT_COMPILED, shapes_code

ROOT = Path(__file__).resolve().parents[3] / "src" / "fastnn"
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}
HASHED = [name for name in FILES if shapes_code(name)]
LEFT_OUT = [name for name in FILES if name.startswith(COMPILED) and name not in HASHED]

# A function whose decorators hold one of these names is compiled, or writes code.
COMPILERS = {
    "jit",
    "njit",
    "parallel_jit",
    "register_jitable",
    "sums_in_any_order",
    "intrinsic",
    "linked",
    "tile_function",
    "cfunc",
    "vectorize",
    "guvectorize",
    "overload",
}
# Modules from which compiled functions and written code come.
CODE_MODULES = ("llvmlite", "numba.extending", "numba.core.typing", "fastnn.kernels.compiler.signature")


def names_in(node):
    """Names, and attributes, anywhere below a node."""
    return {n.id for n in ast.walk(node) if isinstance(n, ast.Name)} | {
        n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)
    }


def imports(tree):
    """(module, name) of what a module imports; name is None for a whole module."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from ((node.module, alias.name) for alias in node.names)


def is_left_out(module):
    return f"{module.removeprefix('fastnn.').replace('.', '/')}.py" in LEFT_OUT


def is_compiled(function):
    return any(names_in(decorator) & COMPILERS for decorator in function.decorator_list)


def in_plain_functions(tree):
    """Nodes inside functions that are not compiled, less the compiled ones defined there."""
    plain, compiled = set(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            (compiled if is_compiled(node) else plain).update(
                inner for part in node.body for inner in ast.walk(part)
            )
    return plain - compiled


def test_the_list_names_files_that_are_there():
    assert {name.removesuffix(".py") for name in LEFT_OUT} == NOT_COMPILED


@pytest.mark.parametrize("name", LEFT_OUT)
def test_a_file_left_out_compiles_nothing(name):
    tree = ast.parse(FILES[name].read_text())
    for module, _ in imports(tree):
        assert not module.startswith(CODE_MODULES), f"{name} imports {module}"
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            assert not is_compiled(node), f"{name}: {node.name} is compiled"
        if isinstance(node, ast.Call):
            assert not names_in(node.func) & COMPILERS, f"{name}:{node.lineno} compiles"


@pytest.mark.parametrize("name", HASHED)
def test_no_compiled_function_uses_a_file_left_out(name):
    """Their names appear inside plain functions alone: no constant of theirs becomes part of code."""
    tree = ast.parse(FILES[name].read_text())
    forbidden = set()
    for module, imported in imports(tree):
        if module == "fastnn.kernels.cpu":
            assert not is_left_out(f"{module}.__init__"), f"{name} imports the list of the device's names"
        if is_left_out(module) or (imported and is_left_out(f"{module}.{imported}")):
            forbidden.add(imported or module.rsplit(".", 1)[-1])
    allowed = in_plain_functions(tree)
    annotations = {
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef) and not is_compiled(node)
        for part in (node.args, node.returns)
        if part is not None
        for inner in ast.walk(part)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Name) and node.id in forbidden:
            assert node in allowed or node in annotations, f"{name}:{node.lineno} uses {node.id}"
