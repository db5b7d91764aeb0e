"""Sparse input: counts as the dense matrix it stands for, or is refused before anything reads by its indices.

What would crash a process without the checks runs in one of its own.
"""

import json
import os
import pickle
import subprocess
import sys
import warnings
from itertools import pairwise
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import sparse
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastnn import GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor, kmeans_plusplus
from fastnn.estimators.sparse_rows import canonical_csr
from tests.sparse_forms import FORMATS, KINDS, MALFORMED, forms, make, malformed

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


def dense(n=40, d=12):
    """Eighths, whose halves and sums are exact; most are zero, and some whole rows."""
    rng = np.random.default_rng(0)
    X = rng.integers(1, 40, size=(n, d)) / 8 * (rng.uniform(size=(n, d)) < 0.3)
    X[[5, 17]] = 0
    X[0, 0] = 2
    return X


X = dense()
Y = np.arange(len(X)) % 3
ESTIMATORS = {
    "KMeans": KMeans(3, n_init=1, random_state=0),
    "KMeans, cosine": KMeans(3, n_init=1, random_state=0, metric="cosine"),
    "KMeans, random": KMeans(3, init="random", n_init=2, random_state=0),
    "MiniBatchKMeans": MiniBatchKMeans(3, n_init=1, batch_size=16, max_iter=3, random_state=0),
    "MiniBatchKMeans, cosine": MiniBatchKMeans(
        3, n_init=1, batch_size=16, max_iter=3, random_state=0, metric="cosine"
    ),
    "GradKMeans": GradKMeans(3, batch_size=16, max_iter=3, random_state=0),
    "GradKMeans, afk-mc2": GradKMeans(3, init="afk-mc2", batch_size=16, max_iter=3, random_state=0),
    "GradKMeans, cosine": GradKMeans(3, batch_size=16, max_iter=3, random_state=0, metric="cosine"),
    "MLPClassifier": MLPClassifier((4,), max_iter=2, random_state=0),
    "MLPRegressor": MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0),
    "MLPRegressor, lbfgs": MLPRegressor(hidden_layer_sizes=(4,), max_iter=2, random_state=0, solver="lbfgs"),
}
PLAIN = ("KMeans", "MiniBatchKMeans", "GradKMeans", "MLPClassifier", "MLPRegressor")
ASKING = ("predict", "transform", "predict_proba", "predict_log_proba", "score")
FITTING = ("fit", "partial_fit", "fit_predict", "fit_transform")


def call(model, method, data, y=Y):
    classes = isinstance(model, MLPClassifier) and method == "partial_fit"
    takes_y = isinstance(model, MLPClassifier | MLPRegressor) and method in ("fit", "partial_fit", "score")
    return getattr(model, method)(data, *[y] * takes_y, **{"classes": [0, 1, 2]} if classes else {})


def fitted(model):
    """What a fit leaves behind, as arrays."""
    names = (
        "cluster_centers_",
        "labels_",
        "inertia_",
        "n_iter_",
        "n_steps_",
        "loss_curve_",
        "coefs_",
        "loss_",
    )
    return [np.asarray(part) for name in names for part in _parts(getattr(model, name, ()))]


def _parts(value):
    return value if isinstance(value, list | tuple) else [value]


def results(prototype, data, y=Y):
    """Of every method, on a new model or one that was fitted to the dense X."""
    found = {}
    for method in FITTING:
        model = clone(prototype)
        if hasattr(model, method):
            call(model, method, data, y)
            found[method] = fitted(model)
    model = call(clone(prototype), "fit", X)
    for method in ASKING:
        if hasattr(model, method):
            found[method] = [call(model, method, data, y)]
    if hasattr(model, "partial_fit"):
        found["partial_fit again"] = fitted(call(model, "partial_fit", data, y))
    return found


def assert_same(got, expected):
    assert got.keys() == expected.keys()
    for method, arrays in expected.items():
        for one, other in zip(got[method], arrays, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-9, atol=1e-12, err_msg=method)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_form_of_a_matrix_gives_the_same(name, kind):
    prototype = ESTIMATORS[name]
    given = forms(X, kind)
    expected = results(prototype, given["csr"])
    for form, data in given.items():
        before = pickle.dumps(vars(data))
        try:
            assert_same(results(prototype, data), expected)
        except Exception as error:
            error.add_note(f"form: {form}")
            raise
        assert pickle.dumps(vars(data)) == before, form


