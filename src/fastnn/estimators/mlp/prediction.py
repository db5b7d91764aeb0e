"""A fitted multi-layer perceptron: what it is, and the forward pass through it."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from sklearn.base import BaseEstimator
from sklearn.utils.validation import check_is_fitted, validate_data

from fastnn.estimators.few_rows import pass_checks
from fastnn.estimators.mlp.layers import activation_names
from fastnn.estimators.mlp.many import is_ensemble, mean_outputs
from fastnn.estimators.mlp.parameters import MLPParameters
from fastnn.estimators.on_device import refuse_sparse, rows_in_place
from fastnn.estimators.sparse_rows import canonical_csr
from fastnn.estimators.weights import checked_weights
from fastnn.kernels import device_number, device_rows, to_host, to_kind_of
from fastnn.kernels.shared.device_rows import is_device_array
from fastnn.kernels.shared.threads import use_threads
from fastnn.networks.backends import predict
from fastnn.tables.activations import CODES, SOFTMAX

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP


class FittedMLP(MLPParameters, BaseEstimator, ABC):
    """What the multi-layer perceptrons do once they are fitted."""

    # Of the true targets and of predictions; the higher the better.
    _score_function: ClassVar[Callable[..., float]]

    n_features_in_: int

    @abstractmethod
    def _decide(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions from the network's outputs."""

    def _keep(self, coefs: list[np.ndarray], intercepts: list[np.ndarray], out_activation: str) -> None:
        """Set the attributes that say what the fitted network is."""
        self.coefs_, self.intercepts_ = coefs, intercepts
        self.n_layers_, self.n_outputs_ = len(coefs) + 1, intercepts[-1].size
        self.out_activation_ = out_activation

    def _activation_names(self, n_hidden: int) -> tuple[str, ...]:
        """Names of the activation of each hidden layer, as the user knows them."""
        return activation_names(cast("BaseMLP", self), n_hidden)

    def _checked_parameters(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """``coefs_`` and ``intercepts_`` as arrays of one floating type: the user may have replaced them."""
        coefs, intercepts = (
            [a if type(a) is np.ndarray else np.asarray(to_host(a)) for a in arrays]
            for arrays in (self.coefs_, self.intercepts_)
        )
        shapes, of_biases = [W.shape for W in coefs], [b.shape for b in intercepts]
        sizes = [self.n_features_in_, *[b.size for b in intercepts]]
        fit_together = (
            len(sizes) == self.n_layers_
            and shapes == [*pairwise(sizes)]
            and of_biases == [(n,) for n in sizes[1:]]
            and sizes[-1] == self.n_outputs_
        )
        if not fit_together:
            raise ValueError(
                f"coefs_ and intercepts_ do not make a network with {self.n_layers_} layers, "
                f"{self.n_features_in_} inputs and {self.n_outputs_} outputs: they have shapes {shapes} and "
                f"{of_biases}."
            )
        dtypes = {array.dtype for array in (*coefs, *intercepts)}
        dtype = dtypes.pop() if len(dtypes) == 1 else np.result_type(*dtypes)
        if dtype not in (np.float32, np.float64):
            dtype = np.dtype(np.float64)
        return [np.ascontiguousarray(W, dtype) for W in coefs], [
            np.ascontiguousarray(b, dtype) for b in intercepts
        ]

    def _outputs(self, X: Any, hidden: int | None = None) -> np.ndarray:
        """Outputs (n_samples, n_outputs) for any data; with a number, the values of that hidden layer."""
        rows, model = self._rows_to_predict(X), cast("BaseMLP", self)
        if is_ensemble(model):
            return mean_outputs(model, rows)
        return self._forward(rows, slice(None if hidden is None else hidden + 1))

    def _to_average(self, outputs: np.ndarray) -> np.ndarray:
        """What an ensemble has the mean of, from one network's outputs, which may be changed in place."""
        return outputs

    def _forward(self, X: Any, layers: slice = slice(None)) -> np.ndarray:
        """Outputs of the last of these layers, for checked rows that go into the first."""
        # The user may have replaced it too, to get the scores before the last activation, say.
        if self.out_activation_ not in CODES and self.out_activation_ != SOFTMAX:
            raise ValueError(f"out_activation_ must be {SOFTMAX!r} or one of {sorted(CODES)}.")
        coefs, intercepts = self._checked_parameters()
        names = (*self._activation_names(self.n_layers_ - 2), self.out_activation_)[layers]
        with use_threads(self.n_threads):
            return predict(
                X,
                coefs[layers],
                intercepts[layers],
                hidden_activation=names[:-1],
                output_activation=names[-1],
            )

    def _rows_to_predict(self, X: Any) -> Any:
        """Any data, checked: as an array, a sparse matrix or rows on a GPU."""
        check_is_fitted(self, "estimators_" if is_ensemble(cast("BaseMLP", self)) else "coefs_")
        number = device_number(self.device, (X,))
        refuse_sparse(X, number)
        if number is not None and is_device_array(X):
            X = rows_in_place(self, X, number, reset=False)
        elif number is not None or not pass_checks(self, X):
            X = validate_data(self, canonical_csr(to_host(X)), accept_sparse="csr", reset=False)
            if number is not None:
                rows = device_rows(X, number, self.precision)
                # On a GPU float16 has become float64; times float32 it is float32.
                is_short = np.result_type(X.dtype, np.float32) == np.float32
                X = rows.astype(np.float32) if is_short else rows
        return X

    def _predict(self, X: Any) -> Any:
        """Predictions for any data, of the kind of X."""
        return to_kind_of(X, self._decide(self._outputs(X)), self.device)

    def _score(self, X: Any, y: Any, sample_weight: Any) -> float:
        if sample_weight is not None:
            sample_weight = checked_weights(sample_weight, X)
        y = canonical_csr(to_host(y), "y")
        return self._score_function(y, self._decide(self._outputs(X)), sample_weight=sample_weight)
