"""TabularPreprocessor: what a network makes of a table, as a transformer of scikit-learn."""

from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin, _fit_context
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted

from fastnn.estimators.declaration import AT_LEAST_ONE, declared, estimator, parameter
from fastnn.estimators.draft import Drafting
from fastnn.estimators.tabular.columns import columns_of_fit, columns_of_predict
from fastnn.estimators.tabular.parameters import TableParameters
from fastnn.networks.encoding import EncodedRows, Encoding


@declared
class PreprocessorParameters(TableParameters):
    """What the transformer can be told."""

    sparse_output: bool = parameter(
        "boolean",
        default=False,
        doc="""
        Whether ``transform`` gives a CSR matrix, which :class:`~fastnn.MLPClassifier` and
        :class:`~fastnn.MLPRegressor` take: for categories by the thousand, of which each row has few.
        """,
    )


@estimator
class TabularPreprocessor(Drafting, TransformerMixin, BaseEstimator, PreprocessorParameters):
    """Numbers and categories of a table as inputs of a network, robustly scaled.

    The preprocessing of RealMLP-TD-S [1]_. Each category has a column, 1 where it is and 0 elsewhere; of two
    categories there is one column, 1 for the first in order and -1 for the second; missing and unknown
    categories are 0 everywhere. Then for each column, numbers and categories alike, from the median, the
    quartiles q and the extremes of the rows of ``fit``::

        x <- (x - median) / (q_75 - q_25)     or   2 (x - median) / (max - min)   where q_75 = q_25
        x <- x / sqrt(1 + (x / 3)^2)

    A constant column, or one of missing values alone, becomes 0. Numbers come first, in the order of `X`,
    then columns that say where numbers were missing (see ``missing``), then categories.

    Attributes
    ----------
    encoding_ : object
        What was learnt; internal.
    categories_ : list of ndarray
        The values of each categorical column, sorted.
    is_categorical_ : ndarray of shape (n_features_in_,) of bool
        Which columns are categorical.
    n_features_in_ : int
        Columns seen at fit.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Their names, where `X` had column names that are strings.

    See Also
    --------
    MLPClassifier : A network for what comes out.
    MLPRegressor : The same network for numbers.

    References
    ----------
    .. [1] Holzmueller, Grinsztajn and Steinwart (2024), "Better by default: strong pre-tuned MLPs and boosted
       trees on tabular data", NeurIPS, arXiv:2407.04491, section 3.

    Examples
    --------
    >>> import numpy as np
    >>> from fastnn import TabularPreprocessor
    >>> X = np.array([[1.0, 0], [2.0, 1], [3.0, 0], [100.0, 2]])
    >>> TabularPreprocessor(categorical_features=[1]).fit_transform(X).round(2)
    array([[-0.06,  0.49,  0.  ,  0.  ],
           [-0.02, -0.49,  2.4 ,  0.  ],
           [ 0.02,  0.49,  0.  ,  0.  ],
           [ 2.36, -0.49,  0.  ,  2.4 ]], dtype=float32)
    """

    @_fit_context(prefer_skip_nested_validation=True)
    def fit(self, X, y=None):
        """Learn medians, quartiles and categories.

        Parameters
        ----------
        X : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_samples, n_features)
            A table.
        y : Ignored
            Not used.

        Returns
        -------
        self : object
            The fitted transformer.

        Raises
        ------
        ValueError
            For invalid data; the transformer then is as it was before the call.
        """

        def work(draft: TabularPreprocessor) -> None:
            draft.encoding_ = Encoding.of(columns_of_fit(draft, X))

        return self._on_draft(work)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = self.missing == "median"
        tags.input_tags.categorical = tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = ["float32"]
        return tags

    @property
    def categories_(self) -> list[np.ndarray]:
        """The values of each categorical column, sorted.

        Returns
        -------
        categories : list of ndarray
        """
        check_is_fitted(self)
        return list(self.encoding_.categories)

    def _encoded(self, X: Any) -> EncodedRows:
        check_is_fitted(self)
        return self.encoding_.encode(columns_of_predict(self, X))

    def transform(self, X):
        """The inputs of a network.

        Parameters
        ----------
        X : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_samples, n_features)
            A table with the columns of that of ``fit``.

        Returns
        -------
        X_out : {ndarray, csr_matrix} of shape (n_samples, n_features_out)
            In float32; with ``sparse_output`` a matrix in CSR format.

        Raises
        ------
        ValueError
            The columns are others, or in another order, or hold infinite numbers, or missing ones with
            ``missing='error'``.
        """
        rows = self._encoded(X)
        return rows.csr() if self.sparse_output else rows.dense()

    def transform_blocks(self, X, n_rows=None):
        """The same some rows at a time, so that columns of many categories are never there for all of them.

        Parameters
        ----------
        X : {array-like, pandas.DataFrame, polars.DataFrame} of shape (n_samples, n_features)
            A table with the columns of that of ``fit``.
        n_rows : int, default=None
            Rows of a block; None for as many as take about 16 MB.

        Returns
        -------
        blocks : iterator of ndarray of shape (at most n_rows, n_features_out)
            In float32, in the order of the rows.

        Raises
        ------
        ValueError
            As ``transform``, and for `n_rows` below 1; before the first block.
        """
        if n_rows is not None and not AT_LEAST_ONE.is_satisfied_by(n_rows):
            raise ValueError(f"n_rows must be an int of at least 1, or None, got {n_rows!r}.")
        return (block for _, block in self._encoded(X).blocks(n_rows))

    def get_feature_names_out(self, input_features=None):
        """Names of the columns that come out.

        Parameters
        ----------
        input_features : array-like of str, default=None
            Names of the columns of `X`; None for those of ``fit``, or x0, x1 and so on.

        Returns
        -------
        names : ndarray of shape (n_features_out,) of object
            Of a number its column's; with ``_missing`` behind it where that is said; of a category its
            column's and its value. Where two categories share a column it is called after the first.

        Raises
        ------
        ValueError
            The names are not those of ``fit``, or not as many.
        """
        check_is_fitted(self)
        names = _check_feature_names_in(self, input_features)
        return np.asarray(self.encoding_.feature_names(names), dtype=object)
