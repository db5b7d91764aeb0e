"""Lloyd's iterations.

References
----------
Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982.
Dhillon and Modha, "Concept decompositions for large sparse text data using clustering", Machine Learning 42,
2001: spherical k-means.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from fastnn.clustering.bounds import Bounds
from fastnn.clustering.leading import Leading
from fastnn.clustering.passes import Rows, Workspace, total_weight, weights_or_empty
from fastnn.clustering.sphere import with_direction
from fastnn.kernels import device
from fastnn.kernels.shared.arrays import Csr
from fastnn.kernels.shared.device_rows import DeviceRows


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
    on_sphere: bool = False,
) -> Fit:
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
    Fit
    """
    if isinstance(X, DeviceRows):
        there = X.iterations(weights, C, on_sphere)
        if there is not None:
            return _lloyd_there(
                there, X, weights, max_iter=max_iter, tol=tol, report=report, on_sphere=on_sphere
            )
    n, d = X.shape
    k = C.shape[0]
    w = weights_or_empty(weights, X)
    total = total_weight(n, weights)
    work = Workspace.of(X, k)
    # By which a row may fill an empty cluster.
    fillers = with_direction(X, weights) if on_sphere else weights
    leading = bounds = None
    if accelerate and isinstance(X, np.ndarray):
        leading = Leading.of(X, C)
        if leading is None and Bounds.may_pay(n, k, d):
            bounds = Bounds(X, k)
    losses: list[float] = []
    moved, before = np.inf, C
    means, spare = np.empty_like(C), np.empty_like(C)
    for i in range(max_iter):
        inertia = np.nan
        bounded, corrected = bounds is not None and bounds.active, bounds is not None and bounds.corrected
        if bounds and bounded:
            bounds.sweep(w, C, before, work)
        # Where a cluster is empty all distances are wanted.
        if not (bounded and work.counts.all()):
            bounded = False
            if leading:
                inertia = leading.sweep(w, C, work, summing=True)
            else:
                inertia = work.sweep(X, w, C, summing=True)
            if bounds:
                bounds.watch(work.labels, max_iter - i - 1)
        losses.append(inertia / total)
        if not work.counts.all():
            _relocate_empty(X, fillers, work)
            corrected = False
        moved = device.cluster_means(C, work.sums, work.counts, on_sphere, means)
        stop = report is not None and report(i + 1, inertia, means)
        if bounds and corrected and bounds.unchanged:
            moved = 0.0  # but for the rounding of the sums that C was made from
        if moved == 0 and bounds and (bounded or corrected):
            if bounds.corrected:
                _settle(bounds, w, C, work, on_sphere, means)
            labels = work.labels.copy()
            # With the sums, though nobody needs them: the inertia is added up in their chunks.
            inertia = work.sweep(X, w, means, summing=True)
            if (labels != work.labels).any():
                # Corrected sums are right but for rounding, and nothing else is left of them where a row has
                # gone beside which the others vanish.
                bounds.watch(work.labels, max_iter - i - 1)
                moved = np.inf
        if moved == 0:
            # Equal labels give equal sums to the last bit, so this is where scikit-learn finds them equal.
            return Fit(means, work.labels, inertia, i + 1, losses, 0.0, True)
        # The initial centres are the caller's: from here on two arrays take turns.
        before, C, means, spare = C, means, spare, means
        if moved <= tol or stop:
            break
    if bounds and bounds.corrected:
        _settle(bounds, w, before, work, on_sphere, C)
    if leading:
        inertia = leading.sweep(w, C, work, summing=False)
    else:
        inertia = work.sweep(X, w, C, summing=False)
    return Fit(C, work.labels, inertia, len(losses), losses, moved, moved <= tol)


def _lloyd_there(
    there: Any,
    X: DeviceRows,
    weights: np.ndarray | None,
    *,
    max_iter: int,
    tol: float,
    report: Callable[[int, float, np.ndarray], bool] | None,
    on_sphere: bool,
) -> Fit:
    """As ``lloyd``, by ``kernels.cuda.lloyd.Iterations``: the centres stay on the GPU."""
    total = total_weight(X.shape[0], weights)
    fillers = with_direction(X, weights) if on_sphere else weights
    losses: list[float] = []
    moved = np.inf
    for i in range(max_iter):
        inertia, moved, has_empty = there.iterate()
        losses.append(inertia / total)
        if has_empty:
            _relocate_empty(X, fillers, there)
            moved = there.move_again()
        stop = report is not None and report(i + 1, inertia, there.centers)
        if moved == 0:
            # The labels are those of the same centres.
            return Fit(there.centers, there.labels, inertia, i + 1, losses, 0.0, True)
        if moved <= tol or stop:
            break
    inertia = there.assign()
    return Fit(there.centers, there.labels, inertia, len(losses), losses, moved, moved <= tol)


def _settle(
    bounds: Bounds, weights: np.ndarray, C: np.ndarray, work: Workspace, on_sphere: bool, means: np.ndarray
) -> None:
    """The means of the clusters, of sums that are added up from all rows."""
    bounds.add_up(weights, C, work)
    device.cluster_means(C, work.sums, work.counts, on_sphere, means)


def _relocate_empty(X: Rows, weights: np.ndarray | None, work: Any) -> None:
    """Give every empty cluster the farthest row of those whose own cluster would not become empty."""
    labels, distances = work.labels, work.distances
    if weights is not None:
        distances = np.where(weights > 0, distances, 0)
    empty = np.flatnonzero(work.counts == 0)
    # Stable, so that of equals the lowest index goes first.
    for row in np.argsort(-distances, kind="stable"):
        if not empty.size or not distances[row] > 0:
            return
        w = 1.0 if weights is None else float(weights[row])
        old, new = labels[row], empty[0]
        if work.counts[old] <= w:
            continue
        x = (X.row(row) if isinstance(X, Csr) else X[row]).astype(np.float64)
        work.sums[old] -= w * x
        work.counts[old] -= w
        work.sums[new] = w * x
        work.counts[new] = w
        empty = empty[1:]
