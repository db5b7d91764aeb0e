"""What a user can say of the schedule of the learning rate: parameters, and where they have no use."""

from numbers import Real
from typing import TYPE_CHECKING

from sklearn.utils._param_validation import Interval

from fastnn.estimators.declaration import NOT_NEGATIVE, declared, is_default, parameter
from fastnn.networks.schedules import DECAY, SCHEDULES
from fastnn.networks.solvers import STOCHASTIC_SOLVERS

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP


@declared
class LearningRateParameters:
    """What a multi-layer perceptron can be told of the course of its learning rate."""

    learning_rate_decay: float = parameter(
        Interval(Real, 0, 1, closed="right"),
        default=DECAY,
        doc="""
        Factor in (0, 1] of the rate from one epoch to the next, of ``learning_rate="exponential"`` alone.
        """,
    )
    warmup_epochs: float = parameter(
        NOT_NEGATIVE,
        default=0,
        doc="""
        Epochs, or a part of one, in which the rate rises: of the `N` updates in so many epochs the i-th,
        counted from 1, has ``i / N`` of the rate that the schedule gives it, whatever the schedule. For the
        stochastic solvers. In ``partial_fit`` each call counts as an epoch.
        """,
    )


def check_learning_rates(model: "BaseMLP") -> None:
    """Make sure that the solver has a use for what is said of its learning rate.

    Raises
    ------
    ValueError
        It has none.
    """
    name, schedule = model.learning_rate, SCHEDULES[model.learning_rate]
    if model.solver not in STOCHASTIC_SOLVERS:
        of_all_solvers = name != "constant" and not schedule.of_descent
        for said, has_no_use in (
            (f"learning_rate={name!r}", of_all_solvers),
            (f"warmup_epochs={model.warmup_epochs}", model.warmup_epochs != 0),
        ):
            if has_no_use:
                raise ValueError(
                    f"{said} needs a solver of {list(STOCHASTIC_SOLVERS)}: solver={model.solver!r} has no "
                    "learning rate."
                )
    if name != "exponential" and not is_default(model.learning_rate_decay, DECAY):
        raise ValueError(
            f"learning_rate_decay={model.learning_rate_decay} needs learning_rate='exponential': with "
            f"{name!r} it has no use."
        )
