"""Autoencoder: a network that learns to give its inputs back, through fewer numbers."""

from collections.abc import Iterable
from typing import Any, cast

import numpy as np
from scipy import sparse
from sklearn.base import _fit_context
from sklearn.metrics import mean_squared_error
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.metaestimators import available_if
from sklearn.utils.validation import validate_data

from fastnn.estimators.declaration import AT_LEAST_ONE, NOT_NEGATIVE, declared, estimator, one_of, parameter
from fastnn.estimators.mlp.base import BaseMLP
from fastnn.estimators.mlp.coding import CodingMethods
from fastnn.estimators.mlp.conversion import AutoencoderConversion
from fastnn.estimators.mlp.layers import activation_names
from fastnn.estimators.mlp.parameters import MLPParameters
from fastnn.estimators.mlp.pretraining import pretrain
from fastnn.estimators.mlp.training import Following, trained
from fastnn.estimators.mlp.validation import GivenRows
from fastnn.estimators.on_device import refuse_sparse, rows_in_place
from fastnn.estimators.sparse_rows import canonical_csr
from fastnn.kernels import device_number, device_rows, to_host
from fastnn.kernels.shared.device_rows import is_device_array
from fastnn.networks.data import Data
from fastnn.networks.network import Network
from fastnn.networks.noise import NoisyRows
from fastnn.networks.rows import HostRows
from fastnn.networks.solvers import SOLVERS
from fastnn.networks.solvers.interface import Solution
from fastnn.networks.tied import TiedNetwork, is_tied
from fastnn.tables.activations import DEFAULT, LAYER_ACTIVATIONS
from fastnn.tables.losses import Head, head_of

# Levenberg-Marquardt is for few parameters and few outputs.
_SOLVERS = [name for name in SOLVERS if name != "lm"]


@declared
class AutoencoderParameters(MLPParameters):
    """What an autoencoder can be told."""

    hidden_layer_sizes: int | Iterable[int] = parameter(
        "array-like",
        AT_LEAST_ONE,
        default=(32,),
        kind="array-like of int or int",
        kw_only=False,
        doc="""
        Units of each layer of the encoder, of which the last one is the code. The decoder has the same layers
        in reverse order, and then an output for each feature.
        """,
    )
    activation: str | Iterable[str] = parameter(
        StrOptions(set(LAYER_ACTIVATIONS)),
        "array-like",
        default=DEFAULT,
        kind="str or sequence of str",
        kw_only=False,
        doc="""
        Activation of the hidden layers, or a sequence of one name for each layer of the encoder, the code
        included; the names are those of :class:`MLPRegressor`. A hidden layer of the decoder has that of the
        encoder's layer with as many units, its mirror image. Outputs have none.
        """,
    )
    solver: str = parameter(
        StrOptions(set(_SOLVERS)),
        default="adam",
        kind=one_of(_SOLVERS),
        doc="""
        How the loss is minimised: ``"lbfgs"`` is a quasi-Newton method on all samples at once, which suits
        small data; the others, of which ``"adam"`` is [3]_, step after every mini-batch, as those of
        :class:`MLPRegressor`.
        """,
    )
    pretrain: str | None = parameter(
        StrOptions({"layerwise"}),
        None,
        default=None,
        kind='{None, "layerwise"}',
        doc="""
        ``"layerwise"`` trains the layers one after the other before all of them together [5]_: each layer of
        the encoder with its mirror image, as an autoencoder of the codes of the layer before, with the same
        parameters and ``max_iter`` epochs for each. Attributes speak of the training of all layers, which
        follows. ``partial_fit``, and ``fit`` with ``warm_start=True`` of a fitted model, pretrain nothing.
        """,
    )
    noise: float = parameter(
        NOT_NEGATIVE,
        default=0.0,
        doc="""
        Standard deviation of Gaussian noise that is added to the inputs, in each epoch anew, while the
        outputs are to be the inputs without it: a denoising autoencoder [6]_. With ``pretrain`` codes get it
        too. It follows from ``random_state``. For the stochastic solvers, on the processor.
        """,
    )
    tied_weights: bool = parameter(
        "boolean",
        default=False,
        doc="""
        Whether the weights of the decoder are the transposed ones of the encoder: one set of parameters, with
        the sum of the gradients of both uses, and ``alpha`` for both. Biases are apart. On the processor, and
        with ``accumulate_batches=1``.
        """,
    )


