"""All or nothing: a fit works on a draft of its estimator, which gets what came of it at the end."""

from collections.abc import Callable
from functools import cache
from numbers import Integral, Real
from typing import Any, Self

import numpy as np

from fastnn.kernels.shared.user_warnings import warn

# What is to be told of a call that is over: warnings, or an error, or several of them, or nothing.
Remarks = Exception | tuple[Exception, ...] | None

# Of nearly every parameter: quicker to know than what is abstract.
_PLAIN = frozenset({int, float, bool, str, type(None)})


def python_number(value: Any) -> Any:
    """A number of NumPy, or any other type, as one of Python; what is no number as it is.

    Compiled functions are compiled for the types of their arguments, and NumPy's small types overflow.
    """
    if type(value) in _PLAIN:
        return value
    if isinstance(value, bool | np.bool_):
        return bool(value)
    if isinstance(value, Integral):
        return int(value)
    return float(value) if isinstance(value, Real) else value


class Drafting:
    """What makes the methods of an estimator that change it succeed as a whole or change nothing."""

    @classmethod
    @cache
    def _get_param_names(cls) -> list[str]:
        """scikit-learn's, which looks at the signature of ``__init__`` anew in every fit: 30 of 500 us."""
        return super()._get_param_names()  # type: ignore[misc]

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Take over what was pickled; parameters that there were none of at that time have their defaults."""
        declared = [vars(base).get("_declared", {}) for base in reversed(type(self).__mro__)]
        defaults = {name: each.default for level in declared for name, each in level.items()}
        super().__setstate__(defaults | state)  # type: ignore[misc]

    def _draft(self) -> Self:
        """Another estimator with what this one holds, but that numbers among its parameters are Python's."""
        draft = object.__new__(type(self))
        vars(draft).update(vars(self))
        for name in self._get_param_names():
            if name in vars(draft):
                vars(draft)[name] = python_number(vars(draft)[name])
        return draft

    def _on_draft(self, work: Callable[[Self], Remarks]) -> Self:
        """Do work on a draft of this estimator, and take over its attributes once all of it is done.

        Parameters
        ----------
        work : callable
            Gets the draft. It may bind attributes of the draft to other values, and must not change values in
            place. It returns what is to be told when the attributes have been taken over.

        Returns
        -------
        self : object
        """
        parameters = self._get_param_names()
        before = dict(vars(self))
        draft = self._draft()
        remarks = work(draft) or ()
        fitted = {name: value for name, value in vars(draft).items() if name not in parameters}
        gone = before.keys() - vars(draft).keys()
        attributes = {name: value for name, value in vars(self).items() if name not in gone} | fitted
        self.__dict__ = attributes  # in one step, for which no memory is needed
        # Last, so that a filter that turns warnings into errors does not cost the user the model.
        for remark in remarks if isinstance(remarks, tuple) else (remarks,):
            if not isinstance(remark, Warning):
                raise remark
            warn(remark)
        return self
