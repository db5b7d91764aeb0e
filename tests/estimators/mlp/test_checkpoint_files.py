"""Checkpoints of the networks: what is written and when, what is refused, and disks that fail."""

import errno
import io
import os
import warnings
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from numpy.testing import assert_array_equal
from sklearn.base import clone
from sklearn.metrics import make_scorer, mean_absolute_error

import fastnn
from fastnn import MLPClassifier, MLPRegressor
from fastnn.estimators.mlp import checkpoint_files
from fastnn.networks.host_network import HostNetwork
from tests.estimators.mlp.test_mlp_state import (
    NUMBER,
    SMALL,
    X_VAL,
    Y_VAL,
    Ending,
    LostError,
    X,
    Y,
    assert_same_fit,
    estimator,
)

pytestmark = [
    pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning"),
    pytest.mark.filterwarnings("ignore:.*units of hidden layer:UserWarning"),
]


# When and what is written.


@pytest.mark.parametrize(
    ("every", "at"), [(4, [4, 8, 12]), (100, [12]), (1e-9, [*range(1, 13)]), (9e9, [12])]
)
def test_how_often_a_checkpoint_is_written(every, at, tmp_path, monkeypatch):
    seen, write = [], checkpoint_files.write
    monkeypatch.setattr(
        checkpoint_files,
        "write",
        lambda path, header, arrays: seen.append(arrays["loss_curve"].size) or write(path, header, arrays),
    )
    estimator("plain", checkpoint=tmp_path / "fit", checkpoint_every=every).fit(X, Y)
    assert seen == at


def test_a_file_holds_arrays_and_no_pickle(tmp_path):
    model = estimator("plain", checkpoint=tmp_path / "fit").fit(X, Y)
    with np.load(tmp_path / "fit", allow_pickle=False) as members:
        arrays = dict(members)
    assert_array_equal(arrays["parameters"][: 64 * 8].reshape(64, 8), model.coefs_[0])
    assert_array_equal(arrays["loss_curve"], model.loss_curve_)
    assert not any(array.dtype.hasobject for array in arrays.values())
    assert os.listdir(tmp_path) == ["fit"]


def test_what_killed_writers_have_left_goes(tmp_path):
    old, new, others = (tmp_path / name for name in ("fit.0a.tmp", "fit.0b.tmp", "fitting.0a.tmp"))
    for path in (old, new, others):
        path.write_bytes(b"half")
        if path is not new:
            os.utime(path, (0, 0))
    estimator("plain", checkpoint=tmp_path / "fit").fit(X, Y)
    assert not old.exists()
    assert new.exists()
    assert others.exists()


def test_a_link_and_a_relative_path(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    os.symlink("elsewhere/fit", "fit")
    estimator("plain", checkpoint="fit", callback=lambda *_: os.chdir("/")).fit(X, Y)
    assert (tmp_path / "fit").is_symlink()
    assert (tmp_path / "elsewhere" / "fit").is_file()


# What is refused, and nothing overwritten.


def mean_error(model, X, y):
    return -float(np.mean(model.predict(X) != y))


@pytest.fixture
def half_done(tmp_path):
    """A checkpoint of a fit that has ended before its time."""
    model = estimator("plain", checkpoint=tmp_path / "fit", checkpoint_every=1, callback=Ending(3))
    with pytest.raises(LostError):
        model.fit(X, Y)
    model.callback = None
    return model


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"alpha": 0.5}, "the parameter alpha was 0.0001 and is 0.5"),
        ({"hidden_layer_sizes": (9,)}, r"the parameter hidden_layer_sizes was \[8\] and is \[9\]"),
        ({"random_state": 1}, "the parameter random_state was 0 and is 1"),
        (
            {"max_iter": 13, "beta_1": 0.5},
            "the parameter beta_1 was 0.9 and is 0.5; the parameter max_iter was 12 and is 13",
        ),
        ({"early_stopping": True}, "the parameter early_stopping was False and is True"),
        ({"weight_init": [np.ones((64, 8)), np.ones((8, 10))]}, "the parameter weight_init differs"),
        ({"bias_init": partial(np.full, 3)}, "the parameter bias_init differs"),
        ({"learning_rate": "cosine"}, "the parameter learning_rate was 'constant' and is 'cosine'"),
    ],
)
def test_another_parameter_is_refused(parameters, message, half_done):
    content = Path(half_done.checkpoint).read_bytes()
    if "bias_init" in parameters:
        parameters = {"bias_init": lambda rng, fan_in, fan_out, dtype: np.zeros(fan_out)}
    with pytest.raises(ValueError, match=f"{message}.*Nothing has been overwritten"):
        clone(half_done).set_params(**parameters).fit(X, Y)
    assert Path(half_done.checkpoint).read_bytes() == content


