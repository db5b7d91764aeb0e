"""Bands and bars of clusters."""

import numpy as np
import pytest
from scipy import sparse
from sklearn.cluster import DBSCAN
from sklearn.cluster import KMeans as SklearnKMeans
from sklearn.datasets import make_blobs
from sklearn.exceptions import NotFittedError
from sklearn.metrics import silhouette_samples, silhouette_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import ClusterDisplay, GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier

X, _ = make_blobs([30, 60, 90], centers=[[0, 0], [8, 0], [0, 8]], random_state=0)


def assert_bands(display, silhouettes, labels, clusters):
    """Each band holds the sorted silhouettes of its cluster, and none lies over another."""
    assert len(display.bands_) == len(clusters)
    end = 0
    for band, cluster in zip(display.bands_, clusters, strict=True):
        values, edges, _ = band.get_data()
        np.testing.assert_array_equal(values, np.sort(silhouettes[labels == cluster]))
        np.testing.assert_array_equal(np.diff(edges), 1)
        assert edges[0] > end
        end = edges[-1]
    assert display.ax_.get_ylim() > (end, 0)
    np.testing.assert_allclose(display.mean_line_.get_xdata(), silhouettes.mean(), rtol=1e-12)


def sizes(display):
    return [bar.get_width() for bar in display.bars_]


@pytest.mark.parametrize("kind", [KMeans, MiniBatchKMeans, GradKMeans, SklearnKMeans])
def test_the_clusters_of_a_fit(kind):
    model = kind(3, random_state=0, n_init=1).fit(X)
    display = ClusterDisplay.from_estimator(model, X)
    assert_bands(display, silhouette_samples(X, model.labels_), model.labels_, range(3))
    assert sizes(display) == list(np.bincount(model.labels_))
    texts = [text.get_text() for text in display.size_ax_.texts]
    assert texts == [str(size) for size in np.bincount(model.labels_)]
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["0", "1", "2"]
    # Bars stand beside their bands.
    for bar, band in zip(display.bars_, display.bands_, strict=True):
        edges = band.get_data().edges
        assert bar.get_center()[1] == pytest.approx((edges[0] + edges[-1]) / 2)
    assert "of" not in display.ax_.get_xlabel().split()
    assert display.ax_.figure is display.figure_


def test_a_sample_is_that_of_silhouette_score_and_is_stated():
    model = KMeans(3, random_state=0).fit(X)
    display = ClusterDisplay.from_estimator(model, X, sample_size=50, random_state=3)
    assert len(display.silhouettes) == len(display.labels) == 50
    expected = silhouette_score(X, model.labels_, sample_size=50, random_state=3)
    np.testing.assert_allclose(display.mean_line_.get_xdata(), expected, rtol=1e-12)
    assert sizes(display) == list(np.bincount(model.labels_))
    assert "of 50 of 180 rows" in display.ax_.get_xlabel()
    again = ClusterDisplay.from_estimator(model, X, sample_size=50, random_state=3)
    np.testing.assert_array_equal(again.silhouettes, display.silhouettes)
    for size in (180, 1000, None):
        assert len(ClusterDisplay.from_estimator(model, X, sample_size=size).silhouettes) == 180


def test_sparse_rows_of_any_form():
    model = KMeans(3, random_state=0).fit(X)
    expected = silhouette_samples(X, model.labels_)
    halves = sparse.coo_matrix(
        (
            np.tile(X.ravel() / 2, 2),
            (np.tile(np.repeat(np.arange(180), 2), 2), np.tile(np.arange(360) % 2, 2)),
        ),
        shape=X.shape,
    )
    # Entries that stand twice count as their sum.
    twice = sparse.csr_matrix(X)
    twice.data = np.repeat(twice.data / 2, 2)
    twice.indices = np.repeat(twice.indices, 2)
    twice.indptr = twice.indptr * 2
    for form in (sparse.csr_array(X), sparse.csc_matrix(X), halves, twice):
        display = ClusterDisplay.from_estimator(model, form)
        np.testing.assert_allclose(display.silhouettes, expected, rtol=1e-7)


