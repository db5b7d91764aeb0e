"""Many networks in one fit: the best of several, or all of them as an ensemble."""

import re
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn import config_context, get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastnn.estimators.declaration import AT_LEAST_ONE, declared, parameter
from fastnn.estimators.draft import Remarks
from fastnn.kernels.shared.threads import threads_allowed, use_threads
from fastnn.kernels.shared.user_warnings import kept_warnings
from fastnn.networks.backends import networks_at_once
from fastnn.networks.side_by_side import side_by_side

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
        is one, else with the least ``loss_``. Network `i` is what ``fit`` makes with ``random_state`` the
        `i`-th of ``check_random_state(random_state).randint(2**31 - 1, size=n_init)``, to the last bit. They
        are trained side by side, one on each core, with the same result for any number of threads; on a GPU
        one after the other. One that diverges does not count, with a warning; ``ValueError`` if all do. Other
        than 1 it takes neither ``ensemble``, ``warm_start`` nor ``partial_fit``.
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
        neither ``n_init``, ``warm_start`` nor ``partial_fit``.
        """,
    )


class Member(NamedTuple):
    """What the fit of one of many networks has from the fit of all."""

    number: int
    data: tuple[Any, Any]  # X and y, checked

    def tell(self, line: str) -> None:
        """Print a line of this network's; in one piece, since others print too."""
        print(f"Network {self.number}: {line}\n", end="")


class _Outcome(NamedTuple):
    """What has come of a member."""

    model: "BaseMLP"
    diverged: str | None  # how
    warnings: list[Warning]


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


