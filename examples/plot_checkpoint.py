"""
Going on after an interruption
==============================

With ``checkpoint`` a fit keeps the state of its training in a file. Where it was ended before its time the
same call goes on from there, and ends with the network that it would have led to anyway, to the last bit.
"""

import warnings
from pathlib import Path
from tempfile import TemporaryDirectory

import matplotlib.pyplot as plt
import numpy as np
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning

from fastnn import MLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # all epochs are done, as is meant
X, y = load_digits(return_X_y=True)
X = X / 16
folder = TemporaryDirectory()
model = MLPClassifier(
    (50,),
    dropout=0.2,
    learning_rate="cosine",
    learning_rate_init=0.01,
    max_iter=40,
    random_state=0,
    checkpoint=Path(folder.name) / "digits.checkpoint",
    checkpoint_every=5,
)

# %%
# Half-way something happens. Here a callback raises an error; the power may as well fail, or a scheduler kill
# the process. The estimator is as it was before the call, but the file holds the first 20 epochs.


def fail(epoch, logs):
    if epoch == 23:
        raise RuntimeError("the power has failed")


try:
    model.set_params(callback=fail).fit(X, y)
except RuntimeError as error:
    print(f"{error}, and {model.checkpoint.name} is there: {model.checkpoint.exists()}")

# %%
# The same call again, in this process or another one. The callback is no part of what has to be the same, and
# notes what is left to do.

losses = {}
model.set_params(callback=lambda epoch, logs: losses.update({epoch: logs["loss"]})).fit(X, y)
print(f"epochs {min(losses)} to {max(losses)} were done now, {model.n_iter_} in all")

undisturbed = clone(model).set_params(checkpoint=None, checkpoint_every=10, callback=None).fit(X, y)
same = all(np.array_equal(a, b) for a, b in zip(model.coefs_, undisturbed.coefs_, strict=True))
print(f"the weights are those of a fit that nothing has disturbed: {same}")

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
axes.plot(undisturbed.loss_curve_, color="0.7", linewidth=5, label="undisturbed")
axes.plot(range(min(losses)), model.loss_curve_[: min(losses)], label="from the file")
axes.plot(list(losses), list(losses.values()), label="after the interruption")
axes.set(xlabel="epoch", ylabel="loss", yscale="log")
axes.legend()

# %%
# A file belongs to one fit. Another one, of other parameters or data, does not overwrite it.

try:
    clone(model).set_params(alpha=0.1).fit(X, y)
except ValueError as error:
    print(str(error).replace(folder.name, ""))

folder.cleanup()
plt.show()
