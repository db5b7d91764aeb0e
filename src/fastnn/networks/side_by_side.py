"""Several trainings at once, each in a thread of Python: compiled code holds no lock of the interpreter."""

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextvars import copy_context
from threading import Event
from typing import TypeVar

from fastnn.kernels.shared.pacing import stopped_by

T = TypeVar("T")


def side_by_side(jobs: Sequence[Callable[[], T]], n_threads: int) -> list[T]:
    """Do all the jobs, `n_threads` at a time, and begin them in their order.

    Parameters
    ----------
    jobs : sequence of callable
        Each works in a copy of the caller's context (``contextvars``), and ends early, by KeyboardInterrupt,
        at its next compiled call if it is wanted no more.
    n_threads : int
        The calling thread, which alone hears of Ctrl-C, only waits.

    Returns
    -------
    results : list
        In the order of the jobs.

    Raises
    ------
    BaseException
        What a job has raised, or the calling thread while it waited: no job runs any more then.
    """
    stop = Event()

    def run(job: Callable[[], T]) -> T:
        with stopped_by(stop):
            return job()

    pool = ThreadPoolExecutor(n_threads, thread_name_prefix="fastnn")
    try:
        futures = [pool.submit(copy_context().run, run, job) for job in jobs]
        wait(futures, return_when=FIRST_EXCEPTION)
        for future in futures:
            if future.done():
                future.result()  # raises what the job has raised
        return [future.result() for future in futures]
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
