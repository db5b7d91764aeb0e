"""Warnings that point at the line of the user's code from which the package was called."""

import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import FrameType

# Between the user's line and the place that warns lie the frames of these packages: scikit-learn's
# decorators, pipelines and searches, joblib's loops, and Numba, which looks into the cache.
_NOT_THE_USERS = frozenset({"fastnn", "sklearn", "joblib", "numba"})

# Where this thread's warnings go, if to a list.
_kept: ContextVar[list[Warning] | None] = ContextVar("fastnn_warnings", default=None)


@contextmanager
def kept_warnings() -> Iterator[list[Warning]]:
    """A list that gets what ``warn`` is to say in the block, of this thread alone.

    For work in threads of our own: none of their frames is the user's. What is kept is to be given later.
    """
    kept: list[Warning] = []
    token = _kept.set(kept)
    try:
        yield kept
    finally:
        _kept.reset(token)


def warn(message: str | Warning, category: type[Warning] = UserWarning) -> None:
    """As ``warnings.warn``, for the line of the innermost frame that is the user's.

    Parameters
    ----------
    message : str or Warning
        What to say; the class of a Warning is its category.
    category : type, default=UserWarning
        Of a message that is a string.
    """
    kept = _kept.get()
    if kept is not None:
        kept.append(message if isinstance(message, Warning) else category(message))
        return
    frame = _users_frame(sys._getframe(1))
    # Not by `warnings.warn` with a number of frames, which does not count those of the import system.
    warnings.warn_explicit(
        message,
        category,
        frame.f_code.co_filename,
        frame.f_lineno,
        frame.f_globals.get("__name__"),
        frame.f_globals.setdefault("__warningregistry__", {}),
    )


def _users_frame(frame: FrameType) -> FrameType:
    """The innermost frame of other packages, from this one outwards; the outermost one if there is none."""
    while frame.f_back is not None and _is_skipped(frame):
        frame = frame.f_back
    return frame


def _is_skipped(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__") or ""
    return module.partition(".")[0] in _NOT_THE_USERS or module.startswith("importlib._bootstrap")