def _negative_error(X: Any, reconstruction: Any, *, sample_weight: Any = None) -> float:
    return -float(mean_squared_error(X, reconstruction, sample_weight=sample_weight))


@estimator
class Autoencoder(AutoencoderConversion, CodingMethods, BaseMLP, AutoencoderParameters):
    """Network that learns to give its inputs back, through a code of fewer numbers.

    An encoder makes a code of each sample, and a decoder the sample of its code [1]_. Both are trained
    together, to the least squared error. Training, and the parameters that it has, are those of
    :class:`MLPRegressor`; first parameters are drawn by the same rule [2]_.

    Attributes
    ----------
    coefs_ : list of ndarray of shape (n_in, n_out)
        Weights of each layer, the encoder's and then the decoder's, of the type of the training data
        (float32 or float64). All methods use what is in this list, so entries may be replaced.
    intercepts_ : list of ndarray of shape (n_out,)
        Biases of each layer.
    saturation_ : ndarray of shape (n_hidden_layers,)
        Share of the units of each hidden layer, the decoder's included, that hardly learn any more at the end
        of ``fit``, as of :class:`MLPRegressor`. Where it is above 0.9, fit warns.
    loss_ : float
        Loss of the last epoch or iteration: half the squared error per element, penalty included.
    loss_curve_ : list of float
        Loss of each epoch, with its noise and dropout. Like the next six, not for ``solver="lbfgs"``.
    learning_rate_curve_ : list of float
        Learning rate of the first step of each epoch.
    best_loss_ : float or None
        Least loss of an epoch; None with ``early_stopping``.
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
    n_features_in_ : int
        Features seen at fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where X had column names that are strings.
    n_iter_ : int
        Epochs or iterations of the last fit.
    n_layers_ : int
        Layers of encoder and decoder, input and output included.
    n_outputs_ : int
        Units of the output layer, as many as features.
    out_activation_ : str
        Activation of the output layer, ``"identity"``.

    See Also
    --------
    MLPRegressor : The same network for other targets.
    sklearn.decomposition.PCA : The linear autoencoder of the least error, without iterations.

    References
    ----------
    .. [1] Hinton and Salakhutdinov (2006), "Reducing the dimensionality of data with neural networks",
       Science 313, 504-507.
    .. [2] Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural
       networks", AISTATS, eq. 16.
    .. [3] Kingma and Ba (2014), "Adam: a method for stochastic optimization", arXiv:1412.6980, algorithm 1.
    .. [4] Srivastava, Hinton, Krizhevsky, Sutskever and Salakhutdinov (2014), "Dropout: a simple way to
       prevent neural networks from overfitting", JMLR 15, 1929-1958.
    .. [5] Bengio, Lamblin, Popovici and Larochelle (2007), "Greedy layer-wise training of deep networks",
       NeurIPS 19.
    .. [6] Vincent, Larochelle, Lajoie, Bengio and Manzagol (2010), "Stacked denoising autoencoders", JMLR 11,
       3371-3408.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import Autoencoder
    >>> angle = np.linspace(0, 2 * np.pi, 200)
    >>> X = np.column_stack([np.cos(angle), np.sin(angle), np.cos(2 * angle)])
    >>> model = Autoencoder((10, 2), "tanh", solver="lbfgs", max_iter=1000, random_state=0).fit(X)
    >>> model.transform(X).shape
    (200, 2)
    >>> bool(model.reconstruction_error(X) < 0.001)
    True
    """

    _score_function = staticmethod(_negative_error)
    _has_targets = False

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None, *, X_val=None, sample_weight_val=None):
        """Train encoder and decoder.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. float32 data are trained on in float32, all other in float64. What the outputs are
            held against is dense, so that sparse data need memory for all their elements.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero. None stands for equal weights.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation data, for the stochastic solvers: all rows of `X` are trained on, and after each epoch
            score and loss of these are recorded. With ``early_stopping=True`` they decide when to stop and
            which parameters are kept; else they do not touch the training.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights, for score and loss.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid data or parameters, or where training diverges and no usable model comes of it; see
            :class:`MLPRegressor`.
        """
        given = GivenRows(X_val, None, sample_weight_val)
        return self._fit(X, None, sample_weight, incremental=False, given=given)

    @available_if(lambda self: self._check_solver())
    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """Train for one epoch on the given data, going on from the present state.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : Ignored
            Not used, present for API consistency.
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
        return self._fit(X, None, sample_weight, incremental=True)

    def fit_transform(self, X, y=None, sample_weight=None, *, X_val=None, sample_weight_val=None):
        """Train encoder and decoder, and encode the training data.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation data, as of ``fit``.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_code)
        """
        fitted = self.fit(X, None, sample_weight, X_val=X_val, sample_weight_val=sample_weight_val)
        return fitted.transform(X)

    def _hidden_layer_sizes(self) -> list[int]:
        encoder = super()._hidden_layer_sizes()
        if not encoder:
            raise ValueError("hidden_layer_sizes must have at least one layer, the code; got none.")
        return [*encoder, *encoder[-2::-1]]

    def _activation_names(self, n_hidden: int) -> tuple[str, ...]:
        encoder = activation_names(self, n_hidden // 2 + 1)
        return (*encoder, *encoder[-2::-1])

    def _validate_input(
        self, X: Any, y: Any, classes: Any, incremental: bool, reset: bool
    ) -> tuple[Any, np.ndarray]:
        number = device_number(self.device, (X,))
        refuse_sparse(X, number)
        if number is not None and is_device_array(X):
            return rows_in_place(self, X, number, reset=reset), to_host(X)
        X = validate_data(
            self, canonical_csr(to_host(X)), accept_sparse="csr", dtype=[np.float64, np.float32], reset=reset
        )
        if number is not None:
            return device_rows(X, number, self.precision), X
        return X, X.toarray() if sparse.issparse(X) else X

    def _head(self) -> Head:
        return head_of("squared_error")

    def _decide(self, outputs: np.ndarray) -> np.ndarray:
        return outputs

    def _scoring_target(self, Y: np.ndarray) -> np.ndarray:
        return Y

    # Training.

    def _solve(
        self,
        network: Network,
        data: Data,
        rng: np.random.RandomState,
        following: Following,
        *,
        first_pass: bool,
        one_epoch: bool,
    ) -> Solution:
        # Of what a rule has drawn the decoder's part does not count.
        self._refuse(network, data, drawn=first_pass and not isinstance(self.weight_init, list | tuple))
        source: np.random.Generator | None = None
        if self.noise > 0:  # else nothing is drawn
            # With an integer random_state each call draws the same number; samples seen make it another one.
            seed = int(rng.randint(2**31 - 1))
            source = np.random.default_rng([seed, 0 if first_pass else int(self.t_)])
        if self.pretrain == "layerwise" and first_pass and not one_epoch:
            validation = following.validation if self.early_stopping else None
            # Scorers and callbacks are for the whole network.
            pretrain(
                network,
                data,
                validation,
                lambda pair, data, rows: self._trained(pair, data, rng, source, Following(rows)),
                self.precision,
            )
        return self._trained(
            network, data, rng, source, following, first_pass=first_pass, one_epoch=one_epoch
        )

    def _trained(
        self,
        network: Network,
        data: Data,
        rng: np.random.RandomState,
        source: np.random.Generator | None,
        following: Following,
        *,
        first_pass: bool = True,
        one_epoch: bool = False,
    ) -> Solution:
        """Train a network, with noise from a source, and tied weights."""
        inputs = None if source is None else NoisyRows(cast(np.ndarray, data.Y), self.noise, source)
        tied = TiedNetwork(network) if self.tied_weights else None
        solution = trained(
            self,
            tied or network,
            data,
            rng,
            following,
            inputs=inputs,
            first_pass=first_pass,
            one_epoch=one_epoch,
        )
        if tied is not None:
            tied.unfold()
        return solution

    def _refuse(self, network: Network, data: Data, *, drawn: bool) -> None:
        """Raise what is to be said of parameters that do not go together.

        drawn : whether the weights come from a rule rather than from the user or a former fit
        """
        if not isinstance(data.X, HostRows) and (self.noise > 0 or self.tied_weights):
            raise ValueError("noise and tied_weights need the processor: set device='cpu'.")
        if not self.tied_weights:
            return
        if self.accumulate_batches > 1:
            raise ValueError(f"accumulate_batches={self.accumulate_batches} needs tied_weights=False.")
        if not (drawn or is_tied(network.coefs)):
            raise ValueError(
                "tied_weights=True needs weights of the decoder that are the transposed ones of the encoder; "
                "those of weight_init, or of the fitted network, are not."
            )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags
