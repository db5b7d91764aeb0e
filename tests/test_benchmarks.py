"""The benchmarks run: every class of the asv suite once, and the comparison with peers on few rows."""

import importlib
import inspect
import json
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks import bench_startup, contestants, gpu, peers, peers_memory, peers_report, quality, race
from benchmarks.clustering import peers_scaling
from benchmarks.common import Benchmark
from benchmarks.kernels import bench_kernels
from benchmarks.kernels.cuda import groups as gpu_groups
from benchmarks.kernels.cuda import report as gpu_report
from benchmarks.networks import bench_mlp, peers_linear, peers_mlp

FOLDER = Path(peers.__file__).parent


def modules(pattern):
    """Those of all rooms whose files have such names."""
    for path in sorted(FOLDER.rglob(pattern)):
        yield importlib.import_module(".".join(path.relative_to(FOLDER.parent).with_suffix("").parts))


SUITE = [
    kind
    for module in modules("bench_*.py")
    for kind in vars(module).values()
    if inspect.isclass(kind) and kind.__module__ == module.__name__
    if issubclass(kind, Benchmark) and not inspect.isabstract(kind)
]
FIGURES = ("time_", "peakmem_", "track_")
TINY = race.Settings(threads=1, quick=True, scale=0.0)


@pytest.fixture(autouse=True)
def _no_peers(monkeypatch):
    """As on a machine without the optional libraries; they would take seconds to load."""
    for module in modules("peers_*.py"):
        if hasattr(module, "optional"):
            monkeypatch.setattr(module, "optional", lambda name: None)
    monkeypatch.setattr(contestants, "optional", lambda name: None)


def test_the_suite_has_classes_of_every_room():
    assert {kind.__module__ for kind in SUITE} == {module.__name__ for module in modules("bench_*.py")}


@pytest.mark.parametrize("kind", SUITE, ids=lambda kind: kind.__name__)
def test_suite_runs(kind, monkeypatch):
    """Every class has a setup that agrees with its peer, and figures."""
    monkeypatch.setattr(bench_startup, "PROCESSES", 1)
    names = [name for name in dir(kind) if name.startswith(FIGURES)]
    assert names
    assert len(kind.param_names) == len(kind.params)
    if not kind.smoke:
        return  # compiles everything anew: test_precompile.py has such a test
    benchmark = kind()
    benchmark.setup(*kind.smoke)
    for name in names:
        result = getattr(benchmark, name)(*kind.smoke)
        assert isinstance(result, float) == name.startswith("track_")


def test_registries_are_parameters():
    """A new activation, update rule, loss or solver is measured without an edit."""
    from fastnn.tables.activations import ACTIVATIONS, HIDDEN
    from fastnn.tables.losses import LOSSES
    from fastnn.tables.optimizers import RULES

    assert bench_kernels.ActivationForward.params[0] == [activation.name for activation in ACTIVATIONS]
    assert bench_mlp.ClassifierActivations.params[0] == list(HIDDEN)
    assert bench_mlp.Epoch.params[:2] == ([r.name for r in RULES], [loss.name for loss in LOSSES])


@pytest.fixture
def _one_round(monkeypatch):
    """One call of everything, and no waiting for idle threads."""
    monkeypatch.setattr(race.Settings, "budget", 0.0)
    monkeypatch.setattr(race, "settle", lambda: None)
    monkeypatch.setattr(race, "MAX_CALLS", 1)
    monkeypatch.setattr(peers_mlp, "LEAST_SECONDS", 0.0)
    # One shape each: the others are the same code.
    monkeypatch.setattr(peers_linear, "SHAPES", ((8, 5, 3),))
    monkeypatch.setattr(peers_linear, "NEIGHBOURS", ())
    monkeypatch.setattr(peers_mlp, "NETWORKS", peers_mlp.NETWORKS[:1])
    monkeypatch.setattr(peers_memory, "KMEANS_SHAPES", ((40, 8, 4),))
    monkeypatch.setattr(peers_scaling, "IN_MEMORY", 20)  # all rows from a file
    monkeypatch.setattr(peers_scaling, "KMEANS_FEATURES", (2, 32))
    monkeypatch.setattr(peers_scaling, "KMEANS_CLUSTERS", (2, 8))


