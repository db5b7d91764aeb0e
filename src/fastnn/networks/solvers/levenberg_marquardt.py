"""Levenberg-Marquardt: steps of linear least squares, with a damping that keeps them short.

With the Jacobian J of the errors e, and the penalty's share in both, a step solves::

    (J'J + damping * S) step = -J'e

The scale S is the diagonal of J'J, and never shrinks (Moré 1978, section 6): then it does not matter what
units the inputs have, as it does with Levenberg's S = 1, and a unit that is about to saturate is not set
free, as it is with Marquardt's diagonal of the day.

References
----------
Levenberg (1944), "A method for the solution of certain non-linear problems in least squares", Quarterly of
Applied Mathematics 2.
Marquardt (1963), "An algorithm for least-squares estimation of nonlinear parameters", SIAM Journal 11.
Moré (1978), "The Levenberg-Marquardt algorithm: implementation and theory", Lecture Notes in Mathematics 630.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs
from sklearn.exceptions import ConvergenceWarning

from fastnn.kernels.shared.threads import one_blas_thread
from fastnn.networks.least_squares import LeastSquares, diagonal
from fastnn.networks.rows import HostRows
from fastnn.networks.solvers.interface import Epoch, Problem, Settings, Solution
from fastnn.tables.activations import SOFTMAX

# Memory of the two matrices of a step: of 8,192 parameters, whose factorisation takes seconds.
MAX_BYTES = 1 << 30
# The damping goes up and down by tens, as Marquardt's (1963).
FACTOR, MAX_DAMPING = 10.0, 1e10
# Too large a first damping costs a few short steps, too small a one may saturate units in one step. From 0.01
# to 1 the losses after 40 iterations are alike.
FIRST_DAMPING = 0.1
# Less changes nothing, and could not be raised again in a few trials.
MIN_DAMPING = 1e-20
# Of a parameter on which no output depends, such as a dead unit's: the matrix stays one that has a factor.
MIN_SCALE = 1e-8


@dataclass
class _State:
    """What a step leaves to the next, beside the parameters."""

    loss: float  # the objective
    scale: np.ndarray  # (n_parameters,), which the damping multiplies
    damping: float = FIRST_DAMPING  # of the next trial


def train_levenberg_marquardt(problem: Problem, settings: Settings) -> Solution:
    """Minimise the full-batch squared error; nothing is drawn at random, and a run is a whole fit.

    Parameters
    ----------
    problem : Problem
        Without rows that are held out.
    settings : Settings
        It ends by `tol` when no element of the gradient is larger.

    Returns
    -------
    solution : Solution

    Raises
    ------
    ValueError
        The network has another loss, lies on a GPU, or has so many parameters that a step takes more memory
        than ``MAX_BYTES``.
    """
    _refuse(problem)
    network, progress = problem.network, problem.progress
    broken: str | None = None
    interrupted = by_number = False
    # On more threads a factorisation might have other bits. What overflows is looked for.
    with one_blas_thread, np.errstate(over="ignore", invalid="ignore"):
        squares = LeastSquares(network, problem.data, settings.alpha)
        state = _State(squares.loss(), np.full(squares.parameters.size, MIN_SCALE))
        try:
            while True:
                curvature, gradient = squares.normal_equations()
                broken = _what_is_not_finite(state.loss, curvature, gradient)
                if broken or np.abs(gradient).max() <= settings.tol:
                    break
                by_number = progress.n_iter == settings.max_iter
                if by_number or not _step(squares, state, curvature, gradient):
                    break
                network.parameters[:] = squares.parameters
                progress.record_epoch(state.loss, problem.data.Y.shape[0])
                progress.compare_loss(state.loss, 0.0)
                if problem.watch and problem.watch(Epoch(progress.n_iter - 1, state.loss)):
                    break
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
    """Go to where the objective is lower; return whether such a place was found."""
    np.maximum(state.scale, diagonal(curvature), out=state.scale)
    parameters, before = squares.parameters, squares.parameters.copy()
    while state.damping <= MAX_DAMPING:
        damped = curvature.copy(order="F")
        diagonal(damped)[:] += state.damping * state.scale
        factor, failed = dpotrf(damped, lower=1, clean=0, overwrite_a=1)
        if not failed:
            np.subtract(before, dpotrs(factor, gradient, lower=1)[0], out=parameters)
            loss = squares.loss()
            if loss < state.loss:  # not so where it is NaN
                state.loss, state.damping = loss, max(MIN_DAMPING, state.damping / FACTOR)
                return True
        state.damping *= FACTOR
    return False


def _refuse(problem: Problem) -> None:
    """Raise what ``train_levenberg_marquardt`` has to say of problems that are not for it."""
    loss, n_parameters = problem.network.loss.loss.name, problem.network.parameters.size
    if loss != "squared_error":
        raise ValueError(f"solver='lm' needs loss='squared_error', got loss={loss!r}.")
    if SOFTMAX in problem.network.hidden_activations:
        raise ValueError(f"solver='lm' takes no hidden layer with activation={SOFTMAX!r}.")
    if not isinstance(problem.data.X, HostRows):
        raise ValueError("solver='lm' computes on the processor, and got data on a GPU: set device='cpu'.")
    needed = 2 * 8 * n_parameters**2
    if needed > MAX_BYTES:
        raise ValueError(
            f"solver='lm' needs two matrices of parameters squared: {n_parameters} parameters would take "
            f"{needed / 2**30:.1f} GiB, more than {MAX_BYTES / 2**30:.1f} GiB. Take fewer units, or "
            "solver='lbfgs'."
        )


def _what_is_not_finite(loss: float, curvature: np.ndarray, gradient: np.ndarray) -> str | None:
    if not np.isfinite(loss):
        return "losses"
    return None if np.isfinite(gradient).all() and np.isfinite(diagonal(curvature)).all() else "gradients"


def _unfinished(max_iter: int) -> Warning:
    return ConvergenceWarning(
        f"Levenberg-Marquardt: Maximum iterations ({max_iter}) reached and the optimization hasn't converged "
        "yet."
    )
