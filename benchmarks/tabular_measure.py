"""One contestant's fits and predictions, in a process of its own.

The OpenMP and BLAS threads of several packages in one process take each other's cores: PyTorch's steps took
five times as long beside scikit-learn and LightGBM.
"""

import statistics
from concurrent.futures import Executor, ProcessPoolExecutor
from functools import cache, lru_cache
from multiprocessing import get_context
from time import perf_counter
from warnings import catch_warnings, simplefilter

import numpy as np

from benchmarks.race import settle
from benchmarks.tabular_contestants import Contestant, contestants
from benchmarks.tabular_data import Table, shortened, split, tables
from benchmarks.tabular_report import Result

# Rows that each contestant learns first, untimed: code is compiled or loaded, threads are started.
WARM_UP = 200
# Of whose seconds the median counts: the first of so many rows may load more code.
PREDICTIONS = 3
# What limits the threads of a process that has them when it starts.
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def own_process() -> Executor:
    """A process for one contestant, which begins without anything of this one."""
    return ProcessPoolExecutor(1, mp_context=get_context("spawn"))


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


def measure_by_name(table_name: str, name: str, seed: int, threads: int) -> Result:
    """The same, for names that a process can be told."""
    table = _table(table_name)
    (contestant,) = [each for each in contestants(ensembles=True) if each.name == name]
    with catch_warnings():
        simplefilter("ignore")  # of convergence, and of the packages among themselves
        _warm_up(name, table.classifies, threads)
        return measure(table, contestant, seed, threads)


@lru_cache(1)  # one after the other, all splits of each
def _table(name: str) -> Table:
    return tables()[name]()


@cache
def _warm_up(name: str, classifies: bool, threads: int) -> None:
    """Let a contestant learn some rows, of one of the tables that are always there."""
    (contestant,) = [each for each in contestants(ensembles=True) if each.name == name]
    table = tables()["breast_cancer" if classifies else "diabetes"]()
    measure(shortened(table, WARM_UP), contestant, 0, threads)
