"""Many networks in one fit: the parameters that ask for them, and what an ensemble of them is."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastnn.estimators.declaration import AT_LEAST_ONE, declared, parameter

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP


@declared
class ManyParameters:
    """How many networks a fit trains."""

    n_init: int = parameter(
        AT_LEAST_ONE,
        default=1,
        doc="""
        Networks to train, of which the best is kept: the one with the highest validation score, where there
        is one that is not NaN, else with the least ``loss_``. Network `i` is what ``fit`` makes with
        ``random_state`` the `i`-th of
        ``check_random_state(random_state).randint(2**31 - 1, size=n_init)``, to the last bit. They
        are trained side by side, one on each core, with the same result for any number of threads; on a GPU
        one after the other. One that diverges does not count, with a warning; ``ValueError`` if all do. Other
        than 1 it takes neither ``ensemble``, ``warm_start``, ``checkpoint`` nor ``partial_fit``.
        """,
    )
    ensemble: int | None = parameter(
        AT_LEAST_ONE,
        None,
        default=None,
        kind="int",
        doc="""
        Networks to train and to keep, in ``estimators_``; made as those of ``n_init``. Predictions are made
        of the mean of the members' probabilities, a regressor's are the mean of their predictions. There is
        no ``coefs_``, nor another attribute of a single network. ``ValueError`` if one diverges. It takes
        neither ``n_init``, ``warm_start``, ``checkpoint`` nor ``partial_fit``.
        """,
    )


def wants_many(model: "BaseMLP") -> bool:
    """Whether the parameters of an estimator ask for many networks."""
    return isinstance(model, ManyParameters) and (model.n_init != 1 or model.ensemble is not None)


def is_ensemble(model: "BaseMLP") -> bool:
    """Whether an estimator has been fitted as an ensemble."""
    return "estimators_" in vars(model)


def members_of(model: "BaseMLP") -> list["BaseMLP"]:
    """The networks of a fitted ensemble."""
    members: list[BaseMLP] = vars(model)["estimators_"]
    return members


def refuse_ensemble(model: "BaseMLP", what: str) -> None:
    """Refuse what is of a single network, for a fitted ensemble.

    Raises
    ------
    ValueError
        It is one.
    """
    if is_ensemble(model):
        raise ValueError(
            f"{what} is of one network, and this {type(model).__name__} is an ensemble of "
            f"{len(members_of(model))}: ask one of estimators_."
        )


def refuse_many(model: "BaseMLP", what: str) -> None:
    """Refuse what there is not for many networks, be they asked for or fitted.

    Raises
    ------
    ValueError
        There are, or are to be, many.
    """
    if wants_many(model):
        assert isinstance(model, ManyParameters)
        raise ValueError(
            f"{what} is of one network: it needs n_init=1 and ensemble=None, got n_init={model.n_init!r} and "
            f"ensemble={model.ensemble!r}."
        )
    refuse_ensemble(model, what)


def mean_outputs(model: "BaseMLP", rows: Any) -> np.ndarray:
    """Mean over the members of a fitted ensemble of what they make of checked rows."""
    total: Any = 0
    members = members_of(model)
    for member in members:
        one = member._draft()
        one.n_threads = model.n_threads  # of the estimator whose method is running
        total = total + one._to_average(one._forward(rows))
    return total / len(members)
