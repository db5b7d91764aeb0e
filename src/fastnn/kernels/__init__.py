"""The compiled kernels: NumPy arrays in, NumPy arrays out.

::

    linear_forward      training step        assign            exp log tanh
    linear_backward     and prediction       update_centers    logistic
          |                   |                    |               |
      linear.py   mlp.py, layers, output,   sweep.py, nearest,  elementary.py
          |       panels, workspace         center_steps,          |
          |                   |             bounded, leading, ...  |
          +-------------------+--------------------+       fastnn.elementary
                              |                               (scalars)
             dispatch.py, linked.py  (C functions by name or address)
                              |
                     tile.py, tile_ir.py, ir_*.py  (register-tiled product, running minimum, moves: LLVM IR)
                              |
                     targets.py  (one row per instruction set)

``_jit`` compiles and caches, ``_link`` compiles heavy leaves once, ``_threads`` decides about threads. This
module is the only place that chooses the device on which a function runs.
"""

import numba

if numba.config.DISABLE_JIT:
    raise ImportError("fastnn is compiled by Numba and cannot run with NUMBA_DISABLE_JIT=1")

from fastnn.kernels import cpu
from fastnn.kernels.cpu.elementary import exp, log, logistic, tanh
from fastnn.kernels.cpu.kmeans import assign, update_centers
from fastnn.kernels.cpu.linear import linear_backward, linear_forward

# What the engines build on: the names in `__all__` of the device's package.
device = cpu

__all__ = ["assign", "exp", "linear_backward", "linear_forward", "log", "logistic", "tanh", "update_centers"]
