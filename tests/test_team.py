"""Workers that go through phases together: every chunk once, phases in order, whoever does them."""

import threading

import numpy as np
import pytest

from fastnn.kernels._jit import jit
from fastnn.kernels.cpu import team

N_CHUNKS = 3


@jit
def begin(signals):
    team.begin_phases(signals)


@jit
def take(signals, phase, chunk):
    return team.take_chunk(signals, phase, chunk)


@jit
def wait(signals, phase, patience):
    return team.wait_for_phase(signals, phase, patience)


@jit
def work(worker, signals, n_phases, patience, log, state):
    """Phase p adds p + 1 to each cell once; what is between phases checks that all of it has been done."""
    n_chunks = log.shape[1]
    phase = team.open_phase(signals)
    while phase != team.FINISHED:
        idle = True
        for i in range(n_chunks):
            chunk = (worker + i) % n_chunks
            if team.take_chunk(signals, phase, chunk):
                idle = False
                log[phase, chunk] += 1
                for j in range(state.shape[1] - 1):
                    state[chunk, j] += phase + 1
                if team.finish_chunk(signals, n_chunks):
                    for c in range(n_chunks):
                        for j in range(state.shape[1] - 1):
                            if state[c, j] != (phase + 1) * (phase + 2) // 2:
                                state[c, -1] = 1  # not all of the phase has been seen
                    team.enter_phase(signals, phase + 1 if phase + 1 < n_phases else team.FINISHED)
        if idle and not team.wait_for_phase(signals, phase, patience):
            return
        phase = team.open_phase(signals)


def new_job(n_phases):
    signals = team.new_signals(N_CHUNKS)
    begin(signals)
    return signals, np.zeros((n_phases, N_CHUNKS), np.int64), np.zeros((N_CHUNKS, 200), np.int64)


@pytest.mark.parametrize("n_workers", [1, 2, 5])
def test_every_chunk_is_done_once_and_in_order(n_workers):
    n_phases = 3000
    signals, log, state = new_job(n_phases)
    workers = [
        threading.Thread(target=work, args=(w, signals, n_phases, 10_000, log, state))
        for w in range(n_workers)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert (log == 1).all()
    assert (state[:, :-1] == n_phases * (n_phases + 1) // 2).all()
    assert not state[:, -1].any()


def test_workers_one_after_the_other_do_the_job():
    signals, log, state = new_job(10)
    for worker in range(3):
        work(worker, signals, 10, 10, log, state)
    assert (log == 1).all()


def test_a_worker_leaves_when_another_does_not_finish():
    signals, log, state = new_job(10)
    assert take(signals, 0, 1)  # somebody's, who has lost the core
    assert not take(signals, 0, 1)
    work(0, signals, 10, 10, log, state)
    assert log[0].tolist() == [1, 0, 1]
    assert not log[1:].any()
    assert not wait(signals, 0, 10)
    assert wait(signals, 5, 10)


def test_a_late_worker_takes_nothing_of_a_phase_that_is_over():
    signals, log, state = new_job(4)
    work(0, signals, 4, 10, log, state)
    for phase in range(4):
        assert not any(take(signals, phase, chunk) for chunk in range(N_CHUNKS))
