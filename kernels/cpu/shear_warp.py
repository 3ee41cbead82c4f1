"""Shear-warp: Joseph's sums reordered so that the volume streams once through the cache.

Every plane of voxels parallel to a volume face maps onto any other such plane by one scale and
one shift (a point source makes them homothetic), so a plane is added to an intermediate image
parallel to the face by resampling its rows, without following single rays. One 2-D warp carries
the intermediate image to the detector; when the detector is parallel to the face the intermediate
pixels are the detector's and the warp only weights.

P. Lacroute and M. Levoy, "Fast volume rendering using a shear-warp factorization of the viewing
transformation", SIGGRAPH 1994; the interpolation is Joseph's (IEEE Trans. Med. Imaging 1982).

Axes here: `m` counts planes along the dominant axis, `p` runs along the rows that are resampled,
`q` is the third axis. `X` and `Q` are coordinates on the intermediate plane. All arrays are flat.
"""

from __future__ import annotations

import math

from drr.kernels.cpu.jit import float32 as f4
from drr.kernels.cpu.jit import int32, int64, jit, uint64
from drr.kernels.cpu.kept import ENTRY
from drr.kernels.cpu.transpose import exchange
from drr.kernels.cpu.vectors import (
    LANES,
    any_from,
    fma,
    hat,
    larger,
    load,
    prefetch,
    ramp,
    splat,
    store,
    unit,
    widen,
)

__all__ = ["CHUNK", "ROWS", "TILE", "accumulate", "warp"]

