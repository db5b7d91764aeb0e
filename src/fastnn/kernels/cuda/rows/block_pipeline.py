"""Rows of the host on their way to a device in blocks, copied while the blocks before are worked on.

::

    host       fill 2  | fill 3  | fill 4  | ...      threads of their own, which call nothing of CUDA
    copies     copy 1  | copy 2  | copy 3  | ...      a stream of its own
    kernels    block 0 | block 1 | block 2 | ...      the default stream, by whoever takes the blocks

There are two places on the host, in page-locked memory, from which a device reads by itself, and two on the
device; block i has those of number i % 2. Three rules keep them apart, each by an event:

- kernels that read a block wait for its copy;
- a copy waits for the kernels that read the block before in its place on the device;
- a place on the host is filled again when the copy from it is done.
"""

import weakref
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np

from fastnn.kernels.cuda.runtime.compat import copy_stream, cuda, event, on_device

# Threads that fill a place: one core copies rows more slowly than the bus to a GPU takes them.
_FILLERS = 4

# Writes rows begin to end (exclusive) of what is copied to the arrays, one for each kind of data.
Fill = Callable[[int, int, Sequence[np.ndarray]], None]


class _Blocks(Iterator[tuple[int, list[Any]]]):
    """The blocks of one run."""

    def __init__(self, blocks: Generator[tuple[int, list[Any]]]) -> None:
        self._blocks, self._ended = blocks, False

    def __next__(self) -> tuple[int, list[Any]]:
        if self._ended:
            raise RuntimeError("these blocks have made room for those of another run")
        return next(self._blocks)

    def close(self) -> None:
        """Let go of the places."""
        self._ended = True
        self._blocks.close()


class BlockPipeline:
    """Two places on the host and two on the device, by which blocks of rows go there.

    Parameters
    ----------
    ordinal : int
        The device, which is the current one.
    n_rows : int
        Rows of a block at most.
    widths : sequence of int
        Columns of each kind of data that a block has.
    dtype : numpy dtype
    """

    def __init__(self, ordinal: int, n_rows: int, widths: Sequence[int], dtype: Any) -> None:
        self.n_rows, self._ordinal = n_rows, ordinal
        shapes = [(n_rows, width) for width in widths]
        self._on_host = [[cuda.pinned_array(shape, dtype) for shape in shapes] for _ in range(2)]
        self._on_device = [[cuda.device_array(shape, dtype) for shape in shapes] for _ in range(2)]
        self._copied, self._used = [event(), event()], [event(), event()]
        self._stream = copy_stream(ordinal)
        self._former: Callable[[], Any] = lambda: None

    def run(self, cuts: Sequence[tuple[int, int]], fill: Fill) -> Iterator[tuple[int, list[Any]]]:
        """The blocks, one after the other: the first row of each, and its device arrays (rows, width).

        A block may be read on the default stream by what is queued there before the next one is asked for.
        There is one run at a time: a second one ends the first, which raises RuntimeError when it is gone on
        with.

        Parameters
        ----------
        cuts : sequence of (int, int)
            Begin and end of each block.
        fill : callable
        """
        former = self._former()
        if former is not None:
            former.close()  # an exception may still hold one that was left in the middle
        blocks = _Blocks(self._run(cuts, fill))
        self._former = weakref.ref(blocks)
        return blocks

    def _run(self, cuts: Sequence[tuple[int, int]], fill: Fill) -> Generator[tuple[int, list[Any]]]:
        for used in self._used:
            used.record()  # whatever has been queued so far may read these places
        pool = ThreadPoolExecutor(_FILLERS)
        try:
            filling = [self._begin_to_fill(pool, fill, cuts, i) for i in range(min(2, len(cuts)))]
            for i, (begin, end) in enumerate(cuts):
                # The copy of the next block is under way before anybody waits for the kernels of this one.
                for following in range(i + 1 if i else 0, min(i + 2, len(cuts))):
                    self._copy(filling[following % 2], cuts, following)
                self._copied[i % 2].wait()
                if i + 2 < len(cuts):
                    self._copied[i % 2].synchronize()
                    filling[i % 2] = self._begin_to_fill(pool, fill, cuts, i + 2)
                yield begin, [place[: end - begin] for place in self._on_device[i % 2]]
                self._used[i % 2].record()
        finally:
            # Whoever leaves in the middle leaves no thread and no copy behind that works on these places.
            pool.shutdown(cancel_futures=True)
            with on_device(self._ordinal):
                self._stream.synchronize()

    def _begin_to_fill(
        self, pool: ThreadPoolExecutor, fill: Fill, cuts: Sequence[tuple[int, int]], i: int
    ) -> list[Future[None]]:
        begin, end = cuts[i]
        edges = np.linspace(begin, end, min(_FILLERS, end - begin) + 1).astype(np.int64).tolist()
        places = self._on_host[i % 2]
        return [
            pool.submit(fill, first, last, [place[first - begin : last - begin] for place in places])
            for first, last in pairwise(edges)
        ]

    def _copy(self, filling: list[Future[None]], cuts: Sequence[tuple[int, int]], i: int) -> None:
        for part in filling:
            part.result()
        n = cuts[i][1] - cuts[i][0]
        self._used[i % 2].wait(self._stream)
        for source, target in zip(self._on_host[i % 2], self._on_device[i % 2], strict=True):
            target[:n].copy_to_device(source[:n], stream=self._stream)
        self._copied[i % 2].record(self._stream)
