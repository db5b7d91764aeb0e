"""How well separated clusters are, and how large."""

from math import ceil
from numbers import Integral
from typing import Any, Self

import numpy as np
from sklearn.base import is_clusterer
from sklearn.utils import check_array, check_consistent_length, check_random_state, column_or_1d
from sklearn.utils._optional_dependencies import check_matplotlib_support

from fastnn.displays.subjects import axes_to_draw_on, fitted_subject
from fastnn.estimators.sparse_rows import canonical_csr
from fastnn.kernels import to_host

# Colours that Matplotlib's cycle has; clusters beyond begin again.
_N_COLORS = 10


class ClusterDisplay:
    """Silhouettes of the rows of each cluster, as bands, and the sizes of the clusters.

    The silhouette of a row compares its mean distance to the rows of its own cluster, a, with that to the
    rows of the next one, b: (b - a) / max(a, b), from -1 to 1 [1]_. The rows of a cluster are a band, whose
    silhouettes are sorted; a dashed line is the mean of all. At the right stands how many rows a cluster has.

    Use ``from_estimator`` or ``from_labels`` to make one; all parameters are stored as attributes.

    Parameters
    ----------
    silhouettes : array-like of shape (n_shown,)
        Silhouettes of the rows that are shown.
    labels : array-like of shape (n_shown,)
        Their clusters.
    clusters : array-like of shape (n_clusters,)
        All clusters.
    sizes : array-like of shape (n_clusters,)
        Number of rows of each of them, those that are not shown included.

    Attributes
    ----------
    ax_ : matplotlib.axes.Axes
        Axes of the silhouettes.
    figure_ : matplotlib.figure.Figure
        Figure that holds all axes.
    bands_ : list of matplotlib.patches.StepPatch
        The band of each cluster.
    mean_line_ : matplotlib.lines.Line2D
        The mean silhouette of the rows that are shown.
    size_ax_ : matplotlib.axes.Axes
        Axes of the sizes.
    bars_ : matplotlib.container.BarContainer
        The sizes.

    See Also
    --------
    sklearn.metrics.silhouette_samples : The silhouettes.

    References
    ----------
    .. [1] Rousseeuw (1987), "Silhouettes: a graphical aid to the interpretation and validation of cluster
       analysis", Journal of Computational and Applied Mathematics 20, 53-65.

    Examples
    --------
    >>> import matplotlib.pyplot as plt
    >>> from sklearn.datasets import load_iris
    >>> from fastnn import ClusterDisplay, KMeans
    >>> X, _ = load_iris(return_X_y=True)
    >>> display = ClusterDisplay.from_estimator(KMeans(3, random_state=0).fit(X), X)
    >>> plt.show()
    """

    def __init__(self, silhouettes: Any, labels: Any, *, clusters: Any, sizes: Any) -> None:
        self.silhouettes = silhouettes
        self.labels = labels
        self.clusters = clusters
        self.sizes = sizes

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        *,
        sample_size: int | None = 5000,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw the clusters in which a fitted k-means puts rows.

        Parameters
        ----------
        estimator : estimator or Pipeline
            A k-means of this package, or any other fitted clusterer with ``predict``. For a pipeline
            distances are between rows as the last step gets them.
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        sample_size : int, default=5000
            Rows whose silhouettes are computed, at most: these take the distances of all pairs. Of more rows
            so many are drawn at random, and distances are between these; the sizes count all rows. None
            stands for all.
        random_state : int, RandomState instance or None, default=None
            Source of the sample.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Further options of ``matplotlib.axes.Axes.stairs``, which draws a band.

        Returns
        -------
        display : ClusterDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        NotFittedError
            The estimator is not fitted.
        ValueError
            It is no clusterer with ``predict``, or the rows that are shown are of one cluster, or each is a
            cluster of its own.
        """
        model, X = fitted_subject(estimator, f"{cls.__name__}.from_estimator", X)
        if not is_clusterer(model) or not hasattr(model, "predict"):
            raise ValueError(
                f"{cls.__name__}.from_estimator needs a clusterer with predict, got {type(model).__name__}; "
                "from_labels takes clusters that anything has made."
            )
        labels = to_host(model.predict(X))
        # A centre may have no row.
        clusters = np.arange(len(getattr(model, "cluster_centers_", ())))
        metric = "cosine" if getattr(model, "metric", None) == "cosine" else "euclidean"
        display = cls._of_rows(X, labels, clusters, metric, sample_size, random_state)
        return display.plot(ax, **kwargs)

    @classmethod
    def from_labels(
        cls,
        X: Any,
        labels: Any,
        *,
        metric: str = "euclidean",
        sample_size: int | None = 5000,
        random_state: Any = None,
        ax: Any = None,
        **kwargs: Any,
    ) -> Self:
        """Draw clusters of which the labels are given.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Data.
        labels : array-like of shape (n_samples,)
            The cluster of each row.
        metric : str, default="euclidean"
            The distance, as of ``sklearn.metrics.silhouette_samples``.
        sample_size : int, default=5000
            Rows whose silhouettes are computed, at most; see ``from_estimator``.
        random_state : int, RandomState instance or None, default=None
            Source of the sample.
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on. None makes a figure.
        **kwargs : dict
            Further options of ``matplotlib.axes.Axes.stairs``, which draws a band.

        Returns
        -------
        display : ClusterDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        ValueError
            X and labels are of different lengths, or the rows that are shown are of one cluster, or each is a
            cluster of its own.
        """
        check_matplotlib_support(f"{cls.__name__}.from_labels")
        labels = column_or_1d(to_host(labels))
        display = cls._of_rows(X, labels, (), metric, sample_size, random_state)
        return display.plot(ax, **kwargs)

    @classmethod
    def _of_rows(
        cls,
        X: Any,
        labels: np.ndarray,
        clusters: Any,
        metric: str,
        sample_size: int | None,
        random_state: Any,
    ) -> Self:
        from sklearn.metrics import silhouette_samples  # 50 ms that few need

        X = check_array(canonical_csr(to_host(X)), accept_sparse="csr")
        check_consistent_length(X, labels)
        is_number = isinstance(sample_size, Integral) and not isinstance(sample_size, bool)
        if sample_size is not None and (not is_number or sample_size < 1):
            raise ValueError(f"sample_size must be an integer of at least 1, or None, got {sample_size!r}.")
        found, counts = np.unique(labels, return_counts=True)
        clusters = found if not len(clusters) else np.union1d(clusters, found)
        sizes = np.zeros(len(clusters), np.int64)
        sizes[np.searchsorted(clusters, found)] = counts
        if sample_size is not None and sample_size < len(labels):
            # The rows that silhouette_score takes.
            rows = check_random_state(random_state).permutation(len(labels))[:sample_size]
            X, labels = X[rows], labels[rows]
        return cls(silhouette_samples(X, labels, metric=metric), labels, clusters=clusters, sizes=sizes)

    def plot(self, ax: Any = None, **kwargs: Any) -> Self:
        """Draw the bands and the sizes.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Axes to draw on; a fifth of their width is for the sizes. None makes a figure.
        **kwargs : dict
            Further options of ``matplotlib.axes.Axes.stairs``, which draws a band.

        Returns
        -------
        display : ClusterDisplay

        Raises
        ------
        ImportError
            Matplotlib is not installed.
        """
        silhouettes, labels = np.asarray(self.silhouettes), np.asarray(self.labels)
        self.ax_ = ax = axes_to_draw_on(ax, f"{type(self).__name__}.plot")
        self.figure_ = ax.figure
        bands = [np.sort(silhouettes[labels == cluster]) for cluster in self.clusters]
        heights = np.array([len(band) for band in bands])
        # Without a gap bands could not be told apart; one that has no rows is seen by it.
        gap = max(1, ceil(0.02 * heights.sum()))
        first = gap + np.concatenate([[0], np.cumsum(heights + gap)[:-1]])
        self.bands_ = [
            ax.stairs(
                band,
                at + np.arange(len(band) + 1),
                **{"orientation": "horizontal", "fill": True, "color": f"C{number % _N_COLORS}", **kwargs},
            )
            for number, (band, at) in enumerate(zip(bands, first, strict=True))
        ]
        self.mean_line_ = ax.axvline(silhouettes.mean(), color="0.3", linewidth=1, linestyle="--")
        n_rows = int(np.sum(self.sizes))
        sample = "" if len(labels) == n_rows else f" of {len(labels):,} of {n_rows:,} rows"
        middle = first + heights / 2
        ax.set_yticks(middle, labels=[str(cluster) for cluster in self.clusters])
        ax.set(xlabel=f"silhouette{sample}, mean {silhouettes.mean():.2f}", ylabel="cluster")
        ax.set_ylim(first[-1] + heights[-1] + gap, 0)
        self._plot_sizes(middle, max(gap, float(heights.min())))
        return self

    def _plot_sizes(self, middle: np.ndarray, thickness: float) -> None:
        """Bars of the sizes, beside the bands."""
        self.size_ax_ = ax = self.ax_.inset_axes([1.03, 0, 0.2, 1], sharey=self.ax_)
        colors = [f"C{number % _N_COLORS}" for number in range(len(middle))]
        self.bars_ = ax.barh(middle, self.sizes, thickness, color=colors)
        ax.bar_label(self.bars_, fmt="{:,.0f}", padding=2)
        ax.tick_params(axis="y", left=False, labelleft=False)
        ax.set(xlabel="rows", xlim=(0, 1.5 * max(1, int(np.max(self.sizes)))), xticks=[])
        ax.spines[["top", "right", "bottom"]].set_visible(False)
