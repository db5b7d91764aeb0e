"""When Lloyd's iterations keep bounds of the rows' distances, and the bounds."""

import numpy as np

from fastnn.kernels.clustering import device
from fastnn.kernels.shared.threads import threads_for, workers

# Terms of the distances of a pass, one for each feature, from which bounds may pay: below, a pass is over in
# the time that its preparations take.
_LEAST_TERMS = 1 << 21
# The same for a row: to follow its two numbers, and to read it again where they do not settle it, takes the
# time of half as much.
_LEAST_ROW = 1 << 8
# Rows times features for each centre: how the centres have moved takes 2.5 ns for each pair of them, which is
# a tenth of a pass here and the more the fewer the rows.
_LEAST_SHARE = 800
# Share of the rows that may change their centre in a pass, for the next one to begin with bounds; and passes
# that must be left to make up for the first of them, which takes half as long again as a plain one.
_CHANGING, _LEAST_PASSES = 0.05, 5
# Share of the rows that may be compared with all centres in spite of the bounds, for these to be kept: at
# most, and less where a row has few distances times features, as to follow and fetch it takes as long as so
# many.
_OPEN, _FETCH = 0.5, 2000
# Rows by whose labels it is told how many change.
_WATCHED = 1 << 14
# Share of the rows that may change their centre for the sums to be corrected by these rows, on one thread.
# What corrections round adds up: after as many as there are rows, all rows are added up again. Rows that have
# weights always are: the weight of a cluster that loses them all would not come back to 0.
_MOVED = 1 / 32
# What _CHANGING is divided by when bounds have been given up.
_CAUTION = 4.0


class Bounds:
    """Which rows need to be compared with all centres, for one run of Lloyd's iterations.

    Bounds are begun when few rows change their centres, and given up when many rows are open in spite of
    them: by what the data do, never by the clock.

    Parameters
    ----------
    X : ndarray of shape (n, d)
        C-contiguous.
    n_clusters : int
        Number of centres.

    Attributes
    ----------
    active : bool
        Whether the next pass should be one with bounds.
    unchanged : bool
        Whether no row has changed its centre in the last pass; after one without bounds, known only where the
        sums had been corrected.
    """

    def __init__(self, X: np.ndarray, n_clusters: int) -> None:
        n, k = X.shape[0], n_clusters
        self.active = self.unchanged = False
        self._X, self._limit = X, _CHANGING
        self._before = np.empty(n, np.int32)
        self._step = max(1, n // _WATCHED)
        self._watched = np.full(-(-n // self._step), -1, np.int32)
        row = k * X.shape[1]
        self._open = min(_OPEN, row / (row + _FETCH))
        self._upper, self._lower = np.empty(n, X.dtype), np.empty(n, X.dtype)
        self._searched, self._changed = np.empty((2, device.bound_tasks(n)), np.int64)
        self._movement = device.Movement(*np.zeros((4, k), X.dtype))
        # Rows whose labels have changed since the sums were added up; None while there are no such sums.
        self._moved_rows: int | None = None
        self._flops = device.sweep_flops(n, k, X.shape[1])

    @property
    def corrected(self) -> bool:
        """Whether the sums have been corrected since they were added up."""
        return bool(self._moved_rows)

    @staticmethod
    def may_pay(n: int, k: int, d: int) -> bool:
        """Whether there is so much to compute for a row that bounds could save time."""
        return (
            k * d >= _LEAST_ROW
            and n * k * d >= _LEAST_TERMS
            and n * d >= k * _LEAST_SHARE
            and not device.is_small(k, d)
        )

    def watch(self, labels: np.ndarray, passes_left: int) -> None:
        """A pass without bounds has led to these labels: begin bounds if few of them are new."""
        self.unchanged = self.corrected and not (labels != self._before).any()
        before, self._watched = self._watched, labels[:: self._step].copy()
        changed = np.count_nonzero(self._watched != before)
        self.active, self._moved_rows = False, None
        if changed <= self._limit * before.size and passes_left >= _LEAST_PASSES:
            self.begin()

    def begin(self) -> None:
        """Let the next pass be one with bounds, of which nothing is known yet."""
        self.active = self._fresh = True

    def sweep(
        self, weights: np.ndarray, C: np.ndarray, before: np.ndarray, sweeps: device.HostSweeps
    ) -> None:
        """Nearest centre of every row, and the sums of the clusters, into `sweeps`.

        Its labels are those for `before`, the centres for which the bounds are right.
        """
        self._assign(C, before, sweeps.labels)
        changed = int(self._changed.sum())
        n = self._before.size
        self.unchanged = changed == 0
        if self._moved_rows is None:
            self.add_up(weights, sweeps)
        elif self.unchanged:
            return
        elif weights.size or changed > _MOVED * n or self._moved_rows > n:
            self.add_up(weights, sweeps)
        else:
            device.move_rows(self._X, self._before, sweeps.labels, sweeps.sums, sweeps.counts)
            self._moved_rows += changed

    def add_up(self, weights: np.ndarray, sweeps: device.HostSweeps) -> None:
        """The sums of the clusters, from all rows."""
        sweeps.add_up(self._X, weights)
        self._before[:] = sweeps.labels
        self._moved_rows = 0

    def _assign(self, C: np.ndarray, before: np.ndarray, labels: np.ndarray) -> None:
        with threads_for(self._flops) as parallel:
            if not self._fresh:
                device.center_movement(parallel, workers(parallel), C, before, self._movement)
            device.bounded_assign(
                parallel, workers(parallel), self._X, C, self._movement, labels, self._upper, self._lower,
                self._searched, self._changed, int(self._fresh),
            )  # fmt: skip
        if not self._fresh and self._searched.sum() > self._open * labels.size:
            self.active, self._limit = False, self._limit / _CAUTION
        self._fresh = False
