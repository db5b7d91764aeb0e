"""Test scores beside scikit-learn's with the same settings, and what more can bring; writes docs/quality.md.

    python benchmarks/quality.py [--seeds 10] [--output docs/quality.md]

Every seed is another split of the data, 30% of which are tested on, and another network. A score is the
accuracy of a classifier, the R squared of a regressor; inputs (and a regressor's targets) are standardised by
the training rows.
"""

import argparse
import sys
import warnings
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import sklearn
from sklearn import datasets, neural_network
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastnn

ROOT = Path(__file__).resolve().parents[1]

# Whose mean is worse by more standard errors of the differences is said to be worse.
TOLERANCE = 1.0

# Settings with which both packages train: scikit-learn's defaults, with more epochs for few rows.
SAME = {"max_iter": 300}


class Problem(NamedTuple):
    """A data set.

    X, y : arrays of shape (n, d) and (n,)
    classifies : whether y holds classes
    """

    X: np.ndarray
    y: np.ndarray
    classifies: bool


# Options beside `SAME`, of fastnn alone, for classifiers and for regressors; None where there is no such.
OPTIONS: dict[str, tuple[dict[str, Any] | None, dict[str, Any] | None]] = {
    "early_stopping=True": ({"early_stopping": True}, {"early_stopping": True}),
    'class_weight="balanced"': ({"class_weight": "balanced"}, None),
    "dropout=0.2": ({"dropout": 0.2}, {"dropout": 0.2}),
    "label_smoothing=0.1": ({"label_smoothing": 0.1}, None),
    'solver="adamw", learning_rate="cosine"': (
        {"solver": "adamw", "learning_rate": "cosine", "alpha": 0.0, "tol": 0.0},
        {"solver": "adamw", "learning_rate": "cosine", "alpha": 0.0, "tol": 0.0},
    ),
    "ensemble=8": ({"ensemble": 8}, {"ensemble": 8}),
}


def problems() -> dict[str, Problem]:
    """Data sets that scikit-learn ships, and three that its generators make."""
    loaded = {
        "digits": (datasets.load_digits, True),
        "breast_cancer": (datasets.load_breast_cancer, True),
        "wine": (datasets.load_wine, True),
        "iris": (datasets.load_iris, True),
        "diabetes": (datasets.load_diabetes, False),
    }
    made = {
        "classification (1000, 20), 4 classes": (
            datasets.make_classification(1000, 20, n_informative=8, n_classes=4, flip_y=0.05, random_state=0),
            True,
        ),
        "moons (600, 2), noise 0.3": (datasets.make_moons(600, noise=0.3, random_state=0), True),
        "friedman1 (800, 10), noise 1": (datasets.make_friedman1(800, noise=1.0, random_state=0), False),
    }
    return {
        **{
            name: Problem(*load(return_X_y=True), classifies=classifies)
            for name, (load, classifies) in loaded.items()
        },
        **{name: Problem(*data, classifies=classifies) for name, (data, classifies) in made.items()},
    }


def score(problem: Problem, network: Any, seed: int) -> float:
    """Test score of a network that is fitted on this seed's training rows."""
    stratify = problem.y if problem.classifies else None
    X, X_test, y, y_test = train_test_split(
        problem.X, problem.y, test_size=0.3, random_state=seed, stratify=stratify
    )
    if not problem.classifies:
        network = TransformedTargetRegressor(network, transformer=StandardScaler())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return float(make_pipeline(StandardScaler(), network).fit(X, y).score(X_test, y_test))


def scores(problem: Problem, network: Callable[..., Any], seeds: range) -> np.ndarray:
    """Test scores with each of the seeds; `network` makes an estimator."""
    return np.array([score(problem, network(random_state=seed), seed) for seed in seeds])


def standard_error(values: np.ndarray) -> float:
    """Of the mean of these values."""
    return float(values.std(ddof=1) / np.sqrt(values.size))


def rows(chosen: dict[str, Problem], seeds: range) -> Iterator[tuple[str, list[str], bool]]:
    """For each data set its cells, and whether fastnn's mean is no worse than scikit-learn's."""
    for name, problem in chosen.items():
        kind = "MLPClassifier" if problem.classifies else "MLPRegressor"
        ours, theirs = (
            scores(problem, partial(getattr(package, kind), **SAME), seeds)
            for package in (fastnn, neural_network)
        )
        error = standard_error(theirs)
        cells = [f"{theirs.mean():.4f} ± {error:.4f}", f"{ours.mean():.4f} ± {standard_error(ours):.4f}"]
        for of_classifiers, of_regressors in OPTIONS.values():
            options = of_classifiers if problem.classifies else of_regressors
            if options is None:
                cells.append("")
                continue
            with_it = scores(problem, partial(getattr(fastnn, kind), **SAME, **options), seeds)
            change = with_it - ours
            cells.append(f"{change.mean():+.4f} ± {standard_error(change):.4f}")
        yield name, cells, bool(ours.mean() >= theirs.mean() - TOLERANCE * error)


def page(chosen: dict[str, Problem], seeds: range) -> tuple[str, list[str]]:
    """The page of the documentation, and the data sets on which fastnn is worse."""
    headings = ["data", "scikit-learn", "fastnn", *(f"`{name}`" for name in OPTIONS)]
    lines = ["| " + " | ".join(headings) + " |", "|---" * len(headings) + "|"]
    worse = []
    for name, cells, is_as_good in rows(chosen, seeds):
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
        if not is_as_good:
            worse.append(name)
        print(lines[-1], flush=True)
    verdict = (
        "No mean of fastnn is worse than scikit-learn's by more than one standard error."
        if not worse
        else f"On {', '.join(worse)} fastnn's mean is worse by more than one standard error."
    )
    text = f"""# Quality

Written by `python benchmarks/quality.py` on {datetime.now(UTC):%Y-%m-%d}, with fastnn {fastnn.__version__},
scikit-learn {sklearn.__version__} and NumPy {np.__version__}.

Means and standard errors of test scores, accuracy or R squared, of {len(seeds)} seeds: each is another split
of the data, 30% of which are tested on, and another network. Both packages have scikit-learn's defaults, with
`max_iter={SAME["max_iter"]}`, on standardised inputs (and targets of regressors). {verdict}

The columns behind these two show what an option of fastnn changes: the mean of the differences from fastnn's
score of the same seed, and the standard error of that. Differences below two standard errors say nothing.

{chr(10).join(lines)}

With `adamw` and `cosine` the penalty is the decay alone (`alpha=0`), and all epochs are done (`tol=0`).
"""
    return text, worse


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--only", default="", help="data sets whose name has this text")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "quality.md")
    options = parser.parse_args(arguments)
    if options.seeds < 2:
        parser.error("--seeds must be 2 or more, for a standard error")
    chosen = {name: problem for name, problem in problems().items() if options.only in name}
    if not chosen:
        parser.error(f"no data set has {options.only!r} in its name; there are {list(problems())}")
    text, worse = page(chosen, range(options.seeds))
    options.output.write_text(text)
    return int(bool(worse))


if __name__ == "__main__":
    sys.exit(main())
