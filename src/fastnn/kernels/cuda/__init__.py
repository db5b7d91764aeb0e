"""Kernels for NVIDIA GPUs: the twins of those in ``kernels.cpu``, by the same names.

::

    linear_forward     training step     rows.py, passes.py (k-means' engines)      assign, update_centers
    linear_backward     mlp.py              |            |           |                 kmeans.py
          |           output, updates,   nearest.py   sums.py     candidates.py          |
      linear.py       gather             distances    sorting,    reduction.py           |
          |               |              lengths      scan           |                   |
          +---------------+-----------------+------------+-----------+-------------------+
                                            |
                      scalars.py   memory.py (arrays to a device and back)
                                            |
                                  compat.py (numba.cuda)

Imported only when a CUDA device is asked for. ``compat`` alone imports numba.cuda.
"""

from fastnn.kernels.cuda.compat import on_device
from fastnn.kernels.cuda.kmeans import assign, update_centers
from fastnn.kernels.cuda.linear import linear_backward, linear_forward
from fastnn.kernels.cuda.rows import device_rows, to_host, to_kind_of

__all__ = [
    "assign",
    "device_rows",
    "linear_backward",
    "linear_forward",
    "on_device",
    "to_host",
    "to_kind_of",
    "update_centers",
]
