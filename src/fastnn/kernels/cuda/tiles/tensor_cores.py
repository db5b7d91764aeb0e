"""The instructions of tensor cores that are used here: rounding to TF32, and a product of small matrices.

TF32 is float32 with 10 bits of the fraction where float32 has 23. Tensor cores multiply such numbers exactly
and add up in float32, at eight times the rate of the other multiplications and additions.

A warp multiplies together. A product D = A B + C of (16, 8), (8, 8) and (16, 8) lies in its lanes so; lane
4 g + t has::

    A   a0 (g, t)   a1 (g + 8, t)   a2 (g, t + 4)   a3 (g + 8, t + 4)
    B   b0 (t, g)   b1 (t + 4, g)
    C, D   0 (g, 2 t)   1 (g, 2 t + 1)   2 (g + 8, 2 t)   3 (g + 8, 2 t + 1)

In the simulator the same is done by Python, from the same table.

References
----------
PTX ISA, "Matrix multiply-accumulate operation using mma instruction": m16n8k8, .tf32; "cvt": .rna.tf32.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastnn.kernels.cuda.runtime.compat import SIMULATED, cuda, device_function, intrinsic

# Rounding to TF32 changes a number by at most this share of it.
TF32_ROUNDING = 2.0**-11
# The architecture with which TF32 began.
_COMPUTE_CAPABILITY = (8, 0)

_FLOAT, _WORD = ir.FloatType(), ir.IntType(32)
_MMA = (
    "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 "
    "{$0,$1,$2,$3}, {$4,$5,$6,$7}, {$8,$9}, {$10,$11,$12,$13};"
)


def _assembly(builder: Any, result: Any, code: str, constraints: str, arguments: list[Any]) -> Any:
    """Call one instruction, in which all lanes of the warp take part where they do so."""
    call = builder.asm(
        ir.FunctionType(result, [a.type for a in arguments]), code, constraints, arguments, side_effect=False
    )
    call.attributes.add("convergent")
    return call


@intrinsic
def _hardware_rounded(typing_context, value):
    def generate(context, builder, signature, arguments):
        word = _assembly(builder, _WORD, "cvt.rna.tf32.f32 $0, $1;", "=r,f", list(arguments))
        return builder.bitcast(word, _FLOAT)

    return types.float32(types.float32), generate


@intrinsic
def _hardware_mma(typing_context, a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    def generate(context, builder, signature, arguments):
        factors = [builder.bitcast(a, _WORD) for a in arguments[:6]]
        four = ir.LiteralStructType([_FLOAT] * 4)
        constraints = ",".join(["=f"] * 4 + ["r"] * 6 + ["0", "1", "2", "3"])
        result = _assembly(builder, four, _MMA, constraints, [*factors, *arguments[6:]])
        values = [builder.extract_value(result, i) for i in range(4)]
        return context.make_tuple(builder, signature.return_type, values)

    return types.UniTuple(types.float32, 4)(*[types.float32] * 10), generate


def _simulated_rounded(value: Any) -> np.float32:
    """To the nearest number of TF32, from the middle away from zero."""
    word = np.float32(value).view(np.uint32)
    if not np.isfinite(value):
        return np.float32(value)
    # Into the exponent, and to infinity, as the fraction overflows.
    return np.uint32((int(word) + 0x1000) & 0xFFFFE000).view(np.float32)


def _simulated_mma(a0, a1, a2, a3, b0, b1, c0, c1, c2, c3):
    # Of all lanes of a block, as the simulator can not wait for a warp: all its warps do the same here.
    lanes = cuda.shared.array((256, 6), types.float32)
    x = cuda.threadIdx.x
    lane, first = x % 32, x // 32 * 32
    cuda.syncthreads()  # whoever still reads those of the product before
    for i, value in enumerate((a0, a1, a2, a3, b0, b1)):
        lanes[x, i] = value
    cuda.syncthreads()
    parts = np.array(lanes[first : first + 32]).reshape(8, 4, 6)  # of g, t
    A = np.block([[parts[:, :, 0], parts[:, :, 2]], [parts[:, :, 1], parts[:, :, 3]]])
    B = np.vstack([parts[:, :, 4].T, parts[:, :, 5].T])
    g, t = lane // 4, lane % 4
    D = A[[g, g + 8]] @ B[:, [2 * t, 2 * t + 1]]
    return tuple(np.float32(c + d) for c, d in zip((c0, c1, c2, c3), D.ravel(), strict=True))


def multiplies_tf32(precision: str | None, dtype: Any) -> bool:
    """Whether to multiply such numbers on tensor cores: "tf32" allows it, where the current device can."""
    if precision is None or np.dtype(dtype) != np.float32:
        return False
    return SIMULATED or cuda.get_current_device().compute_capability >= _COMPUTE_CAPABILITY


rounded = _simulated_rounded if SIMULATED else _hardware_rounded
mma = device_function(_simulated_mma) if SIMULATED else _hardware_mma
