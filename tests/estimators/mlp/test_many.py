"""Many networks in one fit: members are single fits, ensembles are their mean, the best is the best."""

import _thread
import pickle
import threading
import warnings
from copy import deepcopy
from importlib.util import find_spec

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits, make_multilabel_classification
from sklearn.exceptions import ConvergenceWarning, DataConversionWarning, NotFittedError
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import Autoencoder, MLPClassifier, MLPRegressor
from fastnn.convert import to_onnx
from fastnn.estimators.mlp import members
from fastnn.kernels.shared import threads

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.UndefinedMetricWarning"),
]

X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16, Y[:300]
TARGETS = {MLPClassifier: Y, MLPRegressor: np.column_stack([X[:, 10], X[:, 20] * X[:, 30]])}
WEIGHTS = np.random.default_rng(0).uniform(0.1, 2, len(X))


def same(a, b):
    """Whether two attributes are the same, to the last bit."""
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
    if isinstance(a, float):
        return a == b or (np.isnan(a) and np.isnan(b))
    if isinstance(a, np.random.RandomState):
        return same(a.get_state()[1], b.get_state()[1])
    return type(a) is type(b) and (a == b or (hasattr(a, "__dict__") and same_vars(a, b)))


def same_vars(a, b):
    return vars(a).keys() == vars(b).keys() and all(same(vars(a)[name], vars(b)[name]) for name in vars(a))


def seeds(random_state, m):
    return check_random_state(random_state).randint(2**31 - 1, size=m).tolist()


CASES = {
    "adam": {"max_iter": 4},
    "early stopping": {"max_iter": 6, "early_stopping": True, "n_iter_no_change": 2},
    "sgd": {"solver": "sgd", "learning_rate": "invscaling", "max_iter": 3, "dropout": 0.2},
    "lbfgs": {"solver": "lbfgs", "max_iter": 5},
}


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_members_are_single_fits_to_the_bit(kind, case, n_threads, any_size_uses_threads):
    options = {"hidden_layer_sizes": (12,), **CASES[case], "n_threads": n_threads}
    y = TARGETS[kind]
    model = kind(**options, ensemble=3, random_state=7).fit(X, y, WEIGHTS)
    assert len(model.estimators_) == 3
    for seed, member in zip(seeds(7, 3), model.estimators_, strict=True):
        single = kind(**options, random_state=seed)
        assert member.get_params() == single.get_params()
        assert same_vars(member, single.fit(X, y, WEIGHTS))
    kept = kind(**options, n_init=3, random_state=7).fit(X, y, WEIGHTS)
    best = model.estimators_[kept.best_init_]
    own = {"n_init", "random_state", "best_init_"}
    assert vars(kept).keys() - own == vars(best).keys() - own
    assert all(same(vars(kept)[name], vars(best)[name]) for name in vars(best).keys() - own)


def test_the_members_of_levenberg_marquardt():
    options = {"hidden_layer_sizes": (3,), "activation": "tanh", "solver": "lm", "max_iter": 4}
    x, y = X[:, 10:12], X[:, 20]
    model = MLPRegressor(**options, ensemble=2, random_state=0).fit(x, y)
    for member in model.estimators_:
        assert same_vars(member, clone(member).fit(x, y))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", [np.asfortranarray, sparse.coo_matrix, np.ndarray.tolist])
def test_data_of_every_form(form, dtype):
    data = form(X.astype(dtype))
    model = MLPClassifier((5,), max_iter=2, ensemble=2, random_state=0).fit(data, Y)
    for member in model.estimators_:
        assert same_vars(member, clone(member).fit(data, Y))
    assert model.predict_proba(X.astype(dtype)).dtype == model.estimators_[0].coefs_[0].dtype


@pytest.mark.parametrize("class_weight", ["balanced", {0: 5.0}])
def test_weights_of_classes(class_weight):
    options = {"hidden_layer_sizes": (5,), "max_iter": 2, "class_weight": class_weight}
    y = np.where(Y < 7, Y, 0)
    rows = {"X_val": X[250:], "y_val": y[250:]}
    model = MLPClassifier(**options, ensemble=2, random_state=0).fit(X, y, WEIGHTS, **rows)
    for member in model.estimators_:
        assert same_vars(member, clone(member).fit(X, y, WEIGHTS, **rows))
    assert_array_equal(model.class_weight_, model.estimators_[0].class_weight_)


