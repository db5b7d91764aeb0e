"""
Step rules of gradient k-means
==============================

A step of :class:`fastnn.GradKMeans` moves each centre along the gradient of its points in the batch.
``reduction`` says what that gradient is, ``optimizer`` and ``learning_rate`` what is done with it. The
curves show the mean squared distance of each batch before its step, smoothed.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

from fastnn import GradKMeans

X, _ = load_digits(return_X_y=True)
X = X / 16
common = {"n_clusters": 10, "init": X[:10].copy(), "batch_size": 100, "random_state": 0}

# %%
# Rules
# -----
# ``"count"``, the default, is the mini-batch k-means rule: each centre has a rate of its own, which falls as
# the centre sees more points, so that it needs no tuning and the noise of the batches dies out. A constant
# rate is faster at first and then wanders with the batches, the more the larger it is. Every run here has
# ten epochs and no final Lloyd iterations (``polish=False``).

rules = {
    "count": {},
    "sgd, 0.05": {"learning_rate": 0.05},
    "sgd, 1.0": {"learning_rate": 1.0},
    "momentum, 0.05": {"optimizer": "momentum", "learning_rate": 0.05},
    "adam, 0.02": {"optimizer": "adam", "learning_rate": 0.02},
}
figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for name, rule in rules.items():
    model = GradKMeans(**common, **rule, max_iter=10, max_no_improvement=None, tol=0, polish=False).fit(X)
    curve = np.array(model.loss_curve_)
    axes.plot(np.convolve(curve, np.full(9, 1 / 9), mode="valid"), label=name)
    print(f"{name:16s} inertia {model.inertia_:8.2f} after {model.n_steps_} steps")
axes.set(xlabel="step", ylabel="mean squared distance, mean of 9 batches")
axes.legend()

# %%
# How large a rate may be
# -----------------------
# With ``reduction="sum"`` the gradient is the sum over a centre's points, :math:`2 n_j (c_j - m_j)`: a rate
# above :math:`1 / n_j` overshoots by more than it corrects. The rate that works depends on how many points a
# batch gives a centre; one that is too large diverges, which is an error. ``"cluster"`` takes that number
# out: any rate below 2 is stable.

for reduction, rate in (("sum", 0.01), ("sum", 1.0), ("cluster", 0.1), ("cluster", 1.0)):
    model = GradKMeans(
        **common, reduction=reduction, learning_rate=rate, max_iter=30, max_no_improvement=None, polish=False
    )
    try:
        print(f"{reduction}, {rate}: inertia {model.fit(X).inertia_:.2f}")
    except ValueError as error:
        print(f"{reduction}, {rate}: {error}")

# %%
# Whatever the rule, the Lloyd iterations at the end (``polish=True``, the default) lead to a local minimum.

for name, rule in rules.items():
    model = GradKMeans(**common, **rule, max_iter=10).fit(X)
    print(f"{name:16s} inertia {model.inertia_:8.2f} with polish")

plt.show()
