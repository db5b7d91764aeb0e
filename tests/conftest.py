"""Fixtures of every test."""

from contextlib import contextmanager

import numba
import pytest
import sklearn
from sklearn.utils.fixes import parse_version

from fastnn import network
from fastnn.kernels import _threads

if numba.config.ENABLE_CUDASIM:
    from tests.simulated_blocks import let_threads_sleep

    let_threads_sleep()


@pytest.fixture
def any_size_uses_threads(monkeypatch):
    """Take away the floor below which a call runs on one thread; skip where there is one thread only."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread only")
    monkeypatch.setitem(_threads.MIN_WORK, "omp", 0)
    monkeypatch.setitem(_threads.MIN_WORK, _threads.threading_layer(), 0)
    monkeypatch.setattr(network, "MIN_STEP_WORK", 0)
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    with _threads.threads_for(1) as parallel:
        assert parallel
    yield
    numba.set_num_threads(before)


@pytest.fixture
def same_batches():
    """Skip where scikit-learn draws mini-batches otherwise than in 1.9, whose results are promised."""
    if parse_version(sklearn.__version__) < parse_version("1.9"):
        pytest.skip("scikit-learn draws the same mini-batches since 1.9")


@pytest.fixture
def one_thread():
    """Context manager in which kernels run on one thread."""

    @contextmanager
    def limited():
        before = numba.get_num_threads()
        numba.set_num_threads(1)
        try:
            yield
        finally:
            numba.set_num_threads(before)

    return limited