def test_parameters_that_change_no_result_may_change(half_done):
    usual = estimator("plain").fit(X, Y)
    more = {"n_threads": 1, "verbose": 0, "checkpoint_every": 2.0, "hidden_layer_sizes": np.array([8])}
    half_done.set_params(**more | {"hidden_layer_sizes": [8], "alpha": np.float64(0.0001), "batch_size": 50})
    assert_same_fit(half_done.fit(X, Y), usual)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ((X * 2, Y, {}), "X differs"),
        ((X.astype(np.float32), Y, {}), "X differs"),
        ((X, Y[::-1], {}), "y differs"),
        ((X, [str(label) for label in Y], {}), "y differs"),
        ((X, Y, {"sample_weight": np.ones(len(X))}), "sample_weight differs"),
        ((X, Y, {"X_val": X_VAL, "y_val": Y_VAL}), "X_val is new"),
    ],
)
def test_other_data_are_refused(data, message, half_done):
    content = Path(half_done.checkpoint).read_bytes()
    with pytest.raises(ValueError, match=f"is of another fit: {message}.*Nothing has been overwritten"):
        half_done.fit(*data[:2], **data[2])
    assert Path(half_done.checkpoint).read_bytes() == content
    assert not hasattr(half_done, "coefs_")


def test_another_estimator_and_another_version_are_refused(half_done, monkeypatch):
    with pytest.raises(ValueError, match="the estimator was MLPClassifier and is MLPRegressor"):
        MLPRegressor(**SMALL, max_iter=NUMBER, checkpoint=half_done.checkpoint).fit(X, Y)
    monkeypatch.setattr(fastnn, "__version__", "99.0")
    with pytest.raises(ValueError, match=r"was written by fastnn .* and this is 99\.0"):
        half_done.fit(X, Y)


@pytest.mark.parametrize("scoring", [mean_error, make_scorer(mean_absolute_error), partial(mean_error)])
def test_functions_count_by_their_names(scoring, tmp_path):
    usual = SMALL | {"max_iter": 5, "early_stopping": True, "checkpoint": tmp_path / "fit"}
    model = MLPClassifier(**usual, scoring=scoring).fit(X, Y)
    noted = Ending()
    assert_same_fit(clone(model).set_params(callback=noted).fit(X, Y), model)
    assert noted.epochs == []
    with pytest.raises(ValueError, match="the parameter scoring"):
        model.set_params(scoring=make_scorer(mean_absolute_error, greater_is_better=False)).fit(X, Y)


