"""Named tuples as arguments of kernels: the type of a field is written once, at the field.

A field is annotated with one of the names below; ``structure_type`` is the type that Numba gives to a tuple
of such fields.
"""

from typing import Annotated, Any, NamedTuple, get_type_hints

from numba import types


class _Field(NamedTuple):
    item: Any  # a Numba type; None for the float type that the kernel is made for
    n_dimensions: int


Int = Annotated[Any, _Field(types.int64, 0)]
Ints = Annotated[Any, _Field(types.int64, 1)]
Doubles = Annotated[Any, _Field(types.float64, 1)]
Real = Annotated[Any, _Field(None, 0)]
Reals = Annotated[Any, _Field(None, 1)]
RealMatrix = Annotated[Any, _Field(None, 2)]


def field_type(annotation: Any, real: Any) -> Any:
    """The Numba type of a field, by one of the annotations here; arrays are contiguous."""
    (field,) = annotation.__metadata__
    item = real if field.item is None else field.item
    return types.Array(item, field.n_dimensions, "C") if field.n_dimensions else item


def structure_type(structure: type, real: Any) -> Any:
    """The Numba type of a named tuple whose fields have such annotations."""
    hints = get_type_hints(structure, include_extras=True)
    return types.BaseTuple.from_types([field_type(hint, real) for hint in hints.values()], structure)
