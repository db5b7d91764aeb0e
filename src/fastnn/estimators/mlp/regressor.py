"""MLPRegressor: a multi-layer perceptron with scikit-learn's interface and results."""

from typing import Any, ClassVar

import numpy as np
from sklearn.base import RegressorMixin, _fit_context
from sklearn.metrics import r2_score
from sklearn.utils import check_array
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if

from fastnn.estimators.mlp.base import BaseMLP
from fastnn.estimators.mlp.targets import as_vector
from fastnn.estimators.sparse_rows import canonical_csr
from fastnn.estimators.weights import checked_weights
from fastnn.kernels import to_host, to_kind_of
from fastnn.tables.activations import DEFAULT
from fastnn.tables.losses import LOSSES


class MLPRegressor(RegressorMixin, BaseMLP):
    """Multi-layer perceptron that predicts numbers.

    A dense network trained by back-propagation [1]_. Parameters, attributes and results are those of
    :class:`sklearn.neural_network.MLPRegressor`; first parameters are drawn by its rule [2]_.

    Parameters
    ----------
    loss : {"squared_error", "poisson"}, default="squared_error"
        Half the squared error, averaged over outputs in ``loss_`` though summed in the gradient; or half
        the Poisson deviance, for targets that are not negative, with an exponential output.
    hidden_layer_sizes : array-like of int or int, default=(100,)
        Units of each hidden layer; ``()`` makes a linear model.
    activation : str, default="relu"
        Activation of the hidden layers: scikit-learn's ``"identity"``, ``"logistic"``, ``"tanh"`` and
        ``"relu"``, or any other hidden activation of :mod:`fastnn.tables.activations`.
    solver : {"lbfgs", "sgd", "adam"}, default="adam"
        How the loss is minimised: ``"adam"`` [3]_ and ``"sgd"`` step after every mini-batch, ``"lbfgs"`` is a
        quasi-Newton method on all samples at once, which suits small data.
    alpha : float, default=0.0001
        Weight of the L2 penalty ``0.5 * alpha * sum(W**2)``, which is divided by the samples of the batch.
    batch_size : int or "auto", default="auto"
        Samples of a mini-batch; ``"auto"`` stands for ``min(200, n_samples)``.
    learning_rate : {"constant", "invscaling", "adaptive"}, default="constant"
        Schedule of the rate of ``solver="sgd"``: constant; ``learning_rate_init / (t_ + 1)**power_t``; or
        divided by 5 each time that progress stalls as described at ``tol``, until it is 1e-6.
    learning_rate_init : float, default=0.001
        First learning rate of the stochastic solvers.
    power_t : float, default=0.5
        Exponent of ``learning_rate="invscaling"``.
    max_iter : int, default=200
        Most epochs (passes over the data) of a stochastic solver, or iterations of ``"lbfgs"``.
    shuffle : bool, default=True
        Visit the samples of each epoch in a new random order.
    random_state : int, RandomState instance or None, default=None
        Source of the first parameters, of the early-stopping split, of the orders of the epochs and of
        dropout.
    tol : float, default=1e-4
        An epoch counts as progress where the training loss (with ``early_stopping`` the validation score)
        improves on the best so far by ``tol``. Training stops after more than ``n_iter_no_change`` epochs
        without progress. For ``"lbfgs"`` the largest gradient component of a solution.
    verbose : bool, default=False
        Print the loss of each epoch.
    warm_start : bool, default=False
        Begin ``fit`` with the parameters of the previous fit.
    momentum : float, default=0.9
        Momentum of ``solver="sgd"``, between 0 and 1.
    nesterovs_momentum : bool, default=True
        Use Nesterov's form of the momentum.
    early_stopping : bool, default=False
        Hold out ``validation_fraction`` of the data (stratified for a single column of classes), judge
        progress by the score on it, and keep the parameters of the best epoch.
    validation_fraction : float, default=0.1
        Share of the data held out, at least two samples.
    beta_1, beta_2 : float, default=0.9, 0.999
        Decay rates of the first and second moment of ``solver="adam"``, in [0, 1).
    epsilon : float, default=1e-8
        Added to the root of the second moment of ``solver="adam"``.
    n_iter_no_change : int, default=10
        See ``tol``.
    max_fun : int, default=15000
        Most evaluations of the loss by ``solver="lbfgs"``.
    n_threads : int, default=None
        Threads that a call of a method uses at most. None stands for all cores that this process may use: as
        ``NUMBA_NUM_THREADS``, ``numba.set_num_threads``, the processor affinity, the cgroup's quota and
        joblib's limits for its workers allow. The result does not depend on it.
    device : {"cpu", "cuda", "cuda:0", "cuda:1", ...}, default=None
        Where to compute, on the processor or an NVIDIA GPU. None follows the data of each call: the GPU for
        an array that lies there (CuPy's, PyTorch's, ...; used in place if it is contiguous and float32 or
        float64), else the processor. Arrays of NumPy that a GPU has no room for go there in blocks. What a
        method returns is of the kind of its data, if that is an array of numbers; fitted attributes are
        arrays of NumPy, so a model that was fitted on a GPU can be loaded without one. Sparse data need the
        processor.
    precision : {None, "tf32"}, default=None
        "tf32" lets a GPU of compute capability 8.0 or later multiply float32 on its tensor cores, with
        factors rounded to 11 significant bits.
    dropout : float, default=0.0
        Probability in [0, 1) with which each unit of a hidden layer is left out of a training step, for each
        sample anew; the others are divided by ``1 - dropout`` [4]_. Predictions and validation scores use all
        units, ``loss_`` and ``loss_curve_`` are those of training. Not for ``solver="lbfgs"``. The units left
        out follow from ``random_state`` alone, on every device.

    Attributes
    ----------
    loss_ : float
        Loss of the last epoch or iteration, penalty included.
    best_loss_ : float or None
        Least loss of an epoch; None with ``early_stopping``. Like the next three, only for the stochastic
        solvers.
    loss_curve_ : list of float
        Mean loss of the batches of each epoch, each before its step.
    validation_scores_ : list of float or None
        R squared on the held-out data after each epoch; None without ``early_stopping``.
    best_validation_score_ : float or None
        The highest of them.
    t_ : int
        Training samples seen, repetitions counted.
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights of each layer, of the type of the training data (float32 or float64). Predictions use what
        is in this list, so entries may be replaced.
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer.
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
        Activation of the output layer: identity, or exp for ``loss="poisson"``.

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

    _parameter_constraints: ClassVar[dict] = {
        **BaseMLP._parameter_constraints,
        "loss": [StrOptions({loss.name for loss in LOSSES if loss.regression})],
    }
    _score_function = staticmethod(r2_score)

    def __init__(
        self,
        loss="squared_error",
        hidden_layer_sizes=(100,),
        activation=DEFAULT,
        *,
        solver="adam",
        alpha=0.0001,
        batch_size="auto",
        learning_rate="constant",
        learning_rate_init=0.001,
        power_t=0.5,
        max_iter=200,
        shuffle=True,
        random_state=None,
        tol=1e-4,
        verbose=False,
        warm_start=False,
        momentum=0.9,
        nesterovs_momentum=True,
        early_stopping=False,
        validation_fraction=0.1,
        beta_1=0.9,
        beta_2=0.999,
        epsilon=1e-8,
        n_iter_no_change=10,
        max_fun=15000,
        n_threads=None,
        device=None,
        precision=None,
        dropout=0.0,
    ):
        self.loss = loss
        super().__init__(
            hidden_layer_sizes=hidden_layer_sizes,
            activation=activation,
            solver=solver,
            alpha=alpha,
            batch_size=batch_size,
            learning_rate=learning_rate,
            learning_rate_init=learning_rate_init,
            power_t=power_t,
            max_iter=max_iter,
            shuffle=shuffle,
            random_state=random_state,
            tol=tol,
            verbose=verbose,
            warm_start=warm_start,
            momentum=momentum,
            nesterovs_momentum=nesterovs_momentum,
            early_stopping=early_stopping,
            validation_fraction=validation_fraction,
            beta_1=beta_1,
            beta_2=beta_2,
            epsilon=epsilon,
            n_iter_no_change=n_iter_no_change,
            max_fun=max_fun,
            n_threads=n_threads,
            device=device,
            precision=precision,
            dropout=dropout,
        )

    def _validate_input(
        self, X: Any, y: Any, classes: Any, incremental: bool, reset: bool
    ) -> tuple[Any, np.ndarray]:
        X, y = self._validated(X, y, y_numeric=True, reset=reset)
        check_array(y, ensure_2d=False, dtype="numeric", input_name="y")  # no sparse matrix, no strings
        if y.dtype.kind not in "biuf":  # dates
            raise TypeError(f"y must hold real numbers, got dtype {y.dtype}.")
        if y.ndim == 2 and y.shape[1] == 1:
            y = as_vector(y)
        if self.loss == "poisson" and (y < 0).any():
            raise ValueError(f"Some value(s) of y are out of the valid range of the loss {self.loss!r}.")
        return X, y

    def _network_loss(self) -> str:
        return self.loss

    def _decide(self, outputs: np.ndarray) -> np.ndarray:
        return outputs.ravel() if outputs.shape[1] == 1 else outputs

    def _scoring_target(self, Y: np.ndarray) -> np.ndarray:
        return Y

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
            Predictions; float32 where both X and the model are.
        """
        return to_kind_of(X, self._decide(self._outputs(X)), self.device)

    def score(self, X, y, sample_weight=None):
        """Coefficient of determination R^2 of the predictions.

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
        """
        if sample_weight is not None:
            sample_weight = checked_weights(sample_weight, X)
        y = canonical_csr(to_host(y), "y")
        return self._score_function(y, self._decide(self._outputs(X)), sample_weight=sample_weight)
