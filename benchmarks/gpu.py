"""fastnn's CUDA kernels on a GPU: checked against float64, and timed beside PyTorch in one run.

``PYTHONPATH=src python benchmarks/gpu.py`` needs what a CUDA machine's Python has: numba-cuda and PyTorch,
whose random numbers on the device and eager operations are the other contestant. It prints a table and writes
it to docs/benchmarks-gpu.md, and with ``--json`` all figures to a file, after every case.

A time is the median over calls, each between two events of the device, after calls that compile; contestants
take turns.
"""

import argparse
import gc
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for `benchmarks`, when this file is run as a script

from benchmarks.kernels.cuda.groups import GROUPS, is_wrong  # noqa: E402
from benchmarks.kernels.cuda.report import Report, line, short, table, versions  # noqa: E402


def measure(report: Report, deadline: float, save: Callable[[], None], torch: Any, cuda: Any) -> None:
    """Go through the cases of all groups until the time is up; what fails is noted, and the rest goes on.

    Parameters
    ----------
    report : Report
    deadline : float
        Of ``time.perf_counter``: when no more cases begin.
    save : callable
        Writes the report, after each case.
    torch, cuda : modules
    """
    waiting = [(name, case) for name, (_, cases) in GROUPS.items() for case in cases]
    while waiting:
        report.left_out = [f"{name} {case}" for name, case in waiting]
        if time.perf_counter() > deadline:
            break
        name, case = waiting.pop(0)
        try:
            rows = GROUPS[name][0](torch, cuda, case)
        except Exception as error:
            traceback.print_exc()
            report.failed.append(f"{name} {case}: {short(error)}")
        else:
            report.rows += rows
            print("\n".join(map(line, rows)), flush=True)
        report.left_out = [f"{name} {case}" for name, case in waiting]
        save()
        # A case's arrays are gone: what PyTorch keeps of their memory is no other case's.
        gc.collect()
        torch.cuda.empty_cache()


def main(argv: list[str] | None = None) -> None:
    """Check, time, print and write."""
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks-gpu.md")
    parser.add_argument("--json", type=Path, default=None, help="where to write all figures")
    parser.add_argument("--seconds", type=float, default=450.0, help="after which no case begins")
    options = parser.parse_args(argv)
    import torch

    from fastnn.kernels.cuda.runtime.compat import cuda

    if not torch.cuda.is_available():
        sys.exit("there is no GPU, or PyTorch does not see it")
    torch.set_float32_matmul_precision("highest")
    report = Report(versions(torch, cuda))
    measure(
        report, started + options.seconds, lambda: report.write(options.output, options.json), torch, cuda
    )
    report.write(options.output, options.json)
    print("\n".join(f"{name}: {value}" for name, value in report.about.items()))
    print(report.remarks())
    print(table(report.rows), flush=True)
    wrong = [f"wrong results: {row['what']}" for row in report.rows if is_wrong(row)]
    failed = [f"failed: {what}" for what in report.failed]
    if wrong or failed:
        sys.exit("\n".join(wrong + failed))


if __name__ == "__main__":
    main()
