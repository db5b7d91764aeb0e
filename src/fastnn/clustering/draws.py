"""Rows of mini-batches: those that ``random_state.choice(n, size, p=..., replace=True)`` draws, in less time.

``choice`` adds up the n probabilities at every call and looks for each of the random numbers in the sums. The
sums are always the same. For rows of equal weight they are nearly ``(i + 1) / n``: a number u belongs to row
``floor(u n)``, but for the few that lie so near to the border of two rows that their rounding decides (of a
million rows, perhaps one number in some thousands).
"""

import math

import numpy as np

_EPS = float(np.finfo(np.float64).eps)


class EvenSums:
    """The cumulated sums of n equal numbers over the last one, rounded as ``cumsum`` does, without n numbers.

    Between two powers of two the last place of a sum is the same, so that every addition adds as much as the
    one before: the sums are some straight lines. (But for the first addition after a power of two, which may
    round a tie the other way.)

    Parameters
    ----------
    share : float
        The number.
    n : int
        How often it is added.
    """

    def __init__(self, share: float, n: int) -> None:
        starts: list[int] = []
        sums: list[float] = []
        steps: list[float] = []
        at, total = 0, share
        while at < n - 1:
            step = (total + share) - total
            count = 1
            if len(starts) % 3 == 2:  # the two additions before this one came after the power of two
                place, power = math.ulp(total), 2.0 ** math.frexp(total)[1]
                count = max(1, int((power - place - total) / place) // max(1, int(step / place)))
            starts.append(at)
            sums.append(total)
            steps.append(step)
            count = min(count, n - 1 - at)
            at, total = at + count, total + count * step
        self._starts = np.array([*starts, at])
        self._sums, self._steps = np.array([*sums, total]), np.array([*steps, 0.0])

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """The sums up to and with these rows."""
        line = self._starts.searchsorted(rows, side="right") - 1
        return (self._sums[line] + (rows - self._starts[line]) * self._steps[line]) / self._sums[-1]


class Draws:
    """Rows drawn with replacement, by weight.

    Parameters
    ----------
    n : int
        Number of rows.
    weights : ndarray of shape (n,) or None
        None stands for equal ones.
    dtype : dtype
        Float type of the data, in which scikit-learn computes the probabilities.
    random_state : RandomState
        Drawn from: one number a row.
    """

    def __init__(
        self, n: int, weights: np.ndarray | None, dtype: np.dtype, random_state: np.random.RandomState
    ) -> None:
        self.n, self.random_state = n, random_state
        self._sums: np.ndarray | EvenSums
        if weights is None:
            self._sums = EvenSums(float(dtype.type(1) / dtype.type(n)), n)
        else:
            with np.errstate(over="ignore"):
                total = weights.sum()
            # Where the sum overflows scikit-learn has nothing to agree with.
            shares = weights / (total if np.isfinite(total) else weights.sum(dtype=np.float64))
            sums = shares.cumsum(dtype=np.float64)
            self._sums = sums / sums[-1]
        self._before: dict = {}

    def rows(self, size: int) -> np.ndarray:
        """The next `size` rows, int64."""
        self._before = self.random_state.get_state(legacy=False)
        drawn = self.random_state.random_sample(size)
        if isinstance(self._sums, np.ndarray):
            return self._sums.searchsorted(drawn, side="right")
        scaled = drawn * self.n
        rows = scaled.astype(np.int64)
        # Each of n additions rounds by half a place at most, and so does what they are divided by.
        doubt = (self.n + 1.0) * self.n * _EPS
        scaled -= rows
        between = np.flatnonzero((scaled <= doubt) | (scaled >= 1 - doubt))
        if between.size:
            rows[between] = self._settled(rows[between], drawn[between], self._sums)
        return rows

    def give_back(self, used: int) -> None:
        """Only the first `used` of the rows drawn last were wanted: the others have not been drawn."""
        self.random_state.set_state(self._before)
        self.random_state.random_sample(used)

    def _settled(self, rows: np.ndarray, drawn: np.ndarray, sums: EvenSums) -> np.ndarray:
        """The first row whose sum is above the number drawn, from one near to it."""
        rows = np.minimum(rows, self.n - 1)
        while (short := sums(rows) <= drawn).any():
            rows = rows + short
        while (far := (rows > 0) & (sums(np.maximum(rows - 1, 0)) > drawn)).any():
            rows = rows - far
        return rows
