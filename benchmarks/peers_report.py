"""Tables of the comparison, for the terminal and for the documentation."""

import datetime
import os
import platform
from importlib import metadata
from pathlib import Path

from benchmarks.race import FASTNN, TOLERANCE, Figure, Lines, Race, Settings, Table

PACKAGES = (
    "fastnn",
    "numpy",
    "numba",
    "llvmlite",
    "scipy",
    "scikit-learn",
    "scikit-learn-intelex",
    "torch",
    "faiss-cpu",
)

# Folder of the pictures, beside the page.
PICTURES = "images"

INTRODUCTION = """# Benchmarks

Written by `make peers`; every figure comes from one run on the machine below.

{machine}

## How it was measured

Each group of tables runs in a new process, with {threads} threads for every library. The contestants of a row
work on the same random normal data, are called once to compile and allocate, and must agree before they are
timed. Then they take turns: a burst of calls of each (30 ms, or one long call), in a different order each
round, for 3 to 15 rounds, without Python's garbage collector. A time is the median over the bursts of the
median call. The ratio in brackets is a peer's time over fastnn's, above 1 where fastnn is faster: the median
over the rounds, so that a slow moment of the machine counts for both; it may differ a little from the
quotient of the two medians.

The libraries' OpenMP and BLAS threads spin for 5 to 100 ms after a call, and would take a core from the
contestant whose turn is next. No environment variable changes that here, since spinning also makes a
library's own next call faster; instead each burst waits until the process uses no processor time at all.
Then it waits, a second at most, until both cores do at the same time what one does alone: a virtual machine's
two cores run on one physical core now and then, for a tenth of a second and more after a pause.

"Of peak" is the rate of the work's matrix products over the best rate of a 3000-cube matrix product in NumPy,
{peaks}. What was asked counts as met within {tolerance:.0%}; "-" stands for nothing asked.
"""


def machine(settings: Settings) -> list[tuple[str, str]]:
    """Processor, system, date and versions."""
    versions = []
    for name in PACKAGES:
        try:
            versions.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            versions.append(f"{name} not installed")
    return [
        ("Processor", f"{_processor()}, {len(_cores())} cores, {settings.threads} threads used"),
        ("System", f"{platform.system()} {platform.release()}, Python {platform.python_version()}"),
        ("Date", datetime.date.today().isoformat()),
        ("Versions", ", ".join(versions)),
    ]


def _cores() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return set(os.sched_getaffinity(0))
    return set(range(os.cpu_count() or 1))


def _processor() -> str:
    import numba
    from llvmlite import binding

    name = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        models = [line for line in cpuinfo.read_text().splitlines() if line.startswith("model name")]
        name = models[0].split(":", 1)[1].strip() if models else name
    return f"{name} ({numba.config.CPU_NAME or binding.get_host_cpu_name()})"


def duration(seconds: float) -> str:
    """Three digits and a unit."""
    for unit, factor in (("s", 1.0), ("ms", 1e3), ("µs", 1e6)):
        if seconds * factor >= 0.9995:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def _verdict(met: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "-"}[met]


def set_shares(tables: list[Table], peaks: dict[str, list[float]]) -> None:
    """Tell every race its share of the best peak so far."""
    for table in tables:
        for row in table.rows:
            if isinstance(row, Race) and row.flops and peaks.get(row.dtype):
                row.share = row.flops / row.seconds[FASTNN] / max(peaks[row.dtype])


def _race_cells(rows: list[Race]) -> tuple[list[str], list[list[str]]]:
    peers = list(dict.fromkeys(peer for row in rows for peer in row.ratios))
    notes = list(dict.fromkeys(note for row in rows for note in row.notes))
    has_flops = any(row.flops or row.share for row in rows)
    has_asked = any(row.asked or row.asked_share for row in rows)
    head = ["", FASTNN, *peers, *notes]
    head += ["of peak"] * has_flops + ["asked", "met"] * has_asked
    body = []
    for row in rows:
        line = [row.case, duration(row.seconds[FASTNN])]
        for peer in peers:
            there = peer in row.ratios
            line.append(f"{duration(row.seconds[peer])} ({row.ratios[peer]:.2f})" if there else "-")
        line += [row.notes.get(note, "-") for note in notes]
        if has_flops:
            line.append(f"{row.share:.0%}" if row.share else "-")
        if has_asked:
            asked = [f"{peer} {least:.3g}" for peer, least in row.asked.items()]
            asked += [f"{row.asked_share:.0%}"] if row.asked_share else []
            line += [", ".join(asked) or "-", _verdict(row.met)]
        body.append(line)
    return head, body


