"""Cooperative grids of several blocks in numba-cuda's simulator, which by itself has grids of one block.

Here the blocks run at the same time, each with its own shared memory, and wait for each other where the
kernel says so. For tests of kernels whose blocks exchange results.
"""

import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import pytest
from numba import types
from numba.cuda.simulator import kernel, kernelapi
from numba.np import numpy_support

_LAG = 0.1  # seconds


@contextmanager
def blocks_at_once(monkeypatch: pytest.MonkeyPatch, late: int) -> Iterator[None]:
    """Run the blocks of a launch at the same time inside the ``with`` block.

    Block `late` lags behind the others at the beginning and wherever they have waited for each other, so that
    they run into what it has not done yet.
    """
    run_block = kernel.BlockManager.run
    meeting: list[threading.Barrier] = []
    lock, arrays = threading.Lock(), {}

    def run(manager, first, *arguments):
        if any(first):
            return  # all blocks run at the call for the first
        points = list(np.ndindex(*manager._grid_dim))
        meeting[:] = [threading.Barrier(len(points), timeout=60)]
        arrays.clear()
        errors = []

        def run_one(point):
            time.sleep(_LAG if point[0] == late else 0)
            own = kernel.BlockManager(manager._f, manager._grid_dim, manager._block_dim, manager._debug)
            try:
                run_block(own, point, *arguments)
            except BaseException as error:
                errors.append(error)
                meeting[0].abort()

        blocks = [threading.Thread(target=run_one, args=(point,)) for point in points]
        for block in blocks:
            block.start()
        for block in blocks:
            block.join()
        if errors:
            raise errors[0]

    def sync(grid):
        thread = threading.current_thread()
        thread.syncthreads()
        if thread.thread_id == 0:
            meeting[0].wait()
            time.sleep(_LAG if thread.blockIdx.x == late else 0)
        thread.syncthreads()

    def shared_array(shared, shape, dtype, alignment=None):
        frame = traceback.extract_stack(limit=2)[0]
        block = threading.current_thread().blockIdx
        key = (block.x, block.y, frame.filename, frame.lineno)
        dtype = numpy_support.as_dtype(dtype) if isinstance(dtype, types.Type) else dtype
        with lock:
            if key not in arrays:
                arrays[key] = np.empty(shape, dtype)
            return arrays[key]

    with monkeypatch.context() as patch:
        patch.setattr(kernel.BlockManager, "run", run)
        patch.setattr(kernelapi.GridGroup, "sync", sync)
        patch.setattr(kernelapi.FakeCUDAShared, "array", shared_array)
        yield
