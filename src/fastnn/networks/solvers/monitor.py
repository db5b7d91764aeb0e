"""What a solver that goes by epochs does after each: progress, and the parameters to go back to."""

import numpy as np

from fastnn.networks.solvers.interface import Epoch, Problem, Validation


class EpochMonitor:
    """Says how good each epoch was, and keeps the parameters to go back to.

    Where validation scores decide these are the best so far; else those before any loss was infinite.

    Parameters
    ----------
    problem : Problem
    tol : float
        An epoch has to be better by so much than the best before it.
    n_iter_no_change : float
        So many epochs in a row may be no better.
    """

    def __init__(self, problem: Problem, tol: float, n_iter_no_change: float) -> None:
        self._problem, self._tol, self._n_iter_no_change = problem, tol, n_iter_no_change
        self._kept = problem.network.parameters.copy()
        self._bounded = True

    def epoch(self, loss: float, learning_rate: float) -> bool:
        """An epoch has ended, with this loss, which began with this rate; whether someone wants no more.

        Validation of the parameters changes nothing of the training where it does not decide.
        """
        problem, progress = self._problem, self._problem.progress
        validation = self._validated()
        if problem.early_stopping:
            assert validation is not None
            keep = progress.compare_score(validation.score, self._tol)
        else:
            progress.compare_loss(loss, self._tol)
            self._bounded = keep = self._bounded and not np.isinf(loss)
        if keep:
            self._kept[:] = problem.network.parameters
        # Told last: Ctrl-C may come meanwhile, and the best score is that of the parameters kept.
        if problem.watch is None:
            return False
        return problem.watch(Epoch(progress.n_iter - 1, loss, learning_rate, validation))

    def tell_of_stall(self, note: str) -> None:
        """Tell that there is no progress, and what comes of it."""
        what = "Validation score" if self._problem.early_stopping else "Training loss"
        self._problem.tell(
            f"{what} did not improve more than tol={self._tol:f} for "
            f"{self._n_iter_no_change} consecutive epochs. {note}"
        )

    @property
    def state(self) -> tuple[np.ndarray, bool]:
        """The parameters that are kept, and whether no loss has been infinite: what epochs change in it."""
        return self._kept, self._bounded

    @state.setter
    def state(self, state: tuple[np.ndarray, bool]) -> None:
        self._kept[:], self._bounded = state

    def restore(self) -> None:
        """Go back to the parameters that were kept."""
        self._problem.network.parameters[:] = self._kept

    def _validated(self) -> Validation | None:
        """What validation says of the epoch that has ended, in the curves too."""
        problem = self._problem
        if problem.validate is None:
            return None
        try:
            validation = problem.validate()
        except KeyboardInterrupt:  # the epoch counts, and curves go together
            problem.progress.record_validation(Validation(np.nan, np.nan))
            raise
        problem.progress.record_validation(validation)
        return validation
