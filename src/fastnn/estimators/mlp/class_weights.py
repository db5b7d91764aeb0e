"""Weights of classes, which multiply those of the rows: the parameter, and what it makes of targets."""

from collections.abc import Iterable, Mapping
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import StrOptions
from sklearn.utils.class_weight import compute_class_weight

from fastnn.estimators.declaration import declared, parameter
from fastnn.networks.one_hot import OneHot


@declared
class ClassWeightParameters:
    """What a classifier can be told of the weights of its classes."""

    class_weight: dict[Any, float] | list[dict[int, float] | str] | str | None = parameter(
        dict,
        list,
        StrOptions({"balanced"}),
        None,
        default=None,
        kind='dict, "balanced", list of these or None',
        doc="""
        Weights of the classes, ``{class: weight}``, which multiply ``sample_weight``; classes that are not
        named have 1. ``"balanced"`` gives each class ``n_samples / (n_classes * count)``, where the samples
        of all of y count, each with its ``sample_weight``, before ``early_stopping`` takes some of them; the
        validation score is weighted too, and rows of `X_val` have the weights of these classes. For
        multi-label targets a list with ``{0: weight, 1: weight}`` or ``"balanced"`` for each label, or
        ``"balanced"`` for all; the weight of a row is then the product. ``partial_fit`` refuses
        ``"balanced"``, and ``fit_soft`` any.
        """,
    )


def counts_classes(class_weight: Any) -> bool:
    """Whether the weights of classes depend on how often these come, of one label at least."""
    of_labels = class_weight if isinstance(class_weight, list) else [class_weight]
    return any(isinstance(one, str) and one == "balanced" for one in of_labels)


def weights_of_classes(
    class_weight: Any, Y: np.ndarray | OneHot, classes: np.ndarray, sample_weight: np.ndarray | None
) -> np.ndarray:
    """The weight of each class.

    Parameters
    ----------
    class_weight : dict, "balanced" or list of these
    Y : OneHot, or ndarray of bool of shape (n, n_outputs)
        Targets of the network; with one column those of two classes, with several those of several labels.
    classes : ndarray of shape (n_classes,)
        Labels of the classes; not read where there are several labels.
    sample_weight : ndarray of shape (n,) or None
        By which ``"balanced"`` counts.

    Returns
    -------
    weights : ndarray of shape (n_classes,), or (n_outputs, 2) for several labels
        float64. 0 for ``"balanced"`` where the samples of a class weigh nothing.

    Raises
    ------
    ValueError
        There are classes that are not in a mapping which has others; or weights that are negative or not
        finite; or mappings that do not suit the targets.
    """
    if isinstance(Y, np.ndarray) and Y.shape[1] > 1:
        n_labels = Y.shape[1]
        if isinstance(class_weight, Mapping):
            raise ValueError(
                "For multi-label targets class_weight must be a list of one mapping for each label, or "
                '"balanced"; got one mapping.'
            )
        if class_weight != "balanced" and len(class_weight) != n_labels:
            raise ValueError(
                "For multi-label targets class_weight must be a list of one mapping for each label: it has "
                f"{len(class_weight)} elements, and there are {n_labels} labels."
            )
        of_labels = ["balanced"] * n_labels if class_weight == "balanced" else class_weight
        labels = zip(of_labels, Y.T.astype(np.intp), strict=True)
        return np.array([_of_codes(one, codes, np.arange(2), sample_weight) for one, codes in labels])
    codes = Y.codes if isinstance(Y, OneHot) else Y[:, 0].astype(np.intp)
    return _of_codes(class_weight, codes, classes, sample_weight)


def weights_of_rows(of_classes: np.ndarray, Y: np.ndarray | OneHot) -> np.ndarray:
    """What the weights of classes make the weight of each row of a network's targets: (n,), float64."""
    if isinstance(Y, OneHot):
        return of_classes[Y.codes]
    if of_classes.ndim == 1:
        return of_classes[Y[:, 0].astype(np.intp)]
    weights = np.ones(len(Y))
    for of_label, column in zip(of_classes, Y.T, strict=True):
        weights *= of_label[column.astype(np.intp)]
    return weights


def _of_codes(
    class_weight: Any, codes: np.ndarray, classes: np.ndarray, sample_weight: np.ndarray | None
) -> np.ndarray:
    if isinstance(class_weight, Mapping):
        _check_numbers(class_weight.values())
        # scikit-learn's, for its rules on keys: the classes themselves are targets enough.
        return compute_class_weight(dict(class_weight), classes=classes, y=classes)
    if class_weight != "balanced":
        raise ValueError(
            'class_weight must be a mapping or "balanced", or for multi-label targets a list of these; got '
            f"{class_weight!r}."
        )
    # That of scikit-learn 1.9: earlier versions do not know the weights.
    counts = np.bincount(codes, weights=sample_weight, minlength=len(classes))
    n_present = np.count_nonzero(np.bincount(codes, minlength=len(classes)))
    weights = np.zeros(len(classes))
    return np.divide(counts.sum(), n_present * counts, out=weights, where=counts > 0)


def _check_numbers(weights: Iterable[Any]) -> None:
    for weight in weights:
        if not (isinstance(weight, Real) and isfinite(weight) and float(weight) >= 0):
            raise ValueError(f"class_weight must hold finite numbers that are not negative, got {weight!r}.")
