"""Mixins of the asv suite: a benchmark says what it measures, a mixin which figures are taken.

Every ``setup`` runs the work once, so that nothing is compiled while the clock runs, and asserts that the
result is a peer's, so that a fast wrong answer is no benchmark. Each class names one small parameter set,
``smoke``, with which the tests call it. asv forks a process for every figure of every parameter set, which
takes about a second, so the parameters are few: a registry is gone through in one dimension at a time.
"""

import warnings
from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np

from benchmarks.race import clock


class Benchmark(ABC):
    """Base of all classes of the suite."""

    params: ClassVar[Any] = ()
    param_names: ClassVar[list[str]] = []
    # A small member, or relative, of `params`.
    smoke: ClassVar[tuple] = ()
    timeout = 120
    # Seconds that asv keeps calling before it measures; `setup` has done that.
    warmup_time = 0

    @abstractmethod
    def setup(self, *params: Any) -> None:
        """Make the data, run once, compare with a peer."""


class Kernel(Benchmark):
    """A function on arrays: its time."""

    @abstractmethod
    def prepare(self, *params: Any) -> None:
        """Make the arrays."""

    @abstractmethod
    def run(self) -> Any:
        """Do the work."""

    @abstractmethod
    def check(self) -> None:
        """Assert that the result of `run` is a peer's."""

    def setup(self, *params: Any) -> None:
        """Make the arrays, run once, compare."""
        self.prepare(*params)
        self.run()
        self.check()

    def time_run(self, *params: Any) -> None:
        """Seconds."""
        self.run()


class Throughput(ABC):
    """Added to a ``Kernel``: its memory, and its rate."""

    @abstractmethod
    def run(self) -> Any:
        """Do the work."""

    @abstractmethod
    def operations(self) -> float:
        """Floating-point operations of one `run`; for a function of single elements, their number."""

    def peakmem_run(self, *params: Any) -> None:
        """Bytes of the process."""
        self.run()

    def track_rate_score(self, *params: Any) -> float:
        """10^9 operations a second, the best of five calls."""
        return self.operations() / min(clock(self.run) for _ in range(5)) / 1e9

    track_rate_score.unit = "Gop/s"  # type: ignore[attr-defined]


class Estimator(Benchmark):
    """An estimator: time and memory of a fit, the score it reaches."""

    @abstractmethod
    def make_data(self, *params: Any) -> tuple[np.ndarray, np.ndarray | None]:
        """X and y."""

    @abstractmethod
    def make_estimator(self, *params: Any) -> Any:
        """fastnn's estimator, not fitted."""

    @abstractmethod
    def make_peer(self, *params: Any) -> Any | None:
        """scikit-learn's estimator with the same parameters; None where it has none."""

    def check(self, peer: Any) -> None:
        """Assert that the fitted estimator is as good as the fitted peer."""
        ours, theirs = self.estimator.score(self.X, self.y), peer.score(self.X, self.y)
        # Scores of k-means are negative inertias, of any size.
        assert ours >= theirs - 0.05 * max(1.0, abs(theirs)), (ours, theirs)

    def setup(self, *params: Any) -> None:
        """Make the data, fit both, compare."""
        self.X, self.y = self.make_data(*params)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # short fits do not converge
            self.estimator = self.make_estimator(*params).fit(self.X, self.y)
            peer = self.make_peer(*params)
            if peer is not None:
                self.check(peer.fit(self.X, self.y))

    def _fit(self, *params: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.make_estimator(*params).fit(self.X, self.y)

    def time_fit(self, *params: Any) -> None:
        """Seconds."""
        self._fit(*params)

    def peakmem_fit(self, *params: Any) -> None:
        """Bytes of the process."""
        self._fit(*params)

    def track_train_score(self, *params: Any) -> float:
        """Score on the training data."""
        return float(self.estimator.score(self.X, self.y))


class Predictor(Estimator):
    """An estimator that predicts: also the time and memory of predicting the training data."""

    def time_predict(self, *params: Any) -> None:
        """Seconds."""
        self.estimator.predict(self.X)

    def peakmem_predict(self, *params: Any) -> None:
        """Bytes of the process."""
        self.estimator.predict(self.X)
