"""scikit-learn's callbacks (1.9 and later): a fit, its runs and their iterations as tasks."""

from collections.abc import Callable
from typing import Any


class CallbackSupport:
    """Lets an estimator have callbacks. scikit-learn's part is loaded when the first one is set."""

    def set_callbacks(self, *callbacks):
        """Set what is called during `fit`.

        Parameters
        ----------
        *callbacks : callback instances
            Such as ``sklearn.callback.ProgressBar()``; none take away those that are set.

        Returns
        -------
        self : object
            The estimator.

        Raises
        ------
        ImportError
            scikit-learn is older than 1.9.
        """
        from sklearn.callback import CallbackSupportMixin

        return CallbackSupportMixin.set_callbacks(self, *callbacks)

    def _tasks(self, max_subtasks: int | None = None) -> "Tasks | None":
        """The tasks of a fit that begins; None where nobody listens.

        What scikit-learn sets then has to last until the fit has ended, well or not: to be asked of the
        estimator, not of its draft.

        max_subtasks : tasks below the fit at most; None where that is not known
        """
        if not (hasattr(self, "_skl_callbacks") or hasattr(self, "_parent_callback_ctx")):
            return None
        from sklearn.callback import CallbackSupportMixin

        context = CallbackSupportMixin._init_callback_context(self, max_subtasks=max_subtasks)
        return Tasks(self, context)


class Tasks:
    """A fit as a task, and below it its iterations; or its runs, and below these their iterations.

    Parameters
    ----------
    estimator : object
        Whose fit it is.
    context : sklearn.callback.CallbackContext
        Of the fit.
    """

    def __init__(self, estimator: Any, context: Any) -> None:
        self._estimator, self._fit = estimator, context
        self._run = context
        self._draft = estimator
        self._data: dict[str, Any] = {}

    def begin(self, draft: Any, X: Any, y: Any, sample_weight: Any) -> None:
        """The fit begins, with these data; the draft has checked them."""
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._draft = draft
        self._data = {"estimator": self._estimator, "X": X, "y": y, "metadata": metadata}
        self._fit.call_on_fit_task_begin(**self._data)

    def begin_run(self, max_iter: int) -> None:
        """A run begins, of at most that many iterations."""
        self._run = self._fit.subcontext(task_name="run", max_subtasks=max_iter)
        self._run.call_on_fit_task_begin(**self._data)

    def step(self, name: str, attributes: Callable[[], dict[str, Any]]) -> bool:
        """An iteration has been done; whether a callback wants no more of them.

        attributes : gives the fitted attributes that it has led to, where a callback asks for them
        """
        task = self._run.subcontext(task_name=name)
        task.call_on_fit_task_begin(**self._data)
        return self._end(task, attributes)

    def end_run(self, attributes: Callable[[], dict[str, Any]]) -> bool:
        """The run has ended; whether a callback wants no more of them."""
        return self._end(self._run, attributes)

    def end(self) -> None:
        """The fit has ended, and the draft has its attributes."""
        self._end(self._fit, dict)

    def _end(self, task: Any, attributes: Callable[[], dict[str, Any]]) -> bool:
        # The estimator itself has nothing of this fit yet.
        parameters = self._estimator.get_params(deep=False)

        def fitted() -> dict[str, Any]:
            known = {name: value for name, value in vars(self._draft).items() if name not in parameters}
            return known | attributes()

        return bool(task.call_on_fit_task_end(**self._data, reconstruction_attributes=fitted))
