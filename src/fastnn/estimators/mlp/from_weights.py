"""Networks of given weights."""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Self, cast

import numpy as np

from fastnn.estimators.mlp.layers import has_spare_biases, layers_with_bias, with_slope_at_zero
from fastnn.estimators.mlp.many import refuse_many
from fastnn.kernels import to_host
from fastnn.networks.layout import layout_of
from fastnn.tables.activations import DEFAULT
from fastnn.tables.initializers import checked_array


class FromWeights:
    """What makes a fitted estimator of weights that were found elsewhere, or chosen by hand."""

    @classmethod
    def from_weights(
        cls,
        coefs: Iterable[Any],
        intercepts: Iterable[Any],
        *,
        activation: str | Sequence[str] = DEFAULT,
        out_activation: str = "auto",
        classes: Any = None,
        multilabel: bool = False,
        **parameters: Any,
    ) -> Self:
        """Make a fitted estimator of given weights.

        It predicts, and ``partial_fit``, or ``fit`` with ``warm_start=True``, trains it further.

        Parameters
        ----------
        coefs : list of array-like of shape (n_in, n_out)
            Weights of each layer. They are copied; float32 is kept where all arrays have it.
        intercepts : list of array-like of shape (n_out,)
            Biases of each layer.
        activation : str or sequence of str, default="relu"
            The parameter ``activation``.
        out_activation : str, default="auto"
            The parameter ``out_activation``. Pairs with ``loss`` that ``fit`` refuses do for predictions.
        classes : array-like of shape (n_classes,), default=None
            Sorted labels, for a classifier alone: two for one output, which is above 0.5 for the second; else
            one for each output. None stands for 0, 1, ...
        multilabel : bool, default=False
            Whether each of several outputs, again of a classifier, is for a label of its own, which a sample
            has where it is above 0.5: ``predict`` then gives a 0/1 matrix, whose columns `classes` numbers.
        **parameters : object
            Further parameters of the estimator, but ``hidden_layer_sizes``, which follows from `coefs`.

        Returns
        -------
        model : object
            An estimator with all attributes of a fit but losses, scores and ``saturation_``.

        Raises
        ------
        ValueError
            The arrays make no network or hold other than finite real numbers, or `classes` do not go with
            them; or ``n_init`` or ``ensemble`` ask for many networks.
        """
        layers = _checked_layers(coefs, intercepts)
        layout = layout_of((len(layers[0][0]), *(len(b) for _, b in layers)))
        sizes = layout.sizes.tolist()
        model = cast(Any, cls)(
            hidden_layer_sizes=tuple(sizes[1:-1]),
            activation=activation,
            out_activation=out_activation,
            **parameters,
        )
        model._validate_params()
        refuse_many(model, "from_weights")
        with_slope_at_zero(model, model._activation_names(len(sizes) - 2))
        if has_spare_biases((b for _, b in layers), layers_with_bias(model, len(layers))):
            raise ValueError(
                f"use_bias={model.use_bias!r} says that there are no biases where intercepts has some."
            )
        model._name_outputs(sizes[-1], classes, multilabel)
        flat = layout.flat([W for W, _ in layers] + [b for _, b in layers], layers[0][0].dtype)
        output = model._head().output_activation if out_activation == "auto" else out_activation
        model._keep(layout.weights(flat), layout.biases(flat), output)
        model.n_features_in_ = sizes[0]
        model.t_ = model.n_iter_ = 0
        return model

    def _name_outputs(self, n_outputs: int, classes: Any, multilabel: bool) -> None:
        """Take over the labels of the outputs, which a classifier has."""
        for name, given, usual in (("classes", classes, None), ("multilabel", multilabel, False)):
            if given is not usual:
                raise ValueError(
                    f"{name} must be {usual} for a {type(self).__name__}, whose outputs are numbers."
                )


def _checked_layers(coefs: Any, intercepts: Any) -> list[tuple[np.ndarray, np.ndarray]]:
    """Copies of the weights and biases of each layer, all of one type.

    Raises
    ------
    ValueError
        They make no network.
    """
    if not (isinstance(coefs, Iterable) and isinstance(intercepts, Iterable)):
        raise ValueError("coefs and intercepts must be lists of arrays, one per layer.")
    coefs, intercepts = [to_host(W) for W in coefs], [to_host(b) for b in intercepts]
    if not len(coefs) == len(intercepts) > 0:
        raise ValueError(
            f"coefs and intercepts must hold one array per layer, got {len(coefs)} and {len(intercepts)}."
        )
    types = {np.dtype(getattr(array, "dtype", np.float64)) for array in chain(coefs, intercepts)}
    dtype = np.float32 if types == {np.dtype(np.float32)} else np.float64
    layers: list[tuple[np.ndarray, np.ndarray]] = []
    for number, (W, b) in enumerate(zip(coefs, intercepts, strict=True)):
        shape = _shape(W)
        n_in = layers[-1][1].size if layers else shape[0] if shape else 0
        if len(shape) != 2 or shape[0] != n_in or 0 in shape:
            first = n_in if layers else "n_features"
            raise ValueError(f"coefs[{number}] must have shape ({first}, n_out), got {shape}.")
        W = checked_array(W, f"coefs[{number}]", shape, dtype)
        layers.append((W, checked_array(b, f"intercepts[{number}]", shape[1:], dtype)))
    return layers


def _shape(array: Any) -> tuple[int, ...]:
    try:
        return np.shape(array)
    except ValueError:  # rows of several lengths
        return ()
