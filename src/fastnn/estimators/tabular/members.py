"""Many networks for one table: on which rows each is trained, and what they are together."""

import math
from collections.abc import Sequence
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn import config_context, get_config
from sklearn.model_selection import KFold, StratifiedKFold
from sklearn.utils import check_random_state

from fastnn.estimators.draft import Remarks
from fastnn.estimators.mlp.members import Member
from fastnn.estimators.tabular.training import Table, Training, train_network
from fastnn.kernels.shared.threads import threads_allowed, use_threads
from fastnn.kernels.shared.user_warnings import kept_warnings
from fastnn.networks.side_by_side import side_by_side

if TYPE_CHECKING:
    from fastnn.estimators.tabular.base import BaseRealMLP

# Rows to train on, and those that are held out; None for all of a table.
Split = tuple[np.ndarray | None, np.ndarray | None]


def wants_many(model: "BaseRealMLP") -> bool:
    """Whether the parameters of an estimator ask for many networks."""
    return model.n_cv > 1 or model.n_refit > 0 or model.ensemble is not None


def splits_of(model: "BaseRealMLP", table: Table, rng: np.random.RandomState) -> list[Split]:
    """The rows that each network trains on, and those that judge it.

    Raises
    ------
    ValueError
        One of the two parts would be empty, or have no weight; or there are fewer rows than folds.
    """
    n = table.columns.n_rows
    if model.n_cv == 1:
        n_train = math.ceil((1.0 - model.validation_fraction) * n)
        if n_train == n:
            raise ValueError(
                f"With n_samples={n} and validation_fraction={model.validation_fraction} no row is held out "
                "to say which epoch is the best. Give more rows, a larger validation_fraction, or X_val."
            )
        order = rng.permutation(n)
        splits: list[Split] = [(order[:n_train], order[n_train:])]
    else:
        if n < model.n_cv:
            raise ValueError(f"n_cv={model.n_cv} folds need as many rows, got n_samples={n}.")
        splits = _folds(model, table, rng)
    for split in splits:
        if not all(weights is None or weights.any() for weights in map(table.weights, split)):
            raise ValueError(
                "Sample weights must contain at least one non-zero number in both the training and the "
                "validation part."
            )
    return splits


def _folds(model: "BaseRealMLP", table: Table, rng: np.random.RandomState) -> list[Split]:
    strata, X = model._strata(table.Y), np.empty((table.columns.n_rows, 0))
    # Of classes with fewer rows than folds not every fold can have one.
    if strata is not None and np.bincount(strata).min() >= model.n_cv:
        return list(StratifiedKFold(model.n_cv, shuffle=True, random_state=rng).split(X, strata))
    return list(KFold(model.n_cv, shuffle=True, random_state=rng).split(X))


def train_members(
    model: "BaseRealMLP", table: Table, judges: Table, splits: Sequence[Split], rng: np.random.RandomState
) -> Remarks:
    """Train the networks of an estimator, and make it what they are together.

    Parameters
    ----------
    model : estimator
        A draft that has checked the rows.
    table : Table
        To train on.
    judges : Table
        Where the rows that are held out are.
    splits : sequence of Split
    rng : numpy.random.RandomState
        Source of a number for each network, from which its own numbers follow.

    Returns
    -------
    remarks : tuple of Warning
    """
    m = model.ensemble or 1
    seeds = iter(rng.randint(2**31 - 1, size=m * (len(splits) + model.n_refit)).tolist())
    trainings = [
        Training(table, rows, judges, held_out, check_random_state(next(seeds)))
        for rows, held_out in splits
        for _ in range(m)
    ]
    members, remarks = _trained(model, trainings, 0)
    if model.n_cv > 1:
        model.out_of_fold_ = _out_of_fold(members, table, splits, m)
    if model.n_refit:
        n_epochs = _best_epoch(members) + 1
        again = [
            Training(table, None, None, None, check_random_state(seed), n_epochs=n_epochs) for seed in seeds
        ]
        members, more = _trained(model, again, len(members))
        remarks += more
    model.__dict__.update(
        estimators_=members,
        n_outputs_=members[0].n_outputs_,
        n_iter_=np.array([member.n_iter_ for member in members]),
    )
    return tuple(remarks)


def _trained(
    model: "BaseRealMLP", trainings: Sequence[Training], first: int
) -> tuple[list[Any], list[Warning]]:
    """An estimator for each training, and what is to be told of all of them.

    first : number of the first one
    """
    parameters = model.get_params(deep=False) | {"n_cv": 1, "n_refit": 0, "ensemble": None}
    # What the check of the rows has left.
    learnt = {name: value for name, value in vars(model).items() if name not in parameters}
    n_threads = threads_allowed()
    at_once = min(len(trainings), n_threads)
    calls, config, jobs = Lock(), get_config(), []
    for number, training in enumerate(trainings, first):
        member = type(model)(**parameters)
        member.__dict__.update(learnt)
        share = Member(number, n_threads // at_once, (None, None), None, calls)
        jobs.append(partial(_train_member, member, share, training, config))
    remarks: dict[str, Warning] = {}
    for kept in side_by_side(jobs, at_once):
        remarks |= {str(warning): warning for warning in kept}
    return [job.args[0] for job in jobs], list(remarks.values())


def _train_member(
    member: "BaseRealMLP", share: Member, training: Training, config: dict[str, Any]
) -> list[Warning]:
    """Train one network, in a thread of its own; what is to be told of it."""

    def work(draft: "BaseRealMLP") -> Remarks:
        draft._member = share
        # Of the draft: the member keeps its parameters.
        draft.callback = share.numbered(draft.callback)
        with use_threads(share.n_threads):
            remark = train_network(draft, training)
        del draft._member
        return remark

    with config_context(**config), kept_warnings() as warnings:
        member._on_draft(work)
    return warnings


def _out_of_fold(members: Sequence[Any], table: Table, splits: Sequence[Split], m: int) -> np.ndarray:
    """What the networks of each fold make of its rows, in the order of the table."""
    parts = []
    for fold, (_, held_out) in enumerate(splits):
        of_fold = members[fold * m : (fold + 1) * m]
        parts.append(sum(member._outputs_of(table.columns, held_out) for member in of_fold) / m)
    out = np.concatenate(parts)
    out[np.concatenate([held_out for _, held_out in splits])] = out.copy()
    return members[0]._as_predictions(out)


def _best_epoch(members: Sequence[Any]) -> int:
    """The epoch whose scores have the best mean over the networks, the last one of equals."""
    n_epochs = min(len(member.validation_scores_) for member in members)
    scores = np.mean([member.validation_scores_[:n_epochs] for member in members], axis=0)
    scores = np.where(np.isnan(scores), -np.inf, scores)
    return int(n_epochs - 1 - scores[::-1].argmax())
