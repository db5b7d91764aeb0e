"""What a fit tells of units that hardly learn any more."""

import warnings

import numpy as np
import pytest
from sklearn import datasets
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import scale

from fastnn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
SOLVERS = pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])


def positive(random_state, fan_in, fan_out, dtype):
    return random_state.uniform(0, 1, (fan_in, fan_out)).astype(dtype)


def wide(n=300):
    rng = np.random.default_rng(0)
    return rng.uniform(size=(n, 1600)), rng.integers(2, size=n)


@BOTH
@SOLVERS
def test_many_inputs_and_positive_weights(kind, solver):
    """Every unit of 1600 positive inputs with weights in (0, 1) is at 1."""
    X, y = wide()
    options = {"activation": "logistic", "solver": solver, "max_iter": 2, "random_state": 0}
    model = kind(hidden_layer_sizes=(20,), weight_init=positive, **options)
    with pytest.warns(UserWarning, match=r"100% of the units of hidden layer 1 \(logistic\) are saturated"):
        model.fit(X, y)
    assert model.saturation_ == [1.0]
    # The defaults are not, for the same data, and the warning is the only thing that a fit of them lacks.
    model.set_params(weight_init="auto").fit(X, y)
    assert model.saturation_ == [0.0]


def test_dead_units_of_levenberg_marquardt_and_the_remedies():
    X, y = wide(40)
    with pytest.warns(UserWarning, match=r"relu\) are dead.*StandardScaler.*weight_init.*learning_rate"):
        model = MLPRegressor(
            hidden_layer_sizes=(4,), solver="lm", max_iter=1, bias_init=-1e6, random_state=0
        ).fit(X[:, :3], y)
    assert model.saturation_ == [1.0]


@pytest.mark.parametrize("slope", [0.5, 1])
def test_the_warning_names_relu_whatever_its_slope_at_zero(slope):
    X, y = wide(40)
    options = {"relu_grad_at_zero": slope, "bias_init": -1e6, "max_iter": 1, "random_state": 0}
    with pytest.warns(UserWarning, match=r"100% of the units of hidden layer 1 \(relu\) are dead"):
        MLPRegressor(hidden_layer_sizes=(4,), **options).fit(X, y)


def test_one_warning_tells_of_all_layers_beside_that_of_the_training():
    X, y = wide()
    model = MLPClassifier(
        (9, 8, 7), activation=["logistic", "silu", "tanh"], weight_init=positive, max_iter=1, random_state=0
    )
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    assert [each.category for each in caught] == [ConvergenceWarning, UserWarning]
    assert all(each.filename == __file__ for each in caught)
    text = str(caught[1].message)
    assert "hidden layer 1 (logistic) are saturated; 100% of the units of hidden layer 3 (tanh)" in text
    np.testing.assert_array_equal(model.saturation_, [1, np.nan, 1])


@BOTH
def test_a_filter_that_makes_errors_of_warnings_does_not_cost_the_model(kind):
    X, y = wide()
    model = kind(
        hidden_layer_sizes=(5,), activation="logistic", weight_init=positive, max_iter=1, random_state=0
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        with pytest.raises(UserWarning, match="saturated"):
            model.fit(X, y)
    assert model.saturation_ == [1.0]
    assert model.predict(X).shape == y.shape


@BOTH
def test_a_single_epoch_is_not_judged(kind):
    X, y = wide()
    classes = {"classes": [0, 1]} if kind is MLPClassifier else {}
    model = kind(hidden_layer_sizes=(5,), activation="logistic", weight_init=positive, random_state=0)
    model.partial_fit(X, y, **classes)
    assert not hasattr(model, "saturation_")
    model.set_params(weight_init="auto", max_iter=1).fit(X, y)
    assert model.saturation_ == [0.0]
    # It told of the weights that there were.
    assert not hasattr(model.partial_fit(X, y), "saturation_")


@pytest.mark.parametrize("options", [{"early_stopping": True}, {"dropout": 0.5}, {"batch_size": 1}])
def test_it_is_the_share_of_a_forward_pass(options):
    X, y = datasets.load_iris(return_X_y=True)
    model = MLPClassifier((30,), random_state=0, max_iter=30, bias_init=-1.0, **options).fit(X, y)
    dead = (X @ model.coefs_[0] + model.intercepts_[0] <= 0).all(axis=0).mean()
    assert 0 < dead < 0.9
    assert model.saturation_[0] == pytest.approx(dead, abs=0.11)  # of the last batch, one step earlier


def test_no_hidden_layers():
    X, y = datasets.load_iris(return_X_y=True)
    assert MLPClassifier((), random_state=0).fit(X, y).saturation_.shape == (0,)


SETS = {
    "iris": (MLPClassifier, datasets.load_iris(return_X_y=True)),
    "wine": (MLPClassifier, datasets.load_wine(return_X_y=True)),
    "cancer": (MLPClassifier, datasets.load_breast_cancer(return_X_y=True)),
    "digits": (MLPClassifier, datasets.load_digits(return_X_y=True)),
    "diabetes": (MLPRegressor, datasets.load_diabetes(return_X_y=True)),
    "linnerud": (MLPRegressor, datasets.load_linnerud(return_X_y=True)),
    "moons": (MLPClassifier, datasets.make_moons(201, noise=0.2, random_state=0)),
    "classification": (MLPClassifier, datasets.make_classification(random_state=0)),
    "friedman": (MLPRegressor, datasets.make_friedman1(400, random_state=0)),
    "regression": (MLPRegressor, datasets.make_regression(300, 20, random_state=0)),
}


@SOLVERS
@pytest.mark.parametrize("activation", ["relu", "tanh", "logistic"])
@pytest.mark.parametrize("name", SETS)
def test_defaults_are_well(name, activation, solver):
    kind, (X, y) = SETS[name]
    X, y = scale(X), scale(y) if kind is MLPRegressor else y
    for max_iter in (1, 50):
        model = kind(activation=activation, solver=solver, max_iter=max_iter, random_state=0).fit(X, y)
        assert (model.saturation_ < 0.5).all()