@pytest.mark.parametrize("n_classes", [2, 3])
def test_probabilities_as_targets(n_classes):
    P = np.random.default_rng(0).dirichlet(np.ones(n_classes), len(X))
    labels = list("abc")[:n_classes]
    model = MLPClassifier((5,), max_iter=2, ensemble=2, random_state=0).fit_soft(X, P, classes=labels)
    for member in model.estimators_:
        assert same_vars(member, clone(member).fit_soft(X, P, classes=labels))
    assert set(model.predict(X)) <= set(labels)


def test_quantiles_of_a_mean_are_those_of_the_members():
    """Those of each are put in order before they are averaged."""
    model = MLPRegressor(
        loss="quantile", quantile=[0.1, 0.5, 0.9], hidden_layer_sizes=(4,), max_iter=1, ensemble=4,
        random_state=0,
    ).fit(X, X[:, 20])  # fmt: skip
    raw = [member._outputs(X) for member in model.estimators_]
    assert any((np.diff(outputs) < 0).any() for outputs in raw)
    mean = np.mean([member.predict(X) for member in model.estimators_], axis=0)
    assert_allclose(model.predict(X), mean, rtol=1e-14, atol=1e-16)
    assert (np.diff(model.predict(X)) >= 0).all()
    kept = clone(model).set_params(ensemble=None, n_init=4).fit(X, X[:, 20])
    assert kept.loss_ == min(member.loss_ for member in model.estimators_)


def test_names_of_features_and_classes():
    pandas = pytest.importorskip("pandas")
    frame, y = pandas.DataFrame(X[:, 20:24], columns=list("abcd")), np.array(["no", "yes"])[Y % 2]
    model = MLPClassifier((5,), max_iter=2, ensemble=2, random_state=0).fit(frame, y)
    for member in model.estimators_:
        assert same_vars(member, clone(member).fit(frame, y))
    assert model.feature_names_in_.tolist() == list("abcd")
    assert_array_equal(model.classes_, ["no", "yes"])
    assert set(model.predict(frame)) <= {"no", "yes"}
    with pytest.raises(ValueError, match="feature names"):
        model.predict(frame.rename(columns={"a": "e"}))


def test_a_generator_is_drawn_from_once():
    state = np.random.RandomState(3)
    model = MLPClassifier((3,), max_iter=1, ensemble=2, random_state=state).fit(X, Y)
    expected = np.random.RandomState(3)
    assert [e.random_state for e in model.estimators_] == seeds(expected, 2)
    assert same(state, expected)


PROBLEMS = {
    "binary": (Y % 2, {}),
    "several": (Y, {}),
    "several logistic outputs": (Y, {"out_activation": "logistic"}),
    "squared error": (Y % 3, {"loss": "squared_error"}),
    "multi-label": (make_multilabel_classification(len(X), 4, n_classes=3, random_state=0)[1], {}),
}


@pytest.mark.parametrize("problem", PROBLEMS)
def test_a_classifier_averages_probabilities(problem):
    y, options = PROBLEMS[problem]
    model = MLPClassifier((6,), max_iter=3, ensemble=5, random_state=1, **options).fit(X, y)
    each = [member.predict_proba(X) for member in model.estimators_]
    mean = np.mean(each, axis=0)
    assert np.ptp(each, axis=0).max() > 0.01
    probabilities = model.predict_proba(X)
    assert_allclose(probabilities, mean, rtol=1e-14, atol=1e-16)
    assert_allclose(model.predict_log_proba(X), np.log(mean), rtol=1e-12, atol=1e-14)
    decided = (
        (probabilities > 0.5).astype(int) if y.ndim > 1 else model.classes_[probabilities.argmax(axis=1)]
    )
    assert_array_equal(model.predict(X), decided)
    right = (decided == y).reshape(len(y), -1).all(axis=1)
    assert model.score(X, y, WEIGHTS) == pytest.approx(np.average(right, weights=WEIGHTS))


@pytest.mark.parametrize("y", [X[:, 10], TARGETS[MLPRegressor]], ids=["one", "two"])
def test_a_regressor_averages_predictions(y):
    model = MLPRegressor(hidden_layer_sizes=(6,), max_iter=3, ensemble=5, random_state=1).fit(X, y)
    mean = np.mean([member.predict(X) for member in model.estimators_], axis=0)
    assert_allclose(model.predict(X), mean, rtol=1e-14, atol=1e-16)
    assert model.predict(X).shape == y.shape
    residual = (y - mean).reshape(len(y), -1)
    total = (y - y.mean(axis=0)).reshape(len(y), -1)
    assert model.score(X, y) == pytest.approx(np.mean(1 - (residual**2).sum(0) / (total**2).sum(0)))


