"""
Solvers of a network, and how sure they are of their rate
=========================================================

Every solver that goes by mini-batches has a rate that suits it, and they differ in how far from it they still
work. Here each trains the digits for 30 epochs with five rates; what clipping the gradient and averaging the
parameters change for gradient descent is shown behind it.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastnn import MLPClassifier

# All epochs are done, as is meant, and where the rate is too high units die.
warnings.simplefilter("ignore", UserWarning)
X, y = load_digits(return_X_y=True)
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.5, random_state=0)
scaler = StandardScaler().fit(X_train)
X_train, X_test = scaler.transform(X_train), scaler.transform(X_test)

rates = [1e-4, 1e-3, 1e-2, 0.1, 1.0]


def accuracies(**options):
    """Accuracy on the test data for each rate, as a mean of three seeds; chance where training diverges."""
    means = []
    for rate in rates:
        scores = []
        for seed in range(3):
            network = MLPClassifier((50,), learning_rate_init=rate, max_iter=30, n_iter_no_change=np.inf)
            network.set_params(batch_size=50, random_state=seed, **options)
            try:
                scores.append(network.fit(X_train, y_train).score(X_test, y_test))
            except ValueError:
                scores.append(0.1)
        means.append(np.mean(scores))
    print(f"{options!s:60}", *(f"{mean:.3f}" for mean in means))
    return means


# %%
# Adam and its kin do best at 0.01 here, and lose little at ten times that: their steps are as long as the
# rate, whatever the gradient, and what follows a first layer of relu hardly minds its scale. Gradient descent
# with momentum wants 0.1, is as good there, and fails at ten times that. Lion, whose steps are all of one
# length to the end, does not come as close to the minimum at a constant rate: it is meant for one that falls.

figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.5), layout="constrained", sharey=True)
for solver in ["sgd", "adam", "adamw", "amsgrad", "nadam", "rmsprop", "lion"]:
    left.plot(rates, accuracies(solver=solver), "o-", label=solver)
left.set(xscale="log", xlabel="learning_rate_init", ylabel="accuracy on the test data", title="solver=")
left.legend()

# %%
# ``max_grad_norm`` scales a gradient of a larger norm down to it: at a rate of 1, with which gradient descent
# fails, it then trains as well as at 0.1. ``average`` hands back the mean of the parameters over the last
# steps (0.99: of about a hundred), in which the noise of large steps cancels: that saves most of it, too.

for name, options in {
    "sgd": {},
    "max_grad_norm=1": {"max_grad_norm": 1.0},
    "average=0.99": {"average": 0.99},
    "both": {"max_grad_norm": 1.0, "average": 0.99},
}.items():
    right.plot(rates, accuracies(solver="sgd", **options), "o-", label=name)
right.set(xscale="log", xlabel="learning_rate_init", title='solver="sgd"')
right.legend()
plt.show()
