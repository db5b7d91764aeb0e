"""scikit-learn's callbacks (1.9 and later): a fit, its runs and their iterations as tasks."""

from typing import Any

import numpy as np


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

    def _callback_context(self) -> Any:
        """scikit-learn's context of a fit that begins; None where nobody listens.

        What it sets has to last until the fit has ended, well or not: to be asked of the estimator, not of
        its draft.
        """
        if not (hasattr(self, "_skl_callbacks") or hasattr(self, "_parent_callback_ctx")):
            return None
        from sklearn.callback import CallbackSupportMixin

        return CallbackSupportMixin._init_callback_context(self, max_subtasks=None)


class Tasks:
    """A fit of several runs of several iterations.

    Parameters
    ----------
    estimator : object
        Whose fit it is.
    context : sklearn.callback.CallbackContext
        Of the fit.
    """

    def __init__(self, estimator: Any, context: Any) -> None:
        self._estimator, self._fit = estimator, context
        self._data: dict[str, Any] = {}

    def begin(self, X: Any, sample_weight: np.ndarray | None) -> None:
        """The fit begins, with these data."""
        metadata = None if sample_weight is None else {"sample_weight": sample_weight}
        self._data = {"estimator": self._estimator, "X": X, "y": None, "metadata": metadata}
        self._fit.call_on_fit_task_begin(**self._data)

    def begin_run(self, max_iter: int) -> None:
        """A run begins, of at most that many iterations."""
        self._run = self._fit.subcontext(task_name="run", max_subtasks=max_iter)
        self._run.call_on_fit_task_begin(**self._data)

    def iteration(self, centers: np.ndarray) -> bool:
        """An iteration has led to these centres; whether a callback wants the run to end."""
        task = self._run.subcontext(task_name="iteration")
        task.call_on_fit_task_begin(**self._data)
        return bool(task.call_on_fit_task_end(**self._data, reconstruction_attributes=_fitted(centers)))

    def end_run(self, centers: np.ndarray) -> bool:
        """The run has ended; whether a callback wants no more of them."""
        return bool(self._run.call_on_fit_task_end(**self._data, reconstruction_attributes=_fitted(centers)))

    def end(self) -> None:
        """The fit has ended, and the estimator has its attributes."""
        self._fit.call_on_fit_task_end(**self._data, reconstruction_attributes={})


def _fitted(centers: np.ndarray) -> Any:
    """What makes a copy of the estimator one that predicts. A copy: the centres move on."""
    return lambda: {"cluster_centers_": centers.copy()}
