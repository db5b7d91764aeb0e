"""What a solver that goes by epochs does after each: progress, and the parameters to go back to."""

import numpy as np

from fastnn.networks.solvers.interface import Problem


class EpochMonitor:
    """Says how good each epoch was, and keeps the parameters to go back to.

    Where a validation set judges these are the best so far; else those before any loss was infinite.
    """

    def __init__(self, problem: Problem, tol: float, n_iter_no_change: float) -> None:
        self._problem, self._tol, self._n_iter_no_change = problem, tol, n_iter_no_change
        self._kept = problem.network.parameters.copy()
        self._bounded = True

    def epoch(self, loss: float) -> None:
        """Judge the epoch that has ended, with this loss."""
        problem, tol, score = self._problem, self._tol, None
        if problem.score is None:
            problem.progress.judge_loss(loss, tol)
            self._bounded = keep = self._bounded and not np.isinf(loss)
        else:
            score = problem.score()
            keep = problem.progress.judge_score(score, tol)
        if keep:
            self._kept[:] = problem.network.parameters
        # Told last: Ctrl-C may come meanwhile, and the best score is that of the parameters kept.
        if score is not None:
            problem.tell(f"Validation score: {score:f}")

    def tell_of_stall(self, note: str) -> None:
        """Tell that there is no progress, and what comes of it."""
        what = "Training loss" if self._problem.score is None else "Validation score"
        self._problem.tell(
            f"{what} did not improve more than tol={self._tol:f} for "
            f"{self._n_iter_no_change} consecutive epochs. {note}"
        )

    def restore(self) -> None:
        """Go back to the parameters that were kept."""
        self._problem.network.parameters[:] = self._kept
