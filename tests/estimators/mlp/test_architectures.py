"""Random architectures: finite results, or an error that names the parameter, and then nothing changes."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse

from fastnn import MLPClassifier, MLPRegressor
from fastnn.estimators.mlp.heads import OF_A_CLASSIFIER, OF_A_REGRESSOR
from fastnn.networks.schedules import SCHEDULES
from fastnn.tables.activations import HIDDEN, SOFTMAX
from fastnn.tables.initializers import NAMES

pytestmark = pytest.mark.filterwarnings(
    "ignore::sklearn.exceptions.ConvergenceWarning",
    "ignore:.*of the units of hidden layer",  # small layers on few rows
)


def examples(n):
    """The same ones in every run. The fixture, which Hypothesis asks about, is the same for all of them."""
    asked = [HealthCheck.function_scoped_fixture]
    return settings(max_examples=n, deadline=None, derandomize=True, suppress_health_check=asked)


N, N_FEATURES = 40, 3
RNG = np.random.default_rng(0)
X = RNG.normal(size=(N, N_FEATURES)) * (RNG.random((N, N_FEATURES)) < 0.7)
TARGETS = {
    MLPRegressor: {1: RNG.uniform(0.1, 0.9, N), 2: RNG.uniform(0.1, 0.9, (N, 2))},
    MLPClassifier: {1: RNG.permutation(N) % 2, 3: RNG.permutation(N) % 3, 2: RNG.integers(0, 2, (N, 2))},
}
WEIGHT = np.r_[0, RNG.uniform(0.5, 2, N - 1)]
STOCHASTIC = ["adam", "sgd"]


def drawn_weights(rng, fan_in, fan_out, dtype):
    return rng.normal(size=(fan_in, fan_out)) / fan_in


def drawn_biases(rng, fan_in, fan_out, dtype):
    return rng.uniform(size=fan_out)


@st.composite
def problems(draw):
    """An estimator that ``fit`` has no reason to refuse, and data of its kind."""
    kind = draw(st.sampled_from([MLPClassifier, MLPRegressor]))
    n_outputs = draw(st.sampled_from(list(TARGETS[kind])))
    sizes = draw(st.lists(st.integers(1, 9), max_size=3))
    solvers = [*STOCHASTIC, "lbfgs", *(["lm"] if kind is MLPRegressor else [])]
    solver = draw(st.sampled_from(solvers))
    pairs = OF_A_CLASSIFIER if kind is MLPClassifier else OF_A_REGRESSOR
    loss = "squared_error" if solver == "lm" else draw(st.sampled_from(list(pairs)))
    heads = [head for head in pairs[loss] if head != SOFTMAX or n_outputs == 3]
    name = st.sampled_from([*HIDDEN, *([] if solver == "lm" else [SOFTMAX])])
    activation = draw(name | st.lists(name, min_size=len(sizes), max_size=len(sizes)).map(tuple))
    flag, layers = st.booleans(), [N_FEATURES, *sizes, n_outputs]
    arrays = [RNG.normal(size=shape) / 3 for shape in pairwise(layers)]
    parameters = {
        "hidden_layer_sizes": sizes,
        "solver": solver,
        "loss": loss,
        "out_activation": draw(st.sampled_from(["auto", *heads])),
        "activation": activation,
        "use_bias": draw(flag | st.lists(flag, min_size=len(layers) - 1, max_size=len(layers) - 1)),
        "weight_init": draw(st.sampled_from([*NAMES, drawn_weights, arrays])),
        "bias_init": draw(st.sampled_from([*NAMES, drawn_biases, 0.5, -1])),
        "alpha": draw(st.sampled_from([0, 1e-4, 1.0])),
        "max_iter": draw(st.integers(1, 3)),
        "warm_start": draw(flag),
        "shuffle": draw(flag),
        "random_state": 0,
    }
    names = (activation,) if isinstance(activation, str) else activation
    if "relu" in names:
        parameters["relu_grad_at_zero"] = draw(st.sampled_from([0, 0.5, 1]))
    if solver in STOCHASTIC:
        parameters["batch_size"] = draw(st.sampled_from(["auto", 1, 7, 30]))
        parameters["accumulate_batches"] = draw(st.sampled_from([1, 2, 3, 100]))
        parameters["bias_learning_rate_factor"] = draw(st.sampled_from([0, 0.5, 1, 10]))
        parameters["dropout"] = draw(st.sampled_from([0, 0.3]))
        parameters["early_stopping"] = draw(flag)
        schedules = [name for name, kind in SCHEDULES.items() if not kind.needs_end]  # partial_fit refuses it
        parameters["learning_rate"] = draw(st.sampled_from(schedules))
        parameters["warmup_epochs"] = draw(st.sampled_from([0, 0.5, 3]))
    form = draw(st.sampled_from([np.array, sparse.csr_matrix]))
    rows = form(X.astype(draw(st.sampled_from([np.float32, np.float64]))))
    return kind(**parameters), (rows, TARGETS[kind][n_outputs], draw(st.sampled_from([None, WEIGHT])))


def trained(model, method, *data):
    """The model after a call, unless it has diverged, which an example may and the error says."""
    try:
        return getattr(model, method)(*data)
    except ValueError as error:
        if "Solver produced non-finite" not in str(error):
            raise
        reject()


def fitted_state(model):
    """All that a call has set, to the bit."""
    own = {name: value for name, value in vars(model).items() if name not in model.get_params()}
    return pickle.dumps(own)


def arrays_of(model, X):
    return [*model.coefs_, *model.intercepts_, np.array(model.loss_), model.predict(X), model._outputs(X)]


@examples(250)
@given(problem=problems())
def test_results_are_finite_and_the_same_on_two_threads(problem, any_size_uses_threads):
    model, (X, *rest) = problem
    results = []
    for n_threads in (1, 2):
        trained(model.set_params(n_threads=n_threads, warm_start=False), "fit", X, *rest)
        results.append(arrays_of(model, X))
    for one, two in zip(*results, strict=True):
        assert_array_equal(one, two)
        assert np.isfinite(one).all()
    if isinstance(model, MLPClassifier):
        probability = model.predict_proba(X)
        assert ((probability >= 0) & (probability <= 1)).all()
        if rest[0].ndim == 1:  # else labels are independent
            assert_allclose(probability.sum(axis=1), 1, rtol=1e-5)
    n_layers = len(model.coefs_)
    uses = model.use_bias if isinstance(model.use_bias, list) else [model.use_bias] * n_layers
    assert not any(b.any() for b, used in zip(model.intercepts_, uses, strict=True) if not used)


@examples(100)
@given(problem=problems())
def test_a_network_of_its_weights_goes_on_as_it_does(problem):
    """Weights, ``initialize``, ``warm_start`` and ``partial_fit`` lead to one network."""
    model, (X, *rest) = problem
    model.initialize(X, rest[0])
    assert all(array.dtype == X.dtype for array in (*model.coefs_, *model.intercepts_))
    once = trained(type(model)(**model.get_params()).set_params(warm_start=False), "fit", X, *rest)
    model.set_params(warm_start=True).fit(X, *rest)
    for a, b in zip(arrays_of(model, X), arrays_of(once, X), strict=True):
        assert_array_equal(a, b)

    parameters = model.get_params()
    sizes = parameters.pop("hidden_layer_sizes")
    parameters["multilabel"] = isinstance(model, MLPClassifier) and rest[0].ndim == 2
    copy = type(model).from_weights(model.coefs_, model.intercepts_, **parameters)
    assert list(copy.hidden_layer_sizes) == sizes
    assert_array_equal(copy.predict(X), model.predict(X))
    assert_array_equal(copy._outputs(X), model._outputs(X))
    if model.solver in STOCHASTIC:
        before = model.t_
        trained(model.set_params(early_stopping=False), "partial_fit", X, *rest)
        assert np.isfinite(model.loss_)
        assert model.t_ == before + N


BAD = {
    "hidden_layer_sizes": [(0,), (2.5,), (-1, 3), "3", None],
    "activation": ["no", "exp", "hard_limit", None, 3, ("tanh",) * 4, ("tanh", "no"), [[1]], b"relu"],
    "out_activation": ["no", None, 3, "gelu", "hard_limit", ("identity",)],
    "loss": ["no", None, 3],
    "solver": ["no", None, 3, "LM"],
    "use_bias": [None, "yes", 3, [True] * 5, [], [2, 3], [None], np.nan],
    "weight_init": ["no", None, 3, [], [np.ones((2, 2))], lambda *_: None, lambda *_: np.nan, {"a": 1}],
    "bias_init": ["no", None, np.nan, np.inf, [1.0], lambda *_: "1", lambda *_: np.full(99, 1.0)],
    "batch_size": [0, -1, 2.5, "all", None],
    "accumulate_batches": [0, -2, 1.5, "2", None, np.nan],
    "bias_learning_rate_factor": [-1, np.inf, np.nan, "1", None],
    "relu_grad_at_zero": [2, -1, 0.3, "0", None, np.nan],
    "dropout": [-0.1, 1, np.nan, "0", None],
    "warmup_epochs": [-1, np.inf, np.nan, "1", None],
    "learning_rate_decay": [0, 1.5, np.nan, "1", None],
    "huber_delta": [0, -1, np.nan, np.inf, "1", None],
    "quantile": [0, 1, np.nan, "0.5", None],
    "alpha": [-1, np.nan, "0", None],
}
# Of a fitted model: first weights have been drawn, and scikit-learn checks no more than it must.
NOT_OF_PARTIAL_FIT = {"weight_init", "bias_init", "alpha", "batch_size"}


@examples(200)
@given(problem=problems(), data=st.data())
def test_what_is_refused_is_named_and_changes_nothing(problem, data):
    model, (X, *rest) = problem
    trained(model.set_params(warm_start=False), "fit", X, *rest)
    name = data.draw(st.sampled_from(sorted(BAD.keys() & model.get_params().keys())))
    value = data.draw(st.sampled_from(BAD[name]))
    model.set_params(**{name: value})
    before = fitted_state(model)
    with pytest.raises(ValueError, match=name):
        model.fit(X, *rest)
    with pytest.raises(ValueError, match=name):
        model.initialize(X, rest[0])
    assert fitted_state(model) == before
    new = type(model)(**model.get_params())
    with pytest.raises(ValueError, match=name):
        new.fit(X, *rest)
    assert fitted_state(new) == fitted_state(type(model)())
    if model.solver in STOCHASTIC and name not in NOT_OF_PARTIAL_FIT:
        with pytest.raises(ValueError, match=name):
            model.set_params(early_stopping=False).partial_fit(X, *rest)
        assert fitted_state(model) == before
