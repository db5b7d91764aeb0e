"""MLPRegressor: a multi-layer perceptron with scikit-learn's interface and results."""

from typing import Any

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import d2_pinball_score, r2_score
from sklearn.utils import check_array
from sklearn.utils.metaestimators import available_if

from fastnn.estimators.declaration import declared, estimator
from fastnn.estimators.mlp.base import BaseMLP
from fastnn.estimators.mlp.conversion import MLPConversion
from fastnn.estimators.mlp.from_weights import FromWeights
from fastnn.estimators.mlp.gradients import GradientMethods
from fastnn.estimators.mlp.heads import (
    OF_A_REGRESSOR,
    HeadParameters,
    RegressorLoss,
    check_loss_parameters,
    output_activation,
    several_quantiles,
)
from fastnn.estimators.mlp.many import ManyParameters
from fastnn.estimators.mlp.parameters import MLPParameters
from fastnn.estimators.mlp.targets import as_vector
from fastnn.tables.losses import Head, head_of


@declared
class RegressorParameters(MLPParameters, HeadParameters, ManyParameters, RegressorLoss):
    """What a regressor can be told."""


@estimator
class MLPRegressor(FromWeights, MLPConversion, GradientMethods, RegressorMixin, BaseMLP, RegressorParameters):
    """Multi-layer perceptron that predicts numbers.

    A dense network trained by back-propagation [1]_. Parameters, attributes and results are those of
    :class:`sklearn.neural_network.MLPRegressor`; first parameters are drawn by its rule [2]_.

    Attributes
    ----------
    loss_ : float
        Loss of the last epoch or iteration, penalty included.
    best_loss_ : float or None
        Least loss of an epoch; None with ``early_stopping``. Like the next six, not for
        ``solver="lbfgs"``.
    loss_curve_ : list of float
        Mean loss of the batches of each epoch, each before its step; of ``solver="lm"`` the loss after each
        iteration.
    learning_rate_curve_ : list of float
        Learning rate of the first step of each epoch; NaN for ``solver="lm"``, which has none.
    validation_scores_ : list of float or None
        ``score`` of the validation rows, or what ``scoring`` says, after each epoch; None where there are
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
    estimators_ : list of MLPRegressor of length ``ensemble``
        With ``ensemble`` the fitted networks. Then there is nothing else here but ``n_features_in_``,
        ``feature_names_in_``, ``n_outputs_`` and ``n_iter_``, one number for each.
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
        Activation of the output layer. It may be replaced, by any name that ``out_activation`` may have.

    See Also
    --------
    MLPClassifier : The same network for classes.

    References
    ----------
    .. [1] Rumelhart, Hinton and Williams (1986), "Learning representations by back-propagating errors",
       Nature 323, 533-536.
    .. [2] Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS, eq. 16.
    .. [3] Kingma and Ba (2014), "Adam: a method for stochastic optimization", arXiv:1412.6980, algorithm 1.
    .. [4] Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014), "Dropout: a simple way to
       prevent neural networks from overfitting", JMLR 15, 1929-1958.
    .. [5] Huber (1964), "Robust estimation of a location parameter", Annals of Mathematical Statistics 35,
       73-101.
    .. [6] Koenker and Bassett (1978), "Regression quantiles", Econometrica 46, 33-50.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import MLPRegressor
    >>> X = np.linspace(-2, 2, 200).reshape(-1, 1)
    >>> y = np.sin(2 * X[:, 0])
    >>> model = MLPRegressor(hidden_layer_sizes=(20,), solver="lbfgs", random_state=0).fit(X, y)
    >>> bool(model.score(X, y) > 0.95)
    True
    """

    _counterpart = "sklearn.neural_network.MLPRegressor"

    def _score_function(self, y: Any, prediction: np.ndarray, *, sample_weight: Any = None) -> float:
        quantiles = several_quantiles(self)
        if quantiles is None:
            return r2_score(y, prediction, sample_weight=sample_weight)
        columns = zip(quantiles, prediction.T, strict=True)
        return float(
            np.mean([d2_pinball_score(y, one, sample_weight=sample_weight, alpha=q) for q, one in columns])
        )

    def _validate_input(
        self, X: Any, y: Any, classes: Any, incremental: bool, reset: bool
    ) -> tuple[Any, np.ndarray]:
        X, y = self._validated(X, y, y_numeric=True, reset=reset)
        check_array(y, ensure_2d=False, dtype="numeric", input_name="y")  # no sparse matrix, no strings
        if y.dtype.kind not in "biuf":  # dates
            raise TypeError(f"y must hold real numbers, got dtype {y.dtype}.")
        y = as_vector(y)
        quantiles = several_quantiles(self)
        if quantiles is not None:
            if y.ndim > 1:
                raise ValueError(
                    f"quantile={self.quantile!r} is learned for one target, and y has {y.shape[1]} columns."
                )
            y = np.broadcast_to(y.reshape(-1, 1), (y.size, len(quantiles)))
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError(f"Some value(s) of y are out of the valid range of the loss {self.loss!r}.")
        return X, y

    def _head(self) -> Head:
        check_loss_parameters(self)
        output = output_activation(self.loss, self.out_activation, OF_A_REGRESSOR)
        head = head_of(self.loss, output)
        name = head.loss.parameter
        if name is None:
            return head
        quantiles = several_quantiles(self)
        return head._replace(parameter=float(getattr(self, name)) if quantiles is None else quantiles)

    def _name_outputs(self, n_outputs: int, classes: Any, multilabel: bool) -> None:
        super()._name_outputs(n_outputs, classes, multilabel)
        quantiles = several_quantiles(self)
        if quantiles is not None:
            self._check_quantiles(quantiles, n_outputs)

    def _check_quantiles(self, quantiles: tuple[float, ...], n_outputs: int) -> None:
        if len(quantiles) != n_outputs:
            raise ValueError(
                f"quantile={self.quantile!r} has {len(quantiles)} values, the network {n_outputs} outputs."
            )

    def _decide(self, outputs: np.ndarray) -> np.ndarray:
        quantiles = several_quantiles(self)
        if quantiles is not None:
            self._check_quantiles(quantiles, outputs.shape[1])
            return np.sort(outputs, axis=1)
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _to_average(self, outputs: np.ndarray) -> np.ndarray:
        return outputs if several_quantiles(self) is None else np.sort(outputs, axis=1)

    def _scoring_target(self, Y: np.ndarray) -> np.ndarray:
        is_one_target = Y.shape[1] == 1 or several_quantiles(self) is not None
        return Y[:, 0] if is_one_target else Y

    @_fit_context(prefer_skip_nested_validation=True)
    def initialize(self, X, y):
        """Draw the weights that ``fit`` would begin with, and train nothing.

        A ``fit`` with ``warm_start=True``, or ``partial_fit``, goes on from them, and with an integer
        ``random_state`` as if it had drawn them itself, to the last bit.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. What counts is the number of features and the type.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets. What counts is the number of outputs.

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
        return self._initialize(X, y)

    @available_if(lambda self: self._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y, sample_weight=None):
        """Train for one epoch on the given data, going on from the present state.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero.

        Returns
        -------
        self : object
            The trained estimator.

        Raises
        ------
        ValueError
            For invalid data or divergence, as in ``fit``.
        """
        return self._fit(X, y, sample_weight, incremental=True)

    def predict(self, X):
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        y : ndarray of shape (n_samples,) or (n_samples, n_outputs)
            Predictions; float32 where both X and the model are. Of a sequence of quantiles a column for each.
        """
        return self._predict(X)

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination R^2 of the predictions; of several quantiles the mean of their D^2.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            True values.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero.

        Returns
        -------
        score : float
            Where ``quantile`` is a sequence: the mean of :func:`sklearn.metrics.d2_pinball_score` over it.
        """
        return self._score(X, y, sample_weight)
