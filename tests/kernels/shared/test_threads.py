"""n_threads of every estimator: what it limits and restores, and that results do not depend on it."""

import os
import signal
import subprocess
import sys
import textwrap
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from inspect import signature

import joblib
import numba
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

import fastnn
from fastnn.kernels.shared import threads as _threads

X, y = load_digits(return_X_y=True)
X = (X / 16).astype(np.float32)
TWO = pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one thread only")


def fitted(name, **parameters):
    """A fitted estimator and all arrays that the fit made."""
    if name.endswith("KMeans"):
        batches = {"batch_size": 512} if name == "GradKMeans" else {}
        model = getattr(fastnn, name)(10, random_state=0, **batches, **parameters).fit(X)
        return model, [model.cluster_centers_, model.labels_, model.transform(X), model.predict(X)]
    model = getattr(fastnn, name)(max_iter=2, random_state=0, **parameters)
    # A network for tables does all its epochs, and is content.
    with nullcontext() if name.startswith("RealMLP") else pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    return model, [*model.coefs_, *model.intercepts_, applied(model)]


def applied(model):
    """Predictions, or the codes of an autoencoder."""
    return (model.predict if hasattr(model, "predict") else model.transform)(X)


NAMES = [
    name
    for name in fastnn.__all__
    if hasattr(getattr(fastnn, name), "fit") and "n_threads" in signature(getattr(fastnn, name)).parameters
]


@TWO
@pytest.mark.parametrize("name", NAMES)
def test_result_is_bitwise_the_same(name, any_size_uses_threads):
    (_, one), (_, two), (_, all_) = (fitted(name, n_threads=n) for n in (1, 2, None))
    for a, b, c in zip(one, two, all_, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_array_equal(a, c)


@pytest.fixture
def launches(monkeypatch, any_size_uses_threads):
    """The number of threads of every launch, as Numba is set inside it."""
    seen = []
    plain = _threads.threads_for

    class Spy:
        def __init__(self, flops):
            self.block = plain(flops)

        def __enter__(self):
            parallel = self.block.__enter__()
            seen.append(numba.get_num_threads() if parallel else 1)
            return parallel

        def __exit__(self, *error):
            return self.block.__exit__(*error)

    for module in list(sys.modules.values()):
        if getattr(module, "threads_for", None) is plain:
            monkeypatch.setattr(module, "threads_for", Spy)
    return seen


@TWO
@pytest.mark.parametrize("name", NAMES)
def test_the_limit_holds_in_every_method(name, launches):
    model, _ = fitted(name, n_threads=1)
    assert set(launches) == {1}
    model.set_params(n_threads=2)
    launches.clear()
    applied(model)
    model.score(X, y)
    assert set(launches) == {2}
    model.set_params(n_threads=1)
    launches.clear()
    name = next(name for name in ("partial_fit", "fit_predict", "fit") if hasattr(model, name))
    getattr(model, name)(X, y)
    assert set(launches) == {1}


@TWO
def test_the_setting_of_numba_holds_without_a_limit_and_is_restored(launches):
    numba.set_num_threads(1)
    fitted("GradKMeans")
    assert set(launches) == {1}
    launches.clear()
    fitted("GradKMeans", n_threads=2)
    assert 2 in launches
    assert numba.get_num_threads() == 1
    numba.set_num_threads(2)
    with pytest.raises(ValueError, match="NaN"):
        fastnn.GradKMeans(2, n_threads=1).fit([[np.nan]])
    with pytest.raises(ZeroDivisionError), _threads.use_threads(1), _threads.threads_for(1e12):
        raise ZeroDivisionError
    assert numba.get_num_threads() == 2
    with _threads.threads_for(1e12) as parallel:
        assert parallel


@TWO
def test_a_limit_is_that_of_one_python_thread(any_size_uses_threads):
    inside = []

    def look():
        with _threads.threads_for(1e12) as parallel:
            inside.append(parallel)

    with _threads.use_threads(1):
        other = threading.Thread(target=look)
        other.start()
        other.join()
        look()
    assert inside[1] is False
    assert inside[0] is True


@pytest.mark.parametrize("bad", [0, -1, 1.5, "all"])
def test_refuses_other_values(bad):
    for name in NAMES:
        with pytest.raises(ValueError, match="n_threads"):
            getattr(fastnn, name)(n_threads=bad).fit(X, y)
    model, _ = fitted("GradKMeans")
    with pytest.raises(ValueError, match="n_threads"):
        model.set_params(n_threads=bad).predict(X)


def test_a_process_with_one_core_uses_no_threads():
    code = """
    import os
    import numba  # which counts the cores now
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from fastnn.kernels.shared import threads as _threads
    with _threads.threads_for(1e12) as parallel:
        print(parallel)
    """
    if not hasattr(os, "sched_setaffinity"):
        pytest.skip("no affinity here")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "False"


def test_the_quota_that_joblib_sees_holds(monkeypatch):
    monkeypatch.setattr(_threads, "_usable_cores", lambda affinity: 1)
    with _threads.threads_for(1e12) as parallel:
        assert not parallel


def _threads_of_a_worker(_):
    with _threads.threads_for(1e12) as parallel:
        return numba.get_num_threads() if parallel else 1


def test_joblibs_inner_limit_holds():
    with joblib.parallel_config("loky", inner_max_num_threads=1):
        assert joblib.Parallel(n_jobs=2)(joblib.delayed(_threads_of_a_worker)(i) for i in range(2)) == [1, 1]


def test_blas_limits_of_overlapping_fits_are_taken_away():
    def limits():
        return [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]

    before = limits()

    def in_another_thread(function):
        with ThreadPoolExecutor(1) as executor:
            return executor.submit(function).result()

    blas = _threads.one_blas_thread
    for _ in range(2):
        # Each change comes from a Python thread of its own, as of the fits of a grid search.
        for change, want in (
            (blas.__enter__, [1] * len(before)),
            (blas.__enter__, [1] * len(before)),
            (blas.__exit__, [1] * len(before)),
            (blas.__exit__, before),
        ):
            in_another_thread(change)
            assert limits() == want

    def users_own():
        with threadpool_limits(1, user_api="blas"):
            return limits()

    with blas:
        pass
    assert in_another_thread(users_own) == [1] * len(before)
    assert limits() == before

    with threadpool_limits(2, user_api="blas"):  # this Python thread's, and other ones fit
        in_another_thread(blas.__enter__)
        assert limits() == [1] * len(before)
        in_another_thread(blas.__exit__)
        assert limits() == [2] * len(before)
    assert limits() == before


def test_libraries_are_looked_for_after_imports_alone(monkeypatch):
    looks = []
    monkeypatch.setattr(_threads, "ThreadpoolController", lambda: looks.append(1) or ThreadpoolController())
    blas = _threads._OneBlasThread()

    def limit():
        with blas:
            assert {info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"} == {1}
        return len(looks)

    assert [limit(), limit()] == [1, 1]
    monkeypatch.setitem(sys.modules, "a_library_more", sys)
    assert [limit(), limit()] == [2, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_forked_inside_anothers_blas_limit_is_free():
    blas = _threads.one_blas_thread
    limits = [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]
    with blas, blas._lock:
        child = os.fork()
        if child == 0:
            signal.alarm(20)  # for a deadlock
            with blas:
                pass
            after = [info["num_threads"] for info in threadpool_info() if info["user_api"] == "blas"]
            os._exit(0 if after == limits else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