def test_replaced_weights_count():
    model = MLPRegressor(hidden_layer_sizes=(4,), max_iter=1, ensemble=2, random_state=0).fit(X, X[:, 10])
    for member in model.estimators_:
        member.coefs_ = [np.zeros_like(W) for W in member.coefs_]
        member.intercepts_ = [np.full_like(b, 3.0) for b in member.intercepts_]
    assert_array_equal(model.predict(X), 3.0)


@pytest.mark.parametrize(
    ("options", "merit"),
    [
        ({"max_iter": 3}, lambda model: -model.loss_),
        ({"solver": "lbfgs", "max_iter": 3}, lambda model: -model.loss_),
        ({"max_iter": 5, "early_stopping": True}, lambda model: model.best_validation_score_),
    ],
    ids=["loss", "loss of lbfgs", "validation"],
)
def test_the_best_is_kept(options, merit):
    bests = []
    for random_state in range(6):
        model = MLPClassifier((4,), n_init=4, random_state=random_state, **options).fit(X, Y)
        merits = [
            merit(MLPClassifier((4,), random_state=seed, **options).fit(X, Y))
            for seed in seeds(random_state, 4)
        ]
        assert model.best_init_ == np.argmax(merits)
        assert merit(model) == max(merits)
        bests.append(model.best_init_)
    assert len(set(bests)) > 1


def sometimes(random_state, fan_in, fan_out, dtype):
    """First weights of which about half of the seeds get such as lead to infinite losses at once."""
    scale = 1e200 if random_state.uniform() < 0.5 else 0.1
    return random_state.normal(0, scale, (fan_in, fan_out)).astype(dtype)


def always(random_state, fan_in, fan_out, dtype):
    return np.full((fan_in, fan_out), 1e200, dtype)


DIVERGING = {"hidden_layer_sizes": (4,), "activation": "identity", "max_iter": 2, "alpha": 0.0}


def diverges(seed, y):
    try:
        MLPRegressor(**DIVERGING, weight_init=sometimes, random_state=seed).fit(X, y)
    except ValueError:
        return True
    return False


def test_networks_that_diverge():
    y = X[:, 10]
    failed = [diverges(seed, y) for seed in seeds(0, 6)]
    assert 0 < sum(failed) < 6
    model = MLPRegressor(**DIVERGING, weight_init=sometimes, random_state=0, n_init=6)
    with pytest.warns(
        ConvergenceWarning, match=f"{sum(failed)} of 6 networks diverged and do not count.*Scale"
    ):
        model.fit(X, y)
    assert not failed[model.best_init_]
    assert np.isfinite(model.predict(X)).all()
    before = dict(vars(model))
    model.set_params(weight_init=always)
    with pytest.raises(ValueError, match="All 6 networks diverged, the first so: Solver produced non-finite"):
        model.fit(X, y)
    assert {**vars(model), "weight_init": sometimes} == before
    model.set_params(weight_init=sometimes, n_init=1, ensemble=6)
    with pytest.raises(ValueError, match=f"Network {failed.index(True)} of 6 diverged: Solver produced"):
        model.fit(X, y)
    assert not hasattr(model, "estimators_")
    assert model.coefs_ is before["coefs_"]


def test_an_error_of_one_ends_all_and_changes_nothing():
    model = MLPClassifier((4,), ensemble=3, max_iter=2, random_state=0).fit(X, Y)
    before, fails_at = dict(vars(model)), seeds(0, 3)[1]

    def weight_init(random_state, fan_in, fan_out, dtype):
        if same(random_state, np.random.RandomState(fails_at)):
            raise ZeroDivisionError("no weights")
        return random_state.normal(0, 0.1, (fan_in, fan_out)).astype(dtype)

    # The others would go on for hours.
    model.set_params(weight_init=weight_init, max_iter=10**9, tol=0.0, n_iter_no_change=np.inf)
    with pytest.raises(ZeroDivisionError, match="no weights"):
        model.fit(X, Y)
    assert vars(model).keys() == before.keys()
    assert model.estimators_ is before["estimators_"]
    assert not any(thread.name.startswith("fastnn") for thread in threading.enumerate())


