"""Workers that go through phases together: every chunk once, phases in order, whoever does them."""

import os
import threading

import numpy as np
import pytest

from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.cpu.network import team

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
        chunk = team.next_chunk(signals, phase, worker % n_chunks, n_chunks)
        if chunk < 0:
            if not team.wait_for_phase(signals, phase, patience):
                return
        else:
            log[phase, chunk] += 1
            for j in range(state.shape[1] - 1):
                state[chunk, j] += phase + 1
            if team.finish_chunk(signals, n_chunks):
                for c in range(n_chunks):
                    for j in range(state.shape[1] - 1):
                        if state[c, j] != (phase + 1) * (phase + 2) // 2:
                            state[c, -1] = 1  # not all of the phase has been seen
                team.enter_phase(signals, phase + 1 if phase + 1 < n_phases else team.FINISHED)
        phase = team.open_phase(signals)


@jit
def start_together(here, n_workers):
    """Wait until all workers are here, so that they race from the first chunk on."""
    team._fetch_add(here, 0, 1)
    while team._load(here, 0) < n_workers:
        team._pause()


@jit
def race(here, n_workers, signals, n_phases, log):
    """Nothing but the protocol, and all begin at the same chunk."""
    start_together(here, n_workers)
    phase = team.open_phase(signals)
    while phase != team.FINISHED:
        chunk = team.next_chunk(signals, phase, 0, log.shape[1])
        if chunk >= 0:
            log[phase, chunk] += 1
            if team.finish_chunk(signals, log.shape[1]):
                team.enter_phase(signals, phase + 1 if phase + 1 < n_phases else team.FINISHED)
        phase = team.open_phase(signals)


def new_job(n_phases):
    signals = np.empty(team.signals_size(N_CHUNKS), np.int64)
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


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="a race needs two cores")
def test_no_chunk_is_taken_twice_in_a_race():
    n_phases = 20_000
    for _ in range(4):
        signals, log, _ = new_job(n_phases)
        here = np.zeros(1, np.int64)
        workers = [threading.Thread(target=race, args=(here, 2, signals, n_phases, log)) for _ in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        assert (log == 1).all()


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
