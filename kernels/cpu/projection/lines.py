"""Rows of voxels become lines of attenuation, a few planes added up where that is asked for."""

from __future__ import annotations

from drr.kernels.cpu.compiler.jit import float32 as f4
from drr.kernels.cpu.compiler.jit import int64, jit, uint64
from drr.kernels.cpu.compiler.vectors import (
    LANES,
    any_from,
    fma,
    larger,
    load,
    prefetch,
    splat,
    store,
    widen,
)
from drr.kernels.cpu.projection.kept import ENTRY
from drr.kernels.cpu.projection.transpose import exchange

__all__ = [
    "NOTHING",
    "WIDE",
    "any_within",
    "attenuate_row",
    "clear",
    "exchange_kept",
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
def attenuate_row(
    voxels, at, first, last, slip, kept, entry, thresholds, slopes, nothing, table, add, lines, line
):  # fmt: skip
    """Attenuation of a row's voxels from first + slip to last + slip on to `lines` from `line` on.

    Of a row of which only some are `kept`, listed from `entry` on, the others are nothing; all are
    kept where `entry` is negative. What lies beyond `last`, up to a vector, is undefined.
    """
    if entry < 0:
        attenuate(
            voxels, at + slip + first, last - first, thresholds, slopes, nothing, table, add,
            lines, line + first,
        )  # fmt: skip
        return
    cursor = first
    for run in range(kept[entry]):
        begin = max(kept[entry + 1 + 2 * run] - slip, first)
        end = min(kept[entry + 2 + 2 * run] - slip, last)
        if end <= begin:
            continue
        if not add:
            clear(lines, line + cursor, line + begin)
        attenuate(
            voxels, at + slip + begin, end - begin, thresholds, slopes, nothing, table, add,
            lines, line + begin,
        )  # fmt: skip
        cursor = end
    if not add:
        clear(lines, line + cursor, line + last)


@jit
def clear(lines, start, stop):
    """Zeros from start on to stop, or to the end of the last vector."""
    for i in range(start, stop, LANES):
        store(lines, i, splat(f4(0)))


@jit
def exchange_kept(
    voxels, at, stride, rows, columns, kept, entry, first, scratch, out, to, out_stride
):  # fmt: skip
    """`exchange` of rows of which only some voxels are kept; the others become nothing.

    Column 0 is voxel `first` of the row. `scratch` holds eight rows of `columns`.
    """
    for row in range(0, rows, 8):
        count, here = min(8, rows - row), at + row * stride
        whole = True
        for r in range(count):
            prefetch(voxels, here + (16 + r) * stride)
            within = False
            for run in range(kept[entry + r * ENTRY]):
                begin = kept[entry + r * ENTRY + 1 + 2 * run]
                end = kept[entry + r * ENTRY + 2 + 2 * run]
                within = within or (begin <= first and first + columns <= end)
            whole = whole and within
        if whole:
            exchange(voxels, here, stride, count, columns, out, to + row, out_stride)
            entry += 8 * ENTRY
            continue
        for r in range(count):
            line = uint64(r * columns)
            for x in range(uint64(columns)):
                scratch[line + x] = NOTHING
            for run in range(kept[entry]):
                begin = max(kept[entry + 1 + 2 * run] - first, 0)
                end = min(kept[entry + 2 + 2 * run] - first, columns)
                old, new = uint64(here + r * stride + begin), line + uint64(begin)
                for x in range(uint64(max(end - begin, 0))):
                    scratch[new + x] = voxels[old + x]
            entry += ENTRY
        exchange(scratch, 0, columns, count, columns, out, to + row, out_stride)


@jit
def any_within(voxels, at, count, lowest):
    """Whether any of `count` voxels is a value or more; also where they are too few to look at."""
    if count < WIDE:
        return count > 0
    for i in range(0, count - WIDE, WIDE):
        if any_from(voxels, at + i, lowest):
            return True
    return any_from(voxels, at + count - WIDE, lowest)
