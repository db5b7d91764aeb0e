"""Gradient steps of k-means, many between two looks of the host; the twin of ``run_center_batches``.

Centres, what they carry from step to step, and the decisions stay on the device, as in ``mini_batch``::

    gather, sweep   rows of the batch, their nearest centres, sums by cluster      (sweep_buffers)
    move            the centres, a block each, unless the loss of the batch is out of bounds
    _conclude       one block: back to the safe centres if the steps diverge; progress, status

    state           progress | status | batches done | hyperparameters | seen, clock, touched, wrong: for each
                    centre | losses
"""

from functools import cache
from typing import Any

import numpy as np
from numba import types

from fastnn.kernels.cuda.clustering.sweep_buffers import SweepBuffers
from fastnn.kernels.cuda.reduction import THREADS, block_sum
from fastnn.kernels.cuda.runtime.compat import cuda, device_function, kernel, on_device
from fastnn.kernels.cuda.runtime.memory import upload
from fastnn.kernels.shared import centers, stopping
from fastnn.kernels.shared.codes import (
    COUNT,
    DIVERGED,
    LARGEST_LOSS,
    LOSS_PROGRESS_SIZE,
    NO_IMPROVEMENT,
    RUNNING,
)
from fastnn.tables.optimizers import MAX_HYPER, RULES

_PROGRESS = LOSS_PROGRESS_SIZE
_STATUS, _REACHED, _HYPER = _PROGRESS, _PROGRESS + 1, _PROGRESS + 2
_VECTORS = _HYPER + MAX_HYPER
_SEEN, _CLOCK, _TOUCHED, _WRONG, _N_VECTORS = range(5)

_improved = device_function(stopping.improved)
_largest_loss = device_function(stopping.largest_loss)
_share_of_way = device_function(centers.share_of_way)
_gradient_factor = device_function(centers.gradient_factor)
_gradient_of = device_function(centers.gradient_of)
_toward_mean = device_function(centers.toward_mean)
_length_of = device_function(centers.length_of)


@device_function
def divisor_of(square):
    """By what a vector is divided to have unit length: 1 where it has no length, NaN where it is infinite."""
    return 1.0 if square == 0.0 else _length_of(square)


@device_function
def _total(numbers, shared):
    """The sum of a vector, by all threads of the block."""
    own = 0.0
    for i in range(cuda.threadIdx.x, numbers.shape[0], THREADS):
        own += numbers[i]
    return block_sum(own, shared)


@cache
def move_kernel(rule: int | None) -> Any:
    """One step of the centre of each block, by a rule of ``RULES`` or, for None, by one of a centre's own.

    The twin of the CPU's ``move_centers``, and of the first part of ``advance``. What a centre carries, but
    for its slots, is ``_conclude``'s.
    """
    is_own = rule is None
    entry = RULES[rule or 0]
    coefficients, update = device_function(entry.coefficients), device_function(entry.update)
    two = entry.n_slots == 2

    @kernel
    def move(code, rate, kept, reduction, on_sphere, C, safe, sums, counts, inertias, slots, state):
        shared = cuda.shared.array(THREADS, types.float64)
        if state[_STATUS] != RUNNING:
            return
        k, d = C.shape
        j, x = cuda.blockIdx.x, cuda.threadIdx.x
        # Every block adds the loss up, in one order, and so all come to the same decision.
        total = _total(counts, shared)
        loss = _total(inertias, shared) / total
        if not (abs(loss) < np.inf and loss <= _largest_loss(loss, state)):
            return
        for f in range(x, d, THREADS):
            safe[j, f] = C[j, f]
        n = counts[j]
        wrong = 0.0
        # Not even its momentum moves a centre without rows.
        if n > 0.0:
            square = 0.0
            share, factor = 0.0, 0.0
            c0, c1, c2, c3, c4, c5 = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            if is_own:
                seen = kept * state[_VECTORS + _SEEN * k + j] + n
                share = _share_of_way(code, rate, n, seen, total)
            else:
                factor = _gradient_factor(reduction, n, total)
                clock = state[_VECTORS + _CLOCK * k + j] + 1.0
                c0, c1, c2, c3, c4, c5 = coefficients(rate, state[_HYPER:_VECTORS], clock)
            for f in range(x, d, THREADS):
                c = np.float64(C[j, f])
                if is_own:
                    c = _toward_mean(c, sums[j, f], n, share)
                else:
                    gradient = _gradient_of(c, sums[j, f], n, factor)
                    second = slots[1, j, f] if two else 0.0
                    c, slots[0, j, f], second = update(
                        c, gradient, slots[0, j, f], second, c0, c1, c2, c3, c4, c5
                    )
                    if two:
                        slots[1, j, f] = second
                slots[2, j, f] = c
                square += c * c
            divisor = 1.0
            if on_sphere:
                square = block_sum(square, shared)
                divisor = divisor_of(square)
            # Rows that cancel, or are zeros, give a centre no direction: it keeps its own.
            if not on_sphere or square != 0.0:
                for f in range(x, d, THREADS):
                    C[j, f] = slots[2, j, f] / divisor
                    wrong += 0.0 if abs(C[j, f]) < np.inf else 1.0
        wrong = block_sum(wrong, shared)
        if x == 0:
            state[_VECTORS + _WRONG * k + j] = wrong

    return move


