"""Lloyd's passes by leading dimensions: for long rows that vary in few directions, as embeddings do."""

import numpy as np
from sklearn.utils.extmath import randomized_range_finder

from fastnn.clustering.passes import Workspace
from fastnn.kernels import assign, device, linear_forward
from fastnn.kernels._threads import one_blas_thread, threads_for, workers

# Rows of fewer features, or fewer centres (one for each leading dimension at least), leave little to save.
# Smaller problems are over before the axes are found.
_LONG, _MANY, _LEAST_WORK = 192, 64, 1 << 28
# Of the features, the leading dimensions: what may be copied of the data.
_SHARE = 6
# Rows that tell in how many directions the data vary, and rows that the axes are found from.
_PROBES, _SAMPLE = 256, 2048
# Cost of a feature in the product of bounds, and in a comparison in full, which is of one row at a time; in
# units of the plain pass's.
_PANEL_COST, _FULL_COST = 1.2, 8.0
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
    C : ndarray of shape (k, d)
        Centres to begin with.
    """

    def __init__(self, X: np.ndarray, C: np.ndarray) -> None:
        n, d = X.shape
        self._X, m = X, d // _SHARE
        sample = X[_spread(n, _SAMPLE)]
        self._mean = sample.mean(axis=0, dtype=np.float64).astype(X.dtype)
        with one_blas_thread:
            axes = randomized_range_finder((sample - self._mean).T, size=m, n_iter=2, random_state=0)
        self._axes = np.ascontiguousarray(axes, X.dtype)
        self._slack = device.leading_slack(d, X.dtype)
        self._lead, self._squares = np.empty((n, m + 1), X.dtype), np.empty(n, X.dtype)
        for start in range(0, n, _BLOCK):
            rows = slice(start, start + _BLOCK)
            turned, self._lead[rows, m], self._squares[rows] = self._turn(X[rows])
            self._lead[rows, :m] = turned
        # Whether it pays is tried on some rows before it is used on all.
        probes = _spread(n, _PROBES)
        work = Workspace(len(probes), 0, d, X.dtype)
        self._assign(X[probes], C, self._lead[probes], self._squares[probes], work)

    @classmethod
    def of(cls, X: np.ndarray, C: np.ndarray) -> "Leading | None":
        """For these data and initial centres, or None where it would not pay."""
        (n, d), n_clusters = X.shape, C.shape[0]
        if d < _LONG or n_clusters < max(_MANY, d // _SHARE) or n * d * n_clusters < _LEAST_WORK:
            return None
        if _directions(X) >= d / (2 * _SHARE):
            return None
        leading = cls(X, C)
        return leading if leading.active else None

    def sweep(self, weights: np.ndarray, C: np.ndarray, work: Workspace, *, summing: bool) -> float:
        """As ``Workspace.sweep``."""
        X = self._X
        if not self.active:
            return work.sweep(X, weights, C, summing=summing)
        self._assign(X, C, self._lead, self._squares, work)
        if summing:
            work.sweep(X, weights, C, summing=True, assigning=False)
        if weights.size:
            return float(weights.astype(np.float64) @ work.distances.astype(np.float64))
        return float(work.distances.sum(dtype=np.float64))

    def _assign(
        self, X: np.ndarray, C: np.ndarray, lead: np.ndarray, squares: np.ndarray, work: Workspace
    ) -> None:
        """Labels and distances of rows, into `work`; and whether that took less time than the plain pass."""
        (n, d), k, m = X.shape, C.shape[0], self._axes.shape[1]
        panels = device.pack_leading(*self._turn(C), self._slack)
        counts = np.empty(device.leading_tasks(n), np.int64)
        with threads_for(device.sweep_work(n, k, m)) as parallel:
            device.leading_assign(
                parallel, workers(parallel), X, C, lead, squares, panels, X.dtype.type(self._slack),
                work.labels, work.distances, counts,
            )  # fmt: skip
        in_full = 1 + counts.sum() / n
        self.active = bool(_PANEL_COST * k * (m + 2) + _FULL_COST * d * in_full < 0.9 * k * d)

    def _turn(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of rows less the mean: the leading dimensions, the length of the rest or a bit more, the square."""
        rows = rows - self._mean
        turned = linear_forward(rows, self._axes)
        squares = assign(rows, np.zeros((1, rows.shape[1]), rows.dtype))[1]
        rest = squares - assign(turned, np.zeros((1, turned.shape[1]), rows.dtype))[1]
        return turned, np.sqrt(np.maximum(rest, 0) + 2 * self._slack * squares), squares


def _spread(n: int, count: int) -> np.ndarray:
    """Row numbers, evenly spread."""
    return np.arange(count) * n // count if n > count else np.arange(n)


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
