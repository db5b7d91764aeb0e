"""The training of a network as a problem of least squares, on the CPU in float64."""

import numpy as np

from fastnn.kernels.network import device
from fastnn.kernels.shared.arrays import plain
from fastnn.kernels.shared.pacing import answer_stop
from fastnn.kernels.shared.threads import threads_for, workers
from fastnn.networks.data import Data, rows_of
from fastnn.networks.network import Network
from fastnn.networks.rows import HostRows
from fastnn.tables.activations import CODES

# Rows of the Jacobian in a block, about: the sums of a register tile are then long enough that to begin and
# to end them costs little, and a strip of the block that all tiles pass over stays in the first-level cache.
BLOCK_ROWS = 256
# FLOPs of a compiled call, a fraction of a second on one core: so long Ctrl-C waits.
CALL_FLOPS = 2e10


def diagonal(matrix: np.ndarray) -> np.ndarray:
    """The diagonal, to be written to."""
    return np.einsum("ii->i", matrix)


class LeastSquares:
    """Half the squared errors of a network: mean over samples, sum over outputs, plus the penalty.

    Parameters
    ----------
    network : Network
        It says what the layers are.
    data : Data
        On the host.
    alpha : float
        L2 penalty of the weights.

    Attributes
    ----------
    parameters : ndarray of float64 of shape (n_parameters,)
        At which all is computed: first a copy of the network's, to be changed in place.
    """

    def __init__(self, network: Network, data: Data, alpha: float) -> None:
        assert isinstance(data.X, HostRows)
        assert isinstance(data.Y, np.ndarray)
        self.parameters = network.parameters.astype(np.float64)
        layout, weights = network.layout, data.sample_weight
        names = *network.hidden_activations, network.loss.output_activation
        activations, derivatives = (
            np.array([loops.address(CODES[name], self.parameters.dtype) for name in names], np.int64)
            for loops in (device.activation_loops, device.derivative_loops)
        )
        self._rows = rows_of(data.X.X, self.parameters.dtype)
        self._problem = device.SquaredErrors(
            layout.sizes,
            layout.w_at,
            self.parameters,
            activations,
            derivatives,
            plain(data.Y, np.float64).reshape(-1),
            np.empty(0) if weights is None else np.sqrt(weights, dtype=np.float64),
        )
        self._errors = np.empty(data.Y.size)
        self._total = float(data.Y.shape[0] if weights is None else weights.sum(dtype=np.float64))
        self._decay = np.full(self.parameters.size, float(alpha))
        for b in layout.biases(self._decay):
            b[:] = 0
        # Biases that stay what they are.
        places = layout.biases(np.arange(layout.n_parameters))
        rates = zip(network.bias_rates, places, strict=True)
        self._fixed = np.concatenate([[], *(b for rate, b in rates if rate == 0)]).astype(np.intp)
        self._block = max(1, BLOCK_ROWS // network.layer_sizes[-1])
        self._row_flops = layout.row_flops

    def loss(self) -> float:
        """The objective."""
        n = self._rows.order.size
        at_once = self._rows_at_once(self._row_flops)
        for first in range(0, n, at_once):
            answer_stop()
            last = min(n, first + at_once)
            with threads_for((last - first) * self._row_flops) as parallel:
                device.weighted_errors(
                    parallel, workers(parallel), first, last, self._block,
                    self._problem, self._rows, self._errors,
                )  # fmt: skip
        penalty = np.dot(self._decay * self.parameters, self.parameters)
        return float(0.5 * (np.dot(self._errors, self._errors) + penalty) / self._total)

    def normal_equations(self) -> tuple[np.ndarray, np.ndarray]:
        """Second derivatives of the objective where the network is linear, and its gradient.

        Returns
        -------
        curvature : ndarray of shape (n_parameters, n_parameters)
            In Fortran's order; what stands above the diagonal is undefined.
        gradient : ndarray of shape (n_parameters,)
        """
        n, n_columns = self._rows.order.size, self.parameters.size + 1
        products = np.zeros((n_columns, n_columns))
        block_flops = float(self._block * (n_columns**2 * (self._errors.size // max(1, n)) + self._row_flops))
        at_once = self._rows_at_once(block_flops / self._block)
        for first in range(0, n, at_once):
            answer_stop()
            last = min(n, first + at_once)
            with threads_for(block_flops) as parallel:  # each block has regions of its own
                device.add_normal_products(
                    parallel, workers(parallel), first, last, self._block,
                    self._problem, self._rows, products.reshape(-1),
                )  # fmt: skip
        products /= self._total
        curvature, gradient = products[:-1, :-1].T, products[:-1, -1].copy()
        diagonal(curvature)[:] += self._decay / self._total
        gradient += self._decay * self.parameters / self._total
        gradient[self._fixed] = curvature[self._fixed] = curvature[:, self._fixed] = 0
        return curvature, gradient

    def _rows_at_once(self, row_flops: float) -> int:
        """Rows of a compiled call: whole blocks."""
        return self._block * max(1, int(CALL_FLOPS / (row_flops * self._block)))
