"""Autoencoder: a network of X to X, tied weights, noise, and pretraining by layers."""

import pickle

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import Autoencoder, MLPRegressor
from fastnn.networks.noise import NoisyRows
from tests.reference import reference_predict

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 3)) @ RNG.normal(size=(3, 8)) + 0.1 * RNG.normal(size=(120, 8))
WEIGHTS = RNG.integers(0, 3, size=120) / 2
SMALL = {"hidden_layer_sizes": (6, 3), "activation": "tanh", "max_iter": 5, "random_state": 0}
TIED = {**SMALL, "tied_weights": True}


def arrays(model):
    return [*model.coefs_, *model.intercepts_]


def assert_same(one, other):
    for a, b in zip(arrays(one), arrays(other), strict=True):
        assert_array_equal(a, b)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"solver": "sgd", "learning_rate": "invscaling", "bias_learning_rate_factor": 2.0},
        {"solver": "lbfgs", "alpha": 0.1},
        {"dropout": 0.3, "batch_size": 16, "accumulate_batches": 2},
        {"use_bias": [True, False, True, False], "weight_init": "he_normal", "bias_init": 0.5},
    ],
    ids=["adam", "sgd", "lbfgs", "dropout", "biases"],
)
def test_it_is_the_mirrored_regressor_of_x_to_x(options):
    ours = Autoencoder(
        **SMALL | options,
    ).fit(X, sample_weight=WEIGHTS)
    theirs = MLPRegressor(**SMALL | options | {"hidden_layer_sizes": (6, 3, 6)}).fit(X, X, WEIGHTS)
    assert_same(ours, theirs)
    assert (ours.loss_, ours.n_iter_, ours.n_layers_, ours.n_outputs_) == (theirs.loss_, theirs.n_iter_, 5, 8)
    assert_array_equal(ours.inverse_transform(ours.transform(X)), theirs.predict(X))


def test_activations_are_mirrored():
    model = Autoencoder(**SMALL | {"activation": ("gelu", "logistic")}).fit(X)
    names = ["gelu", "logistic", "gelu"]
    codes = reference_predict(
        X, model.coefs_[:2], model.intercepts_[:2], hidden_activation=names[:1], output_activation=names[1]
    )
    assert_allclose(model.transform(X), codes, rtol=1e-10)
    outputs = reference_predict(
        X, model.coefs_, model.intercepts_, hidden_activation=names, output_activation="identity"
    )
    assert_allclose(model.inverse_transform(codes), outputs, rtol=1e-10)
    assert model.reconstruction_error(X) == pytest.approx(np.mean((X - outputs) ** 2), rel=1e-12)
    assert model.score(X) == -model.reconstruction_error(X)
    weighted = np.average(((X - outputs) ** 2).mean(axis=1), weights=WEIGHTS)
    assert model.score(X, sample_weight=WEIGHTS) == pytest.approx(-weighted, rel=1e-12)


@pytest.mark.parametrize("tied", [False, True])
def test_a_linear_one_finds_the_principal_components(tied):
    model = Autoencoder(
        3, "identity", solver="lbfgs", alpha=0, tol=1e-8, max_iter=5000, tied_weights=tied, random_state=0
    ).fit(X)
    pca = PCA(3).fit(X)
    least = np.mean((X - pca.inverse_transform(pca.transform(X))) ** 2)
    assert model.reconstruction_error(X) == pytest.approx(least, rel=1e-3)


# Tied weights.


