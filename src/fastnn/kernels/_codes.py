"""Integers by which engines and kernels, of any device, understand each other."""

# A centre's own rules, beside those of optimizers.RULES, whose codes are not negative.
COUNT, NEWTON, SQRT = -1, -2, -3
# What the gradient of a batch is divided by: nothing, the batch's weight, or the centre's own curvature.
SUM, MEAN, CLUSTER = 0, 1, 2
# Status of a run of batches.
RUNNING, NO_IMPROVEMENT, DIVERGED = 0, 1, 2
