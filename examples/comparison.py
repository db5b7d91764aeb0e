"""How quickstart.py times two libraries and shows what has come out: progress, a table, a figure."""

import hashlib
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import numpy as np
from rich.box import HORIZONTALS
from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

WIDTH = 80
# Threads of OpenBLAS go on spinning for a tenth of a second after a product, and would take a core from
# whoever is timed next.
REST_SECONDS = 0.12
# Of Okabe and Ito, whose colours are told apart with every kind of colour vision.
COLORS = {"scikit-learn": "#E69F00", "fastnn": "#0072B2"}


@dataclass
class Comparison:
    """The same work by two libraries.

    Parameters
    ----------
    name : str
        The estimator.
    work : str
        What it does.
    fits : dict
        For "scikit-learn" and "fastnn" a function of a seed that gives a fitted estimator.
    score : callable
        What a fitted estimator has reached.
    unit : str
        Name of the score.
    repeats : int
        Fits of each library that count.
    """

    name: str
    work: str
    fits: dict[str, Callable[[int], Any]]
    score: Callable[[Any], float]
    unit: str
    repeats: int
    first: dict[str, Any] = field(default_factory=dict)  # the estimators that were fitted with seed 0
    seconds: dict[str, float] = field(default_factory=dict)  # medians
    scores: dict[str, list[float]] = field(default_factory=dict)  # of each seed

    @property
    def ratio(self) -> float:
        """The time of scikit-learn over that of fastnn."""
        return self.seconds["scikit-learn"] / self.seconds["fastnn"]

    def prepare(self, library: str) -> None:
        """The first fit, which is not timed: it compiles, loads code and starts threads."""
        self.first[library] = self.fits[library](0)

    def run(self, between: Callable[[], None] = lambda: None) -> None:
        """Fit in turn, with the same seeds; `between` is called before each fit."""
        seconds: dict[str, list[float]] = {library: [] for library in self.fits}
        scores: dict[str, list[float]] = {library: [] for library in self.fits}
        for seed in range(self.repeats):
            for library, fit in self.fits.items():
                between()
                time.sleep(REST_SECONDS)
                start = time.perf_counter()
                model = fit(seed)
                seconds[library].append(time.perf_counter() - start)
                scores[library].append(self.score(model))
        self.seconds = {library: median(values) for library, values in seconds.items()}
        self.scores = scores

    def differences(self) -> Any:
        """How far the scores from each seed are apart, relative to scikit-learn's."""
        theirs, ours = (np.array(self.scores[library]) for library in ("scikit-learn", "fastnn"))
        return np.abs(ours / theirs - 1)


def share_of_cores(n_cores: int, seconds: float = 0.1) -> float:
    """How much of the cores this process gets when it wants them all: 1 where nobody else wants them."""
    data = bytes(2**20)  # hashing so much lets other threads run

    def keep_busy(until: float) -> None:
        while time.perf_counter() < until:
            hashlib.sha256(data)

    start, start_cpu = time.perf_counter(), time.process_time()
    with ThreadPoolExecutor(n_cores) as pool:
        list(pool.map(keep_busy, [start + seconds] * n_cores))
    return (time.process_time() - start_cpu) / (time.perf_counter() - start) / n_cores


class _Seconds(ProgressColumn):
    """Time that a step has taken, up to now or to its end."""

    def render(self, task: Any) -> Text:
        seconds = task.finished_time if task.finished else task.elapsed
        return Text(f"{seconds or 0:6.1f} s")


class Steps:
    """Shows what is going on: a line for each step, with the seconds that it takes.

    On a terminal the line is there while the step runs; elsewhere it is printed afterwards.

    Parameters
    ----------
    console : rich.console.Console
        Where to.
    live : bool
        Whether the lines move by themselves. That takes a thread, which has no place beside a timing: without
        it they do so in ``refresh``.
    """

    def __init__(self, console: Console, *, live: bool):
        self._console = console
        self._progress: Progress | None = None
        if console.is_terminal:
            columns = (SpinnerColumn("line", finished_text="*"), TextColumn("{task.description}"), _Seconds())
            self._progress = Progress(*columns, console=console, auto_refresh=live)

    def __enter__(self) -> "Steps":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def refresh(self) -> None:
        """Draw the lines anew."""
        if self._progress is not None:
            self._progress.refresh()

    @contextmanager
    def step(self, description: str) -> Iterator[None]:
        """Show a step for as long as the block runs."""
        description = f"{description:{WIDTH - 14}s}"
        start = time.perf_counter()
        task: TaskID | None = None
        if self._progress is not None:
            task = self._progress.add_task(description, total=1)
            self.refresh()
        yield
        if self._progress is not None and task is not None:
            self._progress.advance(task)
            self.refresh()
        else:
            self._console.print(f"  {description} {time.perf_counter() - start:6.1f} s")


def milliseconds(seconds: float) -> str:
    """Three digits, and the whole part of larger numbers."""
    value = 1e3 * seconds
    return f"{value:,.0f}" if value >= 99.95 else f"{value:#.3g}"


def table(comparisons: list[Comparison], title: str) -> Table:
    """Both libraries under each other, a section for each comparison, in at most ``WIDTH`` columns."""
    shown = Table(title=title, title_style="bold", box=HORIZONTALS, collapse_padding=True, pad_edge=False)
    shown.add_column("work", no_wrap=True)
    shown.add_column("library", no_wrap=True)
    for heading in ("ms", "speed", "result"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for comparison in comparisons:
        for library in comparison.fits:
            ours = library == "fastnn"
            shown.add_row(
                comparison.work if ours else Text(comparison.name, style="bold"),
                library,
                milliseconds(comparison.seconds[library]),
                Text(f"{comparison.ratio:.1f} x", style="bold") if ours else "",
                f"{comparison.unit} {median(comparison.scores[library]):#.4g}",
                end_section=ours,
            )
    return shown


def bars(axes: Any, comparisons: list[Comparison]) -> None:
    """Draw the times side by side, with the ratios beside them."""
    places = np.arange(len(comparisons))
    for library, shift in (("scikit-learn", -0.2), ("fastnn", 0.2)):
        values = [1e3 * comparison.seconds[library] for comparison in comparisons]
        axes.barh(places + shift, values, height=0.38, color=COLORS[library], label=library)
        for place, comparison in zip(places, comparisons, strict=True):
            text = f" {milliseconds(comparison.seconds[library])} ms"
            if library == "fastnn":
                text += f" ({comparison.ratio:.1f} x as fast)"
            axes.text(
                1e3 * comparison.seconds[library],
                place + shift,
                text,
                va="center",
                fontsize=8,
                weight="bold" if library == "fastnn" else "normal",
            )
    axes.set_yticks(
        places, [f"{comparison.name}\n{comparison.work}" for comparison in comparisons], fontsize=8
    )
    axes.invert_yaxis()
    low = min(min(comparison.seconds.values()) for comparison in comparisons)
    high = max(max(comparison.seconds.values()) for comparison in comparisons)
    # Room for the labels at the right end.
    axes.set(xscale="log", xlim=(1e3 * low / 3, 1e3 * high * 12))
    axes.set(xlabel="milliseconds of a fit (logarithmic)", title="Time: shorter is better")
    axes.legend(loc="lower right")
    axes.spines[["top", "right"]].set_visible(False)
