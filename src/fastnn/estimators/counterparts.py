"""Between an estimator and scikit-learn's of the same kind: what one takes over from the other."""

from collections.abc import Iterable
from copy import deepcopy
from importlib import import_module
from typing import Any

from sklearn.base import clone
from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints
from sklearn.utils.validation import check_is_fitted


def class_there(cls: Any) -> Any:
    """scikit-learn's class of the same kind, which `_counterpart` names; its module is loaded now."""
    module, _, name = cls._counterpart.rpartition(".")
    return getattr(import_module(module), name)


def shared_parameters(estimator: Any, kind: Any) -> dict[str, Any]:
    """Copies of those parameters of an estimator that another class of estimators has and takes as well.

    Parameters
    ----------
    estimator : object
        One of scikit-learn's or of this package.
    kind : type
        The other class. What it does not have, or no such value of, is left at its default.
    """
    names, shared = kind._get_param_names(), {}
    for name, value in estimator.get_params(deep=False).items():
        if name not in names:
            continue
        try:
            validate_parameter_constraints(
                {name: kind._parameter_constraints[name]}, {name: value}, kind.__name__
            )
        except InvalidParameterError:
            continue
        shared[name] = clone(value, safe=False)
    return shared


def copy_attributes(names: Iterable[str], source: Any, target: Any) -> None:
    """Give an estimator copies of those of these attributes that another has."""
    for name in names:
        if hasattr(source, name):
            setattr(target, name, deepcopy(getattr(source, name)))


def check_counterpart(estimator: Any, kind: type, attribute: str) -> None:
    """Make sure that an estimator is a fitted one of scikit-learn's.

    Parameters
    ----------
    estimator : object
    kind : type
        Which it has to be.
    attribute : str
        What it has if it is fitted.

    Raises
    ------
    TypeError
        It is none.
    NotFittedError
        It is not fitted.
    """
    if not isinstance(estimator, kind):
        given = type(estimator)
        raise TypeError(
            f"from_sklearn takes a fitted {kind.__name__} of scikit-learn, got one of "
            f"{given.__module__}.{given.__qualname__}."
        )
    check_is_fitted(estimator, attribute)
