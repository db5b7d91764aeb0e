"""Networks whose second half of layers has the transposed weights of the first half: tied weights.

A tied matrix is one set of parameters that is used twice, so its gradient is the sum of those of both uses.
The kernels know nothing of it: they give the gradient of the whole network, batch by batch, and the step is
made here, on the parameters that there are.

References
----------
Vincent, Larochelle, Lajoie, Bengio and Manzagol (2010), "Stacked denoising autoencoders", JMLR 11, section 2.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from fastnn.kernels.contract.network import EngineRows, TargetMatrix
from fastnn.kernels.network import device
from fastnn.networks.host_network import HostNetwork
from fastnn.networks.network import Network
from fastnn.tables.optimizers import Optimizer


def is_tied(coefs: Sequence[np.ndarray]) -> bool:
    """Whether the weights of the second half are the transposed ones of the first."""
    return all(
        np.array_equal(W, V.T) for W, V in zip(coefs[: len(coefs) // 2], reversed(coefs), strict=False)
    )


class TiedNetwork(Network):
    """A network that is trained with tied weights, on the processor.

    Parameters
    ----------
    whole : Network
        Of layers whose sizes are the same from both ends. The first half of its weights counts; what training
        makes of them it gets by ``unfold``.

    Attributes
    ----------
    parameters : ndarray of shape (n_parameters,)
        What is trained: W of the first half of the layers, then b of all layers.
    """

    def __init__(self, whole: Network) -> None:
        # All that the network is, its views of W and b included, but for what is trained.
        vars(self).update(vars(whole))
        self._whole = whole
        self._n_tied = len(whole.coefs) // 2
        own = self._own(whole.coefs, whole.intercepts)
        self._ends = np.cumsum([array.size for array in own])
        self.parameters = np.concatenate([array.ravel() for array in own])
        self._views = self.views_of(self.parameters)

    def unfold(self) -> None:
        """Bring W and b of all layers up to date."""
        own = self._own(self.coefs, self.intercepts)
        for array, values in zip(own, self._views, strict=True):
            array[...] = values
        for W, values in zip(reversed(self.coefs), self._views[: self._n_tied], strict=False):
            W[...] = values.T

    def layer_copies(self) -> tuple[list[np.ndarray], list[np.ndarray]]:
        self.unfold()
        return super().layer_copies()

    def fold(self, gradient: np.ndarray, views: list[np.ndarray]) -> None:
        """The gradient of ``parameters``, from that of all W and b: uses of the same parameter add up.

        views : OUT, ``views_of`` the gradient
        """
        weights, biases = self.layout.weights(gradient), self.layout.biases(gradient)
        for view, values in zip(views, self._own(weights, biases), strict=True):
            view[...] = values
        for view, dW in zip(views[: self._n_tied], reversed(weights), strict=False):
            view += dW.T

    def bind(
        self,
        X: EngineRows,
        Y: TargetMatrix,
        *,
        sample_weight: np.ndarray | None = None,
        alpha: float = 0.0,
        l1_alpha: float = 0.0,
        optimizer: Optimizer | None = None,
    ) -> "TiedBoundNetwork":
        bound = self._whole.bind(X, Y, sample_weight=sample_weight, alpha=alpha, l1_alpha=l1_alpha)
        assert isinstance(bound, HostNetwork)  # the estimator has refused others
        return TiedBoundNetwork(self, bound, X.shape[0], (alpha, l1_alpha), optimizer)

    def outputs(self, X: EngineRows, n_layers: int | None = None) -> np.ndarray:
        self.unfold()
        return self._whole.outputs(X, n_layers)

    def ranges(self, alpha: float, l1_alpha: float) -> device.Ranges:
        """Each W and b; its penalties count for both uses, its decay for one set of parameters."""
        weights = np.array([1.0] * self._n_tied + [0.0] * len(self.bias_rates))
        rates = np.array([1.0] * self._n_tied + list(self.bias_rates))
        return device.Ranges(self._ends, rates, 2.0 * alpha * weights, 2.0 * l1_alpha * weights, weights)

    def penalty(self, alpha: float, l1_alpha: float) -> float:
        """Of all weights."""
        tied, penalty = self.parameters[: self._ends[self._n_tied - 1]], 0.0
        if alpha > 0:
            penalty = 0.5 * alpha * (2.0 * float(np.vdot(tied, tied)))
        if l1_alpha > 0:
            penalty += 2.0 * l1_alpha * float(np.abs(tied).sum(dtype=np.float64))
        return penalty

    def _own(self, coefs: list[np.ndarray], intercepts: list[np.ndarray]) -> list[np.ndarray]:
        return coefs[: self._n_tied] + intercepts

    def views_of(self, flat: np.ndarray) -> list[np.ndarray]:
        """Each W and b in a vector as ``parameters``."""
        own = self._own(self.coefs, self.intercepts)
        return [
            part.reshape(array.shape)
            for part, array in zip(np.split(flat, self._ends[:-1]), own, strict=True)
        ]


class TiedBoundNetwork:
    """The ``BoundNetwork`` of a network with tied weights: its parameters are ``network.parameters``."""

    def __init__(
        self,
        network: TiedNetwork,
        bound: HostNetwork,
        n_rows: int,
        penalties: tuple[float, float],
        optimizer: Optimizer | None,
    ) -> None:
        self._n_rows = n_rows
        self._network, self._bound, self._penalties, self._optimizer = network, bound, penalties, optimizer
        self._gradient = np.empty_like(network.parameters)
        self._views = network.views_of(self._gradient)

    def run_epoch(
        self,
        order: np.ndarray | None,
        batch_size: int,
        accumulate: int = 1,
        rates: np.ndarray | None = None,
    ) -> float:
        network, optimizer = self._network, self._optimizer
        assert optimizer is not None
        assert accumulate == 1  # the estimator has refused others
        parameters, dtype = network.parameters, network.dtype
        ranges = network.ranges(*self._penalties)
        shrinks = optimizer.weight_decay > 0 or self._penalties[1] > 0
        update = device.update_address(optimizer.code, dtype, shrinks=shrinks)
        coefficients = device.coefficient_loops.address(optimizer.code, dtype)
        more = optimizer.weight_decay, optimizer.max_norm, optimizer.average_rate
        total = 0.0
        network.unfold()
        for batch, n, loss, weight, gradient in self._bound.batch_gradients(order, batch_size, optimizer):
            if np.isnan(loss):
                return loss
            total += (loss + network.penalty(*self._penalties)) / weight * n
            network.fold(gradient, self._views)
            optimizer.t += 1
            rate = optimizer.learning_rate if rates is None else float(rates[batch])
            step = device.RuleStep(update, coefficients, optimizer.hyper, rate, optimizer.t, *more)
            device.step_on_ranges(
                step, ranges, 1.0 / weight, parameters, self._gradient, optimizer.state, optimizer.average
            )
            network.unfold()
        # As of any network: batches of no weight count among the rows.
        return total / (self._n_rows if order is None else order.size)

    def loss_and_gradient(self, *, copy: bool = True) -> tuple[float, np.ndarray]:
        self._network.unfold()
        loss, gradient = self._bound.loss_and_gradient(copy=False)
        self._network.fold(gradient, self._views)
        return loss, self._gradient.copy() if copy else self._gradient

    def hidden_panels(self, layer: int, most: int) -> Iterable[np.ndarray]:
        return ()

    def finish(self) -> None:
        pass
