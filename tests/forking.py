"""Scripts that fork, run as processes of their own, and services with workers."""

import os
import signal
import subprocess
import sys
import textwrap
from contextlib import contextmanager, suppress

# What the scripts below share. A child that hangs is ended by its alarm, and its exit code says so.
COMMON = """
import os, signal, sys, threading, time, warnings
import numpy as np
warnings.simplefilter("ignore")
X = np.random.default_rng(0).normal(size=(200_000, 4))

def train_lightgbm():
    # Its wheel uses the system's libgomp, as Numba's does.
    import lightgbm
    parameters = {"num_threads": 2, "verbose": -1, "objective": "regression"}
    lightgbm.train(parameters, lightgbm.Dataset(X[:5000], X[:5000, 0]), num_boost_round=2)

def run_parallel_numba():
    import numba
    @numba.njit(parallel=True)
    def add_one(x):
        for i in numba.prange(len(x)):
            x[i] += 1
    add_one(np.zeros(1000))

def run_sklearn():
    import sklearn.cluster
    sklearn.cluster.KMeans(3, n_init=1, max_iter=2, random_state=0).fit(X[:5000])

def fit():
    from fastnn import KMeans
    return KMeans(5, init=X[:5], n_init=1, max_iter=5, n_threads=2).fit(X).inertia_

def uses_threads():
    from fastnn.kernels.shared import threads
    with threads.use_threads(2), threads.threads_for(1e12) as parallel:
        return parallel

def fork(function, seconds=40):
    "Starts a child that calls the function."
    child = os.fork()
    if child == 0:
        signal.alarm(seconds)
        try:
            function()
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        sys.stdout.flush()
        os._exit(0)
    return child

def end(child):
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

def fit_in_child():
    print(fit(), uses_threads())
"""


def run(code, timeout=100, **environment):
    """What a script prints, after COMMON; it and all that it has started is killed if it takes too long."""
    process = subprocess.Popen(
        [sys.executable, "-c", COMMON + textwrap.dedent(code)],
        env={**os.environ, "NUMBA_NUM_THREADS": "2", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, errors = process.communicate(timeout=timeout)
    finally:
        kill_group(process)
    assert process.returncode == 0, errors
    return out.strip()


def kill_group(process):
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


@contextmanager
def serving(folder, *command):
    """A service that runs in the folder, with its log; it and its workers are killed at the end."""
    log = folder / "log"
    with log.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=folder,
            env={**os.environ, "NUMBA_NUM_THREADS": "2"},
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
        try:
            yield process, log
        finally:
            kill_group(process)
