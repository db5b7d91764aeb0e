"""Steps of mini-batch k-means, compiled: gather a batch, sweep, move the centres, judge the inertia.

A centre is the mean of all rows that it has had, in whatever batch::

    W_j, n_j, s_j   its weight so far, its weight in the batch, and the weighted sum of its rows there
    c_j             (W_j c_j + s_j) / (W_j + n_j), and then W_j + n_j for W_j; as it was where n_j is 0

What is decided after a step, and in what order, is scikit-learn's ``MiniBatchKMeans``. Reassigning centres
draws random numbers, which is Python's: a run of steps ends where that is due.
"""

import numpy as np

from fastnn.kernels.compiler.jit import jit, parallel_jit
from fastnn.kernels.cpu.clustering.center_steps import to_sphere
from fastnn.kernels.cpu.clustering.structures import RowsToCopy
from fastnn.kernels.cpu.clustering.sweep import sweep_rows
from fastnn.kernels.shared import centers, stopping
from fastnn.kernels.shared.codes import INERTIA, RUNNING, STARVED
from fastnn.tables.jitable import register_jitable


@register_jitable
def _has_direction(c, weight, rows):
    """Whether ``weight c + rows`` is not all zeros: a centre of no weight may get rows of zeros alone."""
    others = 0
    for f in range(c.size):
        others += 1 if centers.direction_of(c[f], weight, rows[f]) != 0.0 else 0
    return others > 0


@jit
def absorb_batch(C, before, sums, counts, seen, batch_size, due_after, ratio, on_sphere, progress):
    """Move the centres by one batch; whether some have so little weight that they are to be reassigned.

    C : IN/OUT (k, d). before : OUT (k, d), what C was; or (0, d), not written. sums : IN (k, d) float64.
    counts : IN (k,) float64. seen : IN/OUT (k,) float64, the weight of each centre.
    batch_size : what the batch counts for in progress[SINCE_REASSIGNED].
    due_after : rows after which starved centres are looked for; at once where a centre has no weight.
    ratio : share of the largest weight below which a centre is starved; 0 for never.
    on_sphere : whether a centre that has moved is divided by its length; it stays where there is none.
    """
    k, d = C.shape
    has_new = False
    for j in range(k):
        has_new = has_new or seen[j] == 0.0
    due = stopping.reassigning_is_due(batch_size, due_after, has_new, progress)
    if before.shape[0] > 0:
        for j in range(k):
            for f in range(d):
                before[j, f] = C[j, f]
    for j in range(k):
        if counts[j] > 0.0:
            weight = seen[j]
            seen[j] = weight + counts[j]
            scale = 1.0 / seen[j]
            if on_sphere and not _has_direction(C[j], weight, sums[j]):
                continue
            for f in range(d):
                C[j, f] = centers.with_batch(C[j, f], weight, sums[j, f], scale)
            if on_sphere:
                to_sphere(C[j])
    if not (due and ratio > 0.0):
        return False
    most = least = seen[0]
    for j in range(k):
        most, least = max(most, seen[j]), min(least, seen[j])
    return least < ratio * most


@jit
def squared_movement(C, before):
    """sum((C - before)^2) in float64; 0 where `before` is (0, d)."""
    moved = 0.0
    for j in range(before.shape[0]):
        for f in range(before.shape[1]):
            moved += centers.squared_change(C[j, f], before[j, f])
    return moved


judge_batch = jit(stopping.judge_batch)


@parallel_jit
def run_mini_batches(n_workers, X, rows, n_batches, rule, C, before, seen, progress, batch):
    """Steps on batches of as many rows as `batch` has; the number of steps done and the status.

    n_workers : threads. X : IN (n, d). rows : IN (n_batches * batch_size,) int64, batch after batch.
    rule : MiniBatchRule. batch : WORK, SweptRows without weights. The rest as in ``absorb_batch`` and
    ``judge_batch``. After STARVED the centres have moved, progress[INERTIA] is the batch's, and it has not
    been judged.
    """
    # Members of a structure are taken out of it once, not at every step.
    sums, counts, batch_size = batch.sums, batch.counts, batch.X.shape[0]
    for b in range(n_batches):
        order = rows[b * batch_size : (b + 1) * batch_size]
        inertia = sweep_rows(n_workers, batch, RowsToCopy(X, batch.weights, order), C, True, True)
        inertia /= batch_size
        if absorb_batch(
            C, before, sums, counts, seen, np.float64(batch_size), rule.due_after, rule.ratio,
            rule.on_sphere, progress,
        ):  # fmt: skip
            progress[INERTIA] = inertia
            return b + 1, STARVED
        moved = squared_movement(C, before)
        status = judge_batch(inertia, moved, rule.alpha, rule.tol, rule.patience, progress)
        if status != RUNNING:
            return b + 1, status
    return n_batches, RUNNING
