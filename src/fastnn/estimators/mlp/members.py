"""A fit of many networks: each is fitted in a thread of its own, and the best is kept, or all."""

import re
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sklearn import config_context, get_config
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state

from fastnn.estimators.callbacks import Tasks
from fastnn.estimators.draft import Remarks
from fastnn.estimators.mlp.soft_targets import SoftTargets
from fastnn.estimators.mlp.validation import GivenRows, check_validation, given_data
from fastnn.estimators.weights import checked_weights
from fastnn.kernels.shared.pacing import answer_stop
from fastnn.kernels.shared.threads import threads_allowed, use_threads
from fastnn.kernels.shared.user_warnings import kept_warnings
from fastnn.networks.backends import networks_at_once, rows_and_backend
from fastnn.networks.data import Data
from fastnn.networks.side_by_side import side_by_side

if TYPE_CHECKING:
    from fastnn.estimators.mlp.base import BaseMLP


class FitArguments(NamedTuple):
    """The arguments of a fit, as the user gave them."""

    X: Any
    y: Any
    sample_weight: Any
    classes: Any
    given: GivenRows


class Member(NamedTuple):
    """What the fit of one of many networks has from the fit of all."""

    number: int
    n_threads: int
    data: tuple[Any, Any]  # X and y, checked
    validation: Data | None  # the user's
    calls: Lock  # held while a callback is called: the user's code need not know of threads

    def tell(self, line: str) -> None:
        """Print a line of this network's; in one piece, since others print too."""
        print(f"Network {self.number}: {line}\n", end="")

    def numbered(self, callback: Callable[..., Any] | None) -> Callable[..., Any] | None:
        """A callback that is told which network it is, and called for one at a time."""
        if callback is None:
            return None

        def call(epoch: int, logs: dict[str, float]) -> Any:
            with self.calls:
                answer_stop()  # another may have ended all meanwhile
                return callback(epoch, logs | {"network": self.number})

        return call


class _Outcome(NamedTuple):
    """What has come of a member."""

    model: "BaseMLP"
    diverged: str | None  # how
    warnings: list[Warning]


def train_many(
    model: "BaseMLP", arguments: FitArguments, tasks: Tasks | None, former: tuple[str, ...]
) -> Remarks:
    """Train the networks of an estimator, and make it what they ask it to be.

    Parameters
    ----------
    model : estimator
        A draft, which gets the attributes of a fit.
    arguments : FitArguments
        Rows are checked here, once for all.
    tasks : Tasks or None
        Of all networks together.
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
    m = _how_many(model)
    for name in [name for name in vars(model) if name in former or _is_fitted(name)]:
        delattr(model, name)
    before = set(vars(model))
    data, validation = _checked(model, arguments)
    learnt = {name: value for name, value in vars(model).items() if name not in before}
    if tasks is not None:
        y = arguments.y
        labels = model._scoring_target(data[1]) if isinstance(y, SoftTargets) else y
        tasks.begin(model, arguments.X, labels, arguments.sample_weight)
    parameters = model.get_params(deep=False)
    seeds = check_random_state(model.random_state).randint(2**31 - 1, size=m)
    with use_threads(model.n_threads):
        n_threads = threads_allowed()
    at_once = min(m, networks_at_once(data[0], n_threads))
    calls, jobs = Lock(), []
    for number, seed in enumerate(seeds.tolist()):
        own = {"random_state": seed, "n_init": 1, "ensemble": None}
        member = type(model)(**(parameters | own))
        share = Member(number, n_threads // at_once, data, validation, calls)
        jobs.append(partial(_fit_member, member, share, learnt, arguments, get_config()))
    outcomes = side_by_side(jobs, at_once)
    remarks = (_keep_best if vars(model)["ensemble"] is None else _keep_all)(model, outcomes)
    if tasks is not None:
        tasks.end()
    return remarks


def _checked(model: "BaseMLP", arguments: FitArguments) -> tuple[tuple[Any, Any], Data | None]:
    """The user's rows, those for validation too, as every network takes them."""
    check_validation(model, arguments.given, needs_y=model._has_targets)
    X, Y = model._validate_input(arguments.X, arguments.y, arguments.classes, incremental=False, reset=True)
    if isinstance(X, np.ndarray):
        X = np.ascontiguousarray(X)  # as the kernels take it: else each network would make a copy of its own
    if isinstance(Y, np.ndarray) and Y.ndim == 1:
        Y = Y.reshape(-1, 1)
    weights = arguments.sample_weight
    if weights is not None:
        weights = checked_weights(weights, X, X.dtype)
    rows, _ = rows_and_backend(X)
    of_training = Data(rows, Y, model._row_weights(Y, weights, X.dtype))
    return (X, Y), given_data(model, arguments.given, of_training)


