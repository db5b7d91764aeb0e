"""What is decided after each batch of k-means, on which device it may be: scalar functions of a few numbers.

They are compiled into the kernels of every device, so that a fit takes the same decisions wherever it runs.
"""

import math

from numba.extending import register_jitable

from fastnn.kernels.shared.codes import (
    CLUSTER,
    COUNT,
    INERTIA,
    LEAST,
    MEAN,
    NO_IMPROVEMENT,
    RUNNING,
    SETTLED,
    SINCE_LEAST,
    SINCE_REASSIGNED,
    SMOOTHED,
    SQRT,
    STEP,
)

# A stable rate raises the loss by a small factor at most. One that has raised it a millionfold is on its way
# to infinity, and only the re-seeding of the centres that lost all rows keeps it from getting there.
DIVERGENCE = 1e6


@register_jitable
def reassigning_is_due(batch_size, due_after, has_new, progress):
    """Count a batch; whether starved centres are to be looked for, and then the count begins anew.

    due_after : rows after which they are. has_new : whether a centre had no weight before the batch, for
    they are then too. progress : IN/OUT, see ``_codes``.
    """
    progress[SINCE_REASSIGNED] += batch_size
    due = has_new or progress[SINCE_REASSIGNED] >= due_after
    if due:
        progress[SINCE_REASSIGNED] = 0.0
    return due


@register_jitable
def judge_batch(inertia, moved, alpha, tol, patience, progress):
    """Note the inertia of a batch, per row, and say whether to go on: RUNNING, SETTLED or NO_IMPROVEMENT.

    moved : squared movement of the centres. alpha : weight of one batch in the smoothed inertia.
    tol : least squared movement; 0 for any. patience : steps without a smoothed inertia below all before;
    negative for any number. progress : IN/OUT, see ``_codes``.
    The first batch counts for nothing: it shows the initial centres.
    """
    progress[STEP] += 1.0
    progress[INERTIA] = inertia
    if progress[STEP] == 1.0:
        return RUNNING
    if progress[STEP] == 2.0:
        progress[SMOOTHED] = inertia
    else:
        progress[SMOOTHED] = progress[SMOOTHED] * (1.0 - alpha) + inertia * alpha
    if tol > 0.0 and moved <= tol:
        return SETTLED
    if progress[STEP] == 2.0 or progress[SMOOTHED] < progress[LEAST]:
        progress[LEAST] = progress[SMOOTHED]
        progress[SINCE_LEAST] = 0.0
    else:
        progress[SINCE_LEAST] += 1.0
    if patience >= 0 and progress[SINCE_LEAST] >= patience:
        return NO_IMPROVEMENT
    return RUNNING


@register_jitable
def improved(loss, fraction, progress, patience):
    """Update the smoothed loss; False when it has not improved for `patience` batches.

    progress : IN/OUT (5,): batches, smoothed loss, its minimum, batches since that, and ``largest_loss``'s.
    As in scikit-learn's MiniBatchKMeans the first batch, which shows the initial centres, does not count.
    """
    progress[0] += 1.0
    if progress[0] == 1.0:
        return True
    if progress[0] == 2.0:
        progress[1] = loss
        progress[2] = loss
        progress[3] = 0.0
        return True
    alpha = min(1.0, 2.0 * fraction)
    progress[1] += alpha * (loss - progress[1])
    if progress[1] < progress[2]:
        progress[2] = progress[1]
        progress[3] = 0.0
    else:
        progress[3] += 1.0
    return patience < 0 or progress[3] < patience


@register_jitable
def largest_loss(loss, progress):
    """The largest loss allowed, of which progress[4] has the spread of the data before the first batch."""
    return DIVERGENCE * max(progress[4], loss) if progress[0] == 0.0 else progress[4]


@register_jitable
def share_of_way(code, rate, n, seen, total):
    """How much of the way to the mean of its rows a centre goes, by a rule of its own.

    code : COUNT, SQRT or NEWTON. n, total : weight of the centre's rows in the batch, and of the batch.
    seen : weight that the centre has had, with this batch.
    """
    if code == COUNT:
        return n / seen
    if code == SQRT:
        return math.sqrt(n / total)
    return rate


@register_jitable
def gradient_factor(reduction, n, total):
    """What ``n_j c_j - s_j`` is multiplied by; arguments as in ``share_of_way``."""
    if reduction == MEAN:
        return 2.0 / total
    if reduction == CLUSTER:
        return 1.0 / n
    return 2.0