@pytest.mark.parametrize("name", ESTIMATORS)
def test_sparse_data_give_what_the_dense_give(name):
    prototype = ESTIMATORS[name]
    if isinstance(prototype, GradKMeans | KMeans | MiniBatchKMeans):
        prototype = clone(prototype).set_params(
            init=X[1:4], n_init=1
        )  # GradKMeans seeds sparse data otherwise
    # A row of zeros is as far from all centres by the cosine: its label is a matter of rounding.
    whole = X.any(axis=1)
    given, labels = X[whole], Y[whole]
    assert_same(results(prototype, sparse.csr_array(given), labels), results(prototype, given, labels))


@pytest.mark.parametrize("kind", KINDS)
def test_kmeans_plusplus_takes_the_same_rows(kind):
    centers, indices = kmeans_plusplus(X, 5, random_state=0)
    for form, data in forms(X, kind).items():
        got = kmeans_plusplus(data, 5, random_state=0)
        np.testing.assert_array_equal(got[1], indices, err_msg=form)
        np.testing.assert_array_equal(got[0], centers, err_msg=form)


# What stands for no matrix.


def _in_a_process(code, timeout=300):
    """What the code prints, a line of JSON each. The allocator looks for what was written out of bounds."""
    env = {**os.environ, "PYTHONMALLOC": "debug", "MALLOC_CHECK_": "3"}
    code = f"import tests.test_sparse_rows as this; {code}"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, timeout=timeout
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"ended by {done.returncode} after {lines[-1:]}: {done.stderr[-2000:]}"
    return lines


def outcome(model, method, data):
    """What a call with a malformed matrix does: the error's message, or what it should not have done."""
    before = pickle.dumps(vars(data)), pickle.dumps(model)
    try:
        call(model, method, data)
    except ValueError as error:
        unchanged = before == (pickle.dumps(vars(data)), pickle.dumps(model))
        return str(error) if unchanged else "changed the matrix or the model"
    return "did not raise"


def print_outcomes():
    """Of all malformed matrices, in all methods of each estimator, new and fitted."""
    warnings.simplefilter("error")
    new = [ESTIMATORS[name] for name in PLAIN]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        old = [call(clone(prototype), "fit", X) for prototype in new]
    cases = [(form, spoiled) for form in FORMATS for spoiled in MALFORMED[form]]
    for turn, (form, spoiled) in enumerate(cases):
        data = malformed(X, form, KINDS[turn % 2], spoiled)
        for model in (*new, *old):
            for method in FITTING if model in new else (*FITTING, *ASKING):
                if hasattr(model, method):
                    case = [form, spoiled, str(model), method, outcome(model, method, data)]
                    print(json.dumps(case), flush=True)
        try:
            said = str(kmeans_plusplus(data, 3, random_state=0))
        except ValueError as error:
            said = str(error)
        print(json.dumps([form, spoiled, "kmeans_plusplus", said]), flush=True)


def test_malformed_matrices_are_refused_by_every_method():
    outcomes = _in_a_process("this.print_outcomes()")
    assert len(outcomes) > 2000
    wrong = [case for case in outcomes if not _is_ours(case[-1])]
    assert not wrong, f"{len(wrong)}, such as {wrong[:5]}"


def _is_ours(message):
    return message.startswith(
        ("The arrays of X do not describe a matrix in", "The values of X are no numbers")
    )


# Corruption at random, beside a reader that knows nothing of SciPy.


def stands_for(data):
    """The dense matrix, or None if there is none."""
    n, d = data.shape
    out = np.zeros((n, d))
    form = data.format
    try:
        if form in ("csr", "csc", "bsr"):
            entries = list(_entries_by_line(data))
        elif form == "coo":
            entries = list(zip(*data.coords, data.data, strict=True))
        elif form == "lil":
            pairs = zip(data.rows, data.data, strict=True)
            entries = [(i, j, v) for i, (js, vs) in enumerate(pairs) for j, v in zip(js, vs, strict=True)]
        elif form == "dok":
            entries = [(i, j, v) for (i, j), v in data.items()]
        else:
            if len(set(data.offsets.tolist())) < len(data.offsets):
                return None
            diagonals = zip(data.offsets.tolist(), data.data, strict=True)
            entries = [
                (j - at, j, v) for at, vs in diagonals for j, v in enumerate(vs[:d]) if 0 <= j - at < n
            ]
    except ValueError:
        return None
    for i, j, value in entries:
        if not (0 <= i < n and 0 <= j < d):
            return None
        out[i, j] += value
    return out


