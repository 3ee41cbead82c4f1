"""Vectors of eight float32 for kernels, where the compiler does not make them by itself.

The compiler cannot know that arrays do not overlap, so it neither keeps a block of pixels in
registers across an inner loop nor turns short blocks into vectors. Here a block is one value:
`load` it, combine it with `+`, `-`, `*`, `/` and `fma` (numbers on the right count for all lanes)
and `store` it. LLVM maps it to what the machine has: one AVX register, two of NEON or SSE.

Every operation rounds on its own, lane by lane, so results do not depend on the machine's vectors.
A product and sum are rounded once only where a kernel says `fma` (IEEE 754's fusedMultiplyAdd),
never by the compiler's choice; a CPU without the instruction calculates the same, but slowly.
Arrays are flat and C-contiguous. A uint64 can be a vector of 64 bits, or of eight bytes: `bits_set`
counts in it, `zeros_below` finds the first. What each of these means to the compiler is in
`vector_lowering`, which is imported when a kernel is lowered.
"""

from __future__ import annotations

from drr.kernels.cpu.compiler.jit import Deferred, jit

__all__ = [
    "LANES",
    "LINE",
    "any_from",
    "bits_set",
    "exchange_block",
    "fetch",
    "fma",
    "hat",
    "larger",
    "load",
    "nearest",
    "prefetch",
    "ramp",
    "scaled",
    "splat",
    "store",
    "unit",
    "widen",
    "zeros_below",
]

LANES = 8
"""float32 of a vector."""

LINE = 32
"""int16 in a line of the cache."""


def _vector(name: str) -> Deferred:
    return Deferred("drr.kernels.cpu.compiler.vector_lowering", name)


splat, ramp = _vector("splat"), _vector("ramp")
load, store, widen = _vector("load"), _vector("store"), _vector("widen")
fma, hat, unit = _vector("fma"), _vector("hat"), _vector("unit")
nearest, scaled = _vector("nearest"), _vector("scaled")
larger, any_from, prefetch = _vector("larger"), _vector("any_from"), _vector("prefetch")
exchange_block = _vector("exchange_block")
bits_set, zeros_below = _vector("bits_set"), _vector("zeros_below")


@jit
def fetch(voxels, at, count):
    """Bring voxels closer, as far as there are any."""
    for i in range(0, count, LINE):
        prefetch(voxels, at + i)
