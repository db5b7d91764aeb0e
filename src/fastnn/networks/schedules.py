"""Learning-rate schedules of the stochastic solvers: one class per schedule."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

# PyTorch's ExponentialLR has no usual factor; this one halves the rate in 13 to 14 epochs.
DECAY = 0.95
# Those of PyTorch's OneCycleLR: share of the updates in which the rate rises, and what the rate is divided by
# at the beginning, and once more at the end.
RISING, DIVISOR, LAST_DIVISOR = 0.3, 25.0, 1e4


@dataclass(frozen=True)
class Constant:
    """The rate stays at ``learning_rate_init``; a stalled run ends.

    Parameters
    ----------
    learning_rate_init : float
    power_t : float
    learning_rate_decay : float
    warmup_epochs : float
    max_iter : int
        Epochs to the end, for a schedule that needs one.
    """

    # Whether it is one of scikit-learn's, which are for gradient descent: its Adam has a constant rate.
    of_descent: ClassVar[bool] = False
    # Whether it has to be known beforehand how many epochs there are.
    needs_end: ClassVar[bool] = False

    learning_rate_init: float
    power_t: float
    # With values for schedules of older pickles, which do not have them.
    learning_rate_decay: float = DECAY
    warmup_epochs: float = 0.0
    max_iter: int = 1

    def rates(self, rate: float, epoch: int, n_updates: int) -> np.ndarray | None:
        """Rate of each update of an epoch, warm-up included; None where all have that of the epoch.

        Parameters
        ----------
        rate : float
            Rate of the epoch, as the methods below give it.
        epoch : int
            Epochs done before this one.
        n_updates : int
            Updates of the epoch.

        Returns
        -------
        rates : ndarray of float64 of shape (n_updates,) or None

        References
        ----------
        Ma and Yarats (2021), "On the adequacy of untuned warmup for adaptive optimization", AAAI 35:
        the linear warm-up, a factor of the schedule's rate.
        """
        rates = self._rates(epoch, n_updates)
        if epoch >= self.warmup_epochs:
            return rates
        number = epoch * n_updates + np.arange(1, n_updates + 1)
        factor = np.minimum(1.0, number / (self.warmup_epochs * n_updates))
        return factor * (rate if rates is None else rates)

    def _rates(self, epoch: int, n_updates: int) -> np.ndarray | None:
        """As ``rates``, without warm-up."""
        return None

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

    of_descent: ClassVar[bool] = True

    def after_epoch(self, rate: float, n_seen: int) -> float:
        return float(self.learning_rate_init) / (n_seen + 1) ** self.power_t


@dataclass(frozen=True)
class Adaptive(Constant):
    """The rate is divided by 5 where progress stalls, down to 1e-6."""

    of_descent: ClassVar[bool] = True

    def when_stalled(self, rate: float) -> tuple[float | None, str]:
        if rate <= 1e-6:
            return None, "Learning rate too small. Stopping."
        return rate / 5.0, f"Setting learning rate to {rate / 5.0:f}"


@dataclass(frozen=True)
class Exponential(Constant):
    """The rate is multiplied by ``learning_rate_decay`` after each epoch."""

    def after_epoch(self, rate: float, n_seen: int) -> float:
        return rate * self.learning_rate_decay


@dataclass(frozen=True)
class Ending(Constant, ABC):
    """The rate follows from the number of the update, of all those in ``max_iter`` epochs."""

    needs_end: ClassVar[bool] = True

    def _rates(self, epoch: int, n_updates: int) -> np.ndarray:
        number = epoch * n_updates + np.arange(n_updates)
        return self.learning_rate_init * self.factors(number, self.max_iter * n_updates)

    @abstractmethod
    def factors(self, number: np.ndarray, total: int) -> np.ndarray:
        """The rate over ``learning_rate_init`` of updates, counted from 0, of so many."""


@dataclass(frozen=True)
class Cosine(Ending):
    """The rate falls to 0 along half a period of the cosine, an update at a time.

    References
    ----------
    Loshchilov and Hutter (2017), "SGDR: stochastic gradient descent with warm restarts", ICLR, eq. 5, without
    restarts.
    """

    def factors(self, number: np.ndarray, total: int) -> np.ndarray:
        return (1.0 + np.cos(np.pi * number / total)) / 2.0


@dataclass(frozen=True)
class OneCycle(Ending):
    """The rate rises from a 25th to ``learning_rate_init``, then falls to next to nothing.

    PyTorch's ``OneCycleLR`` with its defaults, but for the momentum, which stays.

    References
    ----------
    Smith and Topin (2019), "Super-convergence: very fast training of neural networks using large learning
    rates", SPIE 11006.
    """

    def factors(self, number: np.ndarray, total: int) -> np.ndarray:
        # Where the highest rate is; below 0 where there are fewer than four updates.
        top = RISING * total - 1.0
        first, last = 1.0 / DIVISOR, 1.0 / (DIVISOR * LAST_DIVISOR)
        rises = number <= top
        begin, end = np.where(rises, first, 1.0), np.where(rises, 1.0, last)
        share = np.where(rises, number / top, (number - top) / (total - 1.0 - top))
        return end + (begin - end) / 2.0 * (1.0 + np.cos(np.pi * share))


@dataclass(frozen=True)
class CosLog4(Ending):
    """The rate goes from 0 to ``learning_rate_init`` and back four times, each time in twice as many updates.

    References
    ----------
    Holzmüller, Grinsztajn and Steinwart (2024), "Better by default: strong pre-tuned MLPs and boosted trees
    on tabular data", NeurIPS 37, section 3.
    """

    def factors(self, number: np.ndarray, total: int) -> np.ndarray:
        return (1.0 - np.cos(2.0 * np.pi * np.log2(1.0 + 15.0 * number / total))) / 2.0


SCHEDULES: dict[str, type[Constant]] = {
    "constant": Constant,
    "invscaling": InverseScaling,
    "adaptive": Adaptive,
    "exponential": Exponential,
    "cosine": Cosine,
    "one_cycle": OneCycle,
    "coslog4": CosLog4,
}
