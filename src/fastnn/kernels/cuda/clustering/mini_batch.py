"""Steps of mini-batch k-means, many between two looks of the host; the twin of ``run_mini_batches``.

Nothing that a step needs is known on the host: centres, their weights, the progress and the status stay on
the device. Kernels are queued for many batches, and those that move the centres do nothing once the status
says that the steps have ended. Then one vector tells the host all it wants to know::

    gather, sweep   rows of the batch, their nearest centres, sums by cluster      (sweep_buffers)
    _absorb         the centres, a block each; how far each has moved
    _check_progress          one block: weights of the centres, progress, status

    state           progress | status | batches done | weight of each centre | squared movement of each
"""

from typing import Any

import numpy as np
from numba import types

from fastnn.kernels.cuda.clustering.center_steps import divisor_of
from fastnn.kernels.cuda.clustering.sweep_buffers import SweepBuffers
from fastnn.kernels.cuda.reduction import THREADS, block_largest, block_sum
from fastnn.kernels.cuda.runtime.compat import cuda, device_function, kernel, on_device
from fastnn.kernels.cuda.runtime.memory import upload
from fastnn.kernels.shared import centers, stopping
from fastnn.kernels.shared.center_arguments import MiniBatchRule
from fastnn.kernels.shared.codes import INERTIA, PROGRESS_SIZE, RUNNING, STARVED

_STATUS, _REACHED, _SEEN = PROGRESS_SIZE, PROGRESS_SIZE + 1, PROGRESS_SIZE + 2

_is_due = device_function(stopping.reassigning_is_due)
_judged = device_function(stopping.judge_batch)
_with_batch = device_function(centers.with_batch)
_direction_of = device_function(centers.direction_of)
_squared_change = device_function(centers.squared_change)


@kernel
def _absorb(C, before, keeping, sums, counts, on_sphere, state):
    """The twin of the CPU's ``absorb_batch`` for the centre of this block, but for its weight.

    ``_check_progress`` adds to that.

    before : OUT (k, d), what C was, if `keeping`.
    """
    shared = cuda.shared.array(THREADS, types.float64)
    if state[_STATUS] != RUNNING:
        return
    k, d = C.shape
    j, x = cuda.blockIdx.x, cuda.threadIdx.x
    weight, divisor, scale = state[_SEEN + j], 1.0, 0.0
    moves = counts[j] > 0.0
    if moves:
        scale = 1.0 / (weight + counts[j])
    if moves and on_sphere:
        # A centre of no weight may get rows of zeros alone, which give it no direction.
        others, square = 0.0, 0.0
        for f in range(x, d, THREADS):
            others += 1.0 if _direction_of(C[j, f], weight, sums[j, f]) != 0.0 else 0.0
            mean = np.float64(C.dtype.type(_with_batch(C[j, f], weight, sums[j, f], scale)))
            square += mean * mean
        moves = block_sum(others, shared) > 0.0
        divisor = divisor_of(block_sum(square, shared))
    moved = 0.0
    for f in range(x, d, THREADS):
        old = C[j, f]
        if keeping:
            before[j, f] = old
        if moves:
            mean = C.dtype.type(_with_batch(old, weight, sums[j, f], scale))
            new = C.dtype.type(mean / divisor)
            C[j, f] = new
            moved += _squared_change(new, old)
    moved = block_sum(moved, shared)
    if x == 0:
        state[_SEEN + k + j] = moved


