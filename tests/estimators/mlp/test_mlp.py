"""Behaviour of the multi-layer perceptrons: bad input, failed calls, replaced weights, continued training."""

import _thread
import pickle
import threading
import time
import warnings

import joblib
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn import neural_network
from sklearn.datasets import load_digits, load_iris
from sklearn.exceptions import ConvergenceWarning, NotFittedError
from threadpoolctl import threadpool_limits

from fastnn import MLPClassifier, MLPRegressor
from fastnn.networks import host_network
from fastnn.tables import activations
from tests.reference import reference_predict

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

IRIS = load_iris(return_X_y=True)
SMALL = {"hidden_layer_sizes": (6,), "max_iter": 8, "random_state": 0, "learning_rate_init": 0.01}
BOTH = pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])


def state(model):
    """Everything that a model holds, as bytes."""
    return pickle.dumps(vars(model))


def forward(model, X):
    return reference_predict(
        X,
        model.coefs_,
        model.intercepts_,
        hidden_activation=model.activation,
        output_activation=model.out_activation_,
    )


# Predictions.


@pytest.mark.parametrize("activation", activations.HIDDEN)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_activation_learns(activation, dtype):
    X, y = IRIS
    X = ((X - X.mean(axis=0)) / X.std(axis=0)).astype(dtype)
    model = MLPClassifier((20,), activation, max_iter=100, learning_rate_init=0.01, random_state=0)
    assert model.fit(X, y).score(X, y) > 0.93
    assert_allclose(model.predict_proba(X), forward(model, X), rtol=1e-4 if dtype == np.float32 else 1e-10)


@BOTH
def test_float32_is_kept(kind):
    X, y = IRIS
    X = X.astype(np.float32)
    for solver in ("adam", "sgd", "lbfgs"):
        model = kind(**SMALL, solver=solver).fit(X, y)
        model.set_params(warm_start=True).fit(X.astype(np.float64), y)
        assert {a.dtype for a in model.coefs_ + model.intercepts_} == {np.dtype(np.float32)}
        outputs = model.predict_proba if kind is MLPClassifier else model.predict
        assert outputs(X).dtype == np.float32
        assert outputs(X.astype(np.float64)).dtype == np.float64
        assert_allclose(outputs(X), outputs(X.astype(np.float64)), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int32])
def test_replaced_coefs(dtype):
    X, y = IRIS
    model = MLPClassifier(**SMALL).fit(X, y)
    model.coefs_[0] = np.asfortranarray((10 * model.coefs_[0][::-1]).astype(dtype))
    model.intercepts_[-1] = [1.0, -1.0, 0.5]
    assert_allclose(model.predict_proba(X), forward(model, X), rtol=1e-6)
    model.coefs_[0][:] = 0
    assert len(np.unique(model.predict_proba(X), axis=0)) == 1
    # Training goes on from them too.
    model.set_params(warm_start=True, learning_rate_init=1e-12, max_iter=1).fit(X, y)
    assert_allclose(model.coefs_[0], 0, atol=1e-6)


def test_replaced_coefs_of_a_wrong_shape():
    X, y = IRIS
    model = MLPClassifier(**SMALL).fit(X, y)
    for wrong in (model.coefs_[0][:3], model.coefs_[0][:, :3], model.coefs_[0].ravel()):
        broken = pickle.loads(pickle.dumps(model))
        broken.coefs_[0] = wrong
        with pytest.raises(ValueError, match="do not make a network with 3 layers, 4 inputs and 3 outputs"):
            broken.predict(X)


def test_predict_changes_nothing():
    X, y = IRIS
    model = MLPClassifier(**SMALL).fit(X, y)
    before = state(model)
    assert_array_equal(model.predict(X[:1]), model.predict(X)[:1])
    model.predict_proba(X)
    model.predict_log_proba(X)
    model.score(X, y)
    assert state(model) == before


# Forms of input.


