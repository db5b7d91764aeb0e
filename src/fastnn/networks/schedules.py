"""Learning-rate schedules of the stochastic solvers: one class per schedule."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """The rate stays at ``learning_rate_init``; a stalled run ends."""

    learning_rate_init: float
    power_t: float

    def after_epoch(self, rate: float, n_seen: int) -> float:
        """Rate of the next epoch.

        Parameters
        ----------
        rate : float
            Rate of the epoch that has ended.
        n_seen : int
            Training samples seen so far, repetitions counted.
        """
        return rate

    def when_stalled(self, rate: float) -> tuple[float | None, str]:
        """Rate to go on with where progress has stalled, None to stop, and what to tell the user."""
        return None, "Stopping."


@dataclass(frozen=True)
class InverseScaling(Constant):
    """The rate falls as ``learning_rate_init / (n_seen + 1)**power_t``."""

    def after_epoch(self, rate: float, n_seen: int) -> float:
        return float(self.learning_rate_init) / (n_seen + 1) ** self.power_t


@dataclass(frozen=True)
class Adaptive(Constant):
    """The rate is divided by 5 where progress stalls, down to 1e-6."""

    def when_stalled(self, rate: float) -> tuple[float | None, str]:
        if rate <= 1e-6:
            return None, "Learning rate too small. Stopping."
        return rate / 5.0, f"Setting learning rate to {rate / 5.0:f}"


SCHEDULES: dict[str, type[Constant]] = {
    "constant": Constant,
    "invscaling": InverseScaling,
    "adaptive": Adaptive,
}
