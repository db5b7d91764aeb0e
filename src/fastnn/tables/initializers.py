"""Initial weights and biases: one entry per rule.

A rule draws an array for a layer with ``fan_in`` inputs and ``fan_out`` outputs; the same rules serve weights
and biases. To add one, write its function and add an entry to ``INITIALIZERS``.

References
----------
Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks", eq. 16.
He, Zhang, Ren and Sun (2015), "Delving deep into rectifiers", eq. 10.
"""

from collections.abc import Callable, Sequence
from itertools import pairwise, repeat
from typing import Any, NamedTuple

import numpy as np


class Layer(NamedTuple):
    """What a rule may depend on."""

    fan_in: int
    fan_out: int
    factor: float  # numerator of scikit-learn's bound: the ``glorot_factor`` of the hidden activation


class Initializer(NamedTuple):
    """One way to fill an array with first values."""

    name: str
    draw: Callable[[np.random.RandomState, Layer, tuple[int, ...]], np.ndarray]


def _uniform(rng: np.random.RandomState, bound: float, shape: tuple[int, ...]) -> np.ndarray:
    return rng.uniform(-bound, bound, shape)


INITIALIZERS = (
    # U(-c, c) with c = sqrt(factor / (fan_in + fan_out)), for weights and biases alike.
    Initializer(
        "scikit-learn",
        lambda rng, layer, shape: _uniform(
            rng, np.sqrt(layer.factor / (layer.fan_in + layer.fan_out)), shape
        ),
    ),
    # Variance 2 / (fan_in + fan_out): signals and gradients keep their size through tanh layers.
    Initializer(
        "glorot_uniform",
        lambda rng, layer, shape: _uniform(rng, np.sqrt(6.0 / (layer.fan_in + layer.fan_out)), shape),
    ),
    Initializer(
        "glorot_normal",
        lambda rng, layer, shape: rng.normal(0.0, np.sqrt(2.0 / (layer.fan_in + layer.fan_out)), shape),
    ),
    # Variance 2 / fan_in: makes up for the half of the signal that a rectifier drops.
    Initializer("he_uniform", lambda rng, layer, shape: _uniform(rng, np.sqrt(6.0 / layer.fan_in), shape)),
    Initializer("he_normal", lambda rng, layer, shape: rng.normal(0.0, np.sqrt(2.0 / layer.fan_in), shape)),
    # N(0, 0.1^2).
    Initializer("normal", lambda rng, layer, shape: rng.normal(0.0, 0.1, shape)),
    # As weights: every unit of a layer stays equal to its neighbours, so the layer never learns.
    Initializer("zeros", lambda rng, layer, shape: np.zeros(shape)),
    Initializer("constant", lambda rng, layer, shape: np.full(shape, 0.5)),
)
CODES = {entry.name: code for code, entry in enumerate(INITIALIZERS)}
DEFAULT = INITIALIZERS[0].name


def initialize(
    rng: np.random.RandomState,
    layer_sizes: Sequence[int],
    *,
    factor: float | Sequence[float],
    dtype: Any,
    weights: str = DEFAULT,
    biases: str = DEFAULT,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """First parameters of a whole network.

    Weights and then biases are drawn layer by layer in float64, so that the random stream is scikit-learn's
    and a float32 network starts at the rounded float64 one.

    Parameters
    ----------
    rng : numpy.random.RandomState
        Source of random numbers.
    layer_sizes : sequence of int
        Units of each layer, inputs first.
    factor : float or sequence of float
        ``glorot_factor`` of the hidden activation, or of each layer.
    dtype : numpy dtype
        Of the result.
    weights, biases : str, default="scikit-learn"
        Names of entries of ``INITIALIZERS``.

    Returns
    -------
    coefs : list of ndarray of shape (n_in, n_out)
    intercepts : list of ndarray of shape (n_out,)
    """
    draw_weights, draw_biases = INITIALIZERS[CODES[weights]].draw, INITIALIZERS[CODES[biases]].draw
    coefs, intercepts = [], []
    factors = repeat(factor) if isinstance(factor, float) else factor
    for (fan_in, fan_out), of_layer in zip(pairwise(layer_sizes), factors, strict=False):
        layer = Layer(fan_in, fan_out, of_layer)
        coefs.append(draw_weights(rng, layer, (fan_in, fan_out)).astype(dtype, copy=False))
        intercepts.append(draw_biases(rng, layer, (fan_out,)).astype(dtype, copy=False))
    return coefs, intercepts
