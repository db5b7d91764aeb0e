"""What the multi-layer perceptrons share: validation of parameters and data, fitting."""

from abc import abstractmethod
from copy import deepcopy
from functools import partial
from numbers import Integral
from typing import Any, ClassVar, Self

import numpy as np
from sklearn.base import _fit_context, is_classifier
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils._param_validation import validate_parameter_constraints
from sklearn.utils.validation import _check_y, validate_data

from fastnn.estimators.callbacks import CallbackSupport, Tasks
from fastnn.estimators.draft import Drafting, Remarks
from fastnn.estimators.mlp.checkpoints import check_state, checkpoint_of, kept_at_the_end
from fastnn.estimators.mlp.first_weights import first_weights
from fastnn.estimators.mlp.layers import (
    bias_rates,
    check_trainable,
    check_use,
    has_spare_biases,
    in_order,
    initial_factors,
    layers_with_bias,
    with_slope_at_zero,
)
from fastnn.estimators.mlp.learning_rates import check_learning_rates
from fastnn.estimators.mlp.many import refuse_ensemble, refuse_many, wants_many
from fastnn.estimators.mlp.members import FitArguments, Member, train_many
from fastnn.estimators.mlp.prediction import FittedMLP
from fastnn.estimators.mlp.soft_targets import SoftTargets
from fastnn.estimators.mlp.solver_options import check_solver_options
from fastnn.estimators.mlp.summary import SummaryMethods
from fastnn.estimators.mlp.training import (
    Following,
    check_one_epoch,
    fitted_attributes,
    remarks_on_a_fit,
    trained,
)
from fastnn.estimators.mlp.validation import (
    NONE_GIVEN,
    GivenRows,
    check_validation,
    given_data,
    kind_of_score,
)
from fastnn.estimators.on_device import refuse_sparse, rows_in_place
from fastnn.estimators.sparse_rows import canonical_csr
from fastnn.estimators.weights import checked_weights
from fastnn.kernels import device_number, device_rows, to_host
from fastnn.kernels.shared.device_rows import is_device_array
from fastnn.kernels.shared.threads import use_threads
from fastnn.networks.backends import rows_and_backend
from fastnn.networks.data import Data
from fastnn.networks.network import Network
from fastnn.networks.one_hot import OneHot
from fastnn.networks.saturation import saturation
from fastnn.networks.solvers import SOLVERS, STOCHASTIC_SOLVERS
from fastnn.networks.solvers.interface import Solution
from fastnn.tables.activations import DEFAULT
from fastnn.tables.dropout import NO_DROPOUT, Dropout
from fastnn.tables.losses import Head

# Attributes that a run sets or not, depending on the solver: a new model must not keep another one's.
_OF_THE_LAST_STEP = ("_optimizer", "_schedule", "_begun", "saturation_")
_OF_ONE_RUN = (
    "loss_",
    "best_loss_",
    "loss_curve_",
    "learning_rate_curve_",
    "validation_scores_",
    "best_validation_score_",
    "validation_loss_curve_",
    "best_epoch_",
    "_no_improvement_count",
    "_scoring",
    "best_init_",
    "estimators_",
    *_OF_THE_LAST_STEP,
)
# Beside these and the fitted attributes, what a fit of many networks must not keep of another fit.
_OF_ONE_NETWORK = (*_OF_ONE_RUN, "_random_state", "_label_binarizer")

# Parameters that a partial_fit of a fitted model, which scikit-learn lets pass, checks all the same.
_CHECKED_ALWAYS = {
    *("dropout", "precision", "loss", "out_activation", "huber_delta", "quantile"),
    *("class_weight", "label_smoothing"),
    *("noise", "tied_weights", "activation"),
    *("relu_grad_at_zero", "use_bias", "bias_learning_rate_factor", "accumulate_batches"),
    *("weight_decay", "rho", "momentum_decay", "max_grad_norm", "l1_alpha", "average"),
    *("learning_rate", "learning_rate_decay", "warmup_epochs"),
    *("scoring", "callback", "reset_optimizer", "checkpoint", "checkpoint_every"),
}


