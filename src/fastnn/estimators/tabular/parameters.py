"""The parameters of all estimators that take tables, each declared once."""

from typing import Any

from sklearn.utils._param_validation import StrOptions

from fastnn.estimators.declaration import declared, parameter


@declared
class TableParameters:
    """What an estimator can be told about the columns of a table."""

    categorical_features: Any = parameter(
        "array-like",
        StrOptions({"from_dtype"}),
        None,
        default="from_dtype",
        kind="'from_dtype' or array-like of {bool, int, str}",
        doc="""
        The categorical columns: a mask, their places, or their names. ``'from_dtype'``, as in
        :class:`~sklearn.ensemble.HistGradientBoostingClassifier`, finds them in a frame of pandas or polars:
        those of a categorical type, and beyond what is done there those that hold nothing but strings.
        Columns of an array, and Booleans, are numbers. None stands for no categorical column.
        """,
    )
    missing: str = parameter(
        StrOptions({"error", "median"}),
        default="error",
        kind="{'error', 'median'}",
        doc="""
        What to do about missing numbers. ``'median'`` puts the median of the training rows in their place;
        each column that lacks some in training gets a second one, which says where. Missing categories are
        none of the known ones, and no error.
        """,
    )