@pytest.mark.parametrize("solver", ["adam", "sgd", "lbfgs"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_tied_weights_are_the_transposed_ones(solver, dtype):
    begun = Autoencoder(**TIED | {"max_iter": 1, "solver": solver}).fit(X.astype(dtype))
    model = Autoencoder(**TIED | {"solver": solver, "early_stopping": solver != "lbfgs"}).fit(X.astype(dtype))
    for one in (begun, model):
        for W, V in zip(one.coefs_, reversed(one.coefs_), strict=True):
            assert_array_equal(W, V.T)
            assert W.dtype == dtype
    assert model.reconstruction_error(X) < begun.reconstruction_error(X)


@pytest.mark.parametrize("options", [{}, {"noise": 0.2}, {"solver": "sgd"}], ids=["adam", "noise", "sgd"])
def test_partial_fit_goes_on(options):
    options = TIED | options | {"shuffle": False, "tol": 0}
    model = Autoencoder(**options | {"random_state": np.random.RandomState(0)})
    for _ in range(5):
        model.partial_fit(X)
    assert len(model.loss_curve_) == 5
    assert model.loss_curve_[-1] < model.loss_curve_[0]
    if "noise" not in options:
        assert_same(model, Autoencoder(**options).fit(X))


def test_tied_weights_need_weights_that_are():
    start = RNG.normal(size=(8, 3))
    tied = {"hidden_layer_sizes": 3, "tied_weights": True, "warm_start": True}
    model = Autoencoder(**tied, weight_init=[start, start.T]).fit(X)
    with pytest.raises(ValueError, match="tied_weights=True needs weights of the decoder"):
        Autoencoder(**tied, weight_init=[start, start.T + 1]).fit(X)
    model.coefs_[1] = model.coefs_[1] + 1
    for method in (model.fit, model.partial_fit):
        with pytest.raises(ValueError, match="tied_weights=True needs weights of the decoder"):
            method(X)


def halves(random_state, fan_in, fan_out, dtype):
    """A rule of the user's own."""
    return random_state.normal(0, 0.5, (fan_in, fan_out))


def test_tied_weights_begin_as_a_rule_of_the_users_draws_the_encoders():
    model = Autoencoder(**TIED | {"weight_init": halves, "learning_rate_init": 1e-12}).fit(X)
    plain = Autoencoder(**SMALL | {"weight_init": halves, "learning_rate_init": 1e-12}).fit(X)
    for layer in range(2):
        assert_allclose(model.coefs_[layer], plain.coefs_[layer], atol=1e-9)
        assert_array_equal(model.coefs_[-1 - layer], model.coefs_[layer].T)


# Noise.


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_noise_is_normal_and_drawn_anew(dtype):
    clean = np.tile(np.arange(4, dtype=dtype), (5000, 1))
    source = NoisyRows(clean, 0.5, np.random.default_rng(0))
    first = source().X.copy() - clean
    second = source().X - clean
    assert first.dtype == dtype
    for noise in (first, second):
        assert_allclose(noise.mean(axis=0), 0, atol=0.03)
        assert_allclose(noise.std(axis=0), 0.5, atol=0.02)
    assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 0.03
    assert_array_equal(clean, np.tile(np.arange(4, dtype=dtype), (5000, 1)))


def test_it_learns_to_take_the_noise_away():
    """The best linear map of noisy rows to clean ones is known: it shrinks."""
    deviation, points = 0.7, np.random.default_rng(1).normal(size=(2000, 2)) * [2.0, 0.5]
    model = Autoencoder(
        2, "identity", noise=deviation, learning_rate_init=0.01, max_iter=200, tol=0, alpha=0, random_state=0
    ).fit(points)
    shrunk = np.diag([variance / (variance + deviation**2) for variance in (4.0, 0.25)])
    assert_allclose(model.coefs_[0] @ model.coefs_[1], shrunk, atol=0.07)


@pytest.mark.parametrize("options", [{}, TIED, {"pretrain": "layerwise"}], ids=["plain", "tied", "layerwise"])
def test_noise_follows_from_the_random_state_alone(options):
    models = [
        Autoencoder(**SMALL | options | {"noise": 0.3, "random_state": seed}, n_threads=threads).fit(X)
        for seed, threads in ((0, 1), (0, 2), (1, 1))
    ]
    assert_same(*models[:2])
    assert (models[0].coefs_[0] != models[2].coefs_[0]).any()
    assert models[0].loss_ != Autoencoder(**SMALL | options).fit(X).loss_


def test_each_partial_fit_has_noise_of_its_own():
    model = Autoencoder(**SMALL | {"noise": 0.3, "learning_rate_init": 1e-12, "shuffle": False})
    for _ in range(3):
        model.partial_fit(X)
    assert np.unique(np.round(model.loss_curve_, 6)).size == 3
    still = Autoencoder(**SMALL | {"learning_rate_init": 1e-12, "shuffle": False}).fit(X)
    assert np.ptp(still.loss_curve_) < 1e-6


# Pretraining.


def test_pretraining_stacks_pairs_of_layers():
    shapes = [(8, 6), (6, 3), (3, 6), (6, 8)]
    start = [RNG.normal(size=shape) / 3 for shape in shapes]
    options = {"activation": "tanh", "solver": "lbfgs", "max_iter": 20, "bias_init": 0.1}
    model = Autoencoder((6, 3), **options, weight_init=start, pretrain="layerwise").fit(X)
    outer = MLPRegressor(hidden_layer_sizes=6, **options, weight_init=[start[0], start[3]]).fit(X, X)
    codes = np.tanh(X @ outer.coefs_[0] + outer.intercepts_[0])
    inner = MLPRegressor(
        hidden_layer_sizes=3, out_activation="tanh", **options, weight_init=[start[1], start[2]]
    ).fit(codes, codes)
    layers = [(outer, 0), (inner, 0), (inner, 1), (outer, 1)]
    stacked = MLPRegressor.from_weights(
        [one.coefs_[i] for one, i in layers],
        [one.intercepts_[i] for one, i in layers],
        warm_start=True,
        **options,
    ).fit(X, X)
    for ours, theirs in zip(arrays(model), arrays(stacked), strict=True):
        assert_allclose(ours, theirs, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("activation", ["relu", "gelu", "softmax", ("selu", "tanh", "elu")])
@pytest.mark.parametrize("tied", [False, True])
def test_pretraining_helps_whatever_the_activation(activation, tied):
    digits = load_digits().data[:300].astype(np.float32) / 16
    options = {
        "activation": activation, "tied_weights": tied, "learning_rate_init": 0.01, "max_iter": 3,
        "random_state": 0,
    }  # fmt: skip
    plain, stacked = (
        Autoencoder((40, 30, 20), **options, pretrain=how).fit(digits) for how in (None, "layerwise")
    )
    assert stacked.n_iter_ == plain.n_iter_ == 3
    assert stacked.reconstruction_error(digits) < plain.reconstruction_error(digits)


def test_relu_is_relu_in_pretraining_whatever_its_slope_at_zero():
    """No argument is exactly 0 here, so that the slope there changes nothing."""
    options = SMALL | {"activation": "relu", "pretrain": "layerwise"}
    assert_same(*(Autoencoder(**options, relu_grad_at_zero=slope).fit(X) for slope in (0, 0.5)))


def test_only_a_first_fit_pretrains():
    model = Autoencoder(**SMALL, pretrain="layerwise", warm_start=True).fit(X)
    plain = clone(model).set_params(pretrain=None)
    for name, value in vars(model).items():
        if name not in plain.get_params():
            setattr(plain, name, value)
    assert_same(plain.fit(X), model.fit(X))
    assert_same(
        Autoencoder(**SMALL, pretrain="layerwise").partial_fit(X), Autoencoder(**SMALL).partial_fit(X)
    )


def test_pretraining_that_diverges_is_told():
    model = Autoencoder(**SMALL | {"solver": "sgd", "learning_rate_init": 1e20, "activation": "identity"})
    with pytest.raises(ValueError, match="Pretraining of layer 1 produced non-finite"):
        model.set_params(pretrain="layerwise").fit(X)
    assert not hasattr(model, "coefs_")


# What an estimator has to do.


@pytest.mark.parametrize("options", [SMALL, TIED | {"noise": 0.1}], ids=["plain", "tied"])
def test_sparse_rows(options):
    entries = X * (RNG.uniform(size=X.shape) < 0.4)
    dense, ours = Autoencoder(**options).fit(entries), Autoencoder(**options).fit(sparse.coo_array(entries))
    for one, other in zip(arrays(ours), arrays(dense), strict=True):
        assert_allclose(one, other, atol=1e-10)
    given = sparse.csr_matrix(entries)
    assert_allclose(ours.transform(given), dense.transform(entries), atol=1e-10)
    assert ours.reconstruction_error(given) == pytest.approx(dense.reconstruction_error(entries))


def test_early_stopping_judges_by_the_score():
    model = Autoencoder(**SMALL, early_stopping=True).fit(X)
    assert model.best_validation_score_ == max(model.validation_scores_) < 0
    assert len(model.validation_scores_) == 5


@pytest.mark.parametrize("options", [SMALL, TIED | {"pretrain": "layerwise"}], ids=["plain", "tied"])
def test_dead_units_of_encoder_and_decoder_are_told(options):
    model = Autoencoder(**options | {"activation": ("relu", "tanh")}, bias_init=-1e6)
    layers = (
        r"hidden layer 1 \(relu\) are dead.*hidden layer 2 \(tanh\) are saturated.*hidden layer 3 \(relu\)"
    )
    with pytest.warns(UserWarning, match=layers):
        model.fit(X)
    assert_array_equal(model.saturation_, [1, 1, 1])
    assert_array_equal(Autoencoder(**options).fit(X).saturation_, [0, 0, 0])


def test_names_frames_and_copies():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(X, columns=list("abcdefgh"))
    model = Autoencoder(**SMALL).set_output(transform="pandas")
    codes = model.fit_transform(frame)
    assert list(codes) == list(model.get_feature_names_out()) == [f"autoencoder{i}" for i in range(3)]
    assert model.reconstruction_error(frame) == pytest.approx(
        np.mean((X - model.inverse_transform(codes)) ** 2)
    )
    for other in (pickle.loads(pickle.dumps(model)), clone(model).fit(frame)):
        assert_array_equal(other.transform(frame), codes)


def test_float32_is_kept():
    short = X.astype(np.float32)
    model = Autoencoder(**SMALL, pretrain="layerwise", noise=0.1).fit(short)
    assert {array.dtype for array in arrays(model)} == {np.dtype(np.float32)}
    assert model.transform(short).dtype == model.inverse_transform(model.transform(short)).dtype == np.float32
    assert model.transform(X).dtype == np.float64


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"hidden_layer_sizes": ()}, "hidden_layer_sizes must have at least one layer, the code"),
        ({"activation": ("tanh",)}, "activation has 1 names, and hidden_layer_sizes 2 layers"),
        ({"use_bias": [True, False]}, "use_bias has 2 values, and the network 4 layers"),
        ({"noise": 0.1, "solver": "lbfgs"}, "noise=0.1 needs a solver of"),
        ({"tied_weights": True, "accumulate_batches": 2}, "accumulate_batches=2 needs tied_weights=False"),
        ({"dropout": 0.1, "solver": "lbfgs"}, "dropout=0.1 needs a solver of"),
    ],
)
def test_what_does_not_go_together(options, said):
    model = Autoencoder(**SMALL | options)
    with pytest.raises(ValueError, match=said):
        model.fit(X)
    assert not hasattr(model, "coefs_")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("noise", -0.1), ("noise", np.nan), ("noise", np.inf), ("noise", "much"), ("tied_weights", "yes"),
        ("tied_weights", 2), ("pretrain", "greedy"), ("pretrain", True), ("solver", "lm"),
    ],
)  # fmt: skip
def test_invalid_parameters(name, value):
    with pytest.raises(InvalidParameterError, match=f"'{name}' parameter of Autoencoder"):
        Autoencoder(**SMALL | {name: value}).fit(X)


def test_codes_of_another_width():
    model = Autoencoder(**SMALL).fit(X)
    with pytest.raises(ValueError, match="X has 2 features, but codes of Autoencoder have 3"):
        model.inverse_transform(X[:, :2])
    with pytest.raises(TypeError, match="loss"):
        Autoencoder(loss="huber")
