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
from sklearn.datasets import load_digits, make_blobs, make_regression

HERE = Path(__file__).resolve().parents[1]
# Fitted attributes that say how long something took, or that hold other objects.
LEFT_OUT = {"_network", "_optimizer", "_schedule", "_random_state", "_label_binarizer"}


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
        "long": (
            rng.normal(size=(3000, 300)).astype(dtype) @ rng.normal(size=(300, 300)).astype(dtype),
            None,
        ),
    }


def fits(fastnn: Any, n_threads: int) -> Iterator[tuple[str, str, Callable[[], Any]]]:
    """Name of the data, name of the fit, and a function that gives the model to be fitted."""
    common = {"random_state": 0, "n_threads": n_threads}
    for solver in ("adam", "sgd", "lbfgs"):
        for extra in ({}, {"early_stopping": True}) if solver != "lbfgs" else ({},):
            p = {"solver": solver, "max_iter": 6, **extra}
            for name in ("digits", "flags", "words"):
                yield name, f"MLPClassifier {p}", lambda p=p: fastnn.MLPClassifier((40, 17), **p, **common)
            yield (
                "regression",
                f"MLPRegressor {p}",
                lambda p=p: fastnn.MLPRegressor(hidden_layer_sizes=(40,), **p, **common),
            )
    for activation in ("tanh", "logistic", "identity"):
        p = {"activation": activation, "max_iter": 4}
        yield "digits", f"MLPClassifier {p}", lambda p=p: fastnn.MLPClassifier((300,), **p, **common)
    p = {"max_iter": 4, "dropout": 0.3, "learning_rate": "adaptive", "solver": "sgd"}
    yield "digits", f"MLPClassifier {p}", lambda p=p: fastnn.MLPClassifier((30, 30), **p, **common)
    for name in ("blobs", "digits", "long", "words"):
        for p in ({}, {"init": "random", "n_init": 2}, {"metric": "cosine"}, {"init": "k-means||"}):
            yield name, f"KMeans {p}", lambda p=p: fastnn.KMeans(30, max_iter=20, **p, **common)
        for p in ({}, {"metric": "cosine"}):
            yield (
                name,
                f"MiniBatchKMeans {p}",
                lambda p=p: fastnn.MiniBatchKMeans(30, max_iter=3, **p, **common),
            )
            yield name, f"GradKMeans {p}", lambda p=p: fastnn.GradKMeans(30, max_iter=8, **p, **common)


def digest(value: Any) -> Iterator[bytes]:
    if isinstance(value, np.ndarray):
        yield f"{value.dtype} {value.shape}".encode() + np.ascontiguousarray(value).tobytes()
    elif isinstance(value, list | tuple):
        for one in value:
            yield from digest(one)
    elif value is None or isinstance(value, bool | int | float | str | np.generic):
        yield repr(value).encode()


def state(model: Any, X: Any) -> str:
    hashed = hashlib.sha256()
    for name, value in sorted(vars(model).items()):
        if name.endswith("_") and name not in LEFT_OUT:
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
            for name, label, make in fits(fastnn, n_threads):
                key = f"{label} on {name}, {dtype.__name__}, {n_threads} threads"
                if only in key:
                    X, y = sets[name]
                    try:
                        found = state(make().fit(X, y), X)
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
