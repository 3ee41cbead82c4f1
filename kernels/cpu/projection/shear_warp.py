"""Shear-warp: Joseph's sums reordered so that the volume streams once through the cache.

Every plane of voxels parallel to a volume face maps onto any other such plane by one scale and
one shift (a point source makes them homothetic), so a plane is added to an intermediate image
parallel to the face by resampling its rows, without following single rays. One 2-D warp
(`drr.kernels.cpu.projection.warp`) carries the intermediate image to the detector.

P. Lacroute and M. Levoy, "Fast volume rendering using a shear-warp factorization of the viewing
transformation", SIGGRAPH 1994; the interpolation is Joseph's (IEEE Trans. Med. Imaging 1982).

Axes here: `m` counts planes along the dominant axis, `p` runs along the rows that are resampled,
`q` is the third axis. `X` and `Q` are coordinates on the intermediate plane. All arrays are flat.
"""

from __future__ import annotations

import math

from drr.kernels.cpu.compiler.jit import float32 as f4
from drr.kernels.cpu.compiler.jit import int64, jit, uint64
from drr.kernels.cpu.compiler.vectors import (
    LANES,
    any_from,
    fetch,
    fma,
    hat,
    load,
    ramp,
    splat,
    store,
    unit,
)
from drr.kernels.cpu.projection.lines import (
    NOTHING,
    WIDE,
    any_within,
    attenuate,
    clear,
    hinges,
)
from drr.kernels.cpu.projection.transpose import exchange

__all__ = ["CHUNK", "ROWS", "TILE", "accumulate"]

# Rows of voxels handled together: their lines and target rows stay close to the core.
ROWS = 10
# Intermediate pixels of a row that are resampled before they are added to the image.
CHUNK = 128
# Planes of a view along x that are turned into rows at a time.
TILE = 128
# Two vectors.
PAIR = 2 * LANES


