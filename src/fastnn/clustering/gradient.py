"""The engine of gradient k-means: compiled mini-batch epochs, exact Lloyd iterations, and when to stop.

One step on a batch, whose rows are assigned to their nearest centres with the assignment held constant::

    n_j, s_j    weight and weighted sum of centre j's rows          (kernels.contract.clustering.Sweeps)
    gradient    2 (n_j c_j - s_j), or that over the batch's weight, or c_j - s_j / n_j
    c_j         moved by the update rule; a centre without rows stays

``train`` runs epochs of such steps (or, for a whole Newton step on all rows, which is Lloyd's iteration,
Lloyd's iterations), then polishes.

References
----------
Bottou and Bengio, "Convergence properties of the k-means algorithms", NIPS 1994: the gradient, its online
version and Newton's step, which is Lloyd's.
Sculley, "Web-scale k-means clustering", WWW 2010: the mini-batch rule with a count per centre.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from fastnn.clustering.epochs import Epochs
from fastnn.clustering.lloyd import lloyd
from fastnn.clustering.passes import Rows, labels_inertia, total_weight
from fastnn.kernels.shared.center_arguments import CenterRule, Motion
from fastnn.kernels.shared.codes import DIVERGED, NEWTON

# Lloyd's iterations of the polish end by `tol`; this bounds them where rounding keeps them from ending.
_MAX_POLISH = 300


class GradientResult(NamedTuple):
    """What a run of ``train`` gives."""

    centers: np.ndarray
    labels: np.ndarray
    inertia: float
    n_iter: int
    losses: list[float]
    motion: Motion
    diverged: bool


def train(
    X: Rows,
    weights: np.ndarray | None,
    C: np.ndarray,
    rule: CenterRule,
    *,
    batch_size: int | None,
    max_iter: int,
    tol: float,
    variance: float,
    patience: int | None,
    polish: bool,
    random_state: np.random.RandomState,
    verbose: bool = False,
) -> GradientResult:
    """Fit centres to X.

    Epochs end when the centres' squared movement over one is at most `tol`, when the smoothed loss has not
    improved for `patience` batches, or after `max_iter` of them.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, Csr or DeviceRows
    weights : ndarray of shape (n,) or None
        None stands for ones.
    C : ndarray of shape (k, d)
        Initial centres; not changed.
    rule : CenterRule
        How centres move.
    batch_size : int or None
        None for all rows.
    max_iter : int
        Epochs at most.
    tol : float
        In units of `variance`.
    variance : float
        Of ``mean_variance``.
    patience : int or None
        None never stops for lack of improvement.
    polish : bool
        Finish with Lloyd's iterations.
    random_state : RandomState
        For the permutations.
    verbose : bool, default=False
        Print a line per epoch.

    Returns
    -------
    GradientResult
        After divergence, that of the last centres whose loss was within bounds.
    """
    n = X.shape[0]
    tol *= variance

    def report(what: str, unit: float = 1.0) -> Callable[..., bool] | None:
        def show(i: int, loss: float, centers: np.ndarray | None = None) -> bool:
            print(f"{what} {i}, mean squared distance {loss / unit:g}")
            return False

        return show if verbose else None

    total = total_weight(n, weights)
    if batch_size is not None and batch_size >= n:
        batch_size = None
    converged = False
    if batch_size is None and rule.code == NEWTON and rule.rate == 1.0:
        # Newton's step on all rows is Lloyd's iteration; an empty cluster need not wait for an epoch's end.
        safe = C
        fit = lloyd(
            X,
            weights,
            C,
            max_iter=max_iter,
            tol=tol,
            report=report("Epoch", total),
            accelerate=False,
            on_sphere=rule.on_sphere,
        )
        C, labels, inertia, losses, converged = (
            fit.centers,
            fit.labels,
            fit.inertia,
            fit.losses,
            fit.converged,
        )
        n_iter = fit.n_iter
        motion = Motion.zeros(*C.shape)
        diverged = False
    else:
        epochs = Epochs(X, weights, C.copy(), rule, batch_size, patience, variance * X.shape[1], random_state)
        losses, n_iter = epochs.until(max_iter, tol, report("Epoch"))
        C, safe, motion, diverged = epochs.C, epochs.safe, epochs.motion, epochs.status == DIVERGED
        del epochs  # its buffers, before those of Lloyd's iterations
        if diverged:
            motion = Motion.zeros(*C.shape)
        if not polish or diverged:
            labels, inertia = labels_inertia(X, weights, C)
    if polish and not converged and not diverged:
        fit = lloyd(
            X,
            weights,
            C,
            max_iter=_MAX_POLISH,
            tol=tol,
            report=report("Polish", total),
            accelerate=not verbose,
            on_sphere=rule.on_sphere,
        )
        C, labels, inertia = fit.centers, fit.labels, fit.inertia
    if not np.isfinite(inertia) and not diverged:
        diverged = True
        C = safe
        labels, inertia = labels_inertia(X, weights, C)
    return GradientResult(C, labels, inertia, n_iter, losses, motion, diverged)
