"""Forked children, the services that make them, and signal handlers: each in processes of its own."""

import os
import re
import signal
import subprocess
import sys
import textwrap
import time
import urllib.request
from contextlib import contextmanager

import pytest

from fastnn import _forks, _mappings

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks Linux about the process")

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
    from fastnn.kernels import _threads
    with _threads.use_threads(2), _threads.threads_for(1e12) as parallel:
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
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


USES = {"lightgbm": "train_lightgbm()", "numba": "run_parallel_numba()"}


@LINUX
@pytest.mark.parametrize("first", ["parent", "child"])
@pytest.mark.parametrize("use", USES)
def test_a_child_lives_whoever_used_openmp(use, first):
    """The parent has used it without this package, which it has imported or not even that."""
    code = f"""
    {"import fastnn" if first == "parent" else ""}
    {USES[use]}
    print(end(fork(fit_in_child)))
    print(fit())
    """
    inertia, parallel, exit_code, again = run(code).split()
    assert (exit_code, parallel) == ("0", "False")
    assert inertia == again


@LINUX
@pytest.mark.parametrize("first", ["parent", "grandchild"])
def test_a_grandchild_lives(first):
    """Its own parent has nothing but what it inherited, and is gone."""
    code = f"""
    {"import fastnn" if first == "parent" else ""}
    train_lightgbm()
    def child():
        def grandchild():
            deadline = time.monotonic() + 20
            while os.getppid() == parent and time.monotonic() < deadline:
                time.sleep(0.01)
            fit_in_child()
            os.write(writer, b"done")
        parent = os.getpid()
        fork(grandchild)
    reader, writer = os.pipe()
    assert end(fork(child)) == 0
    os.close(writer)
    print(os.read(reader, 10).decode())
    """
    assert run(code).split()[1:] == ["False", "done"]


@LINUX
@pytest.mark.parametrize("first", ["parent", "child"])
@pytest.mark.parametrize("before", ["import lightgbm", "run_sklearn()"])
def test_a_child_uses_threads_if_no_runtime_of_numbas_was_started(before, first):
    """scikit-learn's wheel has an OpenMP of its own."""
    code = f"""
    {"import fastnn.kernels" if first == "parent" else ""}
    {before}
    print(end(fork(fit_in_child)))
    """
    _, parallel, exit_code = run(code).split()
    assert exit_code == "0"
    # Afterwards nobody can tell whether a library had been used that was loaded.
    assert parallel == str(not (first == "child" and before == "import lightgbm"))


@LINUX
def test_what_the_child_has_loaded_itself_counts_as_new():
    """As in a worker of a server that imports the application after it was forked."""
    code = """
    def child():
        train_lightgbm()
        run_parallel_numba()
        fit_in_child()
    print(end(fork(child)))
    """
    assert run(code).split()[1:] == ["True", "0"]


@LINUX
def test_a_new_interpreter_is_no_forked_child():
    code = """
    import subprocess
    train_lightgbm()
    program = '''
    import lightgbm
    from fastnn import _forks, _mappings
    from fastnn.kernels import _threads
    with _threads.use_threads(2), _threads.threads_for(1e12) as parallel:
        print(_mappings.was_forked(), parallel)
    '''
    import textwrap
    print(subprocess.check_output([sys.executable, "-c", textwrap.dedent(program)], text=True))
    """
    assert run(code) == "False True"


@LINUX
def test_when_logging_was_imported_may_be_a_float_or_whole_nanoseconds(monkeypatch):
    """The first up to Python 3.12, the other since."""
    for early in (1e9, 10**18):
        monkeypatch.setattr("logging._startTime", early)
        assert _mappings.was_forked()
    for late in (4e9, 4 * 10**18):
        monkeypatch.setattr("logging._startTime", late)
        assert not _mappings.was_forked()
    monkeypatch.delattr("logging._startTime")
    assert not _mappings.was_forked()


def test_the_safe_layers_are_safe_beside_a_used_openmp():
    code = """
    train_lightgbm()
    print(end(fork(fit_in_child)))
    """
    assert run(code, NUMBA_THREADING_LAYER="workqueue").split()[1:] == ["True", "0"]


def test_importing_the_package_loads_nothing_large():
    code = """
    import sys
    before = set(sys.modules)
    import fastnn
    print(sorted({name.partition(".")[0] for name in set(sys.modules) - before} - sys.stdlib_module_names))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "['fastnn']"


def test_a_pool_of_processes_lives():
    """multiprocessing's by fork, and joblib's of that name in a grid search, after threads were used."""
    code = """
    import multiprocessing, joblib
    from sklearn.model_selection import GridSearchCV
    from fastnn import KMeans, MLPRegressor
    def work(_):
        return fit()
    def nothing(): pass
    train_lightgbm()
    signal.alarm(60)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        print(len(set(pool.map(work, range(4)) + [fit()])))
    search = GridSearchCV(KMeans(n_init=1, max_iter=3, random_state=0), {"n_clusters": [2, 4]}, cv=2)
    with joblib.parallel_backend("multiprocessing", n_jobs=2):
        print(search.fit(X).best_params_["n_clusters"])
    """
    assert run(code) == "1\n4"


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


CELERY = """
import os
from celery import Celery