@kernel
def _conclude(b, at, fraction, kept, patience, C, safe, counts, inertias, state):
    """Note batch b of the epoch, whose loss has the place `at`, and decide whether to go on. One block.

    fraction : of the epoch's rows that are in the batch. kept : of a centre's weight, at each step.
    """
    shared = cuda.shared.array(THREADS, types.float64)
    if state[_STATUS] != RUNNING:
        return
    k, d = C.shape
    x = cuda.threadIdx.x
    loss = _total(inertias, shared) / _total(counts, shared)
    limit = _largest_loss(loss, state)
    bad = 0.0
    for j in range(x, k, THREADS):
        bad += state[_VECTORS + _WRONG * k + j]
    # Where the loss is out of bounds the centres have not been moved, and what is said of them is older.
    bad = block_sum(bad, shared)
    fine = abs(loss) < np.inf and loss <= limit and bad == 0.0
    cuda.syncthreads()  # all have read what is written now
    if fine:
        for j in range(x, k, THREADS):
            at_j = _VECTORS + j
            state[at_j + _SEEN * k] = kept * state[at_j + _SEEN * k] + counts[j]
            state[at_j + _CLOCK * k] += 1.0 if counts[j] > 0.0 else 0.0
            state[at_j + _TOUCHED * k] += counts[j]
    else:
        for e in range(x, k * d, THREADS):
            C[e // d, e % d] = safe[e // d, e % d]
    if x == 0:
        state[LARGEST_LOSS] = limit
        state[_VECTORS + _N_VECTORS * k + at] = loss
        state[_REACHED] = b + 1
        if not fine:
            state[_STATUS] = DIVERGED
            # A loss that is not finite is none.
            state[_REACHED] = b + 1 if abs(loss) < np.inf else b
        elif not _improved(loss, fraction, state, patience):
            state[_STATUS] = NO_IMPROVEMENT


class DeviceGradientSteps:
    """Centres on a device that move by gradient steps.

    Parameters
    ----------
    ordinal : int
        The device.
    X : device array (n, d)
    weights : ndarray of shape (n,), of X's dtype, or None
        None stands for ones.
    k : int
        Centres.
    n_rows : int
        Rows of an epoch.
    batch_size : int or None
        None for all rows of X, in place.
    precision : str or None
        As of the kernels.
    """

    def __init__(
        self,
        ordinal: int,
        X: Any,
        weights: np.ndarray | None,
        k: int,
        n_rows: int,
        batch_size: int | None,
        precision: str | None,
    ) -> None:
        self._ordinal, self._X, self._k, self._n_rows = ordinal, X, k, n_rows
        n, d = X.shape
        self._batch_size, self._whole = n if batch_size is None else batch_size, batch_size is None
        n_batches = 1 if self._whole else -(-n_rows // self._batch_size)
        self._losses_at = _VECTORS + _N_VECTORS * k
        self._on_host = np.zeros(self._losses_at + n_batches)
        self._order: Any = None
        with on_device(ordinal):
            self._weights = None if weights is None else upload(weights)
            self._sweep = self._last = SweepBuffers(self._batch_size, k, d, np.dtype(X.dtype), precision)
            rest = 0 if self._whole else n_rows % self._batch_size
            if rest:
                self._last = SweepBuffers(rest, k, d, np.dtype(X.dtype), precision)
            self._state = cuda.device_array(self._on_host.size, np.float64)
            self._C, self._safe = (cuda.device_array((k, d), X.dtype) for _ in range(2))
            # The rule's two, and a centre on its way.
            self._slots = cuda.device_array((3, k, d), np.float64)

    def load(
        self, C: np.ndarray, safe: np.ndarray, seen: np.ndarray, clock: np.ndarray, slots: np.ndarray
    ) -> None:
        """Take these centres, those to go back to, and what centres carry."""
        vectors = self._vectors()
        vectors[_SEEN], vectors[_CLOCK] = seen, clock
        with on_device(self._ordinal):
            self._C.copy_to_device(np.ascontiguousarray(C))
            self._safe.copy_to_device(safe)
            self._slots[:2].copy_to_device(slots)

    def save(self, C: np.ndarray, touched: np.ndarray) -> None:
        """Copy the centres, and the weight that each had in the epoch, to where they are wanted."""
        touched[:] = self._vectors()[_TOUCHED]
        with on_device(self._ordinal):
            self._C.copy_to_host(C)

    def save_state(self, safe: np.ndarray, seen: np.ndarray, clock: np.ndarray, slots: np.ndarray) -> None:
        """Copy the safe centres, and what centres carry, to where they are wanted."""
        vectors = self._vectors()
        seen[:], clock[:] = vectors[_SEEN], vectors[_CLOCK]
        with on_device(self._ordinal):
            self._safe.copy_to_host(safe)
            self._slots[:2].copy_to_host(slots)

    def begin(self, rows: np.ndarray, hyper: np.ndarray, progress: np.ndarray) -> None:
        """An epoch begins, with the rows in this order, int64.

        progress : (5,), as in the CPU's ``improved``; changed in place by ``run``
        """
        self._progress = progress
        self._on_host[:_PROGRESS] = progress
        self._on_host[_STATUS], self._on_host[_REACHED] = RUNNING, 0
        self._on_host[_HYPER:_VECTORS] = hyper
        self._vectors()[_TOUCHED] = 0
        with on_device(self._ordinal):
            self._state.copy_to_device(self._on_host)
            self._order = None if self._whole else upload(rows, np.int64)

    def run(self, first: int, last: int, rule: Any, patience: int, losses: np.ndarray) -> tuple[int, int]:
        """Steps on the batches first..last of the epoch: one copy to the host, however many they are.

        Parameters
        ----------
        first, last : int
        rule : clustering.rules.Rule
        patience : int
            As in the CPU's ``improved``.
        losses : ndarray, one for each batch of an epoch
            Written.

        Returns
        -------
        reached : int
            Batches of the epoch that are done.
        status : int
        """
        k, size = self._k, self._batch_size
        kept = 1.0 - float(rule.hyper[0]) if rule.code == COUNT else 1.0
        with on_device(self._ordinal):
            move = move_kernel(rule.code if rule.code >= 0 else None)[k, THREADS]
            conclude = _conclude[1, THREADS]
            for b in range(first, last):
                count = size if self._whole else min(size, self._n_rows - b * size)
                sweep = self._sweep if count == size else self._last
                if self._whole:
                    inertias = sweep.assign_and_sum(self._X, self._weights, self._C)
                else:
                    inertias = sweep.assign_and_sum_batch(
                        self._order, b * size, self._X, self._weights, self._C
                    )
                move(
                    rule.code, rule.rate, kept, rule.reduction, int(rule.on_sphere), self._C, self._safe,
                    sweep.sums, sweep.counts, inertias, self._slots, self._state,
                )  # fmt: skip
                fraction = 1.0 if self._whole else count / self._n_rows
                conclude(
                    b, b - first, fraction, kept, patience, self._C, self._safe, sweep.counts, inertias,
                    self._state,
                )  # fmt: skip
            end = self._losses_at + last - first
            self._state[:end].copy_to_host(self._on_host[:end])
        losses[first:last] = self._on_host[self._losses_at : end]
        self._progress[:] = self._on_host[:_PROGRESS]
        return int(self._on_host[_REACHED]), int(self._on_host[_STATUS])

    def _vectors(self) -> np.ndarray:
        """What the host knows of each centre: seen, clock, touched and wrong, a row each."""
        return self._on_host[_VECTORS : self._losses_at].reshape(_N_VECTORS, self._k)
