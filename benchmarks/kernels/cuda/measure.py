"""Times, errors and memory of what runs on a GPU."""

import gc
import statistics
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from benchmarks.race import clock

# Calls of each contestant, in turns: at least and at most, and seconds after which no more begin.
LEAST_CALLS, MOST_CALLS, SECONDS = 5, 50, 3.0
# Rows whose labels are compared with those of float64.
CHECKED = 20_000
# Fits of each length on the CPU, whose median counts.
CPU_FITS = 3


def milliseconds(contestants: dict[str, Callable[[], Any]], cuda: Any) -> dict[str, float]:
    """Median time of a call of each, by events of the device."""
    for call in contestants.values():
        call()
        call()
    times: dict[str, list[float]] = {name: [] for name in contestants}
    end = time.perf_counter() + SECONDS
    for calls in range(MOST_CALLS):
        if calls >= LEAST_CALLS and time.perf_counter() > end:
            break
        for name, call in contestants.items():
            begin, finish = cuda.event(), cuda.event()
            begin.record()
            call()
            finish.record()
            finish.synchronize()
            times[name].append(cuda.event_elapsed_time(begin, finish))
    return {name: statistics.median(values) for name, values in times.items()}


def relative_error(result: Any, expected: Any) -> float:
    """Norm of the error over the norm of the reference, in float64."""
    difference = result.double() - expected.double()
    return float(difference.norm() / expected.double().norm())


def wrong_labels(X: Any, C: Any, labels: Any) -> int:
    """Of some rows, those that have a nearer centre by more than the rounding of float32.

    A label is chosen by |c|^2 / 2 - x.c: two sums of d products in float32, with roundings of u = eps / 2.
    Where these are independent, a sum is off by about sqrt(d) u times the product of the lengths, and the
    bracket by sqrt(d) u |c| (|x| + |c| / 2). A squared distance is off by twice that, and two are compared:
    where they differ by less than sqrt(d) eps |c| (2 |x| + |c|), of the longer c, either may be chosen.
    """
    X, C = X[:CHECKED].cpu().numpy().astype(np.float64), C.cpu().numpy().astype(np.float64)
    labels = labels[:CHECKED].cpu().numpy()
    if not ((labels >= 0) & (labels < len(C))).all():
        return len(labels)  # whatever was not written
    squares = (X**2).sum(1)[:, None] - 2 * X @ C.T + (C**2).sum(1)
    own, best = squares[np.arange(len(X)), labels], squares.argmin(1)
    length, lengths = np.linalg.norm(X, axis=1), np.linalg.norm(C, axis=1)
    longer = np.maximum(lengths[labels], lengths[best])
    rounding = np.sqrt(X.shape[1]) * np.finfo(np.float32).eps * longer * (2 * length + longer)
    return int((own - squares.min(1) > rounding).sum())


@contextmanager
def peak_memory(torch: Any, cuda: Any) -> Iterator[list[int]]:
    """Bytes of the device that are taken inside the ``with`` block, at most, of looks a millisecond apart."""
    gc.collect()
    torch.cuda.empty_cache()
    cuda.current_context().deallocations.clear()  # what Numba has put off to free would be free to take
    before, peak, stop = torch.cuda.mem_get_info()[0], [0], threading.Event()

    def look() -> None:
        while not stop.wait(0.001):
            peak[0] = max(peak[0], before - torch.cuda.mem_get_info()[0])

    watcher = threading.Thread(target=look)
    watcher.start()
    try:
        yield peak
    finally:
        stop.set()
        watcher.join()


def ten_iterations_on_cpu(make: Callable[[int], Any], X: np.ndarray) -> float:
    """Milliseconds of a fit of 10 iterations, of fits of 1 and 3: the first, and 9 times the slope."""
    short, longer = make(1), make(3)
    times: dict[Any, list[float]] = {short: [], longer: []}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they do not converge
        short.fit(X)
        for _ in range(CPU_FITS):
            for model, seconds in times.items():
                seconds.append(clock(lambda model=model: model.fit(X)))
    one, three = (statistics.median(seconds) for seconds in times.values())
    return 1e3 * (one + 9 * (three - one) / 2)
