"""Whole passes over the data: labels and inertia, the spread that `tol` is measured in, Lloyd's iterations.

References
----------
Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastnn.clustering.bounds import Bounds
from fastnn.kernels import device
from fastnn.kernels._arrays import Csr
from fastnn.kernels._threads import threads_for, workers

Rows = np.ndarray | Csr


class Workspace:
    """Buffers for sweeps over up to `n` rows of one problem."""

    def __init__(self, n: int, k: int, d: int, dtype: np.dtype) -> None:
        self.labels = np.empty(n, np.int32)
        self.distances = np.empty(n, dtype)
        self.sums, self.counts = np.empty((k, d)), np.empty(k)
        self.partials = device.new_partials(n, k, d)

    def sweep(
        self, X: Rows, weights: np.ndarray, C: np.ndarray, *, summing: bool, assigning: bool = True
    ) -> float:
        """Assign all rows of X, and add them up if `summing`; the inertia."""
        n, d = X.shape
        k = C.shape[0]
        if isinstance(X, Csr):
            with threads_for(device.sweep_work(1, k, X.data.size) + n) as parallel:
                n_workers = workers(parallel)
                return device.sweep_csr(
                    parallel, n_workers, X.data, X.indices, X.indptr, weights, np.ascontiguousarray(C.T),
                    (C.astype(np.float64) ** 2).sum(axis=1), self.labels, self.distances,
                    self.sums, self.counts, self.partials, np.empty((n_workers, k), X.dtype),
                    assigning, summing,
                )  # fmt: skip
        with threads_for(device.sweep_work(n, k, d)) as parallel:
            return device.sweep(
                parallel, workers(parallel), X, weights, C, self.labels, self.distances,
                self.sums, self.counts, self.partials, assigning, summing,
            )  # fmt: skip


def nearest_centers(X: Rows, C: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Nearest centre of every row, and the squared distance to it."""
    work = Workspace(X.shape[0], 0, X.shape[1], X.dtype)
    work.sweep(X, weights_or_empty(None, X), C, summing=False)
    return work.labels, work.distances


def labels_inertia(X: Rows, weights: np.ndarray | None, C: np.ndarray) -> tuple[np.ndarray, float]:
    """Nearest centre of every row and the weighted sum of squared distances to them."""
    n, d = X.shape
    work = Workspace(n, 0, d, X.dtype)
    inertia = work.sweep(X, weights_or_empty(weights, X), C, summing=False)
    return work.labels, inertia


def mean_variance(X: Rows) -> float:
    """Mean over the columns of their variance, the unit of `tol`."""
    n, d = X.shape
    if isinstance(X, Csr):
        # Not stored values are zeros; the mean is subtracted before squaring, as it may be far from zero.
        columns = X.indices
        values = X.data.astype(np.float64)
        mean = np.bincount(columns, values, minlength=d) / n
        stored = np.bincount(columns, minlength=d)
        squares = np.bincount(columns, (values - mean[columns]) ** 2, minlength=d)
        return float((squares + (n - stored) * mean**2).mean() / n)
    work = Workspace(n, 1, d, X.dtype)
    none = weights_or_empty(None, X)
    work.labels[:] = 0
    work.sweep(X, none, np.empty((1, d), X.dtype), summing=True, assigning=False)
    mean = (work.sums / n).astype(X.dtype)
    return work.sweep(X, none, mean, summing=False) / (n * d)


def weights_or_empty(weights: np.ndarray | None, X: Rows) -> np.ndarray:
    """Weights as kernels take them: an empty array stands for ones."""
    return np.empty(0, X.dtype) if weights is None else weights


class Fit(NamedTuple):
    """What Lloyd's iterations give; centres, labels and inertia agree with each other."""

    centers: np.ndarray  # (k, d)
    labels: np.ndarray  # (n,) int32
    inertia: float
    n_iter: int
    losses: list[float]  # inertia before each iteration, over the weight of all rows; NaN where not computed
    moved: float  # squared movement of all centres in the last iteration
    converged: bool  # False when `max_iter` ended it


