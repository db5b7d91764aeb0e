"""Several trainings at once, each in a thread of Python: compiled code holds no lock of the interpreter."""

from collections import deque
from collections.abc import Callable, Sequence
from contextvars import copy_context
from threading import Event, Thread
from typing import TypeVar

from fastnn.kernels.shared.pacing import stopped_by

T = TypeVar("T")

# So often the caller looks whether it has been interrupted, where a signal does not wake a thread that waits,
# as on Windows. Of what Ctrl-C may take the compiled calls need most.
LISTENING_SECONDS = 0.1


def side_by_side(jobs: Sequence[Callable[[], T]], n_threads: int) -> list[T]:
    """Do all the jobs, `n_threads` at a time, and begin them in their order.

    Parameters
    ----------
    jobs : sequence of callable
        Each works in a copy of the caller's context (``contextvars``), and ends early, by KeyboardInterrupt,
        at its next compiled call if it is wanted no more.
    n_threads : int
        The calling thread, which may be the one that alone hears of Ctrl-C, only waits.

    Returns
    -------
    results : list
        In the order of the jobs.

    Raises
    ------
    BaseException
        What the first job has raised that failed, or the caller while it waited: no job runs any more then.
    """
    waiting = deque((number, job, copy_context()) for number, job in enumerate(jobs))
    results: dict[int, T] = {}
    errors: list[BaseException] = []
    stop = Event()

    def work(done: Event) -> None:
        try:
            while not stop.is_set():
                try:
                    number, job, context = waiting.popleft()
                except IndexError:  # none is left
                    return
                results[number] = context.run(_stoppable, job, stop)
        except BaseException as error:
            errors.append(error)
            stop.set()
        finally:
            done.set()

    # No ThreadPoolExecutor: interrupted while it starts a thread, it forgets that there is one. And none is
    # joined that may still work: interrupted there, CPython takes it for one that has ended.
    ends = [Event() for _ in range(min(n_threads, len(jobs)))]
    threads = [Thread(target=work, args=(done,), name=f"fastnn-{at}") for at, done in enumerate(ends)]
    try:
        for thread in threads:
            thread.start()
        for done in ends:
            while not done.wait(LISTENING_SECONDS):
                pass
    finally:
        stop.set()
        # One that has not quite begun finds that there is nothing to do.
        for thread, done in zip(threads, ends, strict=True):
            if thread.is_alive():
                done.wait()
                thread.join()
    if errors:
        raise errors[0]
    return [results[number] for number in range(len(jobs))]


def _stoppable(job: Callable[[], T], stop: Event) -> T:
    with stopped_by(stop):
        return job()
