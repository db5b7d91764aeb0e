"""Memory of a fit beyond its input, as Python and NumPy allocate it. Kernels allocate nothing in training."""

import gc
import tracemalloc
from itertools import pairwise
from typing import Any

import numpy as np

# Buffers of the size of all parameters: the parameters, their gradient, the two slots of Adam, and the last
# good parameters. Of the size of a batch's activations in all layers: the activations, the arguments of those
# whose derivative needs it, the gradients with the units along the lanes, and what the threads work in.
PARAMETER_BUFFERS, ACTIVATION_BUFFERS = 5, 4
# Words of 8 bytes a row: the order of the rows and its shuffle, and the classes, however many there are, as
# the places of ones in a sparse matrix and as they are used.
ROW_WORDS = 10

# k-means. Words of 8 bytes a row: labels, distances and bounds of them, random numbers, and the probabilities
# that NumPy draws rows by, several times over. Words a feature of a centre: centres before and after a step,
# sums, what update rules keep. Rows of at least LEADING_FEATURES may have a copy of a sixth of them.
KMEANS_ROW_WORDS, CENTER_WORDS, LEADING_FEATURES, LEADING_SHARE = 32, 20, 192, 6
# Batches' worth of rows: three to choose initial centres among, three to judge them by, the batch itself, and
# one for what NumPy copies on the way.
BATCHES = 8
# What does not depend on the shape: partial sums of 8 MiB at most, blocks of rows of 16 MiB at most.
CONSTANT = 24 << 20


def fit_peak(model: Any, X: Any, y: Any = None) -> int:
    """Bytes allocated at the most at one time during a fit, beyond what there was before it."""
    gc.collect()
    tracemalloc.start()
    try:
        model.fit(X, y)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bound(sizes: tuple[int, ...], batch: int, n: int, dtype: Any) -> int:
    """Bytes that the fit of a classifier on n rows may take."""
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    activations = batch * sum(sizes)
    elements = PARAMETER_BUFFERS * parameters + ACTIVATION_BUFFERS * activations
    return elements * np.dtype(dtype).itemsize + ROW_WORDS * 8 * n


def kmeans_bound(n: int, d: int, k: int, dtype: Any, batch: int = 0, sample: int = 0) -> int:
    """Bytes that a k-means fit of n dense rows may take.

    batch : rows of a mini-batch. sample : rows of the copy that initial centres are chosen from.
    """
    size = np.dtype(dtype).itemsize
    leading = n * (d // LEADING_SHARE) * size if d >= LEADING_FEATURES else 0
    centers = 8 * (k * k + CENTER_WORDS * k * d)
    return KMEANS_ROW_WORDS * 8 * n + leading + centers + (BATCHES * batch + sample) * d * size + CONSTANT
