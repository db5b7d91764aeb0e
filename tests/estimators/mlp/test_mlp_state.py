"""States of a training: an optimiser that is kept, epochs in blocks, and checkpoints."""

import pickle
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits

from fastnn import Autoencoder, MLPClassifier, MLPRegressor
from fastnn.networks.solvers import STOCHASTIC_SOLVERS
from fastnn.tables.optimizers import Optimizer

X, Y = load_digits(return_X_y=True)
X, Y = X[:300] / 16, Y[:300]
X_VAL, Y_VAL = X[200:], Y[200:]
# Epochs in which no rule ends a training.
ENDLESS = {"tol": 0.0, "n_iter_no_change": np.inf}
SMALL = {"hidden_layer_sizes": (8,), "random_state": 0, "batch_size": 50}
NUMBER = 12

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*units of hidden layer:UserWarning"),
]


class LostError(Exception):
    """What ends a fit before its time."""


class Ending:
    """Notes epochs, and ends a fit after one of them."""

    def __init__(self, at=None, how=LostError):
        self.at, self.how, self.epochs = at, how, []

    def __call__(self, epoch, logs):
        self.epochs.append(epoch)
        if epoch == self.at:
            if isinstance(self.how, bool):
                return self.how
            raise self.how
        return False


def assert_same(a, b):
    """Whether two values, or what they hold, are the same to the bit."""
    if isinstance(a, np.ndarray):
        assert a.dtype == b.dtype
        assert_array_equal(a, b)
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for name in a:
            assert_same(a[name], b[name])
    elif isinstance(a, np.random.RandomState):
        assert_same(a.get_state(), b.get_state())
    elif isinstance(a, Optimizer):
        assert_same(vars(a), vars(b))
    elif isinstance(a, float | int | str | None):
        assert a == b or (a != a and b != b)
    else:
        assert type(a) is type(b)


def assert_same_fit(a, b):
    parameters = a.get_params()
    ours, theirs = ({k: v for k, v in vars(one).items() if k not in parameters} for one in (a, b))
    assert "coefs_" in ours
    assert_same(ours, theirs)


# An optimiser that is kept, and epochs in blocks.


@pytest.mark.parametrize("average", [False, True, 0.9])
@pytest.mark.parametrize("solver", STOCHASTIC_SOLVERS)
def test_fits_that_keep_the_optimizer_are_one_fit(solver, average):
    usual = SMALL | ENDLESS | {"solver": solver, "shuffle": False, "average": average}
    once = MLPClassifier(**usual, max_iter=6).fit(X, Y)
    model = MLPClassifier(**usual, max_iter=4, warm_start=True, reset_optimizer=False).fit(X, Y)
    model = pickle.loads(pickle.dumps(model)).set_params(max_iter=2).fit(X, Y)
    assert_same((once.coefs_, once.intercepts_, once.t_), (model.coefs_, model.intercepts_, model.t_))
    assert_same(once.loss_curve_, model.loss_curve_)
    new = MLPClassifier(**usual, max_iter=4, warm_start=True).fit(X, Y).set_params(max_iter=2).fit(X, Y)
    assert not np.array_equal(new.coefs_[0], once.coefs_[0])


def test_a_kept_optimizer_follows_the_parameters_of_the_new_fit():
    usual = SMALL | ENDLESS | {"max_iter": 3, "warm_start": True, "reset_optimizer": False}
    model = MLPClassifier(**usual).fit(X, Y)
    moments, model = model._optimizer.state, model.set_params(learning_rate_init=0.5, beta_1=0.0).fit(X, Y)
    assert model.learning_rate_curve_ == [0.001] * 3 + [0.5] * 3
    assert model._optimizer.hyper[0] == 0.0
    assert model._optimizer.t == 2 * 3 * 6
    assert not np.array_equal(moments, model._optimizer.state)


@pytest.mark.parametrize("other", [{"solver": "sgd"}, {"average": True}])
def test_of_another_solver_nothing_is_kept(other):
    usual = SMALL | ENDLESS | {"max_iter": 3, "warm_start": True}
    kept, new = (
        MLPClassifier(**usual, reset_optimizer=reset).fit(X, Y).set_params(**other).fit(X, Y)
        for reset in (False, True)
    )
    assert_same_fit(kept, new)


