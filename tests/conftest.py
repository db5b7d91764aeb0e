"""Fixtures of every test."""

import signal
from contextlib import contextmanager
from functools import wraps

import numba
import pytest
import sklearn
from sklearn.utils.fixes import parse_version

from fastnn.kernels.shared import threads
from fastnn.networks import host_network

if numba.config.ENABLE_CUDASIM:
    from tests.simulated_blocks import let_threads_sleep

    let_threads_sleep()


def pytest_collection_modifyitems(items):
    """Slow tests come first, and those that use no compiled kernel of the CPU in the middle.

    Two processes that share the tests begin with a half each, and end at about the same time. Of the slow
    tests the first compile what the other process then finds in the cache, when it needs it.
    """
    slow = [item for item in items if item.get_closest_marker("slow")]
    apart = [item for item in items if item.get_closest_marker("compiles_for_a_gpu")]
    placed = {*slow, *apart}
    others = [item for item in items if item not in placed]
    half = max(0, len(items) // 2 - len(slow))
    items[:] = [*slow, *others[:half], *apart, *others[half:]]


@pytest.fixture
def answers_ctrl_c():
    """Ctrl-C raises KeyboardInterrupt: a shell lets what it starts in the background ignore the signal."""
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.fixture
def any_size_uses_threads(monkeypatch):
    """Take away the floor below which a call runs on one thread; skip where there is one thread only."""
    if numba.config.NUMBA_NUM_THREADS < 2:
        pytest.skip("one thread only")
    monkeypatch.setitem(threads.MIN_FLOPS, "omp", 0)
    monkeypatch.setitem(threads.MIN_FLOPS, threads.threading_layer(), 0)
    monkeypatch.setattr(host_network, "MIN_STEP_FLOPS", 0)
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    with threads.threads_for(1) as parallel:
        assert parallel
    yield
    numba.set_num_threads(before)


@pytest.fixture
def same_batches():
    """Skip where scikit-learn draws mini-batches otherwise than in 1.9, whose results are promised."""
    if parse_version(sklearn.__version__) < parse_version("1.9"):
        pytest.skip("scikit-learn draws the same mini-batches since 1.9")


@pytest.fixture
def chosen_tiles(monkeypatch):
    """The tiles of the products of a test, as they are chosen: for the multiprocessors of the simulator.

    A GPU has so many more that shapes fit for a test would never take a larger tile.
    """
    from fastnn.kernels.cuda.clustering import nearest, nearest_tf32
    from fastnn.kernels.cuda.network import linear, steps
    from fastnn.kernels.cuda.tiles import tile

    chosen = []

    def noted(choose):
        @wraps(choose)
        def noting(*arguments, **options):
            result = choose(*arguments, **options)
            chosen.append(result if isinstance(result, tile.Tile) else result[0])
            return result

        return noting

    monkeypatch.setattr(tile, "multiprocessors", lambda: 16)
    for module, name in (
        (linear, "tile_for"),
        (nearest, "tile_for"),
        (nearest_tf32, "tile_for"),
        (steps, "_tile_for"),
    ):
        monkeypatch.setattr(module, name, noted(getattr(module, name)))
    return chosen


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
