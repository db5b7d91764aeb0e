"""Texts that say of parameters and data whether they are the same, in this process or another one."""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from numbers import Real
from typing import Any

import numpy as np

from fastnn.estimators.draft import python_number

# Bytes that are hashed at a time, where they have to be brought together first.
BLOCK_BYTES = 1 << 24
# Objects within objects that are looked into: they may hold each other.
_DEEPEST = 3


def described(value: Any, depth: int = 0) -> str:
    """A text that is the same for the same value in every process, and hardly for another one."""
    value = python_number(value)
    if value is None or isinstance(value, bool | str):
        return repr(value)
    if isinstance(value, Real):
        # 1 and 1.0 are the same number.
        number = value if isinstance(value, int) else float(value)
        return repr(int(number) if isinstance(number, int) or number.is_integer() else number)
    if isinstance(value, np.ndarray):
        return digest([("array", value)])
    if isinstance(value, Mapping):
        texts = sorted(f"{described(k, depth)}: {described(v, depth)}" for k, v in value.items())
        return f"{{{', '.join(texts)}}}"
    if isinstance(value, Sequence):
        return f"[{', '.join(described(each, depth) for each in value)}]"
    if isinstance(value, partial):
        return f"partial({described([value.func, value.args, value.keywords], depth)})"
    if hasattr(value, "__qualname__"):
        return f"{value.__module__}.{value.__qualname__}"
    # An object that can be called, such as a scorer, by what it holds; not without end.
    kind, held = type(value), vars(value) if hasattr(value, "__dict__") and depth < _DEEPEST else {}
    return f"{kind.__module__}.{kind.__qualname__}({described(held, depth + 1)})"


def digest(parts: Iterable[str | tuple[str, np.ndarray]]) -> str:
    """Hash of named arrays, and of texts, one after the other."""
    hashed = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            hashed.update(f"{len(part)} {part}".encode())
            continue
        name, array = part
        hashed.update(f"{name} {array.dtype.str} {array.shape} ".encode())
        for block in _blocks(array):
            hashed.update(block)
    return hashed.hexdigest()


def _blocks(array: np.ndarray) -> Iterator[bytes | memoryview]:
    """The bytes of an array, in pieces."""
    if array.dtype.hasobject:
        yield described(array.tolist()).encode()
    elif array.flags.c_contiguous:
        yield array.reshape(-1).view(np.uint8).data
    else:
        n_rows = max(1, BLOCK_BYTES * len(array) // max(1, array.nbytes))
        for first in range(0, len(array), n_rows):
            yield array[first : first + n_rows].tobytes()
