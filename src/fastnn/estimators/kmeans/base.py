"""What the k-means estimators share: prediction, validation, initial centres. No arithmetic stands here."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
from scipy import sparse
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, ClusterMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted, validate_data

from fastnn.clustering.passes import Rows, as_rows, labels_inertia
from fastnn.clustering.sphere import unit_rows, with_direction
from fastnn.estimators.draft import Drafting
from fastnn.estimators.few_rows import pass_checks
from fastnn.estimators.kmeans.parameters import KMeansParameters
from fastnn.estimators.on_device import refuse_sparse, rows_in_place
from fastnn.estimators.sparse_rows import canonical_csr
from fastnn.estimators.weights import checked_weights
from fastnn.kernels import check_precision, device_number, device_rows, to_host, to_kind_of
from fastnn.kernels.clustering import clustering_backend
from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.device_rows import is_device_array
from fastnn.kernels.shared.threads import use_threads
from fastnn.kernels.shared.user_warnings import warn

Seed = Callable[[Any, int, np.ndarray | None, np.random.RandomState], np.ndarray]


class BaseKMeans(
    Drafting, KMeansParameters, ClassNamePrefixFeaturesOutMixin, TransformerMixin, ClusterMixin, BaseEstimator
):
    """The methods of a fitted k-means, and the checks of what is given to `fit`."""

    # The names that `init` may have.
    _seeds: ClassVar[dict[str, Seed]]

    init: Any
    n_init: str | int
    cluster_centers_: np.ndarray
    labels_: np.ndarray
    inertia_: float
    n_features_in_: int

    def predict(self, X):
        """Index of the nearest centre.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
            On the GPU, and of the kind of X, if X lies there.
        """
        check_is_fitted(self)
        X, centers = self._with_centers(self._validate(X, reset=False))
        with use_threads(self.n_threads):
            return clustering_backend(X).nearest(X, centers)

    def transform(self, X):
        """Distances to the centres.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_clusters)
            Euclidean distances, not squared. On the GPU, and of the kind of X, if X lies there.
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        if sparse.issparse(X):
            from sklearn.metrics.pairwise import euclidean_distances  # 50 ms that few need

            return euclidean_distances(X, self._centers())
        X, centers = self._with_centers(X)
        with use_threads(self.n_threads):
            distances = clustering_backend(X).distances_to(X, centers)
        # A data frame is made on the host.
        in_frame = _get_output_config("transform", self)["dense"] != "default"
        return to_host(distances) if in_frame else distances

    def score(self, X, y=None, sample_weight=None):
        """Minus the inertia of X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        score : float
        """
        check_is_fitted(self)
        X = self._validate(X, reset=False)
        weights = self._weights(sample_weight, X)
        X, centers = self._with_centers(X)
        if weights is not None:
            weights = plain(weights, X.dtype)
        with use_threads(self.n_threads):
            return -labels_inertia(X, weights, centers)[1]

    def fit_predict(self, X, y=None, sample_weight=None):
        """Compute the centres and return the labels of the rows.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        labels : ndarray of shape (n_samples,), int32
        """
        return to_kind_of(X, self.fit(X, sample_weight=sample_weight).labels_, self.device)

    def fit_transform(self, X, y=None, sample_weight=None):
        """Compute the centres and return the distances of the rows to them.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        X_new : ndarray of shape (n_samples, n_clusters)
        """
        return self.fit(X, sample_weight=sample_weight).transform(X)

    @property
    def _n_features_out(self) -> int:
        """Number of columns of `transform`, for `get_feature_names_out`."""
        return self.cluster_centers_.shape[0]

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.transformer_tags.preserves_dtype = ["float64", "float32"]
        return tags

    def _validate(self, X: Any, *, reset: bool) -> Any:
        """X as a C-contiguous array, a CSR matrix or rows on a GPU, of float32 or float64.

        With unit rows for the cosine.
        """
        number = device_number(self.device, (X,))
        check_precision(self.precision)
        refuse_sparse(X, number)
        if number is not None and is_device_array(X):
            return self._on_sphere(rows_in_place(self, X, number, reset=reset))
        if not reset and number is None and pass_checks(self, X):
            return self._on_sphere(plain(X, X.dtype))
        X = validate_data(
            self,
            canonical_csr(to_host(X), wide=False),
            reset=reset,
            accept_sparse="csr",
            accept_large_sparse=False,
            dtype=[np.float64, np.float32],
            order="C",
        )
        if not sparse.issparse(X):
            X = plain(X, X.dtype)
        return self._on_sphere(X if number is None else device_rows(X, number, self.precision))

    def _on_sphere(self, rows: Any) -> Any:
        """Rows divided by their lengths, where the metric is the cosine; a row of zeros stays."""
        return unit_rows(rows) if self.metric == "cosine" else rows

    def _weights(self, sample_weight: Any, X: Any) -> np.ndarray | None:
        if sample_weight is None:
            return None
        return plain(checked_weights(sample_weight, X, X.dtype), X.dtype)

    def _centers(self) -> np.ndarray:
        """``cluster_centers_`` as an array of a float type: the user may have replaced it."""
        centers = np.asarray(to_host(self.cluster_centers_))
        if centers.ndim != 2 or centers.shape[1] != self.n_features_in_ or not len(centers):
            raise ValueError(
                f"cluster_centers_ has shape {centers.shape}; the model has {self.n_features_in_} features."
            )
        if centers.dtype.kind not in "biuf":
            raise ValueError(f"cluster_centers_ must hold real numbers, got dtype {centers.dtype}.")
        return plain(centers, np.float32 if centers.dtype == np.float32 else np.float64)

    def _centers_to_go_on(self, *carried: np.ndarray) -> np.ndarray:
        """A copy of the centres; `carried` has what centres have from step to step, an entry for each."""
        centers = self._centers().copy()
        if any(len(array) != self.n_clusters for array in (centers, *carried)):
            raise ValueError(
                f"Cannot go on with n_clusters={self.n_clusters}: there are {len(centers)} centres."
            )
        return centers

    def _with_centers(self, X: Any) -> tuple[Rows, np.ndarray]:
        """X as the engines take it, and the centres, in one dtype."""
        centers = self._centers()
        dtype = np.result_type(X.dtype, centers)
        return as_rows(X, dtype), plain(centers, dtype)

    def _check_init(self, X: Any, *, n_random: int) -> tuple[Any, int]:
        """The init with an array checked, and the number of runs: `n_random` of random rows, if 'auto'."""
        if X.shape[0] < self.n_clusters:
            raise ValueError(f"n_samples={X.shape[0]} should be >= n_clusters={self.n_clusters}.")
        init = self.init
        is_array = not isinstance(init, str) and not callable(init)
        if is_array:
            init = check_array(to_host(init), dtype=X.dtype, order="C")
            self._check_centers_shape(init, X)
            init = self._directed(init)
        if self.n_init == "auto":
            return init, n_random if callable(init) or (isinstance(init, str) and init == "random") else 1
        if is_array and self.n_init != 1:
            warn(
                "Explicit initial center position passed: performing only one init in "
                f"{type(self).__name__} instead of n_init={self.n_init}.",
                RuntimeWarning,
            )
            return init, 1
        return init, int(self.n_init)

    def _initial_centers(
        self, init: Any, X: Any, weights: np.ndarray | None, random_state: np.random.RandomState
    ) -> np.ndarray:
        """A new array of initial centres."""
        if isinstance(init, str) and self.metric == "cosine":
            centers = self._seeds[init](X, self.n_clusters, with_direction(X, weights), random_state)
            # Of fewer rows than clusters that have a direction one is taken several times.
            directed = centers.any(axis=1)
            if not directed.any():
                raise ValueError("All rows are zeros: these have no direction, by which the cosine goes.")
            centers[~directed] = centers[directed.argmax()]
            return centers
        if isinstance(init, str):
            return self._seeds[init](X, self.n_clusters, weights, random_state)
        if not callable(init):
            return init.astype(X.dtype, order="C", copy=True)
        rows = clustering_backend(X).as_given(X)
        if sparse.issparse(rows):
            rows = rows.copy()  # who moves indices there does not mislead the kernels
        centers = canonical_csr(to_host(init(rows, self.n_clusters, random_state=random_state)), "init")
        if sparse.issparse(centers):
            centers = centers.toarray()
        # A copy: the centres may move in place, and the array is the callable's.
        centers = check_array(centers, dtype=X.dtype, order="C", copy=True)
        self._check_centers_shape(centers, X)
        return self._directed(centers)

    def _directed(self, centers: np.ndarray) -> np.ndarray:
        """Initial centres that the user gives, at unit length where the metric is the cosine."""
        if self.metric == "cosine" and not centers.any(axis=1).all():
            raise ValueError(
                "init has a row of zeros, which has no direction and is no centre for the cosine."
            )
        return self._on_sphere(centers)

    def _check_finite(self, centers: np.ndarray, inertia: float) -> None:
        """Refuse what has come of squared distances beyond the dtype."""
        if not (np.isfinite(inertia) and np.isfinite(centers).all()):
            raise ValueError(
                "Solver produced non-finite cluster centers or loss. The input data or the sample weights "
                "may contain large values and need to be preprocessed."
            )

    def _check_centers_shape(self, centers: np.ndarray, X: Any) -> None:
        if centers.shape[0] != self.n_clusters:
            raise ValueError(
                f"The shape of the initial centers {centers.shape} does not match the number of clusters "
                f"{self.n_clusters}."
            )
        if centers.shape[1] != X.shape[1]:
            raise ValueError(
                f"The shape of the initial centers {centers.shape} does not match the number of features of "
                f"the data {X.shape[1]}."
            )

    def _remark_on_clusters(self) -> Warning | None:
        """A warning if there are clusters without rows."""
        n_distinct = np.count_nonzero(np.bincount(self.labels_, minlength=self.n_clusters))
        if n_distinct == self.n_clusters:
            return None
        return ConvergenceWarning(
            f"Number of distinct clusters ({n_distinct}) found smaller than n_clusters "
            f"({self.n_clusters}). Possibly due to duplicate points in X."
        )
