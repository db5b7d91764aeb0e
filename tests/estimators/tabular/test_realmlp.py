"""RealMLPClassifier and RealMLPRegressor: the whole against the formulas, and what users do with them."""

import math
import pickle
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy import sparse
from sklearn.base import clone
from sklearn.datasets import load_breast_cancer, load_diabetes, load_iris
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import root_mean_squared_error
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.utils._param_validation import InvalidParameterError

from fastnn import RealMLPClassifier, RealMLPRegressor
from fastnn.estimators.tabular.columns import columns_of_predict
from fastnn.networks.encoding import EncodedRows
from tests.reference_realmlp import ReferenceRealMLP, real_mlp_rates
from tests.reference_tabular import preprocess

IRIS, CANCER, DIABETES = (load(return_X_y=True) for load in (load_iris, load_breast_cancer, load_diabetes))
SMALL = {"hidden_layer_sizes": (16, 12), "max_iter": 12, "random_state": 0}
each_model = pytest.mark.parametrize(
    ("Model", "data"), [(RealMLPClassifier, IRIS), (RealMLPRegressor, DIABETES)], ids=["classes", "numbers"]
)


def twin_of_fit(X, y, *, hidden, n_epochs, seed, kind, activation, rate, batch=256):
    """Loss of each epoch, score after each, and outputs for all rows after the best one, by the formulas."""
    rng = np.random.RandomState(seed)
    n = len(X)
    order = rng.permutation(n)
    train, held_out = np.split(order, [math.ceil(0.8 * n)])
    Xt = preprocess(list(X[train].T), list(X.T), [False] * X.shape[1])
    k = len(np.unique(y)) if kind == "classes" else 1
    sizes = [X.shape[1], *hidden, k]
    weights, biases = [], []
    for n_in, n_out in pairwise(sizes[:-1]):
        weights.append(rng.standard_normal((n_in, n_out)))
        biases.append(rng.standard_normal(n_out))
    weights.append(np.zeros((sizes[-2], k)))
    biases.append(np.zeros(k))
    mean, std = y[train].mean(), y[train].std()
    targets = 0.9 * np.eye(k)[y] + 0.1 / k if kind == "classes" else ((y - mean) / std)[:, None]
    twin = ReferenceRealMLP(
        np.ones(X.shape[1]), weights, biases, activation=activation, targets=kind, factors=(6.0, 1.0, 0.1)
    )
    batch = min(batch, len(train))
    n_batches = len(train) // batch
    rates = real_mlp_rates(rate, n_epochs * n_batches, np.arange(n_epochs * n_batches))
    losses, scores, best, step = [], [], None, 0
    rows = np.arange(len(train))
    for _ in range(n_epochs):
        shuffled = np.arange(len(train))
        rng.shuffle(shuffled)
        rows, of_epoch = rows[shuffled], []
        for number in range(n_batches):
            here = train[rows[number * batch : (number + 1) * batch]]
            of_epoch.append(twin.step(Xt[here], targets[here], rates[step]))
            step += 1
        out = twin.forward(Xt)[0][-1]
        if kind == "classes":
            score = (out[held_out].argmax(axis=1) == y[held_out]).mean()
        else:
            score = -root_mean_squared_error(y[held_out], out[held_out, 0] * std + mean)
        if best is None or score >= max(scores):
            best = out
        losses.append(np.mean(of_epoch))
        scores.append(score)
    return losses, scores, best


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


@pytest.mark.parametrize("batch", [256, 50])
@pytest.mark.parametrize(("X", "y"), [IRIS, CANCER], ids=["three classes", "two classes"])
def test_classifier_is_that_of_the_paper(X, y, batch):
    model = RealMLPClassifier(**SMALL, batch_size=batch).fit(X, y)
    losses, scores, out = twin_of_fit(
        X, y, hidden=(16, 12), n_epochs=12, seed=0, kind="classes", activation="selu", rate=0.04, batch=batch
    )
    assert_allclose(model.loss_curve_, losses, rtol=2e-3)
    assert_allclose(model.validation_scores_, scores, atol=1.5 / len(X))
    assert model.best_epoch_ == len(scores) - 1 - np.argmax(model.validation_scores_[::-1])
    if model.best_epoch_ == len(scores) - 1 - np.argmax(scores[::-1]):
        assert_allclose(model.predict_proba(X), softmax(out), atol=5e-3)
    assert model.loss_curve_[0] == pytest.approx(np.log(len(model.classes_)), rel=0.3)


