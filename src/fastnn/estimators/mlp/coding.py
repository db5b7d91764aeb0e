"""What a fitted autoencoder does: codes of samples, samples of codes, and how well these agree."""

from typing import TYPE_CHECKING, cast

import numpy as np
from scipy import sparse
from sklearn.base import ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.utils import check_array
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from fastnn.estimators.on_device import refuse_sparse
from fastnn.estimators.sparse_rows import canonical_csr
from fastnn.kernels import device_number, device_rows, to_host, to_kind_of
from fastnn.kernels.shared.device_rows import is_device_array

if TYPE_CHECKING:
    from fastnn.estimators.mlp.autoencoder import Autoencoder


class CodingMethods(ClassNamePrefixFeaturesOutMixin, TransformerMixin):
    """What is asked of a fitted autoencoder."""

    def transform(self, X):
        """Encode samples.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        codes : ndarray of shape (n_samples, n_code)
            Activations of the encoder's last layer; float32 where both X and the model are.
        """
        model = cast("Autoencoder", self)
        outputs = model._forward(model._rows_to_predict(X), slice(self._n_encoding))
        # A data frame is made on the host.
        in_frame = _get_output_config("transform", self)["dense"] != "default"
        return outputs if in_frame else to_kind_of(X, outputs, model.device)

    def inverse_transform(self, X):
        """Decode codes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_code)
            Codes, as of ``transform``.

        Returns
        -------
        reconstruction : ndarray of shape (n_samples, n_features)
            float32 where both X and the model are.
        """
        model = cast("Autoencoder", self)
        check_is_fitted(self, "coefs_")
        number = device_number(model.device, (X,))
        refuse_sparse(X, number)
        rows = X
        if number is None or not is_device_array(X):
            rows = check_array(
                canonical_csr(to_host(X)), accept_sparse="csr", dtype=[np.float64, np.float32], estimator=self
            )
        if number is not None:
            rows = device_rows(rows, number, model.precision)
        if rows.shape[1] != self._n_features_out:
            raise ValueError(
                f"X has {rows.shape[1]} features, but codes of {type(self).__name__} have "
                f"{self._n_features_out}."
            )
        return to_kind_of(X, model._forward(rows, slice(self._n_encoding, None)), model.device)

    def reconstruction_error(self, X):
        """Mean squared error between samples and what encoder and decoder make of them.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        error : float
            Mean over samples and features.
        """
        return -self.score(X)

    def score(self, X, y=None, sample_weight=None):
        """Minus ``reconstruction_error``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero.

        Returns
        -------
        score : float
        """
        model, target = cast("Autoencoder", self), canonical_csr(to_host(X))
        return model._score(X, target.toarray() if sparse.issparse(target) else target, sample_weight)

    @property
    def _n_encoding(self) -> int:
        """Layers of weights of the encoder."""
        check_is_fitted(self, "coefs_")
        return (cast("Autoencoder", self).n_layers_ - 1) // 2

    @property
    def _n_features_out(self) -> int:
        """Numbers in a code, for ``get_feature_names_out``."""
        return len(cast("Autoencoder", self).intercepts_[self._n_encoding - 1])
