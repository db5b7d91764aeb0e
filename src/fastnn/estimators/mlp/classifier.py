"""MLPClassifier: a multi-layer perceptron with scikit-learn's interface and results."""

from typing import Any

import numpy as np
from scipy.sparse import csr_matrix
from sklearn.base import ClassifierMixin, _fit_context
from sklearn.metrics import accuracy_score
from sklearn.preprocessing import LabelBinarizer
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import _check_partial_fit_first_call, is_multilabel, unique_labels

from fastnn.estimators.declaration import declared, estimator
from fastnn.estimators.mlp.base import BaseMLP
from fastnn.estimators.mlp.class_weights import (
    ClassWeightParameters,
    counts_classes,
    weights_of_classes,
    weights_of_rows,
)
from fastnn.estimators.mlp.conversion import MLPConversion
from fastnn.estimators.mlp.from_weights import FromWeights
from fastnn.estimators.mlp.gradients import GradientMethods
from fastnn.estimators.mlp.heads import ClassifierLoss, HeadParameters, classifier_head, with_smoothing
from fastnn.estimators.mlp.many import ManyParameters, is_ensemble
from fastnn.estimators.mlp.parameters import MLPParameters
from fastnn.estimators.mlp.soft_targets import SoftFit, SoftTargets
from fastnn.estimators.mlp.targets import as_vector
from fastnn.estimators.sparse_rows import canonical_csr
from fastnn.estimators.weights import checked_weights
from fastnn.kernels import to_host, to_kind_of
from fastnn.networks.one_hot import OneHot
from fastnn.tables.activations import FROM_0_TO_1
from fastnn.tables.losses import Head


@declared
class ClassifierParameters(
    MLPParameters, HeadParameters, ManyParameters, ClassifierLoss, ClassWeightParameters
):
    """What a classifier can be told."""


