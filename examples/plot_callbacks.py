"""
Callbacks, and a progress bar
=============================

``callback`` is called after each epoch with its number and a dict of what there is to know of it. Whatever it
returns that is true ends the fit. Beside it ``set_callbacks`` takes the callbacks of scikit-learn.
"""

import warnings
from time import perf_counter

import matplotlib.pyplot as plt
import sklearn
from rich.progress import Progress
from sklearn.datasets import load_digits
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.preprocessing import StandardScaler

from fastnn import MLPClassifier

warnings.simplefilter("ignore", ConvergenceWarning)  # some fits here are short on purpose
X, y = load_digits(return_X_y=True)
X = StandardScaler().fit_transform(X)
X_train, X_val, y_train, y_val = train_test_split(X, y, test_size=0.3, random_state=0)
parameters = {"hidden_layer_sizes": (100,), "max_iter": 40, "tol": 0, "random_state": 0}

# %%
# A progress bar
# --------------
# Any function will do; here it moves a bar of ``rich``, which shows the loss beside it.

with Progress() as progress:
    task = progress.add_task("training", total=parameters["max_iter"])

    def advance(epoch, logs):
        progress.update(task, advance=1, description=f"epoch {epoch}, loss {logs['loss']:.3f}")

    MLPClassifier(**parameters, callback=advance).fit(X_train, y_train)

# %%
# A rule of one's own for stopping
# --------------------------------
# Where ``fit`` gets validation rows the dict holds their loss and score too. This one is content with an
# accuracy of 0.97, or gives up after ten seconds.


class GoodEnough:
    """Ends a fit that has reached a score, or takes too long."""

    def __init__(self, score, seconds):
        self.score, self.seconds = score, seconds
        self.history = []

    def __call__(self, epoch, logs):
        if epoch == 0:
            self.started = perf_counter()
        self.history.append(logs)
        return logs["validation_score"] >= self.score or perf_counter() - self.started > self.seconds


enough = GoodEnough(0.97, seconds=10)
model = MLPClassifier(**parameters, callback=enough).fit(X_train, y_train, X_val=X_val, y_val=y_val)
print(f"accuracy {model.score(X_val, y_val):.3f} after {model.n_iter_} epochs")

figure, axes = plt.subplots(figsize=(6, 4), layout="constrained")
for name in ("loss", "validation_loss"):
    axes.plot([logs[name] for logs in enough.history], label=name.replace("_", " "))
axes.set(xlabel="epoch", ylabel="loss")
axes.legend()

# %%
# Lines
# -----
# ``verbose=1`` prints the lines of scikit-learn, ``verbose=2`` one with all that there is to say.

model.set_params(callback=None, verbose=2, max_iter=3).fit(X_train, y_train, X_val=X_val, y_val=y_val)

# %%
# The callbacks of scikit-learn
# -----------------------------
# Since version 1.9 scikit-learn has callbacks that go with any estimator that knows them, through pipelines
# and searches: a fit is a task, and its epochs are tasks below it. ``ProgressBar`` shows them,
# ``ScoringMonitor`` scores each epoch on the training rows.

if tuple(map(int, sklearn.__version__.split(".")[:2])) >= (1, 9):
    from sklearn.callback import ScoringMonitor

    monitor = ScoringMonitor(scoring="neg_log_loss")
    MLPClassifier(**parameters).set_callbacks(monitor).fit(X_train, y_train)
    scores = [row["neg_log_loss"] for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    print(f"log loss of the training rows: {-scores[0]:.3f} after one epoch, {-scores[-1]:.4f} after all")

plt.show()
