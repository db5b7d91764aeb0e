"""Images and heat maps hold the weights."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPClassifier as SklearnMLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import KMeans, MLPClassifier, MLPRegressor, WeightsDisplay

rng = np.random.default_rng(0)
COEFS = [rng.normal(size=(6, 5)), rng.normal(size=(5, 2))]


@pytest.fixture
def network():
    return MLPRegressor.from_weights(COEFS, [np.zeros(5), np.zeros(2)])


@pytest.mark.parametrize(("layer", "index"), [(0, 0), (1, 1), (-1, 1), (np.int64(-2), 0)])
def test_a_heat_map(network, layer, index):
    display = WeightsDisplay.from_estimator(network, layer=layer)
    np.testing.assert_array_equal(display.image_.get_array(), COEFS[index])
    largest = np.abs(COEFS[index]).max()
    assert display.image_.get_clim() == (-largest, largest)
    assert display.colorbar_.mappable is display.image_
    assert display.ax_.figure is display.figure_
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("unit", "input")


def test_images(network):
    display = WeightsDisplay.from_estimator(network, image_shape=(2, 3), colorbar=False)
    assert display.colorbar_ is None
    whole = display.image_.get_array()
    assert whole.shape == (2 * 3 - 1, 3 * 4 - 1)  # five units, three in a row
    for unit in range(5):
        row, column = divmod(unit, 3)
        tile = whole[3 * row : 3 * row + 2, 4 * column : 4 * column + 3]
        np.testing.assert_array_equal(tile, COEFS[0][:, unit].reshape(2, 3))
    # What is between them, and the place of a sixth, is left out.
    assert np.ma.count(whole) == COEFS[0].size
    assert list(display.ax_.get_xticks()) == list(display.ax_.get_yticks()) == []


@pytest.mark.parametrize(("n_columns", "shape"), [(1, (14, 3)), (2, (8, 7)), (5, (2, 19)), (9, (2, 19))])
def test_the_number_of_columns(network, n_columns, shape):
    display = WeightsDisplay.from_estimator(network, image_shape=(2, 3), n_columns=n_columns)
    assert display.image_.get_array().shape == shape


def test_plot_again(network):
    display = WeightsDisplay.from_estimator(network)
    first = display.ax_
    assert display.plot(cmap="gray", vmin=-1) is display
    assert display.figure_ is not first.figure
    assert display.image_.get_cmap().name == "gray"
    assert display.image_.get_clim() == (-1, np.abs(COEFS[0]).max())
    display.plot(first)
    assert display.ax_ is first
    assert len(first.images) == 2


def test_names_of_features():
    X = pd.DataFrame(rng.normal(size=(30, 3)), columns=["length", "width", "<b>"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MLPClassifier((4, 3), max_iter=2, random_state=0).fit(X, X["width"] > 0)
    of_inputs = WeightsDisplay.from_estimator(model).ax_.get_yticklabels()
    assert [text.get_text() for text in of_inputs] == list(X.columns)
    of_units = WeightsDisplay.from_estimator(model, layer=1).ax_.get_yticklabels()
    assert "width" not in {text.get_text() for text in of_units}


def test_names_that_would_not_fit_are_left_out():
    display = WeightsDisplay(np.ones((50, 2)), input_names=[f"x{i}" for i in range(50)]).plot()
    assert "x1" not in {text.get_text() for text in display.ax_.get_yticklabels()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int64])
def test_matrices_of_ones_own(dtype):
    weights = np.arange(8).reshape(4, 2).astype(dtype)
    display = WeightsDisplay(weights, image_shape=(2, 2)).plot()
    np.testing.assert_array_equal(display.image_.get_array()[:, 3:], [[1, 3], [5, 7]])
    np.testing.assert_array_equal(WeightsDisplay(0 * weights).plot().image_.get_clim(), [-1, 1])


def test_centres_and_other_networks():
    X = rng.normal(size=(40, 4))
    kmeans = KMeans(2, random_state=0).fit(X)
    shown = WeightsDisplay(kmeans.cluster_centers_.T, image_shape=(2, 2)).plot().image_.get_array()
    np.testing.assert_array_equal(shown[:, :2], kmeans.cluster_centers_[0].reshape(2, 2))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline = make_pipeline(StandardScaler(), SklearnMLPClassifier((3,), max_iter=2, random_state=0))
        pipeline.fit(X, X[:, 0] > 0)
    shown = WeightsDisplay.from_estimator(pipeline).image_.get_array()
    np.testing.assert_array_equal(shown, pipeline[-1].coefs_[0])


@pytest.mark.parametrize("shape", [(2, 2), (6,), (1, 2, 3), (-2, -3), (2.0, 3.0), 6, "23"])
def test_images_that_do_not_fit(network, shape, pyplot):
    with pytest.raises(ValueError, match="image_shape must be two integers whose product is 6"):
        WeightsDisplay.from_estimator(network, image_shape=shape)
    assert not pyplot.get_fignums()


def test_refusals(network, pyplot):
    X = np.arange(6.0).reshape(3, 2)
    with pytest.raises(NotFittedError):
        WeightsDisplay.from_estimator(MLPRegressor())
    for model in (LinearRegression().fit(X, [1, 2, 3]), KMeans(2, random_state=0).fit(X)):
        with pytest.raises(ValueError, match=rf"and {type(model).__name__} is none"):
            WeightsDisplay.from_estimator(model)
    for layer in (2, -3, True, 0.0, "first"):
        with pytest.raises(ValueError, match="layer must be an integer from -2 to 1"):
            WeightsDisplay.from_estimator(network, layer=layer)
    for n_columns in (0, 1.5, True):
        with pytest.raises(ValueError, match="n_columns must be an integer of at least 1"):
            WeightsDisplay.from_estimator(network, image_shape=(2, 3), n_columns=n_columns)
    with pytest.raises(ValueError, match="n_columns=2 has no use"):
        WeightsDisplay.from_estimator(network, n_columns=2)
    for weights in ([1.0, 2.0], np.empty((0, 3))):
        with pytest.raises(ValueError, match="weights must have shape"):
            WeightsDisplay(weights).plot()
    assert not pyplot.get_fignums()