def same_clusters(labels: np.ndarray, others: np.ndarray, n_clusters: int) -> bool:
    """Whether rows of one cluster in `labels` are in one cluster in `others`, as scikit-learn's KMeans asks.

    Of two runs that end with the same clusters in another order the second may have the lower inertia by
    rounding alone.
    """
    image = np.empty(n_clusters, others.dtype)
    image[labels] = others
    return bool((image[labels] == others).all())


def lloyd(
    X: Rows,
    weights: np.ndarray | None,
    C: np.ndarray,
    *,
    max_iter: int,
    tol: float,
    report: Callable[[int, float, np.ndarray], bool] | None = None,
    accelerate: bool = True,
) -> Fit:
    """Lloyd's iterations, as scikit-learn's KMeans does them.

    An empty cluster takes the row farthest from its own centre, out of the cluster that had it.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, or Csr
    weights : ndarray of shape (n,) or None
        None stands for ones.
    C : ndarray of shape (k, d)
        Initial centres; not changed.
    max_iter : int
        Iterations at most.
    tol : float
        The squared movement of all centres at or below which to stop.
    report : callable, default=None
        Called after each iteration with its number, from 1, the inertia before it and the centres after it,
        which change afterwards; True ends the iterations.
    accelerate : bool, default=True
        Leave rows out whose centre cannot have changed (``Bounds``), where that may pay. The labels and
        centres are the same; the inertia before an iteration is not computed then, and NaN.

    Returns
    -------
    Fit
    """
    n, d = X.shape
    k = C.shape[0]
    w = weights_or_empty(weights, X)
    total = float(n) if weights is None else float(weights.sum(dtype=np.float64))
    work = Workspace(n, k, d, X.dtype)
    bounds = None
    if accelerate and not isinstance(X, Csr) and Bounds.may_pay(n, k, d):
        bounds = Bounds(X, k)
    losses: list[float] = []
    moved, before = np.inf, C
    means, spare = np.empty_like(C), np.empty_like(C)
    for i in range(max_iter):
        inertia = np.nan
        bounded = bounds is not None and bounds.active
        if bounds and bounded:
            bounds.assign(C, before, work.labels)
            work.sweep(X, w, C, summing=True, assigning=False)
        # Where a cluster is empty all distances are wanted.
        if not (bounded and work.counts.all()):
            inertia = work.sweep(X, w, C, summing=True)
            if bounds:
                bounds.watch(work.labels)
        losses.append(inertia / total)
        if not work.counts.all():
            _relocate_empty(X, weights, work)
        moved = device.cluster_means(C, work.sums, work.counts, means)
        stop = report is not None and report(i + 1, inertia, means)
        if moved == 0:
            # Equal labels give equal sums to the last bit, so this is where scikit-learn finds them equal.
            if bounded:
                inertia = work.sweep(X, w, C, summing=True)
            return Fit(means, work.labels, inertia, i + 1, losses, 0.0, True)
        # The initial centres are the caller's: from here on two arrays take turns.
        before, C, means, spare = C, means, spare, means
        if moved <= tol or stop:
            break
    inertia = work.sweep(X, w, C, summing=False)
    return Fit(C, work.labels, inertia, len(losses), losses, moved, moved <= tol)


def _relocate_empty(X: Rows, weights: np.ndarray | None, work: Workspace) -> None:
    """Give every empty cluster the farthest row of those whose own cluster would not become empty."""
    distances = work.distances if weights is None else np.where(weights > 0, work.distances, 0)
    empty = np.flatnonzero(work.counts == 0)
    # Stable, so that of equals the lowest index goes first.
    for row in np.argsort(-distances, kind="stable"):
        if not empty.size or not distances[row] > 0:
            return
        w = 1.0 if weights is None else float(weights[row])
        old, new = work.labels[row], empty[0]
        if work.counts[old] <= w:
            continue
        x = (X.row(row) if isinstance(X, Csr) else X[row]).astype(np.float64)
        work.sums[old] -= w * x
        work.counts[old] -= w
        work.sums[new] = w * x
        work.counts[new] = w
        empty = empty[1:]
