"""The machine code of the float32 tiles, linked functions and loops: they compute in float32."""

import re

import pytest
from llvmlite import binding as llvm

from fastnn.kernels.compiler import targets

# Arithmetic of x86 on float64, packed or scalar; conversions and moves are none.
FLOAT64 = r"\bv?(?:f[n]?m(?:add|sub)\d*|add|sub|mul|div|sqrt|max|min)[ps]d\b"

# Functions that sum in float64, or compute a step's few numbers in it, on purpose.
IN_FLOAT64 = {
    "loss-and-gradient": "the loss of each sample, and its weight",
    "weights-task": "the sums of squares of the penalty; the step's scale",
    "tile-sums rows": "the sums of an L1 penalty and of the gradient's norm",
    "average float64": "averages of the parameters",
    "train-worker": "the sums over a batch",
    "add-least": "the potential",
    "add-rows": "weighted sums of rows",
    "pack-centers": "the point amid the centres, and their norms: once a pass",
    "sweep-task": "inertia",
    "sum-task": "the sums of clusters, over chunks of rows",
    "bounded-task": "the margins for rounding: once a task, or a queue of rows",
    "candidates-short": "the potential",
    "candidates-long": "the potential",
    "csr-task": "weighted sums of rows, the winner's distance, and inertia",
}

pytestmark = pytest.mark.slow


@pytest.fixture
def listings(precompiled):
    """Assembly of every function that is compiled for itself, by name."""
    if not llvm.get_process_triple().startswith("x86_64"):
        pytest.skip("the instructions looked for are those of x86")
    return precompiled.listings


def test_float32_kernels_compute_in_float32(listings):
    assert {"rows-task", "layer-forward", "product", "activate tanh", "update adam", "dropout units"} <= set(
        listings
    )
    wrong = {}
    for name, listing in listings.items():
        found = set(re.findall(FLOAT64, listing))
        if found and name not in IN_FLOAT64:
            wrong[name] = sorted(found)
    assert not wrong


def test_the_exceptions_are_still_exceptions(listings):
    for name in IN_FLOAT64:
        assert re.search(FLOAT64, listings[name]), f"{name} needs no exception any more"


def test_products_are_fused_multiplications_and_additions(listings):
    if targets.ROW.name == "generic":
        pytest.skip("this processor may have no such instruction")
    assert re.search(r"\bvfmadd\d*ps\b", listings["product"])
