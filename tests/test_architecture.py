"""The layers import one way, CUDA stays out of the CPU's way, and names live in one place."""

import ast
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from fastnn.kernels.cpu import clustering, network
from fastnn.tables.activations import ACTIVATIONS, SOFTMAX

ROOT = Path(__file__).resolve().parents[1] / "src" / "fastnn"
FILES = sorted(ROOT.rglob("*.py"))

# The floors of the house; a module imports from its own and from those below.
TABLES, KERNELS, ENGINES, ESTIMATORS, ABOVE = range(5)
ROOMS = {
    "tables": TABLES,
    "kernels": KERNELS,
    "networks": ENGINES,
    "clustering": ENGINES,
    "estimators": ESTIMATORS,
    "displays": ABOVE,
    "convert": ABOVE,
}
# Rooms of the kernels, each of which stands on those before it.
KERNEL_ROOMS = ["shared", "contract", "compiler", "simd", "cpu"]
# Modules in the root: what a fork needs stands below everything, compiling ahead of time calls engines.
ROOT_MODULES = {
    "_forks": TABLES,
    "_locks": TABLES,
    "_mappings": TABLES,
    "_moved": TABLES,
    "_precompile": ENGINES,
}
# The two families, which have a room on every floor and know nothing of each other.
FAMILIES = {
    "networks": (
        "networks",
        "kernels.network",
        "kernels.contract.network",
        "kernels.cpu.network",
        "kernels.cuda.network",
        "estimators.mlp",
        "estimators.tabular",
        "convert.networks",
        "convert.activations",
    ),
    "clustering": (
        "clustering",
        "kernels.clustering",
        "kernels.contract.clustering",
        "kernels.cpu.clustering",
        "kernels.cuda.clustering",
        "estimators.kmeans",
        "convert.clustering",
    ),
}
FUNCTION_MODULES = {
    "fastnn.tables.elementary",
    "fastnn.kernels",
    "fastnn.kernels.cpu.elementary",
    "fastnn.kernels.cuda",
}


def rank(module: str) -> int:
    head = module.split(".")[1]
    return ROOMS[head] if head in ROOMS else ROOT_MODULES[head]


def family(module: str) -> str | None:
    for name, rooms in FAMILIES.items():
        if any(f"{module}.".startswith(f"fastnn.{room}.") for room in rooms):
            return name
    return None


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
def test_rooms_of_the_kernels_stand_on_each_other(path):
    me = module_name(path).split(".")
    if me[1:2] != ["kernels"] or len(me) < 3 or me[2] not in KERNEL_ROOMS:
        return
    for name in imports(path):
        parts = name.split(".")
        if parts[:2] == ["fastnn", "kernels"] and len(parts) > 2 and parts[2] in KERNEL_ROOMS:
            assert KERNEL_ROOMS.index(parts[2]) <= KERNEL_ROOMS.index(me[2]), f"{'.'.join(me)} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_families_do_not_import_each_other(path):
    me = module_name(path)
    for name in imports(path):
        assert family(me) is None or family(name) in (None, family(me)), f"{me} imports {name}"


@pytest.mark.parametrize("room", ["rows", "runtime", "tiles"])
def test_what_both_families_use_on_cuda_knows_neither(room):
    for path in (ROOT / "kernels" / "cuda" / room).glob("*.py"):
        for name in imports(path):
            assert family(name) is None, f"{path} imports {name}"


@pytest.mark.parametrize("package", [clustering, network], ids=["clustering", "network"])
def test_the_processors_packages_export_what_is_used(package):
    """Each name in ``__all__`` is asked for, as ``device.X``, by an engine of the family."""
    door = package.__name__.replace(".cpu", "")
    used = set()
    for path in FILES:
        if f"{door}.device" in imports(path) or module_name(path) == door:
            used |= {
                node.attr
                for node in ast.walk(ast.parse(path.read_text()))
                if isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id == "device"
            }
    assert set(package.__all__) == used


# What is imported, and the family whose modules it has no use for.
STRANGERS = {
    "from fastnn import Autoencoder, MLPClassifier, MLPRegressor": "clustering",
    "from fastnn import KMeans, MiniBatchKMeans, GradKMeans, kmeans_plusplus": "networks",
    "from fastnn import LossCurveDisplay, SaturationDisplay, WeightsDisplay": "clustering",
    "from fastnn import ClusterDisplay, LossCurveDisplay": "networks",
    "from fastnn.kernels import assign, update_centers": "networks",
    "from fastnn.kernels import linear_forward, linear_backward": "clustering",
}


@pytest.mark.parametrize("statement", STRANGERS)
def test_a_family_is_imported_without_the_other(statement):
    code = f"{statement}; import sys; print(*(name for name in sys.modules if name.startswith('fastnn.')))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not [name for name in loaded.split() if family(name) == STRANGERS[statement]]


