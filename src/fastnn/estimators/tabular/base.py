"""What the networks for tables share: fitting, the forward pass, and many networks at a time."""

from abc import ABC, abstractmethod
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import BaseEstimator, _fit_context
from sklearn.utils import check_consistent_length, check_random_state
from sklearn.utils.validation import check_is_fitted

from fastnn.estimators.callbacks import CallbackSupport, Tasks
from fastnn.estimators.draft import Drafting, Remarks
from fastnn.estimators.mlp.layers import in_order
from fastnn.estimators.mlp.members import Member
from fastnn.estimators.mlp.validation import GivenRows
from fastnn.estimators.tabular.columns import columns_of_fit, columns_of_predict
from fastnn.estimators.tabular.members import splits_of, train_members, wants_many
from fastnn.estimators.tabular.network_parameters import RealMLPParameters
from fastnn.estimators.tabular.training import (
    LearntTargets,
    Table,
    Targets,
    Training,
    inputs_of,
    train_network,
)
from fastnn.estimators.weights import checked_weights
from fastnn.kernels.shared.threads import use_threads
from fastnn.networks.backends import predict
from fastnn.networks.columns import Columns
from fastnn.networks.encoding import Encoding


class BaseRealMLP(CallbackSupport, Drafting, RealMLPParameters, BaseEstimator, ABC):
    """Base of ``RealMLPClassifier`` and ``RealMLPRegressor``."""

    # Of a draft that is one of many networks: what the fit of all of them shares with it.
    _member: Member | None = None

    # What the subclasses add.

    activation: str
    learning_rate_init: float
    encoding_: Encoding
    out_of_fold_: np.ndarray

    @abstractmethod
    def _checked_targets(self, y: Any, *, reset: bool) -> Targets:
        """The user's targets, checked, as a matrix; `reset` where they are those of a fit."""

    @abstractmethod
    def _learn_targets(self, Y: Targets) -> LearntTargets:
        """What a network is to learn, from the targets of its training rows."""

    @abstractmethod
    def _strata(self, Y: Targets) -> np.ndarray | None:
        """Classes of the rows, of which each fold gets its share; None where there are none."""

    @abstractmethod
    def _to_average(self, outputs: np.ndarray) -> np.ndarray:
        """What is the mean over networks, from the outputs of this one."""

    def _row_weights(
        self, Y: Targets, sample_weight: np.ndarray | None, *, trained_on: bool
    ) -> np.ndarray | None:
        """Weights of rows, from those that are given for them; None for equal ones."""
        return sample_weight

    # Fitting.

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y, sample_weight=None, *, X_val=None, y_val=None, sample_weight_val=None):
        """Fit the network.

        Parameters
        ----------
        X : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_samples, n_features)
            Training data: numbers and categories.
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
            Targets: class labels for a classifier, numbers for a regressor.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero. None stands for equal weights.
        X_val : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_val, n_features), default=None
            Validation data, which say which epoch is the best: then all rows of `X` are trained on.
        y_val : array-like of shape (n_val,) or (n_val, n_outputs), default=None
            Their targets. Not every class has to be there.
        sample_weight_val : array-like of shape (n_val,), default=None
            Their weights, for the score and the loss.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            For invalid data, or where training diverges; the estimator then is as it was before the call.
        """
        tasks = self._tasks(None if wants_many(self) else self.max_iter)
        given = GivenRows(X_val, y_val, sample_weight_val)
        return self._on_draft(lambda draft: draft._train(X, y, sample_weight, given, tasks))

    def _train(self, X: Any, y: Any, sample_weight: Any, given: GivenRows, tasks: Tasks | None) -> Remarks:
        for name in [name for name in vars(self) if name.endswith("_") and not name.startswith("_")]:
            delattr(self, name)
        self._hidden_layer_sizes()
        _check_given(self, given)
        with use_threads(self.n_threads):
            table = self._table(columns_of_fit(self, X), y, sample_weight, reset=True)
            validation = None
            if given.X is not None:
                try:
                    columns = columns_of_predict(self, given.X)
                    validation = self._table(columns, given.y, given.sample_weight, reset=False)
                except ValueError as error:
                    raise ValueError(f"Of X_val, y_val and sample_weight_val: {error}") from error
            if tasks is not None:
                tasks.begin(self, X, y, sample_weight)
            rng = check_random_state(self.random_state)
            splits = [(None, None)] if validation is not None else splits_of(self, table, rng)
            judges = table if validation is None else validation
            if wants_many(self):
                remarks: Remarks = train_members(self, table, judges, splits, rng)
            else:
                remarks = train_network(self, Training(table, splits[0][0], judges, splits[0][1], rng), tasks)
            if tasks is not None:
                tasks.end()
        return remarks

    def _table(self, columns: Columns, y: Any, sample_weight: Any, *, reset: bool) -> Table:
        """Rows with targets and weights, checked."""
        if y is None:
            raise ValueError(
                f"This {type(self).__name__} estimator requires y to be passed, but the target y is None."
            )
        Y = self._checked_targets(y, reset=reset)
        rows = np.empty((columns.n_rows, 0))
        check_consistent_length(rows, np.empty((Y.shape[0], 0)))
        if sample_weight is not None:
            sample_weight = checked_weights(sample_weight, rows, np.float32)
        return Table(columns, Y, self._row_weights(Y, sample_weight, trained_on=reset))

    def _hidden_layer_sizes(self) -> list[int]:
        sizes = in_order("hidden_layer_sizes", self.hidden_layer_sizes)
        if not sizes or not all(isinstance(size, Integral) and int(size) > 0 for size in sizes):
            raise ValueError(
                "hidden_layer_sizes must hold integers above 0, one at least; got "
                f"{self.hidden_layer_sizes!r}."
            )
        return [int(size) for size in sizes]

    # Predicting.

    def _outputs(self, X: Any) -> np.ndarray:
        """What is to be averaged over networks (n_samples, n_outputs), and is, where there are many."""
        check_is_fitted(self)
        columns = columns_of_predict(self, X)
        with use_threads(self.n_threads):
            return self._outputs_of(columns)

    def _outputs_of(self, columns: Columns, rows: np.ndarray | None = None) -> np.ndarray:
        """The same for checked rows, or some of them."""
        members: list[Self] | None = getattr(self, "estimators_", None)
        if members is not None:
            total = members[0]._outputs_of(columns, rows)
            for member in members[1:]:
                total += member._outputs_of(columns, rows)
            total /= len(members)
            return total
        encoded = self.encoding_.encode(columns, rows)
        if encoded.is_wide:
            return self._to_average(self._forward(inputs_of(encoded)))
        outputs = np.empty((len(encoded), self.n_outputs_), np.float32)
        for part, block in encoded.blocks():
            outputs[part] = self._forward(block)
        return self._to_average(outputs)

    def _forward(self, X: Any) -> np.ndarray:
        """Outputs of the network for its inputs."""
        return predict(
            X,
            self.coefs_,
            self.intercepts_,
            hidden_activation=self.activation,
            output_activation=self.out_activation_,
        )

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "median"
        return tags


def _check_given(model: BaseRealMLP, given: GivenRows) -> None:
    """Make sure that what is said of validation goes together, and with the parameters."""
    for name, value in (("y_val", given.y), ("sample_weight_val", given.sample_weight)):
        if given.X is None and value is not None:
            raise ValueError(f"{name} is provided, but X_val was not provided.")
    if given.X is None:
        return
    if given.y is None:
        raise ValueError("X_val is provided, but y_val was not provided.")
    if model.n_cv != 1 or model.n_refit != 0:
        raise ValueError(
            f"X_val needs n_cv=1 and n_refit=0, got n_cv={model.n_cv} and n_refit={model.n_refit}: all rows "
            "of X are trained on."
        )
