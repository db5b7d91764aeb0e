"""Threads that go through the phases of a long job together, in one parallel region.

A region of OpenMP for each phase costs some microseconds to open and close, twice in a training step that may
last fifty; and a phase cannot end before every thread of it has been given a core. Here a region lasts for
many steps. Its workers find each phase's chunks themselves:

    phase p is open:   take a chunk that nobody has taken in p, one's own first -> do it
                       all are taken: wait until another phase is open
    p's last chunk is done:   whoever did it does the serial work between phases, and opens the next one

No worker is needed: a late one, or one that the system has taken the core from, finds its chunks done by the
others; so it works under every threading layer, also one that runs the workers one after the other. And none
waits for ever: after `patience` turns it leaves the region, for then another is still at work that has not
the core it needs, perhaps this one's.

All signals are numbers in one array, a cache line each, changed by atomic instructions. What a worker wrote
before it gave a signal, another sees after it has read that signal.
"""

from typing import Any

from llvmlite import binding as llvm
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from fastnn.tables.jitable import register_jitable

# The number that is open as a phase when all are done.
FINISHED = -1

_LINE = 8  # int64 of a cache line
_PHASE, _DONE, _CLAIMS = 0, _LINE, 2 * _LINE
_I32, _I64 = ir.IntType(32), ir.IntType(64)
# What a processor family has to say that a loop waits: an intrinsic of LLVM, and its argument.
_PAUSES: dict[str, tuple[str, list[int]]] = {
    "x86_64": ("llvm.x86.sse2.pause", []),
    "i686": ("llvm.x86.sse2.pause", []),
    "aarch64": ("llvm.aarch64.isb", [15]),
    "arm64": ("llvm.aarch64.isb", [15]),
}
_pause_here = _PAUSES.get(llvm.get_process_triple().split("-")[0])
# Turns of ``wait_for_phase`` in a millisecond, about: 10 to 40 ns each with a pause, less than 1 without.
TURNS_PER_MS = 40_000 if _pause_here else 1_000_000


def signals_size(n_chunks: int) -> int:
    """Length of the signals (int64, aligned) for phases of at most `n_chunks` chunks."""
    return _CLAIMS + n_chunks * _LINE


def _element(context: Any, builder: ir.IRBuilder, array_type: Any, array: ir.Value, at: ir.Value) -> ir.Value:
    return builder.gep(context.make_array(array_type)(context, builder, array).data, [at])


@intrinsic
def _load(typingctx, signals, at):
    def codegen(context, builder, signature, args):
        pointer = _element(context, builder, signature.args[0], *args)
        return builder.load_atomic(pointer, "acquire", 8)

    return types.int64(signals, types.int64), codegen


@intrinsic
def _store(typingctx, signals, at, value):
    def codegen(context, builder, signature, args):
        pointer = _element(context, builder, signature.args[0], *args[:2])
        builder.store_atomic(args[2], pointer, "release", 8)
        return context.get_dummy_value()

    return types.void(signals, types.int64, types.int64), codegen


@intrinsic
def _fetch_add(typingctx, signals, at, value):
    def codegen(context, builder, signature, args):
        pointer = _element(context, builder, signature.args[0], *args[:2])
        return builder.atomic_rmw("add", pointer, args[2], "acq_rel")

    return types.int64(signals, types.int64, types.int64), codegen


@intrinsic
def _replace(typingctx, signals, at, old, new):
    """signals[at] = new, if it is still `old`; return whether it was."""

    def codegen(context, builder, signature, args):
        pointer = _element(context, builder, signature.args[0], *args[:2])
        pair = builder.cmpxchg(pointer, args[2], args[3], "acq_rel", "acquire")
        return builder.extract_value(pair, 1)

    return types.boolean(signals, *[types.int64] * 3), codegen


@intrinsic
def _pause(typingctx):
    """Tell the processor that this is a loop that waits."""

    def codegen(context, builder, signature, args):
        if _pause_here:
            name, numbers = _pause_here
            kind = ir.FunctionType(ir.VoidType(), [_I32] * len(numbers))
            function = cgutils.get_or_insert_function(builder.module, kind, name)
            builder.call(function, [ir.Constant(_I32, number) for number in numbers])
        return context.get_dummy_value()

    return types.void(), codegen


@register_jitable
def begin_phases(signals):
    """Before the region: no chunk is taken, and phase 0 is open."""
    signals[:] = -1
    signals[_DONE] = 0
    signals[_PHASE] = 0


@register_jitable
def open_phase(signals):
    """Number of the open phase, or FINISHED."""
    return _load(signals, _PHASE)


@register_jitable
def take_chunk(signals, phase, chunk):
    """Whether the caller is the one to do this chunk of the phase."""
    at = _CLAIMS + chunk * _LINE
    last = _load(signals, at)
    return last < phase and _replace(signals, at, last, phase)


@register_jitable
def next_chunk(signals, phase, own, n_chunks):
    """A chunk of the phase that nobody has taken, from `own` on, now the caller's; -1 if there is none."""
    for i in range(n_chunks):
        chunk = (own + i) % n_chunks
        if take_chunk(signals, phase, chunk):
            return chunk
    return -1


@register_jitable
def finish_chunk(signals, n_chunks):
    """Whether the caller's chunk was the last one of its phase: then it owes an ``enter_phase``."""
    return _fetch_add(signals, _DONE, 1) + 1 == n_chunks


@register_jitable
def enter_phase(signals, phase):
    """Open a phase of a higher number than all before it, or FINISHED."""
    _store(signals, _DONE, 0)
    _store(signals, _PHASE, phase)


@register_jitable
def wait_for_phase(signals, phase, patience):
    """Wait until another phase than this one is open; False if `patience` turns were not enough."""
    for _ in range(patience):
        if _load(signals, _PHASE) != phase:
            return True
        _pause()
    return False
