"""The compiled kernels: NumPy arrays in, NumPy arrays out.

::

    linear_forward  linear_backward      assign  update_centers      exp log tanh logistic
          |               |                |           |                     |
       linear.py, mlp.py     sweep.py, nearest.py, seeding.py     elementary.py
                          |                |                                 |
                     tile.py   (register-tiled product, running minimum,     |
                          |     transposition, emitted as LLVM IR)           |
                     targets.py (one row per instruction set)        fastnn.elementary (scalars)

``_jit`` compiles and caches, ``_link`` compiles heavy leaves once, ``_threads`` decides about threads. This
module is the only place that chooses the device on which a function runs.
"""

from fastnn.kernels import cpu
from fastnn.kernels.cpu.elementary import exp, log, logistic, tanh
from fastnn.kernels.cpu.kmeans import assign, update_centers
from fastnn.kernels.cpu.linear import linear_backward, linear_forward

# What the engines build on: the names in `__all__` of the device's package.
device = cpu

__all__ = ["assign", "exp", "linear_backward", "linear_forward", "log", "logistic", "tanh", "update_centers"]
