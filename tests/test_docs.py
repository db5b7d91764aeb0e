"""Docstrings say what the signatures say, and the code of the README runs."""

import dataclasses
import inspect
import re
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from sklearn.base import BaseEstimator, clone
from sklearn.utils._param_validation import InvalidParameterError

import fastnn
from fastnn import convert, kernels
from fastnn.estimators.declaration import declared, estimator
from fastnn.estimators.mlp import parameters
from fastnn.networks import schedules
from fastnn.networks.data import Data
from fastnn.networks.host_network import HOST
from fastnn.networks.network import Network
from fastnn.networks.progress import Progress
from fastnn.networks.rows import HostRows
from fastnn.networks.solvers import stochastic
from fastnn.networks.solvers.interface import Problem, Solver
from fastnn.tables import activations, initializers, losses, optimizers

ROOT = Path(__file__).resolve().parents[1]
CLASSES = [getattr(fastnn, name) for name in fastnn.__all__ if inspect.isclass(getattr(fastnn, name))]
ESTIMATORS = [each for each in CLASSES if issubclass(each, BaseEstimator)]
DISPLAYS = [each for each in CLASSES if each not in ESTIMATORS]
FUNCTIONS = [getattr(kernels, name) for name in kernels.__all__]
METHODS = [
    (estimator, name)
    for estimator in CLASSES
    for name in dir(estimator)
    # What comes from scikit-learn is documented there.
    if not name.startswith("_")
    and getattr(inspect.unwrap(getattr(estimator, name)), "__module__", "")[:6] == "fastnn"
]

# What makes a fit short and repeatable, where an estimator has it.
QUICK = {"max_iter": 2, "random_state": 0}

# Sections of numpydoc, in its order.
SECTIONS = (
    "Parameters",
    "Attributes",
    "Returns",
    "Raises",
    "See Also",
    "Notes",
    "References",
    "Examples",
)