def test_damaged_files_are_refused(half_done):
    path = Path(half_done.checkpoint)
    content, archive = path.read_bytes(), io.BytesIO()
    np.savez(archive, header=np.zeros(3), parameters=np.zeros(4))
    flipped = [bytearray(content) for _ in range(3)]
    for place, damaged in zip((0, len(content) // 2, len(content) - 1), flipped, strict=True):
        damaged[place] ^= 1
    for wrong in (b"", b"mine", content[:-1], content[:4000], archive.getvalue(), *flipped):
        path.write_bytes(wrong)
        with pytest.raises(ValueError, match="is no checkpoint, or it is damaged"):
            half_done.fit(X, Y)
        assert path.read_bytes() == wrong
    path.unlink()
    path.mkdir()
    with pytest.raises(ValueError, match="is no checkpoint"):
        half_done.fit(X, Y)
    with pytest.raises(ValueError, match=r"^checkpoint='a\\x00b' is no path"):
        half_done.set_params(checkpoint="a\0b").fit(X, Y)


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"solver": "lbfgs", "checkpoint": "fit"}, "checkpoint='fit' needs a solver of"),
        ({"solver": "lm", "checkpoint": "fit"}, "checkpoint='fit' needs a solver of"),
        (
            {"solver": "lbfgs", "reset_optimizer": False, "warm_start": True},
            "reset_optimizer=False needs a",
        ),
        ({"reset_optimizer": False}, "reset_optimizer=False needs warm_start=True"),
        ({"checkpoint_every": 5}, "checkpoint_every=5 needs a checkpoint"),
        ({"checkpoint": "fit", "random_state": None}, "needs an integer random_state"),
        ({"checkpoint": "fit", "random_state": np.random.RandomState(0)}, "needs an integer random_state"),
        (
            {"checkpoint": "fit", "n_init": 2},
            "checkpoint='fit' keeps the training of one network",
        ),
        ({"checkpoint": "fit", "ensemble": 2}, "checkpoint='fit' .* and ensemble=2"),
        ({"checkpoint": 3}, "The 'checkpoint' parameter"),
        ({"checkpoint": "fit", "checkpoint_every": 0}, "The 'checkpoint_every' parameter"),
        ({"checkpoint": "fit", "checkpoint_every": 0.0}, "The 'checkpoint_every' parameter"),
        ({"reset_optimizer": "no"}, "The 'reset_optimizer' parameter"),
    ],
)
def test_what_has_no_use_is_refused(parameters, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        MLPRegressor(**SMALL | parameters).fit(X, Y)
    assert os.listdir(tmp_path) == []


def test_partial_fit_refuses_a_checkpoint(tmp_path):
    model = MLPRegressor(**SMALL, reset_optimizer=False).partial_fit(X, Y)  # which it keeps anyway
    with pytest.raises(ValueError, match="partial_fit does not support checkpoint"):
        model.set_params(checkpoint=tmp_path / "fit").partial_fit(X, Y)
    with pytest.raises(ValueError, match="The 'checkpoint' parameter"):
        model.set_params(checkpoint=3).partial_fit(X, Y)


# Disks that fail.


def test_a_directory_that_does_not_exist(tmp_path):
    model = estimator("plain", checkpoint=tmp_path / "nowhere" / "fit")
    with pytest.warns(UserWarning, match="cannot be kept: No such file or directory") as caught:
        model.fit(X, Y)
    assert len([w for w in caught if "checkpoint" in str(w.message)]) == 1
    assert caught[0].filename == __file__
    assert_same_fit(model, estimator("plain").fit(X, Y))
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("n_good", [0, 1, 3])
def test_a_disk_that_is_full(n_good, tmp_path, monkeypatch):
    """The last checkpoint that could be written stays."""
    left, flush = [n_good], os.fsync

    def fsync(file):
        if left[0] == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        left[0] -= 1
        flush(file)

    monkeypatch.setattr(os, "fsync", fsync)
    model = estimator("plain", checkpoint=tmp_path / "fit", checkpoint_every=2)
    with pytest.warns(UserWarning, match="cannot be kept: No space left on device") as caught:
        model.fit(X, Y)
    assert len([w for w in caught if "checkpoint" in str(w.message)]) == 1
    undisturbed = estimator("plain").fit(X, Y)
    assert_same_fit(model, undisturbed)
    assert os.listdir(tmp_path) == ["fit"][:n_good]
    monkeypatch.undo()
    noted = Ending()
    assert_same_fit(model.set_params(callback=noted).fit(X, Y), undisturbed)
    assert noted.epochs[0] == 2 * n_good


def test_a_disk_that_has_space_again(tmp_path, monkeypatch):
    calls, flush = [], os.fsync

    def fsync(file):
        calls.append(file)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(file)

    monkeypatch.setattr(os, "fsync", fsync)
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        warnings.filterwarnings("ignore", "Stochastic")
        estimator("plain", checkpoint=tmp_path / "fit", checkpoint_every=3).fit(X, Y)
    assert len(calls) == 4


def test_what_a_signals_handler_raises_arrives(tmp_path, monkeypatch):
    def fsync(file):
        raise TimeoutError("enough")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(TimeoutError, match="enough"):
        estimator("plain", checkpoint=tmp_path / "fit").fit(X, Y)
    assert os.listdir(tmp_path) == []


def test_a_model_that_comes_to_nothing_leaves_its_checkpoint(tmp_path, monkeypatch):
    """The same call fails in the same way."""
    epochs, run_epoch = [], HostNetwork.run_epoch

    def breaking(self, *arguments):
        epochs.append(1)
        loss = run_epoch(self, *arguments)
        return np.nan if len(epochs) in (6, 9) else loss

    monkeypatch.setattr(HostNetwork, "run_epoch", breaking)
    for n_epochs in (6, 9):  # of which the last goes on from 3
        with pytest.raises(ValueError, match="non-finite losses"):
            estimator("plain", checkpoint=tmp_path / "fit", checkpoint_every=3).fit(X, Y)
        assert len(epochs) == n_epochs
