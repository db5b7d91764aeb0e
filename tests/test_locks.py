"""A fork waits for what other threads hold, and a signal handler does not enter the compiler twice."""

import os

import pytest

from fastnn import _locks
from tests.forking import run

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")


# Loads the kernels of several kinds in another thread while the main thread forks, again and again; each
# child loads what it needs, at the same time as others.
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
    while "fastnn.estimators.kmeans.kmeans" not in sys.modules:
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
    from fastnn import _locks
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
        assert _locks._take([first, second], 20)
        _locks.release([first, second])
        n += 1
    thread.join()
    print(n > 100)
    with first:
        pass
    blocked = []
    with second:
        thread = threading.Thread(target=lambda: blocked.append(_locks._take([first, second], 0.1)))
        thread.start()
        thread.join()
    print(blocked, first.acquire(blocking=False))
    """
    assert run(code, timeout=30) == "True\n[False] True"


def test_every_lock_that_a_fork_waits_for_is_found():
    """Names of other packages: a version that calls them otherwise has to be looked at."""
    import fastnn.kernels  # noqa: F401

    for path in _locks._WAITED_FOR:
        lock = _locks._resolve(path)
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