@estimator
class MLPClassifier(
    FromWeights, MLPConversion, GradientMethods, SoftFit, ClassifierMixin, BaseMLP, ClassifierParameters
):
    """Multi-layer perceptron that classifies.

    A dense network trained by back-propagation [1]_, usually on the cross-entropy: softmax outputs for
    several classes, one logistic output for two, independent logistic outputs for multi-label targets.
    Parameters, attributes and results are those of :class:`sklearn.neural_network.MLPClassifier`; first
    parameters are drawn by its rule [2]_.

    Attributes
    ----------
    classes_ : ndarray of shape (n_classes,)
        Class labels, sorted.
    class_weight_ : ndarray of shape (n_classes,) or (n_outputs, 2)
        Weight of each class in the last fit, for multi-label targets of 0 and of 1 for each label. Only with
        ``class_weight``.
    loss_ : float
        Loss of the last epoch or iteration, penalty included.
    best_loss_ : float or None
        Least loss of an epoch; None with ``early_stopping``. Like the next six, only for the stochastic
        solvers.
    loss_curve_ : list of float
        Mean loss of the batches of each epoch, each before its step.
    learning_rate_curve_ : list of float
        Learning rate of the first step of each epoch.
    validation_scores_ : list of float or None
        Accuracy on the validation rows, or what ``scoring`` says, after each epoch; None where there are
        none.
    validation_loss_curve_ : list of float or None
        Mean loss of the validation rows after each epoch, without the penalty.
    best_validation_score_ : float or None
        The highest of the scores.
    best_epoch_ : int or None
        Its place in ``validation_scores_``, from 0; None where no score is finite.
    t_ : int
        Training samples seen, repetitions counted.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights of each layer, of the type of the training data (float32 or float64). Predictions use what
        is in this list, so entries may be replaced.
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer.
    saturation_ : ndarray of shape (n_hidden_layers,)
        Share of each hidden layer's units that hardly learn any more, for rows of the last batch at the end
        of ``fit``: logistic units all below 0.01 or all above 0.99, tanh units beyond 0.99 either way, relu
        units at 0. NaN for other activations. Where it is above 0.9, fit warns.
    best_init_ : int
        With ``n_init`` above 1, which of the networks has been kept, counted from 0.
    estimators_ : list of MLPClassifier of length ``ensemble``
        With ``ensemble`` the fitted networks. Then there is nothing else here but ``classes_``,
        ``class_weight_``, ``n_features_in_``, ``feature_names_in_``, ``n_outputs_`` and ``n_iter_``, one
        number for each.
    n_features_in_ : int
        Features seen at fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X had column names that are strings.
    n_iter_ : int
        Epochs or iterations of the last fit.
    n_layers_ : int
        Layers, input and output included.
    n_outputs_ : int
        Units of the output layer.
    out_activation_ : str
        Activation of the output layer: softmax or logistic. It may be replaced, by any name that
        ``out_activation`` may have.

    See Also
    --------
    MLPRegressor : The same network for numbers.

    References
    ----------
    .. [1] Rumelhart, Hinton and Williams (1986), "Learning representations by back-propagating errors",
       Nature 323, 533-536.
    .. [2] Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS, eq. 16.
    .. [3] Kingma and Ba (2014), "Adam: a method for stochastic optimization", arXiv:1412.6980, algorithm 1.
    .. [4] Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014), "Dropout: a simple way to
       prevent neural networks from overfitting", JMLR 15, 1929-1958.
    .. [5] Szegedy, Vanhoucke, Ioffe, Shlens and Wojna (2016), "Rethinking the Inception architecture for
       computer vision", CVPR, section 7.

    Examples
    --------
    >>> from fastnn import MLPClassifier
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> model = MLPClassifier((20,), solver="lbfgs", alpha=0.1, random_state=0).fit(X, y)
    >>> model.predict(X[:3])
    array([0, 0, 0])
    >>> bool(model.score(X, y) > 0.95)
    True
    """

    _score_function = staticmethod(accuracy_score)
    _counterpart = "sklearn.neural_network.MLPClassifier"

    def _validate_input(
        self, X: Any, y: Any, classes: Any, incremental: bool, reset: bool
    ) -> tuple[Any, np.ndarray | OneHot]:
        if isinstance(y, SoftTargets):
            return self._validate_soft(X, y.P, classes, reset)
        first_call = (incremental or classes is not None) and _check_partial_fit_first_call(self, classes)
        X, y = self._validated(X, y, reset=reset)
        y = as_vector(y)

        if first_call:
            # For multi-label targets `classes` numbers the columns, which y itself shows.
            binarizer = LabelBinarizer(sparse_output=True)
            self._label_binarizer = binarizer.fit(y if is_multilabel(y) else classes)
        if not (first_call or (hasattr(self, "classes_") and (self.warm_start or incremental))):
            self._label_binarizer = LabelBinarizer(sparse_output=True).fit(y)
            self.classes_ = self._label_binarizer.classes_
        else:
            labels = unique_labels(y)
            if self.warm_start:
                if set(labels) != set(self.classes_):
                    raise ValueError(
                        "warm_start can only be used where `y` has the same classes as in the previous call "
                        f"to fit. Previously got {self.classes_}, `y` has {labels}"
                    )
            elif len(np.setdiff1d(labels, self.classes_, assume_unique=True)):
                raise ValueError(
                    f"`y` has classes not in `self.classes_`. `self.classes_` has {self.classes_}. "
                    f"'y' has {labels}."
                )
        return X, self._binarized(y)

    def _name_outputs(self, n_outputs: int, classes: Any, multilabel: bool) -> None:
        if not isinstance(multilabel, bool | np.bool_):
            raise ValueError(f"multilabel must be True or False, got {multilabel!r}.")
        if multilabel and n_outputs == 1:
            raise ValueError("multilabel must be False for 1 output: its label is one of two classes.")
        n_classes = max(2, n_outputs)
        classes = np.arange(n_classes) if classes is None else np.asarray(classes)
        binarizer = LabelBinarizer(sparse_output=True)
        fits = classes.shape == (n_classes,)
        if fits:
            try:
                binarizer.fit(np.eye(n_outputs, dtype=int) if multilabel else classes)
                fits = np.array_equal(binarizer.classes_, classes)
            except TypeError:  # labels that no order can sort
                fits = False
        if not fits:
            which = "the numbers of the columns" if multilabel else "sorted and different"
            raise ValueError(
                f"classes must be {n_classes} labels, {which}, for {n_outputs} output(s), got {classes}."
            )
        if n_outputs > 1 and not multilabel:  # which a fit has for three classes or more
            binarizer.y_type_ = "multiclass"
        self._label_binarizer, self.classes_ = binarizer, binarizer.classes_

    def _binarized(self, y: Any) -> np.ndarray | OneHot:
        """Targets of the network, without a number for each class that a row is not of."""
        binarizer = self._label_binarizer
        if y.ndim == 1 and binarizer.y_type_.startswith("multilabel"):
            # scikit-learn would take them for numbers of columns.
            n_labels = len(binarizer.classes_)
            raise ValueError(f"y must be a 0/1 matrix with a column for each of {n_labels} labels.")
        if y.ndim > 1 or binarizer.y_type_ not in ("binary", "multiclass"):
            # A pickle of an older version makes a dense matrix.
            return csr_matrix(binarizer.transform(y)).astype(bool).toarray()
        # As LabelBinarizer.transform, whose checks of labels that were checked take as long as ten epochs.
        codes = np.searchsorted(binarizer.classes_, y).astype(np.int32)
        if self._one_of_several:
            return OneHot(codes, len(binarizer.classes_))
        return codes.astype(bool).reshape(-1, 1)

    def _head(self) -> Head:
        head = classifier_head(self.loss, self.out_activation, one_of_several=self._one_of_several)
        return with_smoothing(head, self.label_smoothing, len(self._label_binarizer.classes_))

    def _row_weights(
        self,
        Y: np.ndarray | OneHot,
        sample_weight: np.ndarray | None,
        dtype: np.dtype,
        *,
        trained_on: bool = True,
    ) -> np.ndarray | None:
        if trained_on:
            self.__dict__.pop("class_weight_", None)
        if self.class_weight is None:
            return sample_weight
        if trained_on:
            self.class_weight_: np.ndarray = weights_of_classes(
                self.class_weight, Y, self.classes_, sample_weight
            )
        weights = weights_of_rows(self.class_weight_, Y)
        if sample_weight is not None:
            weights = weights * sample_weight
        if not weights.any():
            raise ValueError(f"With class_weight={self.class_weight!r} the weights of all samples are 0.")
        return checked_weights(weights, weights, dtype)

    @property
    def _one_of_several(self) -> bool:
        """Whether each sample has one of several classes, each of which has an output."""
        return self._label_binarizer.y_type_ == "multiclass"

    def _decide(self, outputs: np.ndarray) -> np.ndarray:
        # As LabelBinarizer.inverse_transform, whose checks take as long as a prediction for one row.
        kind, classes = self._label_binarizer.y_type_, self._label_binarizer.classes_
        if kind == "multiclass":
            return classes[outputs.argmax(axis=1)]
        if kind == "binary" and len(classes) == 2:
            return classes[(outputs.ravel() > 0.5).astype(np.intp)]
        return self._label_binarizer.inverse_transform(outputs.ravel() if outputs.shape[1] == 1 else outputs)

    def _scoring_target(self, Y: np.ndarray | OneHot) -> Any:
        if isinstance(Y, OneHot):
            return self._label_binarizer.classes_[Y.codes]
        if Y.dtype != np.bool_:  # of probabilities the most probable
            return self._decide(Y)
        return self._label_binarizer.inverse_transform(Y)

    @_fit_context(prefer_skip_nested_validation=True)
    def initialize(self, X, y, *, classes=None):
        """Draw the weights that ``fit`` would begin with, and train nothing.

        A ``fit`` with ``warm_start=True``, or ``partial_fit``, goes on from them, and with an integer
        ``random_state`` as if it had drawn them itself, to the last bit.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. What counts is the number of features and the type.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or a 0/1 matrix of labels. What counts is which there are.
        classes : array-like of shape (n_classes,), default=None
            All classes of the calls of ``partial_fit`` that follow. None stands for those of `y`.

        Returns
        -------
        self : object
            The estimator, with all attributes of a fit but losses, scores and ``saturation_``.

        Raises
        ------
        ValueError
            For invalid data or weights, and where ``n_init`` or ``ensemble`` ask for many networks; the
            estimator then is as it was before the call.
        """
        return self._initialize(X, y, canonical_csr(to_host(classes), "classes"))

    @available_if(lambda self: self._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None, classes=None):
        """Train for one epoch on the given data, going on from the present state.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Class labels, or a 0/1 matrix of labels.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero.
        classes : array-like of shape (n_classes,), default=None
            All classes of all calls; required at the first one. For multi-label targets the numbers of the
            columns.

        Returns
        -------
        self : object
            The trained estimator.

        Raises
        ------
        ValueError
            For invalid data, unknown classes or divergence, as in ``fit``.
        """
        if counts_classes(self.class_weight):
            raise ValueError(
                f"partial_fit does not support class_weight={self.class_weight!r}: the classes of all calls "
                "would have to be counted. Give a mapping, which compute_class_weight of scikit-learn makes."
            )
        classes = canonical_csr(to_host(classes), "classes")
        return self._fit(X, y, sample_weight, incremental=True, classes=classes)

    def predict(self, X):
        """Predict classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_classes)
            Class labels; for multi-label models a 0/1 matrix.
        """
        return self._predict(X)

    def score(self, X, y, sample_weight=None):
        """Accuracy of the predictions; for several labels, the share of rows with all of them right.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True classes.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero.

        Returns
        -------
        score : float
        """
        return self._score(X, y, sample_weight)

    def predict_proba(self, X):
        """Probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        y_prob : ndarray of shape (n_samples, n_classes)
            Columns in the order of ``classes_``; float32 where both X and the model are. Outputs of several
            classes that are each from 0 to 1 (``"logistic"``, ``"hard_sigmoid"``, ``"hard_limit"``) are
            divided by their sum; where that is 0, all classes are equally probable. Activations with another
            range, which no loss of a classifier goes with, give no probabilities: they come as they are.
        """
        return to_kind_of(X, self._probabilities(X), self.device)

    def _probabilities(self, X: Any) -> np.ndarray:
        outputs = self._outputs(X)
        if outputs.shape[1] == 1:
            return np.hstack([1 - outputs, outputs])
        return outputs if is_ensemble(self) else self._to_average(outputs)

    def _to_average(self, outputs: np.ndarray) -> np.ndarray:
        """Probabilities of the outputs, from each network's."""
        if self.out_activation_ in FROM_0_TO_1 and self._one_of_several:
            total = outputs.sum(axis=1, keepdims=True)
            outputs /= np.where(total > 0, total, 1)
            outputs[total[:, 0] == 0] = 1 / outputs.shape[1]
        return outputs

    def predict_log_proba(self, X):
        """Logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        log_y_prob : ndarray of shape (n_samples, n_classes)
            ``log(predict_proba(X))``.
        """
        y_prob = self._probabilities(X)
        return to_kind_of(X, np.log(y_prob, out=y_prob), self.device)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
