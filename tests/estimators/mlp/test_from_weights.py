"""Multi-layer perceptrons of given weights."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_matrix
from scipy.special import expit
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import MLPClassifier, MLPRegressor

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
IRIS = load_iris(return_X_y=True)
USUAL = {"max_iter": 3, "random_state": 0, "batch_size": 40}
CORNERS = np.array([[0.0, 0], [0, 1], [1, 0], [1, 1]])
CURVES = {"saturation_", "loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_"}
CURVES |= {"validation_loss_curve_", "best_epoch_", "learning_rate_curve_"}


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_it_predicts_as_the_network_whose_weights_they_are(kind, dtype):
    X, y = IRIS[0].astype(dtype), IRIS[1]
    fitted = kind(hidden_layer_sizes=(6, 5), activation="tanh", **USUAL).fit(X, y)
    model = kind.from_weights(fitted.coefs_, fitted.intercepts_, activation="tanh", **USUAL)
    assert model.get_params() == fitted.get_params()
    public = {name for name in vars(fitted) if name.endswith("_") and not name.startswith("_")}
    assert public - vars(model).keys() == CURVES
    for name in public - CURVES - {"t_", "n_iter_", "coefs_", "intercepts_"}:
        assert_array_equal(getattr(model, name), getattr(fitted, name))
    assert model.t_ == model.n_iter_ == 0
    assert_array_equal(model.predict(X), fitted.predict(X))
    assert model.score(X, y) == fitted.score(X, y)
    if kind is MLPClassifier:
        assert_array_equal(model.predict_proba(X), fitted.predict_proba(X))
        assert_array_equal(model.predict_log_proba(X), fitted.predict_log_proba(X))
    for restored in (pickle.loads(pickle.dumps(model)), model):
        assert_array_equal(restored.predict(X), fitted.predict(X))
    assert not hasattr(clone(model), "coefs_")
    # The fitted one's weights are not trained with the copies.
    kept = fitted.coefs_[0].copy()
    model.partial_fit(X, y)
    assert model.coefs_[0].dtype == dtype
    assert (model.coefs_[0] != kept).any()
    assert_array_equal(fitted.coefs_[0], kept)


@BOTH
@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
def test_training_goes_on(kind, solver):
    X, y = IRIS
    begun = kind(hidden_layer_sizes=(6,), **USUAL).initialize(X, y)
    model = kind.from_weights(begun.coefs_, begun.intercepts_, **USUAL)
    model.set_params(solver=solver, warm_start=True, max_iter=30, learning_rate_init=0.01)
    before = model.score(X, y)
    model.fit(X, y)
    assert model.score(X, y) > before
    if solver != "lbfgs":
        losses = len(model.loss_curve_)
        assert len(model.partial_fit(X, y).loss_curve_) == losses + 1
    # Without a warm start a fit begins anew, with the layers of the weights.
    anew = model.set_params(warm_start=False).fit(X, y)
    assert [W.shape for W in anew.coefs_] == [W.shape for W in begun.coefs_]


def test_without_hidden_layers_it_is_linear():
    model = MLPRegressor.from_weights([[[2.0], [-1.0]]], [[0.5]])
    assert model.hidden_layer_sizes == ()
    assert_allclose(model.predict([[1, 1], [3, 0]]), [1.5, 6.5])


def test_xor_by_hand():
    # x1 + x2 - 2 max(0, x1 + x2 - 1)
    model = MLPRegressor.from_weights([[[1, 1], [1, 1]], [[1], [-2]]], [[0, -1], [0]])
    assert_array_equal(model.predict(CORNERS), [0, 1, 1, 0])


@pytest.mark.parametrize(("bias", "fires"), [(-0.8, [0, 0, 0, 1]), (-0.3, [0, 1, 1, 1]), (-3, [0, 0, 0, 0])])
def test_and_or_by_hand(bias, fires):
    """Weights 0.5 with bias -0.8 are AND and with -0.3 are OR; with -3, as a text has it, no input fires."""
    model = MLPRegressor.from_weights([[[0.5], [0.5]]], [[bias]])
    assert_array_equal(model.predict(CORNERS) > 0, fires)
    # A logistic output is above 0.5 where its argument is above 0.
    model = MLPClassifier.from_weights([[[0.5], [0.5]]], [[bias]])
    assert_array_equal(model.predict(CORNERS), fires)
    model = MLPClassifier.from_weights([[[0.5], [0.5]]], [[bias]], out_activation="hard_limit")
    assert_array_equal(model.predict(CORNERS), fires)


def test_layers_that_fire_by_hand():
    """XOR: OR and not AND."""
    options = {"activation": "hard_limit", "out_activation": "hard_limit"}
    model = MLPClassifier.from_weights(
        [[[0.5, 0.5], [0.5, 0.5]], [[1.0], [-1.0]]], [[-0.3, -0.8], [-0.5]], **options
    )
    assert_array_equal(model.predict(CORNERS), [0, 1, 1, 0])
    with pytest.raises(ValueError, match="hard_limit"):
        model.set_params(warm_start=True).fit(CORNERS, [0, 1, 1, 0])


def test_activations_of_given_weights():
    with pytest.raises(ValueError, match="activation has 1 names, and hidden_layer_sizes 2 layers"):
        MLPRegressor.from_weights(
            [np.ones((1, 2)), np.ones((2, 3)), np.ones((3, 1))],
            [np.ones(2), np.ones(3), np.ones(1)],
            activation=["tanh"],
        )


def test_one_output_has_two_classes():
    model = MLPClassifier.from_weights([[[10.0]]], [[-5.0]], classes=["no", "yes"])
    assert model.out_activation_ == "logistic"
    assert_array_equal(model.predict([[0], [1]]), ["no", "yes"])
    p = model.predict_proba([[0], [1]])
    assert_allclose(p[:, 1], 1 / (1 + np.exp([5.0, -5.0])))
    assert model.score([[0], [1]], ["no", "yes"]) == 1
    assert model.partial_fit([[0], [1]], ["yes", "no"]).t_ == 2


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_two_outputs_are_two_classes_with_softmax(solver):
    X, y = IRIS[0][:100], np.array(["a", "b"])[IRIS[1][:100]]
    model = MLPClassifier.from_weights(np.zeros((1, 4, 2)), [[0.0, 1.0]], classes=["a", "b"], solver=solver)
    assert model.out_activation_ == "softmax"
    assert_allclose(model.predict_proba(X[:1]), [[1 / (1 + np.e), np.e / (1 + np.e)]])
    assert_array_equal(model.predict(X), np.repeat("b", 100))
    model.set_params(warm_start=True, max_iter=100, learning_rate_init=0.1).fit(X, y)
    assert model.coefs_[0].shape == (4, 2)
    assert model.score(X, y) == 1


def test_the_output_activation_is_a_parameter():
    weights = [[[1.0, -1.0]]], [[0.0, 0.0]]
    model = MLPRegressor.from_weights(*weights, out_activation="tanh")
    assert model.out_activation == model.out_activation_ == "tanh"
    assert_allclose(model.predict([[0.5]]), np.tanh([[0.5, -0.5]]))
    model.set_params(loss="huber").partial_fit([[0.5]], [[0.1, 0.2]])
    assert model.out_activation_ == "tanh"
    # A pair that is none in training predicts all the same.
    model = MLPClassifier.from_weights(*weights, out_activation="relu")
    assert_array_equal(model.predict([[2.0], [-2.0]]), [0, 1])
    with pytest.raises(ValueError, match="out_activation='relu' does not go with"):
        model.partial_fit([[2.0], [-2.0]], [0, 1])
    assert MLPRegressor.from_weights(*weights, loss="poisson").out_activation_ == "exp"


def test_labels_are_checked():
    def made(n_outputs, classes):
        return MLPClassifier.from_weights([np.ones((2, n_outputs))], [np.ones(n_outputs)], classes=classes)

    assert_array_equal(made(3, None).classes_, [0, 1, 2])
    assert_array_equal(made(1, None).classes_, [0, 1])
    for n_outputs, classes in (
        (3, [0, 1]),
        (1, [0]),
        (1, [0, 1, 2]),
        (3, [2, 1, 0]),
        (3, [0, 1, 1]),
        (2, [[0, 1]]),
        (1, []),
        (1, 3),
        (3, np.array(["a", 1, 2], object)),
        (3, [None, 1, 2]),
    ):
        with pytest.raises(ValueError, match=f"classes must be .* for {n_outputs} output"):
            made(n_outputs, classes)
    with pytest.raises(ValueError, match="classes must be None for a MLPRegressor"):
        MLPRegressor.from_weights([np.ones((2, 1))], [np.ones(1)], classes=[0, 1])


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("hard_limit", lambda z: z > 0),
        ("hard_sigmoid", lambda z: np.clip(z / 6 + 0.5, 0, 1)),
        ("logistic", expit),
    ],
)
def test_probabilities_of_outputs_from_0_to_1(name, function):
    model = MLPClassifier.from_weights([np.eye(3)], [np.zeros(3)], out_activation=name)
    X = np.array([[3.0, 2.0, -3.0], [-900.0, -900.0, -900.0], [0.5, -0.5, -4.0]])
    outputs = function(X)
    total = outputs.sum(axis=1, keepdims=True)
    expected = np.where(total > 0, outputs / np.where(total > 0, total, 1), 1 / 3)
    assert_allclose(model.predict_proba(X), expected, rtol=1e-12)
    assert_array_equal(model.predict(X), 0)


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
@pytest.mark.parametrize("n_outputs", [2, 3])
def test_labels_that_are_independent(n_outputs, solver):
    X, labels = IRIS[0], np.stack([IRIS[1] > 0, IRIS[1] > 1, IRIS[0][:, 0] > 6], axis=1)[:, :n_outputs]
    options = {"solver": solver, "max_iter": 3, "random_state": 0, "warm_start": True}
    fitted = MLPClassifier((6,), **options).fit(X, labels.astype(int))
    model = MLPClassifier.from_weights(fitted.coefs_, fitted.intercepts_, multilabel=True, **options)
    assert model.out_activation_ == "logistic"
    assert_array_equal(model.classes_, fitted.classes_)
    assert_array_equal(model.predict(X), fitted.predict(X))
    assert_array_equal(model.predict_proba(X), fitted.predict_proba(X))
    assert model.score(X, labels.astype(int)) == fitted.score(X, labels.astype(int))
    loss = fitted.loss_and_gradients(X, labels.astype(int))[0]
    assert model.loss_and_gradients(X, labels.astype(int))[0] == loss
    assert model.fit(X, labels.astype(int)).loss_ < loss
    # Sparse labels too, of which a fitted model makes sparse predictions.
    assert model.fit(X, csr_matrix(labels.astype(int))).loss_ < loss


@pytest.mark.parametrize(
    ("n_outputs", "options", "message"),
    [
        (1, {}, "multilabel must be False for 1 output"),
        (3, {"classes": [1, 2, 3]}, r"classes must be 3 labels, the numbers of the columns.*got \[1 2 3\]"),
        (3, {"classes": ["a", "b", "c"]}, "classes must be 3 labels, the numbers of the columns"),
        (3, {"multilabel": "yes"}, "multilabel must be True or False, got 'yes'"),
    ],
)
def test_labels_that_make_no_sense(n_outputs, options, message):
    weights = [np.ones((2, n_outputs))], [np.ones(n_outputs)]
    with pytest.raises(ValueError, match=message):
        MLPClassifier.from_weights(*weights, **{"multilabel": True, **options})
    with pytest.raises(ValueError, match="multilabel must be False for a MLPRegressor"):
        MLPRegressor.from_weights(*weights, multilabel=True)


@BOTH
@pytest.mark.parametrize(
    ("coefs", "intercepts", "message"),
    [
        ([], [], "one array per layer, got 0 and 0"),
        ([np.ones((2, 3))], [], "one array per layer, got 1 and 0"),
        ([np.ones((2, 3)), np.ones((3, 1))], [np.ones(3)], "one array per layer, got 2 and 1"),
        (None, None, "lists of arrays"),
        (3.0, [np.ones(3)], "lists of arrays"),
        (np.ones((2, 3)), np.ones(2), r"coefs\[0\] must have shape \(n_features, n_out\), got \(3,\)"),
        ([np.ones((2, 3, 1))], [np.ones(3)], r"coefs\[0\] must have shape .* got \(2, 3, 1\)"),
        ([np.ones((0, 3))], [np.ones(3)], r"coefs\[0\] must have shape .* got \(0, 3\)"),
        ([np.ones((2, 0))], [np.ones(0)], r"coefs\[0\] must have shape .* got \(2, 0\)"),
        ([[[1, 2], [3]]], [np.ones(2)], r"coefs\[0\] must have shape .* got \(\)"),
        (
            [np.ones((2, 3)), np.ones((4, 1))],
            [np.ones(3), np.ones(1)],
            r"coefs\[1\] .* \(3, n_out\), got \(4, 1\)",
        ),
        ([np.ones((2, 3))], [np.ones(2)], r"intercepts\[0\] .* \(3,\), got shape \(2,\)"),
        ([np.ones((2, 3))], [np.ones((3, 1))], r"intercepts\[0\] .* \(3,\), got shape \(3, 1\)"),
        ([np.full((2, 3), np.nan)], [np.ones(3)], r"coefs\[0\] .* not finite"),
        ([np.ones((2, 3))], [np.full(3, np.inf)], r"intercepts\[0\] .* not finite"),
        ([np.ones((2, 3), complex)], [np.ones(3)], r"coefs\[0\] .* dtype complex128"),
        ([np.full((2, 3), "1")], [np.ones(3)], r"coefs\[0\] .* dtype <U1"),
    ],
)
def test_what_makes_no_network(kind, coefs, intercepts, message):
    with pytest.raises(ValueError, match=message):
        kind.from_weights(coefs, intercepts)


@BOTH
def test_parameters_are_checked(kind):
    weights = [np.ones((2, 3))], [np.ones(3)]
    for parameters in ({"activation": "sine"}, {"out_activation": "sine"}, {"alpha": -1}):
        with pytest.raises(InvalidParameterError, match=next(iter(parameters))):
            kind.from_weights(*weights, **parameters)
    for use_bias, message in (([True, False], "2 values"), (False, "no biases where intercepts has some")):
        with pytest.raises(ValueError, match=f"use_bias.*{message}"):
            kind.from_weights(*weights, use_bias=use_bias)
    assert not kind.from_weights(weights[0], [np.zeros(3)], use_bias=False).intercepts_[0].any()
    for parameters in ({"hidden_layer_sizes": (3,)}, {"rate": 1}):
        with pytest.raises(TypeError, match=next(iter(parameters))):
            kind.from_weights(*weights, **parameters)


def test_short_floats_and_mixed_types():
    for types, expected in (
        ((np.float16,) * 2, np.float64),
        ((np.float32, np.float64), np.float64),
        ((int,) * 2, np.float64),
    ):
        model = MLPRegressor.from_weights([np.ones((2, 1), types[0])], [np.ones(1, types[1])])
        assert {model.coefs_[0].dtype, model.intercepts_[0].dtype} == {np.dtype(expected)}