def _entries_by_line(data):
    indptr, indices = data.indptr.tolist(), data.indices.tolist()
    height, width = data.data.shape[1:] or (1, 1)
    n_lines = data.shape[data.format == "csc"] // height
    if len(indptr) != n_lines + 1 or indptr[0] != 0 or sorted(indptr) != indptr:
        raise ValueError
    if not indptr[-1] <= len(indices) == len(data.data):
        raise ValueError
    for line, (start, stop) in enumerate(pairwise(indptr)):
        for at in range(start, stop):
            if data.format == "bsr":
                for a, b in np.ndindex(height, width):
                    yield line * height + a, indices[at] * width + b, data.data[at, a, b]
            else:
                i, j = (line, indices[at]) if data.format == "csr" else (indices[at], line)
                yield i, j, data.data[at]


def corrupted(rng):
    """A matrix of a random form with some numbers of its arrays exchanged, shifted or cut off."""
    values = rng.integers(0, 3, size=(2 * rng.integers(3, 9), 2 * rng.integers(2, 6))) * rng.integers(1, 9)
    form, kind = rng.choice(FORMATS), rng.choice(KINDS)
    data = make(form, kind)(values.astype(float))
    if form == "bsr":
        data = data.tobsr(blocksize=(2, rng.choice([1, 2])))
    for _ in range(rng.integers(0, 4)):
        _corrupt(data, rng)
    if rng.integers(2) and form in ("csr", "csc", "coo"):
        data.has_canonical_format = bool(rng.integers(2))
    return data


def _corrupt(data, rng):
    wild = int(rng.choice([-(2**31), -100, -1, 0, 1, 2, 5, 100, 2**20, 2**31 - 1]))
    if data.format == "dok":
        key = wild, int(rng.integers(4))
        data.setdefault(key if rng.integers(2) else key[::-1], 1.0)
    elif data.format == "lil":
        of_row = data.rows[rng.integers(len(data.rows))]
        if of_row and rng.integers(3):
            of_row[rng.integers(len(of_row))] = wild
        else:
            of_row.append(wild)
            if rng.integers(2):
                data.data[rng.integers(len(data.data))].append(1.0)
    elif data.format == "coo" and rng.integers(2):
        coords = [_changed(part, wild, rng) if rng.integers(2) else part for part in data.coords]
        data.coords = tuple(coords)
    else:
        places = {"coo": ["data"], "dia": ["offsets", "data"]}.get(data.format, ["indices", "indptr", "data"])
        name = rng.choice(places)
        setattr(data, name, _changed(getattr(data, name), wild, rng))


def _changed(array, wild, rng):
    if array.size and rng.integers(4):
        array = array.copy()
        array.flat[rng.integers(array.size)] = wild
        return array
    return array[:-1] if rng.integers(2) else np.concatenate([array, array[-1:]])


def print_fuzz(seed, rounds):
    """Whether each method of each estimator takes a matrix if it is one, and for what it is."""
    warnings.simplefilter("ignore")
    rng = np.random.default_rng(seed)
    models = {}
    for count in range(rounds):
        data = corrupted(rng)
        meant = stands_for(data)
        name = str(rng.choice(list(ESTIMATORS)))
        if (name, data.shape[1]) not in models:
            rows = rng.normal(size=(20, data.shape[1]))
            models[name, data.shape[1]] = call(clone(ESTIMATORS[name]), "fit", rows, np.arange(20) % 3)
        model = models[name, data.shape[1]]
        print(json.dumps([count, data.format, name, "begins"]), flush=True)
        before = pickle.dumps(vars(data))
        said = "right"
        for method in ("transform" if hasattr(model, "transform") else "predict", "partial_fit", "fit"):
            if not hasattr(model, method):
                continue
            used = model if method in ASKING else clone(model)
            try:
                got = call(used, method, data, np.arange(data.shape[0]) % 3)
            except ValueError as error:
                # A batch of zeros only has no direction, one of few rows no three clusters.
                if _is_ours(str(error)) != (meant is None) and (meant is None or method in ASKING):
                    said = f"{method}: {error}"
                continue
            if meant is None:
                said = f"{method} did not raise"
            elif method in ASKING:
                expected = call(model, method, meant)
                if not np.allclose(got, expected, rtol=1e-6, atol=1e-6):
                    said = f"{method} differs by {np.abs(got - expected).max()}"
        if pickle.dumps(vars(data)) != before:
            said = "changed the matrix"
        print(json.dumps([count, data.format, name, said, meant is None]), flush=True)


