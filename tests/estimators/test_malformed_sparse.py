"""What looks like a sparse matrix and is none is refused before anything reads by its indices.

Without the checks that crashes a process: here it is one of its own.
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
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning

from fastnn import KMeans, MLPClassifier, MLPRegressor, kmeans_plusplus
from tests.sparse_forms import FORMATS, KINDS, MALFORMED, make, malformed
from tests.sparse_models import ASKING, ESTIMATORS, FITTING, PLAIN, X, Y, call

ROOT = Path(__file__).resolve().parents[2]


def _in_a_process(code, timeout=300):
    """What the code prints, a line of JSON each. The allocator looks for what was written out of bounds."""
    env = {**os.environ, "PYTHONMALLOC": "debug", "MALLOC_CHECK_": "3"}
    code = f"import tests.estimators.test_malformed_sparse as this; {code}"
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


# Other arguments that may be sparse.


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
