"""The rows in the order of their clusters: a counting sort that keeps the rows of a cluster in order.

A chunk of rows is counted by one thread, so the counts need no atomic addition and no two runs differ. The
prefix sums over the counts, cluster by cluster and in a cluster chunk by chunk, are the places of each
chunk's rows of each cluster; in a second pass over the labels every row goes to its place::

    labels      1 0 1 | 2 0 0 | 1 1 2          three chunks
    counts      cluster 0: 1 2 0    cluster 1: 2 0 2    cluster 2: 0 1 1
    places      cluster 0: 0 1 3    cluster 1: 3 5 5    cluster 2: 7 7 8
    order       1 4 5 | 0 2 6 7 | 3 8
"""

from typing import Any

import numpy as np

from fastnn.kernels.cuda.clustering.scan import exclusive_sums
from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, kernel
from fastnn.kernels.cuda.runtime.memory import Scratch, blocks_per_grid

_THREADS = block_threads(64)
# Rows of a chunk: as many as there are clusters, so that there are no more counts than rows, or this.
_CHUNK = block_threads(256)


@kernel
def _count(labels, chunk_rows, n_chunks, counts):
    """counts[j, chunk] = rows of cluster j in the chunk; as one long array. A thread has a chunk."""
    chunk = cuda.grid(1)
    if chunk < n_chunks:
        for j in range(counts.shape[0] // n_chunks):
            counts[j * n_chunks + chunk] = 0
        for i in range(chunk * chunk_rows, min(labels.shape[0], (chunk + 1) * chunk_rows)):
            counts[labels[i] * n_chunks + chunk] += 1


@kernel
def _note_starts(places, n, n_chunks, starts):
    """starts[j] = place of the first row of cluster j; and n at the end."""
    j = cuda.grid(1)
    if j < starts.shape[0] - 1:
        starts[j] = places[j * n_chunks]
    elif j == starts.shape[0] - 1:
        starts[j] = n


@kernel
def _place(labels, chunk_rows, n_chunks, places, order):
    """order[place] = row; places : IN/OUT, of the next row of a cluster in a chunk."""
    chunk = cuda.grid(1)
    if chunk < n_chunks:
        for i in range(chunk * chunk_rows, min(labels.shape[0], (chunk + 1) * chunk_rows)):
            at = labels[i] * n_chunks + chunk
            order[places[at]] = i
            places[at] += 1


def sort_by_cluster(labels: Any, n_clusters: int, scratch: Scratch) -> tuple[Any, Any]:
    """The rows in the order of their clusters, and where in that order each cluster starts.

    Parameters
    ----------
    labels : device array (n,) int32
        In 0..n_clusters-1, n >= 1.
    n_clusters : int
    scratch : Scratch
        Where the results are, too.

    Returns
    -------
    order : device array (n,) int32
    starts : device array (n_clusters + 1,) int32
    """
    n = labels.shape[0]
    chunk_rows = max(_CHUNK, n_clusters)
    n_chunks = blocks_per_grid(n, chunk_rows)
    grid = blocks_per_grid(n_chunks, _THREADS), _THREADS
    places = scratch.array("places", n_clusters * n_chunks, np.int32)
    order, starts = (
        scratch.array("order", n, np.int32),
        scratch.array("cluster starts", n_clusters + 1, np.int32),
    )
    _count[grid](labels, chunk_rows, n_chunks, places)
    exclusive_sums(places, scratch)
    _note_starts[blocks_per_grid(n_clusters + 1, _THREADS), _THREADS](places, n, n_chunks, starts)
    _place[grid](labels, chunk_rows, n_chunks, places, order)
    return order, starts