class BaseMLP(CallbackSupport, SummaryMethods, Drafting, FittedMLP):
    """Base of ``MLPClassifier``, ``MLPRegressor`` and ``Autoencoder``."""

    # Of a draft that is one of many networks: what the fit of all of them shares with it.
    _member: Member | None = None

    # What the subclasses add.

    # Whether targets are another thing than the rows.
    _has_targets: ClassVar[bool] = True

    @abstractmethod
    def _validate_input(
        self, X: Any, y: Any, classes: Any, incremental: bool, reset: bool
    ) -> tuple[Any, np.ndarray | OneHot]:
        """Check the data of a fit; return X and y, y with classes binarised, as the engine takes them."""

    @abstractmethod
    def _head(self) -> Head:
        """The output activation and the loss to train with."""

    def _row_weights(
        self,
        Y: np.ndarray | OneHot,
        sample_weight: np.ndarray | None,
        dtype: np.dtype,
        *,
        trained_on: bool = True,
    ) -> np.ndarray | None:
        """Weights of rows, from those that are given for them; None for equal ones.

        trained_on : whether the targets are those of the fit, which say what others count too
        """
        return sample_weight

    @abstractmethod
    def _scoring_target(self, Y: Any) -> Any:
        """Targets in the form of predictions, from the network's targets."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the network.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. float32 data are trained on in float32, all other in float64.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: class labels (or a 0/1 matrix of labels) for a classifier, numbers for a regressor.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero. None stands for equal weights.
        X_val : {array-like, sparse matrix} of shape (n_val, n_features), default=None
            Validation data, for the stochastic solvers: all rows of `X` are trained on, and after each epoch
            score and loss of these are recorded. With ``early_stopping=True`` they decide when to stop and
            which parameters are kept; else they do not touch the training. In a ``Pipeline`` with
            ``transform_input=["X_val"]`` they are transformed as `X` is.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Their targets. Not every class has to be there.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights, for score and loss.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid data; the estimator then is as it was before the call. Also where training
            diverges and no usable model comes of it: then a model fitted before is kept as it was, and at a
            first fit the estimator keeps the last finite parameters (with ``n_init`` or ``ensemble`` none).
        """
        given = GivenRows(X_val, y_val, sample_weight_val)
        return self._fit(X, y, sample_weight, incremental=False, given=given)

    def _fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        incremental: bool,
        classes: Any = None,
        given: GivenRows = NONE_GIVEN,
    ) -> Self:
        tasks = None if incremental else self._tasks(None if wants_many(self) else self.max_iter)
        return self._on_draft(
            lambda draft: draft._train(X, y, sample_weight, incremental, classes, given, tasks)
        )

    def _train(
        self,
        X: Any,
        y: Any,
        sample_weight: Any,
        incremental: bool,
        classes: Any,
        given: GivenRows,
        tasks: Tasks | None,
    ) -> Remarks:
        if incremental:
            refuse_ensemble(self, "partial_fit")
        elif wants_many(self):
            return train_many(self, FitArguments(X, y, sample_weight, classes, given), tasks, _OF_ONE_NETWORK)
        elif self.warm_start:
            refuse_ensemble(self, "warm_start=True")
        with use_threads(self.n_threads):
            first_fit = not hasattr(self, "coefs_")
            first_pass = first_fit or not (self.warm_start or incremental)
            if not incremental:
                check_validation(self, given, needs_y=self._has_targets)
            data, network, rng = self._prepare(X, y, sample_weight, classes, incremental, first_pass)
            check_state(self, incremental)
            if incremental:
                check_one_epoch(self)
            member = self._member
            rows = given_data(self, given, data) if member is None else member.validation
            checkpoint = checkpoint_of(self, data, rows)
            following = Following(rows, self.scoring, self.callback, tasks, checkpoint)
            if tasks is not None:
                labels = self._scoring_target(data.Y) if isinstance(y, SoftTargets) else y
                tasks.begin(self, X, labels, sample_weight)
            solution = self._solve(
                network, data, rng, following, first_pass=first_pass, one_epoch=incremental
            )
            seen = 0 if first_pass else self.t_
            for name in _OF_ONE_RUN if first_pass else _OF_THE_LAST_STEP:
                self.__dict__.pop(name, None)
            of_this_run = {"t_": seen, "_scoring": kind_of_score(self.scoring)}
            self.__dict__.update(of_this_run | fitted_attributes(solution))
            self._keep(network.coefs, network.intercepts, network.loss.output_activation)
            if solution.not_finite is None:
                if tasks is not None:
                    tasks.end()
                if incremental:
                    return solution.remark
                seen_last = partial(saturation, network, data.X, solution.bound)
                self.saturation_, remarks = kept_at_the_end(checkpoint, solution.state, seen_last)
                return (*remarks_on_a_fit(solution, network, self.saturation_), *remarks)
            error = ValueError(f"Solver produced non-finite {solution.not_finite}. {solution.remedy}")
            if not first_fit:
                raise error
        return error

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
        """Train the network; see ``trained``."""
        return trained(self, network, data, rng, following, first_pass=first_pass, one_epoch=one_epoch)

    def _initialize(self, X: Any, y: Any, classes: Any = None) -> Self:
        if wants_many(self):
            refuse_many(self, "initialize")
        return self._on_draft(lambda draft: draft._begin(X, y, classes))

    def _begin(self, X: Any, y: Any, classes: Any) -> None:
        """What a first fit does before its first step."""
        # Of this draft: a former fit counts for nothing, and dropout's number is drawn when training begins.
        self.warm_start, self.dropout = False, 0.0
        for name in (*_OF_ONE_RUN, "classes_"):
            self.__dict__.pop(name, None)
        with use_threads(self.n_threads):
            _, network, rng = self._prepare(X, y, None, classes, incremental=False, first_pass=True)
        self._keep(network.coefs, network.intercepts, network.loss.output_activation)
        self.t_ = self.n_iter_ = 0
        if isinstance(self.random_state, Integral):
            self._begun: tuple[int, np.random.RandomState] = self.random_state, rng

    def _random_numbers(self, first_pass: bool) -> np.random.RandomState:
        """Source of the random numbers of a fit.

        The first fit after ``initialize`` goes on where a fit with this integer would be, behind the weights.
        """
        if not first_pass and hasattr(self, "_begun"):
            seed, rng = self._begun
            if seed == self.random_state:
                return deepcopy(rng)
        return check_random_state(self.random_state)

    def _prepare(
        self, X: Any, y: Any, sample_weight: Any, classes: Any, incremental: bool, first_pass: bool
    ) -> tuple[Data, Network, np.random.RandomState]:
        """Validate the arguments of a fit; build the network that it trains."""
        hidden = self._hidden_layer_sizes()
        self._check_parameters()
        if self._member is not None:
            X, y = self._member.data
        else:
            X, y = self._validate_input(X, y, classes, incremental, reset=first_pass)
        if isinstance(y, np.ndarray) and y.ndim == 1:
            y = y.reshape(-1, 1)
        sizes = [X.shape[1], *hidden, y.shape[1]]
        n_layers = len(sizes) - 1
        names, has_bias = self._activation_names(len(hidden)), layers_with_bias(self, n_layers)
        check_trainable(self, names)
        activations = with_slope_at_zero(self, names)
        rng = self._random_state = self._random_numbers(first_pass)
        if first_pass:
            coefs, intercepts = self._first_parameters(rng, sizes, activations, has_bias, X.dtype)
        else:
            coefs, intercepts = self._present_parameters(sizes, has_bias)
        dtype = np.result_type(*coefs, *intercepts)
        if sample_weight is not None:
            sample_weight = checked_weights(sample_weight, X, dtype)
        sample_weight = self._row_weights(y, sample_weight, dtype)
        dropout = NO_DROPOUT
        if self.dropout > 0:  # else nothing is drawn, and all is as without the parameter
            # With an integer random_state each fit of a warm start draws the same number, and its steps count
            # from 0: the samples seen before make it another one.
            seen = 0 if first_pass else int(getattr(self, "t_", 0))
            seed = (int(rng.randint(2**63 - 1, dtype=np.int64)) + seen) % 2**63
            dropout = Dropout(float(self.dropout), seed)
        rows, backend = rows_and_backend(X)
        network = Network(
            sizes,
            hidden_activation=activations,
            loss=self._head(),
            dtype=dtype,
            bias_rates=bias_rates(self, n_layers),
            backend=backend,
            dropout=dropout,
        )
        network.load(coefs, intercepts)
        if isinstance(y, np.ndarray) and y.dtype != np.bool_:
            y = np.ascontiguousarray(y, dtype)
        return Data(rows.astype(dtype), y, sample_weight), network, rng

    def _check_parameters(self) -> None:
        """Make sure that the parameters are valid, and that the solver has a use for them."""
        checked = _CHECKED_ALWAYS & self._parameter_constraints.keys()
        validate_parameter_constraints(
            {name: self._parameter_constraints[name] for name in checked},
            {name: getattr(self, name) for name in checked},
            type(self).__name__,
        )
        check_use(self)
        check_learning_rates(self)
        check_solver_options(self)
        if is_classifier(self) and not SOLVERS[self.solver].classifies:
            able = [name for name, solver in SOLVERS.items() if solver.classifies]
            raise ValueError(
                f"solver={self.solver!r} minimises the squared errors of an MLPRegressor. "
                f"{type(self).__name__} takes one of {able}."
            )

    def _first_parameters(
        self,
        rng: np.random.RandomState,
        sizes: list[int],
        activations: tuple[str, ...],
        has_bias: tuple[bool, ...],
        dtype: np.dtype,
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Weights and biases that the training of a new network begins with."""
        lone = self.activation if isinstance(self.activation, str) else DEFAULT
        coefs, intercepts = first_weights(self, rng, sizes, initial_factors(activations, lone), dtype)
        return coefs, [b if used else np.zeros_like(b) for b, used in zip(intercepts, has_bias, strict=True)]

    def _present_parameters(
        self, sizes: list[int], has_bias: tuple[bool, ...]
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Weights and biases of the fitted network, which training goes on from.

        Raises
        ------
        ValueError
            The parameters and the data ask for another network.
        """
        coefs, intercepts = self._checked_parameters()
        former = [len(coefs[0]), *map(len, intercepts)]
        if former != sizes:
            raise ValueError(
                f"Cannot continue training: hidden_layer_sizes and y ask for layers of {sizes} units, "
                f"the fitted network has {former}."
            )
        if has_spare_biases(intercepts, has_bias):
            raise ValueError(
                f"Cannot continue training: use_bias={self.use_bias!r}, and the fitted network has some."
            )
        return coefs, intercepts

    def _validated(self, X: Any, y: Any, *, y_numeric: bool = False, reset: bool) -> tuple[Any, np.ndarray]:
        """X and y of a fit, checked: X as an array, a sparse matrix or rows on a GPU."""
        number = device_number(self.device, (X, y))
        y = canonical_csr(to_host(y), "y")
        refuse_sparse(X, number)
        if number is not None and is_device_array(X):
            if y is None:
                raise ValueError(
                    f"This {type(self).__name__} estimator requires y to be passed, but the target y is None."
                )
            y = _check_y(y, multi_output=True, y_numeric=y_numeric, estimator=self)
            check_consistent_length(np.empty((X.shape[0], 0)), y)
            return rows_in_place(self, X, number, reset=reset), y
        X, y = validate_data(
            self,
            canonical_csr(to_host(X)),
            y,
            accept_sparse="csr",
            multi_output=True,
            y_numeric=y_numeric,
            dtype=[np.float64, np.float32],
            reset=reset,
        )
        return X if number is None else device_rows(X, number, self.precision), y

    def _hidden_layer_sizes(self) -> list[int]:
        sizes = self.hidden_layer_sizes
        sizes = list(in_order("hidden_layer_sizes", sizes)) if hasattr(sizes, "__iter__") else [sizes]
        if not all(isinstance(size, Integral) and not isinstance(size, bool) for size in sizes):
            raise ValueError(f"hidden_layer_sizes must hold integers, got {sizes}.")
        if any(size <= 0 for size in sizes):
            raise ValueError(f"hidden_layer_sizes must be > 0, got {sizes}.")
        return [int(size) for size in sizes]

    def _check_solver(self) -> bool:
        if wants_many(self):
            raise AttributeError(
                "partial_fit is only available for one network, with n_init=1 and ensemble=None."
            )
        if self.solver not in STOCHASTIC_SOLVERS:
            raise AttributeError(
                f"partial_fit is only available for stochastic optimizers. {self.solver} is not stochastic."
            )
        return True

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags
