"""Initial weights and biases: one entry per rule.

A rule draws an array for a layer with ``fan_in`` inputs and ``fan_out`` outputs; the same rules serve weights
and biases. To add one, write its function and add an entry to ``INITIALIZERS``.

References
----------
Glorot and Bengio (2010), "Understanding the difficulty of training deep feedforward neural networks", eq. 16.
He, Zhang, Ren and Sun (2015), "Delving deep into rectifiers", eq. 10.
LeCun, Bottou, Orr and Müller (1998), "Efficient BackProp", eq. 16.
Saxe, McClelland and Ganguli (2014), "Exact solutions to the nonlinear dynamics of learning in deep linear
neural networks", section 3.
Mezzadri (2007), "How to generate random matrices from the classical compact groups", section 5.
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


def _orthogonal(rng: np.random.RandomState, shape: tuple[int, ...]) -> np.ndarray:
    """Orthonormal columns, or rows where there are fewer of these; all such matrices are equally likely."""
    rows, columns = shape[0], (*shape, 1)[1]  # a vector is a column
    Q, R = np.linalg.qr(rng.normal(size=(max(rows, columns), min(rows, columns))))
    # With a positive diagonal of R the factors are unique, so that Q is as evenly distributed as the normals.
    Q *= np.where(np.diagonal(R) < 0, -1.0, 1.0)
    return (Q if rows >= columns else Q.T).reshape(shape)


ORTHOGONAL = "orthogonal"
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
    # Variance 1 / fan_in: signals keep their size through linear and selu layers.
    Initializer(
        "lecun_normal", lambda rng, layer, shape: rng.normal(0.0, np.sqrt(1.0 / layer.fan_in), shape)
    ),
    # Signals keep their length through square linear layers, however many there are.
    Initializer(ORTHOGONAL, lambda rng, layer, shape: _orthogonal(rng, shape)),
    # N(0, 0.1^2).
    Initializer("normal", lambda rng, layer, shape: rng.normal(0.0, 0.1, shape)),
    # As weights: every unit of a layer stays equal to its neighbours, so the layer never learns.
    Initializer("zeros", lambda rng, layer, shape: np.zeros(shape)),
    Initializer("constant", lambda rng, layer, shape: np.full(shape, 0.5)),
)
CODES = {entry.name: code for code, entry in enumerate(INITIALIZERS)}
AUTO = "auto"  # the first entry
NAMES = (AUTO, *CODES)
Rule = str | float | Callable[..., Any] | list[Any] | tuple[Any, ...]


def initialize(
    rng: np.random.RandomState,
    layer_sizes: Sequence[int],
    *,
    factor: float | Sequence[float],
    dtype: Any,
    weight_init: Rule = AUTO,
    bias_init: Rule = AUTO,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """First parameters of a whole network.

    Weights and then biases are drawn layer by layer in float64, so that the random stream is scikit-learn's
    and a float32 network starts at the rounded float64 one. The biases of scikit-learn's rule are drawn
    whatever `bias_init` is, so that the weights do not depend on it: they are the seed of another stream,
    from which another rule draws.

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
    weight_init, bias_init : str, float, callable or list of array-like, default="auto"
        A name from ``INITIALIZERS``; a number for all values; a function ``(random_state, fan_in, fan_out,
        dtype) -> array``; or arrays, one per layer, which are copied.

    Returns
    -------
    coefs : list of ndarray of shape (n_in, n_out)
    intercepts : list of ndarray of shape (n_out,)

    Raises
    ------
    ValueError
        A function or an array gives other than finite real numbers of the layer's shape, or there is not one
        array per layer.
    """
    factors = repeat(factor) if isinstance(factor, float) else factor
    layers = [Layer(*fans, each) for fans, each in zip(pairwise(layer_sizes), factors, strict=False)]
    for parameter, rule in (("weight_init", weight_init), ("bias_init", bias_init)):
        if isinstance(rule, list | tuple) and len(rule) != len(layers):
            raise ValueError(
                f"{parameter} must hold one array per layer, {len(layers)} in all, but holds {len(rule)}."
            )
    coefs, intercepts = [], []
    for number, layer in enumerate(layers):
        coefs.append(_values("weight_init", weight_init, number, rng, layer, layer[:2], dtype))
        biases = INITIALIZERS[0].draw(rng, layer, layer[1:2])
        if bias_init in (AUTO, INITIALIZERS[0].name):
            intercepts.append(biases.astype(dtype, copy=False))
        else:
            own = np.random.RandomState(biases.view(np.uint32))
            intercepts.append(_values("bias_init", bias_init, number, own, layer, layer[1:2], dtype))
    return coefs, intercepts


def _values(
    parameter: str,
    rule: Rule,
    number: int,
    rng: np.random.RandomState,
    layer: Layer,
    shape: tuple[int, ...],
    dtype: Any,
) -> np.ndarray:
    """First values of one array, of a layer that is counted from 0."""
    if isinstance(rule, str):
        entry = INITIALIZERS[0 if rule == AUTO else CODES[rule]]
        return entry.draw(rng, layer, shape).astype(dtype, copy=False)
    if isinstance(rule, list | tuple):
        given = rule[number]
    elif callable(rule):
        given = rule(rng, layer.fan_in, layer.fan_out, np.dtype(dtype))
    else:
        given = np.full(shape, rule)
    return checked_array(given, f"{parameter} of layer {number + 1}", shape, dtype)


def checked_array(given: Any, what: str, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A copy of what a user gives for an array of parameters.

    Parameters
    ----------
    given : array-like
    what : str
        Names it in an error.
    shape : tuple of int
    dtype : numpy dtype
        Of the copy.

    Raises
    ------
    ValueError
        It has another shape, or holds other than finite real numbers.
    """
    try:
        values = np.asarray(given)
    except (TypeError, ValueError):  # rows of several lengths; arrays that lie on a GPU
        values = np.empty(0, object)
    if values.dtype.kind not in "biuf":
        found = f"an array of dtype {values.dtype}"
    elif values.shape != shape:
        found = f"shape {values.shape}"
    else:
        with np.errstate(over="ignore"):
            values = values.astype(dtype)
        if np.isfinite(values).all():
            return values
        found = f"values that are not finite in {np.dtype(dtype)}"
    raise ValueError(f"{what} must be finite real numbers of shape {shape}, got {found}.")