def test_matrices_corrupted_at_random():
    outcomes = [case for case in _in_a_process("this.print_fuzz(seed=0, rounds=400)") if case[3] != "begins"]
    assert len(outcomes) == 400
    assert 100 < sum(case[4] for case in outcomes) < 300  # both kinds are there
    wrong = [case for case in outcomes if case[3] != "right"]
    assert not wrong


# The door itself.


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "dtype", [np.float32, np.float64, np.longdouble, np.int8, np.uint16, bool, np.complex64]
)
def test_canonical_csr_keeps_kind_and_dtype(kind, dtype):
    values = (X > 2).astype(dtype)
    for form in FORMATS:
        got = canonical_csr(make(form, kind)(values))
        assert type(got) is make("csr", kind)
        assert got.dtype == dtype
        assert got.indices.dtype == got.indptr.dtype == np.int32
        assert got.has_canonical_format
        np.testing.assert_array_equal(got.toarray(), values)


def test_a_canonical_matrix_is_not_copied():
    given = sparse.csr_matrix(X)
    got = canonical_csr(given)
    assert got is not given
    assert np.shares_memory(got.data, given.data)
    assert np.shares_memory(got.indices, given.indices)
    assert canonical_csr(X) is X


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0, 0), (1, 1), (4, 2)])
def test_matrices_without_entries(shape):
    for kind in KINDS:
        for form in FORMATS:
            got = canonical_csr(make(form, kind)(shape))
            assert got.shape == shape
            assert got.nnz == 0


def test_values_that_scipy_has_no_code_for():
    csr = sparse.csr_array(X)
    for dtype in (np.float16, object):
        odd = csr.copy()
        odd.data, odd.indices, odd.indptr = (
            np.repeat(odd.data / 2, 2),
            np.repeat(odd.indices, 2),
            2 * odd.indptr,
        )
        odd.data = odd.data.astype(dtype)
        got = canonical_csr(odd)
        assert got.dtype == np.float64
        np.testing.assert_array_equal(got.toarray(), X)
    csr.data = csr.data.astype("M8[s]")
    with pytest.raises(TypeError, match="real numbers"):
        canonical_csr(csr)


WIDE = 2**31 + 10


def wide_matrices():
    """Name -> a matrix with an index, or a number of entries, that 32 bits do not hold."""
    columns = (np.ones(2), np.array([0, WIDE - 1]), np.array([0, 1, 2]))
    blocks = sparse.bsr_matrix((np.ones((1, 1, 1)), [0], [0, 1]), shape=(1, 1))
    side = 46_342  # whose square is above 2**31
    blocks.data, blocks._shape = np.broadcast_to(1.0, (1, side, side)), (side, side)
    return {
        "csr": sparse.csr_array(columns, shape=(2, WIDE)),
        "narrow in 64 bits": sparse.csr_array((np.ones(1), np.array([0]), np.array([0, 1])), shape=(1, WIDE)),
        "coo": sparse.coo_matrix((np.ones(1), ([0], [WIDE - 1])), shape=(3, WIDE)),
        "rows": sparse.coo_matrix((np.ones(1), ([WIDE - 1], [0])), shape=(WIDE, 3)),
        "csc": sparse.csc_matrix((np.ones(1), np.array([WIDE - 1]), np.array([0, 0, 1])), shape=(WIDE, 2)),
        "bsr": blocks,
    }


@pytest.mark.parametrize("name", wide_matrices())
@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans, GradKMeans])
def test_indices_that_need_64_bits(name, estimator):
    data = wide_matrices()[name]
    with pytest.raises(ValueError, match="At most 2147483647 of each are taken") as caught:
        estimator(2).fit(data)
    assert "issue" not in str(caught.value)


def test_networks_take_indices_of_64_bits():
    data = wide_matrices()["csr"]
    got = canonical_csr(data)
    assert got.indices.dtype == np.int64
    np.testing.assert_array_equal(got.indices, data.indices)
    model = MLPRegressor(hidden_layer_sizes=(2,), max_iter=1, random_state=0).fit(X, X[:, 0])
    with pytest.raises(ValueError, match=f"X has {WIDE} features, but MLPRegressor is expecting 12"):
        model.predict(data)


