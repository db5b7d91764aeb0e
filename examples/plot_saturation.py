"""
Saturated units
===============

A logistic unit whose input is far from 0 gives 0 or 1 for every row: its slope is next to nothing, and so is
what it learns. Here 1600 inputs between 0 and 1 meet positive weights. Each unit then adds up some 400, and
is at 1, whatever the row. ``fit`` says so in a warning and in ``saturation_``, and the remedies follow.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.preprocessing import StandardScaler

from fastnn import MLPClassifier

rng = np.random.default_rng(0)
X = rng.uniform(size=(400, 1600))
y = X @ rng.normal(size=1600)
y = y > np.median(y)


def positive(random_state, fan_in, fan_out, dtype):
    """Weights between 0 and 1."""
    return random_state.uniform(0, 1, (fan_in, fan_out))


# %%
# The remedies one by one. Scaled inputs have mean 0, and so have the sums: no unit is stuck, but with such
# large weights most activations are 0 or 1 all the same. With smaller weights, of both signs, the network
# learns; with both it learns best.

scaled = StandardScaler().fit_transform(X)
cases = {
    "positive weights": (X, positive),
    "inputs scaled": (scaled, positive),
    "weights of the default": (X, "auto"),
    "both": (scaled, "auto"),
}
figure, axes = plt.subplots(2, 4, figsize=(11, 5), layout="constrained", sharey="row")
for (name, (inputs, weight_init)), (above, below) in zip(cases.items(), axes.T, strict=True):
    model = MLPClassifier((20,), activation="logistic", weight_init=weight_init, max_iter=30, random_state=0)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs, y)
    print(f"{name}: loss {model.loss_:.3f}, saturated {model.saturation_[0]:.0%}")
    for warning in caught:
        print("   ", warning.message)
    z = inputs @ model.coefs_[0] + model.intercepts_[0]
    above.hist((1 / (1 + np.exp(-z))).ravel(), np.linspace(0, 1, 21), density=True)
    above.set(title=name, xlabel="activations of the hidden units")
    below.semilogy(model.loss_curve_)
    below.set_xlabel("epoch")
axes[0, 0].set_ylabel("density")
axes[1, 0].set_ylabel("loss")
plt.show()
