"""
Reducing an image to a few colours
==================================

A photograph has tens of thousands of colours; k-means finds the few that stand for them with the least
squared error. One sees how many are enough, what mini-batches lose against all pixels, and that fastnn and
scikit-learn find palettes of the same quality.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import sklearn.cluster
from sklearn.datasets import load_sample_image
from threadpoolctl import threadpool_limits

import fastnn

image = load_sample_image("china.jpg") / 255
pixels = image.reshape(-1, 3)
some = np.ascontiguousarray(image[::2, ::2]).reshape(-1, 3)
print(f"{len(pixels)} pixels have {len(np.unique(pixels, axis=0))} colours; {len(some)} are clustered")

# %%
# Palettes
# --------
# The rows are a quarter of the pixels, the features red, green and blue in [0, 1]. Both packages use one
# thread, so that what else the machine does matters less. Each estimator is fitted once before it is timed,
# so that nothing is compiled in the timed call. The times are those of the machine that built this page.

estimators = {
    "fastnn.KMeans": (fastnn.KMeans, {"n_threads": 1}),
    "sklearn.cluster.KMeans": (sklearn.cluster.KMeans, {}),
    "fastnn.MiniBatchKMeans": (fastnn.MiniBatchKMeans, {"n_threads": 1}),
    "sklearn.cluster.MiniBatchKMeans": (sklearn.cluster.MiniBatchKMeans, {}),
}
pictures, errors, seconds = {}, {}, {}
print(f"{'':32s} colours   fit, ms   mean squared error")
with threadpool_limits(1):
    for n_colors in (16, 64):
        for name, (estimator, parameters) in estimators.items():
            model = estimator(n_colors, random_state=0, **parameters).fit(some)
            before = perf_counter()
            model.fit(some)
            seconds[name, n_colors] = perf_counter() - before
            picture = model.cluster_centers_[model.predict(pixels)].reshape(image.shape)
            pictures[name, n_colors] = picture
            errors[name, n_colors] = np.mean((picture - image) ** 2)
            print(
                f"{name:32s} {n_colors:7d} {1e3 * seconds[name, n_colors]:9.1f}"
                f"   {errors[name, n_colors]:.6f}"
            )

for n_colors in (16, 64):
    for name in ("KMeans", "MiniBatchKMeans"):
        ours, theirs = (errors[f"{package}.{name}", n_colors] for package in ("fastnn", "sklearn.cluster"))
        assert np.isclose(ours, theirs, rtol=0.02)
    assert errors["fastnn.KMeans", n_colors] < errors["fastnn.MiniBatchKMeans", n_colors]

# %%
# The pictures
# ------------
# Sixteen colours leave bands in the sky; 64 are hard to tell from the photograph at this size.

shown = [(f"fastnn.{name}", n_colors) for name in ("KMeans", "MiniBatchKMeans") for n_colors in (16, 64)]
figure, axes = plt.subplots(2, 3, figsize=(11, 5.4), layout="constrained")
for panel in axes.flat:
    panel.set_axis_off()
axes[0, 0].imshow(image)
axes[0, 0].set_title("photograph")
for panel, key in zip((axes[0, 1], axes[0, 2], axes[1, 1], axes[1, 2]), shown, strict=True):
    panel.imshow(pictures[key])
    panel.set_title(f"{key[0].split('.')[1]}, {key[1]} colours\nmean squared error {errors[key]:.5f}")
# The palette of 16 colours, from dark to light; each as wide as its share of the pixels.
colors, counts = np.unique(pictures["fastnn.KMeans", 16].reshape(-1, 3), axis=0, return_counts=True)
dark_to_light = colors.sum(axis=1).argsort()
colors, widths = colors[dark_to_light], counts[dark_to_light] / len(pixels)
axes[1, 0].barh(0, widths, left=np.cumsum(widths) - widths, color=colors, height=0.3)
axes[1, 0].set(title="16 colours of KMeans, by their share", ylim=(-0.5, 0.5))

# %%
# What it costs
# -------------

figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
for (name, n_colors), time in seconds.items():
    color = "C0" if name.startswith("fastnn") else "C1"
    marker = "s" if "MiniBatch" in name else "o"
    label = name if n_colors == 16 else None
    axes.plot(1e3 * time, 1e3 * errors[name, n_colors], marker, color=color, markersize=9, label=label)
for n_colors in (16, 64):
    axes.axhline(1e3 * errors["fastnn.KMeans", n_colors], color="0.85", zorder=0)
    axes.text(
        0.99,
        1e3 * errors["fastnn.KMeans", n_colors],
        f"{n_colors} colours",
        color="0.4",
        ha="right",
        va="bottom",
        transform=axes.get_yaxis_transform(),
    )
axes.set(xscale="log", xlabel="time of the fit (ms, one thread)")
axes.set(ylabel="mean squared error (thousandths)", ylim=(0, None))
axes.legend(loc="center right")
plt.show()
