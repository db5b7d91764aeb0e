"""How a training went: losses, scores and learning rates, epoch by epoch."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from sklearn.base import is_clusterer

from fastnn.displays.subjects import axes_to_draw_on, count_in_whole_numbers, fitted_subject


class LossCurveDisplay:
    """Losses of a training, with validation, learning rate and best epoch where they were recorded.

    Use ``from_estimator`` to make one; all parameters are stored as attributes. Losses share the left axis,
    validation scores have one at the right, learning rates another one. A curve of validation that has fewer
    values than there are epochs, as after a warm start, belongs to the last ones.

    Parameters
    ----------
    loss_curve : array-like of shape (n_epochs,)
        Training loss of each epoch.
    validation_loss_curve : array-like of shape (n_validated,), default=None
        Loss of the validation data after each epoch.
    validation_scores : array-like of shape (n_validated,), default=None
        Score of the validation data after each epoch.
    learning_rate_curve : array-like of shape (n_epochs,), default=None
        Learning rate of each epoch.
    best_epoch : int, default=None
        Index of the best epoch among those that were validated, from 0.
    estimator_name : str, default=None
        Name that stands before those of the lines.
    unit : str, default="epoch"
        What the values of a curve belong to.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the losses.
    figure_ : matplotlib.figure.Figure
        Figure that holds all axes.
    line_ : matplotlib.lines.Line2D
        Training losses.
    validation_line_ : matplotlib.lines.Line2D or None
        Validation losses.
    score_ax_ : matplotlib.axes.Axes or None
        Axes of the validation scores.
    score_line_ : matplotlib.lines.Line2D or None
        Validation scores.
    learning_rate_ax_ : matplotlib.axes.Axes or None
        Axes of the learning rates.
    learning_rate_line_ : matplotlib.lines.Line2D or None
        Learning rates.
    best_epoch_line_ : matplotlib.lines.Line2D or None
        Upright line at the best epoch.

    See Also
    --------
    sklearn.model_selection.LearningCurveDisplay : Scores of an estimator by the number of training samples.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from fastnn import LossCurveDisplay, MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((20,), max_iter=300, early_stopping=True, random_state=0).fit(X, y)
    >>> display = LossCurveDisplay.from_estimator(model)
    >>> plt.show()
    """

    def __init__(
        self,
        loss_curve: Any,
        *,
        validation_loss_curve: Any = None,
        validation_scores: Any = None,
        learning_rate_curve: Any = None,
        best_epoch: int | None = None,
        estimator_name: str | None = None,
        unit: str = "epoch",
    ) -> None:
        self.loss_curve = loss_curve
        self.validation_loss_curve = validation_loss_curve
        self.validation_scores = validation_scores
        self.learning_rate_curve = learning_rate_curve
        self.best_epoch = best_epoch
        self.estimator_name = estimator_name
        self.unit = unit

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        ax: Any = None,
        name: str | None = None,
        log_scale: bool = False,
        **kwargs: Any,
    ) -> Self:
        """Draw what a fitted estimator has recorded of its training.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A network, of this package or of scikit-learn, or a :class:`GradKMeans`; of a pipeline the last
            step.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a figure.
        name : str, default=None
            Name that stands before those of the lines, to tell several estimators apart.
        log_scale : bool, default=False
            Whether the axis of the losses is logarithmic.
        **kwargs : dict
            Further options of ``matplotlib.axes.Axes.plot`` for the training losses. Their colour is that of
            the validation too.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        NotFittedError
            The estimator is not fitted.
        ValueError
            It has recorded no losses.
        """
        model, _ = fitted_subject(estimator, f"{cls.__name__}.from_estimator")
        losses = getattr(model, "loss_curve_", None)
        if losses is None or not len(losses):
            raise ValueError(
                f"This {type(model).__name__} has no losses in loss_curve_. A fit of a network records them, "
                "but with solver='lbfgs'."
            )
        display = cls(
            losses,
            validation_loss_curve=getattr(model, "validation_loss_curve_", None),
            validation_scores=getattr(model, "validation_scores_", None),
            learning_rate_curve=_where_it_changes(getattr(model, "learning_rate_curve_", None)),
            best_epoch=getattr(model, "best_epoch_", None),
            estimator_name=name,
            unit=_unit_of(model),
        )
        return display.plot(ax, log_scale=log_scale, **kwargs)

    def plot(
        self, ax: Any = None, *, name: str | None = None, log_scale: bool = False, **kwargs: Any
    ) -> Self:
        """Draw the curves.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a figure.
        name : str, default=None
            Name that stands before those of the lines. None stands for ``estimator_name``.
        log_scale : bool, default=False
            Whether the axis of the losses is logarithmic.
        **kwargs : dict
            Further options of ``matplotlib.axes.Axes.plot`` for the training losses. Their colour is that of
            the validation too.

        Returns
        -------
        display : LossCurveDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        """
        name = self.estimator_name if name is None else name
        prefix = "" if name is None else f"{name}: "
        self.ax_ = ax = axes_to_draw_on(ax, f"{type(self).__name__}.plot")
        self.figure_ = ax.figure
        n_epochs = len(self.loss_curve)
        (self.line_,) = ax.plot(
            np.arange(n_epochs), self.loss_curve, **{"label": f"{prefix}training loss", **kwargs}
        )
        color = self.line_.get_color()
        of_validation = {"color": color, "linestyle": "--", "label": f"{prefix}validation loss"}
        self.validation_line_ = _line_at_the_end(ax, self.validation_loss_curve, n_epochs, **of_validation)
        ax.set(xlabel=self.unit, ylabel="loss")
        count_in_whole_numbers(ax.xaxis)
        if log_scale:
            ax.set_yscale("log")
        self.score_ax_, self.score_line_ = self._beside(
            self.validation_scores, color=color, linestyle=":", label=f"{prefix}validation score"
        )
        self.learning_rate_ax_, self.learning_rate_line_ = self._beside(
            self.learning_rate_curve, color="0.6", linewidth=1, label=f"{prefix}learning rate"
        )
        if self.score_ax_ is not None and self.learning_rate_ax_ is not None:
            self.learning_rate_ax_.spines["right"].set_position(("outward", 55))
        self.best_epoch_line_ = None
        if self.best_epoch is not None:
            label = f"{prefix}best {self.unit}"
            self.best_epoch_line_ = ax.axvline(
                self._best_at(n_epochs), color=color, linewidth=1, linestyle="-.", label=label
            )
        self._legend()
        return self

    def _beside(self, curve: Any, **options: Any) -> tuple[Any, Any]:
        """An axis of its own at the right, and a curve there; None and None where there is no curve."""
        if curve is None or not len(curve):
            return None, None
        ax = self.ax_.twinx()
        ax.set_ylabel(options["label"].rpartition(": ")[2])
        return ax, _line_at_the_end(ax, curve, len(self.loss_curve), **options)

    def _best_at(self, n_epochs: int) -> int:
        """The best epoch among all: it counts from the first one that was validated."""
        for curve in (self.validation_scores, self.validation_loss_curve):
            if curve is not None and len(curve):
                return n_epochs - len(curve) + int(self.best_epoch or 0)
        return int(self.best_epoch or 0)

    def _legend(self) -> None:
        """One legend for the lines of all axes, those that were there before included."""
        ax, place = self.ax_, self.ax_.get_position().bounds
        beside = ax.get_shared_x_axes().get_siblings(ax)
        axes = [ax, *(other for other in beside if other is not ax and other.get_position().bounds == place)]
        for each in axes:
            if (legend := each.get_legend()) is not None:
                legend.remove()
        handles = [handle for each in axes for handle in each.get_legend_handles_labels()[0]]
        # In the last axes, which lie above the lines of the others.
        (self.learning_rate_ax_ or self.score_ax_ or ax).legend(handles=handles)


def _where_it_changes(rates: Any) -> Any:
    """Learning rates that are worth an axis: those of a solver that has them, where they differ."""
    if rates is None or np.isnan(rates).all() or np.ptp(rates) == 0:
        return None
    return rates


def _line_at_the_end(ax: Any, curve: Sequence[float] | None, n_epochs: int, **options: Any) -> Any:
    """A curve whose last value belongs to the last epoch; None where there is no curve."""
    if curve is None or not len(curve):
        return None
    return ax.plot(np.arange(n_epochs - len(curve), n_epochs), curve, **options)[0]


def _unit_of(model: Any) -> str:
    """What an estimator records a loss of."""
    if is_clusterer(model):
        return "step"
    return "iteration" if getattr(model, "solver", None) == "lm" else "epoch"
