"""The sum of a shear-warp: planes of voxels are added to an intermediate image.

Axes here: `m` counts planes along the dominant axis, `p` runs along the rows that are resampled,
`q` is the third axis. `X` and `Q` are coordinates on the intermediate plane. All arrays are flat.
The float64 twin of the whole shear-warp is `drr.kernels.reference.shear_warp`.
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
from drr.kernels.cpu.projection.lines import NOTHING, attenuate, clear, hinges
from drr.kernels.cpu.projection.transpose import exchange

__all__ = ["CHUNK", "PAIR", "ROWS", "TILE", "accumulate"]

# Rows of voxels handled together: their lines and target rows stay close to the core.
ROWS = 10
# Intermediate pixels of a row that are resampled before they are added to the image.
CHUNK = 128
# Planes of a view along x that are turned into rows at a time.
TILE = 128
# Two vectors: voxels that are compared with air at once, and what columns are padded to.
PAIR = 2 * LANES


@jit
def accumulate(
    voxels, sizes, thresholds, slopes, table, starts, slips, slabs, reach, limit,
    tile, floats, numbers, image,
):  # fmt: skip
    """Add the slabs of planes, in some rows q of voxels, to the intermediate image.

    Parameters
    ----------
    voxels
        int16.
    sizes
        `(11,)` int64: planes and voxels of a row along p; the distances of neighbours in `voxels`
        along m, p and q, of which that along p is 1, or that along m is and `tile` has room to
        exchange them; first row q and the end; columns of the image, a multiple of `PAIR`; room on
        either side of a line, as far as a block of pixels that only touches it reaches; the least
        HU that attenuates; 1, or -1 where rays cross the planes downward.
    thresholds, slopes, table
        The attenuation, see `attenuate`.
    starts, slips
        `(slabs + 1,)` int64: the first plane of every slab of planes that share a scale and
        shift, and `(planes,)` int64: by how many whole voxels each plane is moved along p before
        they are added up. No slab has more planes than `TILE`.
    slabs
        `(4, slabs)` float64: for slab s, voxel p = slabs[0, s] * X + slabs[2, s], and voxel
        q = slabs[1, s] * Q + slabs[3, s].
    reach, limit
        `(Q, X)` float32 coordinate along m where each intermediate ray meets the detector, times
        the direction; in `reach`, `(2, Q)`, the least and the largest of each row. Both empty when
        the detector is outside the volume.
    tile, floats, numbers
        Scratch: int16 for `ROWS` * `TILE` rows or none; float32 for `ROWS` padded lines,
        `ROWS` + 2 chunks and two of each row of the image; int64 for each row of the image, and
        `ROWS` more.
    image
        `(Q, columns)` float32. Added to.
    """
    planes, length, q_start, q_stop = sizes[0], sizes[1], sizes[5], sizes[6]
    image_rows, room = image.size // sizes[7], ROWS * (length + 2 * sizes[8])
    resampled = floats[room:]
    pairs, places = numbers[:image_rows], numbers[image_rows:]
    scratch = floats[:room], resampled, resampled[(ROWS + 2) * CHUNK :], pairs
    gathered, tile_row = tile.size > 0, tile.size // (ROWS * TILE)
    source = tile if gathered else voxels
    stride, row_stride = (tile_row, TILE * tile_row) if gathered else (sizes[2], sizes[4])
    attenuation = thresholds, slopes, hinges(f4(NOTHING), thresholds, slopes), table
    groups = (q_stop - q_start + ROWS - 1) // ROWS
    most = (q_stop - q_start + groups - 1) // groups
    # Beyond a group's first and last row of voxels are zeros; its neighbours add the other part.
    clear(resampled, 0, CHUNK)

    for q0 in range(q_start, q_stop, most):
        count = min(most, q_stop - q0)
        clear(resampled, (count + 1) * CHUNK, (count + 2) * CHUNK)
        for r in range(count):
            places[r] = (r if gathered else q0 + r) * row_stride
        tile_start = tile_stop = 0
        for s in range(starts.size - 1):
            m0, m1 = starts[s], starts[s + 1]
            if gathered and m1 > tile_stop:
                tile_start, tile_stop = m0, min(m0 + TILE, planes)
                for r in range(count):
                    at, to = (q0 + r) * sizes[4] + m0, r * row_stride
                    exchange(voxels, at, sizes[3], length, tile_stop - m0, tile, to, tile_row)
            rows = source, places, count, stride, tile_start
            moved = slabs[0, s], slabs[1, s], slabs[2, s], slabs[3, s] - (q0 - 1)
            hidden = reach, limit
            _add_slab(rows, (m0, m1), slips, moved, attenuation, sizes, scratch, hidden, image)


@jit
def _add_slab(rows, slab, slips, moved, attenuation, sizes, scratch, hidden, image):
    """Add some rows of a slab of planes to the intermediate image.

    `rows` are of the voxels in `source`: the places where each begins, how many, the distance of
    two planes and the first plane there. `moved` are steps and shifts along p and q, `hidden` what
    tells where the detector is; the rest is as `accumulate` has it.
    """
    (source, places, count, stride, tile_start), (m0, m1) = rows, slab
    (step, step_q, shift, shift_q), (lines, resampled, weights, pairs) = moved, scratch
    length, columns, pad, sign = sizes[1], sizes[7], sizes[8], sizes[10]
    width = length + 2 * pad
    # Rows of the image that these rows of voxels reach.
    top = max(0, int64(math.ceil(-shift_q / step_q)))
    bottom = min(image.size // columns, int64(math.ceil((count + 1 - shift_q) / step_q)))
    # What the image sees of the lines, less the air at their ends.
    beside = abs(slips[m0]) + abs(slips[m1 - 1])
    begin = max(-beside, int64(math.floor(shift)))
    end = min(length + beside, int64(math.floor(step * (columns - 1) + shift)) + 2)
    if bottom <= top or end <= begin:
        return
    first, last = _matter(rows, slab, slips, (begin, end, length), sizes[9])
    if last <= first:
        return
    x0 = max(0, int64(math.floor((first - 1 - shift) / step)) // PAIR * PAIR)
    x1 = min(columns, int64(math.ceil((last - shift) / step)) // PAIR * PAIR + PAIR)
    if x1 <= x0:
        return
    _weigh(pairs, weights, top, bottom, step_q, shift_q, count)
    edge = x0
    while edge < x1:
        seen = first, last, length
        start, stop, edge = _stretch(rows, slab, slips, moved, seen, edge, x1, sizes[9])
        if stop == start:
            continue
        # What of the lines is seen from these columns.
        left = max(first, int64(math.floor(step * start + shift)))
        right = min(last, int64(math.floor(step * (stop - 1) + shift)) + 2)
        begin = int64(step * start + shift + pad) - 3
        end = int64(step * (stop - 1) + shift + pad) + LANES
        shown = left, right, begin, end, length
        _attenuate_lines(rows, slab, slips, shown, attenuation, lines, width, pad)
        for x in range(start, stop, CHUNK):
            # The same voxels of the next slab, far away, while these are near.
            here = (m1 - tile_start) * stride + int64(step * x + shift)
            for r in range(count):
                fetch(source, here + places[r], int64(step * CHUNK) + 31)
            size = min(CHUNK, stop - x)
            _resample(lines, width, count, step, shift + pad, x, size, resampled)
            between = pairs, weights, top, bottom
            _add(resampled, size, between, hidden, sign * m0, columns, x, image)


@jit
def _matter(rows, slab, slips, seen, lowest):
    """Where in the rows of a slab the first voxel attenuates, and where the last one ends.

    In steps of `PAIR`, within what is `seen`: first voxel, end, and how many a row has.
    """
    (source, places, count, stride, tile_start), (m0, m1) = rows, slab
    begin, end, length = seen
    first, last = end, begin
    for m in range(m0, m1):
        plane = (m - tile_start) * stride + slips[m]
        left, right = max(begin, -slips[m]), min(end, length - slips[m])
        for r in range(count):
            at = plane + places[r]
            i = left
            while i + PAIR <= min(first, right) and not any_from(source, at + i, lowest):
                i += PAIR
            first = min(first, i)
            i = right
            while i - PAIR >= max(last, left) and not any_from(source, at + i - PAIR, lowest):
                i -= PAIR
            last = max(last, i)
    return first, last


@jit
def _stretch(rows, slab, slips, moved, seen, edge, x1, lowest):
    """The next chunks of columns, from `edge` on, in each of which something attenuates.

    Of bone, few do. Returns the first column, the end, and where to look next.
    """
    (source, places, count, stride, tile_start), (m0, m1) = rows, slab
    step, _, shift, _ = moved
    first, last, length = seen
    start = stop = edge
    while edge < x1 and stop == edge:
        edge = min(stop + CHUNK, x1)
        left = max(first, int64(math.floor(step * stop + shift)))
        right = min(last, int64(math.floor(step * (edge - 1) + shift)) + 2)
        found = False
        for m in range(m0, m1):
            here, end = max(left, -slips[m]), min(right, length - slips[m])
            for r in range(count):
                at = (m - tile_start) * stride + slips[m] + places[r] + here
                found = found or _any_within(source, at, end - here, lowest)
                if not found:
                    fetch(source, at + stride, end - here)
        if found:
            stop = edge
        elif start == stop:
            start = stop = edge
    return start, stop, edge


@jit
def _any_within(voxels, at, count, lowest):
    """Whether any of `count` voxels is a value or more; also where they are too few to look at."""
    if count < PAIR:
        return count > 0
    for i in range(0, count - PAIR, PAIR):
        if any_from(voxels, at + i, lowest):
            return True
    return any_from(voxels, at + count - PAIR, lowest)


@jit
def _weigh(pairs, weights, top, bottom, step, shift, count):
    """For rows of the image, the row of voxels before each, and the weights of it and the next."""
    for v in range(top, bottom):
        position = step * v + shift
        pairs[v] = pair = min(int64(position), count)
        weights[2 * v] = 1.0 - (position - pair)
        weights[2 * v + 1] = position - pair


@jit
def _attenuate_lines(rows, slab, slips, shown, attenuation, lines, width, pad):
    """Write the attenuation of rows of voxels, added up over the planes of a slab, to lines.

    Of a line, what is `shown`: voxels from `left` to `right`, and zeros around them from `begin` to
    `end`.
    """
    (source, places, count, stride, tile_start), (m0, m1) = rows, slab
    left, right, begin, end, length = shown
    thresholds, slopes, nothing, table = attenuation
    for r in range(count):
        line = r * width
        # The first plane of a slab begins the line, the others add to it.
        opening = left if m1 - m0 == 1 else right
        clear(lines, line + begin, line + pad + opening)
        for m in range(m0, m1):
            first, last = max(left, -slips[m]), min(right, length - slips[m])
            at = (m - tile_start) * stride + places[r] + slips[m] + first
            attenuate(
                source, at, last - first, thresholds, slopes, nothing, table, m1 - m0 > 1,
                lines, line + pad + first,
            )  # fmt: skip
        clear(lines, line + pad + right, line + end)


@jit
def _resample(lines, width, count, step, shift, column, size, resampled):
    """Values of columns of the image along lines of voxels, from the second chunk on."""
    drift = step - 1.0
    # The scale is near one: the positions of a vector's pixels lie within five elements of a
    # line. Hats weight these, all in contiguous memory.
    if abs(drift) * (LANES - 1) <= 3.0:
        for x in range(0, size, LANES):
            position = step * (column + x) + shift
            at = int64(position + min(drift, 0.0) * (LANES - 1))
            d = ramp() * f4(drift) + f4(position - at)
            w0, w1, w2 = hat(d), hat(d - f4(1)), hat(d - f4(2))
            w3, w4 = hat(d - f4(3)), hat(d - f4(4))
            to = CHUNK + x
            for _ in range(count):
                value = fma(load(lines, at + 1), w1, load(lines, at) * w0)
                value = fma(load(lines, at + 2), w2, value)
                value = fma(load(lines, at + 3), w3, value)
                store(resampled, to, fma(load(lines, at + 4), w4, value))
                at += width
                to += CHUNK
    else:
        for x in range(size):
            position = step * (column + x) + shift
            at = int64(position)
            part = f4(position - at)
            to = CHUNK + x
            for _ in range(count):
                resampled[to] = lines[at] + part * (lines[at + 1] - lines[at])
                at += width
                to += CHUNK


@jit
def _add(resampled, size, rows, hidden, plane, columns, column, image):
    """Add a chunk of columns to the rows of the image, each between two rows of voxels.

    Only the part of the plane's interval before the detector counts; `plane` is its number times
    the direction of the rays.
    """
    (pairs, weights, top, bottom), (reach, limit) = rows, hidden
    for v in range(top, bottom):
        whole = limit.size == 0 or plane + 0.5 <= reach[0, v]
        if not whole and plane - 0.5 >= reach[1, v]:
            continue
        at, to = pairs[uint64(v)] * CHUNK, v * columns + column
        lower, upper = splat(weights[uint64(2 * v)]), splat(weights[uint64(2 * v + 1)])
        for x in range(0, size, LANES):
            value = load(resampled, at + x) * lower
            value = fma(load(resampled, at + CHUNK + x), upper, value)
            if not whole:
                value = unit(load(limit, to + x) - f4(plane) + f4(0.5)) * value
            # Rounded before it is added to a sum that is much larger.
            store(image, to + x, load(image, to + x) + value)
