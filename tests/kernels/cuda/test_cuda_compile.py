"""Every CUDA kernel compiles without a driver, for each architecture, with few registers and no spills."""

import ast
import re
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from numba import typeof, types

from fastnn.clustering.rules import OPTIMIZERS
from fastnn.tables import elementary
from fastnn.tables.activations import ACTIVATIONS, CODES
from fastnn.tables.losses import HEADS, head_of
from fastnn.tables.optimizers import CODES as OPTIMIZER_CODES
from fastnn.tables.optimizers import RULES

if find_spec("numba_cuda") is None:
    pytest.skip("numba-cuda is not installed", allow_module_level=True)

from fastnn.kernels.cuda import elementary as elementary_arrays
from fastnn.kernels.cuda import reduction
from fastnn.kernels.cuda.clustering import (
    candidates,
    center_steps,
    distances,
    kmeans,
    lloyd,
    mini_batch,
    nearest,
    nearest_tf32,
    scan,
    sorting,
    sphere,
    streamed_passes,
    sums,
)
from fastnn.kernels.cuda.network import linear, output, step_arguments, steps
from fastnn.kernels.cuda.rows import finite, gather
from fastnn.kernels.cuda.runtime import memory, structures
from fastnn.kernels.cuda.runtime.compat import SIMULATED, compiled_for, cuda
from fastnn.kernels.cuda.tiles import tile
from fastnn.kernels.shared.value_types import Float64s, Int64s, Real, Reals2D

if SIMULATED:
    pytest.skip("the simulator compiles nothing", allow_module_level=True)

pytestmark = pytest.mark.compiles_for_a_gpu

FOLDER = Path(memory.__file__).parents[1]
ARCHITECTURES = [(8, 0), (9, 0)]
TARGETS = ["sm_{}{}".format(*architecture) for architecture in ARCHITECTURES]
# Registers of a thread at most. With 64, a multiprocessor (65,536 registers) holds 1,024 threads; with 128,
# two blocks of 256; of blocks that stay for a whole launch one is enough.
FEW, MANY, ALL = 64, 128, 255

INT, FLOAT, I32, I64, F64, F64_2, F64_3 = (
    types.int64,
    types.float64,
    types.Array(types.int32, 1, "C"),
    types.Array(types.int64, 1, "C"),
    types.Array(types.float64, 1, "C"),
    types.Array(types.float64, 2, "C"),
    types.Array(types.float64, 3, "C"),
)


def kernels(real):
    """Name of the function -> the kernels made from it, types of their arguments, registers at most."""
    return {**array_kernels(real), **network_kernels(real), **clustering_kernels(real)}


def vector_and_matrix(real):
    """Types of contiguous arrays."""
    return types.Array(real, 1, "C"), types.Array(real, 2, "C")


def array_kernels(real):
    """As ``kernels``: those for arrays and rows of any kind."""
    V, M = vector_and_matrix(real)
    strided = types.Array(real, 2, "A")
    return {
        "_copy_vector": ([memory._copy_vector], (types.Array(real, 1, "A"), V), FEW),
        "_copy_matrix": ([memory._copy_matrix], (strided, M), FEW),
        "elementwise": (
            [
                elementary_arrays.elementwise_kernel(function)
                for function in (elementary.exp, elementary.log, elementary.tanh, elementary.logistic)
            ],
            (V, V),
            FEW,
        ),
        "_find_not_finite": ([finite._find_not_finite], (M, I32), FEW),
        "_measure": ([sphere._measure], (M, F64, F64, FLOAT, I32), FEW),
        "_divide": ([sphere._divide], (M, F64, F64, M), FEW),
        "gather_rows": ([gather.gather_rows], (I64, INT, M, M), FEW),
        "gather_weighted": ([gather.gather_weighted], (I64, INT, M, V, M, V), FEW),
        "_sum_products": ([reduction._sum_products], (V, INT, V, F64), FEW),
    }