@pytest.mark.parametrize("batch", [256, 100])
def test_regressor_is_that_of_the_paper(batch):
    X, y = DIABETES
    model = RealMLPRegressor(**SMALL, batch_size=batch).fit(X, y)
    losses, scores, out = twin_of_fit(
        X, y, hidden=(16, 12), n_epochs=12, seed=0, kind="numbers", activation="mish", rate=0.07, batch=batch
    )
    assert_allclose(model.loss_curve_, np.array(losses) / 2, rtol=2e-3)
    assert_allclose(model.validation_scores_, scores, rtol=2e-3)
    assert model.best_epoch_ == np.argmax(scores)
    want = out[:, 0] * model.target_scale_ + model.target_mean_
    assert_allclose(model.predict(X), want, atol=0.02 * np.std(y))
    assert model.best_validation_score_ == max(model.validation_scores_)


@each_model
def test_same_bits_for_any_number_of_threads(Model, data):
    one, other = (Model(max_iter=2, random_state=0, n_threads=n).fit(*data) for n in (1, 2))
    assert one.loss_curve_ == other.loss_curve_
    for W, V in zip(one.coefs_, other.coefs_, strict=True):
        assert_array_equal(W, V)
    assert_array_equal(one.predict(data[0]), other.predict(data[0]))


@each_model
def test_the_users_validation_rows_judge(Model, data):
    X, X_val, y, y_val = train_test_split(*data, random_state=0)
    model = Model(**SMALL).fit(X, y, X_val=X_val, y_val=y_val)
    prediction = model.predict(X_val)
    if Model is RealMLPClassifier:
        assert model.best_validation_score_ == np.mean(prediction == y_val)
    else:
        assert model.best_validation_score_ == pytest.approx(
            -root_mean_squared_error(y_val, prediction), rel=1e-5
        )
    assert model.t_ == 12 * (256 if len(X) > 256 else len(X))
    assert Model(**SMALL, ensemble=2).fit(X, y, X_val=X_val, y_val=y_val).n_iter_.tolist() == [12, 12]


@each_model
def test_what_is_said_of_validation_goes_together(Model, data):
    X, y = data
    for given in ({"y_val": y}, {"sample_weight_val": np.ones(len(y))}, {"X_val": X}):
        with pytest.raises(ValueError, match="X_val"):
            Model(**SMALL).fit(X, y, **given)
    for options in ({"n_cv": 2}, {"n_refit": 1}):
        with pytest.raises(ValueError, match="X_val needs n_cv=1"):
            Model(**SMALL, **options).fit(X, y, X_val=X, y_val=y)
    with pytest.raises(ValueError, match=r"X_val, y_val and sample_weight_val: .*features"):
        Model(**SMALL).fit(X, y, X_val=X[:, 1:], y_val=y)


def test_y_val_has_no_other_classes():
    X, y = IRIS
    with pytest.raises(ValueError, match="classes in y_val that y has not"):
        RealMLPClassifier(**SMALL).fit(X, y, X_val=X, y_val=y + 1)
    model = RealMLPClassifier(**SMALL).fit(X, y, X_val=X[:50], y_val=y[:50])
    assert len(model.classes_) == 3


def test_last_of_equal_epochs_is_kept():
    X, y = IRIS
    model = RealMLPClassifier(max_iter=40, random_state=0).fit(X, y)
    scores = np.array(model.validation_scores_)
    ties = np.flatnonzero(scores == scores.max())
    assert len(ties) > 1
    assert model.best_epoch_ == ties[-1]


@pytest.mark.parametrize("n", [5, 7, 12, 19])
@each_model
def test_few_rows(Model, data, n):
    X, y = data[0][:: len(data[0]) // n][:n], data[1][:: len(data[1]) // n][:n]
    model = Model(**SMALL).fit(X, y)
    assert model.predict(X).shape == (n,)
    assert model.t_ == 12 * math.ceil(0.8 * n)


@pytest.mark.parametrize("n", [1, 2, 4])
@each_model
def test_an_empty_validation_part_is_refused(Model, data, n):
    X, y = data[0][:: len(data[0]) // n][:n], data[1][:: len(data[1]) // n][:n]
    with pytest.raises(ValueError, match=r"validation_fraction|one class"):
        Model(**SMALL).fit(X, y)
    with pytest.raises(ValueError, match="validation_fraction"):
        RealMLPRegressor(**SMALL, validation_fraction=0.01).fit(DIABETES[0][:50], DIABETES[1][:50])


def test_one_class_is_refused():
    X = IRIS[0]
    with pytest.raises(ValueError, match="only one class: 'a'"):
        RealMLPClassifier(**SMALL).fit(X, np.full(len(X), "a"))


def test_labels_of_several_columns_are_refused():
    X, y = IRIS
    with pytest.raises(ValueError, match="one class for each row"):
        RealMLPClassifier(**SMALL).fit(X, np.eye(3, dtype=int)[y])


def mixed(n=200):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "size": rng.normal(size=n),
            "colour": pd.Categorical(rng.choice(["red", "green", "blue"], n)),
            "kind": rng.choice(["a", "b"], n),
            "count": rng.integers(0, 9, n),
        }
    )
    frame.loc[3, "colour"] = np.nan
    label = np.where(frame["colour"] == "red", "yes", np.where(frame["size"] > 0, "no", "maybe"))
    return frame, label