{common}
if "-m" in sys.orig_argv:  # the worker, not who asks it
    train_lightgbm()
    import fastnn
app = Celery("tasks", broker="filesystem://", backend="file://" + os.path.abspath("results"))
app.conf.broker_transport_options = {{
    "data_folder_in": "queue", "data_folder_out": "queue", "control_folder": "control",
    "polling_interval": 0.05,
}}
app.conf.worker_enable_remote_control = False
@app.task
def fit_task():
    return os.getppid(), fit()
if __name__ == "__main__":
    tasks = [fit_task.delay() for _ in range(4)]
    results = [task.get(timeout=50, interval=0.05) for task in tasks]
    want = fit()
    print({{parent for parent, _ in results}}, {{inertia == want for _, inertia in results}})
"""


@LINUX
def test_celerys_pool_of_forked_workers(tmp_path):
    """The application has used LightGBM before Celery forks."""
    (tmp_path / "tasks.py").write_text(CELERY.format(common=COMMON))
    for name in ("queue", "control", "results"):
        (tmp_path / name).mkdir()
    command = ("celery", "-A", "tasks", "worker", "--pool", "prefork", "-c", "2", "--without-mingle")
    with serving(tmp_path, *command, "--without-gossip", "--without-heartbeat") as (process, log):
        asked = subprocess.run(
            [sys.executable, "tasks.py"], cwd=tmp_path, timeout=90, capture_output=True, text=True
        )
    assert asked.stdout.strip() == f"{{{process.pid}}} {{True}}", asked.stderr + log.read_text()


GUNICORN = """
import lightgbm
import fastnn
{common}
{before}
def app(environ, start_response):
    body = f"{{os.getpid()}} {{fit()}} {{uses_threads()}}".encode()
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]
"""


@LINUX
@pytest.mark.parametrize("preload", [True, False], ids=["preloaded", "loaded by the worker"])
def test_gunicorns_workers_answer(preload, tmp_path):
    """With --preload the application uses LightGBM before gunicorn forks; without, its master loads nothing."""
    code = GUNICORN.format(common=COMMON, before="train_lightgbm()" if preload else "")
    (tmp_path / "service.py").write_text(code)
    command = ["gunicorn", "service:app", "--bind", "127.0.0.1:0", "--worker-tmp-dir", str(tmp_path)]
    with serving(tmp_path, *command, *["--preload"] * preload) as (process, log):
        address = None
        deadline = time.monotonic() + 60
        while address is None and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.05)
            address = re.search(r"Listening at: (http://127\.0\.0\.1:\d+)", log.read_text())
        assert address, log.read_text()
        answers = [urllib.request.urlopen(address[1], timeout=40).read().decode().split() for _ in range(2)]
    assert answers[1] == answers[0]
    pid, inertia, parallel = answers[0]
    assert int(pid) != process.pid
    assert parallel == str(not preload)
    assert inertia == run("print(fit())")


# Loads the kernels of several kinds in another thread while the main thread forks, again and again; each child
# loads what it needs, at the same time as others.
FORK_AND_LOAD = """
from fastnn import GradKMeans, KMeans, MLPClassifier, MLPRegressor, MiniBatchKMeans
few = X[:300]
def load():
    KMeans(3, n_init=1, random_state=0).fit(few)
    for model in (MLPClassifier((5,), max_iter=2), MLPRegressor((5,), max_iter=2)):
        model.fit(few, few[:, 0] > 0)
    MiniBatchKMeans(3, n_init=1).fit(few)
    GradKMeans(3).fit(few)
thread = threading.Thread(target=load)
thread.start()
children = []
while thread.is_alive() and len(children) < 12:
    children.append(fork(lambda: KMeans(3, n_init=1, random_state=0).fit(few), seconds=20))
    time.sleep(0.01)
