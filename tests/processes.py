"""Code that is run in a process of its own, and what it compiles there."""

import os
import subprocess
import sys
import textwrap

# A function that compiles quickly, one with linked functions.
SMALL = """
import numpy as np
from fastnn.kernels import exp
exp(np.ones(5, np.float32))
"""
LINKED = """
import numpy as np
from fastnn.kernels import linear_forward
X = np.ones((3, 4), np.float32)
linear_forward(X, X.T.copy(), activation="tanh")
"""
# Prints a digest of what fits compute.
FITS = """
import hashlib, warnings
import numpy as np
from fastnn import GradKMeans, KMeans, MiniBatchKMeans, MLPClassifier, MLPRegressor
from fastnn.clustering import bounds, leading
from fastnn.clustering.passes import labels_inertia
warnings.simplefilter("ignore")
bounds._LEAST_TERMS = bounds._LEAST_SHARE = leading._LEAST_TERMS = 0
bounds._LEAST_PASSES = bounds._FETCH = 0
bounds._CHANGING = bounds._OPEN = 1.0
digest = hashlib.sha256()
for dtype in (np.float64, np.float32):
    X = np.random.default_rng(0).normal(size=(400, 6)).astype(dtype)
    for n in range(350, 400):
        digest.update(np.float64(labels_inertia(X[:n], None, X[:10])[1]).tobytes())
    for model in (
        KMeans(20, random_state=0), GradKMeans(5, batch_size=64, random_state=0),
        MLPClassifier((9,), activation="tanh", max_iter=3, random_state=0),
        MLPRegressor(hidden_layer_sizes=(7, 5), max_iter=3, random_state=0),
    ):
        y = X[:, 0] > 0 if isinstance(model, MLPClassifier) else X[:, 0]
        model.fit(X, y)
        for name, value in sorted(vars(model).items()):
            if name.endswith("_") and isinstance(value, (float, np.ndarray)):
                digest.update(np.asarray(value).tobytes())
            elif name in ("coefs_", "loss_curve_"):
                digest.update(b"".join(np.asarray(v).tobytes() for v in value))
    # Centres that are compared by the bracket, with bounds and without; mini-batches; long rows, in full
    # and by their leading dimensions.
    wide = np.random.default_rng(1).normal(size=(900, 256)) * np.arange(1, 257) ** -1.0
    for X, model in (
        (wide[:, :16], KMeans(70, random_state=0)),
        (wide[:, :16], KMeans(70, random_state=0, algorithm="plain")),
        (wide[:, :16], MiniBatchKMeans(40, batch_size=128, random_state=0)),
        (wide[:, :60], KMeans(5, random_state=0)),
        (wide, KMeans(100, max_iter=4, random_state=0)),
    ):
        model.fit(X.astype(dtype))
        for value in (model.cluster_centers_, model.labels_, np.float64(model.inertia_)):
            digest.update(value.tobytes())
print(digest.hexdigest())
"""
# Prints, after `body`, how many functions were compiled.
COUNT = """
from numba.core import event
counter = event.RecordingListener()
event.register("numba:compile", counter)
{body}
compiled = [e for _, e in counter.buffer if e.is_end]
print(len(compiled))
"""


def finished(code, cache=None, prefix=(), **environment):
    """The finished process of Python code. A command may stand before it; None takes a variable away."""
    env = {**os.environ, **environment}
    if cache is not None:
        env["NUMBA_CACHE_DIR"] = str(cache)
    env = {name: value for name, value in env.items() if value is not None}
    command = [*prefix, sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done


def run(code, cache=None, **environment):
    """What Python code prints in a process of its own."""
    return finished(code, cache, **environment).stdout.strip()
