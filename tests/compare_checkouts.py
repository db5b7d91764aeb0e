"""Whether two checkouts fit the same models, to the last bit, on this machine.

    python tests/compare_checkouts.py OTHER [--only TEXT]

OTHER is another checkout of this repository, a worktree of the commit before, say. Every fit below is done in
both, each in a process of its own, and what the fits have left is compared: weights, centres, labels, curves,
predictions. No hash is committed, since another processor, or another LLVM, gives other bits.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy import sparse
from sklearn.base import is_classifier
from sklearn.datasets import load_digits, make_blobs, make_regression

HERE = Path(__file__).resolve().parents[1]


def data(dtype: type) -> dict[str, Any]:
    digits, digit = load_digits(return_X_y=True)
    digits /= 16
    rng = np.random.default_rng(0)
    regression, target = make_regression(900, 40, n_targets=3, random_state=0)
    words = sparse.random(800, 600, 0.02, format="csr", random_state=0)
    return {
        "digits": (digits.astype(dtype), digit),
        "flags": (digits[:600].astype(dtype), (rng.random((600, 5)) < 0.3).astype(int)),
        "regression": (regression.astype(dtype), target / 100),
        "words": (words.astype(dtype), rng.integers(0, 3, 800)),
        "blobs": (make_blobs(20_000, 12, centers=40, random_state=0)[0].astype(dtype), None),
        "counts": (regression.astype(dtype), np.abs(target[:, 0])),
        "many": (make_blobs(60_000, 8, centers=100, random_state=0)[0].astype(dtype), None),
        "few": (np.repeat(rng.normal(size=(25, 6)), 40, axis=0).astype(dtype), None),
        "long": (
            rng.normal(size=(3000, 300)).astype(dtype) @ rng.normal(size=(300, 300)).astype(dtype),
            None,
        ),
    }


def begun(model: Any, X: Any, y: Any) -> Any:
    """A model after a first ``partial_fit``."""
    return model.partial_fit(X, y, classes=np.unique(y)) if is_classifier(model) else model.partial_fit(X, y)


# How a model is trained, from X, y and the weights of the rows.
WAYS: dict[str, Callable[..., Any]] = {
    "fit": lambda model, X, y, weight: model.fit(X, y),
    "weights": lambda model, X, y, weight: model.fit(X, y, sample_weight=weight),
    "steps": lambda model, X, y, weight: begun(model, X, y).partial_fit(X, y),
    "again": lambda model, X, y, weight: model.set_params(warm_start=True).fit(X, y).fit(X, y),
}


def networks() -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Estimator, data, parameters and way of the networks."""
    for solver in ("adam", "sgd", "lbfgs"):
        for extra in ({}, {"early_stopping": True}) if solver != "lbfgs" else ({},):
            few = {"solver": solver, "max_iter": 6, "hidden_layer_sizes": (40, 17), **extra}
            for name in ("digits", "flags", "words"):
                yield "MLPClassifier", name, few, "fit"
            yield "MLPRegressor", "regression", few, "fit"
        few = {"solver": solver, "max_iter": 4, "hidden_layer_sizes": (30,)}
        for way in ("weights", "again", *(["steps"] if solver != "lbfgs" else [])):
            yield "MLPClassifier", "digits", few, way
            yield "MLPRegressor", "regression", few, way
    for activation in ("tanh", "logistic", "identity", "gelu"):
        yield "MLPClassifier", "digits", {"activation": activation, "max_iter": 4}, "fit"
    few = {"max_iter": 4, "solver": "sgd", "hidden_layer_sizes": (30, 30)}
    for rate in ("adaptive", "invscaling"):
        yield "MLPClassifier", "digits", {**few, "dropout": 0.3, "learning_rate": rate}, "fit"
    yield "MLPClassifier", "digits", {**few, "nesterovs_momentum": False, "shuffle": False}, "fit"
    yield "MLPRegressor", "counts", {"loss": "poisson", "max_iter": 4}, "fit"
    # Training that diverges.
    yield "MLPRegressor", "regression", {**few, "learning_rate_init": 1e4, "max_iter": 30}, "fit"