@pytest.mark.usefixtures("answers_ctrl_c")
@pytest.mark.parametrize("options", [{"n_init": 3}, {"ensemble": 3}])
def test_ctrl_c_ends_all_and_changes_nothing(options):
    model = MLPClassifier((4,), max_iter=2, random_state=0).fit(X, Y)
    begun = threading.Event()

    def weight_init(random_state, fan_in, fan_out, dtype):
        begun.set()
        return random_state.normal(0, 0.1, (fan_in, fan_out)).astype(dtype)

    endless = {"max_iter": 10**9, "tol": 0.0, "n_iter_no_change": np.inf}
    model.set_params(weight_init=weight_init, **endless, **options)
    before = dict(vars(model))
    thread = threading.Thread(target=lambda: (begun.wait(), _thread.interrupt_main()))
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        model.fit(X, Y)
    thread.join()
    assert vars(model) == before
    assert not any(thread.name.startswith("fastnn") for thread in threading.enumerate())


def test_what_is_of_one_network_is_refused():
    both = MLPClassifier((3,), n_init=2, ensemble=2)
    with pytest.raises(ValueError, match="n_init=2 keeps one network and ensemble=2 all"):
        both.fit(X, Y)
    for options in ({"n_init": 2}, {"ensemble": 1}):
        name = next(iter(options))
        model = MLPClassifier((3,), max_iter=1, random_state=0, **options)
        with pytest.raises(ValueError, match=f"warm_start=True.*{name}={options[name]} begins"):
            clone(model).set_params(warm_start=True).fit(X, Y)
        with pytest.raises(AttributeError, match="partial_fit"):
            model.partial_fit(X, Y, classes=range(10))
        assert not hasattr(model, "partial_fit")
        with pytest.raises(ValueError, match=f"initialize is of one network.*{name}={options[name]}"):
            model.initialize(X, Y)
        with pytest.raises(ValueError, match=f"from_weights is of one network.*{name}={options[name]}"):
            MLPClassifier.from_weights([np.ones((2, 3))], [np.ones(3)], **options)
        assert not hasattr(model, "classes_")
        with pytest.raises(ValueError, match=f"to_sklearn is of one network.*{name}={options[name]}"):
            model.fit(X, Y).to_sklearn()
    for wrong in ({"n_init": 0}, {"n_init": None}, {"ensemble": 0}, {"ensemble": 2.5}):
        with pytest.raises(InvalidParameterError, match=next(iter(wrong))):
            MLPClassifier((3,), **wrong).fit(X, Y)
    with pytest.raises(TypeError, match="ensemble"):
        Autoencoder(ensemble=2)


def test_what_a_fitted_ensemble_is_not_asked():
    model = MLPClassifier((3,), max_iter=1, ensemble=2, random_state=0)
    for call in (model.predict, model.predict_proba, model.hidden_activations):
        with pytest.raises(NotFittedError):
            call(X)
    model.fit(X, Y)
    onnx = [lambda: to_onnx(model)] if find_spec("onnx") else []
    for call in (
        *onnx,
        lambda: model.hidden_activations(X),
        lambda: model.loss_and_gradients(X, Y),
        lambda: model.gradient_check(X, Y),
        model.summary,
    ):
        with pytest.raises(ValueError, match="is an ensemble of 2: ask one of estimators_"):
            call()
    for absent in ("coefs_", "loss_", "out_activation_", "best_init_"):
        assert not hasattr(model, absent)
    assert_array_equal(model.n_iter_, [member.n_iter_ for member in model.estimators_])
    with pytest.raises(
        ValueError, match="partial_fit is of one network, and this MLPClassifier is an ensemble"
    ):
        model.set_params(ensemble=None).partial_fit(X, Y)
    with pytest.raises(ValueError, match="warm_start=True is of one network, and this MLPClassifier is an"):
        model.set_params(warm_start=True).fit(X, Y)
    assert len(model.estimators_) == 2
    assert model.set_params(warm_start=False).fit(X, Y).n_iter_ == 1


def test_a_model_that_was_kept_is_one_network():
    model = MLPClassifier((3,), max_iter=2, n_init=3, random_state=0).fit(X, Y)
    loss, gradient = model.loss_and_gradients(X, Y, flat=True)
    assert np.isfinite(loss)
    assert gradient.size == sum(W.size + b.size for W, b in zip(model.coefs_, model.intercepts_, strict=True))
    first = model.coefs_[0]
    model.set_params(n_init=1).partial_fit(X, Y)
    assert not np.array_equal(first, model.coefs_[0])


