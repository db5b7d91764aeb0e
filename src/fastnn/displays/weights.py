"""What the units of a layer look for: their weights as images, or all of them as a heat map."""

from collections.abc import Sequence
from math import ceil, sqrt
from numbers import Integral
from typing import Any, Self

import numpy as np

from fastnn.displays.subjects import axes_to_draw_on, count_in_whole_numbers, fitted_subject
from fastnn.kernels import to_host

# Names of inputs that can be read one below the other.
_MOST_NAMES = 40


class WeightsDisplay:
    """Weights of a layer: an image for each unit, or a heat map of inputs and units.

    Use ``from_estimator`` to make one; all parameters are stored as attributes. Some of the units are shown
    by ``WeightsDisplay(model.coefs_[0][:, :16]).plot()``, and the centres of a k-means as images by
    ``WeightsDisplay(model.cluster_centers_.T, image_shape=(8, 8)).plot()``.

    Parameters
    ----------
    weights : array-like of shape (n_inputs, n_units)
        Weights of the layer.
    image_shape : (int, int), default=None
        Rows and columns of the image that the inputs are. None makes a heat map.
    input_names : array-like of shape (n_inputs,), default=None
        Names of the inputs, for a heat map.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes with the image.
    figure_ : matplotlib.figure.Figure
        Figure of the axes.
    image_ : matplotlib.image.AxesImage
        What is drawn: the weights, or the images of the units side by side, row by row in the order of the
        units, with a pixel of NaN between them.
    colorbar_ : matplotlib.colorbar.Colorbar or None
        Scale of the weights.

    See Also
    --------
    SaturationDisplay : Hidden units that hardly learn any more.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_digits
    >>> from fastnn import MLPClassifier, WeightsDisplay
    >>> X, y = load_digits(return_X_y=True)
    >>> model = MLPClassifier((16,), alpha=1, max_iter=500, random_state=0).fit(X / 16, y)
    >>> display = WeightsDisplay.from_estimator(model, image_shape=(8, 8))
    >>> plt.show()
    """

    def __init__(
        self, weights: Any, *, image_shape: Sequence[int] | None = None, input_names: Any = None
    ) -> None:
        self.weights = weights
        self.image_shape = image_shape
        self.input_names = input_names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        layer: int = 0,
        image_shape: Sequence[int] | None = None,
        n_columns: int | None = None,
        colorbar: bool = True,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the weights of a fitted network.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A network, of this package or of scikit-learn; of a pipeline the last step.
        layer : int, default=0
            Index in ``coefs_``: 0 for the first layer, whose inputs are the features, -1 for the last one.
        image_shape : (int, int), default=None
            Rows and columns of the image that the inputs of the layer are. None makes a heat map.
        n_columns : int, default=None
            Images that stand side by side. None stands for about as many as there are rows of them.
        colorbar : bool, default=True
            Whether to draw the scale.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Further options of ``matplotlib.axes.Axes.imshow``.

        Returns
        -------
        display : WeightsDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        NotFittedError
            The estimator is not fitted.
        ValueError
            It is no network, has no such layer, or its inputs are no images of this shape.
        """
        model, _ = fitted_subject(estimator, f"{cls.__name__}.from_estimator")
        if not hasattr(model, "coefs_"):
            raise ValueError(
                f"{cls.__name__} shows the weights of a network, and {type(model).__name__} is none."
            )
        n_layers = len(model.coefs_)
        is_number = isinstance(layer, Integral) and not isinstance(layer, bool)
        if not is_number or not -n_layers <= layer < n_layers:
            raise ValueError(f"layer must be an integer from {-n_layers} to {n_layers - 1}, got {layer!r}.")
        names = getattr(model, "feature_names_in_", None) if int(layer) % n_layers == 0 else None
        display = cls(to_host(model.coefs_[layer]), image_shape=image_shape, input_names=names)
        return display.plot(ax, n_columns=n_columns, colorbar=colorbar, **kwargs)

    def plot(
        self, ax: Any = None, *, n_columns: int | None = None, colorbar: bool = True, **kwargs: Any
    ) -> Self:
        """Draw the weights.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a figure.
        n_columns : int, default=None
            Images that stand side by side. None stands for about as many as there are rows of them.
        colorbar : bool, default=True
            Whether to draw the scale.
        **kwargs : dict
            Further options of ``matplotlib.axes.Axes.imshow``.

        Returns
        -------
        display : WeightsDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        ValueError
            The weights are no matrix, or the inputs no images of this shape.
        """
        weights = np.asarray(self.weights)
        weights = weights.astype(np.result_type(weights, np.float32), copy=False)
        if weights.ndim != 2 or not weights.size:
            raise ValueError(f"weights must have shape (n_inputs, n_units), got {weights.shape}.")
        if self.image_shape is None:
            if n_columns is not None:
                raise ValueError(f"n_columns={n_columns} has no use without image_shape.")
            shown = weights
        else:
            shown = _side_by_side(weights, self.image_shape, n_columns)
        self.ax_ = ax = axes_to_draw_on(ax, f"{type(self).__name__}.plot")
        self.figure_ = ax.figure
        # The same colour for 0 in all figures, with as much on both sides of it.
        largest = float(np.nanmax(np.abs(shown))) or 1.0
        scale = {} if "norm" in kwargs else {"vmin": -largest, "vmax": largest}
        aspect = "auto" if self.image_shape is None else "equal"
        self.image_ = ax.imshow(shown, **{"cmap": "RdBu_r", "aspect": aspect, **scale, **kwargs})
        if self.image_shape is None:
            self._name_axes(ax, len(weights))
        else:
            ax.set(xticks=[], yticks=[])
        self.colorbar_ = self.figure_.colorbar(self.image_, ax=ax, label="weight") if colorbar else None
        return self

    def _name_axes(self, ax: Any, n_inputs: int) -> None:
        ax.set(xlabel="unit", ylabel="input")
        count_in_whole_numbers(ax.xaxis)
        count_in_whole_numbers(ax.yaxis)
        if self.input_names is not None and n_inputs <= _MOST_NAMES:
            ax.set_yticks(np.arange(n_inputs), labels=list(self.input_names))


def _side_by_side(weights: np.ndarray, image_shape: Any, n_columns: int | None) -> np.ndarray:
    """The images of all units in one.

    Raises
    ------
    ValueError
        They have another number of pixels, or `n_columns` is no number of columns.
    """
    n_inputs, n_units = weights.shape
    shape = np.asarray(image_shape)
    is_shape = shape.shape == (2,) and shape.dtype.kind in "iu" and shape.min() > 0
    if not is_shape or int(shape[0]) * int(shape[1]) != n_inputs:
        raise ValueError(
            f"image_shape must be two integers whose product is {n_inputs}, the number of inputs of the "
            f"layer; got {image_shape!r}."
        )
    if n_columns is None:
        n_columns = ceil(sqrt(n_units))
    elif not isinstance(n_columns, Integral) or isinstance(n_columns, bool) or n_columns < 1:
        raise ValueError(f"n_columns must be an integer of at least 1, got {n_columns!r}.")
    height, width = map(int, shape)
    n_columns = min(int(n_columns), n_units)
    n_rows = ceil(n_units / n_columns)
    whole = np.full((n_rows * (height + 1) - 1, n_columns * (width + 1) - 1), np.nan, weights.dtype)
    for unit, image in enumerate(weights.T.reshape(n_units, height, width)):
        row, column = divmod(unit, n_columns)
        top, left = row * (height + 1), column * (width + 1)
        whole[top : top + height, left : left + width] = image
    return whole
