"""KMeans: Lloyd's k-means, scikit-learn's estimator on the package's kernels. No arithmetic stands here."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import StrOptions

from fastnn.clustering.chains import markov_chains
from fastnn.clustering.lloyd import LloydResult, lloyd, same_clusters
from fastnn.clustering.passes import as_rows, mean_variance
from fastnn.clustering.seeding import parallel_plus_plus, plus_plus, random_rows
from fastnn.estimators.callbacks import CallbackSupport, Tasks
from fastnn.estimators.declaration import (
    AT_LEAST_ONE,
    NOT_NEGATIVE,
    declared,
    estimator,
    parameter,
)
from fastnn.estimators.kmeans.base import BaseKMeans, Seed
from fastnn.estimators.kmeans.conversion import KMeansFromSklearn, KMeansToSklearn
from fastnn.estimators.kmeans.parameters import METRICS, N_INIT, KMeansParameters
from fastnn.kernels.clustering import clustering_backend
from fastnn.kernels.shared.threads import use_threads
from fastnn.kernels.shared.user_warnings import warn

_SEEDS: dict[str, Seed] = {
    "k-means++": plus_plus,
    "k-means||": parallel_plus_plus,
    "afk-mc2": markov_chains,
    "random": random_rows,
}


@declared
class LloydParameters(KMeansParameters):
    """What KMeans can be told beyond."""

    init: Any = parameter(
        StrOptions(set(_SEEDS)),
        callable,
        "array-like",
        default="k-means++",
        kind="{'k-means++', 'k-means||', 'afk-mc2', 'random'}, "
        "callable or array-like of shape (n_clusters, n_features)",
        doc="""
        Initial centres. ``'k-means++'`` is greedy k-means++; with the same `random_state` it chooses the rows
        that scikit-learn's chooses, and so does ``'random'``. ``'k-means||'`` draws some candidates for each
        centre in five passes over the rows, and the centres among these: for many rows and hundreds of
        clusters. ``'afk-mc2'`` approaches k-means++ with Markov chains of 200 rows each, after one pass over
        all rows: for many rows and thousands of clusters. A callable gets ``X, n_clusters, random_state`` and
        returns an array; unlike scikit-learn's, which passes X less its mean, it gets X as it is.
        """,
    )
    n_init: int | str = parameter(
        StrOptions({"auto"}),
        AT_LEAST_ONE,
        default="auto",
        kind="'auto' or int",
        doc=N_INIT,
    )
    max_iter: int = parameter(
        AT_LEAST_ONE,
        default=300,
        doc="Iterations of a run at most.",
    )
    tol: float = parameter(
        NOT_NEGATIVE,
        default=1e-4,
        shown="1e-4",
        doc="""
        A run ends when the centres' squared movement in an iteration is at most this times the mean of the
        features' variances.
        """,
    )
    verbose: int = parameter(
        "verbose",
        default=0,
        doc="Print the inertia of each iteration.",
    )
    random_state: int | np.random.RandomState | None = parameter(
        "random_state",
        default=None,
        kind="int, RandomState instance or None",
        doc="For the initial centres.",
    )
    copy_x: bool = parameter(
        "boolean",
        default=True,
        doc="""
        Accepted and not used: X is never changed, and never copied where it is a C-contiguous float32 or
        float64 array.
        """,
    )
    algorithm: str = parameter(
        StrOptions({"lloyd", "elkan", "plain"}),
        default="lloyd",
        kind="{'lloyd', 'elkan', 'plain'}",
        doc="""
        The centres, labels and inertia are the same for all. ``'lloyd'`` and ``'elkan'`` leave out of an
        iteration the rows whose centre cannot have changed, by bounds of their distances, where that may
        pay; ``'plain'`` compares every row with every centre each time.
        """,
    )
    metric: str = parameter(
        METRICS,
        default="euclidean",
        kind="{'euclidean', 'cosine'}",
        doc="""
        ``'cosine'`` is spherical k-means: rows are divided by their lengths (in a copy, unless they have unit
        length), and so are the centres after each iteration. A row belongs to the centre with the largest
        cosine; half the squared distance that `inertia_`, `transform` and `score` are made of is 1 less the
        cosine. A row of zeros is equally far from all centres.
        """,
    )


@estimator
class KMeans(CallbackSupport, KMeansToSklearn, KMeansFromSklearn, BaseKMeans, LloydParameters):
    """K-means clustering by Lloyd's algorithm.

    The same parameters, attributes and results as ``sklearn.cluster.KMeans``.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        The centres, in the dtype of the training data (float32 or float64).
    labels_ : ndarray of shape (n_samples,)
        Nearest centre of each row: what `predict` gives for the training data.
    inertia_ : float
        Weighted sum of squared distances of the rows to their nearest centres.
    n_iter_ : int
        Number of iterations of the run that was kept.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    GradKMeans : K-means by gradient descent in mini-batches.

    Notes
    -----
    A cluster that loses all its rows takes the row that lies farthest from its own centre.

    Distances are computed from differences, in an order that depends on nothing but the shapes: right
    also for float32 data far from the origin, and the same for any number of threads. Sums are in float64.

    Negative sample weights are refused.

    A call that fails, or is interrupted from the keyboard, leaves a fitted estimator as it was.

    References
    ----------
    Lloyd, "Least squares quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982.

    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Bahmani et al., "Scalable k-means++", VLDB 2012.

    Bachem, Lucic, Hassani and Krause, "Fast and provably good seedings for k-means", NIPS 2016: AFK-MC2.

    Dhillon and Modha, "Concept decompositions for large sparse text data using clustering", Machine Learning
    42, 2001: spherical k-means.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import KMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = KMeans(n_clusters=2, random_state=0).fit(X)
    >>> kmeans.labels_
    array([1, 1, 1, 0, 0, 0], dtype=int32)
    >>> kmeans.predict([[0, 0], [12, 3]])
    array([1, 0], dtype=int32)
    >>> kmeans.cluster_centers_
    array([[10.,  2.],
           [ 1.,  2.]])
    """

    _seeds = _SEEDS
    _counterpart = "sklearn.cluster.KMeans"
    n_iter_: int

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None, sample_weight=None):
        """Compute the centres.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data. float32 and float64 are kept.
        y : Ignored
            Not used, present for API consistency.
        sample_weight : array-like of shape (n_samples,), default=None
            Weight of each row.

        Returns
        -------
        self : object
            The fitted estimator.

        Raises
        ------
        ValueError
            Bad input.
        """
        tasks = self._tasks()
        return self._on_draft(lambda draft: draft._fit(X, sample_weight, tasks))

    def _fit(self, X: Any, sample_weight: Any, tasks: Tasks | None) -> Warning | None:
        with use_threads(self.n_threads):
            X = self._validate(X, reset=True)
            weights = self._weights(sample_weight, X)
            if tasks:
                tasks.begin(self, clustering_backend(X).as_given(X), None, weights)
            init, n_init = self._check_init(X, n_random=10)
            if self.algorithm == "elkan" and self.n_clusters == 1:
                warn(
                    "algorithm='elkan' doesn't make sense for a single cluster. Using 'lloyd' instead.",
                    RuntimeWarning,
                )
            random_state = check_random_state(self.random_state)
            rows = as_rows(X)
            tol = self.tol and self.tol * mean_variance(rows)  # two passes over X
            best: LloydResult | None = None
            for _ in range(n_init):
                centers = self._initial_centers(init, X, weights, random_state)
                if self.verbose:
                    print("Initialization complete")
                if tasks:
                    tasks.begin_run(self.max_iter)
                fit = lloyd(
                    rows,
                    weights,
                    centers,
                    max_iter=self.max_iter,
                    tol=tol,
                    # On a GPU who watches costs a copy of the centres at each iteration.
                    report=self._report(tasks) if self.verbose or tasks else None,
                    # Who watches the inertia wants it of every iteration.
                    on_sphere=self.metric == "cosine",
                    accelerate=self.algorithm != "plain" and not self.verbose,
                )
                if self.verbose and fit.converged:
                    how = (
                        "strict convergence."
                        if fit.moved == 0
                        else f"center shift {fit.moved} within tolerance {tol}."
                    )
                    print(f"Converged at iteration {fit.n_iter - 1}: {how}")
                if best is None or (
                    fit.inertia < best.inertia and not same_clusters(fit.labels, best.labels, self.n_clusters)
                ):
                    best = fit
                if tasks and tasks.end_run(_fitted(fit.centers)):
                    break
            assert best is not None
            self._check_finite(best.centers, best.inertia)
            self.cluster_centers_, self.labels_, self.inertia_ = best.centers, best.labels, best.inertia
            self.n_iter_ = best.n_iter
            if tasks:
                tasks.end()
        return self._remark_on_clusters()

    def _report(self, tasks: Tasks | None) -> Callable[[int, float, np.ndarray], bool]:
        def report(iteration: int, inertia: float, centers: np.ndarray) -> bool:
            if self.verbose:
                print(f"Iteration {iteration - 1}, inertia {inertia}.")
            return tasks is not None and tasks.step("iteration", _fitted(centers))

        return report


def _fitted(centers: np.ndarray) -> Callable[[], dict[str, Any]]:
    """What makes an estimator one that predicts. A copy: the centres move on."""
    return lambda: {"cluster_centers_": centers.copy()}
