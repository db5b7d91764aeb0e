"""What the arguments of a layer's functions have to be, on every device."""

from typing import Any

from fastnn.kernels.shared.arrays import several
from fastnn.tables.activations import ACTIVATIONS, CODES


def activation_code(activation: str) -> int:
    """Place of an activation in ``ACTIVATIONS``.

    Raises
    ------
    ValueError
        There is none of this name.
    """
    if activation not in CODES:
        raise ValueError(f"activation must be one of {sorted(CODES)}, got {activation!r}")
    return CODES[activation]


def backward_arguments(
    activation: str, Z: Any, accumulate: bool, out: Any
) -> tuple[int, bool, tuple[Any, ...]]:
    """Code of the activation, whether its derivative needs Z, and the three outputs that are given.

    Raises
    ------
    ValueError
        An unknown activation, a missing `Z` or `out`.
    """
    code = activation_code(activation)
    needs_z = ACTIVATIONS[code].needs_z
    if needs_z and Z is None:
        raise ValueError(f"the derivative of {activation!r} needs Z: call linear_forward with return_z=True")
    given = several(out, 3)
    if accumulate and (given[1] is None or given[2] is None):
        raise ValueError("accumulate=True needs out=(dX, dW, db) with arrays dW and db to add to")
    return code, needs_z, given
