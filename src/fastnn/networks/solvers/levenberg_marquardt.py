"""Steps of least squares with damping (Levenberg, 1944; Marquardt, 1963; Moré, 1978)."""

from dataclasses import dataclass, field

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs
from sklearn.exceptions import ConvergenceWarning

from fastnn.kernels.shared.threads import one_blas_thread
from fastnn.networks.least_squares import LeastSquares
from fastnn.networks.rows import HostRows
from fastnn.networks.solvers.interface import Problem, Settings, Solution, what_is_not_finite

# Memory of the matrix of a step, of which there are two: some 11,500 parameters, whose factorisation takes
# ten seconds on one core.
MAX_BYTES = 1 << 30
# The damping goes up and down by tens, as in Marquardt (1963). The first is cautious: too large costs a few
# short steps, too small may lead to saturated units in one.
FIRST_DAMPING, FACTOR, MAX_DAMPING = 0.1, 10.0, 1e10
# Below it roundings of the curvature are larger than what is added.
MIN_DAMPING = 1e-20
# Of a parameter on which no output depends yet, such as those of a dead unit: the step is 0 and not 0 / 0.
MIN_SCALE = 1e-8


@dataclass(frozen=True)
class LevenbergMarquardtSettings(Settings):
    """Settings of Levenberg-Marquardt. It ends by `tol` when no element of the gradient is larger."""


@dataclass
class _State:
    """Where the search is.

    Parameters
    ----------
    loss : float
        The objective at the present parameters.
    damping : float
        With which the next trial is made.
    scale : ndarray of shape (n_parameters,)
        What the damping is multiplied by.
    """

    loss: float
    damping: float = FIRST_DAMPING
    scale: np.ndarray = field(default_factory=lambda: np.zeros(0))


def train_levenberg_marquardt(problem: Problem, settings: LevenbergMarquardtSettings) -> Solution:
    """Minimise the full-batch squared error; nothing is drawn at random, and a run is a whole fit.

    Parameters
    ----------
    problem : Problem
        Without rows that are held out.
    settings : LevenbergMarquardtSettings

    Returns
    -------
    solution : Solution

    Raises
    ------
    ValueError
        The network has another loss, lies on a GPU, or has so many parameters that a step takes more memory
        than ``MAX_BYTES`` for a matrix.
    """
    _refuse(problem)
    network, progress = problem.network, problem.progress
    interrupted = by_number = False
    # SciPy's factorisation on more threads might give other bits. What overflows is looked for.
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        squares = LeastSquares(network, problem.data, settings.alpha)
        state = _State(squares.loss())
        broken = None if np.isfinite(state.loss) else "losses"
        try:
            while broken is None:
                curvature, gradient = squares.normal_equations()
                broken = what_is_not_finite(gradient, None)
                if broken or np.abs(gradient).max() <= settings.tol:
                    break
                if progress.n_iter == settings.max_iter:
                    by_number = True
                    break
                if not _step(squares, state, curvature, gradient):
                    break
                network.parameters[:] = squares.parameters
                progress.record_epoch(state.loss, problem.data.Y.shape[0])
                progress.judge_loss(state.loss, 0.0)
                problem.tell(f"Iteration {progress.n_iter}, loss = {state.loss:.8f}")
        except KeyboardInterrupt:
            interrupted = True
    return Solution(
        progress.n_iter,
        state.loss,
        broken,
        UserWarning("Training interrupted by user.") if interrupted else None,
        has_converged=not by_number,
        unfinished=_unfinished(settings.max_iter) if by_number else None,
        progress=progress,
    )


def _step(squares: LeastSquares, state: _State, curvature: np.ndarray, gradient: np.ndarray) -> bool:
    """Go to where the objective is lower, and return whether there is such a place."""
    diagonal = np.diag_indices_from(curvature)
    scale = np.sqrt(curvature[diagonal])
    # Moré (1978, section 6): a scale never shrinks, so that a unit about to saturate is not set free.
    state.scale = np.maximum(scale, state.scale if state.scale.size else MIN_SCALE)
    before = squares.parameters.copy()
    while state.damping <= MAX_DAMPING:
        damped = curvature.copy(order="F")
        damped[diagonal] += state.damping * state.scale
        factor, failed = dpotrf(damped, lower=1, clean=0, overwrite_a=1)
        if not failed:
            squares.parameters -= dpotrs(factor, gradient, lower=1)[0]
            loss = squares.loss()
            if loss < state.loss:  # not so where it is NaN
                state.loss, state.damping = loss, max(state.damping / FACTOR, MIN_DAMPING)
                return True
            squares.parameters[:] = before
        state.damping *= FACTOR
    return False


def _refuse(problem: Problem) -> None:
    network = problem.network
    if network.loss.name != "squared_error":
        raise ValueError(f"solver='lm' needs loss='squared_error', got loss={network.loss.name!r}.")
    if not isinstance(problem.data.X, HostRows):
        raise ValueError("solver='lm' needs the processor, and was given data on a GPU: set device='cpu'.")
    n_parameters = network.parameters.size
    if 8 * n_parameters**2 > MAX_BYTES:
        raise ValueError(
            f"solver='lm' factorises a matrix of parameters squared: {n_parameters} parameters take "
            f"{8 * n_parameters**2 / 2**30:.2f} GiB, and {MAX_BYTES / 2**30:.2f} GiB are allowed. Take fewer "
            "units, or solver='lbfgs'."
        )


def _unfinished(max_iter: int) -> Warning:
    return ConvergenceWarning(
        f"Levenberg-Marquardt: Maximum iterations ({max_iter}) reached and the optimization hasn't converged "
        "yet."
    )
