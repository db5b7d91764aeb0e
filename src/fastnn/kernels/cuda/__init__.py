"""Kernels for NVIDIA GPUs: the twins of those in ``kernels.cpu``, by the same names.

::

    linear_forward    resident.py: what the engines work on                           assign, update_centers
    linear_backward         |                         |                               kmeans.py
          |            training.py     passes.py      lloyd.py, mini_batch.py,           |
          |                |           candidates,    center_steps.py (loops)            |
          |            steps.py        sphere         sweep_buffers, gather, reduction   |
          |            step_phases         |             |          |                   |
          |            layer_by_layer      |             |          |                   |
       linear.py <-----  output.py          +---> nearest.py     sums.py  <--------------+
          |                 |                         |             sorting, scan
          +-----------------+-------------------------+----------------+
                                     |
             tile.py (the product)   scalars.py   memory.py (arrays to a device and back)
                                     |
                           compat.py (numba.cuda, cuda.core)

The functions of ``tables/elementary.py`` stand on ``scalars`` and ``memory`` alone.

Rows that a device has no memory for (``capacity``) stand beside those that it has::

    by_blocks.py:  resident.py   -> training.DeviceTraining   passes.DeviceSweeps, DeviceSeeding
                   streamed.py   -> streamed_training         streamed_passes
                        |                  |
                        +--- block_pipeline.py (copies while kernels run)

Imported only when a CUDA device is asked for. ``compat`` alone imports numba.cuda and cuda.core.
"""

from fastnn.kernels.contract.network import DeviceNetworks
from fastnn.kernels.cuda.clustering.backend import device_clustering
from fastnn.kernels.cuda.clustering.kmeans import assign, update_centers
from fastnn.kernels.cuda.elementary import exp, log, logistic, tanh
from fastnn.kernels.cuda.network import backend as _networks
from fastnn.kernels.cuda.network.linear import linear_backward, linear_forward
from fastnn.kernels.cuda.rows.by_blocks import RowsByBlocks
from fastnn.kernels.cuda.rows.resident import device_rows, to_kind_of
from fastnn.kernels.cuda.runtime.compat import on_device
from fastnn.kernels.cuda.runtime.memory import to_host

device_networks: DeviceNetworks[RowsByBlocks] = _networks

__all__ = [
    "assign",
    "device_clustering",
    "device_networks",
    "device_rows",
    "exp",
    "linear_backward",
    "linear_forward",
    "log",
    "logistic",
    "on_device",
    "tanh",
    "to_host",
    "to_kind_of",
    "update_centers",
]