# Rows of voxels handled together: their lines and target rows stay close to the core.
ROWS = 10
# Intermediate pixels of a row that are resampled before they are added to the image.
CHUNK = 128
# Planes of a view along x that are turned into rows at a time.
TILE = 128
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
def accumulate(
    voxels,
    origin,
    counts,
    strides,
    slice_of,
    kept,
    group_of,
    lowest,
    thresholds,
    slopes,
    table,
    starts,
    slips,
    scales,
    shifts_p,
    shifts_q,
    pitch_p,
    pitch_q,
    low,
    high,
    limit,
    sign,
    q_start,
    q_stop,
    pad,
    tile,
    scratch,
    lines,
    resampled,
    pairs,
    weights,
    places,
    columns,
    image,
):
    """Add the slabs of planes, rows q in [q_start, q_stop), to the intermediate image.

    Parameters
    ----------
    voxels, origin
        int16, and where among them the voxel 0, 0, 0 would lie.
    counts, strides
        `(3,)` int64: voxels along m, p and q, and the distance of neighbours in `voxels`. The
        stride along p is 1, or that along m is and `tile` has room to exchange them.
    slice_of
        int32: for each slice q which one among the voxels it is, so that some may repeat.
    kept, group_of
        int32: the runs of voxels that are kept of every row along x, all others are nothing, and
        for each slice q the group that they are listed under; see `kept.Kept`. Both empty where
        all voxels are kept.
    lowest
        The least HU that attenuates.
    thresholds, slopes, table
        The attenuation, see `attenuate`.
    starts, slips
        `(slabs + 1,)` int64: the first plane of every slab of planes that share a scale and
        shift, and `(planes,)` int64: by how many whole voxels each plane is moved along p before
        they are added up. No slab has more planes than `TILE`.
    scales, shifts_p, shifts_q
        `(slabs,)` float64: voxel p = scales[s] * pitch_p * X + shifts_p[s], and so for q and Q.
    low, high, limit, sign
        `(Q, X)` float32 plane coordinate where each intermediate ray meets the detector, its
        least and largest value in each row when multiplied by `sign`, the direction in which the
        rays cross the planes; all empty when the detector is outside the volume.
    pad
        Room on either side of a line, as far as a block of pixels that only touches it reaches.
    tile, scratch, lines, resampled, pairs, weights, places
        Scratch: int16 for `ROWS` * `TILE` rows or none, for eight rows of a tile, float32 for
        `ROWS` lines of the same width, for `ROWS` + 2 chunks, int64 and float32 for every row of
        the image, twice, int64 for `ROWS`.
    columns, image
        `(Q, columns)` float32, columns a multiple of `LANES`. Added to.
    """
    planes, length = counts[0], counts[1]
    tile_start = 0
    width = lines.size // ROWS
    image_rows = image.size // columns
    gathered = tile.size > 0
    tile_row = tile.size // (ROWS * TILE)
    source = tile if gathered else voxels
    stride = tile_row if gathered else strides[0]
    row_stride = TILE * tile_row if gathered else strides[2]
    # Of what is kept: entries of a group, one for each row.
    entries = ENTRY * (length if gathered else planes)
    groups = (q_stop - q_start + ROWS - 1) // ROWS
    most = (q_stop - q_start + groups - 1) // groups
    # Beyond a group's first and last row of voxels are zeros; its neighbours add the other part.
    for x in range(CHUNK):
        resampled[x] = f4(0)
    nothing = hinges(f4(NOTHING), thresholds, slopes)

    for q0 in range(q_start, q_stop, most):
        rows = min(most, q_stop - q0)
        for x in range((rows + 1) * CHUNK, (rows + 2) * CHUNK):
            resampled[x] = f4(0)
        for r in range(rows):
            places[r] = r * row_stride
            if not gathered:
                places[r] = origin + int64(slice_of[q0 + r]) * row_stride
        tile_stop = 0
        for s in range(scales.size):
            m0, m1 = starts[s], starts[s + 1]
            if gathered and m1 > tile_stop:
                tile_start, tile_stop = m0, min(m0 + TILE, planes)
                for r in range(rows):
                    at = origin + int64(slice_of[q0 + r]) * strides[2] + m0
                    to = r * row_stride
                    size = tile_stop - tile_start
                    if kept.size == 0:
                        exchange(voxels, at, strides[1], length, size, tile, to, tile_row)
                    else:
                        exchange_kept(
                            voxels, at, strides[1], length, size, kept, group_of[q0 + r] * entries,
                            m0, scratch, tile, to, tile_row,
                        )  # fmt: skip
            step_q, shift_q = scales[s] * pitch_q, shifts_q[s] - (q0 - 1)
            step_p, shift_p = scales[s] * pitch_p, shifts_p[s]
            # Rows of the image that these rows of voxels reach.
            top = max(0, int64(math.ceil(-shift_q / step_q)))
            bottom = min(image_rows, int64(math.ceil((rows + 1 - shift_q) / step_q)))
            # What the image sees of the lines, less the air at their ends.
            reach = abs(slips[m0]) + abs(slips[m1 - 1])
            begin = max(-reach, int64(math.floor(shift_p)))
            end = min(length + reach, int64(math.floor(step_p * (columns - 1) + shift_p)) + 2)
            if bottom <= top or end <= begin:
                continue
            first, last = end, begin
            for m in range(m0, m1):
                plane = (m - tile_start) * stride + slips[m]
                left, right = max(begin, -slips[m]), min(end, length - slips[m])
                for r in range(rows):
                    if kept.size > 0 and not gathered:
                        entry = group_of[q0 + r] * entries + m * ENTRY
                        runs = kept[entry]
                        if runs > 0:
                            first = min(first, max(left, kept[entry + 1] - slips[m]))
                            last = max(last, min(right, kept[entry + 2 * runs] - slips[m]))
                        continue
                    at = plane + places[r]
                    i = left
                    while i + WIDE <= first and not any_from(source, at + i, lowest):
                        i += WIDE
                    first = min(first, i)
                    fetch(source, at + stride + left, i + WIDE - left)
                    i = right
                    while i - WIDE >= last and not any_from(source, at + i - WIDE, lowest):
                        i -= WIDE
                    last = max(last, i)
                    fetch(source, at + stride + i - WIDE, right + WIDE - i)
            if last <= first:
                continue
            x0 = max(0, int64(math.floor((first - 1 - shift_p) / step_p)) // LANES * LANES)
            x1 = int64(math.ceil((last - shift_p) / step_p)) // LANES * LANES + LANES
            x1 = min(columns, x1)
            if x1 <= x0:
                continue
            for v in range(top, bottom):
                position = step_q * v + shift_q
                pair = min(int64(position), rows)
                pairs[v] = pair * CHUNK
                weights[2 * v] = 1.0 - (position - pair)
                weights[2 * v + 1] = position - pair
            # Stretches of chunks in each of which something attenuates: of bone, few do.
            edge = x0
            while edge < x1:
                start = stop = edge
                while edge < x1 and stop == edge:
                    edge = min(stop + CHUNK, x1)
                    left = max(first, int64(math.floor(step_p * stop + shift_p)))
                    right = min(last, int64(math.floor(step_p * (edge - 1) + shift_p)) + 2)
                    found = False
                    for m in range(m0, m1):
                        plane = (m - tile_start) * stride + slips[m]
                        here, end = max(left, -slips[m]), min(right, length - slips[m])
                        for r in range(rows):
                            at = plane + places[r]
                            found = found or any_within(source, at + here, end - here, lowest)
                            if not found:
                                fetch(source, at + stride + here, end - here)
                    if found:
                        stop = edge
                    elif start == stop:
                        start = stop = edge
                if stop == start:
                    continue
                # What of the lines is seen from these columns.
                left = max(first, int64(math.floor(step_p * start + shift_p)))
                right = min(last, int64(math.floor(step_p * (stop - 1) + shift_p)) + 2)
                begin = int64(step_p * start + shift_p + pad) - 3
                end = int64(step_p * (stop - 1) + shift_p + pad) + LANES
                for r in range(rows):
                    line = r * width
                    # The first plane of a slab begins the line, the others add to it.
                    opening = left if m1 - m0 == 1 else right
                    clear(lines, line + begin, line + pad + opening)
                    for m in range(m0, m1):
                        entry = -1
                        if kept.size > 0 and not gathered:
                            entry = group_of[q0 + r] * entries + m * ENTRY
                        attenuate_row(
                            source,
                            (m - tile_start) * stride + places[r],
                            max(left, -slips[m]),
                            min(right, length - slips[m]),
                            slips[m],
                            kept,
                            entry,
                            thresholds,
                            slopes,
                            nothing,
                            table,
                            m1 - m0 > 1,
                            lines,
                            line + pad,
                        )
                    clear(lines, line + pad + right, line + end)
                for chunk in range(start, stop, CHUNK):
                    count = min(CHUNK, stop - chunk)
                    if not gathered:
                        # The same voxels of the next slab, far away, while these are near.
                        here = (m1 - tile_start) * stride + int64(step_p * chunk + shift_p)
                        for r in range(rows):
                            fetch(voxels, here + places[r], int64(step_p * CHUNK) + 31)
                    resample(lines, width, rows, step_p, shift_p + pad, chunk, count, resampled)
                    for v in range(top, bottom):
                        whole = low.size == 0 or sign * m0 + 0.5 <= low[v]
                        if not whole and sign * m0 - 0.5 >= high[v]:
                            continue
                        at, to = pairs[uint64(v)], v * columns + chunk
                        lower = splat(weights[uint64(2 * v)])
                        upper = splat(weights[uint64(2 * v + 1)])
                        for x in range(0, count, LANES):
                            value = load(resampled, at + x) * lower
                            value = fma(load(resampled, at + CHUNK + x), upper, value)
                            if not whole:
                                # Only the part of the plane's interval before the detector counts.
                                part = (load(limit, to + x) - f4(m0)) * f4(sign) + f4(0.5)
                                value = unit(part) * value
                            # Rounded before it is added to a sum that is much larger.
                            store(image, to + x, load(image, to + x) + value)


@jit
def any_within(voxels, at, count, lowest):
    """Whether any of `count` voxels is a value or more; also where they are too few to look at."""
    if count < WIDE:
        return count > 0
    for i in range(0, count - WIDE, WIDE):
        if any_from(voxels, at + i, lowest):
            return True
    return any_from(voxels, at + count - WIDE, lowest)


@jit
def fetch(voxels, at, count):
    """Bring voxels closer, as far as there are any."""
    for i in range(0, count, 32):
        prefetch(voxels, at + i)


@jit
def resample(lines, width, rows, step, shift, column, count, resampled):
    """Values of columns of the image along lines of voxels, from the second chunk on."""
    drift = step - 1.0
    spread = abs(drift) * (LANES - 1)
    # When the scale is near one, the positions of a block's pixels lie within three or four
    # elements of a line: hats weight them, all in contiguous memory.
    if spread <= 1.0:
        for x in range(0, count, LANES):
            position = step * (column + x) + shift
            at = int64(position + min(drift, 0.0) * (LANES - 1))
            d = ramp() * f4(drift) + f4(position - at)
            w0, w1, w2 = hat(d), hat(d - f4(1)), hat(d - f4(2))
            to = CHUNK + x
            for _ in range(rows):
                value = fma(load(lines, at + 1), w1, load(lines, at) * w0)
                store(resampled, to, fma(load(lines, at + 2), w2, value))
                at += width
                to += CHUNK
    elif spread <= 2.0:
        for x in range(0, count, LANES):
            position = step * (column + x) + shift
            at = int64(position + min(drift, 0.0) * (LANES - 1))
            d = ramp() * f4(drift) + f4(position - at)
            w0, w1, w2, w3 = hat(d), hat(d - f4(1)), hat(d - f4(2)), hat(d - f4(3))
            to = CHUNK + x
            for _ in range(rows):
                value = fma(load(lines, at + 1), w1, load(lines, at) * w0)
                value = fma(load(lines, at + 2), w2, value)
                store(resampled, to, fma(load(lines, at + 3), w3, value))
                at += width
                to += CHUNK
    else:
        for x in range(count):
            position = step * (column + x) + shift
            at = int64(position)
            part = f4(position - at)
            to = CHUNK + x
            for _ in range(rows):
                resampled[to] = lines[at] + part * (lines[at + 1] - lines[at])
                at += width
                to += CHUNK


@jit
def warp(
    image,
    columns,
    source,
    origin,
    u,
    v,
    metric,
    plane,
    p0,
    pitch_p,
    q0,
    pitch_q,
    exact,
    straight,
    across,
    down,
    row_start,
    row_stop,
    places,
    blended,
    out_columns,
    out,
):
    """Carry the intermediate image to detector rows [row_start, row_stop).

    Every pixel is the mean of `down` x `across` sub-pixel rays. A ray's value is the intermediate
    image where the ray crosses the intermediate plane, times the ray's length in mm between two
    planes of voxels. When `exact`, sub-pixels coincide with intermediate pixels and are read;
    otherwise Catmull-Rom interpolation (E. Catmull and R. Rom, 1974), of one row of the image at a
    time when they are `straight`: rows and columns of rays cross the plane along its own.

    Coordinates of `source`, `origin`, `u`, `v` and `metric` are in the order m, p, q. `places` and
    `blended` are scratch: three float64 of each ray of a row, float32 of each column of the image.
    """
    rows = image.size // columns
    rays = out_columns * across
    for i in range(row_start * out_columns, row_stop * out_columns):
        out[i] = f4(0)
    for row in range(row_start, row_stop):
        for part in range(down):
            line = row + (part + 0.5) / down - 0.5
            trace(
                source,
                origin,
                u,
                v,
                metric,
                plane,
                p0,
                pitch_p,
                q0,
                pitch_q,
                across,
                line,
                rays,
                places,
            )
            if exact:
                take_row(image, rows, columns, places, rays, across, down, row * out_columns, out)
                continue
            if straight:
                interpolate_row(
                    image,
                    rows,
                    columns,
                    places,
                    rays,
                    across,
                    down,
                    row * out_columns,
                    out,
                    blended,
                )
                continue
            for i in range(rays):
                x, y = places[i], places[rays + i]
                weight = f4(places[2 * rays + i] / (across * down))
                to = uint64(row * out_columns + i // across)
                n, k = int64(math.floor(x)), int64(math.floor(y))
                if n < 1 or k < 1 or n > columns - 3 or k > rows - 3:
                    continue
                f0, f1, f2, f3 = catmull_rom(f4(x - n))
                g0, g1, g2, g3 = catmull_rom(f4(y - k))
                at, pitch = uint64((k - 1) * columns + n - 1), uint64(columns)
                value = g0 * four(image, at, f0, f1, f2, f3)
                value += g1 * four(image, at + pitch, f0, f1, f2, f3)
                value += g2 * four(image, at + uint64(2) * pitch, f0, f1, f2, f3)
                value += g3 * four(image, at + uint64(3) * pitch, f0, f1, f2, f3)
                out[to] += weight * value


@jit
def catmull_rom(f):
    """Weights of the four neighbours of a place that is f beyond the second."""
    f0 = ((f4(-0.5) * f + f4(1)) * f - f4(0.5)) * f
    f1 = (f4(1.5) * f - f4(2.5)) * f * f + f4(1)
    f2 = ((f4(-1.5) * f + f4(2)) * f + f4(0.5)) * f
    f3 = (f4(0.5) * f - f4(0.5)) * f * f
    return f0, f1, f2, f3


@jit
def four(image, at, f0, f1, f2, f3):
    """Weighted sum of neighbours in a row; `at` is unsigned."""
    value = f0 * image[at] + f1 * image[at + uint64(1)]
    return value + f2 * image[at + uint64(2)] + f3 * image[at + uint64(3)]


@jit
def interpolate_row(image, rows, columns, places, rays, across, down, to, out, blended):
    """Add a row of rays that cross the plane along a row of the image, between its pixels."""
    y = places[rays]
    k = int64(math.floor(y))
    if k < 1 or k > rows - 3:
        return
    g0, g1, g2, g3 = catmull_rom(f4(y - k))
    at = (k - 1) * columns
    for x in range(0, columns, LANES):
        value = load(image, at + x) * g0
        value = fma(load(image, at + columns + x), g1, value)
        value = fma(load(image, at + 2 * columns + x), g2, value)
        store(blended, x, fma(load(image, at + 3 * columns + x), g3, value))
    for i in range(rays):
        x = places[i]
        n = int64(math.floor(x))
        if n < 1 or n > columns - 3:
            continue
        f0, f1, f2, f3 = catmull_rom(f4(x - n))
        weight = f4(places[2 * rays + i] / (across * down))
        out[uint64(to + i // across)] += weight * four(blended, uint64(n - 1), f0, f1, f2, f3)


@jit
def take_row(image, rows, columns, places, rays, across, down, to, out):
    """Add a row of rays that coincide, one after the other, with pixels of a row of the image."""
    n, k = int64(math.floor(places[0] + 0.5)), int64(math.floor(places[rays] + 0.5))
    step = 1 if places[rays - 1] >= places[0] else -1
    first, last = (-n, columns - n) if step > 0 else (n - columns + 1, n + 1)
    first, last = max(first, 0), min(last, rays)
    if k < 0 or k >= rows or first >= last:
        return
    at, weight, count = k * columns + n + step * first, 2 * rays + first, last - first
    if across > 1:
        for i in range(count):
            value = f4(places[weight + i] / (across * down)) * image[uint64(at + step * i)]
            out[to + (first + i) // across] += value
        return
    # With unsigned indices such loops become vector instructions.
    at, weight, to, count = uint64(at), uint64(weight), uint64(to + first), uint64(count)
    if step > 0:
        for i in range(count):
            out[to + i] += f4(places[weight + i] / down) * image[at + i]
    else:
        for i in range(count):
            out[to + i] += f4(places[weight + i] / down) * image[at - i]


@jit
def trace(
    source, origin, u, v, metric, plane, p0, pitch_p, q0, pitch_q, across, line, rays, places
):
    """Where the rays of one row of sub-pixels cross the intermediate plane, and their weights.

    Apart from the search in the image, so that divisions and roots become vectors. Rays that miss
    the plane are placed beside the image.
    """
    toward = 0.0 if source[3] == 0.0 else 1.0
    s0, s1, s2 = source[0], source[1], source[2]
    o0, o1, o2 = origin[0] + line * v[0], origin[1] + line * v[1], origin[2] + line * v[2]
    u0, u1, u2 = u[0], u[1], u[2]
    m00, m01, m02, m11, m12, m22 = (
        metric[0],
        2.0 * metric[1],
        2.0 * metric[2],
        metric[4],
        2.0 * metric[5],
        metric[8],
    )
    for i in range(rays):
        column = (int32(i) + 0.5) / across - 0.5
        m, p, q = o0 + column * u0, o1 + column * u1, o2 + column * u2
        # From the source to the pixel, or along a parallel beam.
        d0, d1, d2 = toward * m - s0, toward * p - s1, toward * q - s2
        t = (plane - m) / d0
        ahead = d0 != 0.0 and toward * t > -1.0
        length = d0 * (m00 * d0 + m01 * d1 + m02 * d2) + d1 * (m11 * d1 + m12 * d2) + m22 * d2 * d2
        places[i] = (p + t * d1 - p0) / pitch_p if ahead else -9.0
        places[rays + i] = (q + t * d2 - q0) / pitch_q if ahead else -9.0
        places[2 * rays + i] = math.sqrt(length) / abs(d0)
