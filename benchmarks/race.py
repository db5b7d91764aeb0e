"""How contestants are timed: in turn, in bursts of calls, each after the others' threads have gone to sleep.

The OpenMP and BLAS libraries of NumPy, PyTorch, FAISS and scikit-learn each keep threads of their own, which
spin for some milliseconds after a call (OpenBLAS's for a tenth of a second) in the hope of the next one. With
as many threads as cores they take a core from whoever is measured next. So before each burst ``settle`` waits
until the process uses no time at all; inside a burst a contestant's own threads stay awake, as they would in
a program that uses this library. And ``wait_for_cores`` waits until the machine gives the process its cores.
"""

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numba

from benchmarks.cores import wait_for_cores

FASTNN = "fastnn"
# A ratio or a time counts as met within this share of what was asked.
TOLERANCE = 0.05
# Seconds of calls in one burst: many calls where they are short, so that a burst's median means something.
BURST_SECONDS = 0.03
MAX_CALLS = 200
# Bursts of each contestant.
MIN_ROUNDS, MAX_ROUNDS = 3, 15
# Calls longer than this need no other call before them to wake threads and fill caches.
WAKING_SECONDS = 0.1


class Settings(NamedTuple):
    """What every group of measurements gets."""

    threads: int = 2
    quick: bool = False
    scale: float = 1.0  # of the numbers of rows; below 1 in tests only

    @property
    def budget(self) -> float:
        """Seconds for one row of a table."""
        return 0.3 if self.quick else 2.0

    def rows(self, n: int) -> int:
        """`n` rows, scaled."""
        return max(32, round(n * self.scale))


@dataclass
class Race:
    """One row of a table: the same work by several contestants.

    Parameters
    ----------
    case : str
        What was done.
    seconds : dict
        Median seconds by contestant; fastnn first.
    ratios : dict
        A peer's time over fastnn's, by peer: the median over the rounds of the run.
    asked : dict
        The least ratio that is asked for, by peer.
    flops : float
        Floating-point operations of one call; 0 where the share of the FMA peak means nothing.
    dtype : str
        Whose peak is meant.
    notes : dict
        Further columns.
    asked_share : float
        The least share of the FMA peak that is asked for; 0 for none.
    share : float
        The share that was reached: known when the run's peak is.
    """

    case: str
    seconds: dict[str, float]
    ratios: dict[str, float]
    asked: dict[str, float] = field(default_factory=dict)
    flops: float = 0.0
    dtype: str = "float32"
    notes: dict[str, str] = field(default_factory=dict)
    asked_share: float = 0.0
    share: float = 0.0

    @property
    def met(self) -> bool | None:
        """Whether all that was asked was reached; None where nothing was, or the peer is not installed."""
        checks = [
            self.ratios[p] >= least * (1 - TOLERANCE) for p, least in self.asked.items() if p in self.ratios
        ]
        if self.asked_share and self.share:
            checks.append(self.share >= self.asked_share * (1 - TOLERANCE))
        return all(checks) if checks else None


@dataclass
class Figure:
    """One row of a table of single figures, which should be small."""

    case: str
    value: float
    unit: str = "s"
    asked: float | None = None

    @property
    def met(self) -> bool | None:
        """Whether the figure is at most what was asked; None where nothing was."""
        return None if self.asked is None else self.value <= self.asked * (1 + TOLERANCE)


class Lines(NamedTuple):
    """A picture of lines on logarithmic axes."""

    file: str
    x: str  # labels of the axes
    y: str
    series: dict[str, list[tuple[float, float]]]  # points, by label


@dataclass
class Table:
    """A table of the report, with a picture or without."""

    title: str
    text: str
    rows: list[Any]
    lines: Lines | None = None


def settle(limit: float = 0.5) -> None:
    """Wait until no thread of this process runs, `limit` seconds at most."""
    deadline = time.perf_counter() + limit
    while time.perf_counter() < deadline:
        used = time.process_time()
        # Several ticks of the system's clock, 1 to 10 ms each, by which it counts a running thread's time: in
        # less than one a spinning thread may seem to sleep.
        time.sleep(0.024)
        if time.process_time() - used < 0.002:
            return


def clock(call: Callable[[], Any]) -> float:
    """Seconds of one call."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def burst(call: Callable[[], Any]) -> Callable[[], float]:
    """A sampler: the median seconds of a burst of calls."""
    call()  # compiles, allocates
    guess = clock(call)
    n_calls = max(1, min(MAX_CALLS, int(BURST_SECONDS / max(guess, 1e-7))))

    def sample() -> float:
        if guess < WAKING_SECONDS:
            call()
        return statistics.median(clock(call) for _ in range(n_calls))

    return sample


def alternate(samplers: Mapping[str, Callable[[], float]], budget: float) -> tuple[dict, dict]:
    """Let the samplers take turns until the time is up.

    Parameters
    ----------
    samplers : mapping of str to callable
        Each gives one sample of its contestant's time in seconds.
    budget : float
        Seconds; at least ``MIN_ROUNDS`` rounds are run, at most ``MAX_ROUNDS``.

    Returns
    -------
    seconds : dict
        Median seconds by contestant.
    ratios : dict
        Median over the rounds of a contestant's time over that of the first; both are taken in the same
        second, so that a slow moment of the machine does not count for one alone.
    """
    names = list(samplers)
    samples: dict[str, list[float]] = {name: [] for name in names}
    deadline = time.perf_counter() + budget
    gc.collect()
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        for turn in range(MAX_ROUNDS if budget > 0 else 1):
            if turn >= MIN_ROUNDS and time.perf_counter() > deadline:
                break
            first = turn % len(names)
            for name in names[first:] + names[:first]:
                settle()
                wait_for_cores(numba.get_num_threads())
                samples[name].append(samplers[name]())
    finally:
        if was_enabled:
            gc.enable()
    seconds = {name: statistics.median(samples[name]) for name in names}
    ratios = {
        name: statistics.median(a / b for a, b in zip(samples[name], samples[names[0]], strict=True))
        for name in names[1:]
    }
    return seconds, ratios


def race(
    case: str,
    calls: Mapping[str, Callable[[], Any]],
    settings: Settings,
    *,
    asked: Mapping[str, float] | None = None,
    flops: float = 0.0,
    dtype: str = "float32",
) -> Race:
    """Time the calls of all contestants in turn; fastnn's is the first."""
    seconds, ratios = alternate({name: burst(call) for name, call in calls.items()}, settings.budget)
    return Race(case, seconds, ratios, dict(asked or {}), flops, dtype)
