"""GradKMeans: k-means by gradient descent, as a scikit-learn estimator. No arithmetic stands here."""

from collections.abc import Iterator
from contextlib import contextmanager
from numbers import Integral
from typing import Any

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions, validate_parameter_constraints

from fastnn.clustering.chains import markov_chains
from fastnn.clustering.epochs import step
from fastnn.clustering.gradient import GradientResult, train
from fastnn.clustering.passes import as_rows, labels_inertia, mean_variance
from fastnn.clustering.rules import OPTIMIZERS, RATES, REDUCTIONS, center_rule
from fastnn.clustering.seeding import random_rows, searched_plus_plus
from fastnn.estimators.declaration import (
    AT_LEAST_ONE,
    BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    declared,
    estimator,
    parameter,
)
from fastnn.estimators.kmeans.base import BaseKMeans, Seed
from fastnn.estimators.kmeans.conversion import KMeansToSklearn
from fastnn.estimators.kmeans.parameters import N_INIT, KMeansParameters
from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.center_arguments import CenterRule, Motion
from fastnn.kernels.shared.threads import use_threads

# Parameters that say how centres move.
_OF_A_STEP = ("optimizer", "learning_rate", "forgetting", "reduction")


_SEEDS: dict[str, Seed] = {
    "k-means++": searched_plus_plus,
    "afk-mc2": markov_chains,
    "random": random_rows,
}


@declared
class GradientParameters(KMeansParameters):
    """What GradKMeans can be told beyond."""

    init: Any = parameter(
        StrOptions(set(_SEEDS)),
        callable,
        "array-like",
        default="k-means++",
        kind="{'k-means++', 'afk-mc2', 'random'}, callable or array-like of shape (n_clusters, n_features)",
        doc="""
        Initial centres. ``'k-means++'`` is scikit-learn's greedy k-means++ followed by a local search, which
        swaps centres for drawn rows where that lowers the inertia; where there are more than 65,536 rows (or
        64 per cluster) it works on a random sample; sparse rows get no local search.
        ``'afk-mc2'`` approaches k-means++ with Markov chains of 200 rows each, after one pass over all rows:
        for many rows and thousands of clusters. ``'random'`` takes rows at random. A callable gets
        ``X, n_clusters, random_state`` and returns an array.
        """,
    )
    n_init: int | str = parameter(
        StrOptions({"auto"}),
        AT_LEAST_ONE,
        default="auto",
        kind="'auto' or int",
        doc=N_INIT,
    )
    optimizer: str = parameter(
        StrOptions(set(OPTIMIZERS)),
        default="sgd",
        kind="{'sgd', 'momentum', 'nesterov', 'adam', 'rmsprop', 'newton'}",
        doc="""
        How a centre moves along its gradient. ``'momentum'`` and ``'nesterov'`` have a factor of 0.9;
        ``'adam'`` has ``beta_1=0.9``, ``beta_2=0.999``, ``epsilon=1e-8``; ``'rmsprop'``, which is PyTorch's,
        ``alpha=0.99``, ``epsilon=1e-8``; ``'newton'`` divides the gradient by the curvature, which leads to
        the mean of the centre's points in the batch: with ``batch_size=None`` Lloyd's iteration, exactly.
        """,
    )
    learning_rate: str | float = parameter(
        StrOptions(set(RATES)),
        POSITIVE,
        default="count",
        kind="{'count', 'sqrt'} or float",
        doc="""
        ``'count'``, for ``optimizer='sgd'``, is the mini-batch k-means rule: a centre moves towards the mean
        of its points in the batch by their weight over all the weight it has seen. For ``'newton'`` it
        stands for 1.0. ``'sqrt'``, for ``optimizer='sgd'``, moves it by the square root of their share of the
        batch's weight: it keeps no memory and does not fall, so that the centres go on following the batches.
        The update rules with a state need a number.
        """,
    )
    forgetting: float = parameter(
        BELOW_ONE,
        default=0.0,
        doc="""
        For ``learning_rate='count'`` with ``optimizer='sgd'``, in [0, 1): the share of the weight it has seen
        that every centre forgets at each step, before the batch is added, whether it has points in the batch
        or not. So it follows a stream that drifts: the rate of a centre with the same weight in every batch
        falls no lower than this, and one that has had no points for long moves to the next that it gets.
        """,
    )
    reduction: str = parameter(
        StrOptions(set(REDUCTIONS)),
        default="cluster",
        kind="{'sum', 'mean', 'cluster'}",
        doc="""
        What the gradient of centre `c` with points `x` in the batch is: ``2 * sum(c - x)``; that divided by
        the batch's weight; or ``c - mean(x)``. It makes no difference for ``learning_rate='count'``
        or ``'sqrt'`` and for ``optimizer='newton'``.
        """,
    )
    batch_size: int | None = parameter(
        AT_LEAST_ONE,
        None,
        default=1024,
        kind="int or None",
        doc="Rows per step; None for all. Each epoch is a new permutation, the last batch may be smaller.",
    )
    max_iter: int = parameter(
        AT_LEAST_ONE,
        default=100,
        doc="Maximum number of epochs.",
    )
    tol: float = parameter(
        NOT_NEGATIVE,
        default=1e-4,
        shown="1e-4",
        doc="""
        Epochs end, and so do the final Lloyd iterations, when the centres' squared movement is at most this
        times the mean of the features' variances.
        """,
    )
    max_no_improvement: int | None = parameter(
        Interval(Integral, 0, None, closed="left"),
        None,
        default=10,
        kind="int or None",
        doc="""
        Epochs end after so many batches in a row without improvement of the smoothed loss. None switches
        this off.
        """,
    )
    polish: bool = parameter(
        "boolean",
        default=True,
        doc="Finish with exact Lloyd iterations until `tol` holds (300 at most).",
    )
    random_state: int | np.random.RandomState | None = parameter(
        "random_state",
        default=None,
        kind="int, RandomState instance or None",
        doc="For the initial centres and the permutations.",
    )
    verbose: int = parameter(
        "verbose",
        default=0,
        doc="Print the loss of each epoch.",
    )