def test_frames_of_numbers_and_categories():
    frame, label = mixed()
    options = {"hidden_layer_sizes": (32,), "max_iter": 60, "random_state": 0}
    model = RealMLPClassifier(**options).fit(frame, label)
    assert model.score(frame, label) > 0.9
    assert model.encoding_.n_features_out == 2 + 3 + 1
    assert model.feature_names_in_.tolist() == list(frame)
    # An unknown category is as a missing one: its columns are zeros.
    unknown, missing = frame.copy(), frame.copy()
    unknown["colour"], missing["colour"] = "violet", pd.Categorical([None] * len(frame), ["red"])
    assert_array_equal(model.predict_proba(unknown), model.predict_proba(missing))
    with pytest.raises(ValueError, match="feature names should match"):
        model.predict(frame[frame.columns[::-1]])
    pl = pytest.importorskip("polars")
    # Not by `from_pandas`, which needs pyarrow.
    colours = [None if pd.isna(colour) else colour for colour in frame["colour"]]
    columns = {name: frame[name].to_list() for name in frame} | {"colour": colours}
    same = pl.DataFrame(columns, schema_overrides={"colour": pl.Enum(["blue", "green", "red"])})
    other = RealMLPClassifier(**options).fit(same, label)
    assert_array_equal(model.predict_proba(frame), other.predict_proba(same))


def test_missing_numbers_name_the_column_and_a_remedy():
    frame, label = mixed()
    frame.loc[5, "size"] = np.nan
    with pytest.raises(ValueError, match=r"'size'.*missing='median'"):
        RealMLPClassifier(**SMALL).fit(frame, label)
    model = RealMLPClassifier(**SMALL, missing="median").fit(frame, label)
    assert model.encoding_.n_features_out == 2 + 1 + 3 + 1
    with pytest.raises(ValueError, match="infinity"):
        RealMLPClassifier(**SMALL).fit(frame.assign(size=np.inf), label)


def test_categories_by_the_thousand_are_never_dense_for_all_rows(monkeypatch):
    rng = np.random.default_rng(0)
    codes = rng.integers(0, 10_000, 3000)
    frame = pd.DataFrame({"c": codes.astype(str), "x": rng.normal(size=3000)})
    monkeypatch.setattr(EncodedRows, "dense", None)  # nothing calls it
    monkeypatch.setattr(EncodedRows, "blocks", None)
    y = codes % 2 + frame["x"].to_numpy()
    model = RealMLPRegressor(hidden_layer_sizes=(8,), max_iter=2, random_state=0).fit(frame, y)
    assert model.coefs_[0].shape[0] > 2000
    assert np.isfinite(model.predict(frame)).all()


def test_sparse_and_dense_inputs_train_the_same_network(monkeypatch):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"c": rng.integers(0, 400, 600).astype(str), "x": rng.normal(size=600)})
    y = rng.normal(size=600)
    models = []
    for wide in (True, False):
        monkeypatch.setattr(EncodedRows, "is_wide", wide)
        models.append(RealMLPRegressor(**SMALL).fit(frame, y))
    assert_allclose(models[0].loss_curve_, models[1].loss_curve_, rtol=1e-3)


def test_constant_and_missing_columns_become_0():
    X, y = IRIS
    wide = np.column_stack([X, np.full(len(X), 7.0), np.full(len(X), np.nan)])
    model = RealMLPClassifier(**SMALL, missing="median").fit(wide, y)
    encoded = model.encoding_.encode(columns_of_predict(model, wide)).dense()
    assert_array_equal(encoded[:, 4:], 0)
    assert model.score(wide, y) > 0.8
    other = wide.copy()
    other[:, 4:] = 3.0
    assert_array_equal(model.predict_proba(other), model.predict_proba(wide))


