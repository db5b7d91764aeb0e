"""fastnn beside NumPy, scikit-learn, PyTorch and FAISS, in one run; writes docs/benchmarks.md.

Run ``make peers``, or ``python benchmarks/peers.py --help``.
"""

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from importlib import import_module
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for `benchmarks`, when this file is run as a script

from benchmarks.race import Settings, Table  # noqa: E402

# Group -> module and function that measures it.
GROUPS = {
    "linear": ("benchmarks.networks.peers_linear", "linear"),
    "elementary": ("benchmarks.kernels.peers_elementary", "elementary"),
    "assign": ("benchmarks.clustering.peers_kmeans", "kernels"),
    "mlp": ("benchmarks.networks.peers_mlp", "mlp"),
    "mlp-one-thread": ("benchmarks.networks.peers_mlp", "one_thread"),
    "mlp-avx2": ("benchmarks.networks.peers_mlp", "avx2"),
    "lm": ("benchmarks.networks.peers_lm", "lm"),
    "many": ("benchmarks.networks.peers_many", "many"),
    "scaling": ("benchmarks.clustering.peers_scaling", "scaling"),
    "memory": ("benchmarks.peers_memory", "memory"),
    "seeding": ("benchmarks.clustering.peers_seeding", "seeding"),
    "lloyd": ("benchmarks.clustering.peers_lloyd", "iterations"),
    "convergence": ("benchmarks.clustering.peers_convergence", "convergence"),
    "minibatch": ("benchmarks.clustering.peers_minibatch", "mini_batches"),
    "kmeans": ("benchmarks.clustering.peers_kmeans", "estimators"),
    "subnormal": ("benchmarks.kernels.peers_subnormal", "subnormal"),
    "startup": ("benchmarks.peers_startup", "startup"),
}

# Groups whose process needs more than the numbers of threads.
ENVIRONMENT = {"mlp-avx2": {"FASTNN_SIMD": "avx2", "OPENBLAS_CORETYPE": "Haswell"}}

# Read by the libraries when they are loaded, in the processes that `main` starts.
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def measure(group: str, settings: Settings) -> list[Table]:
    """Run one group in this process."""
    contestants = import_module("benchmarks.contestants")
    contestants.limit_threads(settings.threads)
    # A new process's threads may all start on one core, and stay there for a second or more.
    import_module("benchmarks.cores").wait_for_cores(settings.threads, limit=4.0)
    module, function = GROUPS[group]
    tables = getattr(import_module(module), function)(settings)
    contestants.check_threads(settings.threads)
    return tables


def fma_peak(settings: Settings) -> dict[str, list[float]]:
    """FLOP/s of 3000-cube matrix products of both dtypes, in this process."""
    contestants, race = import_module("benchmarks.contestants"), import_module("benchmarks.race")
    np = import_module("numpy")
    contestants.limit_threads(settings.threads)
    side = 3000
    cores = import_module("benchmarks.cores")
    rates: dict[str, list[float]] = {}
    for dtype in ("float32", "float64"):
        rng = np.random.default_rng(0)
        A, B = (contestants.normal(rng, (side, side), dtype) for _ in range(2))
        out = np.empty_like(A)
        for _ in range(3):
            cores.wait_for_cores(settings.threads)
            rates.setdefault(dtype, []).append(2.0 * side**3 / race.clock(lambda: np.dot(A, B, out=out)))  # noqa: B023
    return rates


def in_new_process(function, *arguments):
    """Result of the call in a process that has done nothing before."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()


def main(argv: list[str] | None = None) -> None:
    """Measure the groups one after the other, print their tables, write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few rounds: figures of little worth")
    parser.add_argument("--only", help=f"comma-separated groups of {', '.join(GROUPS)}")
    parser.add_argument("--threads", type=int, default=2, help="threads of every contestant")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "benchmarks.md")
    parser.add_argument("--no-write", action="store_true", help="print only")
    options = parser.parse_args(argv)
    groups = options.only.split(",") if options.only else list(GROUPS)
    unknown = set(groups) - set(GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")

    for variable in THREAD_VARIABLES:
        os.environ[variable] = str(options.threads)
    settings = Settings(options.threads, options.quick)
    report = import_module("benchmarks.peers_report")
    started = time.perf_counter()
    peaks = in_new_process(fma_peak, settings)
    tables: list[Table] = []
    for group in groups:
        os.environ.update(ENVIRONMENT.get(group, {}))
        measured = in_new_process(measure, group, settings)
        for variable in ENVIRONMENT.get(group, {}):
            del os.environ[variable]
        for dtype, rates in in_new_process(fma_peak, settings).items():
            peaks[dtype] += rates
        tables += measured
        report.set_shares(tables, peaks)
        for table in measured:
            report.show(table)
        if not options.no_write:
            # After every group: one that fails, half an hour later, shall not cost the others.
            report.write(tables, peaks, settings, options.output)
    for name, fact in report.machine(settings):
        print(f"{name}: {fact}")
    print(f"FMA peak: {report.describe_peaks(peaks)}")
    print(f"{report.summary(tables)} {time.perf_counter() - started:.0f} s in all.")
    if not options.no_write:
        print(f"Written to {options.output}")


if __name__ == "__main__":
    main()