def sections(documented):
    """Heading -> body of the numpydoc sections of a docstring; "" -> what stands before them."""
    doc = inspect.getdoc(documented)
    assert doc, f"{documented} has no docstring"
    parts = re.split(r"^(\S[^\n]*)\n-{3,}$", doc, flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert len(found) == len(parts) // 2, f"{documented}: a section stands twice"
    return {"": parts[0], **found}


def fields(body):
    """(names, type) of each entry of a section."""
    # A type may go on in the next line after a backslash.
    body = re.sub(r"\\\n\s*", "", body)
    entries = re.findall(r"^(\S[^:\n]*?)(?: : ?(.+))?$", body, flags=re.MULTILINE)
    return [(re.split(r",\s*", names), kind) for names, kind in entries]


def signature(callable_):
    """Parameters, without self, as (name, default) in order."""
    parameters = inspect.signature(callable_).parameters.values()
    return [(p.name, p.default) for p in parameters if p.name != "self"]


def check_parameters(callable_, documented):
    """Same names in the same order, each with a type; defaults are stated, and the right ones."""
    entries = [
        (name, kind) for names, kind in fields(sections(documented).get("Parameters", "")) for name in names
    ]
    expected = signature(callable_)
    assert [name.lstrip("*") for name, _ in entries] == [name for name, _ in expected]
    for (name, kind), (_, default) in zip(entries, expected, strict=True):
        assert kind, f"{name} has no type"
        if default is inspect.Parameter.empty or kind in ("Ignored", "Ignored."):
            assert "default" not in kind, name
        else:
            stated = re.search(r"default ?[=:] ?(.+)$", kind)
            assert stated or ("optional" in kind and default is None), f"{name} states no default"
            # Several parameters in one entry list their defaults in order.
            assert stated is None or same(default, stated.group(1), kind), f"{name}: {kind}, but {default!r}"


def same(default, stated, kind):
    """Whether a default is the stated one, or among those stated for several parameters."""
    namespace = {"__builtins__": {}}
    value = eval(stated, namespace)
    return value == default or (isinstance(value, tuple) and default in value)


def check_form(documented, required):
    """A summary in one line that ends with a full stop; known sections, in order."""
    found = sections(documented)
    summary = found[""].split("\n\n")[0].strip()
    assert "\n" not in summary, summary
    assert summary.endswith("."), summary
    headings = [heading for heading in found if heading]
    assert not set(headings) - set(SECTIONS), headings
    assert headings == sorted(headings, key=SECTIONS.index)
    assert not set(required) - set(headings), f"missing: {set(required) - set(headings)}"


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
def test_estimators(estimator):
    check_parameters(estimator.__init__, estimator)
    check_form(estimator, ("Parameters", "Attributes", "See Also", "References", "Examples"))
    for names, kind in fields(sections(estimator)["Attributes"]):
        assert kind, f"{names} has no type"
        assert all(name.endswith("_") for name in names)


@pytest.mark.parametrize("display", DISPLAYS, ids=lambda display: display.__name__)
def test_displays(display):
    check_parameters(display.__init__, display)
    check_form(display, ("Parameters", "Attributes", "See Also", "Examples"))
    for names, kind in fields(sections(display)["Attributes"]):
        assert kind, f"{names} has no type"
        assert all(name.endswith("_") for name in names)


@pytest.mark.parametrize(("estimator", "name"), METHODS, ids=lambda value: getattr(value, "__name__", value))
def test_methods(estimator, name):
    method = inspect.unwrap(getattr(estimator, name))
    check_parameters(method, method)
    check_form(method, ("Parameters", "Returns") if signature(method) else ("Returns",))


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
def test_nothing_is_said_of_methods_that_others_have(estimator):
    """What estimators share is documented once, and may name what one of them lacks."""
    named = set(re.findall(r"``(\w+)``", inspect.getdoc(estimator)))
    assert not {name for name in named & {name for _, name in METHODS} if not hasattr(estimator, name)}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda estimator: estimator.__name__)
def test_what_a_fit_sets_is_documented(estimator):
    X = np.random.default_rng(0).normal(size=(60, 3))
    quick = {name: value for name, value in QUICK.items() if name in estimator._get_param_names()}
    model = estimator(**quick).fit(X, (X[:, 0] > 0).astype(int))
    documented = {name for names, _ in fields(sections(estimator)["Attributes"]) for name in names}
    assert {name for name in vars(model) if re.fullmatch("[a-z].*_", name)} <= documented


def test_what_an_autoencoder_lacks_is_listed():
    page = (ROOT / "docs/differences.md").read_text()
    section = re.search(r"^## Autoencoder\n(.*?)^## ", page, flags=re.MULTILINE | re.DOTALL)[1]
    names = [
        {*kind._get_param_names(), *(name for estimator, name in METHODS if estimator is kind)}
        for kind in (fastnn.MLPRegressor, fastnn.Autoencoder)
    ]
    assert names[0] - names[1] <= set(re.findall(r"`(\w+)`", section))


def test_methods_are_found():
    found = {(estimator.__name__, name) for estimator, name in METHODS}
    assert found >= {("MLPClassifier", "fit"), ("MLPRegressor", "partial_fit"), ("GradKMeans", "transform")}
    assert found >= {(display.__name__, name) for display in DISPLAYS for name in ("from_estimator", "plot")}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_kernels(function):
    check_parameters(function, function)
    check_form(function, ("Parameters", "Returns", "Raises"))


@pytest.mark.parametrize("function", [getattr(convert, name) for name in convert.__all__])
def test_conversions(function):
    check_parameters(function, function)
    check_form(function, ("Parameters", "Returns", "Raises"))


def test_kernels_state_their_cost():
    for function in FUNCTIONS:
        if len(signature(function)) > 3:  # not the elementary functions
            notes = sections(function)["Notes"]
            assert "FLOPs" in notes, function.__name__
            assert "Bytes" in notes, function.__name__


