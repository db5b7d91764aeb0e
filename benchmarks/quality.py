"""Test scores beside scikit-learn's with the same settings, and what other settings bring.

    python benchmarks/quality.py [--seeds 10] [--only digits] [--output docs/quality.md]

Every seed is another split of the data, 30% of which are tested on, and another network. A score is the
accuracy of a classifier, the R squared of a regressor; inputs (and a regressor's targets) are standardised by
the training rows. Writes the page of the documentation, in some ten minutes. Times are of the processor, with
one thread: other programs that run disturb them little.
"""

import argparse
import sys
import warnings
from datetime import UTC, datetime
from pathlib import Path
from time import process_time
from typing import Any, NamedTuple

import numpy as np
import sklearn
from sklearn import datasets, neural_network
from sklearn.compose import TransformedTargetRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

import fastnn

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for `benchmarks`, when this file is run as a script

from benchmarks.quality_options import TABLES, Option  # noqa: E402

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


class Outcome(NamedTuple):
    """Of a network with each of the seeds: test scores, and processor seconds of the fits."""

    scores: np.ndarray
    seconds: np.ndarray


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
        "4 classes": (
            datasets.make_classification(1000, 20, n_informative=8, n_classes=4, flip_y=0.05, random_state=0),
            True,
        ),
        "moons": (datasets.make_moons(600, noise=0.3, random_state=0), True),
        "friedman1": (datasets.make_friedman1(800, noise=1.0, random_state=0), False),
    }
    return {
        **{
            name: Problem(*load(return_X_y=True), classifies=classifies)
            for name, (load, classifies) in loaded.items()
        },
        **{name: Problem(*data, classifies=classifies) for name, (data, classifies) in made.items()},
    }


def outcome(problem: Problem, package: Any, seeds: range, **options: Any) -> Outcome:
    """What a network of a package does with each of the seeds."""
    found = []
    for seed in seeds:
        X, X_test, y, y_test = train_test_split(
            problem.X,
            problem.y,
            test_size=0.3,
            random_state=seed,
            stratify=problem.y if problem.classifies else None,
        )
        kind = package.MLPClassifier if problem.classifies else package.MLPRegressor
        if package is fastnn:
            options = {"n_threads": 1, **options}
        network = kind(random_state=seed, **{**SAME, **options})
        if not problem.classifies:
            network = TransformedTargetRegressor(network, transformer=StandardScaler())
        model = make_pipeline(StandardScaler(), network)
        with warnings.catch_warnings(), threadpool_limits(1):
            warnings.simplefilter("ignore", ConvergenceWarning)
            begin = process_time()
            model.fit(X, y)
            seconds = process_time() - begin
        found.append((model.score(X_test, y_test), seconds))
    return Outcome(*np.array(found).T)


def standard_error(values: np.ndarray) -> float:
    """Of the mean of these values."""
    return float(values.std(ddof=1) / np.sqrt(values.size))


def with_error(values: np.ndarray, form: str) -> str:
    return f"{values.mean():{form}} ± {standard_error(values):.4f}"


def change(problem: Problem, option: Option, seeds: range, ours: Outcome) -> tuple[str, float]:
    """What an option changes: the cell of a table, and in how many times the time; nothing without it."""
    parameters = option.parameters(classifies=problem.classifies)
    if parameters is None:
        return "", np.nan
    found = outcome(problem, fastnn, seeds, **parameters)
    return with_error(found.scores - ours.scores, "+.4f"), float(np.median(found.seconds / ours.seconds))


def table(headings: list[str], rows: list[list[str]]) -> str:
    lines = [headings, ["---"] * len(headings), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def page(chosen: dict[str, Problem], seeds: range) -> tuple[str, list[str]]:
    """The page of the documentation, and the data sets on which fastnn is worse."""
    ours = {}
    rows, worse = [], []
    for name, problem in chosen.items():
        theirs = outcome(problem, neural_network, seeds)
        outcome(problem, fastnn, seeds[:1])  # what is compiled or loaded
        ours[name] = outcome(problem, fastnn, seeds)
        times = f"{np.median(theirs.seconds / ours[name].seconds):.1f}"
        rows.append([name, with_error(theirs.scores, ".4f"), with_error(ours[name].scores, ".4f"), times])
        if ours[name].scores.mean() < theirs.scores.mean() - TOLERANCE * standard_error(theirs.scores):
            worse.append(name)
    verdict = (
        "No mean of fastnn is worse than scikit-learn's by more than one standard error."
        if not worse
        else f"On {', '.join(worse)} fastnn's mean is worse by more than one standard error."
    )
    text = f"""# Quality

Written by `python benchmarks/quality.py` on {datetime.now(UTC):%Y-%m-%d}, with fastnn {fastnn.__version__},
scikit-learn {sklearn.__version__} and NumPy {np.__version__}.

Means and standard errors of test scores, accuracy or R squared, of {len(seeds)} seeds: each is another split
of the data, 30% of which are tested on, and another network. "4 classes" are 1000 rows of 20 features
(`make_classification`), "moons" 600 of 2, with noise 0.3, "friedman1" 800 of 10, with noise 1.

## Beside scikit-learn

Both packages have scikit-learn's defaults, with `max_iter={SAME["max_iter"]}`, on standardised inputs
(and targets of regressors). {verdict} The last column says how many times
the processor seconds of fastnn's fit scikit-learn's takes (medians; one thread, as everywhere here).

{table(["data", "scikit-learn", "fastnn", "faster"], rows)}

## Other settings

What follows is of fastnn alone: in each cell, what the settings change in the score above, as the mean of the
differences of each seed, and the standard error of that. Differences below two standard errors say nothing.
The last column says how many times the processor seconds of the default's fit this one takes (the
median of the data sets).
"""
    for title, remark, options in TABLES:
        rows = []
        for option in options:
            changes = [change(problem, option, seeds, ours[name]) for name, problem in chosen.items()]
            if not any(cell for cell, _ in changes):
                continue
            time = np.nanmedian([time for _, time in changes])
            rows.append([f"`{option}`", *(cell for cell, _ in changes), f"{time:.2f}"])
            print(rows[-1], flush=True)
        text += f"\n### {title}\n\n{remark}\n\n{table(['settings', *chosen, 'time'], rows)}\n"
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