def clusterings() -> Iterator[tuple[str, str, dict[str, Any], str]]:
    """Estimator, data, parameters and way of k-means."""
    for name in ("blobs", "digits", "long", "words"):
        for extra in ({}, {"init": "random", "n_init": 2}, {"metric": "cosine"}, {"init": "k-means||"}):
            yield "KMeans", name, {"max_iter": 20, **extra}, "fit"
        for metric in ("euclidean", "cosine"):
            yield "MiniBatchKMeans", name, {"max_iter": 3, "metric": metric}, "fit"
            yield "GradKMeans", name, {"max_iter": 8, "metric": metric}, "fit"
        yield "KMeans", name, {"max_iter": 20}, "weights"
        for kind in ("MiniBatchKMeans", "GradKMeans"):
            yield kind, name, {"max_iter": 3}, "weights"
            yield kind, name, {}, "steps"
    # Until rows keep their bounds, to the end; clusters that lose their rows.
    yield "KMeans", "many", {"max_iter": 300, "n_clusters": 100}, "fit"
    yield "KMeans", "few", {"n_clusters": 40, "init": "random"}, "fit"
    yield "KMeans", "blobs", {"init": "afk-mc2", "max_iter": 3}, "fit"
    yield "MiniBatchKMeans", "few", {"n_clusters": 40, "reassignment_ratio": 0.5}, "fit"
    for optimizer in ("sgd", "newton", "adam", "momentum", "nesterov"):
        for reduction in ("sum", "mean", "cluster"):
            how = {"optimizer": optimizer, "reduction": reduction, "batch_size": 500, "max_iter": 5}
            how["learning_rate"] = 1e-3
            yield "GradKMeans", "blobs", how, "fit"
    for rate in ("count", "sqrt", 0.01):
        how = {"optimizer": "sgd", "learning_rate": rate, "batch_size": 500, "max_iter": 5}
        yield "GradKMeans", "blobs", how, "fit"


def digest(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    elif isinstance(value, list | tuple):
        for one in value:
            yield from digest(one)
    elif value is None or isinstance(value, bool | int | float | str | np.generic):
        yield repr(value).encode()


# Attributes that commits to compare with may not have.
NEW = {"best_epoch_", "learning_rate_curve_", "saturation_", "validation_loss_curve_"}


def state(model: Any, X: Any) -> str:
    hashed = hashlib.sha256()
    for name, value in sorted(vars(model).items()):
        if name.endswith("_") and not name.startswith("_") and name not in NEW:
            hashed.update(name.encode())
            for part in digest(value):
                hashed.update(part)
    for part in digest(model.predict(X)):
        hashed.update(part)
    return hashed.hexdigest()


def measure(only: str) -> None:
    import fastnn

    print(f"# {fastnn.__file__}", file=sys.stderr)
    warnings.simplefilter("ignore")
    for dtype in (np.float32, np.float64):
        sets = data(dtype)
        for n_threads in (1, 2):
            for kind, name, parameters, way in (*networks(), *clusterings()):
                key = f"{kind} {parameters} {way} on {name}, {dtype.__name__}, {n_threads} threads"
                if only in key:
                    (X, y), weight = sets[name], np.random.default_rng(1).random(sets[name][0].shape[0])
                    try:
                        usual = {} if kind.startswith("MLP") else {"n_clusters": 30}
                        usual |= {"random_state": 0, "n_threads": n_threads}
                        model = getattr(fastnn, kind)(**usual | parameters)
                        found = state(WAYS[way](model, X, y, weight), X)
                    except (ValueError, TypeError) as error:
                        found = repr(error)
                    print(json.dumps([key, found]), flush=True)


def results(checkout: Path, only: str) -> dict[str, str]:
    environment = os.environ | {"PYTHONPATH": str(checkout / "src"), "FASTNN_QUIET": "1"}
    command = [sys.executable, str(Path(__file__).resolve()), str(checkout), "--measure", "--only", only]
    done = subprocess.run(
        command, env=environment, cwd=checkout, stdout=subprocess.PIPE, text=True, check=True
    )
    return dict(map(json.loads, done.stdout.splitlines()))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("other", type=Path)
    parser.add_argument("--only", default="", help="fits whose name has this in it")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(arguments.only)
        return 0
    here, there = (results(checkout, arguments.only) for checkout in (HERE, arguments.other.resolve()))
    differ = [key for key in here if here[key] != there.get(key)]
    for key in here:
        if key in differ or "Error" in here[key]:
            print("differs:" if key in differ else "fails in both:", key, here[key])
    print(f"{len(here) - len(differ)} of {len(here)} fits are the same")
    return bool(differ) or here.keys() != there.keys()


if __name__ == "__main__":
    sys.exit(main())
