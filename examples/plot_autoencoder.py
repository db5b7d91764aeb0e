"""
Stacked autoencoders
====================

An autoencoder of many layers can be trained at once, or stacked: each layer of the encoder first learns
alone, with its mirror image in the decoder, to give back the codes of the layer before. Here both get the
same number of epochs, to describe digits of 64 pixels by 8 numbers.
"""

import warnings

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits
from sklearn.decomposition import PCA
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split

from fastnn import Autoencoder

# A fixed number of epochs for all, whether they have converged or not.
warnings.simplefilter("ignore", ConvergenceWarning)

X_train, X_test = train_test_split(load_digits().data / 16, random_state=0)
layers = (64, 32, 16, 8)

# %%
# Stacked training is five trainings of 40 epochs, four of a pair of layers and one of all; the other one is
# 200 epochs of all layers. The errors are those of digits that no training has seen.


def trained(activation, stacked):
    return Autoencoder(
        layers,
        activation=activation,
        pretrain="layerwise" if stacked else None,
        max_iter=40 if stacked else 200,
        batch_size=50,
        n_iter_no_change=np.inf,
        random_state=0,
    ).fit(X_train)


models = {}
for activation in ("logistic", "tanh"):
    for stacked in (False, True):
        model = models[activation, stacked] = trained(activation, stacked)
        way = "stacked" if stacked else "at once"
        print(f"{activation:8s} {way}: mean squared error {model.reconstruction_error(X_test):.4f}")
pca = PCA(layers[-1]).fit(X_train)
by_axes = pca.inverse_transform(pca.transform(X_test))
print(f"PCA with as many numbers:  mean squared error {np.mean((X_test - by_axes) ** 2):.4f}")

# %%
# Stacking wins with logistic units: through so many layers of them next to no gradient comes back to the
# first one, and trained at once they tell few digits apart. Tanh units can be trained at once, and then the
# epochs are better spent on all layers: there stacking loses.

n_shown = 10
rows = {"digits": X_test[:n_shown]}
for (activation, stacked), model in models.items():
    name = f"{activation}, {'stacked' if stacked else 'at once'}"
    rows[name] = model.inverse_transform(model.transform(X_test[:n_shown]))

figure, axes = plt.subplots(len(rows), n_shown, figsize=(9, 5), layout="constrained")
for panels, (name, digits) in zip(axes, rows.items(), strict=True):
    for panel, digit in zip(panels, digits, strict=True):
        panel.imshow(digit.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
        panel.set(xticks=[], yticks=[])
    panels[0].set_ylabel(name, rotation=0, ha="right", va="center")
figure.suptitle("Digits, and what 8 numbers say of them")
plt.show()
