"""The scalar functions of ``fastnn.tables.elementary`` in kernels here, for the registries of every device.

The entries of the registries (activations, losses, update rules) call the functions of that module.
On the CPU these are arithmetic that becomes vector code; a GPU has functions of its own, which are as exact.
"""

import math
from collections.abc import Callable
from typing import Any

from fastnn.kernels.cuda.runtime.compat import overload
from fastnn.tables import elementary


def _register(function: Callable[..., Any], implementation: Callable[..., Any]) -> None:
    overload(function)(lambda x: implementation)


_register(elementary.exp, lambda x: math.exp(x))
_register(elementary.expm1, lambda x: math.expm1(x))
_register(elementary.log, lambda x: math.log(x))
_register(elementary.log1p, lambda x: math.log1p(x))
_register(elementary.erf, lambda x: math.erf(x))
_register(elementary.tanh, lambda x: math.tanh(x))


@overload(elementary.logistic)
def _(x):
    def implementation(x):
        # exp(x) for x < 0: exp(-x) would overflow, and infinity is 0 only after a division.
        one = type(x)(1)
        e = math.exp(-abs(x))
        return (e if x < type(x)(0) else one) / (one + e)

    return implementation


@overload(elementary.rounded_product)
def _(x, y):
    # A kernel has no vector body and remainder that could fuse differently.
    return lambda x, y: x * y