def test_every_module_has_a_room():
    heads = {
        module_name(path).split(".")[1] for path in FILES if path.parent != ROOT or path.stem != "__init__"
    }
    assert heads == ROOMS.keys() | ROOT_MODULES.keys()


def test_the_pages_list_the_rooms():
    kernel_rooms = {path.parent.name for path in (ROOT / "kernels").glob("*/__init__.py")}
    assert kernel_rooms == {*KERNEL_ROOMS, "cuda"}
    project = ROOT.parents[1]
    contributing = (project / "CONTRIBUTING.md").read_text().partition("## Layout")[2]
    for room in ROOMS:
        assert f"\n  {room}/ " in contributing
    (listed,) = re.findall(r"^  kernels/ .*;  (.*)$", contributing, re.M)
    assert listed.split(", ") == [*KERNEL_ROOMS, "cuda"]
    drawing = (project / "docs/architecture.md").read_text().split("```")[1]
    for room in (*ROOMS, *kernel_rooms):
        assert f"{room}/" in drawing


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_activation_names_are_spelled_in_one_file(path):
    if module_name(path) == "fastnn.tables.activations":
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
    if module_name(path) == "fastnn.kernels.shared.user_warnings":
        return
    for name in imports(path):
        assert name.partition(".")[0] != "warnings", f"{path} warns by itself"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_the_length_of_calls_is_settled_in_one_file(path):
    if module_name(path) == "fastnn.kernels.shared.pacing":
        return
    private = {"Pace", "CALL_SECONDS"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Attribute | ast.alias | ast.Name):
            name = {ast.Attribute: "attr", ast.alias: "name", ast.Name: "id"}[type(node)]
            assert getattr(node, name) not in private, f"{path} paces its calls by itself"


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_numbas_decorator_is_taken_from_one_file(path):
    """That one leaves out what nothing calls: a tenth of compiling."""
    if module_name(path) == "fastnn.tables.jitable":
        return
    assert "numba.extending.register_jitable" not in set(imports(path)), path


def test_figures_are_the_displays_business():
    """Matplotlib is imported when one is drawn, and nowhere else."""
    for path in FILES:
        if not any(name.partition(".")[0] == "matplotlib" for name in imports(path)):
            continue
        assert module_name(path).startswith("fastnn.displays."), path
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.Import | ast.ImportFrom):
                assert not re.search(r"(import|from) matplotlib", ast.unparse(node)), path


def test_an_estimator_holds_no_arithmetic_kernels():
    for path in (ROOT / "estimators").rglob("*.py"):
        assert not any(name.startswith(("numba", "llvmlite")) for name in imports(path)), path


def test_the_link_in_the_root_leads_to_the_kernels_and_is_no_second_copy():
    project = ROOT.parents[1]
    link = project / "kernels"
    if not link.is_symlink():
        pytest.skip("an sdist has no link")
    assert Path(os.readlink(link)) == Path("src/fastnn/kernels")
    assert link.samefile(ROOT / "kernels")
    tools = tomllib.loads((project / "pyproject.toml").read_text())["tool"]
    assert tools["ruff"]["extend-exclude"] == ["./kernels"]
    assert tools["mypy"]["exclude"] == ["^kernels/"]
    assert tools["pytest"]["ini_options"]["testpaths"] == ["tests"]
    build = tools["hatch"]["build"]["targets"]
    assert build["sdist"] == {"exclude": ["/kernels"], "skip-excluded-dirs": True}
    assert build["wheel"] == {"packages": ["src/fastnn"]}


# At most, of a file, and of a function without its docstring: a kernel is read in one sitting.
FILE_LINES, FUNCTION_LINES = 500, 80


def length(function: ast.FunctionDef) -> int:
    """Lines of a function, without its decorators and its docstring."""
    first = function.body[0]
    is_documented = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
    docstring = first.end_lineno - first.lineno + 1 if is_documented else 0
    return function.end_lineno - function.lineno + 1 - docstring


def long_functions(path: Path) -> set[str]:
    # A constructor lists its parameters.
    return {
        f"{module_name(path)}.{node.name}"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.name != "__init__" and length(node) > FUNCTION_LINES
    }


def test_files_are_read_in_one_sitting():
    found = {module_name(path) for path in FILES if len(path.read_text().splitlines()) > FILE_LINES}
    assert not found


def test_functions_are_read_at_a_glance():
    found = set().union(*(long_functions(path) for path in FILES))
    assert not found


# A kernel on the processor that would take more arguments gets them in structures.
ARGUMENTS = 12


def test_kernels_take_structures():
    found = {
        f"{module_name(path)}.{node.name}"
        for path in FILES
        if family(module_name(path)) and path.is_relative_to(ROOT / "kernels/cpu")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and len(node.args.args) > ARGUMENTS
    }
    assert not found


def test_classes_have_names_of_their_own():
    """No class is taken for one of the same name elsewhere."""
    places: dict[str, list[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(module_name(path))
    assert len(places) >= 100
    assert not {name: modules for name, modules in places.items() if len(modules) > 1}
