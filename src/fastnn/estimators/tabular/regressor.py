"""RealMLPRegressor: numbers from a table, by a network that needs no tuning."""

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_y

from fastnn.estimators.declaration import estimator
from fastnn.estimators.mlp.targets import as_vector
from fastnn.estimators.sparse_rows import dense_only
from fastnn.estimators.tabular.base import BaseRealMLP
from fastnn.estimators.tabular.network_parameters import RealMLPRegressorParameters
from fastnn.estimators.tabular.training import LearntTargets, Targets
from fastnn.kernels import to_host
from fastnn.tables.losses import head_of


@estimator
class RealMLPRegressor(RegressorMixin, BaseRealMLP, RealMLPRegressorParameters):
    """Regressor for tables of numbers and categories, right without tuning.

    RealMLP-TD-S [1]_: a multi-layer perceptron, and a preprocessing of its inputs
    (:class:`TabularPreprocessor`), whose defaults were tuned on many data sets together. A layer of `n`
    inputs is ``z = x W / sqrt(n) + b``, with `W` and `b` from a normal distribution of variance 1, and zero
    in the last layer; each input has a scale that is trained. It is trained by Adam on the squared error of
    standardised targets, all ``max_iter`` epochs long, and what it was after the epoch with the least
    validation error is kept, after the last one of equals. Arithmetic is in float32.

    Attributes
    ----------
    target_mean_, target_scale_ : ndarray of shape (n_outputs,)
        Mean and standard deviation of the targets of the training rows: predictions are outputs of the
        network times the second, plus the first. 0 and 1 with ``normalize_output=False``.
    target_range_ : ndarray of shape (2, n_outputs)
        The least and the largest of these targets.
    encoding_ : object
        The preprocessing, learnt from the training rows; internal.
    is_categorical_ : ndarray of shape (n_features_in_,) of bool
        Which columns are categorical.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights of each layer, such that ``z = x W + b`` of preprocessed rows: what is written as a factor of
        the weights or of the inputs above is in them. float32.
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer.
    loss_curve_ : list of float
        Mean loss of the batches of each epoch, each before its step: half the squared error of standardised
        targets.
    learning_rate_curve_ : list of float
        Learning rate of the first step of each epoch.
    validation_scores_ : list of float or None
        Minus the root of the mean squared error of the validation rows after each epoch, in the units of `y`.
    validation_loss_curve_ : list of float or None
        Mean loss of the validation rows after each epoch.
    best_validation_score_ : float or None
        The highest of the scores.
    best_epoch_ : int or None
        The epoch whose parameters were kept, counted from 0.
    estimators_ : list of RealMLPRegressor
        With ``n_cv``, ``n_refit`` or ``ensemble`` the fitted networks. Then there is nothing else here but
        ``is_categorical_``, ``out_of_fold_``, ``n_features_in_``, ``feature_names_in_``, ``n_outputs_`` and
        ``n_iter_``, one number for each.
    out_of_fold_ : ndarray of shape (n_samples,) or (n_samples, n_outputs)
        With ``n_cv`` above 1 the predictions for each training row, from the networks that were not trained
        on it.
    n_features_in_ : int
        Columns seen at fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where `X` had column names that are strings.
    n_iter_ : int
        Epochs of the last fit.
    n_layers_ : int
        Layers, input and output included.
    n_outputs_ : int
        Units of the output layer.
    out_activation_ : str
        Activation of the output layer: identity.
    t_ : int
        Training samples seen, repetitions counted.

    See Also
    --------
    RealMLPClassifier : The same network for classes.
    MLPRegressor : A network for matrices of numbers, with scikit-learn's defaults.

    References
    ----------
    .. [1] Holzmüller, Grinsztajn and Steinwart (2024), "Better by default: strong pre-tuned MLPs and boosted
       trees on tabular data", NeurIPS 37, arXiv:2407.04491.

    Examples
    --------
    >>> from fastnn import RealMLPRegressor
    >>> from sklearn.datasets import load_diabetes
    >>> X, y = load_diabetes(return_X_y=True, as_frame=True)
    >>> model = RealMLPRegressor(max_iter=64, random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.4)
    True
    """

    _is_vector: bool  # of the targets of the last fit
    _n_targets: int

    def _checked_targets(self, y: Any, *, reset: bool) -> Targets:
        dense_only(y, "y")
        y = as_vector(_check_y(to_host(y), multi_output=True, y_numeric=True, estimator=self))
        if y.dtype.kind not in "biuf":  # dates
            raise TypeError(f"y must hold real numbers, got dtype {y.dtype}.")
        if y.ndim > 2:
            raise ValueError(f"y must have one or two axes, got shape {y.shape}.")
        self._is_vector = y.ndim == 1 if reset else self._is_vector
        Y = np.ascontiguousarray(y.reshape(len(y), -1), np.float64)
        if not reset and Y.shape[1] != self._n_targets:
            raise ValueError(f"y_val has {Y.shape[1]} outputs, but y has {self._n_targets}.")
        self._n_targets = Y.shape[1]
        return Y

    def _strata(self, Y: Targets) -> None:
        return None

    def _learn_targets(self, Y: Targets) -> LearntTargets:
        assert isinstance(Y, np.ndarray)
        n_outputs = Y.shape[1]
        mean, scale = np.zeros(n_outputs), np.ones(n_outputs)
        if self.normalize_output:
            mean, scale = Y.mean(axis=0), Y.std(axis=0)
            # What is left of equal numbers is rounding.
            scale[np.ptp(Y, axis=0) == 0] = 0.0
        divisor = np.where(scale > 0, scale, 1.0)

        def standardised(targets: Targets) -> np.ndarray:
            assert isinstance(targets, np.ndarray)
            return np.ascontiguousarray((targets - mean) / divisor, np.float32)

        def score(outputs: np.ndarray, targets: Targets, sample_weight: np.ndarray | None) -> float:
            assert isinstance(targets, np.ndarray)
            errors = (outputs * scale + mean - targets) ** 2
            return -float(np.sqrt(np.average(errors.mean(axis=1), weights=sample_weight)))

        attributes = {
            "target_mean_": mean,
            "target_scale_": scale,
            "target_range_": np.stack([Y.min(axis=0), Y.max(axis=0)]),
        }
        return LearntTargets(head_of("squared_error"), standardised, score, attributes)

    def _to_average(self, outputs: np.ndarray) -> np.ndarray:
        predictions = outputs * self.target_scale_ + self.target_mean_
        return np.clip(predictions, *self.target_range_) if self.clamp_output else predictions

    def _as_predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions in the shape of `y`."""
        return outputs.ravel() if self._is_vector else outputs

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_samples, n_features)
            A table with the columns of that of ``fit``. Categories that are unknown count as missing.

        Returns
        -------
        y : ndarray of float64 of shape (n_samples,) or (n_samples, n_outputs)
            Predictions, in the units of `y`.
        """
        return self._as_predictions(self._outputs(X))
