"""The types of values that compiled functions take: each has one name, on every device.

=======================  =================================================================
annotation               stands for
=======================  =================================================================
int, float               int64, float64
bool                     a truth value
Int32, Real              int32, and T: the float type that the function is compiled for
Int64s, Int32s           an array; as Reals2D and so on, one with two or three axes
Reals, Float64s          the same, of T and of float64
Offset                   where the array before it begins, in elements
a named tuple            its fields, one after the other
=======================  =================================================================

They are written once, as annotations of a function's parameters and of the fields of named tuples. Arrays are
contiguous. A Real, which in Python may be a number of NumPy, has T all the same.
"""

from functools import cache
from typing import Annotated, Any, NamedTuple

import numpy as np
from numba.core import types

FLOAT = "T"  # stands for the float type that a function is compiled for


class ValueType(NamedTuple):
    """What an annotation stands for: an element type, and the axes of an array."""

    element: str
    ndim: int = 0  # 0 for a scalar
    is_offset: bool = False

    def element_type(self, dtype: Any) -> Any:
        """Numba's type of a scalar or element, for T = `dtype`."""
        return dtype if self.element == FLOAT else getattr(types, self.element)

    def numba_type(self, dtype: Any) -> Any:
        """Numba's type of the scalar or contiguous array, for T = `dtype`."""
        element = self.element_type(dtype)
        return types.Array(element, self.ndim, "C") if self.ndim else element

    def __str__(self) -> str:
        return f"{self.element}[{', '.join(':' * self.ndim)}]" if self.ndim else self.element


Int32 = Annotated[int, ValueType("int32")]
Real = Annotated[float | np.floating, ValueType(FLOAT)]
Offset = Annotated[int, ValueType("int64", is_offset=True)]
Int32s = Annotated[np.ndarray, ValueType("int32", 1)]
Int64s = Annotated[np.ndarray, ValueType("int64", 1)]
Int64s2D = Annotated[np.ndarray, ValueType("int64", 2)]
Reals = Annotated[np.ndarray, ValueType(FLOAT, 1)]
Reals2D = Annotated[np.ndarray, ValueType(FLOAT, 2)]
Reals3D = Annotated[np.ndarray, ValueType(FLOAT, 3)]
Float64s = Annotated[np.ndarray, ValueType("float64", 1)]
Float64s2D = Annotated[np.ndarray, ValueType("float64", 2)]
Float64s3D = Annotated[np.ndarray, ValueType("float64", 3)]

_PLAIN = {int: ValueType("int64"), float: ValueType("float64"), bool: ValueType("boolean")}


def value_type(name: str, annotation: Any, owner: Any) -> ValueType:
    """What the annotation of a parameter or field of `owner` stands for.

    Raises
    ------
    TypeError
        There is none, or it is not in the table above.
    """
    found = (
        _PLAIN.get(annotation)
        if isinstance(annotation, type)
        else next(iter(getattr(annotation, "__metadata__", ())), None)
    )
    if not isinstance(found, ValueType):
        raise TypeError(f"{owner.__qualname__}: no compiled function takes {name} of type {annotation}")
    return found


@cache
def fields_of(structure: Any) -> tuple[ValueType, ...]:
    """The fields of a named tuple.

    Raises
    ------
    TypeError
        A field has an annotation that is not in the table above.
    """
    return tuple(value_type(name, structure.__annotations__[name], structure) for name in structure._fields)
