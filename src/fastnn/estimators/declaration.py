"""Parameters of estimators: each is declared once, with its default, what it may be, and its documentation.

From the declarations in a class and its bases come ``__init__`` with a signature like any other, what
scikit-learn checks in a fit, and the section Parameters of the docstring. Static tools read them by PEP 681,
as they read the fields of a dataclass, so that editors complete and type checkers check the parameters.
"""

import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from numbers import Integral, Real
from textwrap import TextWrapper
from typing import Any, TypeVar, cast, dataclass_transform

import numpy as np
from sklearn.utils._param_validation import Interval

# What many numbers may be.
AT_LEAST_ONE = Interval(Integral, 1, None, closed="left")
NOT_NEGATIVE = Interval(Real, 0, None, closed="left")
POSITIVE = Interval(Real, 0, None, closed="neither")
BELOW_ONE = Interval(Real, 0, 1, closed="left")

T = TypeVar("T")
Class = TypeVar("Class", bound=type)


@dataclass(frozen=True)
class Parameter:
    """A declared parameter; what the fields are says ``parameter``."""

    allowed: tuple[Any, ...]
    default: Any
    doc: str
    kind: str | None
    kw_only: bool
    shown: str | None

    @property
    def stated_default(self) -> str:
        """The default as documentation writes it: in the quotes of the type, and 1e-8 for Python's 1e-08."""
        if self.shown is not None:
            return self.shown
        if isinstance(self.default, str) and "'" not in str(self.kind):
            return f'"{self.default}"'
        return re.sub(r"e-0(\d)$", r"e-\1", repr(self.default))


def is_default(value: Any, default: Any) -> bool:
    """Whether a parameter has its default, which may have been given as a number of fewer digits."""
    if isinstance(default, float):
        return value in (default, float(np.float32(default)), float(np.float16(default)))
    return bool(value == default)


def one_of(names: Iterable[str]) -> str:
    """The names of a table, in its order, as documentation writes a type: ``{"a", "b"}``."""
    listed = ", ".join(f'"{name}"' for name in names)
    return f"{{{listed}}}"


def parameter(
    *allowed: Any,
    default: T,
    doc: str = "",
    kind: str | None = None,
    kw_only: bool = True,
    shown: str | None = None,
) -> T:
    """Declare a parameter in the body of a class that is ``declared``: ``alpha: float = parameter(...)``.

    Parameters
    ----------
    *allowed : constraints of scikit-learn
        What a value may be: one of these, as in ``_parameter_constraints``.
    default : object
        Value of who gives none.
    doc : str, default=""
        Documentation. Without any the parameter shares the entry of the one before.
    kind : str, default=None
        Type as the documentation names it; None stands for the annotation.
    kw_only : bool, default=True
        Whether it is given by name alone. Static tools read the value: True or False, spelled out.
    shown : str, default=None
        The default as the documentation writes it, where it is to be another text than Python's.

    Returns
    -------
    parameter : object
        For static tools the default, whose type they hold against the annotation.
    """
    return cast(T, Parameter(allowed, default, doc, kind, kw_only, shown))


@dataclass_transform(eq_default=False, kw_only_default=True, field_specifiers=(parameter,))
def declared(cls: Class) -> Class:
    """A class of parameters, for estimators to inherit from.

    Parameters
    ----------
    cls : type
        All its annotations are parameters. It inherits from other such classes alone: below a class that they
        do not know, such as scikit-learn's, type checkers let every keyword pass.

    Returns
    -------
    cls : type
        The same, its parameters taken out of its attributes.

    Raises
    ------
    TypeError
        A base is another class, or an annotation is no parameter: static tools would take it for one.
    """
    for base in cls.__mro__[1:-1]:
        if "_declared" not in vars(base):
            raise TypeError(f"{cls.__name__} inherits from {base.__name__}, which is not declared.")
    own = {name: value for name, value in vars(cls).items() if isinstance(value, Parameter)}
    for name, annotation in inspect.get_annotations(cls).items():
        if name not in own:
            raise TypeError(f"{cls.__name__}.{name} is annotated, and no parameter().")
        delattr(cls, name)  # for an estimator has it, and not its class
        if own[name].kind is None:
            own[name] = replace(own[name], kind=annotation.__name__)
    cast(Any, cls)._declared = own
    return cls