@pytest.mark.usefixtures("_one_round")
@pytest.mark.parametrize("group", [group for group in peers.GROUPS if group != "startup"])
def test_groups_run(group, monkeypatch, request):
    """Each group's contestants agree, and its tables can be shown."""
    if group == "minibatch":
        request.getfixturevalue("same_batches")
    monkeypatch.setattr(peers_report, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(contestants, "check_threads", lambda n: None)
    monkeypatch.setattr(contestants, "limit_threads", lambda n: None)
    for module in modules("peers_*.py"):
        if hasattr(module, "limit_threads"):
            monkeypatch.setattr(module, "limit_threads", lambda n: None)
    tables = peers.measure(group, TINY)
    assert tables
    page = peers_report.markdown(tables, {"float32": [1e9], "float64": [1e9]}, TINY)
    for table in tables:
        assert table.rows
        assert f"## {table.title}" in page
        peers_report.show(table)
        assert all(row.case in page for row in table.rows)


def test_lines_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    lines = race.Lines("lines.svg", "rows", "seconds", {"one": [(1, 1e-3), (10, 1e-2)]})
    peers_report.draw(lines, tmp_path / "images")
    assert "<svg" in (tmp_path / "images" / "lines.svg").read_text()
    table = race.Table("T", "", [], lines)
    assert "![T](images/lines.svg)" in peers_report.markdown([table], {}, TINY)


def test_met_within_tolerance():
    """A target counts as met within 5%."""
    assert race.Race("", {}, {"numpy": 0.96}, {"numpy": 1.0}).met
    assert not race.Race("", {}, {"numpy": 0.94}, {"numpy": 1.0}).met
    assert race.Race("", {}, {}, {"numpy": 1.0}).met is None
    assert race.Figure("", 1.04, "s", 1.0).met
    assert not race.Figure("", 1.06, "s", 1.0).met
    rows = [race.Race("slow", {}, {"numpy": 0.5}, {"numpy": 1.0}), race.Figure("small", 0.1, "s", 1.0)]
    assert peers_report.summary([race.Table("T", "", rows)]) == "1 of 2 targets met. Not met: T: slow."


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(2.5, "2.5 s"), (0.9999, "1 s"), (0.0025, "2.5 ms"), (3e-6, "3 µs"), (5e-8, "50 ns")],
)
def test_duration(seconds, text):
    """Units that keep numbers short."""
    assert peers_report.duration(seconds) == text


def test_unknown_group():
    """A typing error in --only is refused before anything is measured."""
    with pytest.raises(SystemExit):
        peers.main(["--only", "liner"])


def test_quality_page(tmp_path, monkeypatch):
    """Rows of data and of options; who is worse is named, and is the exit status."""
    monkeypatch.setitem(quality.SAME, "max_iter", 3)
    tables = [kind._replace(options=kind.options[:3]) for kind in quality.TABLES]
    monkeypatch.setattr(quality, "TABLES", tables)
    page = tmp_path / "quality.md"
    assert quality.main(["--seeds", "2", "--only", "i", "--output", str(page)]) in (0, 1)
    lines = page.read_text().splitlines()
    cells = [line.removeprefix("| ").removesuffix(" |").split(" | ") for line in lines if "±" in line]
    names = [name for name in quality.problems() if "i" in name]
    beside, options = cells[: len(names)], cells[len(names) :]
    assert [row[0] for row in beside] == names
    # With so few epochs both packages fit the same networks.
    for row in beside:
        np.testing.assert_allclose(
            *(float(cell.split(" ±")[0]) for cell in row[1:3]), rtol=0, atol=2e-3, err_msg=row[0]
        )
    assert [row[0] for row in options] == [f"`{option}`" for kind in tables for option in kind.options]
    assert all(len(row) == len(names) + 2 for row in options)
    monkeypatch.setattr(quality, "TABLES", ())
    monkeypatch.setattr(quality, "TOLERANCE", -1e9)
    text, worse = quality.page({"iris": quality.problems()["iris"]}, range(2))
    assert worse == ["iris"]
    assert "On iris fastnn's mean is worse" in text
    with pytest.raises(SystemExit):
        quality.main(["--only", "no such data"])


