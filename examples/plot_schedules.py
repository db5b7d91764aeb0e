"""
Schedules of the learning rate
==============================

``learning_rate`` names how the rate changes while a network learns. ``"invscaling"`` and ``"adaptive"`` are
those of scikit-learn, for ``solver="sgd"`` alone; the others work with every stochastic solver. Those that
end, at 0 or nearly so, have to know when: after ``max_iter`` epochs.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastnn import MLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are done, as is meant
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
scaler = StandardScaler().fit(X_train)
X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

schedules = {
    "constant": {},
    "invscaling": {"learning_rate": "invscaling"},
    "exponential": {"learning_rate": "exponential"},
    "cosine": {"learning_rate": "cosine"},
    "cosine, 5 epochs of warm-up": {"learning_rate": "cosine", "warmup_epochs": 5},
    "one_cycle": {"learning_rate": "one_cycle"},
    "coslog4": {"learning_rate": "coslog4"},
}


def fitted(seed, **options):
    """A network after 30 epochs of gradient descent."""
    options |= {"solver": "sgd", "batch_size": 50, "max_iter": 30, "n_iter_no_change": np.inf}
    return MLPClassifier((50,), random_state=seed, **options).fit(X_train, y_train)


# %%
# ``learning_rate_curve_`` has the rate of each epoch's first step. In between it goes on changing, at every
# step, except for ``"invscaling"`` and ``"exponential"``, which change from one epoch to the next.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained")
for name, options in schedules.items():
    left.plot(fitted(0, learning_rate_init=0.3, **options).learning_rate_curve_, label=name)
left.set(xlabel="epoch", ylabel="learning rate", title="learning_rate_init=0.3")
figure.legend(loc="outside lower center", ncols=4)

# %%
# What they bring on the digits, as a mean of five seeds. At its best ``learning_rate_init`` each does about
# as well as the others, but for ``"invscaling"``, which falls too fast at first. Where the rate is too high
# for a constant one, those that fall to 0 in the end lose little: that helps where nobody has tuned it.

rates = [0.02, 0.05, 0.1, 0.3, 1.0]
for name, options in schedules.items():
    accuracy = [
        np.mean([fitted(seed, learning_rate_init=rate, **options).score(X_test, y_test) for seed in range(5)])
        for rate in rates
    ]
    print(f"{name:28}", *(f"{value:.3f}" for value in accuracy))
    right.plot(rates, accuracy, "o-", label=name)
right.set(xscale="log", xlabel="learning_rate_init", ylabel="accuracy on the test data", ylim=(0.85, 0.98))
plt.show()
