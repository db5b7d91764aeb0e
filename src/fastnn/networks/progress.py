"""The course of a training: losses, scores, and the count behind the stopping rule."""

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np


class Validation(NamedTuple):
    """How good a network is for rows that it is not trained on."""

    score: float  # the higher, the better; NaN where outputs are not finite
    loss: float  # that of training, without the penalty


@dataclass
class Progress:
    """Losses and scores so far, of this run and of those that it goes on from.

    Parameters
    ----------
    best_loss : float or None
        Least loss of an epoch; None where validation scores decide what is progress.
    best_validation_score : float or None
        None where nothing is validated.
    no_improvement_count : int
        Epochs in a row that were not better by ``tol``.
    t : int
        Training samples seen, repetitions counted.
    loss_curve : list of float
        Loss of each epoch.
    validation_scores : list of float or None
        Score after each epoch; None where nothing is validated.
    learning_rate_curve : list of float
        Learning rate of each epoch's first update; NaN where there is none.
    validation_losses : list of float or None
        Loss of the validation rows after each epoch; None where nothing is validated.
    """

    best_loss: float | None
    best_validation_score: float | None
    no_improvement_count: int = 0
    t: int = 0
    loss_curve: list[float] = field(default_factory=list)
    validation_scores: list[float] | None = None
    learning_rate_curve: list[float] = field(default_factory=list)
    validation_losses: list[float] | None = None

    def __post_init__(self) -> None:
        self._before = len(self.loss_curve)

    @classmethod
    def begin(cls, scored: bool, validated: bool | None = None) -> "Progress":
        """None so far.

        scored : whether validation scores decide; validated : whether there are any, None for the same
        """
        progress = cls(None if scored else np.inf, None)
        if scored if validated is None else validated:
            progress.best_validation_score = -np.inf
            progress.validation_scores, progress.validation_losses = [], []
        return progress

    @property
    def losses(self) -> list[float]:
        """Losses of the epochs of this run."""
        return self.loss_curve[self._before :]

    @property
    def n_iter(self) -> int:
        """Epochs of this run."""
        return len(self.loss_curve) - self._before

    @property
    def has_best(self) -> bool:
        """Whether a validation score has singled out an epoch."""
        return self.best_validation_score is not None and self.best_validation_score != -np.inf

    @property
    def best_epoch(self) -> int | None:
        """Place of the best of the validation scores, the first of equal ones; None where none is finite."""
        best, place = -np.inf, None
        for number, score in enumerate(self.validation_scores or ()):
            if score > best:
                best, place = score, number
        return place

    def record_epoch(self, loss: float, n: int, rate: float = np.nan) -> None:
        """An epoch of `n` rows has ended, whose first update had this learning rate."""
        self.t += n
        self.loss_curve.append(loss)
        self.learning_rate_curve.append(rate)

    def record_validation(self, validation: Validation) -> None:
        """What was found after an epoch."""
        assert self.validation_scores is not None
        assert self.validation_losses is not None
        self.validation_scores.append(validation.score)
        self.validation_losses.append(validation.loss)
        if self.best_loss is not None:
            self._take_the_best(validation.score)

    def compare_loss(self, loss: float, tol: float) -> None:
        """Compare an epoch's training loss with the least before it."""
        assert self.best_loss is not None
        self.no_improvement_count = self.no_improvement_count + 1 if loss > self.best_loss - tol else 0
        self.best_loss = min(self.best_loss, loss)

    def compare_score(self, score: float, tol: float) -> bool:
        """Compare an epoch's validation score with the best before it; return whether it is better."""
        assert self.best_validation_score is not None
        # A score of NaN (non-finite predictions) compares False: it counts as neither worse nor better.
        worse = score < self.best_validation_score + tol
        self.no_improvement_count = self.no_improvement_count + 1 if worse else 0
        return self._take_the_best(score)

    def _take_the_best(self, score: float) -> bool:
        assert self.best_validation_score is not None
        better = score > self.best_validation_score
        if better:
            self.best_validation_score = score
        return better

    def has_stalled(self, n_iter_no_change: float) -> bool:
        """Whether more epochs in a row than these were no better."""
        return self.no_improvement_count > n_iter_no_change

    def go_on(self) -> None:
        """Begin to count anew, as with another learning rate."""
        self.no_improvement_count = 0

    def forget(self, n_epochs: int, n: int) -> None:
        """Take back the last epochs, of `n` rows each."""
        self.t -= n_epochs * n
        for curve in (
            self.loss_curve,
            self.learning_rate_curve,
            self.validation_scores,
            self.validation_losses,
        ):
            if curve is not None:
                del curve[len(curve) - n_epochs :]
        if self.validation_scores is not None:
            best = self.best_epoch
            self.best_validation_score = -np.inf if best is None else self.validation_scores[best]