def forms(tmp_path):
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    yield "plain", X, y
    yield "Fortran order", np.asfortranarray(X), y
    yield "every second column", np.repeat(X, 2, axis=1)[:, ::2], np.repeat(y, 2)[::2]
    yield "reversed", X[::-1].copy()[::-1], y[::-1].copy()[::-1]
    frozen, frozen_y = X.copy(), y.copy()
    frozen.flags.writeable = frozen_y.flags.writeable = False
    yield "read-only", frozen, frozen_y
    path = tmp_path / "X.npy"
    np.save(path, X)
    yield "memory-mapped", np.load(path, mmap_mode="r"), y
    offset = np.zeros(X.nbytes + 1, np.uint8)
    unaligned = offset[1:].view(X.dtype).reshape(X.shape)
    unaligned[...] = X
    yield "unaligned", unaligned, y
    yield "big-endian", X.astype(">f8"), y
    yield "lists", X.tolist(), y.tolist()


@BOTH
@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_forms_of_dense_input(kind, solver, tmp_path):
    results = {}
    weight = np.linspace(0.5, 1.5, 300)
    weight.flags.writeable = False
    for name, X, y in forms(tmp_path):
        model = kind(**SMALL, solver=solver).fit(X, y, sample_weight=weight)
        results[name] = [*model.coefs_, np.array(model.loss_), model.predict(X)]
    for name, result in results.items():
        for got, expected in zip(result, results["plain"], strict=True):
            assert_array_equal(got, expected, err_msg=name)


def test_forms_of_sparse_input():
    X, y = load_digits(return_X_y=True)
    X, y = X[:300] / 16, y[:300]
    dense = MLPClassifier(**SMALL).fit(X, y)
    csr = sparse.csr_matrix(X)
    unsorted = csr.copy()
    for start, stop in zip(csr.indptr[:-1], csr.indptr[1:], strict=True):
        unsorted.data[start:stop] = unsorted.data[start:stop][::-1].copy()
        unsorted.indices[start:stop] = unsorted.indices[start:stop][::-1].copy()
    unsorted.has_sorted_indices = False
    # Every entry as two halves: stored twice, an entry counts as the sum.
    halves = sparse.csr_matrix((np.repeat(csr.data / 2, 2), np.repeat(csr.indices, 2), csr.indptr * 2))
    wide = csr.copy()
    wide.indices, wide.indptr = wide.indices.astype(np.int64), wide.indptr.astype(np.int64)
    frozen = csr.copy()
    for array in (frozen.data, frozen.indices, frozen.indptr):
        array.flags.writeable = False
    for form in (csr, csr.tocsc(), unsorted, halves, frozen, sparse.csr_array(csr)):
        kept = form.copy()
        model = MLPClassifier(**SMALL).fit(form, y)
        assert_allclose(model.loss_curve_, dense.loss_curve_, rtol=1e-12)
        assert_allclose(model.predict_proba(form), dense.predict_proba(X), rtol=1e-9)
        assert_array_equal(form.data, kept.data)
        assert_array_equal(form.indices, kept.indices)
    empty = sparse.csr_matrix((300, 64))
    assert_array_equal(
        MLPClassifier(**SMALL).fit(empty, y).coefs_[1],
        MLPClassifier(**SMALL).fit(np.zeros((300, 64)), y).coefs_[1],
    )


# Bad input. Every call must leave a fitted model exactly as it was.

BAD_DATA = {
    "NaN": (lambda X, y: (np.where(X > 5, np.nan, X), y), "Input X contains NaN"),
    "infinite": (lambda X, y: (np.where(X > 5, np.inf, X), y), "Input X contains infinity"),
    "strings": (lambda X, y: (np.full(X.shape, "a"), y), "could not convert string to float"),
    "one-dimensional": (lambda X, y: (X[:, 0], y), "Expected 2D array, got 1D array"),
    "three-dimensional": (lambda X, y: (X[None], y), "dim 3"),
    "no samples": (lambda X, y: (X[:0], y[:0]), "0 sample"),
    "no features": (lambda X, y: (X[:, :0], y), "0 feature"),
    "complex": (lambda X, y: (X + 1j, y), "Complex data not supported"),
    "inconsistent": (lambda X, y: (X, y[:-1]), "inconsistent numbers of samples"),
    "no y": (lambda X, y: (X, None), "requires y to be passed"),
}


