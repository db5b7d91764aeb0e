"""When steps of k-means stop, and what else is decided after a batch: scalar functions of a few numbers.

They are compiled into the kernels of every device, so that a fit takes the same decisions wherever it runs.
"""

from fastnn.kernels.shared.codes import (
    INERTIA,
    LARGEST_LOSS,
    LEAST,
    LEAST_LOSS,
    LOSSES,
    NO_IMPROVEMENT,
    RUNNING,
    SETTLED,
    SINCE_LEAST,
    SINCE_LEAST_LOSS,
    SINCE_REASSIGNED,
    SMOOTHED,
    SMOOTHED_LOSS,
    STEP,
)
from fastnn.tables.jitable import register_jitable

# A stable rate raises the loss by a small factor at most. One that has raised it a millionfold is on its way
# to infinity, and only the re-seeding of the centres that lost all rows keeps it from getting there.
DIVERGENCE = 1e6


@register_jitable
def reassigning_is_due(batch_size, due_after, has_new, progress):
    """Count a batch; whether starved centres are to be looked for, and then the count begins anew.

    due_after : rows after which they are. has_new : whether a centre had no weight before the batch, for
    they are then too. progress : IN/OUT, see ``codes``.
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
    negative for any number. progress : IN/OUT, see ``codes``.
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

    progress : IN/OUT (LOSS_PROGRESS_SIZE,), see ``codes``.
    As in scikit-learn's MiniBatchKMeans the first batch, which shows the initial centres, does not count.
    """
    progress[LOSSES] += 1.0
    if progress[LOSSES] == 1.0:
        return True
    if progress[LOSSES] == 2.0:
        progress[SMOOTHED_LOSS] = loss
        progress[LEAST_LOSS] = loss
        progress[SINCE_LEAST_LOSS] = 0.0
        return True
    alpha = min(1.0, 2.0 * fraction)
    progress[SMOOTHED_LOSS] += alpha * (loss - progress[SMOOTHED_LOSS])
    if progress[SMOOTHED_LOSS] < progress[LEAST_LOSS]:
        progress[LEAST_LOSS] = progress[SMOOTHED_LOSS]
        progress[SINCE_LEAST_LOSS] = 0.0
    else:
        progress[SINCE_LEAST_LOSS] += 1.0
    return patience < 0 or progress[SINCE_LEAST_LOSS] < patience


@register_jitable
def largest_loss(loss, progress):
    """The largest loss allowed, of which progress has the spread of the data before the first batch."""
    largest = progress[LARGEST_LOSS]
    return DIVERGENCE * max(largest, loss) if progress[LOSSES] == 0.0 else largest
