"""Integers by which engines and kernels, of any device, understand each other."""

# A centre's own rules, beside those of optimizers.RULES, whose codes are not negative.
COUNT, NEWTON, SQRT = -1, -2, -3
# What the gradient of a batch is divided by: nothing, the batch's weight, or the centre's own curvature.
SUM, MEAN, CLUSTER = 0, 1, 2
# Status of a run of batches.
RUNNING, NO_IMPROVEMENT, DIVERGED = 0, 1, 2
# And of mini-batch steps: the centres have nearly stopped; some have so little weight that they are to move.
SETTLED, STARVED = 3, 4
# Places in the progress of mini-batch steps: steps judged, the last batch's inertia per row, its smoothed
# course and the least of that, steps since then, and rows since centres were last looked at for reassigning.
STEP, INERTIA, SMOOTHED, LEAST, SINCE_LEAST, SINCE_REASSIGNED = range(6)
PROGRESS_SIZE = 6
# Places in the progress of gradient steps: losses noted, their smoothed course and the least of that, steps
# since then, and the largest loss allowed (before the first one: the spread of the data).
LOSSES, SMOOTHED_LOSS, LEAST_LOSS, SINCE_LEAST_LOSS, LARGEST_LOSS = range(5)
LOSS_PROGRESS_SIZE = 5