def in_blocks(kind, usual, rows, ends):
    """Two passes of ``partial_fit`` over blocks of rows."""
    model, more = kind(**usual), {"classes": range(10)} if kind is MLPClassifier else {}
    for _ in range(2):
        for block in map(slice, (0, *ends), (*ends, len(rows))):
            model.partial_fit(rows[block], Y[block], **more)
            more = {}
    return model


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
@pytest.mark.parametrize("solver", STOCHASTIC_SOLVERS)
def test_partial_fit_of_blocks_is_an_epoch_of_fit(solver, kind, dtype):
    """The last block has a short batch."""
    usual = SMALL | ENDLESS | {"solver": solver, "batch_size": 32, "shuffle": False, "max_iter": 2}
    rows = X.astype(dtype)
    whole, model = kind(**usual).fit(rows, Y), in_blocks(kind, usual, rows, (96, 128, 224))
    assert_same((whole.coefs_, whole.intercepts_), (model.coefs_, model.intercepts_))
    assert_same(whole._optimizer.state, model._optimizer.state)
    assert whole.t_ == model.t_ == 600


@pytest.mark.filterwarnings("ignore:Got `batch_size`")
def test_a_block_that_is_shorter_than_a_batch_is_one_to_rounding():
    usual = SMALL | ENDLESS | {"batch_size": 32, "shuffle": False, "max_iter": 2}
    whole, model = MLPRegressor(**usual).fit(X, Y), in_blocks(MLPRegressor, usual, X, (96, 288))
    for ours, theirs in zip(whole.coefs_, model.coefs_, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-12)


# Checkpoints: to go on as if nothing had happened.

CASES = {
    "plain": (MLPClassifier, {}),
    "in order": (MLPClassifier, {"shuffle": False}),
    "dropout": (MLPClassifier, {"dropout": 0.3, "hidden_layer_sizes": (8, 8)}),
    "early stopping": (
        MLPClassifier,
        {"early_stopping": True, "n_iter_no_change": 3, "learning_rate_init": 0.1},
    ),
    "validation rows": (MLPClassifier, {"early_stopping": True, "scoring": "loss"}),
    "curves alone": (MLPRegressor, {"scoring": "neg_mean_absolute_error"}),
    "adaptive": (
        MLPRegressor,
        {"solver": "sgd", "learning_rate": "adaptive", "tol": 0.3, "n_iter_no_change": 1, "max_iter": 30},
    ),
    "invscaling": (MLPRegressor, {"solver": "sgd", "learning_rate": "invscaling", "momentum": 0.5}),
    "per batch": (MLPClassifier, {"learning_rate": "one_cycle", "warmup_epochs": 5.5}),
    "exponential": (MLPClassifier, {"learning_rate": "exponential", "accumulate_batches": 2}),
    "loss": (
        MLPClassifier,
        {"n_iter_no_change": 2, "tol": 0.1, "max_iter": 30, "learning_rate_init": 0.02},
    ),
    "average": (MLPClassifier, {"average": True, "early_stopping": True, "solver": "nadam"}),
    "decay": (MLPRegressor, {"solver": "adamw", "max_grad_norm": 0.5, "average": 0.9, "l1_alpha": 0.01}),
    "class weights": (MLPClassifier, {"class_weight": "balanced", "solver": "amsgrad"}),
    "noise": (Autoencoder, {"noise": 0.2}),
    "tied": (Autoencoder, {"tied_weights": True, "early_stopping": True}),
    "by layers": (Autoencoder, {"pretrain": "layerwise", "hidden_layer_sizes": (9, 4), "noise": 0.1}),
}


def arguments(case, dtype=np.float64):
    """What a fit of a case gets: data, and perhaps validation rows."""
    kind, data = CASES[case][0], [X.astype(dtype)]
    if kind is not Autoencoder:
        data.append(Y)
    if case not in ("validation rows", "curves alone"):
        return data, {}
    return data, {"X_val": X_VAL, "y_val": Y_VAL}


def estimator(case, **options):
    kind, parameters = CASES[case]
    return kind(**SMALL | {"max_iter": NUMBER} | parameters | options)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("case", CASES)
