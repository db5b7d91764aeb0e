"""MiniBatchKMeans, scikit-learn's estimator on the package's kernels. No arithmetic stands here."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions

from fastnn.clustering.mini_batch import MiniBatchResult, mini_batches, partial_step
from fastnn.clustering.nested import nested_batches
from fastnn.clustering.passes import as_rows, labels_inertia, mean_variance
from fastnn.clustering.seeding import parallel_plus_plus, plus_plus, random_rows
from fastnn.clustering.sphere import have_direction
from fastnn.clustering.starts import best_centers, init_rows, initial_centers
from fastnn.estimators.declaration import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    declared,
    estimator,
    parameter,
)
from fastnn.estimators.kmeans.base import BaseKMeans, Seed
from fastnn.estimators.kmeans.conversion import KMeansFromSklearn, KMeansToSklearn
from fastnn.estimators.kmeans.parameters import KMeansParameters
from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.threads import use_threads
from fastnn.kernels.shared.user_warnings import warn

_SEEDS: dict[str, Seed] = {
    "k-means++": plus_plus,
    "k-means||": parallel_plus_plus,
    "random": random_rows,
}


@declared
class MiniBatchParameters(KMeansParameters):
    """What MiniBatchKMeans can be told beyond."""

    init: Any = parameter(
        StrOptions(set(_SEEDS)),
        callable,
        "array-like",
        default="k-means++",
        kind="{'k-means++', 'k-means||', 'random'}, callable or array-like of shape (n_clusters, n_features)",
        doc="""
        Initial centres, chosen among `init_size` random rows. ``'k-means++'`` is greedy k-means++; with the
        same `random_state` it chooses the rows that scikit-learn's chooses, and so does ``'random'``.
        ``'k-means||'`` needs fewer passes over these rows, for hundreds of clusters. A callable gets ``X,
        n_clusters, random_state``, X being the random rows, and returns an array.
        """,
    )
    max_iter: int = parameter(
        AT_LEAST_ONE,
        default=100,
        doc="The batches have together so many times the rows of X at most.",
    )
    batch_size: int = parameter(
        AT_LEAST_ONE,
        default=1024,
        doc="Rows of a batch, drawn with replacement and by weight; all rows where X has fewer.",
    )
    verbose: int = parameter(
        "verbose",
        default=0,
        doc="Print the inertia of every batch.",
    )
    compute_labels: bool = parameter(
        "boolean",
        default=True,
        doc="Assign all rows of X at the end, for `labels_` and `inertia_`.",
    )
    random_state: int | np.random.RandomState | None = parameter(
        "random_state",
        default=None,
        kind="int, RandomState instance or None",
        doc="For the initial centres, the batches and the reassignment of centres.",
    )
    tol: float = parameter(
        NOT_NEGATIVE,
        default=0.0,
        doc="""
        Steps end when the centres' squared movement in one is at most this times the mean of the features'
        variances; 0 for no such end.
        """,
    )
    max_no_improvement: int | None = parameter(
        Interval(Integral, 0, None, closed="left"),
        None,
        default=10,
        kind="int",
        doc="Steps end when so many have gone by without a better smoothed inertia; None for no such end.",
    )
    init_size: int | None = parameter(
        AT_LEAST_ONE,
        None,
        default=None,
        kind="int",
        doc="""
        Number of random rows among which the initial centres are chosen. None stands for three batches, or
        three rows a cluster where that is fewer than there are clusters.
        """,
    )
    n_init: int | str = parameter(
        StrOptions({"auto"}),
        AT_LEAST_ONE,
        default="auto",
        kind="'auto' or int",
        doc="""
        Initial centres that are tried; those with the lowest inertia on `init_size` other random rows are
        kept. ``'auto'`` is 3 for ``init='random'`` or a callable, and 1 otherwise.
        """,
    )
    reassignment_ratio: float = parameter(
        NOT_NEGATIVE,
        default=0.01,
        doc="""
        A centre that has had less than this share of the rows of the one with the most is put on a random row
        of the batch now and then.
        """,
    )
    nested: bool = parameter(
        "boolean",
        default=False,
        doc="""
        Batches grow: the first is `batch_size` random rows, and it is doubled whenever the centres have
        nearly settled on it, until it is all rows. Every round sets the centres to the means of their rows
        in the batch, so that no row counts twice, and the last rounds are Lloyd's iterations. They end when
        the centres move by no more than `tol` allows, by default not at all, and by `max_iter`.
        `max_no_improvement` and `reassignment_ratio` have no effect.
        """,
    )


@estimator
class MiniBatchKMeans(KMeansToSklearn, KMeansFromSklearn, BaseKMeans, MiniBatchParameters):
    """K-means clustering by mini-batches.

    The same parameters, attributes and results as ``sklearn.cluster.MiniBatchKMeans``.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        The centres, in the dtype of the training data (float32 or float64).
    labels_ : ndarray of shape (n_samples,)
        Nearest centre of each row: what `predict` gives for the training data. Only with `compute_labels`.
    inertia_ : float
        Weighted sum of squared distances of the rows to their nearest centres; without `compute_labels` an
        estimate from the batches.
    n_iter_ : int
        Number of rows of all batches over that of X, rounded up.
    n_steps_ : int
        Number of batches.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    KMeans : Every iteration uses all rows.
    GradKMeans : K-means by gradient descent in mini-batches.

    Notes
    -----
    A step takes time for its batch only, however many rows X has. X may be a memory-mapped array that is
    larger than memory: besides the rows of the batches it is read once to look for values that are not
    finite, twice if `tol` is not 0, and once for the labels, unless `compute_labels` is False.

    Negative sample weights are refused.

    A call that fails, or is interrupted from the keyboard, leaves a fitted estimator as it was.

    References
    ----------
    Sculley, "Web-scale k-means clustering", WWW 2010.

    Newling and Fleuret, "Nested mini-batch k-means", NIPS 2016.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import MiniBatchKMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = MiniBatchKMeans(n_clusters=2, batch_size=6, random_state=0).fit(X)
    >>> kmeans.predict([[0, 0], [12, 3]])
    array([1, 0], dtype=int32)
    """

    _seeds = _SEEDS
    _counterpart = "sklearn.cluster.MiniBatchKMeans"
    n_iter_: int
    n_steps_: int
    # What partial_fit goes on with; the names are scikit-learn's.
    _counts: np.ndarray
    _n_since_last_reassign: int
    _batch_size: int
    _random_state: np.random.RandomState

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Compute the centres by mini-batches of X.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. float32 and float64 are kept; a C-contiguous array of them is not copied.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row: how likely it is drawn. Not used for the initial centres if `init` is an array
            or a callable.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            Bad input.
        """
        return self._on_draft(lambda draft: draft._fit(X, sample_weight))

    def _fit(self, X: Any, sample_weight: Any) -> None:
        with use_threads(self.n_threads):
            X = self._validate(X, reset=True)
            weights = self._weights(sample_weight, X)
            rows = as_rows(X)
            init, n_init = self._check_init(X, n_random=3)
            self._batch_size = min(self.batch_size, X.shape[0])
            random_state = check_random_state(self.random_state)
            verbose = bool(self.verbose)
            tol = self.tol and self.tol * mean_variance(rows)  # two passes over X
            centers = best_centers(
                X,
                weights,
                lambda X, weights: self._initial_centers(init, X, weights, random_state),
                n_init,
                self._init_rows(X),
                random_state,
                str(init) if verbose else None,
                self._with_direction(X),
            )
            same: dict[str, Any] = {
                "batch_size": self._batch_size,
                "max_iter": self.max_iter,
                "tol": tol,
                "random_state": random_state,
                "on_sphere": self.metric == "cosine",
                "verbose": verbose,
            }
            fit: MiniBatchResult
            if self.nested:
                fit = nested_batches(X, weights, centers, **same)
            else:
                fit = mini_batches(
                    X,
                    weights,
                    centers,
                    patience=self.max_no_improvement,
                    ratio=self.reassignment_ratio,
                    **same,
                )
            self.cluster_centers_, self.n_steps_, self.n_iter_ = fit.centers, fit.n_steps, fit.n_iter
            self._counts, self._n_since_last_reassign = fit.seen, fit.since
            if self.compute_labels:
                self.labels_, self.inertia_ = labels_inertia(rows, weights, fit.centers)
            else:
                self.inertia_ = fit.inertia
                # Those of an earlier fit are no labels of these rows.
                if hasattr(self, "labels_"):
                    del self.labels_
            self._check_finite(fit.centers, self.inertia_)

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """One step of the centres on all rows of X.

        The first call on a new estimator takes the initial centres from its batch.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            The batch. It takes the dtype of the centres.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        self : object
            The updated estimator.

        Raises
        ------
        ValueError
            Bad input, or another `n_clusters` than before.
        """
        is_new = not hasattr(self, "_random_state")
        random_state = check_random_state(self.random_state) if is_new else self._random_state
        with _drawn_only_on_success(random_state):
            return self._on_draft(lambda draft: draft._partial_fit(X, sample_weight, random_state))

    def _partial_fit(self, X: Any, sample_weight: Any, random_state: np.random.RandomState) -> None:
        with use_threads(self.n_threads):
            first = not hasattr(self, "cluster_centers_")
            X = self._validate(X, reset=first)
            weights = self._weights(sample_weight, X)
            self._random_state = random_state
            if first:
                self._begin(X, weights)
            centers, X, weights = self._to_go_on(X, weights)
            seen = self._counts.copy()
            self._n_since_last_reassign = partial_step(
                X,
                weights,
                centers,
                seen,
                self._n_since_last_reassign,
                batch_size=self._batch_size,
                ratio=self.reassignment_ratio,
                random_state=random_state,
                on_sphere=self.metric == "cosine",
                verbose=bool(self.verbose),
            )
            self.cluster_centers_, self._counts = centers, seen
            if self.compute_labels:
                self.labels_, self.inertia_ = labels_inertia(as_rows(X), weights, centers)
            self._check_finite(centers, self.inertia_ if self.compute_labels else 0.0)
            self.n_steps_ = getattr(self, "n_steps_", 0) + 1

    def _begin(self, X: Any, weights: np.ndarray | None) -> None:
        """Initial centres from the first batch, and no rows seen."""
        init, _ = self._check_init(X, n_random=3)
        self._batch_size = min(self.batch_size, X.shape[0])
        self.cluster_centers_ = initial_centers(
            X,
            weights,
            lambda X, weights: self._initial_centers(init, X, weights, self._random_state),
            self._init_rows(X),
            self._random_state,
            self._with_direction(X),
        )
        self._counts, self._n_since_last_reassign = np.zeros(self.n_clusters), 0

    def _to_go_on(self, X: Any, weights: np.ndarray | None) -> tuple[np.ndarray, Any, np.ndarray | None]:
        """A copy of the centres; X and the weights in their dtype."""
        centers = self._centers_to_go_on(self._counts)
        X = plain(X, centers.dtype) if isinstance(X, np.ndarray) else X.astype(centers.dtype, copy=False)
        return centers, X, None if weights is None else plain(weights, centers.dtype)

    def _with_direction(self, X: Any) -> np.ndarray | None:
        """Rows from which centres may begin, where these are not all of them."""
        directed = have_direction(X) if self.metric == "cosine" else None
        return None if directed is None or directed.all() else np.flatnonzero(directed)

    def _init_rows(self, X: Any) -> int:
        """Number of rows among which initial centres are chosen."""
        if self.init_size is not None and self.init_size < self.n_clusters:
            warn(
                f"init_size={self.init_size} should be larger than n_clusters={self.n_clusters}. Setting it "
                "to min(3*n_clusters, n_samples)",
                RuntimeWarning,
            )
        return init_rows(X.shape[0], self.n_clusters, self._batch_size, self.init_size)


@contextmanager
def _drawn_only_on_success(random_state: np.random.RandomState) -> Iterator[None]:
    """Give back what has been drawn when the block raises."""
    before = random_state.get_state(legacy=False)
    try:
        yield
    except BaseException:
        random_state.set_state(before)
        raise