def test_the_metric_is_the_estimators():
    rows = np.abs(X) + 0.1
    model = KMeans(2, metric="cosine", random_state=0).fit(rows)
    display = ClusterDisplay.from_estimator(model, rows)
    expected = silhouette_samples(rows, model.labels_, metric="cosine")
    np.testing.assert_array_equal(display.silhouettes, expected)


def test_clusters_without_rows_and_with_one():
    model = KMeans(3, random_state=0).fit(X)
    rows = np.vstack([X[model.labels_ == 0], X[model.labels_ == 2][:1]])
    display = ClusterDisplay.from_estimator(model, rows)
    assert sizes(display) == [np.count_nonzero(model.labels_ == 0), 0, 1]
    assert [len(band.get_data().values) for band in display.bands_] == sizes(display)
    display.figure_.canvas.draw()


def test_labels_that_are_given():
    labels = np.array(["far", "near"])[(X.sum(axis=1) < 4).astype(int)]
    display = ClusterDisplay.from_labels(X, labels)
    assert_bands(display, silhouette_samples(X, labels), labels, ["far", "near"])
    assert [text.get_text() for text in display.ax_.get_yticklabels()] == ["far", "near"]
    display = ClusterDisplay.from_labels(X, labels, metric="manhattan", sample_size=20, random_state=0)
    assert "of 20 of 180 rows" in display.ax_.get_xlabel()
    expected = silhouette_score(X, labels, metric="manhattan", sample_size=20, random_state=0)
    assert np.mean(display.silhouettes) == pytest.approx(expected)


def test_a_pipeline_sees_what_its_last_step_does():
    wide = X * [1000, 1]
    pipeline = make_pipeline(StandardScaler(), KMeans(3, random_state=0)).fit(wide)
    display = ClusterDisplay.from_estimator(pipeline, wide)
    expected = silhouette_samples(pipeline[0].transform(wide), pipeline[-1].labels_)
    np.testing.assert_array_equal(display.silhouettes, expected)


def test_plot_again(pyplot):
    display = ClusterDisplay.from_estimator(KMeans(3, random_state=0).fit(X), X)
    first, bands = display.ax_, display.bands_
    _, axes = pyplot.subplots(1, 2, layout="constrained")
    assert display.plot(axes[0], color="k") is display
    assert display.ax_ is axes[0] is not first
    assert all(band.get_facecolor() == (0, 0, 0, 1) for band in display.bands_)
    for old, new in zip(bands, display.bands_, strict=True):
        np.testing.assert_array_equal(old.get_data().values, new.get_data().values)
    display.figure_.canvas.draw()
    # The sizes stay within what belongs to these axes.
    assert display.size_ax_.get_tightbbox().x1 <= axes[1].get_tightbbox().x0


def test_refusals(pyplot):
    model = KMeans(3, random_state=0).fit(X)
    with pytest.raises(NotFittedError):
        ClusterDisplay.from_estimator(KMeans(3), X)
    network = MLPClassifier.from_weights([np.ones((2, 1))], [[0.0]])
    for wrong in (network, DBSCAN().fit(X)):
        with pytest.raises(ValueError, match=rf"clusterer with predict, got {type(wrong).__name__}"):
            ClusterDisplay.from_estimator(wrong, X)
    for size in (0, -1, 2.5, True, "all"):
        with pytest.raises(ValueError, match="sample_size must be an integer of at least 1"):
            ClusterDisplay.from_estimator(model, X, sample_size=size)
    with pytest.raises(ValueError, match="3 features"):
        ClusterDisplay.from_estimator(model, np.ones((5, 3)))
    with pytest.raises(ValueError, match="Number of labels is 1"):
        ClusterDisplay.from_estimator(KMeans(1).fit(X), X)
    with pytest.raises(ValueError, match="Number of labels is 5"):
        ClusterDisplay.from_labels(X[:5], range(5))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        ClusterDisplay.from_labels(X, [0, 1])
    with pytest.raises(ValueError, match="NaN"):
        ClusterDisplay.from_labels(np.full((4, 2), np.nan), [0, 0, 1, 1])
    assert not pyplot.get_fignums()
