"""k-means on arrays: the twins of the CPU's ``assign`` and ``update_centers``, on the current device."""

import operator
from typing import Any

import numpy as np

from fastnn.kernels.cuda.clustering.nearest import nearest_rows
from fastnn.kernels.cuda.clustering.sums import sum_rows
from fastnn.kernels.cuda.runtime.compat import block_threads, cuda, kernel
from fastnn.kernels.cuda.runtime.memory import Arguments, blocks_per_grid, dtype_of
from fastnn.kernels.shared.arrays import several

_THREADS = block_threads(128)


def assign(X: Any, C: Any, *, out: Any = None, precision: str | None = None) -> tuple[Any, Any]:
    """The twin of the CPU's ``assign``."""
    arguments = Arguments(X, C)
    X = arguments.matrix(X, "X", (None, None))
    n, d = X.shape
    C = arguments.matrix(C, "C", (None, d))
    if C.shape[0] == 0:
        raise ValueError("C must have at least one row")
    given = several(out, 2)
    labels = arguments.output(given[0], (n,), np.int32, "out[0] (labels)", (X, C))
    distances = arguments.output(given[1], (n,), arguments.dtype, "out[1] (distances)", (X, C, labels))
    nearest_rows(X, C, labels, distances, precision=precision)
    return arguments.result(labels, given[0]), arguments.result(distances, given[1])


@kernel
def _find_bad_labels(labels, k, bad):
    i = cuda.grid(1)
    if i < labels.shape[0] and not 0 <= labels[i] < k:
        bad[0] = 1


@kernel
def _find_bad_weights(weights, bad):
    i = cuda.grid(1)
    if i < weights.shape[0] and not weights[i] >= 0:
        bad[0] = 1


def _is_bad(check: Any, array: Any, *limits: int) -> bool:
    bad = cuda.to_device(np.zeros(1, np.int32))
    if array.shape[0]:
        check[blocks_per_grid(array.shape[0], _THREADS), _THREADS](array, *limits, bad)
    return bool(bad.copy_to_host()[0])


def update_centers(
    X: Any, labels: Any, n_clusters: int, sample_weight: Any = None, *, out: Any = None
) -> tuple[Any, Any]:
    """The twin of the CPU's ``update_centers``."""
    arguments = Arguments(X, beside=(labels, sample_weight))
    X = arguments.matrix(X, "X", (None, None))
    n, d = X.shape
    k = operator.index(n_clusters)
    if k < 1:
        raise ValueError(f"n_clusters must be at least 1, got {n_clusters}.")
    label_dtype = dtype_of(labels)
    if label_dtype.kind not in "iu":
        raise TypeError(f"labels must be integers, got dtype {label_dtype}.")
    labels = arguments.matrix(labels, "labels", (n,), label_dtype.newbyteorder("="))
    if _is_bad(_find_bad_labels, labels, k):
        raise ValueError(f"labels must lie in 0..{k - 1}.")
    labels = arguments.matrix(labels, "labels", (n,), np.int32)
    weights = None
    if sample_weight is not None:
        weights = arguments.matrix(sample_weight, "sample_weight", (n,))
        if _is_bad(_find_bad_weights, weights):
            raise ValueError("Negative or missing values in data passed to `sample_weight`")
    given, inputs = several(out, 2), (X, labels) if weights is None else (X, labels, weights)
    sums = arguments.output(given[0], (k, d), np.float64, "out[0] (sums)", inputs)
    counts = arguments.output(given[1], (k,), np.float64, "out[1] (counts)", (*inputs, sums))
    if n:
        sum_rows(X, weights, labels, sums, counts)
    else:
        sums.copy_to_device(np.zeros((k, d)))
        counts.copy_to_device(np.zeros(k))
    return arguments.result(sums, given[0]), arguments.result(counts, given[1])