@pytest.mark.parametrize("fitted", [False, True])
@pytest.mark.parametrize("case", BAD_DATA)
@BOTH
@pytest.mark.filterwarnings("ignore:X does not have valid feature names")
def test_bad_data(kind, case, fitted):
    pandas = pytest.importorskip("pandas")
    X, y = IRIS
    model = kind(**SMALL)
    if fitted:
        model.fit(pandas.DataFrame(X, columns=list("abcd")), y)
    before = state(model)
    spoil, message = BAD_DATA[case]
    methods = [model.fit]
    if not fitted or kind is MLPRegressor:
        methods.append(model.partial_fit)
    for method in methods:
        arguments = {"classes": [0, 1, 2]} if method == model.partial_fit and kind is MLPClassifier else {}
        with pytest.raises(ValueError, match=message):
            method(*spoil(X, y), **arguments)
        assert state(model) == before


BAD_WEIGHTS = {
    "negative": (lambda n: np.linspace(-1, 1, n), "Negative values in data passed to `sample_weight`"),
    "zero": (np.zeros, "must contain at least one non-zero number"),
    "NaN": (lambda n: np.full(n, np.nan), "sample_weight contains NaN"),
    "infinite": (lambda n: np.full(n, np.inf), "sample_weight contains infinity"),
    "too short": (lambda n: np.ones(n - 1), "sample_weight.shape == "),
    "two-dimensional": (lambda n: np.ones((n, 1)), "Sample weights must be 1D array or scalar"),
    "strings": (lambda n: np.full(n, "a"), "could not convert string to float"),
}


@pytest.mark.parametrize("case", BAD_WEIGHTS)
@BOTH
def test_bad_weights(kind, case):
    X, y = IRIS
    model = kind(**SMALL).fit(X, y)
    before = state(model)
    make, message = BAD_WEIGHTS[case]
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match=message):
            method(X, y, sample_weight=make(len(X)))
        assert state(model) == before


def test_zero_weight_in_a_whole_part():
    X, y = IRIS
    model = MLPRegressor(**SMALL, early_stopping=True)
    for seed in range(20):
        weight = np.zeros(len(X))
        weight[seed] = 1
        with pytest.raises(ValueError, match="at least one non-zero number in both"):
            model.fit(X, y, sample_weight=weight)


def test_zero_weights_count_as_absent():
    X, y = IRIS
    weight = (np.arange(len(X)) % 3 > 0).astype(float)
    # One batch, so that its rows are the same without the others.
    ours = MLPClassifier(**SMALL).fit(X, y, sample_weight=weight)
    without = MLPClassifier(**SMALL).fit(X[weight > 0], y[weight > 0])
    assert_allclose(ours.loss_curve_, without.loss_curve_, rtol=1e-9)
    # Batches of nothing but zero weights.
    batches = MLPClassifier(**SMALL, batch_size=1).fit(X, y, sample_weight=weight)
    assert np.isfinite(batches.loss_curve_).all()


BAD_PARAMETERS = {
    "hidden_layer_sizes": [0, (3, -1), "a", (2.5,), None],
    "activation": ["exp", ["exp"], "relu_half", "RELU", None],
    "solver": ["newton", None],
    "alpha": [-1, "a"],
    "batch_size": [0, -5, "all", 2.5],
    "learning_rate": ["slow"],
    "learning_rate_init": [0, -1],
    "power_t": [-1],
    "max_iter": [0, 2.5],
    "shuffle": ["yes"],
    "random_state": [-1, "a"],
    "tol": [-1],
    "momentum": [-0.1, 1.1],
    "validation_fraction": [-0.1, 1.0],
    "beta_1": [-0.1, 1],
    "beta_2": [1.0],
    "epsilon": [0],
    "n_iter_no_change": [0, 1.5],
    "max_fun": [0],
}


