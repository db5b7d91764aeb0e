"""The table of processors: vector width and register tile of each instruction set.

A tile holds ``tile_rows * tile_vectors`` accumulators in registers beside ``tile_vectors`` vectors of the
right-hand operand; the left-hand scalars are broadcast from memory. So ``(rows + 1) * vectors`` must stay
below the number of registers, and the number of accumulators above the product of the FMA's latency and
throughput (8 on current cores), or the units wait.
"""

import os
from typing import NamedTuple

import numba
from llvmlite import binding as llvm


class Target(NamedTuple):
    """One row of the table."""

    name: str
    features: frozenset[str]  # LLVM's names; all must be there
    vector_bytes: int
    tile_rows: int
    tile_vectors: int

    def vector_width(self, itemsize: int) -> int:
        """Elements of `itemsize` bytes in one vector."""
        return self.vector_bytes // itemsize


# Widest first: the first row whose features the host has is taken.
TABLE = (
    Target("avx512", frozenset({"avx512f", "avx512dq", "avx512vl"}), 64, 12, 2),  # 32 registers
    Target("avx2", frozenset({"avx2", "fma"}), 32, 6, 2),  # 16 registers
    Target("neon", frozenset({"neon"}), 16, 12, 2),  # 32 registers
    Target("generic", frozenset(), 16, 4, 2),  # 16 registers and perhaps no FMA
)


def host_features() -> frozenset[str]:
    """Features that Numba compiles for: the host's, unless ``NUMBA_CPU_FEATURES`` says otherwise."""
    override = numba.config.CPU_FEATURES
    if override is not None:
        return frozenset(f[1:] for f in override.split(",") if f.startswith("+"))
    return frozenset(name for name, present in llvm.get_host_cpu_features().items() if present)


def select(features: frozenset[str], forced: str | None = None) -> Target:
    """First row that `features` allow, or the row named `forced`.

    Raises
    ------
    ValueError
        `forced` is no row of the table, or needs features that are missing.
    """
    usable = [row for row in TABLE if row.features <= features]
    if not forced:
        return usable[0]
    for row in usable:
        if row.name == forced:
            return row
    raise ValueError(
        f"FASTNN_SIMD={forced!r} is not available here; choose one of {[row.name for row in usable]}"
    )


ROW = select(host_features(), os.environ.get("FASTNN_SIMD"))
