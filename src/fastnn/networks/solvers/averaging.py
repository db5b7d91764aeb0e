"""Averages of the parameters over steps: training goes on from the last ones, the average is what counts."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from fastnn.networks.network import Network
from fastnn.tables.optimizers import Optimizer


class Averaging:
    """Changes a network's parameters for their average over the steps of an optimiser, and back.

    The average itself is kept by the steps. Without one nothing is done.

    Parameters
    ----------
    network : Network
        With the parameters that its last training has left, or that a first one begins with.
    optimizer : Optimizer
        Of that training, or a new one.
    """

    def __init__(self, network: Network, optimizer: Optimizer) -> None:
        self._network, self._optimizer = network, optimizer
        if not optimizer.average_rate:
            return
        parameters = network.parameters
        before = optimizer.iterate
        if before is None:
            optimizer.iterate = parameters.copy()
        elif np.array_equal(parameters, optimizer.average.astype(parameters.dtype)):
            parameters[:] = before
            return
        # From these parameters training begins, or goes on: they are not those that it has left.
        optimizer.average[:] = parameters

    @contextmanager
    def shown(self) -> Iterator[None]:
        """While it lasts the network has the average."""
        optimizer, parameters = self._optimizer, self._network.parameters
        if not optimizer.average_rate:
            yield
            return
        self.end()
        try:
            yield
        finally:
            assert optimizer.iterate is not None
            parameters[:] = optimizer.iterate

    def end(self) -> None:
        """Leave the average in the network, and in the optimiser what training goes on from."""
        optimizer, parameters = self._optimizer, self._network.parameters
        if optimizer.average_rate:
            assert optimizer.iterate is not None
            optimizer.iterate[:] = parameters
            parameters[:] = optimizer.average
