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
# Words of 8 bytes a row: the order of the rows and its shuffle; and for each output the targets, once as
# scikit-learn makes them and once as they are used.
ROW_WORDS, OUTPUT_WORDS = 8, 2


def fit_peak(model: Any, X: Any, y: Any) -> int:
    """Bytes allocated at the most at one time during a fit, beyond what there was before it."""
    gc.collect()
    tracemalloc.start()
    try:
        model.fit(X, y)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bound(sizes: tuple[int, ...], batch: int, n: int, dtype: Any) -> int:
    """Bytes that a fit of n rows may take."""
    parameters = sum((n_in + 1) * n_out for n_in, n_out in pairwise(sizes))
    activations = batch * sum(sizes)
    elements = PARAMETER_BUFFERS * parameters + ACTIVATION_BUFFERS * activations
    return elements * np.dtype(dtype).itemsize + (ROW_WORDS + OUTPUT_WORDS * sizes[-1]) * 8 * n
