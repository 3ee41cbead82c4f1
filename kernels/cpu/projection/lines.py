"""Rows of voxels become lines of attenuation, a few planes added up where that is asked for."""

from __future__ import annotations

from drr.kernels.cpu.compiler.jit import float32 as f4
from drr.kernels.cpu.compiler.jit import int64, jit
from drr.kernels.cpu.compiler.vectors import (
    LANES,
    any_from,
    fma,
    larger,
    load,
    splat,
    store,
    widen,
)

__all__ = [
    "NOTHING",
    "WIDE",
    "any_within",
    "attenuate",
    "clear",
    "hinges",
]

# Voxels that are compared with air at once.
WIDE = 2 * LANES
# Denser than no threshold.
NOTHING = -32768


@jit
def attenuate(voxels, at, count, thresholds, slopes, nothing, table, add, lines, to):
    """Write, or add, the attenuation of `count` voxels from `at` on to `lines` from `to` on.

    The attenuation is the sum over k of slopes[k] * max(HU, thresholds[k]) less `nothing`, see
    `hinges`, or, when there are no slopes, looked up in a table over all int16 values. Writing may
    go on to the end of a vector.
    """
    i = 0
    if slopes.size > 0:
        # Four vectors at a time: their sums do not wait for each other.
        while i + 4 * LANES <= count:
            hu0, hu1 = widen(voxels, at + i), widen(voxels, at + i + LANES)
            hu2, hu3 = widen(voxels, at + i + 2 * LANES), widen(voxels, at + i + 3 * LANES)
            mu0, mu1 = splat(f4(0)), splat(f4(0))
            mu2, mu3 = splat(f4(0)), splat(f4(0))
            for k in range(slopes.size):
                threshold, slope = splat(thresholds[k]), splat(slopes[k])
                mu0 = fma(larger(hu0, threshold), slope, mu0)
                mu1 = fma(larger(hu1, threshold), slope, mu1)
                mu2 = fma(larger(hu2, threshold), slope, mu2)
                mu3 = fma(larger(hu3, threshold), slope, mu3)
            mu0, mu1, mu2, mu3 = mu0 - nothing, mu1 - nothing, mu2 - nothing, mu3 - nothing
            if add:
                mu0, mu1 = load(lines, to + i) + mu0, load(lines, to + i + LANES) + mu1
                mu2 = load(lines, to + i + 2 * LANES) + mu2
                mu3 = load(lines, to + i + 3 * LANES) + mu3
            store(lines, to + i, mu0)
            store(lines, to + i + LANES, mu1)
            store(lines, to + i + 2 * LANES, mu2)
            store(lines, to + i + 3 * LANES, mu3)
            i += 4 * LANES
        end = count - LANES if add else min(count - 1, voxels.size - at - LANES)
        while i <= end:
            hu, mu = widen(voxels, at + i), splat(f4(0))
            for k in range(slopes.size):
                mu = fma(larger(hu, splat(thresholds[k])), slopes[k], mu)
            mu = mu - nothing
            if add:
                mu = load(lines, to + i) + mu
            store(lines, to + i, mu)
            i += LANES
    while i < count:
        # The table and the hinges agree up to rounding, but rows must not depend on their ends.
        value = table[int64(voxels[at + i]) + 32768]
        if slopes.size > 0:
            value = hinges(f4(voxels[at + i]), thresholds, slopes) - nothing
        lines[to + i] = lines[to + i] + value if add else value
        i += 1


@jit
def hinges(hu, thresholds, slopes):
    """Sum over k of slopes[k] * max(hu, thresholds[k]).

    Less what it is below all thresholds, it is the sum of slopes[k] * max(0, hu - thresholds[k]),
    with a third less to do, and just as exactly nothing where that is.
    """
    value = f4(0)
    for k in range(slopes.size):
        value = fma(max(hu, thresholds[k]), slopes[k], value)
    return value


@jit
def clear(lines, start, stop):
    """Zeros from start on to stop, or to the end of the last vector."""
    for i in range(start, stop, LANES):
        store(lines, i, splat(f4(0)))


@jit
def any_within(voxels, at, count, lowest):
    """Whether any of `count` voxels is a value or more; also where they are too few to look at."""
    if count < WIDE:
        return count > 0
    for i in range(0, count - WIDE, WIDE):
        if any_from(voxels, at + i, lowest):
            return True
    return any_from(voxels, at + count - WIDE, lowest)
