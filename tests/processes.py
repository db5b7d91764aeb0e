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