# As the groups of gpu.py give them; a group's rows have what the others lack.
GPU_ROWS = [
    {"what": "assign", "tflops": 40.0, "error": 1e-7, "wrong": 0, "fastnn": 2.0, "torch": 3.0},
    {
        "what": "Lloyd", "tflops": 30.0, "error": 1e-7, "fastnn": 2.0, "torch": 3.0,
        "cpu": 90.0, "cpu_rows": 20, "rows": 100,
    },
    {
        "what": "epoch", "tflops": 20.0, "error": 5e-3, "tolerated": 1e-2, "fastnn": 2.0, "torch": 3.0,
        "graphs": 1.0, "us_per_step": 7.0, "note": "torch's compiled graphs failed: ValueError",
    },
]  # fmt: skip


def test_gpu_page(tmp_path):
    """The page and the figures of rows of every kind, with what is missing."""
    report = gpu_report.Report({"GPU": "none"}, GPU_ROWS, ["layers 1: ValueError"], ["epochs 2"])
    report.write(tmp_path / "page.md", tmp_path / "figures.json")
    page = (tmp_path / "page.md").read_text()
    assert (
        "| assign | 2.000 ms | 3.000 ms | 1.50 | 40.0 TFLOP/s | error 1.0e-07, 0 labels wrong | - |  |"
        in page
    )
    assert "| 90.0 ms (45.0), of 20 rows times 5 |" in page
    assert "torch's graphs 1.000 ms (0.50), 7.0 us a step, torch's compiled graphs failed" in page
    assert "Failed: layers 1: ValueError." in page
    assert "Left out, as the run ended before: epochs 2." in page
    cells = {line.count("|") for line in page.splitlines() if line.startswith("| ") and "GPU" not in line}
    assert cells == {3, 9}  # the table of versions, and one width of all rows
    assert json.loads((tmp_path / "figures.json").read_text())["rows"] == GPU_ROWS


def test_gpu_wrong_results():
    """What makes the run fail: an error that is too large or no number, and a wrong label."""
    assert not any(map(gpu_groups.is_wrong, GPU_ROWS))
    for wrong in ({"error": 2e-3}, {"error": math.nan}, {"wrong": 1}):
        assert gpu_groups.is_wrong(GPU_ROWS[0] | wrong)


@pytest.mark.parametrize(
    ("seconds", "rows", "left_out"), [(math.inf, 2, []), (0.0, 0, ["a 1", "a 2", "b 3"])]
)
def test_gpu_groups_that_fail_or_are_late(seconds, rows, left_out, monkeypatch):
    """A case that raises costs no other case; no case begins when the time is up."""

    def failing(torch, cuda, case):
        if case == 2:
            raise ValueError("a | b\nc")
        return GPU_ROWS[:1]

    monkeypatch.setattr(gpu, "GROUPS", {"a": (failing, [1, 2]), "b": (failing, [3])})
    torch = SimpleNamespace(cuda=SimpleNamespace(empty_cache=lambda: None))
    report, saved = gpu_report.Report({}), []
    gpu.measure(report, seconds, lambda: saved.append(len(report.rows)), torch, None)
    assert len(report.rows) == rows
    assert report.left_out == left_out
    assert report.failed == ["a 2: ValueError: a / b c"] * (not left_out)
    assert saved == [1, 1, 2][: 3 * (not left_out)]
