"""What annotations say about a compiled function's parameters, and what is refused."""

from typing import NamedTuple

import numpy as np
import pytest
from numba.core import types

from fastnn.kernels.compiler import link, linked
from fastnn.kernels.compiler.jit import jit
from fastnn.kernels.compiler.signature import address_type, parameters_of, view_type
from fastnn.kernels.shared.value_types import (
    Float64s,
    Int32,
    Int32s,
    Int64s,
    Int64s2D,
    Offset,
    Real,
    Reals,
    Reals2D,
    Reals3D,
)
from fastnn.kernels.simd.tile import tile_distances


class Pair(NamedTuple):
    """A structure."""

    flag: bool
    values: Reals2D
    codes: Int32s


class OtherPair(NamedTuple):
    """The same fields."""

    flag: bool
    values: Reals2D
    codes: Int32s


def scalars(a: int, b: Int32, c: float, d: Real, e: bool):
    """All kinds."""


def arrays(a: Int64s, b: Int32s, c: Float64s, d: Reals, e: Reals3D, f: Int64s2D):
    """All kinds."""


def places(a: Reals, a_offset: Offset, b: Int32s):
    """An array from an element on, and a whole one."""


def of_a_pair(n: int, pair: Pair, out: Reals):
    """A structure between others."""


@linked.linked("signature-test")
def first_value(pair: Pair, out: Reals):
    """out[0] = the first value, with the flag."""
    out[0] = pair.values[0, 0] if pair.flag else pair.codes[0]


@jit
def call(pair, out):
    first_value(pair, out)


def c_type(function, dtype=types.float32, passed=view_type):
    return str(passed(parameters_of(function), dtype))


def test_scalars():
    assert c_type(scalars) == "void (i64, i32, double, float, i64)"
    assert c_type(scalars, types.float64) == "void (i64, i32, double, double, i64)"
    assert c_type(scalars, passed=address_type) == "void (i64, i32, double, float, i1)"


def test_arrays_are_pointers_with_the_lengths_of_their_axes():
    pointers = ["i64*", "i32*", "double*", "float*", "float*", "i64*"]
    axes = [1, 1, 1, 1, 3, 2]
    views = [part for pair in zip(pointers, axes, strict=True) for part in [pair[0], *["i64"] * pair[1]]]
    assert c_type(arrays) == f"void ({', '.join(views)})"
    assert c_type(arrays, passed=address_type) == f"void ({', '.join(pointers)})"


def test_an_offset_is_added_before_the_call():
    assert c_type(places, passed=address_type) == "void (float*, i32*)"


def test_a_structure_is_its_fields():
    assert c_type(of_a_pair) == "void (i64, i64, float*, i64, i64, i32*, i64, float*, i64)"
    assert link.c_type("fastnn_signature-test_float64") == (
        "void (i64, double*, i64, i64, i32*, i64, double*, i64)"
    )


def test_no_type_is_no_parameter():
    def without(a: int, b):
        """No type for b."""

    def unknown(a: np.ndarray):
        """Of which elements?"""

    class Unknown(NamedTuple):
        field: str

    def structure(a: Unknown):
        """Text is nothing that a compiled function takes."""

    for function, name in ((without, "b"), (unknown, "a"), (structure, "field")):
        with pytest.raises(TypeError, match=f"takes {name} of type"):
            parameters_of(function)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_structure_reaches_the_function(dtype):
    codes, out = np.array([3], np.int32), np.zeros(1, dtype)
    for flag, want in ((True, 7), (False, 3), (1, 7)):
        call(Pair(flag, np.full((2, 2), 7, dtype), codes), out)
        assert out[0] == want


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        (Pair(True, np.zeros((2, 2), np.float32), np.zeros(1, np.int32)), r"T\[:, :\] with T = float32"),
        (Pair(True, np.zeros((4, 4))[:, ::2], np.zeros(1, np.int32)), r"contiguous T\[:, :\]"),
        (Pair(True, np.zeros((2, 2)), np.zeros(1, np.int64)), r"int32\[:\]"),
        (OtherPair(True, np.zeros((2, 2)), np.zeros(1, np.int32)), "pair is a Pair"),
    ],
)
def test_arguments_of_other_types_are_refused(pair, message):
    if "float32" in message:
        message = r"contiguous T\[:\] with T = float32"  # the first array of T says what T is
    with pytest.raises(Exception, match=message):
        call(pair, np.zeros(1))


def test_a_tile_takes_arrays_of_its_element_types_alone():
    @jit
    def distances(x, centers, labels, out):
        tile_distances(1, 1, x, 0, centers, labels, 0, out, 0)

    x, labels = np.ones((1, 1)), np.zeros(1, np.int32)
    distances(x, 3 * x, labels, out := np.zeros(1))
    assert out[0] == 4
    for wrong in ((x, x, np.zeros(1, np.int64)), (np.ones((2, 2))[:, ::2], x, labels), (x, x[0] > 0, labels)):
        with pytest.raises(Exception, match="a compiled function takes contiguous"):
            distances(*wrong, out)


def test_loops_of_a_table_have_the_same_parameters():
    def other(z: Reals, more: int):
        """One parameter more."""

    def loop(z: Reals):
        """Nothing."""

    with pytest.raises(TypeError, match="differ in their parameters"):
        linked.LoopTable("differ", {"loop": loop, "nothing": None, "other": other})
