"""Steps that differ from layer to layer, and a trained scale of each input in front of the first one."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import DTypeLike

from fastnn.kernels.network import device


class LayerSteps:
    """What each layer's steps are multiplied by, for rules that are Adam's.

    Parameters
    ----------
    n_layers : int
        Layers of weights.
    bias_rates : sequence of float of length n_layers, default=None
        Factors of the steps of the biases; where one is 0 they stay. None: all 1.

    Attributes
    ----------
    factors : ndarray of float64 of shape (4, n_layers + 1)
        Of the learning rate and of epsilon, for weights and for biases; those of the scale stand last.
    front : FrontScale or None
        The scale of the inputs.
    """

    def __init__(self, n_layers: int, bias_rates: Sequence[float] | None = None) -> None:
        self.factors = np.ones((4, n_layers + 1))
        self.front: FrontScale | None = None
        if bias_rates is not None:
            self.bias_rates = bias_rates

    @property
    def bias_rates(self) -> tuple[float, ...]:
        """Factors of the learning rate of each layer's biases."""
        return tuple(self.factors[device.BIAS_RATE, :-1].tolist())

    @bias_rates.setter
    def bias_rates(self, rates: Sequence[float]) -> None:
        self.factors[device.BIAS_RATE, :-1] = rates


class FrontScale:
    """A factor s of each input, trained with the first layer's weights V, behind which it stands.

    A network has diag(s) V as its first weights.

    Parameters
    ----------
    V : ndarray of shape (n_in, n_out)
        First weights of the layer; the scales begin with 1.
    dtype : numpy dtype
        float32 or float64.

    Attributes
    ----------
    values : ndarray of shape (n_in * (n_out + 4),)
        V, s, and what a step keeps beside them.
    """

    def __init__(self, V: np.ndarray, dtype: DTypeLike) -> None:
        n_in, n_out = self._shape = V.shape
        self.values = np.zeros(n_in * (n_out + 4), dtype)
        self.values[: V.size] = V.ravel()
        self.scale[:] = 1.0

    @property
    def weights(self) -> np.ndarray:
        """V (n_in, n_out)."""
        n_in, n_out = self._shape
        return self.values[: n_in * n_out].reshape(n_in, n_out)

    @property
    def scale(self) -> np.ndarray:
        """s (n_in,)."""
        n_in, n_out = self._shape
        return self.values[n_in * n_out : n_in * (n_out + 1)]
