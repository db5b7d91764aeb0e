"""Settings of the solvers that go by mini-batches: which update rule, and with what numbers."""

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import ClassVar

from fastnn.networks.network import Network
from fastnn.networks.schedules import SCHEDULES, Constant
from fastnn.networks.solvers.interface import Settings
from fastnn.tables.optimizers import Optimizer

# Names of solvers, by those of their rules where these are others.
_SOLVERS = {"momentum": "sgd", "nesterov": "sgd"}
# Hyperparameters of rules that scikit-learn does not have.
_HYPER_OF_OUR_OWN = {"alpha", "momentum_decay"}


@dataclass(frozen=True)
class StochasticSettings(Settings, ABC):
    """Settings of every solver that goes by mini-batches.

    An epoch has to be better by `tol` than the best before it.

    Parameters
    ----------
    batch_size : int or "auto"
    learning_rate : str
        Name of the schedule. Those that only gradient descent heeds leave the rate of others as it is.
    learning_rate_init : float
    power_t : float
        Exponent of a schedule that scales.
    learning_rate_decay : float
        Factor of one that decays.
    warmup_epochs : float
        Epochs, or a part of one, during which the rate rises to that of the schedule.
    shuffle : bool
        Whether each epoch has an order of its own.
    n_iter_no_change : float
        So many epochs in a row may be no better.
    accumulate_batches : int
        Batches whose gradients make a step together.
    l1_alpha : float
        L1 penalty.
    max_grad_norm : float or None
        To which a longer gradient is scaled down.
    average : bool or float
        Whether the mean of the parameters after all steps is what counts; or the rate of an average in which
        former steps count less.
    """

    # Whether it heeds the schedules of scikit-learn's SGD, which its Adam ignores.
    heeds_all_schedules: ClassVar[bool] = False

    batch_size: int | str
    learning_rate: str
    learning_rate_init: float
    power_t: float
    learning_rate_decay: float
    warmup_epochs: float
    shuffle: bool
    n_iter_no_change: float
    accumulate_batches: int
    l1_alpha: float
    max_grad_norm: float | None
    average: bool | float

    @property
    @abstractmethod
    def rule(self) -> tuple[str, dict[str, float]]:
        """Name of the update rule, and its hyperparameters."""

    @property
    def schedule(self) -> Constant:
        """How the learning rate changes."""
        kind = SCHEDULES[self.learning_rate]
        if kind.of_descent and not self.heeds_all_schedules:
            kind = Constant
        return kind(
            float(self.learning_rate_init),
            self.power_t,
            float(self.learning_rate_decay),
            float(self.warmup_epochs),
            int(self.max_iter),
        )

    @property
    def decoupled_decay(self) -> float:
        """Share of the weights that a step takes away, over the learning rate."""
        return 0.0

    def optimizer(self, network: Network) -> Optimizer:
        """A new optimiser."""
        name, hyper = self.rule
        return Optimizer(
            name,
            hyper,
            learning_rate=self.learning_rate_init,
            n_parameters=network.parameters.size,
            dtype=network.parameters.dtype,
            weight_decay=self.decoupled_decay,
            max_norm=self._max_norm,
            average_rate=float(self.average),
        )

    def go_on(self, optimizer: Optimizer, schedule: Constant) -> Constant:
        """Let an optimiser in the middle of its training heed these settings; return the schedule from here.

        It keeps what scikit-learn's keeps, such as its learning rate. Where scikit-learn has no such setting,
        these count; a schedule of another kind than before begins anew.

        Parameters
        ----------
        optimizer : Optimizer
            Changed in place.
        schedule : Constant
            As it was up to now.

        Raises
        ------
        ValueError
            The state is that of another rule, or one with an average and one without.
        """
        name, hyper = self.rule
        now, before = (_SOLVERS.get(each, each) for each in (name, optimizer.name))
        if now != before:
            raise ValueError(
                f"Cannot continue training: solver={now!r}, and the state of the optimizer is that of "
                f"{before!r}. fit with warm_start=True begins with a new optimizer."
            )
        if bool(self.average) != bool(optimizer.average_rate):
            raise ValueError(
                f"Cannot continue training: average={self.average}, and the training so far was "
                f"{'with' if optimizer.average_rate else 'without'} an average. fit with warm_start=True "
                "begins with a new optimizer."
            )
        optimizer.weight_decay, optimizer.max_norm = float(self.decoupled_decay), self._max_norm
        optimizer.average_rate = float(self.average)
        for place, key in enumerate(hyper):
            if key in _HYPER_OF_OUR_OWN:
                optimizer.hyper[place] = hyper[key]
        ours, kinds = self.schedule, (Constant, *(kind for kind in SCHEDULES.values() if kind.of_descent))
        if type(ours) is type(schedule) or (type(ours) in kinds and type(schedule) in kinds):
            return replace(
                schedule,
                learning_rate_decay=ours.learning_rate_decay,
                warmup_epochs=ours.warmup_epochs,
            )
        optimizer.learning_rate, optimizer.epochs = float(self.learning_rate_init), 0
        return ours

    @property
    def _max_norm(self) -> float:
        return math.inf if self.max_grad_norm is None else float(self.max_grad_norm)