def estimator(cls: Class) -> Class:
    """Make what follows from the parameters that the bases of an estimator declare.

    Parameters
    ----------
    cls : type
        An estimator, among whose bases are classes that are ``declared``.

    Returns
    -------
    cls : type
        The same, with ``__init__``, ``_parameter_constraints`` and the section Parameters of its docstring.

    Raises
    ------
    TypeError
        A parameter has no documentation.
    """
    namespace, parameters = cast(Any, cls), _in_order(cls)
    namespace._parameter_constraints = {name: list(each.allowed) for name, each in parameters.items()}
    namespace.__init__ = _constructor(cls, parameters)
    if cls.__doc__:  # which python -OO takes away
        cls.__doc__ = _with_section(inspect.cleandoc(cls.__doc__), _section(cls, parameters))
    return cls


def _in_order(cls: type) -> dict[str, Parameter]:
    """All parameters of a class: first those that may be given by position, then the others.

    Positions count from the bases to the class, as in a dataclass: so static tools read them. Of the others,
    whose order is that of the documentation alone, those of the class come first.
    """
    levels: list[dict[str, Parameter]] = [vars(base).get("_declared", {}) for base in cls.__mro__]
    found: dict[str, Parameter] = {}
    for level in levels:
        found = {**found, **{name: each for name, each in level.items() if name not in found}}
    from_the_bases = dict.fromkeys(name for level in reversed(levels) for name in level)
    positional = [name for name in from_the_bases if not found[name].kw_only]
    return {name: found[name] for name in (*positional, *found)}


def _constructor(cls: type, parameters: dict[str, Parameter]) -> Callable[..., None]:
    """An ``__init__`` that keeps its arguments: written out, so that Python itself checks what is given."""
    arguments, by_position = ["self"], True
    for name, each in parameters.items():
        if by_position and each.kw_only:
            arguments.append("*")
            by_position = False
        arguments.append(f"{name}=defaults[{name!r}]")
    lines = [f"def __init__({', '.join(arguments)}):", *(f"    self.{name} = {name}" for name in parameters)]
    namespace: dict[str, Any] = {"defaults": {name: each.default for name, each in parameters.items()}}
    exec("\n".join([*lines, "    return"]), namespace)
    init = namespace["__init__"]
    init.__qualname__, init.__module__ = f"{cls.__qualname__}.__init__", cls.__module__
    return init


_WRAPPED = TextWrapper(
    width=110, initial_indent="    ", subsequent_indent="    ", break_long_words=False, break_on_hyphens=False
)


def _section(cls: type, parameters: dict[str, Parameter]) -> str:
    """The section Parameters of the docstring."""
    entries: list[dict[str, Parameter]] = []
    for name, each in parameters.items():
        if each.doc:
            entries.append({name: each})
        elif entries:
            entries[-1][name] = each
        else:
            raise TypeError(f"The parameter {name} of {cls.__name__} has no documentation.")
    lines = ["Parameters", "----------"]
    for entry in entries:
        first = next(iter(entry.values()))
        defaults = ", ".join(each.stated_default for each in entry.values())
        lines.append(f"{', '.join(entry)} : {first.kind}, default={defaults}")
        for line in inspect.cleandoc(first.doc).splitlines():
            # One that holds the names of a table may have become long.
            lines += _WRAPPED.wrap(line)
    return "\n".join(lines)


def _with_section(doc: str, section: str) -> str:
    """A docstring with one section more, before the others."""
    heading = re.search(r"^\S[^\n]*\n-{3,}$", doc, flags=re.MULTILINE)
    end = heading.start() if heading else len(doc)
    return f"{doc[:end].rstrip()}\n\n{section}\n\n{doc[end:]}".rstrip()