def _how_many(model: Any) -> int:
    """Networks to train; an error where the parameters do not go together."""
    if model.ensemble is not None and model.n_init != 1:
        raise ValueError(
            f"n_init={model.n_init} keeps one network and ensemble={model.ensemble} all: one of them has to "
            "have its default."
        )
    name = "n_init" if model.ensemble is None else "ensemble"
    m: int = getattr(model, name)
    if isinstance(m, bool):  # an integer to Python
        raise ValueError(f"{name} must be the number of networks, got {m}.")
    if model.warm_start:
        raise ValueError(f"warm_start=True goes on with one network, and {name}={m} begins with new ones.")
    if model.checkpoint is not None:
        raise ValueError(
            f"checkpoint={model.checkpoint!r} keeps the training of one network, and {name}={m} trains more."
        )
    return m


def _is_fitted(name: str) -> bool:
    """Whether an attribute is of a fit, by scikit-learn's convention."""
    return name.endswith("_") and not name.startswith("_")


def _fit_member(
    member: "BaseMLP",
    share: Member,
    learnt: dict[str, Any],
    arguments: FitArguments,
    config: dict[str, Any],
) -> _Outcome:
    """Fit a member, in a thread of its own.

    learnt : what the check of the data has left; config : scikit-learn's, which each thread has its own of
    """
    diverged: list[str] = []

    def work(draft: "BaseMLP") -> Remarks:
        draft.__dict__.update(learnt)
        # Of the draft: the member keeps its parameters.
        draft._member, draft.n_threads = share, share.n_threads
        draft.callback = share.numbered(draft.callback)
        X, y, sample_weight, classes, given = arguments
        remarks = draft._train(X, y, sample_weight, False, classes, given, None)
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
    scores = [_score(one) for one in outcomes]
    by_score = not all(score is None or np.isnan(score) for score in scores)
    best = max(range(m), key=lambda number: _merit(outcomes[number], scores[number] if by_score else None))
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


def _score(outcome: _Outcome) -> float | None:
    """Validation score of the parameters that a network has kept; None without validation rows."""
    model: Any = outcome.model
    scores = getattr(model, "validation_scores_", None)
    if not scores:
        return None
    return float(model.best_validation_score_ if model.early_stopping else scores[-1])


def _merit(outcome: _Outcome, score: float | None) -> tuple[bool, float]:
    """How good a network is; the higher, the better.

    score : by which to tell; None for the loss
    """
    merit = -getattr(outcome.model, "loss_", np.inf) if score is None else score
    return outcome.diverged is None, -np.inf if np.isnan(merit) else float(merit)


def _remarks(outcomes: list[_Outcome], m: int) -> tuple[Warning, ...]:
    """What the networks have to tell, each kind once: in the words of the first, and of how many it holds."""
    kinds: dict[tuple[type, str], list[Warning]] = {}
    for one in outcomes:
        # A network says one thing once; texts that differ in their numbers are of one kind.
        of_one = {(type(warning), re.sub(r"\d+", "", str(warning))): warning for warning in one.warnings}
        for kind, warning in of_one.items():
            kinds.setdefault(kind, []).append(warning)
    return tuple(type(told[0])(f"{len(told)} of {m} networks: {told[0]}") for told in kinds.values())
