"""The parameters of networks for tables, each declared once."""

from collections.abc import Iterable
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from fastnn.estimators.declaration import (
    AT_LEAST_ONE,
    BELOW_ONE,
    NOT_NEGATIVE,
    POSITIVE,
    declared,
    one_of,
    parameter,
)
from fastnn.estimators.mlp.reporting import ReportParameters
from fastnn.estimators.tabular.member_parameters import MemberParameters
from fastnn.estimators.tabular.parameters import TableParameters
from fastnn.networks.schedules import SCHEDULES
from fastnn.tables.activations import HIDDEN, MISH, SELU

# Those that every solver follows.
_SCHEDULES = [name for name, schedule in SCHEDULES.items() if not schedule.of_descent]


@declared
class RealMLPParameters(TableParameters, MemberParameters, ReportParameters):
    """What a network for tables can be told."""

    hidden_layer_sizes: Iterable[int] = parameter(
        "array-like",
        default=(256, 256, 256),
        kind="array-like of int",
        doc="Units of each hidden layer.",
    )
    batch_size: int = parameter(
        AT_LEAST_ONE,
        default=256,
        doc="""
        Rows of a mini-batch, or all training rows if they are fewer. What is left of an epoch's rows, and
        does not fill a batch, is left out of that epoch.
        """,
    )
    max_iter: int = parameter(
        AT_LEAST_ONE,
        default=256,
        doc="Epochs. All of them are done; the parameters of the best one are kept.",
    )
    learning_rate: str = parameter(
        StrOptions(set(_SCHEDULES)),
        default="coslog4",
        kind=one_of(_SCHEDULES),
        doc="""
        Schedule of the learning rate, as of :class:`MLPClassifier`. With ``"coslog4"`` it is
        ``learning_rate_init * (1 - cos(2 * pi * log2(1 + 15 * t))) / 2``, where `t` is the share of all steps
        that are done: so the first step's rate is 0.
        """,
    )
    mom: float = parameter(
        BELOW_ONE,
        default=0.9,
        doc="""
        Decay rates of Adam's first and second moment, in [0, 1), and what is added to the root of the second
        one. It is PyTorch's Adam, which adds it to the moment without its bias.
        """,
    )
    sq_mom: float = parameter(
        BELOW_ONE,
        default=0.95,
    )
    opt_eps: float = parameter(
        POSITIVE,
        default=1e-8,
    )
    bias_lr_factor: float = parameter(
        NOT_NEGATIVE,
        default=0.1,
        doc="Factor of the learning rate, for the biases.",
    )
    add_front_scale: bool = parameter(
        "boolean",
        default=True,
        doc="""
        Whether each input of the network is multiplied by a factor that is trained, beginning with 1. It is
        folded into the first of ``coefs_``.
        """,
    )
    scale_lr_factor: float = parameter(
        NOT_NEGATIVE,
        default=6.0,
        doc="Factor of the learning rate, for the scales of the inputs.",
    )
    validation_fraction: float = parameter(
        Interval(Real, 0, 1, closed="neither"),
        default=0.2,
        doc="""
        Share of the rows that are held out where ``n_cv=1`` and ``fit`` gets no `X_val`. They are drawn at
        random, not stratified; ``ceil((1 - validation_fraction) * n)`` are left.
        """,
    )
    random_state: int | np.random.RandomState | None = parameter(
        "random_state",
        default=None,
        kind="int, RandomState instance or None",
        doc="Source of the split, of the first parameters, and of the orders of the epochs, in this order.",
    )
    verbose: int = parameter(
        "verbose",
        default=False,
        kind="bool or int",
        doc="1 prints loss and validation score of each epoch; 2 prints learning rate and pace as well.",
    )
    n_threads: int | None = parameter(
        AT_LEAST_ONE,
        None,
        default=None,
        kind="int",
        doc="""
        Threads that a call of a method uses at most; None for all cores that this process may use. The result
        does not depend on it.
        """,
    )


@declared
class RealMLPClassifierParameters(RealMLPParameters):
    """What a classifier for tables can be told."""

    activation: str = parameter(
        StrOptions(set(HIDDEN)),
        default=SELU.name,
        doc=f"""Activation of the hidden layers: {", ".join(f'``"{name}"``' for name in HIDDEN)}.""",
    )
    learning_rate_init: float = parameter(
        POSITIVE,
        default=0.04,
        doc="The highest learning rate of the schedule.",
    )
    class_weight: dict[Any, float] | str | None = parameter(
        dict,
        StrOptions({"balanced"}),
        None,
        default=None,
        kind='dict, "balanced" or None',
        doc="""
        Weights of the classes, ``{class: weight}``, which multiply ``sample_weight``; classes that are not
        named have 1. ``"balanced"`` gives each class ``n_samples / (n_classes * count)``, where the samples
        of all of y count, each with its ``sample_weight``. Validation rows have the weights of their classes
        too.
        """,
    )
    ls_eps: float = parameter(
        BELOW_ONE,
        default=0.1,
        doc="""
        Label smoothing: share `e` of each target, in [0, 1), that all `k` classes have alike. The true class
        has the target ``1 - e + e / k``, the others ``e / k``.
        """,
    )


@declared
class RealMLPRegressorParameters(RealMLPParameters):
    """What a regressor for tables can be told."""

    activation: str = parameter(
        StrOptions(set(HIDDEN)),
        default=MISH.name,
        doc=f"""Activation of the hidden layers: {", ".join(f'``"{name}"``' for name in HIDDEN)}.""",
    )
    learning_rate_init: float = parameter(
        POSITIVE,
        default=0.07,
        doc="The highest learning rate of the schedule.",
    )
    normalize_output: bool = parameter(
        "boolean",
        default=True,
        doc="""
        Whether the network learns ``(y - mean) / std``, of the training rows, each output by itself;
        predictions are in the units of `y`.
        """,
    )
    clamp_output: bool = parameter(
        "boolean",
        default=False,
        doc="Whether predictions stay between the least and the largest `y` of the training rows.",
    )
