"""All or nothing: an estimator's attributes while a method that may fail changes them."""

from typing import Any


class Transaction:
    """Restore an object's attributes when the block raises, unless it has called ``commit``.

    Only the binding of names to values is kept. Inside the block replace attributes rather than change
    their values in place.

    Parameters
    ----------
    target : object
        The estimator.
    """

    def __init__(self, target: Any) -> None:
        self._target = target

    def __enter__(self) -> "Transaction":
        self._before = dict(vars(self._target))
        self._committed = False
        return self

    def commit(self) -> None:
        """Keep the attributes as they are now, whatever the block raises afterwards."""
        self._committed = True

    def __exit__(self, kind: Any, error: Any, traceback: Any) -> None:
        # Also for KeyboardInterrupt: an interrupted validation is a failed call too.
        if kind is not None and not self._committed:
            attributes = vars(self._target)
            attributes.clear()
            attributes.update(self._before)
