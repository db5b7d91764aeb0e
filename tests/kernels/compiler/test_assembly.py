"""The machine code of the float32 tiles, linked functions and loops: they compute in float32."""

import os
import re
import subprocess
import sys

import pytest
from llvmlite import binding as llvm

from fastnn.kernels.compiler import targets

# Arithmetic of x86 on float64, packed or scalar; conversions and moves are none.
FLOAT64 = r"\bv?(?:f[n]?m(?:add|sub)\d*|add|sub|mul|div|sqrt|max|min)[ps]d\b"

# Functions that sum in float64, or compute a step's few numbers in it, on purpose.
IN_FLOAT64 = {
    "loss-and-gradient": "the loss of each sample, and its weight",
    "weights-task": "the sums of squares of the penalty; the step's scale",
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

LISTING = """
import numpy as np
from numba.core.compiler_lock import global_compiler_lock
from fastnn.kernels.compiler import link as _link
from fastnn.kernels.cpu import dispatch
from fastnn.kernels.cpu.clustering import kmeans
from fastnn.kernels.cpu.network import mlp, dropout
from fastnn.kernels.simd import tile_ir

def show(name, library):
    print("FUNCTION", name)
    print(library.get_asm_str())

with global_compiler_lock:
    for kind, address in _link._providers.items():
        address("float32")
        owner = _link._owners[-1]
        show(kind, getattr(owner, "_library", owner))
for table in (dispatch.activation_loops, dispatch.derivative_loops, dispatch.loss_loops,
              dispatch.update_loops, dropout.dropout_loops):
    for code, name in enumerate(table.loops):
        compiled = table._compile(code, "float32")
        if compiled:
            show(f"{table.kind} {name}", compiled._library)
"""


@pytest.fixture(scope="module")
def listings(tmp_path_factory):
    """Assembly of every function that is compiled for itself, by name; nothing comes from a cache."""
    if not llvm.get_process_triple().startswith("x86_64"):
        pytest.skip("the instructions looked for are those of x86")
    done = subprocess.run(
        [sys.executable, "-c", LISTING],
        env={**os.environ, "FASTNN_CACHE": "0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    parts = re.split(r"^FUNCTION (.*)$", done.stdout, flags=re.MULTILINE)[1:]
    return dict(zip(parts[::2], parts[1::2], strict=True))


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
