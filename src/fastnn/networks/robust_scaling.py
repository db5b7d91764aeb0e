"""Columns around their medians in units of their quartile distances, bounded smoothly to (-3, 3).

Holzmueller, Grinsztajn and Steinwart (2024), "Better by default: strong pre-tuned MLPs and boosted trees on
tabular data", arXiv:2407.04491, section 3: the quartile distance, unlike a standard deviation, and the bound
take outliers their weight, and differences between most of the values stay as they are.
"""

from typing import NamedTuple

import numpy as np

# What the bounded values stay below: a value of three quartile distances becomes 2.1.
BOUND = 3.0
# Added to the quartile distance, so that a factor is at most 1e30 and no product overflows.
LEAST_DISTANCE = 1e-30
QUARTILES = np.array([0.25, 0.5, 0.75])

# Elements that are scaled at a time, in float64: 1 MB, which the cache of a core holds.
_ELEMENTS = 131_072


class RobustScaling(NamedTuple):
    """What is subtracted from columns, and what the differences are multiplied by."""

    centers: np.ndarray  # (n_columns,) float64
    factors: np.ndarray  # (n_columns,) float64

    def __call__(self, X: np.ndarray, out: np.ndarray) -> np.ndarray:
        """``bounded((X - center) * factor)``, computed in float64; 0 where X is NaN.

        X : array of shape (n, n_columns), of float32 or float64
        out : float32 array of this shape, which is written to
        """
        step = max(1, _ELEMENTS // max(1, X.shape[1]))
        for start in range(0, len(X), step):
            part = slice(start, start + step)
            Z = (X[part] - self.centers) * self.factors
            out[part] = bounded(np.nan_to_num(Z, copy=False))
        return out


def bounded(z: np.ndarray) -> np.ndarray:
    """``z / sqrt(1 + (z / 3)^2)``: hardly another value near 0, between -3 and 3 wherever z is."""
    return z / np.sqrt(1.0 + (z / BOUND) ** 2)


def factor(lower: np.ndarray, upper: np.ndarray, least: np.ndarray, most: np.ndarray) -> np.ndarray:
    """One over the distance of the quartiles; where that is 0 over half the range; where that is 0, 0.

    lower, upper, least, most : quartiles and extremes of columns
    """
    distances = upper - lower
    distances = np.where(distances == 0, 0.5 * (most - least), distances)
    return np.where(distances == 0, 0.0, 1.0 / (distances + LEAST_DISTANCE))


def scaling_of(X: np.ndarray) -> RobustScaling:
    """Medians and factors of columns, of the numbers that are there: NaN counts nowhere.

    Parameters
    ----------
    X : array of shape (n, n_columns), of float32 or float64
        Finite numbers and NaN. Quantiles between two of them are interpolated linearly.

    Returns
    -------
    scaling : RobustScaling
        A column without numbers has center and factor 0, as a constant one has the factor 0.
    """
    statistics = np.zeros((X.shape[1], 5))
    for column, found in zip(X.T, statistics, strict=True):
        numbers = column.astype(np.float64)
        numbers = numbers[~np.isnan(numbers)]
        if numbers.size:
            found[:3] = np.quantile(numbers, QUARTILES)
            found[3:] = numbers.min(), numbers.max()
    lower, centers, upper, least, most = statistics.T
    return RobustScaling(centers.copy(), factor(lower, upper, least, most))


def scaling_of_counts(values: np.ndarray, counts: np.ndarray) -> RobustScaling:
    """``scaling_of`` columns that hold few values each, from how many rows have which.

    Parameters
    ----------
    values : float64 array of shape (n_values,)
        Ascending.
    counts : int array of shape (n_columns, n_values)
        Rows that have the value; at least one in each column.

    Returns
    -------
    scaling : RobustScaling
    """
    # In a column in order of size value v stands before place ends[v].
    ends = counts.cumsum(axis=1)
    positions = QUARTILES * (ends[:, -1:] - 1)
    places = np.floor(positions)
    shares = positions - places  # quarters: exact, as all that follows

    def at(places: np.ndarray) -> np.ndarray:
        return values[(ends[:, None, :] <= places[:, :, None]).sum(axis=2)]

    low, high = at(places), at(np.minimum(places + 1, ends[:, -1:] - 1))
    lower, centers, upper = (low + shares * (high - low)).T
    least, most = at(np.zeros((len(counts), 1)))[:, 0], at(ends[:, -1:] - 1)[:, 0]
    return RobustScaling(centers, factor(lower, upper, least, most))
