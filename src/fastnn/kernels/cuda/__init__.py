"""Kernels for NVIDIA GPUs: the twins of those in ``kernels.cpu``, by the same names.

::

    linear_forward     training step     assign       update_centers     k-means++, means
    linear_backward       mlp.py            |               |             candidates.py
          |           output, updates,   nearest.py      sums.py          center_steps.py
      linear.py       gather                |            sorting, scan    reduction.py
          |               |                 |               |                   |
          +---------------+-----------------+---------------+-------------------+
                                            |
                      scalars.py   memory.py (arrays to a device and back)
                                            |
                                  compat.py (numba.cuda)

The public functions are those at the top left, ``assign`` and ``update_centers``; no engine uses the others
yet.
Imported only when a CUDA device is asked for. ``compat`` alone imports numba.cuda.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from fastnn.kernels.cuda.compat import cuda, require_device
from fastnn.kernels.cuda.kmeans import assign, update_centers
from fastnn.kernels.cuda.linear import linear_backward, linear_forward

__all__ = ["assign", "linear_backward", "linear_forward", "on_device", "update_centers"]


@contextmanager
def on_device(ordinal: int) -> Iterator[None]:
    """Make a device the current one inside the ``with`` block.

    Raises
    ------
    RuntimeError
        A package, the driver or the device is missing.
    """
    require_device(ordinal)
    with cuda.gpus[ordinal]:
        yield
