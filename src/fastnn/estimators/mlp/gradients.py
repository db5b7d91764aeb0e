"""Losses, gradients and hidden layers of a fitted network in the user's hands; nothing here trains it."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from sklearn.utils.validation import check_is_fitted

from fastnn.estimators.mlp.layers import layers_with_bias
from fastnn.estimators.mlp.many import refuse_ensemble
from fastnn.kernels import to_kind_of
from fastnn.kernels.contract.network import BoundNetwork
from fastnn.kernels.shared.threads import use_threads
from fastnn.networks.network import Network

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP

# Step of a central difference, times the parameter where that is larger: the error of rounding, eps / h, and
# that of the difference, h^2, are then of one size.
_STEP = np.cbrt(np.finfo(np.float64).eps)
# Share of the loss below which a gradient counts as this: differences of the loss hold rounding errors of
# eps / h = 4e-11 of it.
_LEAST = 1e-5


class GradientMethods:
    """What a fitted network is asked by one who trains it himself."""

    def loss_and_gradients(self, X, y, sample_weight=None, *, flat=False):
        """Loss on all rows and its gradient by back-propagation, with the present weights.

        It is the objective of ``fit``: the mean over samples of the loss summed over outputs, plus
        ``0.5 * alpha * sum(W**2) + l1_alpha * sum(abs(W))`` divided by the number of samples; with sample
        weights the weighted sum of the losses and the penalties are both divided by the sum of the weights,
        among which ``class_weight`` counts: ``"balanced"`` by the present `y`. For the squared error of
        several outputs ``loss_``, which is scikit-learn's, is their mean instead. There is no dropout, and
        the estimator does not change.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data. They are computed with in the type of ``coefs_``.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets as of ``fit``. Not every class has to be there.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero. None stands for equal weights.
        flat : bool, default=False
            Whether to give all gradients as one vector.

        Returns
        -------
        loss : float
        coef_grads : list of ndarray of shape (n_in, n_out)
            Gradients with respect to ``coefs_``, of their type, also where X lies on a GPU. Without `flat`.
        intercept_grads : list of ndarray of shape (n_out,)
            The same for ``intercepts_``; zeros for a layer without biases (``use_bias``). Without `flat`.
        gradient : ndarray of shape (n_parameters,)
            ``W_1, b_1, ..., W_L, b_L`` one after the other, each in C order. Only with `flat`.

        Raises
        ------
        NotFittedError
            There are no weights yet, of ``fit``, ``initialize`` or ``from_weights``.
        ValueError
            For data and parameters that ``fit`` refuses, for classes that it has not seen, and for an
            ensemble.

        Notes
        -----
        Where the loss is NaN, so is the gradient. At a kink, as of ``"relu"`` where its argument is exactly
        0, it is made with the slope that training takes (``relu_grad_at_zero``).
        """
        if not isinstance(flat, bool | np.bool_):
            raise ValueError(f"flat must be True or False, got {flat!r}.")
        with _objective(self, X, y, sample_weight) as (network, bound):
            loss, gradient = bound.loss_and_gradient()
        if np.isnan(loss):
            gradient[:] = np.nan
        if flat:
            return loss, gradient
        return loss, network.layout.weights(gradient), network.layout.biases(gradient)

    def gradient_check(self, X, y, sample_weight=None):
        """Worst relative error of the gradient of ``loss_and_gradients``, by central differences in float64.

        Each parameter is changed by a small step to both sides, which takes two losses: it is for small
        networks and few samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero.

        Returns
        -------
        error : float
            For each array of ``coefs_`` and ``intercepts_``, biases that the network does without left out:
            the largest difference between the gradient and the central differences, divided by the largest
            element of either, or by 1e-5 of the loss where that is more. The largest of these. For scaled
            inputs a right gradient has about 1e-6 or less, a wrong one nearly always more than 1e-2.

        Raises
        ------
        NotFittedError
            There are no weights yet.
        ValueError
            As of ``loss_and_gradients``.

        Notes
        -----
        A kink is no place for differences: where a step of about 6e-6 leads a unit of ``"relu"``, or an error
        of ``loss="absolute_error"``, from one side of 0 to the other, they give something between both
        slopes. Then take other samples, or move the weights a little. Nor do they tell anything where a
        logistic output is wrong and next to 0 or 1: ``loss="log_loss"`` is the logarithm of the rounded
        output, and bounded, as in scikit-learn, while its gradient is exact.
        """
        with _objective(self, X, y, sample_weight, np.float64) as (network, bound):
            loss, gradient = bound.loss_and_gradient()
            differences = _central_differences(network, bound)
        if not np.isfinite(loss):
            return np.nan
        layout = network.layout
        biased = zip(network.bias_rates, layout.biases(gradient), layout.biases(differences), strict=True)
        pairs = [
            *zip(layout.weights(gradient), layout.weights(differences), strict=True),
            *((g, d) for rate, g, d in biased if rate),
        ]
        least = max(_LEAST * abs(loss), np.finfo(np.float64).tiny)
        errors = [abs(g - d).max() / np.max([abs(g).max(), abs(d).max(), least]) for g, d in pairs]
        return float(np.max(errors))  # NaN where one is

    def hidden_activations(self, X, layer=-1):
        """Values of the units of a hidden layer, activation included.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        layer : int, default=-1
            Number of the hidden layer, counted from 0; negative ones from the last hidden layer, which is -1.

        Returns
        -------
        values : ndarray of shape (n_samples, n_units)
            float32 where both X and the model are; of the kind of X where that lies on a GPU.

        Raises
        ------
        NotFittedError
            There are no weights yet.
        ValueError
            There is no such layer, or the estimator is an ensemble.
        """
        model = cast("BaseMLP", self)
        refuse_ensemble(model, "hidden_activations")
        check_is_fitted(self, "coefs_")
        n_hidden = model.n_layers_ - 2
        if n_hidden == 0:
            raise ValueError("There is no hidden layer: hidden_layer_sizes is empty.")
        is_number = isinstance(layer, Integral) and not isinstance(layer, bool)
        if not is_number or not -n_hidden <= layer < n_hidden:
            raise ValueError(f"layer must be an integer from {-n_hidden} to {n_hidden - 1}, got {layer!r}.")
        return to_kind_of(X, model._outputs(X, int(layer) % n_hidden), model.device)


@contextmanager
def _objective(
    estimator: Any, X: Any, y: Any, sample_weight: Any, dtype: Any = None
) -> Iterator[tuple[Network, BoundNetwork]]:
    """A copy of the network, bound to data whose loss is the one of which it gives the gradient.

    dtype : the type to compute in; None for that of the weights
    """
    refuse_ensemble(estimator, "The gradient")
    check_is_fitted(estimator, "coefs_")
    model: BaseMLP = estimator._draft()
    model._validate_params()
    # Not every class has to be there, and nothing is drawn from the user's random numbers.
    model.warm_start, model.random_state = False, 0
    if dtype is not None:
        coefs, intercepts = model._checked_parameters()
        model.coefs_, model.intercepts_ = (
            [a.astype(dtype) for a in arrays] for arrays in (coefs, intercepts)
        )
    with use_threads(model.n_threads), np.errstate(over="ignore", invalid="ignore"):
        data, network, _ = model._prepare(X, y, sample_weight, None, incremental=True, first_pass=False)
        network.loss = network.loss._replace(mean_over_outputs=False)
        # A factor of the biases' steps is none of their gradient.
        network.bias_rates = tuple(map(float, layers_with_bias(model, len(network.coefs))))
        yield (
            network,
            network.bind(
                data.X,
                data.Y,
                sample_weight=data.sample_weight,
                alpha=model.alpha,
                l1_alpha=model.l1_alpha,
            ),
        )


def _central_differences(network: Network, bound: BoundNetwork) -> np.ndarray:
    """Derivatives of the loss with respect to each parameter, which are what they were at the end."""
    parameters, differences = network.parameters, np.empty_like(network.parameters)
    for at, value in enumerate(parameters.tolist()):
        step = _STEP * max(1.0, abs(value))
        losses = []
        for moved in (value + step, value - step):
            parameters[at] = moved
            losses.append(bound.loss_and_gradient(copy=False)[0])
        parameters[at] = value
        differences[at] = (losses[0] - losses[1]) / ((value + step) - (value - step))
    return differences