@pytest.mark.parametrize("name", ESTIMATORS)
def test_other_errors_are_those_of_scikit_learn(name):
    for value, message in ((np.nan, "Input X contains NaN"), (np.inf, "infinity"), (1j, "Complex data")):
        data = sparse.csc_array(X.astype(type(value)))
        data.data[3] = value
        model = clone(ESTIMATORS[name])
        with pytest.raises(ValueError, match=message):
            call(model, "fit", data)
    if hasattr(sparse.coo_array, "coords") and name == "KMeans":
        with pytest.raises(ValueError, match="Expected 2D input"):
            KMeans(2).fit(sparse.coo_array(X[0]))


@pytest.mark.parametrize("name", ESTIMATORS)
def test_float32_stays(name):
    for form in FORMATS:
        data = make(form, "array")(X.astype(np.float32))
        model = call(clone(ESTIMATORS[name]), "fit", data)
        assert (model.coefs_[0] if hasattr(model, "coefs_") else model.cluster_centers_).dtype == np.float32


def test_sparse_data_frames():
    frame = pd.DataFrame.sparse.from_spmatrix(sparse.csr_matrix(X))
    frame.columns = [f"x{i}" for i in range(X.shape[1])]
    for name in ("KMeans", "MLPClassifier"):
        got, expected = (call(clone(ESTIMATORS[name]), "fit", data) for data in (frame, sparse.csr_array(X)))
        for one, other in zip(fitted(got), fitted(expected), strict=True):
            np.testing.assert_array_equal(one, other)


# Other arguments that may be sparse.


@pytest.mark.parametrize("kind", KINDS)
def test_sparse_labels(kind):
    labels = (X > 1.5).astype(float)
    expected = MLPClassifier((4,), max_iter=2, random_state=0).fit(X, labels)
    for form, data in forms(labels, kind).items():
        model = MLPClassifier((4,), max_iter=2, random_state=0).fit(X, data)
        np.testing.assert_array_equal(model.coefs_[0], expected.coefs_[0], err_msg=form)
        assert model.score(X, data) == expected.score(X, labels), form
        model = MLPClassifier((4,), random_state=0).partial_fit(X, data, classes=np.arange(12))
        assert model.coefs_[1].shape == (4, 12)


def print_other_arguments():
    """What is said to malformed labels, weights, centres and classes."""
    warnings.simplefilter("ignore")
    model = MLPClassifier((4,), max_iter=1, random_state=0).fit(X, X > 1.5)
    for form in FORMATS:
        for spoiled in MALFORMED[form]:
            bad = malformed(X, form, "array", spoiled)
            calls = {
                "y": lambda bad=bad: MLPClassifier((4,)).fit(X, bad),
                "y of partial_fit": lambda bad=bad: clone(model).partial_fit(X, bad, classes=np.arange(12)),
                "y of a regressor": lambda bad=bad: MLPRegressor(hidden_layer_sizes=(4,)).fit(X, bad),
                "y of score": lambda bad=bad: model.score(X, bad),
                "classes": lambda bad=bad: MLPClassifier((4,)).partial_fit(X, Y, classes=bad),
                "init, called": lambda bad=bad: KMeans(3, init=lambda *_, **__: bad).fit(X),
                "sample_weight": lambda bad=bad: KMeans(3).fit(X, sample_weight=bad),
            }
            for name, ask in calls.items():
                said = "did not raise"
                try:
                    ask()
                except (ValueError, TypeError) as error:
                    said = str(error)
                print(json.dumps([form, spoiled, name, said]), flush=True)


def test_malformed_labels_weights_and_centers_are_refused():
    for case in _in_a_process("this.print_other_arguments()"):
        assert case[-1].startswith(("The arrays of", "The values of", "Sparse data was passed for")), case


@pytest.mark.parametrize("estimator", [KMeans, MiniBatchKMeans, GradKMeans])
def test_a_callable_init_has_its_own_rows(estimator):
    data = sparse.csr_array(X)
    expected = estimator(3, init=X[1:4], n_init=1, random_state=0).fit(data).cluster_centers_

    def init(rows, n_clusters, random_state):
        rows.indices[:], rows.data[:] = -1, 1e300
        return X[1:4]

    got = estimator(3, init=init, n_init=1, random_state=0).fit(data).cluster_centers_
    np.testing.assert_array_equal(got, expected)
    np.testing.assert_array_equal(data.toarray(), X)