thread.join()
print(len(children) > 3, {end(child) for child in children})
"""


def test_a_fork_waits_for_a_thread_that_loads_kernels():
    assert run(FORK_AND_LOAD) == "True {0}"


def test_a_fork_waits_for_the_users_own_compiling():
    code = """
    import fastnn
    import numba
    started = threading.Event()
    @numba.extending.register_jitable
    def inner(x):
        return x + 1
    def compile():
        started.set()
        for i in range(5):
            numba.njit(lambda x: np.sort(x)[::2].sum() + inner(x[0]))(X[0])
    thread = threading.Thread(target=compile)
    thread.start()
    started.wait()
    children = []
    while thread.is_alive() and len(children) < 8:
        children.append(fork(lambda: fit(), seconds=20))
        time.sleep(0.02)
    thread.join()
    print({end(child) for child in children})
    """
    assert run(code) == "{0}"


def test_a_fork_waits_for_a_thread_that_imports_the_package():
    code = """
    import fastnn
    def load():
        from fastnn import KMeans
    thread = threading.Thread(target=load)
    thread.start()
    while "fastnn.estimators.kmeans" not in sys.modules:
        time.sleep(0.001)
    print(end(fork(fit_in_child)))
    """
    assert run(code).split()[2] == "0"


def test_a_fork_waits_for_numpys_random_numbers():
    """Those of ``random_state=None``: a thread that draws from them holds their lock."""
    code = """
    import fastnn
    from fastnn import MiniBatchKMeans
    MiniBatchKMeans(3, n_init=1).fit(X[:100])
    thread = threading.Thread(target=lambda: np.random.standard_normal(30_000_000))
    thread.start()
    time.sleep(0.1)
    assert thread.is_alive()
    print(end(fork(lambda: MiniBatchKMeans(3, n_init=1).fit(X[:100]), seconds=20)))
    """
    assert run(code) == "0"


def test_a_fork_waits_no_longer_than_its_patience():
    """A thread that waits for the one that forks would stop both; the child says that it cannot compile."""
    code = """
    from fastnn import _forks, KMeans
    from numba.core.compiler_lock import global_compiler_lock
    _forks.PATIENCE = 0.2
    has_it, may_go = threading.Event(), threading.Event()
    def hold():
        with global_compiler_lock:
            has_it.set()
            may_go.wait()
    thread = threading.Thread(target=hold)
    thread.start()
    has_it.wait()
    def child():
        for _ in range(2):
            try:
                KMeans(3).fit(X[:100])
            except RuntimeError as error:
                print("precompile" in str(error))
    print(end(fork(child, seconds=20)))
    may_go.set()
    thread.join()
    print(end(fork(fit_in_child)))
    """
    said, again, exit_code, _, _, last = run(code).split()
    assert (said, again, exit_code, last) == ("True", "True", "0", "0")


def test_locks_are_taken_in_any_order():
    """Two threads that take two locks in opposite orders do not stop each other, and all are given back."""
    code = """
    from fastnn import _forks
    first, second = threading.RLock(), threading.RLock()
    deadline = time.monotonic() + 1
    def others():
        while time.monotonic() < deadline:
            with second, first:
                pass
    thread = threading.Thread(target=others)
    thread.start()
    n = 0
    while time.monotonic() < deadline:
        assert _forks._take([first, second], 20)
        _forks._release([first, second])
        n += 1
    thread.join()
    print(n > 100)
    with first:
        pass
    blocked = []
    with second:
        thread = threading.Thread(target=lambda: blocked.append(_forks._take([first, second], 0.1)))
        thread.start()
        thread.join()
    print(blocked, first.acquire(blocking=False))
    """
    assert run(code, timeout=30) == "True\n[False] True"


def test_every_lock_that_a_fork_waits_for_is_found():
    """Names of other packages: a version that calls them otherwise has to be looked at."""
    import fastnn.kernels  # noqa: F401

    for path in _forks._WAITED_FOR:
        lock = _forks._resolve(path)
        assert lock is not None, path
        assert hasattr(lock, "acquire"), path


# The handler looks every millisecond whether it has interrupted what it is to interrupt, and fits there.
INTERRUPTED = """
from numba.core.compiler_lock import global_compiler_lock
from fastnn import GradKMeans, KMeans, MLPClassifier
few = X[:300]
def is_called_by_llvm():
    frame = sys._getframe()
    while frame and not frame.f_code.co_name.startswith("_raw_object_cache"):
        frame = frame.f_back
    return bool(frame)
outcomes = []
def handler(number, frame):
    if not {inside}() or "fits" in outcomes:
        return
    outcomes.append("fits")
    try:
        GradKMeans(3, random_state=0).fit(few)
        outcomes[-1] = "done"
    except RuntimeError as error:
        outcomes[-1] = "refused" if "signal handler" in str(error) else repr(error)
signal.signal(signal.SIGALRM, handler)
signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
network = MLPClassifier((5,), max_iter=2, random_state=0).fit(few, few[:, 0] > 0)
kmeans = KMeans(3, n_init=1, random_state=0).fit(few)
signal.setitimer(signal.ITIMER_REAL, 0)
print(set(outcomes))
GradKMeans(3, random_state=0).fit(few)
again = MLPClassifier((5,), max_iter=2, random_state=0).fit(few, few[:, 0] > 0)
print(np.array_equal(network.coefs_[0], again.coefs_[0]))
print(kmeans.inertia_ == KMeans(3, n_init=1, random_state=0).fit(few).inertia_)
"""


@pytest.mark.parametrize(
    "inside", ["global_compiler_lock.is_locked", "is_called_by_llvm"], ids=["Numba", "LLVM"]
)
def test_a_handler_that_fits_while_kernels_load_is_refused(inside):
    assert run(INTERRUPTED.format(inside=inside)).split() == ["{'refused'}", "True", "True"]


def test_a_handler_may_fit_when_all_is_loaded():
    code = """
    import numba
    few = X[:300]
    from fastnn import GradKMeans
    from numba.core.compiler_lock import global_compiler_lock
    want = GradKMeans(3, random_state=0).fit(few).inertia_
    def handler(number, frame):
        print(GradKMeans(3, random_state=0).fit(few).inertia_ == want)
    signal.signal(signal.SIGUSR1, handler)
    with global_compiler_lock:
        os.kill(os.getpid(), signal.SIGUSR1)
    """
    assert run(code) == "True"
