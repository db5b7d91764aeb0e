"""The loops over the tables' entries give each element the same value wherever an array is cut.

A loop's vector body and its remainder are compiled apart. Where an entry adds two products, either of them
may be fused with the addition, and the two parts of a loop need not choose the same, nor two compilations.
"""

import numpy as np
import pytest

from fastnn.kernels.compiler import targets
from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.cpu import dispatch

DTYPES = [np.float32, np.float64]
VECTORS = (1, 2, 3, 5, 7, 12)


@jit
def activate(address, z):
    dispatch.activate(address, z)


@jit
def chain_rule(address, d, z, a):
    dispatch.chain_rule(address, d, z, a)


@jit
def losses_and_dz(address, y, a, p):
    dispatch.losses_and_dz(address, y, a, p)


@jit
def update(address, decay, scale, c, w, g, s0, s1, s2):
    dispatch.update_parameters(
        address, decay, decay, scale, scale, c[0], c[1], c[2], c[3], c[4], c[5], w, g, s0, s1, s2
    )


def cut_anywhere(loop, arrays, step):
    """The arrays after the loop over all of them, and after the loop over pieces of `step` elements."""
    whole, pieces = ([array.copy() for array in arrays] for _ in range(2))
    loop(*whole)
    for start in range(0, arrays[0].size, step):
        loop(*(array[start : start + step] for array in pieces))
    return zip(whole, pieces, strict=True)


def cases(table, dtype):
    for code, name in enumerate(table.loops):
        address = table.address(code, dtype)
        if address:
            yield name, address


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("kind", ["activation", "derivative", "loss", "update"])
def test_a_cut_changes_nothing(kind, dtype):
    rng = np.random.default_rng(0)
    width = targets.ROW.vector_width(np.dtype(dtype).itemsize)
    n = 64 * width
    x, d, z = (3 * rng.normal(size=n).astype(dtype) for _ in range(3))
    unit = rng.uniform(0.01, 0.99, size=n).astype(dtype)
    c = np.array([1e-3, 0.9, 0.1, 0.999, 0.001, 1e-8], dtype)
    table = getattr(dispatch, f"{kind}_loops")
    for name, address in cases(table, dtype):
        loop, arrays = {
            "activation": (lambda z, at=address: activate(at, z), [x]),
            "derivative": (lambda d, z, a, at=address: chain_rule(at, d, z, a), [d, z, unit]),
            "loss": (lambda y, a, at=address: losses_and_dz(at, y, a, dtype(0.3)), [np.round(unit), unit]),
            "update": (
                lambda *arrays, at=address: update(at, dtype(1e-2), dtype(0.3), c, *arrays),
                [x, d, np.abs(z), unit, unit / 2],  # of any slot a root may be taken
            ),
        }[kind]
        for vectors in VECTORS:
            for whole, pieces in cut_anywhere(loop, arrays, vectors * width):
                np.testing.assert_array_equal(pieces, whole, err_msg=f"{name}, {vectors} vectors")
        if kind == "update":  # rows of weights end anywhere
            for step in (1, 3, width + 1, 5 * width + 3):
                for whole, pieces in cut_anywhere(loop, arrays, step):
                    np.testing.assert_array_equal(pieces, whole, err_msg=f"{name}, {step} elements")
