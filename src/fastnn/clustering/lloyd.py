"""Whole passes over the data: labels and inertia, the spread that `tol` is measured in, Lloyd's iterations.

References
----------
Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982.
"""

from collections.abc import Callable

import numpy as np

from fastnn.kernels import device
from fastnn.kernels._threads import threads_for, workers


class Workspace:
    """Buffers for sweeps over up to `n` rows of one problem."""

    def __init__(self, n: int, k: int, d: int, dtype: np.dtype) -> None:
        self.labels = np.empty(n, np.int32)
        self.distances = np.empty(n, dtype)
        self.sums, self.counts = np.empty((k, d)), np.empty(k)
        self.partials = device.new_partials(n, k, d)

    def sweep(
        self, X: np.ndarray, weights: np.ndarray, C: np.ndarray, *, summing: bool, assigning: bool = True
    ) -> float:
        """Assign all rows of X, and add them up if `summing`; the inertia."""
        n, d = X.shape
        with threads_for(device.sweep_work(n, C.shape[0], d)) as parallel:
            return device.sweep(
                parallel, workers(parallel), X, weights, C, self.labels, self.distances,
                self.sums, self.counts, *self.partials, assigning, summing,
            )  # fmt: skip


def labels_inertia(X: np.ndarray, weights: np.ndarray | None, C: np.ndarray) -> tuple[np.ndarray, float]:
    """Nearest centre of every row and the weighted sum of squared distances to them."""
    n, d = X.shape
    work = Workspace(n, 0, d, X.dtype)
    inertia = work.sweep(X, weights_or_empty(weights, X), C, summing=False)
    return work.labels, inertia


def mean_variance(X: np.ndarray) -> float:
    """Mean over the columns of their variance, the unit of `tol`."""
    n, d = X.shape
    work = Workspace(n, 1, d, X.dtype)
    none = weights_or_empty(None, X)
    work.labels[:] = 0
    work.sweep(X, none, np.empty((1, d), X.dtype), summing=True, assigning=False)
    mean = (work.sums / n).astype(X.dtype)
    return work.sweep(X, none, mean, summing=False) / (n * d)


def weights_or_empty(weights: np.ndarray | None, X: np.ndarray) -> np.ndarray:
    """Weights as kernels take them: an empty array stands for ones."""
    return np.empty(0, X.dtype) if weights is None else weights


def lloyd(
    X: np.ndarray,
    weights: np.ndarray | None,
    C: np.ndarray,
    *,
    max_iter: int,
    tol: float,
    report: Callable[[int, float], None],
) -> tuple[np.ndarray, np.ndarray, float, list[float], bool]:
    """Lloyd's iterations, as scikit-learn's KMeans does them.

    An empty cluster takes the row farthest from its own centre, out of the cluster that had it.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        C-contiguous.
    weights : ndarray of shape (n,) or None
        None stands for ones.
    C : ndarray of shape (k, d)
        Initial centres; not changed.
    max_iter : int
        Iterations at most.
    tol : float
        The squared movement of all centres at or below which to stop.
    report : callable
        Called with the number of each iteration and the mean squared distance before it.

    Returns
    -------
    centers, labels, inertia
        Consistent with each other.
    losses : list of float
        Mean squared distance before each iteration; its length is the number of iterations.
    converged : bool
        False when `max_iter` ended it.
    """
    n, d = X.shape
    k = C.shape[0]
    w = weights_or_empty(weights, X)
    total = float(n) if weights is None else float(weights.sum(dtype=np.float64))
    work = Workspace(n, k, d, X.dtype)
    losses: list[float] = []
    for i in range(max_iter):
        inertia = work.sweep(X, w, C, summing=True)
        losses.append(inertia / total)
        report(i + 1, losses[-1])
        if not work.counts.all():
            _relocate_empty(X, weights, work)
        filled = work.counts > 0
        means = C.copy()
        means[filled] = work.sums[filled] / work.counts[filled, None]
        moved = float(((means - C).astype(np.float64) ** 2).sum())
        if moved == 0:
            # Equal labels give equal sums to the last bit, so this is where scikit-learn finds them equal.
            return C, work.labels, inertia, losses, True
        C = means
        if moved <= tol:
            return C, work.labels, work.sweep(X, w, C, summing=False), losses, True
    return C, work.labels, work.sweep(X, w, C, summing=False), losses, False


def _relocate_empty(X: np.ndarray, weights: np.ndarray | None, work: Workspace) -> None:
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
        x = X[row].astype(np.float64)
        work.sums[old] -= w * x
        work.counts[old] -= w
        work.sums[new] = w * x
        work.counts[new] = w
        empty = empty[1:]
