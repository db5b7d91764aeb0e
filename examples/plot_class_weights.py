"""
Weights of classes
==================

One row in fifty-one belongs to the rare class. A network that says "no" to all of them is right in 98% of the
cases, and the loss, which counts each row once, sees little wrong with it. ``class_weight="balanced"`` lets
each class count as much as the other: a rare row has the weight of fifty. That finds the rare class and costs
false alarms; a mapping such as ``{0: 1, 1: 10}`` chooses anything between.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.metrics import balanced_accuracy_score, recall_score
from sklearn.model_selection import train_test_split

from fastnn import MLPClassifier

rng = np.random.default_rng(0)
y = (np.arange(5100) % 51 == 0).astype(int)  # 1 : 50
X = rng.normal(size=(5100, 2))
X[y == 1] = 0.6 * X[y == 1] + [1.5, 1.0]
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

# %%
# The balanced accuracy is the mean of the shares of both classes that are found. The line is where the
# network gives both the same probability.

cases = {"equal rows": None, "1 : 10": {0: 1, 1: 10}, '"balanced"': "balanced"}
grid = np.stack(np.meshgrid(*2 * [np.linspace(-3.5, 4, 151)]), axis=-1)
figure, axes = plt.subplots(1, 3, figsize=(11, 3.8), layout="constrained", sharex=True, sharey=True)
scores = []
for (name, class_weight), panel in zip(cases.items(), axes, strict=True):
    model = MLPClassifier((20,), solver="lbfgs", alpha=1.0, class_weight=class_weight, random_state=0)
    found = model.fit(X_train, y_train).predict(X_test)
    scores.append(balanced_accuracy_score(y_test, found))
    rare, usual = recall_score(y_test, found), recall_score(y_test, found, pos_label=0)
    print(f"{name:11s} accuracy {model.score(X_test, y_test):.3f}  balanced {scores[-1]:.3f}")
    for label, color, size in ((0, "C0", 4), (1, "C3", 20)):
        panel.scatter(*X_test[y_test == label].T, s=size, c=color)
    probability = model.predict_proba(grid.reshape(-1, 2))[:, 1].reshape(grid.shape[:2])
    panel.contour(grid[..., 0], grid[..., 1], probability, [0.5], colors="k")
    panel.set_title(f"{name}\nfound: {rare:.0%} of the rare, {usual:.0%} of the others")
assert scores[0] < scores[1] < scores[2]
plt.show()
