"""What networks begin with: the parameters that say it, and the drawing by them."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from numbers import Real
from typing import Any

import numpy as np
from sklearn.utils._param_validation import Interval, StrOptions

from fastnn.estimators.declaration import declared, parameter
from fastnn.kernels.shared.threads import one_blas_thread
from fastnn.tables.initializers import NAMES, ORTHOGONAL, initialize


@declared
class FirstWeightParameters:
    """How the first weights and biases are chosen."""

    weight_init: str | Callable[..., Any] | list[Any] | tuple[Any, ...] = parameter(
        StrOptions(set(NAMES)),
        callable,
        list,
        tuple,
        default="auto",
        kind="str, callable or list of array-like",
        doc=f"""
        First weights of every layer, by a rule, of which ``"auto"`` stands for ``"scikit-learn"`` [2]_:
        {", ".join(f'``"{name}"``' for name in NAMES)}.
        Or a function ``(random_state, fan_in, fan_out, dtype)`` that gives an array of shape (fan_in,
        fan_out); or arrays, one per layer, of shape (n_in, n_out), which are copied.
        """,
    )
    bias_init: str | float | Callable[..., Any] = parameter(
        StrOptions(set(NAMES)),
        Interval(Real, None, None, closed="neither"),
        callable,
        default="auto",
        kind="str, float or callable",
        doc="""
        First biases of every layer, output included: a name as of ``weight_init`` (``"constant"`` is 0.5); a
        number; or a function ``(random_state, fan_in, fan_out, dtype)`` that gives an array of shape
        (fan_out,). The first weights of a ``random_state`` do not depend on it.
        """,
    )


def first_weights(
    model: FirstWeightParameters,
    rng: np.random.RandomState,
    sizes: list[int],
    factor: float | Sequence[float],
    dtype: Any,
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """First weights and biases of the network of an estimator; see ``fastnn.tables.initializers``."""
    # Orthogonal matrices come from LAPACK, whose last digits may depend on the number of its threads.
    rules = model.weight_init, model.bias_init
    with one_blas_thread if ORTHOGONAL in rules else nullcontext():
        return initialize(
            rng, sizes, factor=factor, dtype=dtype, weight_init=model.weight_init, bias_init=model.bias_init
        )
