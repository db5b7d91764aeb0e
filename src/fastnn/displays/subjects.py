"""What the displays are about, an estimator that is fitted, and what they draw on."""

from typing import Any

from sklearn.pipeline import Pipeline
from sklearn.utils._optional_dependencies import check_matplotlib_support
from sklearn.utils.validation import check_is_fitted


def fitted_subject(estimator: Any, caller: str, X: Any = None) -> tuple[Any, Any]:
    """The fitted estimator, which is the last step of a pipeline, and data as that step gets them.

    Parameters
    ----------
    estimator : estimator or Pipeline
    caller : str
        Name of the method that asks.
    X : array-like, default=None
        Data, as the estimator that is given gets them.

    Raises
    ------
    ImportError
        There is no Matplotlib to draw with.
    NotFittedError
        It is not fitted.
    TypeError
        It is no estimator.
    ValueError
        It is an ensemble.
    """
    check_matplotlib_support(caller)
    model = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    check_is_fitted(model)
    if hasattr(model, "estimators_"):
        raise ValueError(
            f"{caller} shows one estimator, and this {type(model).__name__} is an ensemble: give one of "
            "estimators_."
        )
    if X is None or model is estimator or not len(estimator[:-1]):
        return model, X
    return model, estimator[:-1].transform(X)


def axes_to_draw_on(ax: Any, caller: str) -> Any:
    """The given axes, or those of a new figure."""
    check_matplotlib_support(caller)
    import matplotlib.pyplot as plt

    return plt.subplots(layout="constrained")[1] if ax is None else ax


def count_in_whole_numbers(axis: Any) -> None:
    """Have ticks at whole numbers alone, for what is counted."""
    from matplotlib.ticker import MaxNLocator

    axis.set_major_locator(MaxNLocator(integer=True))
