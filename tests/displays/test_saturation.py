"""Bars of saturated units."""

import warnings

import numpy as np
import pytest
from scipy import sparse
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import Autoencoder, KMeans, MLPRegressor, SaturationDisplay

rng = np.random.default_rng(0)
X = rng.normal(size=(80, 3))
y = X[:, 0]
# Units that are 1, 0, between, and between; then, of relu: never 0, 0, 0; and one of identity.
COEFS = [np.outer([1e-3, 0, 0], [1, 1, 1, 1]), np.zeros((4, 3)), np.ones((3, 1)), np.ones((1, 1))]
BIASES = [np.array([50, -50, 0, 1.0]), np.array([1.0, -1, -2]), np.zeros(1), np.zeros(1)]
STUCK = [0.5, 2 / 3, np.nan]


@pytest.fixture
def network():
    return MLPRegressor.from_weights(COEFS, BIASES, activation=("logistic", "relu", "identity"))


def heights(display):
    return [bar.get_height() for bar in display.bars_]


def ticks(display):
    return [text.get_text() for text in display.ax_.get_xticklabels()]


def test_what_a_fit_found():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = MLPRegressor(hidden_layer_sizes=(20, 9), activation="tanh", max_iter=2, random_state=0).fit(
            100 * X, y
        )
    assert 0 < model.saturation_[0] < 1
    display = SaturationDisplay.from_estimator(model)
    np.testing.assert_array_equal(heights(display), model.saturation_)
    np.testing.assert_array_equal([bar.get_center()[0] for bar in display.bars_.patches], [0, 1])
    assert ticks(display) == ["hidden 1\ntanh", "hidden 2\ntanh"]
    assert display.ax_.figure is display.figure_
    np.testing.assert_array_equal(display.limit_line_.get_ydata(), [0.9, 0.9])


@pytest.mark.parametrize("form", [np.asarray, sparse.csr_matrix], ids=["dense", "sparse"])
def test_rows_that_are_given(network, form):
    display = SaturationDisplay.from_estimator(network, form(X))
    np.testing.assert_array_equal(heights(display), STUCK)
    assert ticks(display) == ["hidden 1\nlogistic", "hidden 2\nrelu", "hidden 3\nidentity"]
    # One unit that is stuck for the first row alone is not for all of them.
    network.coefs_[1] = np.zeros((4, 3))
    network.coefs_[0] = np.outer([1e3, 0, 0], [1, 1, 1, 1])
    network.intercepts_[0] = np.zeros(4)
    one = SaturationDisplay.from_estimator(network, X[:1])
    both = SaturationDisplay.from_estimator(network, np.vstack([X[:1], -X[:1]]))
    assert (heights(one)[0], heights(both)[0]) == (1, 0)


def test_layers_of_which_no_share_is_known(network):
    display = SaturationDisplay.from_estimator(network, X)
    (text,) = display.ax_.texts
    assert text.get_text() == "not known"
    assert text.get_position()[0] == 2


def test_users_names_of_activations(network):
    network.set_params(relu_grad_at_zero=0.5)
    assert ticks(SaturationDisplay.from_estimator(network, X))[1] == "hidden 2\nrelu"


def test_plot_again(network, pyplot):
    display = SaturationDisplay.from_estimator(network, X)
    first = display.ax_
    ax = pyplot.figure().subplots()
    assert display.plot(ax, color="k") is display
    assert display.ax_ is ax is not first
    assert display.bars_[0].get_facecolor() == (0, 0, 0, 1)
    np.testing.assert_array_equal(heights(display), STUCK)


def test_shares_of_ones_own():
    display = SaturationDisplay([0.25, 1]).plot()
    assert heights(display) == [0.25, 1]
    assert ticks(display) == ["hidden 1", "hidden 2"]


def test_pipelines_and_autoencoders():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = make_pipeline(StandardScaler(), Autoencoder((4, 2), max_iter=1, random_state=0)).fit(X)
    np.testing.assert_array_equal(heights(SaturationDisplay.from_estimator(model)), model[-1].saturation_)
    last = model[-1]
    # relu units that are 0 for what the scaler makes of the rows, and not for the rows themselves.
    last.coefs_[0][:] = -np.eye(3, 4)
    last.intercepts_[0][:] = [0.5, 0.5, 0.5, -1]
    far = np.full((2, 3), 1000.0)
    model[0].mean_, model[0].scale_ = -far[0], np.ones(3)
    assert heights(SaturationDisplay.from_estimator(model, -far))[0] == 0.25
    assert heights(SaturationDisplay.from_estimator(last, -far))[0] == 0.25
    assert heights(SaturationDisplay.from_estimator(model, 0 * far))[0] == 1
    assert heights(SaturationDisplay.from_estimator(last, 0 * far))[0] == 0.25


def test_refusals(network, pyplot):
    with pytest.raises(NotFittedError):
        SaturationDisplay.from_estimator(MLPRegressor())
    with pytest.raises(ValueError, match=r"has no saturation_.*give the rows X"):
        SaturationDisplay.from_estimator(network)
    with pytest.raises(ValueError, match="has no hidden layers"):
        SaturationDisplay.from_estimator(MLPRegressor.from_weights([np.ones((3, 1))], [[0.0]]), X)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        peer = SklearnMLPRegressor(hidden_layer_sizes=(2,), max_iter=1, batch_size=80).fit(X, y)
    for model in (peer, KMeans(2, random_state=0).fit(X)):
        with pytest.raises(ValueError, match=rf"fastnn's networks, and {type(model).__name__} is none"):
            SaturationDisplay.from_estimator(model, X)
    with pytest.raises(ValueError, match="2 features"):
        SaturationDisplay.from_estimator(network, X[:, :2])
    assert not pyplot.get_fignums()
