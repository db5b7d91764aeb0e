"""A call changes all that it should or nothing, wherever memory runs out; numbers are of any type."""

import gc
import linecache
import pickle
import sys
from contextlib import nullcontext
from numbers import Integral, Real
from pathlib import Path

import numpy as np
import pytest
from numba.core.dispatcher import Dispatcher
from sklearn.base import clone
from sklearn.utils._param_validation import Interval

import fastnn
from fastnn import (
    Autoencoder,
    GradKMeans,
    KMeans,
    MiniBatchKMeans,
    MLPClassifier,
    MLPRegressor,
    kernels,
    kmeans_plusplus,
)

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

FORMER = np.random.default_rng(0).normal(size=(60, 2))
DATA = np.repeat(np.random.default_rng(1).normal(size=(30, 3)), 2, axis=0)
Y = np.arange(60) // 2 % 2

MLP = {"max_iter": 2, "random_state": 0, "hidden_layer_sizes": (3,)}
ESTIMATORS = {
    "classifier": MLPClassifier(**MLP, batch_size=50),
    "classifier, early stopping": MLPClassifier(**MLP, early_stopping=True, dropout=0.5),
    "regressor, sgd": MLPRegressor(**MLP, solver="sgd", learning_rate="invscaling"),
    "regressor, lbfgs": MLPRegressor(**MLP, solver="lbfgs"),
    "regressor, lm": MLPRegressor(**MLP, solver="lm"),
    "autoencoder": Autoencoder(**MLP, noise=0.1, tied_weights=True, pretrain="layerwise"),
    # More clusters than distinct rows lead to a warning.
    "k-means": KMeans(40, init="random", n_init=2, max_iter=9, random_state=0),
    "mini-batches": MiniBatchKMeans(3, batch_size=20, max_iter=2, random_state=0),
    "mini-batches, nested": MiniBatchKMeans(3, batch_size=20, max_iter=9, nested=True, random_state=0),
    "gradient": GradKMeans(3, batch_size=20, max_iter=2, random_state=0),
    "gradient, cosine": GradKMeans(40, batch_size=20, max_iter=2, random_state=0, metric="cosine", n_init=2),
}


# All or nothing.

# All that runs once the estimator has its new attributes: nothing but a remark needs memory.
AFTERWARDS = {
    "for remark in remarks if isinstance(remarks, tuple) else (remarks,):",
    "if not isinstance(remark, Warning):",
    "warn(remark)",
    "raise remark",
    "return self",
    "with _drawn_only_on_success(random_state):",
    'with _longer_only_on_success(getattr(self, "loss_curve_", [])):',
}


class Lines:
    """The lines of the estimators' modules that a block runs, at one of which memory runs out."""

    FOLDER = str(Path(fastnn.__file__).parent / "estimators")

    def __init__(self, fail_at=None):
        self.fail_at, self.places = fail_at, []

    def trace(self, frame, event, argument):
        if not frame.f_code.co_filename.startswith(self.FOLDER):
            return None
        if event == "line":
            self.places.append((frame.f_code.co_filename, frame.f_lineno))
            if len(self.places) - 1 == self.fail_at:
                raise MemoryError("injected")
        return self.trace

    def __enter__(self):
        self._former = sys.gettrace()
        sys.settrace(self.trace)
        return self

    def __exit__(self, *error):
        sys.settrace(self._former)


def state(model):
    return pickle.dumps(vars(model))


def call(model, method, X, lines=None):
    is_first = method == "partial_fit" and isinstance(model, MLPClassifier) and not hasattr(model, "classes_")
    classes = {"classes": [0, 1]} if is_first else {}
    method = getattr(model, method)
    with lines or nullcontext():
        method(X, Y, **classes)


def calls():
    for name, estimator in ESTIMATORS.items():
        for method in ("fit", "partial_fit"):
            is_there = hasattr(estimator, method) and not getattr(estimator, "early_stopping", False)
            if method == "fit" or is_there:
                for fitted in (False, True):
                    again = "again" if fitted else "first"
                    yield pytest.param(estimator, method, fitted, id=f"{name}-{method}-{again}")


