"""Inputs that are noisy in another way in each epoch, from which a denoising autoencoder learns.

References
----------
Vincent, Larochelle, Bengio and Manzagol (2008), "Extracting and composing robust features with denoising
autoencoders", ICML.
"""

from typing import Any

import numpy as np

from fastnn.networks.rows import HostRows


class NoisyRows:
    """Rows with Gaussian noise, drawn anew at each call.

    Parameters
    ----------
    clean : ndarray of shape (n, d)
    deviation : float
        Standard deviation of the noise.
    rng : numpy.random.Generator
    """

    def __init__(self, clean: np.ndarray, deviation: float, rng: np.random.Generator) -> None:
        self._clean, self._deviation, self._rng = clean, clean.dtype.type(deviation), rng
        self._noisy = np.empty(clean.shape, clean.dtype)

    @property
    def state(self) -> Any:
        """Of the random numbers: names and integers."""
        return self._rng.bit_generator.state

    @state.setter
    def state(self, state: Any) -> None:
        self._rng.bit_generator.state = state

    def __call__(self) -> HostRows:
        """Rows of shape (n, d), which the next call overwrites."""
        self._rng.standard_normal(self._clean.shape, self._clean.dtype, out=self._noisy)
        self._noisy *= self._deviation
        self._noisy += self._clean
        return HostRows(self._noisy)