def test_weights_of_rows_and_classes():
    X, y = CANCER
    weight = np.where(y == 1, 3.0, 1.0)
    by_rows = RealMLPClassifier(**SMALL).fit(X, y, sample_weight=weight)
    by_class = RealMLPClassifier(**SMALL, class_weight={1: 3.0}).fit(X, y)
    assert_array_equal(by_rows.predict_proba(X), by_class.predict_proba(X))
    assert_array_equal(by_class.class_weight_, [1, 3])
    plain = RealMLPClassifier(**SMALL).fit(X, y)
    assert by_rows.predict_proba(X)[:, 1].mean() > plain.predict_proba(X)[:, 1].mean()
    balanced = RealMLPClassifier(**SMALL, class_weight="balanced").fit(X, y)
    assert_allclose(balanced.class_weight_, len(y) / (2 * np.bincount(y)))
    equal = RealMLPClassifier(**SMALL).fit(X, y, sample_weight=np.full(len(y), 2.0))
    assert_allclose(equal.predict_proba(X), plain.predict_proba(X), atol=1e-3)


def test_rows_without_weight_count_for_nothing():
    X, y = DIABETES
    weight = np.ones(len(y))
    weight[::2] = 0
    wrong = np.where(weight == 0, 1e4, y)
    options = SMALL | {"normalize_output": False, "learning_rate_init": 0.3}
    models = [RealMLPRegressor(**options).fit(X, t, sample_weight=weight) for t in (y, wrong)]
    assert_array_equal(*(model.predict(X) for model in models))
    with pytest.raises(ValueError, match="at least one non-zero number in both"):
        RealMLPRegressor(**SMALL).fit(X, y, sample_weight=(np.arange(len(y)) == 0) * 1.0)


def test_weights_of_the_validation_rows_count():
    X, X_val, y, y_val = train_test_split(*IRIS, random_state=1)
    weight = np.random.default_rng(0).uniform(0.1, 3, len(y_val))
    model = RealMLPClassifier(**SMALL).fit(X, y, X_val=X_val, y_val=y_val, sample_weight_val=weight)
    want = np.average(model.predict(X_val) == y_val, weights=weight)
    assert model.best_validation_score_ == pytest.approx(want)


def test_several_outputs():
    X, y = DIABETES
    Y = np.column_stack([y, -2 * y, np.full(len(y), 5.0)])
    model = RealMLPRegressor(**SMALL).fit(X, Y)
    prediction = model.predict(X)
    assert prediction.shape == Y.shape
    assert_array_equal(prediction[:, 2], 5.0)  # the mean of a constant
    assert_allclose(model.target_scale_[:2] / model.target_scale_[0], [1, 2])
    assert model.predict(X[:1]).shape == (1, 3)


def test_clamped_predictions_stay_within_the_targets():
    X, y = DIABETES
    far = X * 100
    free, bound = (RealMLPRegressor(**SMALL, clamp_output=flag).fit(X, y) for flag in (False, True))
    low, high = bound.target_range_[:, 0]
    assert free.predict(far).max() > high
    assert_array_equal(bound.predict(far), np.clip(free.predict(far), low, high))


@each_model
def test_front_scale_and_factors_do_what_they_say(Model, data):
    fits = [
        Model(**(SMALL | options)).fit(*data)
        for options in (
            {},
            {"add_front_scale": False},
            {"scale_lr_factor": 0.0},
            {"bias_lr_factor": 0.0},
            {"sq_mom": 0.99},
            {"mom": 0.5},
            {"opt_eps": 1e-2},
            {"learning_rate": "constant"},
        )
    ]
    usual, without, still, stiff, *others = fits
    assert_allclose(without.loss_curve_, still.loss_curve_, rtol=1e-4)  # scales that stay 1
    assert not np.allclose(usual.loss_curve_, without.loss_curve_, rtol=1e-3)
    first = RealMLPClassifier if Model is RealMLPClassifier else RealMLPRegressor
    begun = first(**(SMALL | {"max_iter": 1})).fit(*data)  # whose only step has the rate 0
    assert_array_equal(stiff.intercepts_[0], begun.intercepts_[0])
    for other in others:
        assert other.loss_curve_[-1] != usual.loss_curve_[-1]


def test_smoothing_of_labels():
    X, y = IRIS
    sharp, smooth = (RealMLPClassifier(**SMALL | {"max_iter": 60}, ls_eps=e).fit(X, y) for e in (0.0, 0.3))
    largest = [np.median(model.predict_proba(X).max(axis=1)) for model in (smooth, sharp)]
    assert largest[0] < 0.85  # near 1 - e + e / 3
    assert largest[1] > 0.95