@jit
def accumulate(
    voxels,
    counts,
    strides,
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
    voxels
        int16.
    counts, strides
        `(3,)` int64: voxels along m, p and q, and the distance of neighbours in `voxels`. The
        stride along p is 1, or that along m is and `tile` has room to exchange them.
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
    tile, lines, resampled, pairs, weights, places
        Scratch: int16 for `ROWS` * `TILE` rows or none, float32 for `ROWS` lines of the same
        width, for `ROWS` + 2 chunks, int64 and float32 for every row of the image, twice, int64
        for `ROWS`.
    columns, image
        `(Q, columns)` float32, columns a multiple of `PAIR`. Added to.
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
    groups = (q_stop - q_start + ROWS - 1) // ROWS
    most = (q_stop - q_start + groups - 1) // groups
    # Beyond a group's first and last row of voxels are zeros; its neighbours add the other part.
    clear(resampled, 0, CHUNK)
    nothing = hinges(f4(NOTHING), thresholds, slopes)

    for q0 in range(q_start, q_stop, most):
        rows = min(most, q_stop - q0)
        clear(resampled, (rows + 1) * CHUNK, (rows + 2) * CHUNK)
        for r in range(rows):
            places[r] = r * row_stride
            if not gathered:
                places[r] = (q0 + r) * row_stride
        tile_stop = 0
        for s in range(scales.size):
            m0, m1 = starts[s], starts[s + 1]
            if gathered and m1 > tile_stop:
                tile_start, tile_stop = m0, min(m0 + TILE, planes)
                for r in range(rows):
                    at = (q0 + r) * strides[2] + m0
                    to = r * row_stride
                    size = tile_stop - tile_start
                    exchange(voxels, at, strides[1], length, size, tile, to, tile_row)
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
                    at = plane + places[r]
                    i = left
                    while i + WIDE <= min(first, right) and not any_from(source, at + i, lowest):
                        i += WIDE
                    first = min(first, i)
                    fetch(source, at + stride + left, i + WIDE - left)
                    i = right
                    while i - WIDE >= max(last, left) and not any_from(
                        source, at + i - WIDE, lowest
                    ):
                        i -= WIDE
                    last = max(last, i)
                    fetch(source, at + stride + i - WIDE, right + WIDE - i)
            if last <= first:
                continue
            x0 = max(0, int64(math.floor((first - 1 - shift_p) / step_p)) // PAIR * PAIR)
            x1 = min(columns, int64(math.ceil((last - shift_p) / step_p)) // PAIR * PAIR + PAIR)
            if x1 <= x0:
                continue
            for v in range(top, bottom):
                position = step_q * v + shift_q
                pairs[v] = pair = min(int64(position), rows)
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
                            at = plane + places[r] + here
                            found = found or any_within(source, at, end - here, lowest)
                            if not found:
                                fetch(source, at + stride, end - here)
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
                        here, there = max(left, -slips[m]), min(right, length - slips[m])
                        attenuate(
                            source, (m - tile_start) * stride + places[r] + slips[m] + here,
                            there - here, thresholds, slopes, nothing, table, m1 - m0 > 1, lines,
                            line + pad + here,
                        )  # fmt: skip
                    clear(lines, line + pad + right, line + end)
                for chunk in range(start, stop, CHUNK):
                    count = min(CHUNK, stop - chunk)
                    if not gathered:
                        # The same voxels of the next slab, far away, while these are near.
                        here = (m1 - tile_start) * stride + int64(step_p * chunk + shift_p)
                        for r in range(rows):
                            fetch(voxels, here + places[r], int64(step_p * CHUNK) + 31)
                    if low.size == 0 and abs(step_p - 1.0) * (LANES - 1) <= 2.0:
                        resample_and_add(
                            lines, width, rows, step_p, shift_p + pad, chunk, count,
                            pairs, weights, top, bottom, columns, image,
                        )  # fmt: skip
                        continue
                    resample(lines, width, rows, step_p, shift_p + pad, chunk, count, resampled)
                    for v in range(top, bottom):
                        whole = low.size == 0 or sign * m0 + 0.5 <= low[v]
                        if not whole and sign * m0 - 0.5 >= high[v]:
                            continue
                        at, to = pairs[uint64(v)] * CHUNK, v * columns + chunk
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
def resample_and_add(
    lines, width, rows, step, shift, column, count, pairs, weights, top, bottom, columns, image
):  # fmt: skip
    """Add lines of voxels to rows of the image, a pair of vectors wide, from row to row.

    The scale is near one: the positions of a vector's pixels lie within three or four elements of
    a line. Hats weight them, all in contiguous memory; and what two rows of the image see of a
    line is resampled once.
    """
    drift = step - 1.0
    four = abs(drift) * (LANES - 1) > 1.0
    for x in range(column, column + count, PAIR):
        position = step * x + shift
        at = int64(position + min(drift, 0.0) * (LANES - 1))
        d = ramp() * f4(drift) + f4(position - at)
        w0, w1, w2, w3 = hat(d), hat(d - f4(1)), hat(d - f4(2)), hat(d - f4(3))
        position = step * (x + LANES) + shift
        also = int64(position + min(drift, 0.0) * (LANES - 1))
        d = ramp() * f4(drift) + f4(position - also)
        v0, v1, v2, v3 = hat(d), hat(d - f4(1)), hat(d - f4(2)), hat(d - f4(3))
        left_above, right_above = splat(f4(0)), splat(f4(0))
        left, right = splat(f4(0)), splat(f4(0))
        row, to = -1, top * columns + x
        for v in range(top, bottom):
            while row < pairs[uint64(v)]:
                left_above, right_above = left, right
                left, right = splat(f4(0)), splat(f4(0))
                row += 1
                if row < rows:
                    left = fma(load(lines, at + 1), w1, load(lines, at) * w0)
                    left = fma(load(lines, at + 2), w2, left)
                    right = fma(load(lines, also + 1), v1, load(lines, also) * v0)
                    right = fma(load(lines, also + 2), v2, right)
                    if four:
                        left = fma(load(lines, at + 3), w3, left)
                        right = fma(load(lines, also + 3), v3, right)
                    at += width
                    also += width
            lower, upper = splat(weights[uint64(2 * v)]), splat(weights[uint64(2 * v + 1)])
            # Rounded before it is added to a sum that is much larger.
            store(image, to, load(image, to) + fma(left, upper, left_above * lower))
            value = load(image, to + LANES) + fma(right, upper, right_above * lower)
            store(image, to + LANES, value)
            to += columns


@jit
def resample(lines, width, rows, step, shift, column, count, resampled):
    """Values of columns of the image along lines of voxels, from the second chunk on."""
    drift = step - 1.0
    spread = abs(drift) * (LANES - 1)
    # Within so many elements of a line, see `resample_and_add`.
    if spread <= 3.0:
        for x in range(0, count, LANES):
            position = step * (column + x) + shift
            at = int64(position + min(drift, 0.0) * (LANES - 1))
            d = ramp() * f4(drift) + f4(position - at)
            w0, w1, w2 = hat(d), hat(d - f4(1)), hat(d - f4(2))
            w3, w4 = hat(d - f4(3)), hat(d - f4(4))
            to = CHUNK + x
            for _ in range(rows):
                value = fma(load(lines, at + 1), w1, load(lines, at) * w0)
                value = fma(load(lines, at + 2), w2, value)
                value = fma(load(lines, at + 3), w3, value)
                store(resampled, to, fma(load(lines, at + 4), w4, value))
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
