"""Lloyd's iterations.

References
----------
Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982.
Dhillon and Modha, "Concept decompositions for large sparse text data using clustering", Machine Learning 42,
2001: spherical k-means.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastnn.clustering.iterations import iterations_over
from fastnn.clustering.passes import Rows, total_weight
from fastnn.clustering.sphere import with_direction
from fastnn.kernels.contract.clustering import LloydIterations
from fastnn.kernels.shared.arrays import Csr


class LloydResult(NamedTuple):
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
    on_sphere: bool = False,
) -> LloydResult:
    """Lloyd's iterations, as scikit-learn's KMeans does them.

    An empty cluster takes the row farthest from its own centre, out of the cluster that had it.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, Csr or DeviceRows
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
        Leave out of an iteration the rows whose centre cannot have changed (``Bounds``), or for long rows
        most of the features (``Leading``), where that may pay. The labels and centres are the same but for
        rounding; the inertia before an iteration is not always computed, and NaN then.
    on_sphere : bool, default=False
        Spherical k-means: rows and initial centres have unit length, and the centres keep it.

    Returns
    -------
    LloydResult
    """
    total = total_weight(X.shape[0], weights)
    # By which a row may fill an empty cluster.
    fillers = with_direction(X, weights) if on_sphere else weights
    iterations = iterations_over(X, weights, C, on_sphere, max_iter=max_iter, accelerate=accelerate)
    losses: list[float] = []
    moved = np.inf
    for i in range(max_iter):
        inertia, moved, has_empty = iterations.iterate()
        losses.append(inertia / total)
        if has_empty:
            _relocate_empty(X, fillers, iterations)
            moved = iterations.move_again()
        stop = report is not None and report(i + 1, inertia, iterations.centers)
        inertia, moved = iterations.confirm(inertia, moved)
        if moved == 0:
            # Equal labels give equal sums to the last bit, so this is where scikit-learn finds them equal.
            return LloydResult(iterations.centers, iterations.labels, inertia, i + 1, losses, 0.0, True)
        if moved <= tol or stop:
            break
    inertia = iterations.assign()
    converged = moved <= tol
    return LloydResult(iterations.centers, iterations.labels, inertia, len(losses), losses, moved, converged)


def _relocate_empty(X: Rows, weights: np.ndarray | None, iterations: LloydIterations) -> None:
    """Give every empty cluster the farthest row of those whose own cluster would not become empty."""
    labels, distances = iterations.labels, iterations.distances
    sums, counts = iterations.sums, iterations.counts
    if weights is not None:
        distances = np.where(weights > 0, distances, 0)
    empty = np.flatnonzero(counts == 0)
    # Stable, so that of equals the lowest index goes first.
    for row in np.argsort(-distances, kind="stable"):
        if not empty.size or not distances[row] > 0:
            return
        w = 1.0 if weights is None else float(weights[row])
        old, new = labels[row], empty[0]
        if counts[old] <= w:
            continue
        x = (X.row(row) if isinstance(X, Csr) else X[row]).astype(np.float64)
        sums[old] -= w * x
        counts[old] -= w
        sums[new] = w * x
        counts[new] = w
        empty = empty[1:]