def network_kernels(real):
    """As ``kernels``: those for networks."""
    V, _ = vector_and_matrix(real)
    small, large = tile.TILES[real.bitwidth // 8]
    ends = CODES["relu"], CODES["gelu"]
    is_single = real == types.float32
    codes = range(len(ACTIVATIONS)) if is_single else ends
    tensor = tile.TENSOR_TILES if is_single else ()
    tiles = (small, large, *tensor)
    # Every function of a loss and of an output activation; a head multiplies two of them.
    whole = ("squared_error", "poisson") if is_single else ()
    heads = [head for head in HEADS if head.loss.name in whole or head is head_of(head.loss.name)]
    softmax, other = head_of("log_loss").code, head_of("huber", "tanh").code
    return {
        # Every activation with the smaller tile; with the larger one the shortest and the longest.
        "forward": (
            [linear.forward_kernel(c, small, real) for c in codes]
            + [linear.forward_kernel(c, which, real) for which in (large, *tensor) for c in ends],
            (INT, INT, INT, V, V, V, INT, V, INT, V),
            MANY,
        ),
        "chain_rule": ([linear.derivative_kernel(c) for c in codes], (V, V, V, V), FEW),
        "input_gradient": (
            [linear.input_gradient_kernel(c, which, real) for which in tiles for c in ends],
            (INT, INT, INT, V, V, V, V, V),
            MANY,
        ),
        "weight_gradient": (
            [linear.weight_gradient_kernel(which, real) for which in tiles],
            (INT, INT, INT, V, V, V, V, INT),
            MANY,
        ),
        "softmax": ([output.softmax], (V, INT), FEW),
        "loss_and_gradient": (
            [output.loss_kernel(head.code) for head in heads],
            (V, V, INT, V, INT, real, F64),
            FEW,
        ),
        "train": (
            [
                # Other kernels here have every activation. One that needs z and one that does not; losses
                # with and without softmax; rules with two slots, with one and with three.
                steps.train_kernel(hidden, loss, rule, which, real)
                for which, hidden, loss, rule in zip(
                    reversed(steps.TILES[real.bitwidth // 8]),
                    reversed(ends),
                    (softmax, softmax),
                    (2, 1),
                    strict=True,
                )
            ]
            + [
                steps.train_kernel(
                    ends[1], other, OPTIMIZER_CODES["amsgrad"], steps.TILES[real.bitwidth // 8][1], real
                )
            ]
            + [
                steps.train_kernel(hidden, loss, rule, which, real)
                for which, hidden, loss, rule in zip(
                    steps.TENSOR_TILES[: 2 * is_single], ends, (softmax, other), (2, 1), strict=False
                )
            ],
            step_arguments.signature(real),
            ALL,
        ),
        "fill_table": (
            [steps.table_kernel(rule) for rule in range(len(RULES))],
            (F64, F64, FLOAT, V, F64, FLOAT, types.Array(real, 2, "C")),
            FEW,
        ),
    }


def clustering_kernels(real):
    """As ``kernels``: those for k-means."""
    V, M = vector_and_matrix(real)
    small, large = tile.TILES[real.bitwidth // 8]
    is_single = real == types.float32
    return {
        "_find_distances": ([distances._find_distances], (M, M, M), FEW),
        # The loops over the features are unrolled, for more loads at once.
        "_try_candidates": ([candidates._try_candidates], (M, V, INT, M, V, F64_2), MANY),
        "_pick_rows": (
            [candidates._pick_rows],
            (M, V, INT, M, V, I64, F64, I64),
            FEW,
        ),
        "find_usable": ([nearest.find_usable], (M, I32), FEW),
        "find_shift": ([nearest.find_shift], (M, I32, V), FEW),
        "shift_centers": ([nearest.shift_centers], (M, I32, V, M, V), FEW),
        "nearest_of_few": ([nearest.nearest_of_few], (M, M, I32, V), FEW),
        "nearest": (
            [nearest.nearest_kernel(which, real) for which in (small, large)]
            + [nearest.nearest_kernel(large, real, listed=True)],
            (M, M, V, V, V, V, real, I32, I32, I32, V),
            MANY,
        ),
        **(tensor_kernels(V, M) if is_single else {}),
        "_scan_stretches": ([scan._scan_stretches], (I32, I32), FEW),
        "_add_before": ([scan._add_before], (I32, I32), FEW),
        "_count": ([sorting._count], (I32, INT, INT, I32), FEW),
        "_note_starts": ([sorting._note_starts], (I32, INT, INT, I32), FEW),
        "_place": ([sorting._place], (I32, INT, INT, I32, I32), FEW),
        "_sum_few": ([sums._sum_few], (M, V, INT, I32, INT, INT, F64_2, F64), FEW),
        "_sum_pieces": ([sums._sum_pieces], (M, V, INT, I32, I32, I32, INT, F64_2, F64, F64_3), FEW),
        "_join_parts": ([sums._join_parts], (I32, INT, F64_3, F64_2, F64), FEW),
        "add_to": ([streamed_passes.add_to], (F64, F64), FEW),
        "_find_means": ([lloyd._find_means], (M, F64_2, F64, INT, M, F64), FEW),
        "_summarize": ([lloyd._summarize], (F64, F64, F64, F64), FEW),
        "_absorb": ([mini_batch._absorb], (M, M, INT, F64_2, F64, INT, F64), FEW),
        "_check_progress": (
            [mini_batch._check_progress],
            (INT, FLOAT, FLOAT, FLOAT, FLOAT, FLOAT, INT, F64, F64, F64),
            FEW,
        ),
        "move": (
            [center_steps.move_kernel(OPTIMIZER_CODES.get(name)) for name in (None, *OPTIMIZERS[2:])],
            (INT, FLOAT, FLOAT, INT, INT, M, M, F64_2, F64, F64, F64_3, F64),
            MANY,
        ),
        "_conclude": (
            [center_steps._conclude],
            (INT, INT, FLOAT, FLOAT, INT, M, M, F64, F64, F64),
            FEW,
        ),
        "_find_bad_labels": ([kmeans._find_bad_labels], (I64, INT, I32), FEW),
        "_find_bad_weights": ([kmeans._find_bad_weights], (V, I32), FEW),
    }


def tensor_kernels(V, M):
    """As ``kernels``: those that are for float32 alone."""
    bound = structures.structure_type(nearest_tf32.ErrorBound, types.float32)
    return {
        "find_reach": ([nearest_tf32.find_reach], (I32, V, V, I32), FEW),
        "two_nearest": (
            [nearest_tf32.two_nearest_kernel(which, types.float32) for which in tile.TENSOR_TILES],
            (M, M, *[V] * 5, bound, I32, V, I32, I32),
            MANY,
        ),
    }


TABLE = {real: kernels(real) for real in (types.float32, types.float64)}


def compiled(kernel, signature, architecture, monkeypatch):
    """The code of a kernel for the linker."""
    from cuda.core import ObjectCode
    from numba.cuda import dispatcher

    class Device:
        compute_capability = architecture
        id = 0

    # Device functions are compiled for the current device; there need not be one.
    monkeypatch.setattr(dispatcher, "get_current_device", lambda: Device)
    code, _ = cuda.compile(
        kernel.py_func,
        signature,
        output="ltoir",
        device=False,
        abi="numba",
        cc=architecture,
        launch_bounds=kernel.targetoptions.get("launch_bounds"),
    )
    return ObjectCode.from_ltoir(code)


def assembled(code, architecture):
    """What the assembler says about the machine code that it makes."""
    from cuda.core import Linker, LinkerOptions, ObjectCode
    from cuda.pathfinder import locate_static_lib

    linker = Linker(
        code,
        # What blocks that wait for each other call.
        ObjectCode.from_library(locate_static_lib("cudadevrt").abs_path),
        options=LinkerOptions(arch=architecture, link_time_optimization=True, ptxas_options=["-v"]),
    )
    linker.link("cubin")
    return linker.get_info_log()


def ptx(code, architecture):
    """The instructions that the assembler gets."""
    from cuda.core import Linker, LinkerOptions

    options = LinkerOptions(arch=architecture, link_time_optimization=True, ptx=True)
    return Linker(code, options=options).link("ptx").code.decode()


def decorated_functions():
    """Names of all functions of the package that are kernels."""
    for path in FOLDER.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and any(
                getattr(getattr(decorator, "func", decorator), "id", "") in ("kernel", "tile_kernel")
                for decorator in node.decorator_list
            ):
                yield node.name


def test_the_table_has_every_kernel():
    assert sorted(decorated_functions()) == sorted(TABLE[types.float32])


# Those that compute in the dtype of the data throughout; the others add up in float64 on purpose.
IN_ONE_DTYPE = {
    "forward", "chain_rule", "input_gradient", "weight_gradient", "softmax",
    "gather_rows", "gather_weighted", "nearest", "_find_distances",
}  # fmt: skip
# Those that have a form for the tensor cores with either tile, which come last.
ON_TENSOR_CORES = {"forward", "input_gradient", "weight_gradient", "two_nearest"}


def check_usage(usage, most):
    """What the assembler says of a kernel: few registers, no stack, no spills."""
    stack, stores, loads = (
        int(re.search(rf"(\d+) bytes {what}", usage)[1])
        for what in ("stack frame", "spill stores", "spill loads")
    )
    assert (stores, loads) == (0, 0), usage
    assert stack == 0, usage
    assert int(re.search(r"Used (\d+) registers", usage)[1]) <= most, usage


# One test, for most of its time goes into the code for the linker, from which all the rest is made: for every
# architecture, since what Numba makes for another one differs in the architecture's name alone.
@pytest.mark.parametrize(("real", "name"), [(real, name) for real in TABLE for name in TABLE[real]], ids=str)
def test_machine_code(name, real, monkeypatch):
    """Few registers, no spills; float32 kernels hold no float64, and tensor cores multiply."""
    kernels, signature, most = TABLE[real][name]
    on_tensor_cores = kernels[-2:] if name in ON_TENSOR_CORES and real == types.float32 else []
    newest = TARGETS[-1]
    for kernel in kernels:
        code = compiled(kernel, signature, ARCHITECTURES[0], monkeypatch)
        # Few activations are enough on the older architecture, with every tile; the larger ones come last.
        for target in TARGETS if kernel in (kernels[0], *kernels[1:][-6:]) else [newest]:
            check_usage(assembled(code, target), most)
        if real == types.float32 and name in IN_ONE_DTYPE:
            assert ".f64" not in ptx(code, newest)
        if kernel in on_tensor_cores:
            instructions = ptx(code, newest)
            assert "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32" in instructions
            # From factors that are rounded.
            assert "cvt.rna.tf32.f32" in instructions


def test_code_for_the_linker_is_the_same_for_every_architecture(monkeypatch):
    def instructions(architecture):
        kernels, signature, _ = TABLE[types.float32]["nearest"]
        listing = ptx(compiled(kernels[0], signature, architecture, monkeypatch), TARGETS[-1])
        listing = re.sub(r"//.*|\.(version|target|address_size).*", "", listing)
        # Names hold a number that Numba counts up.
        return re.sub(r"\b[$\w]*(_Z|cudapy)[$\w]*|\bB?\d*v\d+\w*", "name", listing)

    first, *others = map(instructions, ARCHITECTURES)
    assert len(first) > 10_000
    assert all(other == first for other in others)


def test_a_kernel_for_certain_types_finds_out_no_types(monkeypatch):
    from numba.cuda import dispatcher

    launched = []

    class Kernel:
        """What is compiled; a real one needs a driver."""

        def __init__(self, function, argument_types, **options):
            assert options["launch_bounds"] == (256, 1)

        def bind(self):
            pass

        def launch(self, *launch):
            launched.append(launch)

    monkeypatch.setattr(dispatcher, "_Kernel", Kernel)
    monkeypatch.setattr(
        dispatcher.CUDADispatcher, "typeof_pyval", lambda *_: pytest.fail("a launch asks for a type")
    )
    function = steps.train_kernel(0, 0, 0, steps.TILES[4][0], types.float32)
    signature = step_arguments.signature(types.float32)
    kernel = compiled_for(function, signature)
    assert list(kernel.overloads) == [signature]
    assert kernel is compiled_for(function, signature)
    kernel[3, 256](*"ten values")
    ((arguments, grid, block, *_),) = launched
    assert (arguments, grid, block) == (tuple("ten values"), (3, 1, 1), (256, 1, 1))
    assert compiled_for(function, (types.int64,)) is not kernel


def test_structures_have_the_types_of_their_fields():
    class Group(NamedTuple):
        number: int
        numbers: Int64s
        real: Real
        matrix: Reals2D

    values = Group(3, np.zeros(2, np.int64), np.float32(1), np.zeros((2, 2), np.float32))
    assert structures.structure_type(Group, types.float32) == typeof(values)
    assert structures.structure_type(Group, types.float64) != typeof(values)

    class Vectors(NamedTuple):
        first: Float64s
        second: Float64s

    # Where all fields have one type Numba has a type of its own.
    assert structures.structure_type(Vectors, types.float32) == typeof(Vectors(np.zeros(1), np.zeros(1)))


def test_no_kernel_has_more_than_twelve_arguments():
    for name, (_, signature, _) in TABLE[types.float32].items():
        assert len(signature) <= 12, name
