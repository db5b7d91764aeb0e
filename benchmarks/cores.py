"""Whether the machine gives this process the cores that it has.

A virtual machine's cores are threads of the host's. After a pause, or at the start of a process, the host
(or the system) may run two of them on one physical core, and takes a tenth of a second or more to notice;
both then do half the work. That has nothing to do with the contestant whose turn it is, so a burst waits
until all cores deliver at the same time what one delivers alone.
"""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Barrier

import numba

# Multiply-adds of one probe: about half a millisecond.
PROBE_STEPS = 500_000
# A probe that takes this much longer than one alone had no core of its own.
SLOWDOWN = 1.2


@cache
def _probe() -> tuple[Callable[[int, float], float], float]:
    """The probe, and the seconds that it takes on one thread alone."""

    @numba.njit(nogil=True, fastmath={"contract"})
    def spin(n, x):
        # Independent chains keep the FMA units of a core busy: two threads on one core take twice as long.
        a = b = c = d = e = f = g = h = x
        for _ in range(n):
            a, b, c, d = a * x + x, b * x + x, c * x + x, d * x + x
            e, f, g, h = e * x + x, f * x + x, g * x + x, h * x + x
        return a + b + c + d + e + f + g + h

    spin(1, 0.5)
    taken = []
    for _ in range(50):
        started = time.perf_counter()
        spin(PROBE_STEPS, 0.5)
        taken.append(time.perf_counter() - started)
    return spin, min(taken)


@cache
def _pool(n: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(n)


def _seconds(barrier: Barrier) -> float:
    spin, _ = _probe()
    barrier.wait()
    started = time.perf_counter()
    spin(PROBE_STEPS, 0.5)
    return time.perf_counter() - started


def wait_for_cores(n: int, limit: float = 1.0) -> bool:
    """Keep `n` threads busy until each has a core of its own; False after `limit` seconds."""
    _, alone = _probe()
    deadline = time.perf_counter() + limit
    while True:
        barrier = Barrier(n)
        if max(_pool(n).map(_seconds, [barrier] * n)) < SLOWDOWN * alone:
            return True
        if time.perf_counter() > deadline:
            return False
