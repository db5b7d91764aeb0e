"""Fixtures of every test."""

from contextlib import contextmanager

import numba
import pytest


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
