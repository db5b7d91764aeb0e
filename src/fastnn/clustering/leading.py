"""Lloyd's passes by leading dimensions: for long rows that vary in few directions, as embeddings do."""

import operator

import numpy as np
from sklearn.utils.extmath import randomized_range_finder

from fastnn import kernels
from fastnn.kernels.clustering import device
from fastnn.kernels.shared.threads import one_blas_thread, threads_for, workers

# Rows of fewer features, or fewer centres (one for each leading dimension at least), leave little to save.
# With fewer terms of distances in a pass, one for each feature, all is over before the axes are found.
_LONG, _MANY, _LEAST_TERMS = 192, 64, 1 << 28
# Of the features, the leading dimensions: the largest share is what may be copied of the data.
_SHARES = (24, 12, 6)
# Rows that tell in how many directions the data vary, and rows that the axes are found from.
_PROBES, _SAMPLE = 256, 2048
# Cost of a feature in the product of bounds, and in a comparison in full, which is of one row at a time; in
# units of the plain pass's.
_PANEL_COST, _FULL_COST = 1.2, 8.0
# Cost of a pass, in units of the plain one's, from which it is given up.
_WORTH = 0.9
# Rows that are turned at a time.
_BLOCK = 4096


class Leading:
    """Rows turned so that most of their variance lies in the leading dimensions.

    Given up when so many centres cannot be ruled out that the plain pass is faster: by counts, never by the
    clock.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        C-contiguous.
    mean : ndarray of shape (d,)
        What is subtracted from rows before they are turned.
    axes : ndarray of shape (d, at least m)
        Orthonormal columns, in falling order of the rows' variance.
    m : int
        Leading dimensions.
    """

    def __init__(self, X: np.ndarray, mean: np.ndarray, axes: np.ndarray, m: int) -> None:
        self._X, self._mean, self._all_axes = X, mean, axes
        self._slack = device.leading_slack(X.shape[1], X.dtype)
        self._turn_rows(m)
        self._passes = 0
        self._gives_up = False

    @classmethod
    def of(cls, X: np.ndarray, C: np.ndarray) -> "Leading | None":
        """For these data and initial centres, or None where it would not pay."""
        (n, d), n_clusters = X.shape, C.shape[0]
        if d < _LONG or n_clusters < max(_MANY, d // _SHARES[-1]) or n * d * n_clusters < _LEAST_TERMS:
            return None
        if _directions(X) >= d / (2 * _SHARES[-1]):
            return None
        mean, axes = _axes(X)
        m, cost = cls._best_of(X, C, mean, axes)
        return cls(X, mean, axes, m) if cost < _WORTH else None

    @classmethod
    def _best_of(cls, X: np.ndarray, C: np.ndarray, mean: np.ndarray, axes: np.ndarray) -> tuple[int, float]:
        """How many dimensions cost least, tried on some rows, and the cost."""
        n, d = X.shape
        probes = X[_spread(n, _PROBES)]
        sweeps = device.HostSweeps(len(probes), 0, d, X.dtype)
        costs = {m: cls(probes, mean, axes, m)._assign(C, sweeps) for m in (d // part for part in _SHARES)}
        return min(costs.items(), key=operator.itemgetter(1))

    def sweep(self, weights: np.ndarray, C: np.ndarray, sweeps: device.HostSweeps, *, summing: bool) -> float:
        """As ``HostSweeps.sweep``."""
        X = self._X
        if self._gives_up:
            return sweeps.sweep(X, weights, C, summing=summing)
        self._passes += 1
        if self._passes == 2:
            # Centres that are means of many rows vary less in the dimensions behind than initial ones, which
            # may be rows: fewer dimensions may do.
            m, _ = self._best_of(X, C, self._mean, self._all_axes)
            if m < self._axes.shape[1]:
                self._turn_rows(m)
        self._gives_up = self._assign(C, sweeps) >= _WORTH
        if summing:
            sweeps.add_up(X, weights)
        if weights.size:
            return float(weights.astype(np.float64) @ sweeps.distances.astype(np.float64))
        return float(sweeps.distances.sum(dtype=np.float64))

    def _turn_rows(self, m: int) -> None:
        """Keep `m` leading dimensions of every row."""
        n = self._X.shape[0]
        self._axes = np.ascontiguousarray(self._all_axes[:, :m])
        self._lead, self._squares = np.empty((n, m + 1), self._X.dtype), np.empty(n, self._X.dtype)
        for start in range(0, n, _BLOCK):
            rows = slice(start, start + _BLOCK)
            self._lead[rows, :m], self._lead[rows, m], self._squares[rows] = self._turn(self._X[rows])

    def _assign(self, C: np.ndarray, sweeps: device.HostSweeps) -> float:
        """Labels and distances of all rows, into `sweeps`; the cost, in units of the plain pass's."""
        (n, d), k, m = self._X.shape, C.shape[0], self._axes.shape[1]
        panels = device.pack_leading(*self._turn(C), self._slack)
        counts = np.empty(device.leading_tasks(n), np.int64)
        with threads_for(device.sweep_flops(n, k, m)) as parallel:
            device.leading_assign(
                parallel, workers(parallel), self._X, C, self._lead, self._squares, panels,
                self._X.dtype.type(self._slack), sweeps.labels, sweeps.distances, counts,
            )  # fmt: skip
        in_full = 1 + counts.sum() / n
        return float((_PANEL_COST * k * (m + 2) + _FULL_COST * d * in_full) / (k * d))

    def _turn(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of rows less the mean: the leading dimensions, the length of the rest or a bit more, the square."""
        rows = rows - self._mean
        turned = kernels.linear_forward(rows, self._axes)
        squares = kernels.assign(rows, np.zeros((1, rows.shape[1]), rows.dtype))[1]
        rest = squares - kernels.assign(turned, np.zeros((1, turned.shape[1]), rows.dtype))[1]
        return turned, np.sqrt(np.maximum(rest, 0) + 2 * self._slack * squares), squares


def _spread(n: int, count: int) -> np.ndarray:
    """Row numbers, evenly spread."""
    return np.arange(count) * n // count if n > count else np.arange(n)


def _axes(X: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and principal axes of some rows, in falling order of their variance: (d,) and (d, m)."""
    sample = X[_spread(X.shape[0], _SAMPLE)].astype(np.float64)
    mean = sample.mean(axis=0)
    sample -= mean
    with one_blas_thread:
        axes = randomized_range_finder(sample.T, size=X.shape[1] // _SHARES[-1], n_iter=2, random_state=0)
        order = np.linalg.svd(sample @ axes, full_matrices=False)[2]
        return mean.astype(X.dtype), (axes @ order.T).astype(X.dtype)


def _directions(X: np.ndarray) -> float:
    """In how many directions the rows vary: (sum of variances)^2 / sum of squared variances.

    As many as there are features where all vary alike and independently. From pairs of some rows: their
    products' mean square is the sum of the squared variances.
    """
    rows = X[_spread(X.shape[0], _PROBES)].astype(np.float64)
    rows -= rows.mean(axis=0)
    with one_blas_thread:
        products = rows @ rows.T
    squares = np.diag(products)
    n = len(rows)
    of_pairs = ((products**2).sum() - (squares**2).sum()) / (n * (n - 1))
    return float(squares.mean() ** 2 / of_pairs) if of_pairs > 0 else 1.0