def test_callbacks_see_and_end_a_fit():
    seen = []

    def callback(epoch, logs):
        seen.append((epoch, sorted(logs)))
        return epoch == 4

    model = RealMLPClassifier(**SMALL, callback=callback).fit(*IRIS)
    names = ["learning_rate", "loss", "validation_loss", "validation_score"]
    assert seen == [(epoch, names) for epoch in range(5)]
    assert model.n_iter_ == 5
    seen.clear()
    RealMLPClassifier(**SMALL, ensemble=2, callback=callback).fit(*IRIS)
    assert len(seen) == 10
    assert "network" in seen[0][1]


def test_a_callback_that_raises_leaves_the_model():
    def callback(epoch, logs):
        raise ZeroDivisionError

    model = RealMLPClassifier(**SMALL).fit(*IRIS)
    before = model.predict_proba(IRIS[0])
    with pytest.raises(ZeroDivisionError):
        model.set_params(callback=callback).fit(*IRIS)
    assert_array_equal(model.predict_proba(IRIS[0]), before)
    with pytest.raises(ValueError, match="n_cv=200 folds"):
        model.set_params(callback=None, n_cv=200).fit(*IRIS)
    assert_array_equal(model.predict_proba(IRIS[0]), before)


def test_lines_of_a_verbose_fit(capsys):
    RealMLPClassifier(**SMALL | {"max_iter": 2}, verbose=True).fit(*IRIS)
    lines = capsys.readouterr().out.splitlines()
    found = [line.split(",")[0].split(":")[0] for line in lines]
    assert found == ["Iteration 1", "Validation score", "Iteration 2", "Validation score"]


@each_model
def test_clone_pickle_pipeline_and_search(Model, data):
    X, y = data
    model = Model(**SMALL).fit(X, y)
    assert_array_equal(clone(model).fit(X, y).predict(X), model.predict(X))
    assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    pipeline = make_pipeline(FunctionTransformer(), Model(**SMALL)).fit(X, y)
    assert_array_equal(pipeline.predict(X), model.predict(X))
    search = GridSearchCV(Model(**SMALL), {"bias_lr_factor": [0.1, 1.0]}, cv=2).fit(X, y)
    assert search.best_params_["bias_lr_factor"] in (0.1, 1.0)
    assert not hasattr(model, "partial_fit")


@pytest.mark.parametrize(
    "options",
    [
        {"max_iter": 0},
        {"learning_rate": "adaptive"},
        {"mom": 1.0},
        {"opt_eps": 0},
        {"activation": "softmax"},
        {"validation_fraction": 0},
        {"n_cv": 0},
        {"n_refit": -1},
        {"ensemble": 0},
        {"hidden_layer_sizes": 5},
        {"missing": "mean"},
    ],
)
@each_model
def test_wrong_parameters(Model, data, options):
    with pytest.raises(InvalidParameterError, match=next(iter(options))):
        Model(**options).fit(*data)


@pytest.mark.parametrize("sizes", [(), (5, 0), (2.5,)])
def test_wrong_layers(sizes):
    with pytest.raises(ValueError, match="hidden_layer_sizes"):
        RealMLPClassifier(hidden_layer_sizes=sizes).fit(*IRIS)


def test_sparse_tables_are_refused():
    with pytest.raises(TypeError, match=r"[Ss]parse"):
        RealMLPClassifier(**SMALL).fit(sparse.csr_matrix(IRIS[0]), IRIS[1])


def test_labels_of_any_kind():
    X, y = CANCER
    names = np.array(["malignant", "benign"], dtype=object)[y]
    model = RealMLPClassifier(**SMALL).fit(X, names)
    assert model.classes_.tolist() == ["benign", "malignant"]
    proba = model.predict_proba(X)
    assert proba.shape == (len(X), 2)
    assert_allclose(proba.sum(axis=1), 1, rtol=1e-6)
    assert_allclose(model.predict_log_proba(X), np.log(proba))
    assert_array_equal(model.predict(X) == "malignant", proba[:, 1] > 0.5)
    assert model.score(X, names) > 0.9


def test_divergence_leaves_the_model():
    X, y = DIABETES
    model = RealMLPRegressor(**SMALL).fit(X, y)
    before = model.predict(X)
    with pytest.raises(ValueError, match=r"diverged.*Lower learning_rate_init"):
        model.set_params(learning_rate_init=1e38, learning_rate="constant").fit(X, y)
    assert_array_equal(model.predict(X), before)


def test_best_epoch_before_a_divergence_is_kept():
    X, y = DIABETES
    model = RealMLPRegressor(**SMALL, learning_rate="constant", learning_rate_init=1e30)
    with pytest.warns(ConvergenceWarning, match=r"diverged: .* kept\. Lower learning_rate_init\.$"):
        model.fit(X, y)
    assert np.isfinite(model.predict(X)).all()
