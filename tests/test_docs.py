"""Docstrings say what the signatures say, and the code of the README runs."""

import inspect
import re
from pathlib import Path

import pytest

import fastnn
from fastnn import kernels

ROOT = Path(__file__).resolve().parents[1]
ESTIMATORS = [getattr(fastnn, name) for name in fastnn.__all__ if inspect.isclass(getattr(fastnn, name))]
FUNCTIONS = [getattr(kernels, name) for name in kernels.__all__]
METHODS = [
    (estimator, name)
    for estimator in ESTIMATORS
    for name in dir(estimator)
    # What comes from scikit-learn is documented there.
    if not name.startswith("_")
    and getattr(inspect.unwrap(getattr(estimator, name)), "__module__", "")[:6] == "fastnn"
]

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
    assert [name for name, _ in entries] == [name for name, _ in expected]
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


@pytest.mark.parametrize(("estimator", "name"), METHODS, ids=lambda value: getattr(value, "__name__", value))
def test_methods(estimator, name):
    method = inspect.unwrap(getattr(estimator, name))
    check_parameters(method, method)
    check_form(method, ("Parameters", "Returns"))


def test_methods_are_found():
    found = {(estimator.__name__, name) for estimator, name in METHODS}
    assert found >= {("MLPClassifier", "fit"), ("MLPRegressor", "partial_fit"), ("GradKMeans", "transform")}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_kernels(function):
    check_parameters(function, function)
    check_form(function, ("Parameters", "Returns", "Raises"))


def test_kernels_state_their_cost():
    for function in FUNCTIONS:
        if len(signature(function)) > 2:  # not the elementary functions
            notes = sections(function)["Notes"]
            assert "FLOPs" in notes, function.__name__
            assert "Bytes" in notes, function.__name__


def test_every_public_name_has_a_page():
    page = (ROOT / "docs/api/index.md").read_text()
    listed = set(re.findall(r"^   (\w+)$", page, flags=re.MULTILINE))
    assert listed == {*(estimator.__name__ for estimator in ESTIMATORS), *kernels.__all__}


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
