"""The layers import one way, CUDA stays out of the CPU's way, and names live in one place."""

import ast
from pathlib import Path

import pytest

from fastnn.activations import ACTIVATIONS, SOFTMAX

ROOT = Path(__file__).resolve().parents[1] / "src" / "fastnn"
FILES = sorted(ROOT.rglob("*.py"))

# Rank of a layer; a module imports only from lower ranks or its own.
SCALARS, KERNELS, ENGINES, ESTIMATORS = range(4)
ENGINE_MODULES = {"network", "network_data", "device_network", "clustering", "_precompile"}
FUNCTION_MODULES = {
    "fastnn.elementary",
    "fastnn.kernels",
    "fastnn.kernels.cpu.elementary",
    "fastnn.kernels.cuda",
}


def rank(module: str) -> int:
    head = module.split(".")[1] if "." in module else ""
    if head == "estimators":
        return ESTIMATORS
    if head == "kernels":
        return KERNELS
    return ENGINES if head in ENGINE_MODULES else SCALARS


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
    return found


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_run_one_way(path):
    me = module_name(path)
    if me == "fastnn":  # public names, for type checkers only: loaded when first asked for
        return
    for name in imports(path):
        if name.startswith("fastnn."):
            assert rank(name) <= rank(me), f"{me} imports {name}"
            # The package's front door is the only place that chooses a device.
            inside = me.startswith("fastnn.kernels")
            assert inside or not name.startswith(("fastnn.kernels.cpu", "fastnn.kernels.cuda")), (
                f"{me} imports {name}"
            )
            if me.startswith("fastnn.kernels.cpu"):
                assert "kernels.cuda" not in name
            if me.startswith("fastnn.kernels.cuda"):
                assert "kernels.cpu" not in name
        if not me.startswith("fastnn.kernels.cuda"):
            assert not name.startswith(("numba.cuda", "cuda.", "cupy")), f"{me} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_activation_names_are_spelled_in_one_file(path):
    if module_name(path) == "fastnn.activations":
        return
    names = {entry.name for entry in ACTIVATIONS} | {SOFTMAX}
    tree = ast.parse(path.read_text())
    # The mathematical functions of these names are no activations where they are defined and exported.
    functions = {"exp", "logistic", "tanh"} if module_name(path) in FUNCTION_MODULES else set()
    docstrings = {
        node.body[0].value
        for node in ast.walk(tree)
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef))
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in docstrings:
            assert node.value not in names - functions, f"{path}:{node.lineno} spells {node.value!r}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_warnings_are_given_for_the_users_line(path):
    if module_name(path) == "fastnn.kernels._warnings":
        return
    for name in imports(path):
        assert name.partition(".")[0] != "warnings", f"{path} warns by itself"


def test_an_estimator_holds_no_arithmetic_kernels():
    for path in (ROOT / "estimators").glob("*.py"):
        assert not any(name.startswith(("numba", "llvmlite")) for name in imports(path)), path