@pytest.mark.parametrize(("estimator", "method", "fitted"), [*calls()])
def test_memory_that_runs_out_changes_nothing(estimator, method, fitted):
    model = clone(estimator)
    if fitted:
        # A fit may follow one on other features.
        call(model, method, FORMER if method == "fit" else DATA)
    before = pickle.dumps(model)

    model = pickle.loads(before)
    lines = Lines()
    call(model, method, DATA, lines)
    numbered = list(enumerate(lines.places))
    last, first = ({place: i for i, place in order} for order in (numbered, numbered[::-1]))
    late = set()
    for i in {*first.values(), *last.values()}:
        model = pickle.loads(before)
        as_it_was = state(model)
        with pytest.raises(MemoryError, match="injected"):
            call(model, method, DATA, Lines(i))
        if state(model) != as_it_was:
            late.add(linecache.getline(*lines.places[i]).strip())
    assert "return self" in late
    assert late <= AFTERWARDS


def test_a_draft_does_not_change_the_parameters_of_its_estimator():
    limit = np.float32(0.25)
    model = KMeans(np.uint8(3), tol=limit, n_init=np.int64(2), random_state=0)
    given = model.get_params()
    model.fit(DATA)
    assert all(model.get_params()[name] is value for name, value in given.items())
    assert type(clone(model).tol) is np.float32
    assert type(model.n_iter_) is int


# Numbers.


def numeric(estimator):
    """Names and values of the parameters of an estimator that are numbers, or may be."""
    extreme = {"n_threads": 1, "n_init": 2, "init_size": 40, "batch_size": 20, "max_no_improvement": 5}
    found = {}
    for name, constraints in estimator._parameter_constraints.items():
        kinds = {c.type for c in constraints if isinstance(c, Interval)}
        value = getattr(estimator, name)
        if not kinds or (isinstance(value, str) and name not in extreme):
            continue
        value = extreme.get(name, value) if value is None or isinstance(value, str) else value
        if isinstance(value, Real) and not isinstance(value, bool):
            found[name] = value, Integral if kinds == {Integral} else Real
    return found


def compiled():
    """How many signatures there are machine code for in this process."""
    return sum(len(o.overloads) for o in gc.get_objects() if type(o).__mro__.count(Dispatcher))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_numbers_of_every_type_do_what_pythons_do(name):
    plain = clone(ESTIMATORS[name])
    if isinstance(plain, Autoencoder | MLPClassifier | MLPRegressor):
        # What the smallest types hold: an epsilon of 1e-8 is 0 in float16.
        plain.set_params(epsilon=1e-6, max_fun=100, power_t=0.3)
    parameters = numeric(plain)
    assert len(parameters) >= 5
    for whole, real in (
        (np.int64, np.float64),
        (np.int32, np.float32),
        (np.uint8, np.float16),
        (np.int16, np.longdouble),
    ):
        given = {
            key: (whole if kind is Integral else real)(value) for key, (value, kind) in parameters.items()
        }
        expected = clone(plain).set_params(
            **{key: int(v) if isinstance(v, Integral) else float(v) for key, v in given.items()}
        )
        model = clone(plain).set_params(**given, random_state=whole(0))
        fit_both_ways(expected)
        n_compiled = compiled()
        fit_both_ways(model)
        assert compiled() == n_compiled
        ours, theirs = (
            {k: v for k, v in vars(m).items() if k not in plain.get_params()} for m in (model, expected)
        )
        assert pickle.dumps(ours) == pickle.dumps(theirs)
        assert all(getattr(model, key) is value for key, value in given.items())


def fit_both_ways(model):
    model.fit(DATA, Y)
    if hasattr(model, "partial_fit") and not getattr(model, "early_stopping", False):
        model.partial_fit(DATA, Y)
    (model.predict if hasattr(model, "predict") else model.transform)(DATA)
    model.score(DATA, Y)


@pytest.mark.parametrize("whole", [np.int64, np.int16, np.uint8])
def test_numbers_of_functions(whole):
    centers, rows = kmeans_plusplus(DATA, 4, n_local_trials=3, random_state=0)
    labels = np.arange(60) % 4
    sums, counts = kernels.update_centers(DATA, labels, 4)
    n_compiled = compiled()
    ours = kmeans_plusplus(DATA, whole(4), n_local_trials=whole(3), random_state=whole(0))
    np.testing.assert_array_equal(ours[0], centers)
    np.testing.assert_array_equal(ours[1], rows)
    ours = kernels.update_centers(DATA, labels, whole(4))
    np.testing.assert_array_equal(ours[0], sums)
    np.testing.assert_array_equal(ours[1], counts)
    assert compiled() == n_compiled
