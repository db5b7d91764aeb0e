"""The full-batch loss, minimised with SciPy's L-BFGS-B."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.exceptions import ConvergenceWarning

from fastnn.kernels.shared.threads import one_blas_thread
from fastnn.networks.solvers.interface import Epoch, Problem, Settings, Solution, what_is_not_finite


@dataclass(frozen=True)
class LbfgsSettings(Settings):
    """Settings of L-BFGS.

    Parameters
    ----------
    max_fun : int
        Losses and gradients at most. The search ends by `tol` when no element of the gradient is larger.
    """

    max_fun: int


def train_lbfgs(problem: Problem, settings: LbfgsSettings) -> Solution:
    """Minimise the full-batch loss; nothing is drawn at random, and a run is a whole fit.

    Parameters
    ----------
    problem : Problem
        Without rows that are held out.
    settings : LbfgsSettings

    Returns
    -------
    solution : Solution
    """
    network, data = problem.network, problem.data
    parameters = network.parameters
    bound = network.bind(data.X, data.Y, sample_weight=data.sample_weight, alpha=settings.alpha)
    # Where the search begins, of which SciPy takes a copy; then the last iterate that is finite.
    kept = parameters.copy()
    n_done = 0
    is_ended = False
    raised: StopIteration | None = None  # of who watches, which SciPy would take for its own

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        parameters[:] = x
        loss, gradient = bound.loss_and_gradient(copy=False)
        if not np.isfinite(loss):
            # A search ends here: no step from an infinite loss can be judged by it.
            gradient[:] = 0
        return loss, gradient  # SciPy takes a copy, in float64

    def after_iteration(intermediate_result: Any) -> None:
        nonlocal n_done, is_ended, raised
        n_done += 1
        if np.isfinite(intermediate_result.fun) and np.isfinite(intermediate_result.x).all():
            kept[:] = intermediate_result.x
        if problem.watch is None:
            return
        parameters[:] = intermediate_result.x  # the search may have looked elsewhere last
        try:
            is_ended = problem.watch(Epoch(n_done - 1, float(intermediate_result.fun)))
        except StopIteration as error:
            raised = error
            raise
        if is_ended:
            raise StopIteration

    # SciPy's vector operations gain nothing from BLAS threads. What overflows is looked for afterwards.
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        result = minimize(
            objective,
            kept,
            method="L-BFGS-B",
            jac=True,
            callback=after_iteration,
            options={"maxfun": settings.max_fun, "maxiter": settings.max_iter, "gtol": settings.tol},
        )
    if raised is not None:
        raise raised
    parameters[:] = result.x
    broken = what_is_not_finite(parameters, None if np.isfinite(result.fun) else "losses")
    if broken:
        parameters[:] = kept
    n_iter = min(result.nit, settings.max_iter)
    # Whoever ends a search knows that it has not reached its aim.
    remark = None if is_ended else _remark(result, n_iter, settings.max_iter)
    converged, at_hand = is_ended or result.status == 0, None if broken else bound
    return Solution(n_iter, float(result.fun), broken, remark, has_converged=converged, bound=at_hand)


def _remark(result: Any, n_iter: int, max_iter: int) -> Warning | None:
    """A warning, in the words of scikit-learn, if SciPy's search has not reached its aim."""
    if result.status == 0:
        return None
    said = (
        f"lbfgs failed to converge after {n_iter} iteration(s) (status={result.status}):\n{result.message}\n"
    )
    if n_iter == max_iter:
        said += f"\nIncrease the number of iterations to improve the convergence (max_iter={max_iter})."
    return ConvergenceWarning(
        f"{said}\nYou might also want to scale the data as shown in:\n"
        "    https://scikit-learn.org/stable/modules/preprocessing.html"
    )