def train_many(
    model: "BaseMLP", X: Any, y: Any, train: Callable[["BaseMLP"], Remarks], former: tuple[str, ...]
) -> Remarks:
    """Train the networks of an estimator, and make it what they ask it to be.

    Parameters
    ----------
    model : estimator
        A draft, which gets the attributes of a fit.
    X, y
        As the user gave them: they are checked here, once for all.
    train : callable
        Does a fit of a draft of a member, and returns what is to be told.
    former : tuple of str
        Attributes of former fits beside those whose names end with an underscore: they go.

    Returns
    -------
    remarks : tuple of Warning

    Raises
    ------
    ValueError
        The parameters contradict each other, or too many networks diverge.
    """
    assert isinstance(model, ManyParameters)
    m = _how_many(model)
    for name in [name for name in vars(model) if name in former or _is_fitted(name)]:
        delattr(model, name)
    before = set(vars(model))
    X, y = model._validate_input(X, y, None, incremental=False, reset=True)
    learnt = {name: value for name, value in vars(model).items() if name not in before}
    # As the kernels take it: else each network would make a copy of its own.
    data = np.ascontiguousarray(X) if isinstance(X, np.ndarray) else X, y
    parameters = model.get_params(deep=False)
    seeds = check_random_state(model.random_state).randint(2**31 - 1, size=m)
    with use_threads(model.n_threads):
        n_threads = threads_allowed()
    at_once = min(m, networks_at_once(X, n_threads))
    jobs = []
    for number, seed in enumerate(seeds.tolist()):
        own = {"random_state": seed, "n_init": 1, "ensemble": None}
        member = type(model)(**(parameters | own))
        share = Member(number, data)
        jobs.append(partial(_fit_member, member, share, learnt, train, n_threads // at_once, get_config()))
    outcomes = side_by_side(jobs, at_once)
    if model.ensemble is None:
        return _keep_best(model, outcomes)
    return _keep_all(model, outcomes)


def _how_many(model: Any) -> int:
    """Networks to train, where the parameters go together."""
    if model.ensemble is not None and model.n_init != 1:
        raise ValueError(
            f"n_init={model.n_init} keeps one network and ensemble={model.ensemble} all: one of them has to "
            "have its default."
        )
    name = "n_init" if model.ensemble is None else "ensemble"
    m: int = getattr(model, name)
    if model.warm_start:
        raise ValueError(f"warm_start=True goes on with one network, and {name}={m} begins with new ones.")
    return m


def _is_fitted(name: str) -> bool:
    """Whether an attribute is of a fit, by scikit-learn's convention."""
    return name.endswith("_") and not name.startswith("_")


def _fit_member(
    member: "BaseMLP",
    share: Member,
    learnt: dict[str, Any],
    train: Callable[["BaseMLP"], Remarks],
    n_threads: int,
    config: dict[str, Any],
) -> _Outcome:
    """Fit a member, in a thread of its own.

    learnt : what the check of the data has left; config : scikit-learn's, which each thread has its own of
    """
    diverged: list[str] = []

    def work(draft: "BaseMLP") -> Remarks:
        draft.__dict__.update(learnt)
        draft._member, draft.n_threads = share, n_threads
        remarks = train(draft)
        del draft._member
        if isinstance(remarks, Exception) and not isinstance(remarks, Warning):
            diverged.append(str(remarks))
            return None
        return remarks

    with config_context(**config), kept_warnings() as warnings:
        member._on_draft(work)
    return _Outcome(member, diverged[0] if diverged else None, warnings)


def _keep_best(model: "BaseMLP", outcomes: list[_Outcome]) -> Remarks:
    """Give the estimator the attributes of its best network."""
    m, failures = len(outcomes), [one.diverged for one in outcomes if one.diverged is not None]
    if len(failures) == m:
        raise ValueError(f"All {m} networks diverged, the first so: {failures[0]}")
    # Of equals the first.
    best = max(range(m), key=lambda number: _merit(outcomes[number]))
    parameters = model._get_param_names()
    kept = {name: value for name, value in vars(outcomes[best].model).items() if name not in parameters}
    model.__dict__.update(kept | {"best_init_": best})
    remarks = _remarks([one for one in outcomes if one.diverged is None], m)
    if not failures:
        return remarks
    said = f"{len(failures)} of {m} networks diverged and do not count, the first so: {failures[0]}"
    return (*remarks, ConvergenceWarning(said))


def _keep_all(model: "BaseMLP", outcomes: list[_Outcome]) -> Remarks:
    """Give the estimator all its networks."""
    m = len(outcomes)
    for number, one in enumerate(outcomes):
        if one.diverged is not None:
            raise ValueError(f"Network {number} of {m} diverged: {one.diverged}")
    members = [one.model for one in outcomes]
    model.__dict__.update(
        estimators_=members,
        n_outputs_=members[0].n_outputs_,
        n_iter_=np.array([vars(member)["n_iter_"] for member in members]),
    )
    return _remarks(outcomes, m)


def _merit(outcome: _Outcome) -> tuple[bool, float]:
    """How good a network is; the higher, the better."""
    model: Any = outcome.model
    if outcome.diverged is not None:
        return False, -np.inf
    scores = getattr(model, "validation_scores_", None)
    if scores:
        # Those of the parameters that were kept.
        merit = model.best_validation_score_ if model.early_stopping else scores[-1]
    else:
        merit = -model.loss_ if hasattr(model, "loss_") else -np.inf
    return True, -np.inf if np.isnan(merit) else float(merit)


def _remarks(outcomes: list[_Outcome], m: int) -> tuple[Warning, ...]:
    """What the networks have to tell, each kind once: in the words of the first, and of how many it holds."""
    kinds: dict[tuple[type, str], list[Warning]] = {}
    for one in outcomes:
        # A network says one thing once; texts that differ in their numbers are of one kind.
        of_one = {(type(warning), re.sub(r"\d+", "", str(warning))): warning for warning in one.warnings}
        for kind, warning in of_one.items():
            kinds.setdefault(kind, []).append(warning)
    return tuple(type(told[0])(f"{len(told)} of {m} networks: {told[0]}") for told in kinds.values())
