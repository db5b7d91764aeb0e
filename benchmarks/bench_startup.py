"""asv: what a process pays before its first result."""

import tempfile
from typing import ClassVar

from benchmarks.common import Benchmark
from benchmarks.peers_startup import ESTIMATORS, IMPORTS, first_fit_code, import_code, run

# Processes of which the fastest counts.
PROCESSES = 3


class Import(Benchmark):
    """Seconds that importing fastnn adds to importing Numba and scikit-learn."""

    param_names: ClassVar = ["what"]
    params: ClassVar = ([label for label, _, _ in IMPORTS],)
    smoke = (IMPORTS[0][0],)
    unit = "s"

    def setup(self, what: str) -> None:
        """Write the bytecode files."""
        self.code = next(import_code(before, code) for label, before, code in IMPORTS if label == what)
        run(self.code)

    def track_import(self, what: str) -> float:
        """The best of three processes."""
        return min(run(self.code) for _ in range(PROCESSES))


class FirstFit(Benchmark):
    """Seconds of the first fit of a process, with a cold and with a warm kernel cache."""

    param_names: ClassVar = ["estimator"]
    params: ClassVar = (list(ESTIMATORS),)
    unit = "s"

    def setup(self, estimator: str) -> None:
        """The program."""
        self.code = first_fit_code(estimator)

    def track_cold(self, estimator: str) -> float:
        """With an empty cache."""
        with tempfile.TemporaryDirectory() as cache:
            return run(self.code, cache)

    def track_warm(self, estimator: str) -> float:
        """With the cache that any other process leaves."""
        run(self.code)
        return min(run(self.code) for _ in range(PROCESSES))
