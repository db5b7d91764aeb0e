"""Buffers of threads, and rows that are gathered into one."""

import numpy as np
import pytest

from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.cpu.clustering.buffers import thread_buffers
from fastnn.kernels.cpu.clustering.gather import gather_rows

DTYPES = [np.float32, np.float64]


@jit
def buffers(n_workers, size, array):
    return thread_buffers(n_workers, size, array)


@jit
def gather(first, last, order, X, weights, X_out, weights_out):
    gather_rows(first, last, order, X, weights, X_out, weights_out)


@pytest.mark.parametrize("dtype", [*DTYPES, np.int32])
@pytest.mark.parametrize("size", [0, 1, 31, 32, 33])
def test_no_two_threads_share_a_cache_line(dtype, size):
    rows = buffers(3, size, np.empty(1, dtype))
    assert rows.dtype == dtype
    assert rows.shape[0] == 3
    assert rows.shape[1] >= size
    for row in rows:
        assert size == 0 or row.ctypes.data % 64 == 0
    assert size == 0 or rows.strides[0] % 128 == 0


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("d", [1, 7, 64, 2000])
def test_gathered_rows(dtype, weighted, d):
    rng = np.random.default_rng(0)
    X, order = rng.normal(size=(300, d)).astype(dtype), rng.integers(0, 300, 150)
    weights = rng.uniform(size=300 if weighted else 0).astype(dtype)
    X_out = np.full((150, d), 5, dtype)
    weights_out = np.full(150 if weighted else 0, 5, dtype)
    gather(10, 140, order, X, weights, X_out, weights_out)
    np.testing.assert_array_equal(X_out[10:140], X[order[10:140]])
    assert (X_out[:10] == 5).all()
    assert (X_out[140:] == 5).all()
    if weighted:
        np.testing.assert_array_equal(weights_out[10:140], weights[order[10:140]])
        assert (weights_out[:10] == 5).all()
