"""What the engine of networks uses of the kernels: the processor's as `device`, and the GPUs' backend."""

from importlib import import_module

from fastnn.kernels.contract.network import DeviceNetworks
from fastnn.kernels.cpu import network as device
from fastnn.kernels.shared.device_rows import DeviceRows

__all__ = ["device", "networks_on_device"]


def networks_on_device() -> DeviceNetworks[DeviceRows]:
    """Networks on the rows of a CUDA device: ``fastnn.kernels.cuda.network.backend``."""
    cuda = import_module("fastnn.kernels.cuda")
    return cuda.device_networks