@pytest.mark.parametrize("name", BAD_PARAMETERS)
@BOTH
def test_bad_parameters(kind, name):
    X, y = IRIS
    for value in BAD_PARAMETERS[name]:
        model = kind(**SMALL).fit(X, y).set_params(**{name: value})
        before = state(model)
        with pytest.raises(ValueError, match=name):
            model.fit(X, y)
        assert state(model) == before


def test_bad_targets():
    X, y = IRIS
    model = MLPClassifier(**SMALL)
    with pytest.raises(ValueError, match="Unknown label type"):
        model.fit(X, y + 0.5)
    with pytest.raises(ValueError, match="Multioutput target data is not supported"):
        model.fit(X, np.column_stack([y, y]))
    regressor = MLPRegressor(**SMALL)
    with pytest.raises(ValueError, match="Input y contains NaN"):
        regressor.fit(X, np.where(y > 1, np.nan, y))
    with pytest.raises(ValueError, match="strings"):
        regressor.fit(X, np.full(len(X), "a"))
    with pytest.raises(ValueError, match="y are out of the valid range of the loss 'poisson'"):
        regressor.set_params(loss="poisson").fit(X, y - 1)
    with pytest.raises(TypeError, match="Sparse data was passed"):
        regressor.fit(X, sparse.csr_matrix(y[:, None]))
    assert not hasattr(regressor, "n_features_in_")
    with pytest.warns(UserWarning, match="A column-vector y was passed"):
        MLPClassifier(**SMALL).fit(X, y[:, None])


def test_unfitted():
    X, _ = IRIS
    for method in (
        MLPClassifier().predict,
        MLPClassifier().predict_proba,
        MLPClassifier().predict_log_proba,
        MLPRegressor().predict,
    ):
        with pytest.raises(NotFittedError, match="is not fitted yet"):
            method(X)


@BOTH
def test_another_feature_count(kind):
    X, y = IRIS
    model = kind(**SMALL).fit(X, y)
    before = state(model)
    model_warm = kind(**SMALL, warm_start=True).fit(X, y)
    for method in (
        lambda: model.predict(X[:, :3]),
        lambda: model.partial_fit(X[:, :3], y),
        lambda: model_warm.fit(X[:, :3], y),
    ):
        with pytest.raises(ValueError, match=r"X has 3 features, but .* is expecting 4 features"):
            method()
    assert state(model) == before


def test_classes_of_partial_fit():
    X, y = IRIS
    model = MLPClassifier(**SMALL)
    before = state(model)
    with pytest.raises(ValueError, match="classes must be passed on the first call to partial_fit"):
        model.partial_fit(X, y)
    assert state(model) == before
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        model.partial_fit(X, y, classes=[0, 1])
    assert state(model) == before
    model.partial_fit(X[:90], y[:90], classes=[0, 1, 2])
    before = state(model)
    with pytest.raises(ValueError, match="is not the same as on last call to partial_fit"):
        model.partial_fit(X, y, classes=[0, 1, 2, 3])
    with pytest.raises(ValueError, match=r"`y` has classes not in `self.classes_`"):
        model.partial_fit(X, y + 1)
    assert state(model) == before
    assert_array_equal(model.partial_fit(X, y, classes=[0, 1, 2]).classes_, [0, 1, 2])


def test_no_partial_fit():
    X, y = IRIS
    assert not hasattr(MLPClassifier(solver="lbfgs"), "partial_fit")
    assert not hasattr(MLPRegressor(solver="lbfgs"), "partial_fit")
    with pytest.raises(ValueError, match="partial_fit does not support early_stopping=True"):
        MLPRegressor(early_stopping=True).partial_fit(X, y)
    model = MLPClassifier(**SMALL, warm_start=True).fit(X, y)
    with pytest.raises(ValueError, match="warm_start can only be used where `y` has the same classes"):
        model.fit(X[:90], y[:90])


def test_small_validation_sets():
    X, y = IRIS
    with pytest.raises(ValueError, match="The validation set is too small"):
        MLPClassifier(early_stopping=True, validation_fraction=0.005).fit(X[:101], y[:101] * 0)
    with pytest.raises(ValueError, match=r"resulting train set will be empty|test_size=0"):
        MLPRegressor(early_stopping=True, validation_fraction=0.0).fit(X, y)


