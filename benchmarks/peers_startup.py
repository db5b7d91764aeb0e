"""What a process pays before its first result: importing, loading compiled code, compiling."""

import os
import statistics
import subprocess
import sys
import tempfile

from benchmarks.race import Figure, Settings, Table

_IMPORT = """
import time
import {before}
started = time.perf_counter()
{statement}
print(time.perf_counter() - started)
"""

_FIRST_FIT = """
import time, warnings
import numba
from sklearn.datasets import load_digits
from fastnn import {name}
warnings.simplefilter("ignore")
X, y = load_digits(return_X_y=True)
started = time.perf_counter()
{name}({arguments}).fit(X / 16, y)
print(time.perf_counter() - started)
"""

ESTIMATORS = {"MLPClassifier": "max_iter=5, random_state=0", "GradKMeans": "10, random_state=0"}
IMPORTS = (
    ("import fastnn", "numba, sklearn", "import fastnn"),
    (
        "the estimators: from fastnn import MLPClassifier, GradKMeans",
        "numba, sklearn.neural_network, sklearn.cluster",
        "from fastnn import MLPClassifier, GradKMeans",
    ),
)


# Seconds asked of a first fit.
WARM, COLD = 0.3, 12.0


def run(code: str, cache: str | None = None) -> float:
    """Seconds that the code prints, in a new process; `cache` holds its compiled kernels."""
    environment = dict(os.environ)
    if cache is not None:
        environment["NUMBA_CACHE_DIR"] = cache
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise RuntimeError(done.stderr)
    return float(done.stdout)


def import_code(before: str, statement: str) -> str:
    """A program that prints the seconds of `statement` after the imports `before`."""
    return _IMPORT.format(before=before, statement=statement)


def first_fit_code(name: str) -> str:
    """A program that prints the seconds of its first fit of digits."""
    return _FIRST_FIT.format(name=name, arguments=ESTIMATORS[name])


def startup(settings: Settings) -> list[Table]:
    """The table of start-up times."""
    repeats = 3 if settings.quick else 7
    rows = []
    for label, before, statement in IMPORTS:
        code = import_code(before, statement)
        run(code)  # writes the bytecode files
        rows.append(Figure(label, statistics.median(run(code) for _ in range(repeats)), "s", 0.1))
    for name in ESTIMATORS:
        colds = []
        for _ in range(1 if settings.quick else 3):
            with tempfile.TemporaryDirectory() as cache:
                colds.append(run(first_fit_code(name), cache))
                warm = statistics.median(run(first_fit_code(name), cache) for _ in range(repeats))
        cold = statistics.median(colds)
        rows.append(Figure(f"first fit of {name}, warm kernel cache", warm, "s", WARM))
        rows.append(Figure(f"first fit of {name}, cold kernel cache", cold, "s", COLD))
    text = (
        "New processes: what `import fastnn` adds to importing Numba and scikit-learn, and the whole time "
        "of a process's first fit of the digits data (5 epochs; 10 clusters) with an empty and with a "
        "filled cache of compiled kernels."
    )
    return [Table("Start-up", text, rows)]
