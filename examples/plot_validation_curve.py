"""
Validation curves and early stopping
====================================

``fit`` takes rows that it does not train on, and records the network's loss and score for them after each
epoch. The loss of training goes on falling; that of validation turns, and the epoch at which it does is the
one to keep.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastnn import MLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # to train for so many epochs is what is wanted here
rng = np.random.default_rng(0)
X, y = load_digits(return_X_y=True)
X = StandardScaler().fit_transform(X)
X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.5, random_state=0)
# One label of five is drawn by chance: what there is to learn by heart.
wrong = rng.uniform(size=len(y_train)) < 0.2
y_train[wrong] = rng.integers(0, 10, size=wrong.sum())

# %%
# Without early stopping
# ----------------------
# The curves are recorded, and training is what it is without them, to the last bit.

parameters = {
    "hidden_layer_sizes": (100,),
    "learning_rate_init": 0.01,
    "alpha": 0,
    "max_iter": 60,
    "tol": 0,
    "random_state": 0,
}
whole = MLPClassifier(**parameters).fit(X_train, y_train, X_val=X_val, y_val=y_val)
same = MLPClassifier(**parameters).fit(X_train, y_train)
print("the same weights:", all(np.array_equal(a, b) for a, b in zip(whole.coefs_, same.coefs_, strict=True)))
print(f"accuracy after {whole.n_iter_} epochs: {whole.score(X_val, y_val):.3f}")

# %%
# With early stopping
# -------------------
# Now the same rows decide: all of the training rows are used, none is split off. ``scoring`` says by what
# they decide: here by the loss, which says more of an epoch than the number of right answers does.

stopped = MLPClassifier(
    **parameters | {"tol": 1e-4}, early_stopping=True, scoring="loss", n_iter_no_change=10
).fit(X_train, y_train, X_val=X_val, y_val=y_val)
print(
    f"stopped after {stopped.n_iter_} epochs, and kept number {stopped.best_epoch_}: "
    f"accuracy {stopped.score(X_val, y_val):.3f}"
)

# %%
# An estimate for new data takes rows that decided nothing: here it would take a third part.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.semilogy(whole.loss_curve_, label="training")
left.semilogy(whole.validation_loss_curve_, label="validation")
left.set(xlabel="epoch", ylabel="loss")
right.plot(whole.validation_scores_)
right.set(xlabel="epoch", ylabel="validation accuracy")
for axes in (left, right):
    axes.axvline(stopped.best_epoch_, color="grey", linestyle=":", label="kept by early stopping")
    axes.axvline(stopped.n_iter_ - 1, color="grey", linestyle="--", label="stopped")
left.legend()
plt.show()
