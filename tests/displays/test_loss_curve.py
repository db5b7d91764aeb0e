"""Loss curves are drawn as the model has them."""

import warnings

import numpy as np
import pytest
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from sklearn.linear_model import LinearRegression
from sklearn.neural_network import MLPRegressor as SklearnMLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fastnn import GradKMeans, LossCurveDisplay, MLPClassifier, MLPRegressor

X = np.random.default_rng(0).normal(size=(60, 3))
y = X @ [1.0, -2.0, 0.5]


def fitted(kind=MLPRegressor, **parameters):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return kind(**{"hidden_layer_sizes": (4,), "max_iter": 5, "random_state": 0, **parameters}).fit(X, y)


@pytest.fixture
def recorded():
    """A model with everything that can be recorded."""
    model = fitted(early_stopping=True)
    model.validation_loss_curve_ = [3.0, 2.0, 1.0, 1.5, 2.5]
    model.learning_rate_curve_ = [0.1, 0.2, 0.1, 0.05, 0.025]
    model.best_epoch_ = 2
    return model


def assert_shows(line, values, first=0):
    np.testing.assert_array_equal(line.get_xdata(), first + np.arange(len(values)))
    np.testing.assert_array_equal(line.get_ydata(), values)


def test_a_fit_without_validation():
    model = fitted()
    display = LossCurveDisplay.from_estimator(model)
    assert_shows(display.line_, model.loss_curve_)
    assert display.ax_.figure is display.figure_
    assert len(display.figure_.axes) == len(display.ax_.lines) == 1
    for name in ("validation_line_", "score_ax_", "score_line_", "best_epoch_line_"):
        assert getattr(display, name) is None
    assert len(set(model.learning_rate_curve_)) == 1  # which needs no line
    assert display.learning_rate_ax_ is display.learning_rate_line_ is None
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("epoch", "loss")


def test_all_that_is_recorded(recorded):
    display = LossCurveDisplay.from_estimator(recorded)
    assert_shows(display.line_, recorded.loss_curve_)
    assert_shows(display.validation_line_, recorded.validation_loss_curve_)
    assert_shows(display.score_line_, recorded.validation_scores_)
    assert_shows(display.learning_rate_line_, recorded.learning_rate_curve_)
    assert set(display.best_epoch_line_.get_xdata()) == {2}
    assert display.validation_line_.axes is display.ax_
    axes = [display.ax_, display.score_ax_, display.learning_rate_ax_]
    assert axes == display.figure_.axes
    assert [ax.get_ylabel() for ax in axes] == ["loss", "validation score", "learning rate"]
    (legend,) = [ax.get_legend() for ax in axes if ax.get_legend()]
    texts = [text.get_text() for text in legend.get_texts()]
    assert sorted(texts) == [
        *("best epoch", "learning rate", "training loss", "validation loss", "validation score"),
    ]


def test_two_models_in_one_figure(recorded, pyplot):
    _, (ax, other) = pyplot.subplots(1, 2, sharex=True)
    other.plot([1, 2], label="of another panel")
    first = LossCurveDisplay.from_estimator(recorded, ax=ax, name="a")
    second = LossCurveDisplay.from_estimator(recorded, ax=ax, name="b")
    assert first.ax_ is second.ax_ is ax
    assert first.line_.get_color() != second.line_.get_color()
    assert second.validation_line_.get_color() == second.line_.get_color()
    shown = [a.get_legend() for a in ax.figure.axes if a.get_legend()]
    assert len(shown) == 1
    texts = {text.get_text() for text in shown[0].get_texts()}
    assert len(texts) == 10
    assert {text.partition(": ")[0] for text in texts} == {"a", "b"}
    assert second.score_ax_.get_ylabel() == "validation score"


def test_plot_again(recorded):
    display = LossCurveDisplay.from_estimator(recorded, name="one")
    first = display.ax_
    assert display.plot(log_scale=True, name="two", color="k", label="mine") is display
    assert display.ax_ is not first
    assert display.figure_ is not first.figure
    assert display.ax_.get_yscale() == "log"
    assert first.get_yscale() == "linear"
    assert display.line_.get_color() == display.validation_line_.get_color() == "k"
    assert display.line_.get_label() == "mine"
    assert display.validation_line_.get_label() == "two: validation loss"
    assert_shows(display.line_, recorded.loss_curve_)


def test_validation_that_began_later_belongs_to_the_last_epochs():
    model = fitted(warm_start=True, max_iter=3)
    n_before = len(model.loss_curve_)
    model.set_params(early_stopping=True)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, y)
    n_validated = len(model.validation_scores_)
    assert len(model.loss_curve_) == n_before + n_validated
    model.best_epoch_ = 1
    display = LossCurveDisplay.from_estimator(model)
    assert_shows(display.score_line_, model.validation_scores_, first=n_before)
    assert set(display.best_epoch_line_.get_xdata()) == {n_before + 1}


def test_values_of_ones_own():
    display = LossCurveDisplay([3, 2, 1], validation_loss_curve=[5, 4], best_epoch=1).plot()
    assert_shows(display.validation_line_, [5, 4], first=1)
    assert set(display.best_epoch_line_.get_xdata()) == {2}
    assert set(LossCurveDisplay([3, 2, 1], best_epoch=1).plot().best_epoch_line_.get_xdata()) == {1}


@pytest.mark.parametrize(
    ("make", "unit"),
    [
        (lambda: fitted(solver="lm"), "iteration"),
        (lambda: GradKMeans(2, max_iter=2, random_state=0).fit(X), "step"),
        (lambda: fitted(SklearnMLPRegressor, batch_size=60), "epoch"),
    ],
    ids=["lm", "GradKMeans", "scikit-learn"],
)
def test_whatever_has_losses(make, unit):
    model = make()
    display = LossCurveDisplay.from_estimator(model)
    assert_shows(display.line_, model.loss_curve_)
    assert display.ax_.get_xlabel() == unit


def test_the_last_step_of_a_pipeline():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model = make_pipeline(
            StandardScaler(), MLPRegressor(hidden_layer_sizes=(4,), max_iter=3, random_state=0)
        ).fit(X, y)
    assert_shows(LossCurveDisplay.from_estimator(model).line_, model[-1].loss_curve_)


def test_refusals(pyplot):
    for unfitted in (MLPRegressor(), make_pipeline(StandardScaler(), MLPRegressor())):
        with pytest.raises(NotFittedError):
            LossCurveDisplay.from_estimator(unfitted)
    without = [
        fitted(solver="lbfgs"),
        LinearRegression().fit(X, y),
        MLPClassifier.from_weights([[[1.0]]], [[0.0]]),
    ]
    for model in without:
        with pytest.raises(ValueError, match=rf"{type(model).__name__} has no losses"):
            LossCurveDisplay.from_estimator(model)
    for wrong in ("a string", MLPRegressor):
        with pytest.raises(TypeError):
            LossCurveDisplay.from_estimator(wrong)
    assert not pyplot.get_fignums()