@kernel
def _check_progress(b, batch_size, due_after, ratio, alpha, tol, patience, inertias, counts, state):
    """Add batch b to the weights of the centres, and decide whether to go on. One block.

    inertias : IN, the batch's in parts; the rest as in the CPU's ``absorb_batch`` and ``judge_batch``.
    """
    shared = cuda.shared.array(THREADS, types.float64)
    if state[_STATUS] != RUNNING:
        return
    k, x = counts.shape[0], cuda.threadIdx.x
    new, moved, inertia, most, least = 0.0, 0.0, 0.0, -np.inf, np.inf
    for j in range(x, k, THREADS):
        seen = state[_SEEN + j]
        new += 1.0 if seen == 0.0 else 0.0
        seen += counts[j]
        state[_SEEN + j] = seen
        most, least = max(most, seen), min(least, seen)
        moved += state[_SEEN + k + j]
    for i in range(x, inertias.shape[0], THREADS):
        inertia += inertias[i]
    new, moved = block_sum(new, shared), block_sum(moved, shared)
    inertia = block_sum(inertia, shared) / batch_size
    most, least = block_largest(most, shared), -block_largest(-least, shared)
    if x == 0:
        due = _is_due(batch_size, due_after, new > 0.0, state)
        if due and ratio > 0.0 and least < ratio * most:
            state[INERTIA] = inertia
            state[_STATUS] = STARVED
        else:
            state[_STATUS] = _judged(inertia, moved, alpha, tol, patience, state)
        state[_REACHED] = b + 1


class DeviceMiniBatchSteps:
    """Centres on a device that move by mini-batches.

    Parameters
    ----------
    ordinal : int
        The device.
    X : device array (n, d)
    k : int
        Centres.
    batch_size : int
    precision : str or None
        As of the kernels.
    """

    def __init__(self, ordinal: int, X: Any, k: int, batch_size: int, precision: str | None) -> None:
        self._ordinal, self._X, self._batch_size = ordinal, X, batch_size
        d, self._k = X.shape[1], k
        self._on_host = np.zeros(_SEEN + 2 * k)
        with on_device(ordinal):
            self._sweep = SweepBuffers(batch_size, k, d, np.dtype(X.dtype), precision)
            self._state = cuda.device_array(self._on_host.size, np.float64)
            self._C, self._before = (cuda.device_array((k, d), X.dtype) for _ in range(2))

    def load(self, C: np.ndarray) -> None:
        """Take these centres."""
        with on_device(self._ordinal):
            self._C.copy_to_device(np.ascontiguousarray(C))

    def save(self, C: np.ndarray, before: np.ndarray) -> None:
        """Copy the centres, and those before the last batch if there is room, to where they are wanted."""
        with on_device(self._ordinal):
            self._C.copy_to_host(C)
            if before.size:
                self._before.copy_to_host(before)

    def run(
        self,
        rows: np.ndarray,
        n_batches: int,
        rule: MiniBatchRule,
        seen: np.ndarray,
        progress: np.ndarray,
    ) -> tuple[int, int]:
        """Steps on these batches: one copy to the host, however many they are.

        Parameters
        ----------
        rows : ndarray of shape (n_batches * batch_size,), int64
        n_batches : int
        rule : MiniBatchRule
        seen, progress : ndarrays of shape (k,) and (PROGRESS_SIZE,)
            Changed in place.

        Returns
        -------
        reached : int
            Batches done.
        status : int
            After STARVED the centres have moved, and the inertia of the batch has not been judged.
        """
        k, sweep = self._k, self._sweep
        state = self._on_host
        state[:PROGRESS_SIZE], state[_STATUS], state[_REACHED] = progress, RUNNING, 0
        state[_SEEN : _SEEN + k] = seen
        with on_device(self._ordinal):
            order = upload(rows, np.int64)
            self._state.copy_to_device(state)
            absorb, judge = _absorb[k, THREADS], _check_progress[1, THREADS]
            for b in range(n_batches):
                inertias = sweep.assign_and_sum_batch(order, b * self._batch_size, self._X, None, self._C)
                absorb(
                    self._C, self._before, int(rule.tol > 0), sweep.sums, sweep.counts, int(rule.on_sphere),
                    self._state,
                )  # fmt: skip
                judge(
                    b, float(self._batch_size), rule.due_after, rule.ratio, rule.alpha, rule.tol,
                    rule.patience, inertias, sweep.counts, self._state,
                )  # fmt: skip
            self._state.copy_to_host(state)
        progress[:], seen[:] = state[:PROGRESS_SIZE], state[_SEEN : _SEEN + k]
        return int(state[_REACHED]), int(state[_STATUS])