def _figure_cells(rows: list[Figure]) -> tuple[list[str], list[list[str]]]:
    body = []
    for row in rows:
        value = duration(row.value) if row.unit == "s" else f"{row.value:.2f} {row.unit}"
        asked = "-" if row.asked is None else f"at most {row.asked:g} {row.unit}"
        body.append([row.case, value, asked, _verdict(row.met)])
    return ["", "measured", "asked", "met"], body


def cells(table: Table) -> tuple[list[str], list[list[str]]]:
    """Head and body of a table as text."""
    if table.rows and isinstance(table.rows[0], Race):
        return _race_cells(table.rows)
    return _figure_cells(table.rows)


def describe_peaks(peaks: dict[str, list[float]]) -> str:
    """The peaks as a phrase: the best of the run, and how far the others were from it."""
    parts = [
        f"{max(rates) / 1e9:.0f} GFLOP/s in {dtype} (the best of {len(rates)} in this run; the worst "
        f"{min(rates) / 1e9:.0f})"
        for dtype, rates in peaks.items()
    ]
    return " and ".join(parts) if parts else "which was not measured"


def summary(tables: list[Table]) -> str:
    """How many targets were met, and which were not."""
    judged = [(table.title, row) for table in tables for row in table.rows if row.met is not None]
    missed = [f"{title}: {row.case}" for title, row in judged if not row.met]
    text = f"{len(judged) - len(missed)} of {len(judged)} targets met."
    return text + (" Not met: " + "; ".join(missed) + "." if missed else "")


def markdown(tables: list[Table], peaks: dict[str, list[float]], settings: Settings) -> str:
    """The page for the documentation."""
    facts = "| | |\n|---|---|\n" + "\n".join(f"| {name} | {fact} |" for name, fact in machine(settings))
    parts = [
        INTRODUCTION.format(
            machine=facts, threads=settings.threads, peaks=describe_peaks(peaks), tolerance=TOLERANCE
        ),
        summary(tables) + "\n",
    ]
    for table in tables:
        head, body = cells(table)
        lines = [f"## {table.title}", "", table.text, ""]
        if table.lines:
            lines += [f"![{table.title}]({PICTURES}/{table.lines.file})", ""]
        lines += ["| " + " | ".join(line) + " |" for line in (head, ["---"] * len(head), *body)]
        parts.append("\n".join(lines) + "\n")
    return "\n".join(parts)


def draw(lines: Lines, folder: Path) -> None:
    """Write a picture into the folder: each line beside the one of slope 1 through its last point."""
    from matplotlib.figure import Figure as Picture

    picture = Picture(figsize=(5.5, 3.6), layout="constrained")
    axes = picture.subplots()
    for label, points in lines.series.items():
        x, y = zip(*points)
        (drawn,) = axes.loglog(x, y, "o-", label=label)
        linear = [y[-1] * value / x[-1] for value in x]
        axes.loglog(x, linear, ":", color=drawn.get_color(), label=f"{label}, linear")
    axes.set(xlabel=lines.x, ylabel=lines.y)
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    folder.mkdir(parents=True, exist_ok=True)
    picture.savefig(folder / lines.file, metadata={"Date": None})


def write(tables: list[Table], peaks: dict[str, list[float]], settings: Settings, page: Path) -> None:
    """The page and its pictures."""
    page.parent.mkdir(parents=True, exist_ok=True)
    for table in tables:
        if table.lines:
            draw(table.lines, page.parent / PICTURES)
    page.write_text(markdown(tables, peaks, settings), encoding="utf-8")


def show(table: Table) -> None:
    """Print a table; in plain text where rich is not installed."""
    head, body = cells(table)
    try:
        from rich.console import Console
        from rich.table import Table as RichTable
    except ImportError:
        print(f"\n{table.title}")
        for line in (head, *body):
            print("  ".join(f"{cell:>20}" for cell in line))
        return
    grid = RichTable(title=table.title, title_justify="left")
    for i, name in enumerate(head):
        grid.add_column(name, justify="right" if i else "left", overflow="fold")
    for line in body:
        grid.add_row(*(cell.replace("**", "") for cell in line))
    # A log file has no width to fit into.
    console = Console()
    (console if console.is_terminal else Console(width=160)).print(grid)