@BOTH
def test_continuing_with_another_network(kind):
    X, y = IRIS
    model = kind(**SMALL, warm_start=True).fit(X, y).set_params(hidden_layer_sizes=(7,))
    before = state(model)
    with pytest.raises(ValueError, match=r"layers of \[4, 7, .\] units, the fitted network has \[4, 6, .\]"):
        model.fit(X, y)
    assert state(model) == before
    assert model.set_params(warm_start=False).fit(X, y).coefs_[0].shape == (4, 7)


# Divergence and interruption.

WILD = {"hidden_layer_sizes": (6,), "random_state": 0, "alpha": 0.0}


@pytest.mark.parametrize(
    ("solver", "rate", "scale", "early_stopping", "what"),
    [
        ("sgd", 10.0, 1.0, False, "parameter weights"),
        ("adam", 1e200, 1.0, False, "parameter weights"),
        ("lbfgs", 1.0, 1e200, False, "losses"),
        # No epoch has a validation score.
        ("sgd", 10.0, 1e200, True, "parameter weights"),
        ("adam", 1e200, 1.0, True, "parameter weights"),
        ("adam", 0.001, 1e200, True, "validation scores in every epoch"),
    ],
)
def test_divergence(solver, rate, scale, early_stopping, what):
    X, y = IRIS
    y_wild = y * scale
    model = MLPRegressor(
        **WILD, activation="identity", solver=solver, learning_rate_init=rate, early_stopping=early_stopping
    )
    message = rf"^Solver produced non-finite {what}\. .*Scale the inputs.*lower learning_rate_init"
    with pytest.raises(ValueError, match=message):
        model.fit(X, y_wild)
    # A first fit leaves the last finite parameters behind.
    assert all(np.isfinite(p).all() for p in model.coefs_ + model.intercepts_)
    assert model.predict(X).shape == y.shape
    assert model.n_features_in_ == 4
    if solver != "lbfgs":
        assert len(model.loss_curve_) == model.n_iter_
        losses = [model.loss_] if hasattr(model, "loss_") else []
        assert losses == model.loss_curve_[-1:]
    # A refit leaves the former model behind.
    before = state(model)
    for warm_start in (False, True):
        model.warm_start = warm_start
        with pytest.raises(ValueError, match="non-finite"):
            model.fit(X, y_wild)
    model.warm_start = False
    assert state(model) == before


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # scikit-learn's
def test_a_divergence_after_a_best_epoch_keeps_it():
    """As in scikit-learn 1.9, which goes on to the last epoch, and does not say why nothing comes of it."""
    X, y = IRIS
    parameters = {**WILD, "activation": "identity", "solver": "sgd", "early_stopping": True, "max_iter": 20}
    model = MLPRegressor(**parameters, learning_rate_init=10.0)
    with pytest.warns(
        ConvergenceWarning, match=r"Training diverged: epoch 5 .*best epoch.*[Ss]cale the inputs"
    ):
        model.fit(X, y)
    theirs = neural_network.MLPRegressor(**parameters, learning_rate_init=10.0).fit(X, y)
    assert np.isnan(theirs.loss_)
    for ours, expected in zip(
        model.coefs_ + model.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert_allclose(ours, expected, rtol=1e-9)
    assert_allclose(model.loss_curve_, theirs.loss_curve_[:4], rtol=1e-9)
    assert_allclose(model.validation_scores_, theirs.validation_scores_[:4], rtol=1e-9)
    assert model.best_validation_score_ == max(model.validation_scores_)
    assert model.loss_ == model.loss_curve_[-1]
    assert model.n_iter_ == 4
    # Training may go on, from the best epoch and with a state of the optimiser as good as new.
    model.set_params(early_stopping=False, learning_rate_init=1e-3).partial_fit(X, y)
    assert_allclose(model.loss_curve_[-1], model.loss_curve_[1], rtol=0.01)


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_a_divergence_under_warm_start_keeps_the_best_epoch_of_all_fits(kind):
    X, y = IRIS
    model = kind(**SMALL, solver="sgd", early_stopping=True, warm_start=True, batch_size=20).fit(X, y)
    before, score = [W.copy() for W in model.coefs_], model.best_validation_score_
    model.set_params(learning_rate_init=1e200)
    with pytest.warns(ConvergenceWarning, match="Training diverged: epoch 1 .*best epoch"):
        model.fit(X, y)
    for W, former in zip(model.coefs_, before, strict=True):
        assert_array_equal(W, former)
    assert model.best_validation_score_ == score
    assert model.loss_ == model.loss_curve_[-1]
    assert model.n_iter_ == 0
    assert not hasattr(model, "_optimizer")
    model.set_params(early_stopping=False, learning_rate_init=1e-3).partial_fit(X, y)
    assert np.isfinite(model.loss_)


@pytest.mark.parametrize(("dtype", "scale"), [(np.float64, 1e200), (np.float32, 1e25)])
@pytest.mark.filterwarnings("ignore:overflow:RuntimeWarning")  # scikit-learn's
def test_an_infinite_loss_with_finite_weights_is_told(dtype, scale):
    X, y = IRIS[0].astype(dtype), (IRIS[1] * scale).astype(dtype)
    model = MLPRegressor(**SMALL)
    with pytest.warns(
        ConvergenceWarning, match=r"the loss is infinite in 8 of 8 epochs, first in epoch 1\. .*last"
    ):
        model.fit(X, y)
    theirs = neural_network.MLPRegressor(**SMALL).fit(X, y)
    assert model.loss_curve_ == theirs.loss_curve_ == [np.inf] * 8
    for ours, expected in zip(
        model.coefs_ + model.intercepts_, theirs.coefs_ + theirs.intercepts_, strict=True
    ):
        assert_allclose(ours, expected, rtol=1e-5)
    before = model.coefs_[0]
    with pytest.warns(ConvergenceWarning, match="the loss is infinite in 1 of 1 epochs"):
        model.partial_fit(X, y)
    assert model.loss_ == np.inf
    assert (model.coefs_[0] != before).any()


@pytest.mark.filterwarnings("ignore:(overflow|invalid value):RuntimeWarning")  # scikit-learn's
def test_an_infinite_loss_that_passes_is_told():
    X = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    y = (X[:, 0] + X[:, 2]) * np.float32(1e20)
    # A linear model, whose weights approach 1e20.
    parameters = {"solver": "sgd", "learning_rate_init": 0.1, "alpha": 0.0, "max_iter": 30, "random_state": 0}
    model = MLPRegressor(hidden_layer_sizes=(), **parameters)
    with pytest.warns(
        ConvergenceWarning, match=r"infinite in \d+ of 30 epochs, first in epoch 1\. "
    ) as caught:
        model.fit(X, y)
    n_infinite = np.isinf(model.loss_curve_).sum()
    assert f"infinite in {n_infinite} of 30" in str(caught[0].message)
    assert 0 < n_infinite < 30
    theirs = neural_network.MLPRegressor(hidden_layer_sizes=(), **parameters).fit(X, y)
    assert_allclose(model.coefs_[0], theirs.coefs_[0], rtol=1e-3)
    assert np.corrcoef(model.predict(X) / 1e20, y / 1e20)[0, 1] > 0.99


def test_divergence_in_partial_fit():
    X, y = IRIS
    model = MLPRegressor(hidden_layer_sizes=(6,), random_state=0, solver="sgd").partial_fit(X, y)
    before = state(model)
    with pytest.raises(ValueError, match="non-finite"):
        model.partial_fit(X, y * 1e300)
    assert state(model) == before
    fresh = MLPRegressor(hidden_layer_sizes=(6,), random_state=0, solver="sgd")
    with pytest.raises(ValueError, match="non-finite"):
        fresh.partial_fit(X, y * 1e300)
    # It may be tried again, with a state of the optimiser that is as good as new.
    fresh.partial_fit(X, y)
    assert np.isfinite(fresh.loss_curve_).all()


@pytest.mark.parametrize("early_stopping", [False, True])
def test_interruption(early_stopping, monkeypatch):
    X, y = IRIS
    epochs = []

    class Interrupted(host_network.HostNetwork):
        def run_epoch(self, *args, **kwargs):
            epochs.append(0)
            if len(epochs) == 4:
                raise KeyboardInterrupt
            return super().run_epoch(*args, **kwargs)

    monkeypatch.setattr(host_network, "HostNetwork", Interrupted)
    model = MLPClassifier(hidden_layer_sizes=(6,), random_state=0, early_stopping=early_stopping)
    with pytest.warns(UserWarning, match="Training interrupted by user."):
        model.fit(X, y)
    assert model.n_iter_ == len(model.loss_curve_) == 3
    model.predict(X)


def test_an_interruption_amid_a_divergence_keeps_the_best_of_a_former_fit(monkeypatch):
    X, y = IRIS

    class Interrupted(host_network.HostNetwork):
        def run_epoch(self, *args, **kwargs):
            self._parameters[:] = np.nan
            raise KeyboardInterrupt

    model = MLPClassifier(hidden_layer_sizes=(6,), random_state=0, early_stopping=True, warm_start=True)
    model.fit(X, y)
    before = [p.copy() for p in model.coefs_]
    monkeypatch.setattr(host_network, "HostNetwork", Interrupted)
    with pytest.warns(UserWarning, match="Training interrupted by user."):
        model.fit(X, y)
    assert model.n_iter_ == 0
    for kept, was in zip(model.coefs_, before, strict=True):
        assert_array_equal(kept, was)


@pytest.mark.usefixtures("answers_ctrl_c")
def test_ctrl_c_is_answered_within_an_epoch():
    X = np.random.RandomState(0).normal(size=(30_000, 100))
    y = np.arange(len(X)) % 2
    model = MLPClassifier((1000, 1000), batch_size=100, random_state=0)
    model.partial_fit(X[:100], y[:100], classes=[0, 1])  # compiles
    threading.Timer(0.5, _thread.interrupt_main).start()
    started = time.perf_counter()
    with pytest.warns(UserWarning, match="Training interrupted by user."):
        model.fit(X, y)
    assert time.perf_counter() - started < 1.5
    assert model.n_iter_ == 0
    assert model.predict(X[:10]).shape == (10,)
    # Adam has counted the steps that its state holds: the first step's weights of old gradients are gone.
    assert 0 < model._optimizer.t < 300
    assert model._optimizer.state.any()


# Continued training.


@pytest.mark.parametrize("solver", ["adam", "sgd"])
@BOTH
def test_pickled_in_the_middle(kind, solver):
    X, y = IRIS
    model = kind(**SMALL, solver=solver, learning_rate="adaptive")
    first = {"classes": [0, 1, 2]} if kind is MLPClassifier else {}
    model.partial_fit(X, y, **first)
    model.partial_fit(X, y)
    copy = pickle.loads(pickle.dumps(model))
    for _ in range(3):
        model.partial_fit(X, y)
        copy.partial_fit(X, y)
    assert copy.loss_curve_ == model.loss_curve_
    for a, b in zip(copy.coefs_, model.coefs_, strict=True):
        assert_array_equal(a, b)


def test_weights_handed_out_stay_as_they_are():
    X, y = IRIS
    model = MLPClassifier(**SMALL).fit(X, y)
    kept = model.coefs_[0]
    copy = kept.copy()
    model.partial_fit(X, y)
    model.set_params(warm_start=True).fit(X, y)
    assert_array_equal(kept, copy)


def test_warm_start_between_solvers_and_rules():
    X, y = IRIS
    model = MLPClassifier(**SMALL, warm_start=True, solver="lbfgs").fit(X, y)
    assert not hasattr(model, "loss_curve_")
    model.set_params(solver="adam").fit(X, y)
    assert len(model.loss_curve_) == 8
    model.set_params(early_stopping=True).fit(X, y)
    assert len(model.validation_scores_) == 8
    assert model.best_loss_ is None
    model.set_params(early_stopping=False, solver="sgd").fit(X, y)
    assert model.validation_scores_ is None
    assert len(model.loss_curve_) == 24
    model.set_params(warm_start=False, solver="lbfgs").fit(X, y)
    assert not hasattr(model, "loss_curve_")


@pytest.mark.parametrize("solver", ["adam", "lbfgs"])
def test_warnings_as_errors_keep_the_model(solver):
    X, y = IRIS
    model = MLPClassifier((6,), solver=solver, max_iter=2, random_state=0)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        with pytest.raises(ConvergenceWarning):
            model.fit(X, y)
    assert model.predict(X).shape == y.shape


def test_warnings_point_at_the_caller():
    X, y = IRIS
    with pytest.warns() as caught:
        MLPClassifier((6,), max_iter=2, batch_size=1000, random_state=0).fit(X, y)
    assert [warning.filename for warning in caught] == [__file__] * 2


def test_early_stopping_keeps_the_best_epoch():
    X, y = IRIS
    parameters = {
        "early_stopping": True,
        "random_state": 0,
        "learning_rate_init": 0.3,
        "n_iter_no_change": 60,
    }
    model = MLPClassifier((10,), max_iter=60, **parameters).fit(X, y)
    best = model.validation_scores_.index(model.best_validation_score_)
    assert best + 1 < model.n_iter_
    again = MLPClassifier((10,), max_iter=best + 1, **parameters).fit(X, y)
    assert_array_equal(model.coefs_[0], again.coefs_[0])


@pytest.mark.parametrize("dtype", ["U", "S"])
def test_a_regressor_refuses_text_targets(dtype):
    with pytest.raises(ValueError, match="strings"):
        MLPRegressor().fit(np.zeros((4, 2)), np.array(["1", "2", "3", "4"]).astype(dtype))


def test_a_regressor_refuses_dates():
    with pytest.raises(TypeError, match="real numbers"):
        MLPRegressor().fit(np.zeros((2, 2)), np.array(["2020-01-01", "2020-01-02"], "M8[D]"))


def test_the_fitted_output_activation_counts():
    X = np.random.default_rng(0).normal(size=(60, 3))
    model = MLPRegressor(max_iter=2, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, X[:, 0])
    before = model.predict(X)
    model.set_params(loss="poisson")
    assert_array_equal(model.predict(X), before)
    model.out_activation_ = "exp"
    assert_allclose(model.predict(X), np.exp(before), rtol=1e-12)
    model.out_activation_ = "none"
    with pytest.raises(ValueError, match="out_activation_"):
        model.predict(X)


@pytest.mark.parametrize("member", ["indptr", "data"])
def test_a_malformed_csr_matrix_is_refused(member):
    X = sparse.csr_matrix(np.random.default_rng(0).normal(size=(200, 4)))
    setattr(X, member, getattr(X, member)[:100])
    with pytest.raises(ValueError, match="CSR"):
        MLPRegressor(max_iter=1).fit(X, np.zeros(200))


def test_a_memory_mapped_model_predicts_and_goes_on(tmp_path):
    X = np.random.default_rng(0).normal(size=(200, 4))
    model = MLPRegressor(max_iter=1, random_state=0)
    with pytest.warns(ConvergenceWarning):
        model.fit(X, X[:, 0])
    joblib.dump(model, tmp_path / "model")
    mapped = joblib.load(tmp_path / "model", mmap_mode="r")
    assert_array_equal(mapped.predict(X), model.predict(X))
    assert_array_equal(mapped.partial_fit(X, X[:, 0]).predict(X), model.partial_fit(X, X[:, 0]).predict(X))
    model.coefs_[0].base.setflags(write=False)
    assert_array_equal(mapped.predict(X), model.predict(X))


def test_lbfgs_does_not_depend_on_the_threads_of_the_blas_library():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(600, 37)), rng.integers(5, size=600)
    weights = []
    for limit in (None, 1):
        with threadpool_limits(limit), pytest.warns(ConvergenceWarning):
            model = MLPClassifier((300, 200), solver="lbfgs", max_iter=3, random_state=0).fit(X, y)
        weights.append(model.coefs_[0])
    assert_array_equal(*weights)
