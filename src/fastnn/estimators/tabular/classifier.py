"""RealMLPClassifier: classes from a table, by a network that needs no tuning."""

from typing import Any

import numpy as np
from sklearn.base import ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_y

from fastnn.estimators.declaration import estimator
from fastnn.estimators.mlp.class_weights import weights_of_classes, weights_of_rows
from fastnn.estimators.mlp.heads import classifier_head, with_smoothing
from fastnn.estimators.mlp.targets import as_vector
from fastnn.estimators.sparse_rows import dense_only
from fastnn.estimators.tabular.base import BaseRealMLP
from fastnn.estimators.tabular.network_parameters import RealMLPClassifierParameters
from fastnn.estimators.tabular.training import LearntTargets, Targets
from fastnn.estimators.weights import checked_weights
from fastnn.kernels import to_host
from fastnn.networks.one_hot import OneHot


@estimator
class RealMLPClassifier(ClassifierMixin, BaseRealMLP, RealMLPClassifierParameters):
    """Classifier for tables of numbers and categories, right without tuning.

    RealMLP-TD-S [1]_: a multi-layer perceptron, and a preprocessing of its inputs
    (:class:`TabularPreprocessor`), whose defaults were tuned on many data sets together. A layer of `n`
    inputs is ``z = x W / sqrt(n) + b``, with `W` and `b` from a normal distribution of variance 1, and zero
    in the last layer; each input has a scale that is trained. It is trained by Adam on smoothed
    cross-entropy, all ``max_iter`` epochs long, and what it was after the epoch with the least validation
    error is kept, after the last one of equals. Arithmetic is in float32.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    class_weight_ : ndarray of shape (n_classes,)
        Weight of each class. Only with ``class_weight``.
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
        Mean loss of the batches of each epoch, each before its step.
    learning_rate_curve_ : list of float
        Learning rate of the first step of each epoch.
    validation_scores_ : list of float or None
        Accuracy on the validation rows after each epoch.
    validation_loss_curve_ : list of float or None
        Mean loss of the validation rows after each epoch.
    best_validation_score_ : float or None
        The highest of the scores.
    best_epoch_ : int or None
        The epoch whose parameters were kept, counted from 0.
    estimators_ : list of RealMLPClassifier
        With ``n_cv``, ``n_refit`` or ``ensemble`` the fitted networks. Then there is nothing else here but
        ``classes_``, ``class_weight_``, ``is_categorical_``, ``out_of_fold_``, ``n_features_in_``,
        ``feature_names_in_``, ``n_outputs_`` and ``n_iter_``, one number for each.
    out_of_fold_ : ndarray of shape (n_samples, n_classes)
        With ``n_cv`` above 1 the probabilities of each training row, from the networks that were not trained
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
        Activation of the output layer: softmax, or logistic for two classes.
    t_ : int
        Training samples seen, repetitions counted.

    See Also
    --------
    RealMLPRegressor : The same network for numbers.
    MLPClassifier : A network for matrices of numbers, with scikit-learn's defaults.

    References
    ----------
    .. [1] Holzmüller, Grinsztajn and Steinwart (2024), "Better by default: strong pre-tuned MLPs and boosted
       trees on tabular data", NeurIPS 37, arXiv:2407.04491.

    Examples
    --------
    >>> from fastnn import RealMLPClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> model = RealMLPClassifier(random_state=0).fit(X, y)
    >>> model.predict(X[:3])
    array([0, 0, 0])
    >>> bool(model.score(X, y) > 0.95)
    True
    """

    classes_: np.ndarray

    def _checked_targets(self, y: Any, *, reset: bool) -> Targets:
        dense_only(y, "y")
        y = as_vector(_check_y(to_host(y), multi_output=True, estimator=self))
        check_classification_targets(y)
        if y.ndim > 1 or type_of_target(y, input_name="y") not in ("binary", "multiclass"):
            raise ValueError(
                f"{type(self).__name__} takes one class for each row, got y of shape {y.shape}. For several "
                "labels there is MLPClassifier."
            )
        classes, codes = np.unique(y, return_inverse=True)
        if reset:
            if len(classes) == 1:
                raise ValueError(
                    f"{type(self).__name__} needs samples of at least 2 classes in the data, but the data "
                    f"contains only one class: {classes.tolist()[0]!r}."
                )
            self.classes_ = classes
        else:
            unknown = np.setdiff1d(classes, self.classes_)
            if unknown.size:
                raise ValueError(f"there are classes in y_val that y has not: {unknown.tolist()}.")
            codes = np.searchsorted(self.classes_, y)
        if len(self.classes_) == 2:
            return codes.astype(bool).reshape(-1, 1)
        return OneHot(codes.astype(np.int32), len(self.classes_))

    def _row_weights(
        self, Y: Targets, sample_weight: np.ndarray | None, *, trained_on: bool
    ) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        if trained_on:
            self.class_weight_: np.ndarray = weights_of_classes(
                self.class_weight, Y, self.classes_, sample_weight
            )
        weights = weights_of_rows(self.class_weight_, Y)
        return checked_weights(
            weights if sample_weight is None else weights * sample_weight, weights, np.float32
        )

    def _strata(self, Y: Targets) -> np.ndarray:
        return _codes(Y)

    def _learn_targets(self, Y: Targets) -> LearntTargets:
        head = classifier_head("log_loss", "auto", one_of_several=isinstance(Y, OneHot))
        head = with_smoothing(head, float(self.ls_eps), len(self.classes_))
        return LearntTargets(head, lambda targets: targets, _accuracy, {})

    def _to_average(self, outputs: np.ndarray) -> np.ndarray:
        return outputs

    def _as_predictions(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities of all classes, from outputs."""
        return np.hstack([1 - outputs, outputs]) if outputs.shape[1] == 1 else outputs

    def predict(self, X):
        """Predict classes.

        Parameters
        ----------
        X : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_samples, n_features)
            A table with the columns of that of ``fit``. Categories that are unknown count as missing.

        Returns
        -------
        y : ndarray of shape (n_samples,)
            Class labels.
        """
        decided = _decided(self._outputs(X))
        return self.classes_[decided]

    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_samples, n_features)
            A table with the columns of that of ``fit``.

        Returns
        -------
        y_prob : ndarray of float32 of shape (n_samples, n_classes)
            Columns in the order of ``classes_``.
        """
        return self._as_predictions(self._outputs(X))

    def predict_log_proba(self, X):
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_samples, n_features)
            A table with the columns of that of ``fit``.

        Returns
        -------
        log_y_prob : ndarray of float32 of shape (n_samples, n_classes)
            ``log(predict_proba(X))``.
        """
        return np.log(self.predict_proba(X))


def _codes(Y: Targets) -> np.ndarray:
    """Number of each row's class."""
    if isinstance(Y, OneHot):
        return Y.codes
    assert isinstance(Y, np.ndarray)
    return Y[:, 0].astype(np.intp)


def _decided(outputs: np.ndarray) -> np.ndarray:
    """Number of the most probable class of each row."""
    return (outputs[:, 0] > 0.5).astype(np.intp) if outputs.shape[1] == 1 else outputs.argmax(axis=1)


def _accuracy(outputs: np.ndarray, Y: Targets, sample_weight: np.ndarray | None) -> float:
    # As that of scikit-learn, whose checks take longer than the outputs.
    hits = _decided(outputs) == _codes(Y)
    return float(np.average(hits, weights=sample_weight))
