"""Flush subnormal numbers to zero inside a region of a kernel.

Adam's moments of a unit that has died decay towards zero and pass through the subnormal range, where many
processors take 100 cycles or more for one operation. Training treats these numbers as zero; what the caller
finds in its floating-point environment afterwards is what was there before.
"""

from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

_I32 = ir.IntType(32)
_MXCSR_FLUSH = (1 << 15) | (1 << 6)  # FTZ (results) and DAZ (operands)
_HAS_MXCSR = llvm.get_process_triple().split("-")[0] in ("x86_64", "i686")


def _call(builder, name, pointer):
    byte_pointer = ir.IntType(8).as_pointer()
    function = cgutils.get_or_insert_function(
        builder.module, ir.FunctionType(ir.VoidType(), [byte_pointer]), name
    )
    builder.call(function, [builder.bitcast(pointer, byte_pointer)])


@intrinsic
def flush_subnormals(typingctx):
    """Start flushing; returns the former control word for ``restore_subnormals``. A no-op but on x86."""

    def codegen(context, builder, signature, args):
        if not _HAS_MXCSR:
            return ir.Constant(_I32, 0)
        slot = cgutils.alloca_once(builder, _I32)
        _call(builder, "llvm.x86.sse.stmxcsr", slot)
        former = builder.load(slot)
        builder.store(builder.or_(former, ir.Constant(_I32, _MXCSR_FLUSH)), slot)
        _call(builder, "llvm.x86.sse.ldmxcsr", slot)
        return former

    return types.uint32(), codegen


@intrinsic
def restore_subnormals(typingctx, former):
    """Give back the control word that ``flush_subnormals`` returned."""

    def codegen(context, builder, signature, args):
        if _HAS_MXCSR:
            slot = cgutils.alloca_once_value(builder, args[0])
            _call(builder, "llvm.x86.sse.ldmxcsr", slot)
        return context.get_dummy_value()

    return types.void(types.uint32), codegen