@estimator
class GradKMeans(KMeansToSklearn, BaseKMeans, GradientParameters):
    """K-means clustering by gradient descent on the sum of squared distances to the nearest centre.

    The assignment of points to centres is held constant when differentiating. By default each epoch goes
    through the data in mini-batches with one rate per centre, and exact Lloyd iterations finish the fit.

    Attributes
    ----------
    cluster_centers_ : ndarray of shape (n_clusters, n_features)
        The centres, in the dtype of the training data (float32 or float64).
    labels_ : ndarray of shape (n_samples,)
        Nearest centre of each row of the data last fitted (after `partial_fit`, of that batch).
    inertia_ : float
        Weighted sum of squared distances of these rows to their nearest centres.
    n_iter_ : int
        Number of epochs; the final Lloyd iterations do not count. `partial_fit` leaves it at 1 or more.
    n_steps_ : int
        Number of batches processed, over all calls of `partial_fit` as well.
    loss_curve_ : list of float
        Mean squared distance of each batch before its step.
    n_features_in_ : int
        Number of features seen during `fit`.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    sklearn.cluster.KMeans : Lloyd's and Elkan's algorithms.
    sklearn.cluster.MiniBatchKMeans : Mini-batches drawn with replacement.

    Notes
    -----
    A centre without points in a batch does not move. `fit` moves a centre that had none in a whole epoch to
    the row farthest from all other centres; `partial_fit`, which sees one batch, does not.

    Rows with zero weight take part in nothing but `labels_`. Negative weights are refused.

    Sparse matrices are taken as CSR and never made dense: from the same initial centres they give what the
    dense array gives, to rounding.

    A call that fails, or is interrupted from the keyboard, leaves a fitted estimator as it was. When the
    first fit of an estimator diverges, the last finite centres are kept, and the error is raised.

    References
    ----------
    Bottou and Bengio, "Convergence properties of the k-means algorithms", NIPS 1994, sections 2 and 3.

    Sculley, "Web-scale k-means clustering", WWW 2010, algorithm 1.

    Schwartzman, "Mini-batch k-means terminates within O(d/epsilon) iterations", ICLR 2023: ``'sqrt'``.

    Arthur and Vassilvitskii, "k-means++: the advantages of careful seeding", SODA 2007.

    Lattanzi and Sohler, "A better k-means++ algorithm via local search", ICML 2019, algorithm 2.

    Bachem, Lucic, Hassani and Krause, "Fast and provably good seedings for k-means", NIPS 2016: AFK-MC2.

    Tieleman and Hinton, "Lecture 6.5: rmsprop", Neural networks for machine learning, 2012.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import GradKMeans
    >>> X = np.array([[1, 2], [1, 4], [1, 0], [10, 2], [10, 4], [10, 0]])
    >>> kmeans = GradKMeans(n_clusters=2, random_state=0).fit(X)
    >>> sorted(kmeans.cluster_centers_.tolist())
    [[1.0, 2.0], [10.0, 2.0]]
    """

    _seeds = _SEEDS
    _counterpart = "sklearn.cluster.KMeans"
    n_iter_: int
    n_steps_: int
    loss_curve_: list[float]
    # What the centres carry from step to step, and the rule that it belongs to; pickled with the rest.
    _motion: Motion
    _motion_rule: tuple[str, bool]

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
            Bad input, or the centres diverged.
        """
        return self._on_draft(lambda draft: draft._fit(X, sample_weight))

    def _fit(self, X: Any, sample_weight: Any) -> Exception | None:
        with use_threads(self.n_threads):
            X = self._validate(X, reset=True)
            rule = self._rule()
            weights = self._weights(sample_weight, X)
            init, n_init = self._check_init(X, n_random=10)
            random_state = check_random_state(self.random_state)
            rows = as_rows(X)
            variance = mean_variance(rows)
            best: GradientResult | None = None
            for _ in range(n_init):
                result = train(
                    rows,
                    weights,
                    self._initial_centers(init, X, weights, random_state),
                    rule,
                    batch_size=self.batch_size,
                    max_iter=self.max_iter,
                    tol=self.tol,
                    variance=variance,
                    patience=self.max_no_improvement,
                    polish=self.polish,
                    random_state=random_state,
                    verbose=bool(self.verbose),
                )
                if best is None or (best.diverged, best.inertia) > (result.diverged, result.inertia):
                    best = result
            assert best is not None
            if best.diverged and hasattr(self, "cluster_centers_"):
                raise ValueError(self._divergence())
            self._keep(best)
        return ValueError(self._divergence()) if best.diverged else self._remark_on_clusters()

    @_fit_context(prefer_skip_nested_validation=True)
    def partial_fit(self, X, y=None, sample_weight=None):
        """One step of the centres on all rows of X.

        The first call on a new estimator takes the initial centres from its batch, with one run.

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
            Bad input, or the centres diverged; then they are as before the call.
        """
        with _longer_only_on_success(getattr(self, "loss_curve_", [])):
            return self._on_draft(lambda draft: draft._partial_fit(X, sample_weight))

    def _partial_fit(self, X: Any, sample_weight: Any) -> Exception | None:
        with use_threads(self.n_threads):
            first = not hasattr(self, "cluster_centers_")
            X = self._validate(X, reset=first)
            rule = self._rule()
            weights = self._weights(sample_weight, X)
            if first:
                init, _ = self._check_init(X, n_random=10)
                random_state = check_random_state(self.random_state)
                centers = self._initial_centers(init, X, weights, random_state)
                motion = Motion.zeros(*centers.shape)
            else:
                centers = self._centers_to_go_on()
                # A state that another rule, or other centres, have left behind means nothing here.
                fits = self._motion_rule == self._rule_name() and len(self._motion.seen) == len(centers)
                motion = self._motion.copy() if fits else Motion.zeros(*centers.shape)
                weights = None if weights is None else plain(weights, centers.dtype)
            rows = as_rows(X, centers.dtype)
            before = centers.copy()
            loss, finite = step(rows, weights, centers, rule, motion)
            labels, inertia = labels_inertia(rows, weights, centers)
            diverged = not (finite and np.isfinite(inertia))
            if diverged and not first:
                raise ValueError(self._divergence())
            if diverged:
                labels, inertia = labels_inertia(rows, weights, before)
                self._keep(GradientResult(before, labels, inertia, 1, [], Motion.zeros(*before.shape), True))
                return ValueError(self._divergence())
            if first:
                self._keep(GradientResult(centers, labels, inertia, 1, [loss], motion, False))
                return None
            self.cluster_centers_, self.labels_, self.inertia_ = centers, labels, inertia
            self._motion, self._motion_rule = motion, self._rule_name()
            self.n_steps_ += 1
            # In place, for a stream may be long.
            self.loss_curve_.append(loss)
        return None

    def _keep(self, result: GradientResult) -> None:
        self.cluster_centers_ = result.centers
        self.labels_ = result.labels
        self.inertia_ = result.inertia
        self.n_iter_ = result.n_iter
        self.n_steps_ = len(result.losses)
        self.loss_curve_ = result.losses
        self._motion = result.motion
        self._motion_rule = self._rule_name()

    def _rule_name(self) -> tuple[str, bool]:
        """What a state is tied to: sgd and momentum share their code, not their velocities."""
        return self.optimizer, self.learning_rate == "count"

    def _rule(self) -> CenterRule:
        # scikit-learn's check passes over `partial_fit` of a fitted estimator; these are what a step reads.
        validate_parameter_constraints(
            {name: self._parameter_constraints[name] for name in _OF_A_STEP},
            {name: getattr(self, name) for name in _OF_A_STEP},
            type(self).__name__,
        )
        rate = self.learning_rate
        if isinstance(rate, str) and self.optimizer not in RATES[rate].optimizers:
            raise ValueError(
                f"learning_rate={rate!r} cannot be used with optimizer={self.optimizer!r}; "
                "give learning_rate a number, or use optimizer='sgd'."
            )
        if self.forgetting and (rate, self.optimizer) != ("count", "sgd"):
            raise ValueError(
                f"forgetting={self.forgetting!r} needs learning_rate='count' and optimizer='sgd': with "
                "others a centre does not count what it has seen."
            )
        on_sphere = self.metric == "cosine"
        return center_rule(self.optimizer, rate, self.reduction, self.forgetting, on_sphere=on_sphere)

    def _divergence(self) -> str:
        rate = self.learning_rate
        lower = "" if isinstance(rate, str) else f"Lower learning_rate (it is {rate!r}). "
        return (
            f"Solver produced non-finite cluster centers or loss. {lower}The input data may contain large "
            "values and need to be preprocessed."
        )


@contextmanager
def _longer_only_on_success(curve: list[float]) -> Iterator[None]:
    """Take away what has been appended when the block raises."""
    n = len(curve)
    try:
        yield
    except BaseException:
        del curve[n:]
        raise