def test_a_fit_that_was_ended_goes_on_to_the_same_bits(case, dtype, tmp_path):
    data, validation = arguments(case, dtype)
    undisturbed = estimator(case).fit(*data, **validation)
    places = {"checkpoint": tmp_path / "fit", "checkpoint_every": 3}
    ends = [at for at in (1, 4, 10) if at < undisturbed.n_iter_]
    for at in ends:
        with pytest.raises(LostError):
            estimator(case, callback=Ending(at), **places).fit(*data, **validation)
    noted = Ending()
    model = estimator(case, callback=noted, **places).fit(*data, **validation)
    assert_same_fit(model, undisturbed)
    assert noted.epochs == list(range(ends[-1] // 3 * 3, undisturbed.n_iter_))
    # What is over is not done again.
    again = estimator(case, callback=noted, **places).fit(*data, **validation)
    assert_same_fit(again, undisturbed)
    assert len(noted.epochs) == undisturbed.n_iter_ - noted.epochs[0]


def test_the_cases_end_as_they_are_meant_to():
    for case, at_most in (("early stopping", NUMBER - 1), ("loss", 29), ("adaptive", 29)):
        assert 4 < estimator(case).fit(*arguments(case)[0]).n_iter_ <= at_most


KILLED = """
import pickle, sys, warnings
import numpy as np
from tests.estimators.mlp.test_mlp_state import CASES, arguments, estimator

warnings.simplefilter("ignore")
directory, every = sys.argv[1], float(sys.argv[2])
models = {}
for case in ("dropout", "early stopping", "validation rows", "per batch", "adaptive", "noise"):
    for dtype in (np.float32, np.float64):
        data, validation = arguments(case, dtype)
        name = f"{case} {np.dtype(dtype)}"
        model = estimator(case, checkpoint=f"{directory}/{name}", checkpoint_every=every)
        model.callback = lambda *_: print(name, flush=True)
        models[name] = model.fit(*data, **validation).set_params(callback=None)
with open(f"{directory}/models", "wb") as file:
    pickle.dump(models, file)
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills processes")
def test_a_fit_that_was_killed_goes_on_to_the_same_bits(tmp_path):
    """Whenever it is killed: 5 times here, mostly while it computes or writes."""
    rng, epochs = np.random.default_rng(), 0
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path), "1e-9"]
    for _ in range(5):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            for line, _ in zip(process.stdout, range(rng.integers(1, 25)), strict=False):
                epochs += bool(line)
            time.sleep(rng.uniform(0, 0.003))
            process.kill()
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    models = pickle.loads((tmp_path / "models").read_bytes())
    assert len(models) == 12
    for name, model in models.items():
        case, dtype = name.rsplit(" ", 1)
        data, validation = arguments(case, dtype)
        assert_same_fit(model, estimator(case).fit(*data, **validation))
    # Of what was done before a kill next to nothing was done again.
    total = sum(model.n_iter_ for model in models.values())
    assert len(done.stdout.splitlines()) <= total - epochs + 5


@pytest.mark.parametrize("how", [True, KeyboardInterrupt])
def test_what_the_user_has_ended(how, tmp_path):
    """A callback's word ends a training for good, Ctrl-C until the next fit."""
    places = {"checkpoint": str(tmp_path / "fit"), "checkpoint_every": 1}
    model = estimator("plain", callback=Ending(4, how), **places)
    if how is True:
        model.fit(X, Y)
    else:
        with pytest.warns(UserWarning, match="interrupted"):
            model.fit(X, Y)
    assert model.n_iter_ == 5
    noted = Ending()
    again = clone(model).set_params(callback=noted).fit(X, Y)
    if how is True:
        assert_same_fit(again, model)
        assert noted.epochs == []
    else:
        assert_same_fit(again, estimator("plain").fit(X, Y))
        assert noted.epochs[0] == 4


def test_a_warm_start_goes_on_from_its_checkpoint(tmp_path):
    warm = {"warm_start": True, "reset_optimizer": False}
    first = estimator("plain", **warm).fit(X, Y)
    undisturbed = clone(first).set_params(max_iter=20)
    undisturbed.__dict__ |= vars(first) | {"max_iter": 20}
    undisturbed.fit(X, Y)
    loaded = pickle.loads(pickle.dumps(first)).set_params(max_iter=20, checkpoint=tmp_path / "fit")
    with pytest.raises(LostError):
        loaded.set_params(callback=Ending(2), checkpoint_every=1).fit(X, Y)
    assert_same_fit(loaded, first)
    assert_same_fit(loaded.set_params(callback=None).fit(X, Y), undisturbed)
    # It begins with other weights than the fit of the file.
    with pytest.raises(ValueError, match="is of another fit: what training begins with"):
        loaded.fit(X, Y)


def test_sparse_rows_and_weights(tmp_path):
    weights, rows = np.linspace(0, 1, len(X)), sparse.csr_array(X)
    undisturbed = estimator("plain").fit(rows, Y, weights)
    model = estimator("plain", checkpoint=tmp_path / "fit", checkpoint_every=2, callback=Ending(5))
    with pytest.raises(LostError):
        model.fit(rows, Y, weights)
    for other in ((X, Y, weights), (rows * 2, Y, weights), (rows, Y, weights[::-1]), (rows, Y)):
        with pytest.raises(ValueError, match=r"another fit: (X|sample_weight) differs"):
            model.fit(*other)
    assert_same_fit(model.set_params(callback=None).fit(rows, Y, weights), undisturbed)
