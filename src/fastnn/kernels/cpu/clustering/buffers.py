"""Buffers that every thread of a launch has for itself."""

import numpy as np

from fastnn.tables.jitable import register_jitable

# Bytes: two cache lines, which processors fetch in pairs. Where two threads write into one pair, each write
# waits for the pair to come back from the other core, longer than a whole tile takes.
_PAIR_OF_LINES = 128


@register_jitable
def thread_buffers(n_workers, size, array):
    """A row of `size` elements or more of `array`'s dtype for every thread; none share a cache line."""
    line = _PAIR_OF_LINES // array.itemsize
    length = (size + line - 1) // line * line
    room = np.empty(n_workers * length + line, array.dtype)
    first = -room.ctypes.data % _PAIR_OF_LINES // array.itemsize
    return room[first : first + n_workers * length].reshape((n_workers, length))
