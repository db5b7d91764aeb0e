"""Activations by layer, biases, and accumulated batches, as users set them."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import Autoencoder, MLPClassifier, MLPRegressor
from fastnn.tables.activations import LAYER_ACTIVATIONS

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BITS = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
AND, OR, XOR = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1]), np.array([0, 1, 1, 0])


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    return X[:600] / 16, y[:600]


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_a_sequence_of_one_name_is_the_name(digits, solver):
    fits = [
        MLPClassifier((20, 10), activation=activation, solver=solver, max_iter=3, random_state=0).fit(*digits)
        for activation in ("tanh", ["tanh", "tanh"], np.array(["tanh", "tanh"]))
    ]
    for other in fits[1:]:
        for a, b in zip(fits[0].coefs_ + fits[0].intercepts_, other.coefs_ + other.intercepts_, strict=True):
            assert_array_equal(a, b)


@pytest.mark.parametrize("activation", [("softmax", "gelu"), ("mish", "softmax"), "softmax", "selu"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_mixed_activations_learn(digits, activation, dtype):
    X, y = digits
    model = MLPClassifier(
        (40, 40), activation=activation, learning_rate_init=0.01, max_iter=150, random_state=0
    )
    assert model.fit(X.astype(dtype), y).score(X, y) > 0.8
    assert model.predict_proba(X.astype(dtype)).dtype == dtype
    copy = pickle.loads(pickle.dumps(model))
    assert_array_equal(copy.predict(X), model.predict(X))
    assert clone(model).get_params() == model.get_params()


@pytest.mark.parametrize(
    ("activation", "said"),
    [
        (("relu",), "activation has 1 names, and hidden_layer_sizes 2 layers"),
        (("relu", "tanh", "relu"), "activation has 3 names"),
        (("relu", "no"), "activation must be a name.*'softmax'.*got 'no'"),
        (("relu", 3), "activation must be a name.*got 3"),
        (("relu", "exp"), "activation must be a name.*got 'exp'"),
        (("relu", "relu_half"), "activation must be a name"),
        (("relu", "hard_limit"), "activation='hard_limit' has no derivative"),
        ("hard_limit", "activation='hard_limit' has no derivative"),
        ({"relu": 1, "tanh": 2}, "activation must be a sequence, in the order of the layers"),
        ({"relu", "tanh"}, "activation must be a sequence, in the order of the layers"),
    ],
)
def test_activations_that_there_are_not(digits, activation, said):
    model = MLPClassifier((5, 4), activation=activation)
    with pytest.raises(ValueError, match=said):
        model.fit(*digits)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor, Autoencoder])
@pytest.mark.parametrize("sizes", [{4, 5}, {5: "tanh", 4: "relu"}, frozenset({3})])
def test_layers_without_an_order(digits, kind, sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes must be a sequence, in the order of the layers"):
        kind(hidden_layer_sizes=sizes).fit(*digits)


@pytest.mark.parametrize("method", ["fit", "partial_fit", "initialize"])
def test_hard_limit_is_refused_without_hidden_layers_too(digits, method):
    model = MLPRegressor(hidden_layer_sizes=(), activation="hard_limit")
    with pytest.raises(ValueError, match="activation='hard_limit' has no derivative"):
        getattr(model, method)(*digits)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize("activation", ["exp", "no", 3, None])
def test_a_wrong_name_is_an_invalid_parameter(digits, activation):
    with pytest.raises(InvalidParameterError, match="'activation'"):
        MLPClassifier((5,), activation=activation).fit(*digits)


@pytest.mark.filterwarnings("ignore:.*are dead")
def test_relu_at_zero():
    """All arguments are 0 where inputs are and there are no biases: the slope there is all that trains."""
    X, y = np.zeros((20, 3)), np.ones(20)
    moved = {}
    for slope in (0, 0.5, 1):
        model = MLPRegressor(
            hidden_layer_sizes=(4,), solver="sgd", momentum=0, relu_grad_at_zero=slope, max_iter=1, alpha=0,
            random_state=0, warm_start=True,
        )  # fmt: skip
        model.fit(X, y)
        model.intercepts_ = [np.zeros_like(b) for b in model.intercepts_]
        W = [w.copy() for w in model.coefs_]
        model.fit(X, y)
        moved[slope] = model.intercepts_[0]
        # One step of learning_rate_init on half the squared error of 0, whose target is 1.
        assert_allclose(moved[slope], slope * 0.001 * W[1][:, 0], rtol=1e-12)
    assert not moved[0].any()


@pytest.mark.parametrize("value", [0.3, -1, 2, "1", None, np.nan])
def test_other_slopes_at_zero(digits, value):
    with pytest.raises(InvalidParameterError, match="relu_grad_at_zero"):
        MLPClassifier((5,), relu_grad_at_zero=value).fit(*digits)


def test_a_slope_that_has_no_use(digits):
    with pytest.raises(ValueError, match=r"relu_grad_at_zero=0.5 has no use with activation='tanh'"):
        MLPClassifier((5,), relu_grad_at_zero=0.5, activation="tanh").fit(*digits)


def test_predictions_do_not_ask_for_the_slope_at_zero(digits):
    """They have no use for it, be it one that a fit would refuse."""
    model = MLPRegressor(hidden_layer_sizes=(5,), relu_grad_at_zero=1, max_iter=1, random_state=0).fit(
        *digits
    )
    expected = model.predict(digits[0])
    assert_array_equal(model.set_params(relu_grad_at_zero=0).predict(digits[0]), expected)
    assert_array_equal(model.set_params(relu_grad_at_zero=0.3).predict(digits[0]), expected)
    assert np.isfinite(model.set_params(relu_grad_at_zero=1, activation="tanh").predict(digits[0])).all()


# Biases.


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_without_biases(digits, solver):
    X, y = digits
    model = MLPRegressor(
        hidden_layer_sizes=(20, 10), solver=solver, use_bias=False, max_iter=5, random_state=0
    ).fit(X, y)
    assert not any(b.any() for b in model.intercepts_)
    for activation in ("relu", "tanh", "identity", "gelu", "silu", "mish", "elu", "selu", "leaky_relu"):
        model.set_params(activation=activation).fit(X, y)
        assert model.predict(np.zeros((1, 64))) == [0.0]
    # The first weights of a seed are the same.
    first = [
        MLPRegressor(use_bias=bias, max_iter=1, learning_rate_init=1e-300, random_state=3).fit(X, y)
        for bias in (True, False, (False, True))
    ]
    for other in first[1:]:
        for a, b in zip(first[0].coefs_, other.coefs_, strict=True):
            assert_array_equal(a, b)


def test_biases_by_layer(digits):
    model = MLPClassifier((20, 10), use_bias=[True, False, True], max_iter=3, random_state=0).fit(*digits)
    assert [b.any() for b in model.intercepts_] == [True, False, True]
    model.set_params(warm_start=True).fit(*digits)
    assert [b.any() for b in model.intercepts_] == [True, False, True]
    model.partial_fit(*digits)
    assert [b.any() for b in model.intercepts_] == [True, False, True]
    before = [b.copy() for b in model.intercepts_]
    with pytest.raises(ValueError, match="use_bias=False, and the fitted network has some"):
        model.set_params(use_bias=False).fit(*digits)
    for a, b in zip(before, model.intercepts_, strict=True):
        assert_array_equal(a, b)


def test_a_bias_is_the_weight_of_a_column_of_ones(digits):
    X, y = digits[0], digits[1] % 2
    options = {"alpha": 0.0, "solver": "sgd", "max_iter": 4, "random_state": 0, "shuffle": False}
    with_bias = MLPClassifier((), warm_start=True, **options).fit(X, y)
    X1 = np.hstack([X, np.ones((len(X), 1))])
    without = MLPClassifier((), use_bias=False, warm_start=True, **options).fit(X1, y)
    with_bias.intercepts_ = [np.zeros(1)]
    without.coefs_ = [np.vstack([with_bias.coefs_[0], [[0.0]]])]
    with_bias.fit(X, y)
    without.fit(X1, y)
    assert_allclose(without.coefs_[0][:-1], with_bias.coefs_[0], rtol=1e-10, atol=1e-14)
    assert_allclose(without.coefs_[0][-1], with_bias.intercepts_[0], rtol=1e-10)


def test_one_for_every_x_needs_a_bias():
    X, y = np.array([[0.0], [1], [2]]), np.ones(3)
    options = {"hidden_layer_sizes": (), "solver": "lbfgs", "alpha": 0, "tol": 1e-12, "random_state": 0}
    assert_allclose(MLPRegressor(**options).fit(X, y).predict(X), 1, atol=1e-5)
    model = MLPRegressor(use_bias=False, **options).fit(X, y)
    assert model.predict([[0.0]]) == [0.0]
    assert_allclose(model.coefs_[0], [[3 / 5]], rtol=1e-6)  # least squares: sum(x) / sum(x^2)


@pytest.mark.parametrize("scale", [1e-3, 7.0, 1e5])
def test_relu_decisions_without_biases_do_not_depend_on_the_scale(digits, scale):
    X, y = digits
    model = MLPClassifier((30, 20), use_bias=False, max_iter=20, random_state=0).fit(X, y)
    assert_array_equal(model.predict(scale * X), model.predict(X))


@pytest.mark.parametrize(("factor", "rule"), [(0.5, "sgd"), (4.0, "adam")])
def test_the_rate_of_biases(digits, factor, rule):
    """The first step of the biases is so many times as long, that of the weights the same."""
    fits = [
        MLPClassifier(
            (10,), solver=rule, bias_learning_rate_factor=f, max_iter=1, batch_size=600, random_state=0
        ).fit(*digits)
        for f in (0, 1, factor)
    ]
    for still, once, more in zip(*(model.intercepts_ for model in fits), strict=True):
        assert_allclose(more - still, factor * (once - still), rtol=1e-9)
    for still, once, more in zip(*(model.coefs_ for model in fits), strict=True):
        assert_array_equal(once, still)
        assert_array_equal(once, more)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("bias_learning_rate_factor", -1),
        ("bias_learning_rate_factor", np.inf),
        ("bias_learning_rate_factor", np.nan),
        ("bias_learning_rate_factor", "1"),
        ("use_bias", None),
        ("use_bias", "yes"),
        ("use_bias", 3),
        ("accumulate_batches", 0),
        ("accumulate_batches", 2.5),
    ],
)
def test_invalid_parameters(digits, name, value):
    model = MLPClassifier((5,), max_iter=1)
    with pytest.raises(InvalidParameterError, match=f"'{name}'"):
        clone(model).set_params(**{name: value}).fit(*digits)
    model.fit(*digits)
    before = model.coefs_[0].copy()
    with pytest.raises(InvalidParameterError, match=f"'{name}'"):
        model.set_params(**{name: value}).partial_fit(*digits)
    assert_array_equal(model.coefs_[0], before)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ([True], "use_bias has 1 values"),
        ([True, 1], "use_bias must be"),
        ([], "use_bias has 0"),
        ({True, False}, "use_bias must be a sequence, in the order of the layers"),
    ],
)
def test_flags_that_make_no_sense(digits, value, said):
    with pytest.raises(ValueError, match=said):
        MLPClassifier((5,), use_bias=value).fit(*digits)


@pytest.mark.parametrize(("name", "value"), [("bias_learning_rate_factor", 0.5), ("accumulate_batches", 2)])
def test_lbfgs_has_no_use_for_it(digits, name, value):
    with pytest.raises(ValueError, match=f"{name}={value} needs a solver of"):
        MLPClassifier((5,), solver="lbfgs", **{name: value}).fit(*digits)


# Small problems that textbooks begin with.


@pytest.mark.parametrize("activation", ["tanh", "logistic", "relu", "gelu"])
def test_xor_needs_a_hidden_layer(activation):
    found = 0
    for seed in range(10):
        model = MLPClassifier(
            (8,), activation=activation, solver="lbfgs", alpha=0, max_iter=2000, random_state=seed
        )
        found += model.fit(BITS, XOR).score(BITS, XOR) == 1
    assert found >= 5
    linear = MLPClassifier((), solver="lbfgs", alpha=0, max_iter=2000, random_state=0).fit(BITS, XOR)
    assert linear.score(BITS, XOR) <= 0.75


@pytest.mark.parametrize("target", [AND, OR])
def test_and_and_or_need_none(target):
    model = MLPClassifier((), solver="lbfgs", alpha=0, max_iter=2000, random_state=0).fit(BITS, target)
    assert_array_equal(model.predict(BITS), target)
    # AND needs a bias, since 0, 0 gives 1/2 without.
    without = MLPClassifier((), use_bias=False, solver="lbfgs", alpha=0, random_state=0).fit(BITS, target)
    assert without.predict_proba(BITS[:1])[0, 1] == 0.5


# Accumulation.


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("solver", ["adam", "sgd"])
def test_accumulated_batches(digits, kind, solver):
    options = {
        "hidden_layer_sizes": (20,),
        "solver": solver,
        "max_iter": 4,
        "random_state": 0,
        "dropout": 0.2,
    }
    several = kind(batch_size=32, accumulate_batches=5, **options).fit(*digits)
    large = kind(batch_size=160, **options).fit(*digits)
    assert_allclose(several.loss_curve_, large.loss_curve_, rtol=1e-9)
    for a, b in zip(several.coefs_, large.coefs_, strict=True):
        assert_allclose(a, b, atol=1e-9)


def test_online(digits):
    model = MLPClassifier((20,), batch_size=1, max_iter=2, random_state=0).fit(*digits)
    assert model._optimizer.t == 1200


@pytest.mark.parametrize("name", LAYER_ACTIVATIONS)
def test_predictions_with_every_activation(digits, name):
    model = MLPClassifier((9, 5), max_iter=1, random_state=0).fit(*digits)
    assert np.isfinite(model.set_params(activation=name).predict_proba(digits[0])).all()
