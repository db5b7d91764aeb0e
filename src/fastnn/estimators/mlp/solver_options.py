"""What single solvers read beyond scikit-learn's parameters, and what all those by mini-batches can do."""

from dataclasses import fields
from numbers import Real
from typing import TYPE_CHECKING

from sklearn.utils._param_validation import Interval

from fastnn.estimators.declaration import BELOW_ONE, NOT_NEGATIVE, POSITIVE, declared, is_default, parameter
from fastnn.networks.solvers import SOLVERS

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP


@declared
class SolverOptionParameters:
    """What the solvers of a multi-layer perceptron can be told."""

    weight_decay: float = parameter(
        NOT_NEGATIVE,
        default=0.01,
        doc="""
        Decoupled decay of the weights by ``solver="adamw"`` and ``"lion"``: before each step they, and not
        the biases, lose the share ``learning_rate * weight_decay`` of what they are. It is no part of
        ``loss_``; set ``alpha=0`` for no other penalty.
        """,
    )
    rho: float = parameter(
        BELOW_ONE,
        default=0.99,
        doc="""Decay rate of the second moment of ``solver="rmsprop"``, in [0, 1).""",
    )
    momentum_decay: float = parameter(
        NOT_NEGATIVE,
        default=0.004,
        doc="""
        How fast the momentum of ``solver="nadam"`` rises: in step t it is
        ``beta_1 * (1 - 0.5 * 0.96**(t * momentum_decay))``.
        """,
    )
    max_grad_norm: float | None = parameter(
        POSITIVE,
        None,
        default=None,
        kind="float",
        doc="""
        A step whose gradient has a larger norm is made with the gradient scaled down to it. The norm is that
        of all weights and biases together, penalties included, after ``accumulate_batches``. None for no
        bound. For the stochastic solvers, and not on a GPU.
        """,
    )
    l1_alpha: float = parameter(
        NOT_NEGATIVE,
        default=0.0,
        doc="""
        Weight of the L1 penalty ``l1_alpha * sum(abs(W))``, which is divided by the samples of the batch, as
        that of ``alpha``. A step takes its sign as the slope, so weights come near 0 and seldom are 0. For
        the stochastic solvers, and not on a GPU.
        """,
    )
    average: bool | float = parameter(
        "boolean",
        Interval(Real, 0, 1, closed="neither"),
        default=False,
        kind="bool or float",
        doc="""
        True for the mean of the parameters after all steps (Polyak and Juditsky, 1992), a number r in (0, 1)
        for an average in which each step counts r times as much as the one after it. Training goes on from
        the last parameters; the fitted network, and the one that ``early_stopping`` scores, is the average.
        ``loss_curve_`` is that of training. ``partial_fit`` goes on with both, as does ``warm_start`` with
        ``reset_optimizer=False``, which else begins at the average with a new one. For the stochastic
        solvers, and not on a GPU.
        """,
    )


def check_solver_options(model: "BaseMLP") -> None:
    """Make sure that the solver has a use for what is not a default.

    Raises
    ------
    ValueError
        It has none.
    """
    for name, declaration in vars(SolverOptionParameters)["_declared"].items():
        value = getattr(model, name)
        if is_default(value, declaration.default):
            continue
        readers = [
            solver
            for solver, entry in SOLVERS.items()
            if name in {field.name for field in fields(entry.settings)}
        ]
        if model.solver not in readers:
            raise ValueError(
                f"{name}={value} needs a solver of {readers}: solver={model.solver!r} has no use for it."
            )
