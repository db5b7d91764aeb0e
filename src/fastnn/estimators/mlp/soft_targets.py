"""Training on the probabilities of classes, where a row has no class of its own."""

from typing import TYPE_CHECKING, Any, NamedTuple, Self, cast

import numpy as np
from sklearn.base import _fit_context
from sklearn.utils import check_array

from fastnn.estimators.sparse_rows import canonical_csr
from fastnn.kernels import to_host

if TYPE_CHECKING:
    from fastnn.estimators.mlp.classifier import MLPClassifier

# From 1, of the sum of a row: probabilities that were rounded to four decimals, or are float16, are told
# apart from what are none. Rows are divided by their sums.
SUM_TOLERANCE = 1e-3


class SoftTargets(NamedTuple):
    """In the place of the y of a fit: probabilities of the classes."""

    P: Any  # array-like (n_samples, n_classes)


class SoftFit:
    """What a classifier can learn besides classes."""

    @_fit_context(prefer_skip_nested_validation=True)
    def fit_soft(self, X, P, sample_weight=None, *, classes=None) -> Self:
        """Fit the network to probabilities of the classes: of several annotators, or of another model.

        The loss is that of ``fit`` with these targets: the cross-entropy ``-sum(P * log(predict_proba(X)))``,
        whose minimum is where they are equal. Rows of a 0 and 1 each make the model of ``fit``.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Training data, as of ``fit``.
        P : array-like of shape (n_samples, n_classes)
            Probabilities of two or more classes in each row, none negative. Rows have to sum to 1 within
            0.001, and are divided by their sums.
        sample_weight : array-like of shape (n_samples,), default=None
            Weights of the samples, none negative and not all zero. None stands for equal weights.
        classes : array-like of shape (n_classes,), default=None
            Labels of the columns, sorted. None stands for 0, 1, ...; with ``warm_start=True`` for those that
            the model has.

        Returns
        -------
        self : object
            The fitted estimator, with all attributes of ``fit``.

        Raises
        ------
        ValueError
            As of ``fit``; for rows that are no probabilities; and with ``class_weight``, since no row has a
            class.

        Notes
        -----
        For ``early_stopping`` the most probable class of a row counts as the true one, the first of equals.
        """
        model = cast("MLPClassifier", self)
        if model.class_weight is not None:
            raise ValueError(
                f"class_weight={model.class_weight!r} has no use in fit_soft, whose rows have no class. Give "
                "sample_weight instead."
            )
        classes = canonical_csr(to_host(classes), "classes")
        model._fit(X, SoftTargets(P), sample_weight, incremental=False, classes=classes)
        return self

    def _validate_soft(self, X: Any, P: Any, classes: Any, reset: bool) -> tuple[Any, np.ndarray]:
        """Check the data of a fit; return X and the targets of the network. The classes get their names."""
        model = cast("MLPClassifier", self)
        X, P = model._validated(X, checked_probabilities(P), reset=reset)
        n_classes = P.shape[1]
        if model.warm_start and hasattr(model, "classes_"):
            if model._label_binarizer.y_type_ not in ("binary", "multiclass"):
                raise ValueError("fit_soft cannot go on with a network of several labels.")
            former = model.classes_
            if len(former) != n_classes or not (classes is None or np.array_equal(former, classes)):
                raise ValueError(
                    "warm_start can only be used where P has the classes of the previous call to fit. "
                    f"Previously got {former}, P has {n_classes} columns, and classes={classes}."
                )
        else:
            model._name_outputs(1 if n_classes == 2 else n_classes, classes, False)
        off, on = model._head().class_targets
        targets = off + (on - off) * P
        return X, targets[:, 1:] if n_classes == 2 else targets


def checked_probabilities(P: Any) -> np.ndarray:
    """Rows of probabilities, float64, each divided by its sum.

    Raises
    ------
    ValueError
        An element is negative or not finite, a row does not sum to 1, or there are fewer than two columns.
    TypeError
        The matrix is sparse.
    """
    P = check_array(canonical_csr(to_host(P), "P"), dtype=np.float64, input_name="P")
    if P.shape[1] < 2:
        raise ValueError(f"P must have a column for each of two classes or more, got shape {P.shape}.")
    if (P < 0).any():
        raise ValueError("P must hold probabilities: some are negative.")
    sums = P.sum(axis=1, keepdims=True)
    off = np.abs(sums[:, 0] - 1)
    if off.max() > SUM_TOLERANCE:
        row = int(off.argmax())
        raise ValueError(
            f"Each row of P must sum to 1 within {SUM_TOLERANCE}: row {row} sums to {sums[row, 0]:.6g}."
        )
    return P / sums