def test_every_public_name_has_a_page():
    page = (ROOT / "docs/api/index.md").read_text()
    listed = set(re.findall(r"^   (\w+)$", page, flags=re.MULTILINE))
    names = {*fastnn.__all__} - {"__version__", "convert", "kernels"}
    assert names >= {each.__name__ for each in CLASSES}
    assert listed == names | {*kernels.__all__} | {*convert.__all__}


@pytest.mark.parametrize("name", ["README.md", "docs/quickstart.md"])
def test_code_blocks_run(name, capsys):
    blocks = re.findall(r"^```python\n(.*?)^```$", (ROOT / name).read_text(), flags=re.MULTILINE | re.DOTALL)
    assert blocks
    namespace = {}
    # As a reader would: one after the other.
    for block in blocks:
        exec(compile(block, name, "exec"), namespace)
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_lead_somewhere(name):
    for target in re.findall(r"\]\(([^)#]+)", (ROOT / name).read_text()):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def text_files():
    """Everything that is tracked, or would be: in a checkout what git does not ignore, else what is here."""
    if not (ROOT / ".git").exists():
        return [path for path in ROOT.rglob("*") if path.is_file()]
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True).stdout.decode().split("\0")
    return [path for path in map(ROOT.joinpath, names) if path.is_file()]


# A package index holds somebody else's project of this name. An extra of it, a version of it, or an installer
# that is given it:
FROM_AN_INDEX = re.compile(
    r"(?<![\w./-])fastnn(\[\w|\s*[=~><!]=\s*[\"']?\d)"
    r"|\b(pip3?|pipx|uv|conda|mamba|poetry|pixi)\s+(tool\s+)?(install|add)\s([^\n#`&|;]*[\s\"'])?fastnn(?![\w/.-])",
)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("pip install {}", True),
        ("pip install '{}[examples]'", True),
        ("python -m pip install --upgrade {}\n", True),
        ("uv add {}", True),
        ("conda install -c conda-forge {}", True),
        ("{}[cuda]", True),
        ("{}>=0.1", True),
        ("pip install '.[examples]'", False),
        ("pip install . && python -c 'import {}'", False),
        ("pip install /src/{}", False),
        ("pip install -e checkouts/{}[test]", False),
        ("{}.__version__ == '0.1'", False),
    ],
)
def test_what_would_install_it_from_an_index(text, found):
    assert bool(FROM_AN_INDEX.search(text.format("fastnn"))) == found


def test_nothing_installs_it_from_an_index():
    texts = {path.relative_to(ROOT): path.read_text(errors="ignore") for path in text_files()}
    assert {Path("README.md"), Path("examples/README.rst"), Path("src/fastnn/__init__.py")} <= texts.keys()
    found = {str(name): match[0] for name, text in texts.items() if (match := FROM_AN_INDEX.search(text))}
    assert not found


def run_guide(heading, module, **names):
    """Run the guide's block under a heading as part of a module; the block and the names it leaves."""
    page = (ROOT / "docs/extending.md").read_text()
    (block,) = re.findall(rf"^## {heading}\n.*?^```python\n(.*?)^```$", page, flags=re.MULTILINE | re.DOTALL)
    namespace = {**vars(module), **names}
    exec(compile(block, heading, "exec"), namespace)
    return block, namespace


def guide(heading, module, **names):
    """The new entry of the registry that the guide's block under a heading extends."""
    block, namespace = run_guide(heading, module, **names)
    registry = block.splitlines()[-4].split(" = ")[0]
    assert namespace[registry][0] is ...
    return namespace[registry][-1]


def test_the_guides_activation():
    entry = guide("An activation", activations)
    for z in (-2.0, -0.1, 0.3, 5.0):
        slope = (entry.value(z + 1e-6) - entry.value(z - 1e-6)) / 2e-6
        assert entry.derivative(z, entry.value(z)) == pytest.approx(slope, abs=1e-9)


