"""
A model in ONNX
===============

A fitted network is written as a graph of ONNX, a format that runtimes in many languages compute. Here
onnxruntime draws the map of a classifier; nothing of fastnn or of scikit-learn is needed where it runs.
"""

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from sklearn.datasets import make_moons

from fastnn import MLPClassifier
from fastnn.convert import to_onnx

X, y = make_moons(500, noise=0.2, random_state=0)
names = np.array(["upper", "lower"])[y]
model = MLPClassifier((20, 20), "silu", solver="lbfgs", alpha=0.1, max_iter=1000, random_state=0)
model.fit(X, names)

# %%
# The graph has one input and two outputs. It computes in float64, in which the model was fitted, or in the
# type that is asked for. What goes to another machine is the bytes of ``SerializeToString``.

graphs = {dtype: to_onnx(model, dtype) for dtype in ("float64", "float32")}
for dtype, graph in graphs.items():
    outputs = ", ".join(output.name for output in graph.graph.output)
    print(f"{dtype}: {len(graph.SerializeToString())} bytes, {len(graph.graph.node)} nodes; {outputs}")


def run(graph, rows):
    """Labels and probabilities by onnxruntime."""
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"X": rows})


side = np.linspace(-3, 4, 200)
rows = np.column_stack([axis.ravel() for axis in np.meshgrid(side, side)])
labels, probabilities = run(graphs["float64"], rows)
print(f"labels: {(labels == model.predict(rows)).mean():.1%} the same")

# %%
# What is left are rounding errors, and they are relative: far from the border a probability of 1e-10 has as
# many right digits as one of 0.5. In float32 the scores are rounded, whose error grows with their size.

figure, (chart, errors) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
upper = probabilities[:, 1].reshape(200, 200)
chart.contourf(side, side, upper, levels=np.linspace(0, 1, 11), cmap="RdBu", alpha=0.7)
for name, color in zip(model.classes_, ("tab:red", "tab:blue"), strict=True):
    chart.scatter(*X[names == name].T, s=5, color=color, label=name)
chart.set(title="Probability of the upper moon, by onnxruntime")
chart.legend()

expected = model.predict_proba(rows)[:, 1]
for dtype, graph in graphs.items():
    found = run(graph, rows.astype(dtype))[1][:, 1]
    errors.loglog(expected, np.maximum(np.abs(found / expected - 1), 1e-17), ".", ms=2, label=dtype)
errors.set(xlabel="probability of the upper moon", ylabel="relative difference", title="Graph and model")
errors.legend(markerscale=5)
plt.show()
