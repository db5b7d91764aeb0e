"""Gradient steps of k-means on mini-batches, compiled: gather, sweep, move the centres, judge the loss."""

import numpy as np

from fastnn.kernels.compiler.jit import jit, parallel_jit
from fastnn.kernels.cpu.clustering.structures import RowsToCopy, SweptRows
from fastnn.kernels.cpu.clustering.sweep import sweep_rows
from fastnn.kernels.cpu.dispatch import step_coefficients, update_parameters
from fastnn.kernels.shared import centers, stopping
from fastnn.kernels.shared.codes import COUNT, DIVERGED, LARGEST_LOSS, NO_IMPROVEMENT, RUNNING
from fastnn.tables.elementary import rounded_product
from fastnn.tables.jitable import register_jitable
from fastnn.tables.optimizers import N_COEFFICIENTS


@register_jitable
def to_sphere(c):
    """A vector divided by its length, in place; False, and zeros as they were, where it has none.

    NaN where the length is not finite.
    """
    square = 0.0
    for f in range(c.size):
        square += np.float64(c[f]) * np.float64(c[f])
    if square == 0.0:
        return False
    length = centers.length_of(square)
    for f in range(c.size):
        c[f] = c[f] / length
    return True


@jit
def move_centers(rule, C, sums, counts, total, motion):
    """One step of all centres in place; False, and `C` partly moved, when it gives a number not finite.

    rule : CenterRule. C : IN/OUT (k, d). sums : IN (k, d) float64. counts : IN (k,) float64. total : the
    batch's weight. motion : IN/OUT, Motion.
    """
    k, d = C.shape
    code, rate, hyper, on_sphere = rule.code, rule.rate, rule.hyper, rule.on_sphere
    seen, clock, slots = motion.seen, motion.clock, motion.slots
    c = np.empty(d)
    gradient = np.empty(d)
    numbers = np.empty(N_COEFFICIENTS)
    finite = True
    kept = 1.0 - hyper[0] if code == COUNT else 1.0
    for j in range(k):
        n = counts[j]
        # A centre forgets without rows too, so that the next ones move it far.
        seen[j] = rounded_product(kept, seen[j]) + n
        # Not even its momentum moves a centre without rows.
        if n == 0.0:
            continue
        clock[j] += 1.0
        for f in range(d):
            c[f] = C[j, f]
        if code < 0:
            share = centers.share_of_way(code, rate, n, seen[j], total)
            for f in range(d):
                c[f] = centers.toward_mean(c[f], sums[j, f], n, share)
        else:
            factor = centers.gradient_factor(rule.reduction, n, total)
            for f in range(d):
                gradient[f] = centers.gradient_of(c[f], sums[j, f], n, factor)
            step_coefficients(rule.coefficients, rate, clock[j], hyper, numbers)
            update_parameters(
                rule.update, 0.0, 0.0, 0.0, 1.0,
                numbers[0], numbers[1], numbers[2], numbers[3], numbers[4], numbers[5],
                c, gradient, slots[0, j], slots[1, j], slots[1, j],
            )  # fmt: skip
        # Rows that cancel, or are zeros, give a centre no direction: it keeps its own.
        if on_sphere and not to_sphere(c):
            continue
        for f in range(d):
            C[j, f] = c[f]
            finite = finite and np.isfinite(C[j, f])
    return finite


@jit
def cluster_means(C, sums, counts, on_sphere, means):
    """means[j] = sums[j] / counts[j], or C[j] where there are no rows; returns sum((means - C)^2).

    C, means : IN, OUT (k, d). sums : IN (k, d) float64. counts : IN (k,) float64.
    on_sphere : bool, whether a mean is divided by its length; where that is 0, C[j] stays.
    """
    k, d = C.shape
    moved = 0.0
    for j in range(k):
        divisor = counts[j]
        if on_sphere:
            divisor = 0.0
            for f in range(d):
                divisor += sums[j, f] * sums[j, f]
            divisor = np.sqrt(divisor)
        for f in range(d):
            means[j, f] = centers.mean_or_same(sums[j, f], divisor, C[j, f])
            moved += centers.squared_change(means[j, f], C[j, f])
    return moved


improved = jit(stopping.improved)


@jit
def advance(rule, C, safe, sums, counts, total, loss, motion, progress):
    """Move the centres unless they diverge: then go back to `safe` and return False.

    safe : IN/OUT (k, d), the last centres known to have a loss within bounds.
    progress : IN/OUT, of which the largest loss is looked at, see ``codes``. The rest as in ``move_centers``.
    """
    progress[LARGEST_LOSS] = stopping.largest_loss(loss, progress)
    if np.isfinite(loss) and loss <= progress[LARGEST_LOSS]:
        _copy(C, safe)
        if move_centers(rule, C, sums, counts, total, motion):
            return True
    _copy(safe, C)
    return False


@register_jitable
def _copy(source, target):
    for j in range(source.shape[0]):
        for f in range(source.shape[1]):
            target[j, f] = source[j, f]


@parallel_jit
def run_center_batches(
    n_workers, source, first, last, rule, moving, motion, progress, patience, losses, batch
):  # fmt: skip
    """Steps on the batches first..last of an epoch; returns the number done and the status.

    n_workers : threads. source : IN, RowsToCopy, whose order is the epoch's, cut into batches of as many rows
    as `batch` has.
    moving : IN/OUT, Centers. losses : OUT, one per batch. batch : WORK, SweptRows. The rest as in
    ``advance`` and ``improved``.
    """
    n, batch_size = source.order.size, batch.labels.size
    # Members of a structure are taken out of it once, not at every step.
    C, safe, touched = moving.C, moving.safe, moving.touched
    sums, counts = batch.sums, batch.counts
    for b in range(first, last):
        start = b * batch_size
        m = min(batch_size, n - start)
        m_weights = m if source.weights.size > 0 else 0
        rows = SweptRows(
            batch.X[:m], batch.weights[:m_weights], batch.labels[:m], batch.distances[:m],
            sums, counts, batch.partials,
        )  # fmt: skip
        copied = RowsToCopy(source.X, source.weights, source.order[start : start + m])
        inertia = sweep_rows(n_workers, rows, copied, C, True, True)
        total = 0.0
        for j in range(counts.size):
            total += counts[j]
        loss = inertia / total
        losses[b] = loss
        if not advance(rule, C, safe, sums, counts, total, loss, motion, progress):
            return b + np.isfinite(loss), DIVERGED
        for j in range(C.shape[0]):
            touched[j] += counts[j]
        if not improved(loss, m / n, progress, patience):
            return b + 1, NO_IMPROVEMENT
    return last, RUNNING


@jit
def shuffle(rows, seed):
    """A random permutation of `rows` in place: Fisher and Yates, on the splitmix64 generator."""
    state = np.uint64(seed)
    for i in range(rows.shape[0] - 1, 0, -1):
        state += np.uint64(0x9E3779B97F4A7C15)
        z = state
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z ^= z >> np.uint64(31)
        # The top 53 bits as a number in [0, 1).
        j = np.int64(np.float64(z >> np.uint64(11)) * (2.0**-53) * (i + 1))
        rows[i], rows[j] = rows[j], rows[i]
