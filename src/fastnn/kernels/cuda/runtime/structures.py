"""Named tuples as arguments of kernels."""

from typing import Any

from numba import types

from fastnn.kernels.shared.value_types import fields_of


def structure_type(structure: type, real: Any) -> Any:
    """The type that Numba gives to such a named tuple: by its fields' annotations, with T = `real`."""
    return types.BaseTuple.from_types([field.numba_type(real) for field in fields_of(structure)], structure)
