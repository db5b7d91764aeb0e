"""A process that compiles nearly everything for an empty cache: in two minutes, for several tests."""

import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from fastnn.kernels.compiler.places import places
from tests.processes import FITS, run

# Shows the functions that are linked by name as they are made, and at the end the loops, which tables keep.
PRECOMPILING = """
import os, shutil
import fastnn
from fastnn.kernels.compiler import link as _link
from fastnn.kernels.cpu import dispatch
from fastnn.kernels.cpu.clustering import kmeans
from fastnn.kernels.cpu.network import dropout, mlp, output, updates
from fastnn.kernels.simd import tile_ir

def show(name, library):
    print("FUNCTION", name)
    print(library.get_asm_str())

def showing(kind, address_of):
    def address(dtype_name):
        address = address_of(dtype_name)
        if dtype_name == "float32":
            show(kind, getattr(_link._owners[-1], "_library", _link._owners[-1]))
        return address
    return address

_link._providers.update({kind: showing(kind, address) for kind, address in _link._providers.items()})
fastnn.precompile("float32")
# Least squares are float64's alone.
for kind in _link._providers:
    assert {_link.symbol(kind, "float32"), _link.symbol(kind, "float64")} & set(_link._addresses), kind
shutil.copytree(os.environ["NUMBA_CACHE_DIR"], os.environ["FLOAT32"])
for table in (dispatch.activation_loops, dispatch.derivative_loops, dispatch.loss_loops,
              dispatch.update_loops, dropout.dropout_loops, updates.tile_sums_loops,
              updates.average_loops, output.softmax_loops, output.softmax_back_loops):
    for code, name in enumerate(table.loops):
        compiled = table._compiled(code, "float32")
        if compiled:
            show(f"{table.kind} {name}", compiled._library)
print("FUNCTION fits")
"""


class Precompiled(NamedTuple):
    """What the process has left.

    float32 : a cache that holds what it compiled ahead of time
    cache : one that holds what it compiled for fits in float64 as well
    digests : what these fits computed, in the process's words
    listings : the assembly of each function of float32, by name
    """

    float32: Path
    cache: Path
    digests: str
    listings: dict[str, str]


@pytest.fixture(scope="session")
def precompiled(tmp_path_factory):
    """A process that compiles for an empty cache: first ahead of time, in float32, and then to fit."""
    folder = tmp_path_factory.mktemp("precompiled")
    cache, float32 = folder / "cache", folder / "float32"
    printed = run(PRECOMPILING + FITS, cache, FLOAT32=str(float32))
    parts = re.split(r"^FUNCTION (.*)\n", printed, flags=re.MULTILINE)[1:]
    listings = dict(zip(parts[::2], parts[1::2], strict=True))
    _share(cache)
    return Precompiled(float32, cache, listings.pop("fits"), listings)


def _share(cache):
    """Let the processes of all tests that have no cache of their own load what is in this one."""
    for folder in (cache / "fastnn").iterdir():
        for place in places(folder.name):
            if place.is_writable() and not place.distrust():
                shutil.copytree(folder, place.path, copy_function=_move_in, dirs_exist_ok=True)


def _move_in(source, target):
    """Copy a file in one step: others may be about to read it."""
    whole = f"{target}.{os.getpid()}"
    shutil.copyfile(source, whole)
    os.replace(whole, target)
