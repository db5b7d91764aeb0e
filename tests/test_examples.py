"""Examples show their figures when they are run as scripts, and the demo fits a terminal."""

import importlib.util
import io
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import matplotlib
import numpy as np
import pytest
from rich.console import Console

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
PLOTS = sorted(EXAMPLES.glob("plot_*.py"))


@pytest.fixture
def pyplot():
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    yield plt
    plt.close("all")


@pytest.fixture
def comparison():
    """The module beside the demo, which is no package."""
    spec = importlib.util.spec_from_file_location("comparison", EXAMPLES / "comparison.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", PLOTS, ids=lambda path: path.stem)
def test_plotted_examples_show_their_figures(path, pyplot, monkeypatch, capsys):
    made, shown = [], []
    figure = pyplot.figure
    monkeypatch.setattr(pyplot, "figure", lambda *a, **k: made.append(figure(*a, **k)) or made[-1])
    monkeypatch.setattr(pyplot, "show", lambda: shown.append(pyplot.get_fignums()))
    runpy.run_path(str(path), run_name="__main__")
    # Once, at the end: a window in between would hold up the rest.
    assert len(shown) == 1
    assert len(shown[0]) == len(made) >= 1


def test_the_demo_runs_in_80_columns(tmp_path):
    for name in ("quickstart.py", "comparison.py"):
        shutil.copy(EXAMPLES / name, tmp_path)
    command = [sys.executable, tmp_path / "quickstart.py", "--quick"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", timeout=300)
    assert done.returncode == 0, done.stderr
    # What takes long is shown by the demo itself; a line of the logger would break into it.
    assert "fastnn" not in done.stderr
    for name in ("MLPClassifier", "KMeans", "MiniBatchKMeans", "GradKMeans"):
        assert name in done.stdout.split()
    for line in done.stdout.splitlines():
        assert len(line.rstrip()) <= 80, line
        assert "…" not in line
    assert "\x1b" not in done.stdout
    assert (tmp_path / "quickstart.png").read_bytes().startswith(b"\x89PNG")


def slow(comparison):
    """What a machine would show on which everything takes hours, but for fastnn."""
    fits = dict.fromkeys(("scikit-learn", "fastnn"))
    shown = comparison.Comparison("MiniBatchKMeans", "beside KMeans, n_init=10", fits, None, "inertia", 1)
    shown.seconds = {"scikit-learn": 9999.0, "fastnn": 9.0}
    shown.scores = {"scikit-learn": [1.165e6], "fastnn": [1.165e-6]}
    return shown


def test_the_table_fits_80_columns(comparison):
    # With room for more: nothing is cut, and nothing needs the room.
    console = Console(width=200, file=io.StringIO())
    console.print(comparison.table([slow(comparison)], "fastnn 0.1.0 beside scikit-learn 1.9.1, 128 cores"))
    text = console.file.getvalue()
    assert max(len(line.rstrip()) for line in text.splitlines()) <= comparison.WIDTH == 80
    for entry in ("9,999,000", "9,000", "1111.0 x", "inertia 1.165e-06", "beside KMeans, n_init=10"):
        assert entry in text


def test_medians_and_the_ratio(comparison, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(comparison.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(comparison.time, "sleep", lambda seconds: None)
    order = []

    def fit(library, lengths):
        def one(seed):
            order.append((library, seed))
            now[0] += lengths[seed]
            return 1 + seed

        return one

    fits = {"scikit-learn": fit("scikit-learn", [8, 6, 100]), "fastnn": fit("fastnn", [2, 50, 1])}
    compared = comparison.Comparison("name", "work", fits, float, "seed", 3)
    compared.run()
    assert compared.seconds == {"scikit-learn": 8, "fastnn": 2}
    assert compared.ratio == 4
    assert order == [(library, seed) for seed in range(3) for library in ("scikit-learn", "fastnn")]
    compared.scores["fastnn"][2] = 6.0
    np.testing.assert_array_equal(compared.differences(), [0, 0, 1])


def test_the_share_of_the_cores(comparison, monkeypatch):
    cpu = iter([10.0, 10.25])
    wall = iter([1.0, 1.1, 1.3, 1.5])
    monkeypatch.setattr(comparison.time, "process_time", lambda: next(cpu))
    monkeypatch.setattr(comparison.time, "perf_counter", lambda: next(wall))
    # Two looks at the clock in the thread, then the end: a quarter of a second of work in half a second.
    assert comparison.share_of_cores(1, 0.25) == pytest.approx(0.5)


def test_the_bars_are_labelled(comparison, pyplot):
    axes = pyplot.figure().subplots()
    comparison.bars(axes, [slow(comparison)])
    scikit_learn, fastnn = (bar.get_width() for bar in axes.patches)
    assert (scikit_learn, fastnn) == (9999e3, 9e3)
    assert [text.get_text().strip() for text in axes.texts] == ["9,999,000 ms", "9,000 ms (1111.0 x as fast)"]
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] < 9e3


def test_a_terminal_shows_what_is_compiled_meanwhile(comparison):
    console = Console(force_terminal=True, width=80, file=io.StringIO(), color_system=None)
    with comparison.Steps(console, live=True) as steps:
        with steps.step("KMeans: digits"):
            assert "KMeans: digits" in console.file.getvalue()
        with steps.step("GradKMeans: digits"):
            pass
    assert "GradKMeans: digits" in console.file.getvalue()
    assert console.file.getvalue().endswith("\x1b[?25h")  # the cursor is back


def test_elsewhere_a_line_follows_each_step(comparison):
    console = Console(width=80, file=io.StringIO())
    with comparison.Steps(console, live=True) as steps, steps.step("KMeans: digits"):
        assert console.file.getvalue() == ""
    (line,) = console.file.getvalue().splitlines()
    assert line.split()[:2] == ["KMeans:", "digits"]
    assert line.endswith(" s")
    assert len(line) <= 80


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0123456, "12.3"),
        (0.068, "68.0"),
        (0.09994, "99.9"),
        (0.09996, "100"),
        (1.2344, "1,234"),
        (2e-4, "0.200"),
    ],
)
def test_milliseconds_have_three_digits(comparison, seconds, text):
    assert comparison.milliseconds(seconds) == text