@dataclass(frozen=True)
class SgdSettings(StochasticSettings):
    """Settings of gradient descent with momentum.

    Parameters
    ----------
    momentum : float
    nesterovs_momentum : bool
    """

    heeds_all_schedules: ClassVar[bool] = True

    momentum: float
    nesterovs_momentum: bool

    @property
    def rule(self) -> tuple[str, dict[str, float]]:
        return "nesterov" if self.nesterovs_momentum else "momentum", {"momentum": self.momentum}


@dataclass(frozen=True)
class AdamSettings(StochasticSettings):
    """Settings of Adam.

    Parameters
    ----------
    beta_1, beta_2, epsilon : float
    """

    beta_1: float
    beta_2: float
    epsilon: float

    @property
    def rule(self) -> tuple[str, dict[str, float]]:
        return "adam", {"beta_1": self.beta_1, "beta_2": self.beta_2, "epsilon": self.epsilon}


@dataclass(frozen=True)
class AmsgradSettings(AdamSettings):
    """Settings of AMSGrad, which has Adam's."""

    @property
    def rule(self) -> tuple[str, dict[str, float]]:
        return "amsgrad", super().rule[1]


@dataclass(frozen=True)
class NadamSettings(AdamSettings):
    """Settings of NAdam.

    Parameters
    ----------
    momentum_decay : float
    """

    momentum_decay: float

    @property
    def rule(self) -> tuple[str, dict[str, float]]:
        return "nadam", super().rule[1] | {"momentum_decay": self.momentum_decay}


@dataclass(frozen=True)
class AdamwSettings(AdamSettings):
    """Settings of AdamW.

    Parameters
    ----------
    weight_decay : float
    """

    weight_decay: float

    @property
    def rule(self) -> tuple[str, dict[str, float]]:
        return "adamw", super().rule[1]

    @property
    def decoupled_decay(self) -> float:
        return self.weight_decay


@dataclass(frozen=True)
class LionSettings(StochasticSettings):
    """Settings of Lion.

    Parameters
    ----------
    beta_1, beta_2, weight_decay : float
    """

    beta_1: float
    beta_2: float
    weight_decay: float

    @property
    def rule(self) -> tuple[str, dict[str, float]]:
        return "lion", {"beta_1": self.beta_1, "beta_2": self.beta_2}

    @property
    def decoupled_decay(self) -> float:
        return self.weight_decay


@dataclass(frozen=True)
class RmspropSettings(StochasticSettings):
    """Settings of RMSprop.

    Parameters
    ----------
    rho, epsilon : float
    """

    rho: float
    epsilon: float

    @property
    def rule(self) -> tuple[str, dict[str, float]]:
        return "rmsprop", {"alpha": self.rho, "epsilon": self.epsilon}
