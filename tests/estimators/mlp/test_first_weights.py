"""`weight_init`, `bias_init` and `initialize` of the multi-layer perceptrons."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.utils._param_validation import InvalidParameterError
from threadpoolctl import threadpool_limits

from fastnn import MLPClassifier, MLPRegressor
from fastnn.tables.initializers import NAMES

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

BOTH = pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
# Five units, on data as they are, may all be dead.
FEW_UNITS = pytest.mark.filterwarnings("ignore:100% of the units of hidden layer 2")
IRIS = load_iris(return_X_y=True)
USUAL = {"hidden_layer_sizes": (6, 5), "max_iter": 3, "random_state": 0, "batch_size": 40}
SHAPES = {MLPClassifier: [(4, 6), (6, 5), (5, 3)], MLPRegressor: [(4, 6), (6, 5), (5, 1)]}


def sines(random_state, fan_in, fan_out, dtype):
    """Weights by a function that can be pickled."""
    return np.sin(np.arange(fan_in * fan_out, dtype=dtype)).reshape(fan_in, fan_out)


def ramp(random_state, fan_in, fan_out, dtype):
    """Biases by a function that can be pickled."""
    return np.linspace(0, 1, fan_out)


def assert_same_network(one, other):
    for a, b in zip(one.coefs_ + one.intercepts_, other.coefs_ + other.intercepts_, strict=True):
        assert a.dtype == b.dtype
        assert_array_equal(a, b)


@BOTH
@FEW_UNITS
@pytest.mark.parametrize("weight_init", [*NAMES, sines])
def test_every_rule_trains(kind, weight_init):
    X, y = IRIS
    model = kind(**USUAL, weight_init=weight_init, bias_init=ramp).initialize(X, y)
    first = [array.copy() for array in model.coefs_ + model.intercepts_]
    if weight_init is sines:
        assert_array_equal(first[0], sines(None, 4, 6, np.float64))
    assert_array_equal(first[3], np.linspace(0, 1, 6))
    model.partial_fit(X, y)
    assert any((a != b).any() for a, b in zip(first, model.coefs_ + model.intercepts_, strict=True))
    assert_same_network(
        model, kind(**USUAL, weight_init=weight_init, bias_init=ramp).set_params(max_iter=1).fit(X, y)
    )


@BOTH
def test_biases_hold_for_the_output_too_and_leave_the_weights(kind):
    X, y = IRIS
    usual = kind(**USUAL).initialize(X, y)
    for bias_init, expected in (("constant", 0.5), ("zeros", 0.0), (np.float32(2), 2.0)):
        model = kind(**USUAL, bias_init=bias_init).initialize(X, y)
        assert all((b == expected).all() for b in model.intercepts_)
        for W, same in zip(model.coefs_, usual.coefs_, strict=True):
            assert_array_equal(W, same)


@BOTH
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_arrays_are_taken_and_never_trained(kind, dtype):
    X, y = IRIS
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=shape) for shape in SHAPES[kind]]
    kept = [W.copy() for W in arrays]
    model = kind(**USUAL, weight_init=arrays).initialize(X.astype(dtype), y)
    for W, given in zip(model.coefs_, kept, strict=True):
        assert W.dtype == dtype
        assert_array_equal(W, given.astype(dtype))
    model.fit(X.astype(dtype), y)
    for W, given in zip(arrays, kept, strict=True):
        assert_array_equal(W, given)
    assert (model.coefs_[0] != kept[0]).any()
    lists = kind(**USUAL, weight_init=tuple(W.tolist() for W in arrays)).fit(X.astype(dtype), y)
    assert_same_network(model, lists)


@BOTH
@FEW_UNITS
@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"solver": "sgd", "shuffle": False},
        {"solver": "lbfgs"},
        {"dropout": 0.3},
        {"early_stopping": True},
        {"weight_init": "he_normal", "bias_init": "normal"},
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_training_goes_on_from_initialize_as_a_fit_begins(kind, parameters, dtype):
    X, y = IRIS[0].astype(dtype), IRIS[1]
    model = kind(**USUAL, **parameters).initialize(X, y)
    whole = clone(model).fit(X, y)
    fitted = {name for name in vars(whole) if name.endswith("_") and not name.startswith("_")}
    curves = {"loss_", "best_loss_", "loss_curve_", "validation_scores_", "best_validation_score_"}
    curves |= {"validation_loss_curve_", "best_epoch_", "learning_rate_curve_"}
    assert fitted - vars(model).keys() <= curves | {"saturation_"}
    assert model.t_ == model.n_iter_ == 0
    assert model.predict(X).shape == y.shape
    model = pickle.loads(pickle.dumps(model))
    model.set_params(warm_start=True).fit(X, y)
    assert_same_network(model, whole)
    assert model.loss_ == whole.loss_
    assert getattr(model, "loss_curve_", None) == getattr(whole, "loss_curve_", None)
    # What the first fit has drawn behind the weights is drawn once.
    assert vars(model).keys() == vars(whole).keys()
    if parameters.get("solver") != "lbfgs" and not parameters.get("early_stopping"):
        classes = {"classes": np.unique(y)} if kind is MLPClassifier else {}
        step = clone(whole).set_params(warm_start=False)
        assert_same_network(
            clone(step).initialize(X, y, **classes).partial_fit(X, y), step.partial_fit(X, y, **classes)
        )


@BOTH
def test_initialize_goes_on_with_a_random_state_of_the_user(kind):
    X, y = IRIS
    whole = kind(**USUAL).set_params(random_state=np.random.RandomState(3)).fit(X, y)
    model = kind(**USUAL, warm_start=True).set_params(random_state=np.random.RandomState(3))
    assert_same_network(model.initialize(X, y).fit(X, y), whole)


@BOTH
def test_another_random_state_after_initialize_counts(kind):
    X, y = IRIS
    first, second = (
        kind(**USUAL, warm_start=True).initialize(X, y).set_params(random_state=seed).fit(X, y)
        for seed in (0, 1)
    )
    assert (first.coefs_[0] != second.coefs_[0]).any()


@BOTH
def test_initialize_begins_anew(kind):
    X, y = IRIS
    model = kind(**USUAL, warm_start=True, early_stopping=True).fit(X, y)
    other = 2 * y if kind is MLPClassifier else y
    model.set_params(hidden_layer_sizes=(3,)).initialize(X[:, :2], other)
    assert not hasattr(model, "loss_curve_")
    assert model.n_features_in_ == 2
    assert_same_network(model, clone(model).initialize(X[:, :2], other))
    if kind is MLPClassifier:
        assert_array_equal(model.classes_, [0, 2, 4])
    before = pickle.dumps(vars(model))
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        model.initialize(X, y[:20])
    assert pickle.dumps(vars(model)) == before


def test_initialize_takes_more_classes_than_y_has():
    X, y = IRIS
    model = MLPClassifier(**USUAL, warm_start=False).initialize(X[:100], y[:100], classes=[0, 1, 2, 3])
    assert_array_equal(model.classes_, [0, 1, 2, 3])
    assert model.n_outputs_ == 4
    assert model.partial_fit(X, y).n_outputs_ == 4
    with pytest.raises(ValueError, match="classes not in"):
        MLPClassifier(**USUAL).initialize(X, y, classes=[0, 1])
    flags = np.eye(3, dtype=int)[y]
    model = MLPClassifier(**USUAL).initialize(X, flags)
    assert model.out_activation_ == "logistic"
    assert model.set_params(warm_start=True).fit(X, flags).predict(X).shape == (150, 3)


def test_initialize_takes_sparse_data():
    X, y = IRIS
    dense, rows = (MLPClassifier(**USUAL).initialize(each, y) for each in (X, sparse.csr_matrix(X)))
    assert_same_network(dense, rows)


@BOTH
@pytest.mark.parametrize("rules", [{"weight_init": sines, "bias_init": ramp}, {"weight_init": "arrays"}])
def test_clone_and_pickle(kind, rules):
    X, y = IRIS
    if rules["weight_init"] == "arrays":
        rules = {"weight_init": [np.ones(shape) for shape in SHAPES[kind]], "bias_init": 0.25}
    model = kind(**USUAL, **rules)
    copy = clone(model)
    assert copy.get_params().keys() == model.get_params().keys()
    assert copy.bias_init == model.bias_init
    assert "weight_init" in repr(model)
    assert_same_network(copy.fit(X, y), model.fit(X, y))
    assert_same_network(pickle.loads(pickle.dumps(model)).fit(X, y), model)
    assert model._repr_html_()


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("activation", ["logistic", "relu"])
def test_zeros_and_equal_biases_keep_units_alike(solver, activation):
    X, y = IRIS[0][20:], IRIS[1][20:]  # with equally many of each class zeros are a stationary point
    model = MLPClassifier(
        (5,), activation, solver=solver, max_iter=20, weight_init="zeros", bias_init="constant"
    )
    model.fit(X, y)
    assert (model.coefs_[1] != 0).any()
    for units in (model.coefs_[0], model.intercepts_[0], model.coefs_[1].T):
        np.testing.assert_allclose(units, np.repeat(units[..., :1], 5, axis=-1), rtol=1e-9)
    usual = MLPClassifier((5,), activation, solver=solver, max_iter=20, random_state=0).fit(X, y)
    assert np.ptp(usual.coefs_[0], axis=1).min() > 0.1


def test_orthogonal_weights_do_not_depend_on_the_threads_of_the_blas_library():
    X, y = np.zeros((3, 400)), np.zeros(3)
    drawn = []
    for limit in (None, 1):
        with threadpool_limits(limit):
            drawn.append(MLPRegressor(hidden_layer_sizes=(300,), weight_init="orthogonal", random_state=0))
            drawn[-1].initialize(X, y)
    assert_same_network(*drawn)


@BOTH
@pytest.mark.parametrize(
    "parameters",
    [
        {"weight_init": "uniform"},
        {"weight_init": 0.5},
        {"weight_init": None},
        {"weight_init": np.ones((4, 6))},
        {"weight_init": {"glorot": 1}},
        {"bias_init": "ones"},
        {"bias_init": np.nan},
        {"bias_init": np.inf},
        {"bias_init": None},
        {"bias_init": [0.5, 0.5, 0.5]},
    ],
    ids=str,
)
def test_what_the_parameters_cannot_be(kind, parameters):
    (name,) = parameters
    for call in ("fit", "partial_fit", "initialize"):
        model = kind(**parameters)
        with pytest.raises(InvalidParameterError, match=name):
            getattr(model, call)(*IRIS)
        assert not hasattr(model, "coefs_")


@BOTH
def test_what_arrays_and_functions_cannot_give(kind):
    X, y = IRIS
    shapes = SHAPES[kind]
    for weight_init, message in (
        ([np.ones(shape) for shape in shapes[:2]], "weight_init must hold one array per layer, 3"),
        (
            [np.ones(shape) for shape in [*shapes[:2], (5, 7)]],
            r"weight_init of layer 3 .* got shape \(5, 7\)",
        ),
        ([np.full(shape, np.nan) for shape in shapes], "weight_init of layer 1 .* not finite"),
        (lambda rng, m, n, dtype: np.ones((n, m)), r"weight_init of layer 1 .* \(4, 6\), got shape \(6, 4\)"),
        (lambda rng, m, n, dtype: "normal", "weight_init of layer 1 .* dtype <U6"),
    ):
        model = kind(**USUAL, weight_init=weight_init)
        with pytest.raises(ValueError, match=message):
            model.fit(X, y)
        assert not hasattr(model, "coefs_")
    with pytest.raises(ValueError, match=r"bias_init of layer 1 .* \(6,\), got shape \(\)"):
        kind(**USUAL, bias_init=lambda rng, m, n, dtype: 0.5).fit(X, y)
