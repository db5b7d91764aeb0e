"""How many units of each hidden layer hardly learn any more."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np

from fastnn.displays.subjects import axes_to_draw_on, fitted_subject
from fastnn.estimators.mlp.base import BaseMLP
from fastnn.networks.saturation import LIMIT, RULES, share_of_units


class SaturationDisplay:
    """Share of each hidden layer's units that are saturated or dead, as bars.

    Use ``from_estimator`` to make one; all parameters are stored as attributes.

    Parameters
    ----------
    shares : array-like of shape (n_hidden_layers,)
        Share of the units of each hidden layer; NaN for a layer of which none is known.
    activations : sequence of str, default=None
        Activation of each hidden layer.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the bars.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.
    bars_ : matplotlib.container.BarContainer
        A bar for each hidden layer.
    limit_line_ : matplotlib.lines.Line2D
        Share above which a fit warns.

    See Also
    --------
    WeightsDisplay : Weights of a layer as images or as a heat map.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from fastnn import MLPClassifier, SaturationDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((20, 10), "tanh", max_iter=1000, random_state=0).fit(X, y)
    >>> display = SaturationDisplay.from_estimator(model)
    >>> plt.show()
    """

    def __init__(self, shares: Any, *, activations: Sequence[str] | None = None) -> None:
        self.shares = shares
        self.activations = activations

    @classmethod
    def from_estimator(cls, estimator: Any, X: Any = None, *, ax: Any = None, **kwargs: Any) -> Self:
        """Draw how many units of a fitted network are stuck.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A network of this package; of a pipeline the last step.
        X : {array-like, sparse matrix} of shape (n_samples, n_features), default=None
            Data for all rows of which a unit has to be stuck. None stands for what the last ``fit`` found in
            its training data, ``saturation_``.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Further options of ``matplotlib.axes.Axes.bar``.

        Returns
        -------
        display : SaturationDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        NotFittedError
            The estimator is not fitted.
        ValueError
            It is no network of this package, or one without hidden layers or, where there is no `X`, without
            ``saturation_``.
        """
        model, X = fitted_subject(estimator, f"{cls.__name__}.from_estimator", X)
        if not isinstance(model, BaseMLP):
            raise ValueError(
                f"{cls.__name__} shows hidden units of fastnn's networks, and {type(model).__name__} is none."
            )
        if model.n_layers_ == 2:
            raise ValueError(f"This {type(model).__name__} has no hidden layers.")
        if X is None and not hasattr(model, "saturation_"):
            raise ValueError(
                f"This {type(model).__name__} has no saturation_, which fit sets and partial_fit does not: "
                "give the rows X to look at."
            )
        activations = model._activation_names(model.n_layers_ - 2)
        shares = model.saturation_ if X is None else _shares(model, X, activations)
        return cls(shares, activations=activations).plot(ax, **kwargs)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the bars.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Further options of ``matplotlib.axes.Axes.bar``.

        Returns
        -------
        display : SaturationDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        """
        shares = np.asarray(self.shares, np.float64)
        names = [f"hidden {number}" for number in range(1, len(shares) + 1)]
        if self.activations is not None:
            names = [f"{name}\n{of_it}" for name, of_it in zip(names, self.activations, strict=True)]
        self.ax_ = ax = axes_to_draw_on(ax, f"{type(self).__name__}.plot")
        self.figure_ = ax.figure
        positions = np.arange(len(shares))
        self.bars_ = ax.bar(positions, shares, **kwargs)
        for at in np.flatnonzero(np.isnan(shares)):
            ax.text(at, 0.02, "not known", rotation=90, ha="center", va="bottom", color="0.4")
        self.limit_line_ = ax.axhline(
            LIMIT, color="0.4", linewidth=1, linestyle="--", label=f"fit warns above {LIMIT:.0%}"
        )
        ax.set_xticks(positions, labels=names)
        ax.set(ylim=(0, 1.05), ylabel="share of units that are saturated or dead")
        ax.set_xlim(-0.6, len(shares) - 0.4)
        ax.legend()
        return self


def _shares(model: BaseMLP, X: Any, activations: Sequence[str]) -> np.ndarray:
    """What ``saturation_`` is, by all rows of X."""
    shares = np.full(len(activations), np.nan)
    for layer, name in enumerate(activations):
        if name in RULES:
            shares[layer], _ = share_of_units([model._outputs(X, layer).T], RULES[name].ways)
    return shares