def test_a_fit_keeps_nothing_of_a_fit_of_another_kind():
    single = MLPClassifier((3,), max_iter=2, early_stopping=True, random_state=0)
    several = clone(single).set_params(ensemble=2, early_stopping=False)
    expected = {options: set(vars(clone(several).set_params(**dict(options)).fit(X, Y))) for options in KINDS}
    model = clone(single).fit(X, Y)
    for options in (*KINDS, *KINDS[::-1]):
        assert set(vars(model.set_params(**dict(options)).fit(X, Y))) == expected[options]


KINDS = (
    (("n_init", 1), ("ensemble", 2)),
    (("n_init", 1), ("ensemble", None)),
    (("n_init", 2), ("ensemble", None)),
    (("n_init", 1), ("ensemble", 3)),
    (("n_init", 2), ("ensemble", None)),
)


def test_each_kind_of_warning_comes_once():
    y = np.column_stack([Y % 2])
    model = MLPClassifier((3,), max_iter=1, batch_size=1000, ensemble=3, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(X, y)
    told = {warning.category: str(warning.message) for warning in caught}
    assert len(caught) == len(told) == 3
    assert told[DataConversionWarning].startswith("A column-vector y")
    assert told[UserWarning].startswith("3 of 3 networks: Got `batch_size`")
    assert told[ConvergenceWarning].startswith(
        "3 of 3 networks: Stochastic Optimizer: Maximum iterations (1)"
    )
    assert {warning.filename for warning in caught} == {__file__}


def test_a_filter_that_makes_errors_of_warnings_does_not_cost_the_model():
    model = MLPClassifier((3,), max_iter=1, ensemble=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ConvergenceWarning, match="2 of 2 networks"):
            model.fit(X, Y)
    assert len(model.estimators_) == 2


LATE = ConvergenceWarning("late")


def test_kinds_of_warnings_are_told_apart_by_their_words():
    outcomes = [
        members._Outcome(
            None, None, [UserWarning(f"{90 + i}% of the units are dead"), ConvergenceWarning("late")]
        )
        for i in range(2)
    ]
    outcomes.append(members._Outcome(None, None, [UserWarning("7% of the units are saturated")]))
    told = members._remarks(outcomes, 5)
    assert [(type(w), str(w)) for w in told] == [
        (UserWarning, "2 of 5 networks: 90% of the units are dead"),
        (ConvergenceWarning, "2 of 5 networks: late"),
        (UserWarning, "1 of 5 networks: 7% of the units are saturated"),
    ]


def test_verbose_says_which_network(capsys):
    MLPClassifier((3,), max_iter=2, ensemble=2, random_state=0, verbose=True).fit(X, Y)
    lines = capsys.readouterr().out.splitlines()
    for number, seed in enumerate(seeds(0, 2)):
        MLPClassifier((3,), max_iter=2, random_state=seed, verbose=True).fit(X, Y)
        single = capsys.readouterr().out.splitlines()
        assert [line for line in lines if line.startswith(f"Network {number}: ")] == [
            f"Network {number}: {line}" for line in single
        ]


@pytest.mark.parametrize("early_stopping", [False, True])
@pytest.mark.parametrize("scoring", [None, "loss", "balanced_accuracy"])
def test_validation_rows_of_the_user(early_stopping, scoring):
    options = {
        "hidden_layer_sizes": (5,),
        "max_iter": 4,
        "early_stopping": early_stopping,
        "scoring": scoring,
    }
    rows = {"X_val": X[200:].tolist(), "y_val": Y[200:], "sample_weight_val": WEIGHTS[200:]}
    merits = []
    model = MLPClassifier(**options, ensemble=3, random_state=0).fit(X[:200], Y[:200], **rows)
    for member in model.estimators_:
        assert same_vars(member, clone(member).fit(X[:200], Y[:200], **rows))
        # The parameters of the best epoch are kept, or those of the last one.
        scores = member.validation_scores_
        merits.append(max(scores) if early_stopping else scores[-1])
    kept = MLPClassifier(**options, n_init=3, random_state=0).fit(X[:200], Y[:200], **rows)
    assert kept.best_init_ == np.argmax(merits)
    with pytest.raises(ValueError, match="y_val was not provided"):
        model.fit(X, Y, X_val=X)


def test_validation_rows_are_checked_once():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X[:, 20:24], columns=list("abcd"))
    model = MLPClassifier((5,), max_iter=2, ensemble=3, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        model.fit(frame, Y, X_val=frame.to_numpy(), y_val=Y)
    assert sum("does not have valid feature names" in str(warning.message) for warning in caught) == 1


def test_a_callback_is_told_which_network_it_is():
    seen, inside = [], []

    def callback(epoch, logs):
        inside.append(1)
        assert len(inside) == 1  # one at a time
        seen.append((logs["network"], epoch, logs["loss"]))
        inside.pop()
        return logs["network"] == 1 and epoch == 2

    model = MLPClassifier((5,), max_iter=5, ensemble=3, random_state=0, callback=callback).fit(X, Y)
    assert model.n_iter_.tolist() == [5, 3, 5]
    for number, member in enumerate(model.estimators_):
        assert member.callback is callback
        told = [(epoch, loss) for at, epoch, loss in seen if at == number]
        assert told == list(enumerate(member.loss_curve_))


def test_a_callback_that_raises_ends_all():
    def callback(epoch, logs):
        if logs["network"] == 1:
            raise ZeroDivisionError("enough")

    endless = {"max_iter": 10**9, "tol": 0.0, "n_iter_no_change": np.inf}
    model = MLPClassifier((5,), ensemble=3, random_state=0, callback=callback, **endless)
    before = dict(vars(model))
    with pytest.raises(ZeroDivisionError, match="enough"):
        model.fit(X, Y)
    assert vars(model) == before


@pytest.mark.parametrize(
    ("n_threads", "m", "expected"), [(1, 4, (1, 1)), (3, 4, (3, 1)), (4, 2, (2, 2)), (5, 1, (1, 5))]
)
def test_threads_are_shared_out(monkeypatch, n_threads, m, expected):
    """Networks at once, and threads of each."""
    monkeypatch.setattr(threads.numba.config, "NUMBA_NUM_THREADS", 8)
    seen = []

    def in_turn(jobs, at_once):
        seen.append((at_once, jobs[0].args[1].n_threads))
        return [job() for job in jobs]

    monkeypatch.setattr(members, "side_by_side", in_turn)
    model = MLPClassifier((3,), max_iter=1, ensemble=m, n_threads=n_threads, random_state=0).fit(X, Y)
    assert seen == [expected]
    assert {member.n_threads for member in model.estimators_} == {n_threads}


def test_a_forked_child_computes_on_one_thread(monkeypatch):
    assert threads.threads_allowed() >= 1
    monkeypatch.setattr(threads.inherited, "pool", True)
    with threads.use_threads(8):
        assert threads.threads_allowed() == 1


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_inside_the_workers_of_joblib(backend):
    model = MLPClassifier((5,), max_iter=2, ensemble=3, random_state=0)
    here = clone(model).fit(X, Y)
    there = joblib.Parallel(n_jobs=2, backend=backend)(
        joblib.delayed(clone(model).fit)(X, Y) for _ in range(3)
    )
    for other in there:
        assert all(map(same_vars, here.estimators_, other.estimators_))


@pytest.mark.parametrize("options", [{"n_init": 2}, {"ensemble": 2}])
def test_copies(options):
    model = MLPClassifier((5,), max_iter=2, random_state=0, **options)
    assert clone(model).get_params() == model.get_params()
    model.fit(X, Y)
    for copy in (pickle.loads(pickle.dumps(model)), deepcopy(model)):
        assert_array_equal(copy.predict_proba(X), model.predict_proba(X))
        assert vars(copy).keys() == vars(model).keys()
    assert not hasattr(clone(model), "classes_")


def test_true_is_no_number_of_networks():
    with pytest.raises(ValueError, match="ensemble must be the number of networks, got True"):
        MLPClassifier((3,), ensemble=True).fit(X, Y)


def test_where_no_network_has_a_score_the_loss_decides():
    y, val = X[:, 10], {"X_val": X[:1], "y_val": X[:1, 10]}  # R^2 of one row is NaN
    model = MLPRegressor(hidden_layer_sizes=(3,), max_iter=2, n_init=6, random_state=2)
    losses = [one.loss_ for one in clone(model).set_params(n_init=1, ensemble=6).fit(X, y).estimators_]
    model.fit(X, y, **val)
    assert np.isnan(model.validation_scores_).all()
    assert model.best_init_ == np.argmin(losses) != 0