def test_the_guides_loss():
    entry = guide("A loss", losses)
    assert entry.outputs[0] == activations.IDENTITY.name
    for a in (-2.0, 0.1, 4.0):
        y, h = np.float64(0.5), 1e-6
        assert entry.value(y, np.float64(a), 0.0) == pytest.approx(np.log1p((a - y) ** 2) / 2, abs=1e-14)
        slope = (entry.value(y, np.float64(a + h), 0.0) - entry.value(y, np.float64(a - h), 0.0)) / (2 * h)
        assert entry.da(y, np.float64(a), 0.0) == pytest.approx(slope, abs=1e-9)


def test_the_guides_optimizer():
    entry = guide("An optimiser", optimizers)
    hyper = np.array(list(entry.hyper.values()))
    w, state = 3.0, 0.0
    for t in range(1, 500):
        w, state, _ = entry.update(w, w, state, 0.0, *entry.coefficients(0.01, hyper, t))
    assert abs(w) < 0.05


def test_the_guides_schedule():
    _, namespace = run_guide("A learning-rate schedule", schedules)
    schedule = namespace["SCHEDULES"]["linear"](0.1, 0.5, max_iter=2)
    np.testing.assert_allclose(schedule.rates(0.1, 1, 4), [0.05, 0.0375, 0.025, 0.0125])


def test_the_guides_solver():
    page = (ROOT / "docs/extending.md").read_text()
    (block,) = re.findall(r"^## A solver of the networks\n.*?^```python\n(.*?)^```$", page, re.M | re.S)
    namespace = {**vars(stochastic), "Solver": Solver}
    exec(compile(block, "A solver", "exec"), namespace)
    solver = namespace["SOLVERS"]["rmsprop"]
    parameters = fastnn.MLPRegressor(max_iter=100, learning_rate_init=0.01).get_params()
    settings = solver.settings(
        **{field.name: parameters[field.name] for field in dataclasses.fields(solver.settings)}
    )
    X = np.random.default_rng(0).normal(size=(100, 3))
    net = Network([3, 1], hidden_activation="relu", loss="squared_error", dtype=X.dtype, backend=HOST)
    data = Data(HostRows(X), X[:, :1] - X[:, 1:2], None)
    solution = solver.solve(Problem(net, data, np.random.RandomState(0), Progress.begin(False)), settings)
    assert solution.loss < 0.01


def test_the_guides_initializer():
    entry = guide("An initialiser", initializers)
    layer = SimpleNamespace(fan_in=400, fan_out=300, factor=6.0)
    weights = entry.draw(np.random.RandomState(0), layer, (400, 300))
    assert weights.std() == pytest.approx(1 / 20, rel=0.02)


def test_the_guides_parameter():
    _, namespace = run_guide("A parameter", parameters)
    # As if it stood among the others: in both signatures, checked, and documented.
    more = declared(type("More", (namespace["MLPParameters"], parameters.MLPParameters), {}))
    for kind in (fastnn.MLPClassifier, fastnn.MLPRegressor):
        extended = estimator(
            type(kind.__name__, (kind, more), {"__doc__": kind.__doc__.partition("Parameters\n")[0]})
        )
        assert inspect.signature(extended).parameters["input_dropout"].default == 0.0
        assert len(signature(extended)) == len(signature(kind)) + 1
        check_parameters(extended.__init__, extended)
        model = clone(extended(input_dropout=np.float32(0.5)))
        model._validate_params()
        seen = []
        model._on_draft(lambda draft, seen=seen: seen.append(draft.input_dropout))
        assert type(seen[0]) is float
        assert repr(model) == f"{kind.__name__}(input_dropout=np.float32(0.5))"
        with pytest.raises(InvalidParameterError, match="input_dropout"):
            extended(input_dropout=1.0)._validate_params()
