"""Nested mini-batches: batches that grow, each of which holds the one before.

Every round is an iteration of Lloyd's on the batch: its rows go to their nearest centres, and the centres to
the means of their rows in it. So no row counts twice in a centre, as it does where batches are drawn anew.
While the centres still travel far the batch is small; it doubles when the means of more rows would differ
more from these than these did from the last ones::

    sigma_j   standard error of centre j: sqrt(its rows' mean squared distance / (their number - 1))
    p_j       how far it moved in the round
    double    when the median over j of sigma_j / p_j is at least _PATIENCE

With all rows in the batch the rounds are Lloyd's iterations on the data.

References
----------
Newling and Fleuret, "Nested mini-batch k-means", NIPS 2016: algorithm gb-rho, without its bounds.
"""

import numpy as np

from fastnn.clustering.lloyd import lloyd
from fastnn.clustering.mini_batch import MiniBatchResult
from fastnn.clustering.passes import Rows, as_rows, some_rows, total_weight, weights_or_empty
from fastnn.kernels.clustering import clustering_backend, device
from fastnn.kernels.contract.clustering import Data

# The paper's rho: on its data 100 and 1000 lead to the least inertia in the time of a few passes. A larger
# number waits longer before a batch grows.
_PATIENCE = 100.0
# Elements of the rows that are copied at a time: 8 MiB of float32, which the two sides of a copy find in the
# caches of a processor; and rows at least, so that a sweep is longer than what starts it.
_BLOCK, _BLOCK_ROWS = 1 << 21, 1 << 10


class _Batch:
    """The rows of a growing batch, in ascending order, so that memory is read forwards."""

    def __init__(
        self, X: Data, weights: np.ndarray | None, size: int, k: int, random_state: np.random.RandomState
    ) -> None:
        n, d = X.shape
        self.X, self.weights = X, weights
        # Rows without weight are no part of any batch, so every batch has a weight.
        order = random_state.permutation(n if weights is None else np.flatnonzero(weights))
        self.order = order.astype(np.int32 if n < 2**31 else np.int64)
        self.block = min(n, max(_BLOCK_ROWS, _BLOCK // d))
        self.backend = clustering_backend(X)
        self.sweeps = self.backend.sweeps(X, k, self.block)
        self.spare = np.empty((self.block if isinstance(X, np.ndarray) else 0, d), X.dtype)
        self.sums, self.counts = np.empty((k, d)), np.empty(k)
        self.members, self.spread = np.empty(k), np.empty(k)  # rows, and weighted squared distances
        self.hold(size)

    def hold(self, size: int) -> None:
        """Take the first `size` rows of the order, or all."""
        self.rows = np.sort(self.order[:size])

    @property
    def is_whole(self) -> bool:
        """Whether all rows that have a weight are in the batch."""
        return self.rows.size == self.order.size

    def sweep(self, C: np.ndarray) -> float:
        """Assign the rows and add them up by centre; the inertia."""
        k, inertia = len(C), 0.0
        for total in (self.sums, self.counts, self.members, self.spread):
            total[:] = 0
        for start in range(0, self.rows.size, self.block):
            rows = self.rows[start : start + self.block]
            block = self._gather(rows)
            weights = None if self.weights is None else self.weights[rows]
            sweeps = self.sweeps if rows.size == self.block else self.backend.sweeps(self.X, k, rows.size)
            inertia += sweeps.sweep(block, weights_or_empty(weights, block), C, summing=True)
            self.sums += sweeps.sums
            self.counts += sweeps.counts
            self.members += np.bincount(sweeps.labels, minlength=k)
            squares = sweeps.distances if weights is None else sweeps.distances * weights
            self.spread += np.bincount(sweeps.labels, squares, minlength=k)
        return inertia

    def _gather(self, rows: np.ndarray) -> Rows:
        if not isinstance(self.X, np.ndarray):
            return some_rows(self.backend, self.X, rows)
        return self.X.take(rows, axis=0, out=self.spare[: rows.size], mode="clip")

    def is_settled(self, C: np.ndarray, before: np.ndarray) -> bool:
        """Whether the centres moved so little in the last round that more rows would tell more."""
        moved = np.sqrt(((C.astype(np.float64) - before) ** 2).sum(axis=1))
        with np.errstate(divide="ignore", invalid="ignore"):
            error = np.sqrt(self.spread / self.counts / (self.members - 1))
            # Of a centre without a second row nothing is known.
            ratio = np.where((moved == 0) | (self.members < 2), np.inf, error / moved)
        return bool(np.median(ratio) >= _PATIENCE)


def nested_batches(
    X: Data,
    weights: np.ndarray | None,
    C: np.ndarray,
    *,
    batch_size: int,
    max_iter: int,
    tol: float,
    random_state: np.random.RandomState,
    on_sphere: bool = False,
    verbose: bool = False,
) -> MiniBatchResult:
    """Move centres by rounds over a batch that grows.

    Parameters
    ----------
    X : ndarray of shape (n, d), C-contiguous, CSR matrix or DeviceRows
    weights : ndarray of shape (n,) or None
        None stands for ones.
    C : ndarray of shape (k, d)
        Initial centres; not changed.
    batch_size : int
        Rows of the first batch, at most n.
    max_iter : int
        How many times n rows there may be in all rounds.
    tol : float
        Squared movement of all centres in a round over all rows, at or below which to stop.
    random_state : RandomState
        For the order of the rows.
    on_sphere : bool, default=False
        As in ``mini_batches``.
    verbose : bool, default=False
        Print a line for each round.

    Returns
    -------
    MiniBatchResult
    """
    n, total = X.shape[0], total_weight(X.shape[0], weights)
    batch = _Batch(X, weights, batch_size, len(C), random_state)
    C, before = C.copy(), np.empty_like(C)
    n_steps, rows_seen, inertia = 0, 0, 0.0

    def say(size: int, loss: float) -> None:
        if verbose:
            print(f"Nested round {n_steps}: {size} rows, mean squared distance {loss}")

    while not batch.is_whole and rows_seen + batch.rows.size <= max_iter * n:
        inertia = batch.sweep(C) / batch.counts.sum()
        n_steps, rows_seen = n_steps + 1, rows_seen + batch.rows.size
        say(batch.rows.size, inertia)
        C, before = before, C
        device.cluster_means(before, batch.sums, batch.counts, on_sphere, C)
        if batch.is_settled(C, before):
            batch.hold(2 * batch.rows.size)
    seen, is_whole = batch.counts, batch.is_whole
    del batch  # its buffers, before those of Lloyd's iterations
    passes = (max_iter * n - rows_seen) // n
    if is_whole and passes:

        def report(iteration: int, inertia: float, centers: np.ndarray) -> bool:
            nonlocal n_steps
            n_steps += 1
            say(n, inertia / total)
            return False

        fit = lloyd(
            as_rows(X),
            weights,
            C,
            max_iter=passes,
            tol=tol,
            report=report,
            accelerate=not verbose,
            on_sphere=on_sphere,
        )
        C, rows_seen, inertia = fit.centers, rows_seen + fit.n_iter * n, fit.inertia / total
        seen = np.bincount(fit.labels, weights, minlength=len(C)).astype(np.float64)
    return MiniBatchResult(C, seen, 0, n_steps, -(-rows_seen // n), inertia * total)
