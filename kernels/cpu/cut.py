"""The final cut: copy the body, to the voxel, and write air around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.jit import int32, jit, uint8, uint64
from drr.kernels.cpu.threads import available_cpus, run, split
from drr.kernels.morphology import Mask, dilate, erode

__all__ = ["cut", "kept_box"]

# Classes of a block. Walks judge the voxels of rim and skin; where none comes, those of the rim
# go and those of the skin stay.
OUTSIDE, RIM, SKIN, INSIDE = 0, 1, 2, 3

# Blocks that a walk judges. A judgement is the distance walked, in eighths of a block and
# doubled, and odd for what is not body.
REACH, EIGHTHS = 3, 8
UNJUDGED = 2 * EIGHTHS * REACH


def cut(
    values: NDArray[np.int16],
    mask: Mask,
    factors: tuple[int, int, int],
    out: NDArray[np.int16],
    *,
    background: int,
    tissue: int,
    rise: int,
    air: int,
    padding: int,
    dense: int,
    together: tuple[int, int] = (1, 1),
    at: tuple[int, int, int] = (0, 0, 0),
    threads: int | None = None,
) -> tuple[int, int]:
    """Copy what a block mask covers, and its skin to the voxel; the rest becomes background.

    Blocks whose in-plane neighbours are all in the mask are copied whole, blocks that no covered
    block touches are replaced whole. In between, rays walk outward along +-x and +-y from the
    last block that is certainly inside: through the tissue, across the surface, and on while the
    values fall. Where they rise again something else lies against the skin (a couch top, a
    blanket), and that is replaced.

    Parameters
    ----------
    values
        `(nz, ny, nx)` int16, C-contiguous.
    mask
        Blocks to keep, in the shape that `block_means` gives for `factors`.
    factors
        Voxels per block along z, y and x.
    out
        int16, C-contiguous, that takes at least what is kept; may be `values`, of which then only
        what changes is written.
    background
        Value written outside.
    tissue
        Walks cross the surface where the values fall below this.
    rise
        Walks end where values beyond the surface have risen by this much above their lowest.
    air
        Walks end beyond the surface where the values fall below this.
    padding
        Values at or below this are never skin.
    dense
        Replaced voxels above this value are counted.
    together
        Slices, and neighbouring walks within the slice, that are one walk: it judges by the mean
        of the voxels that it goes through.
    at
        Place in `out` of the first voxel, along z, y and x; negative along y and x where `out`
        begins later than the values.
    threads
        CPU threads; all available ones by default.

    Returns
    -------
    dense_count, padding_count
        Replaced voxels above `dense`, and at or below `padding`.
    """
    deep = erode(mask, (0, 1, 1))
    classes = np.full(mask.shape, OUTSIDE, np.uint8)
    classes[dilate(mask, (0, 1, 1), cross=True)] = RIM
    # Above and below, where no walk goes, a block may hold the rest of a shoulder.
    classes[dilate(mask, (1, 0, 0))] = SKIN
    classes[deep] = INSIDE
    _check_room(classes != OUTSIDE, factors, values.shape, out.shape, at)
    shallow = (classes == RIM) | (classes == SKIN)
    starts = deep & dilate(shallow, (0, 1, 1), cross=True)
    counts = np.zeros((len(mask), 2), np.int64)
    walk_hu = (int(tissue), int(rise), int(air), int(padding))
    write_hu = (np.int16(background), np.int16(dense), np.int16(padding))
    threads = threads or available_cpus()

    def task(start: int, stop: int) -> None:
        _cut(
            *(values, classes, starts, *factors, *together, out, at, out is values),
            *(walk_hu, write_hu, counts, start, stop),
        )

    # More ranges than threads: slices cost unequally.
    run(task, split(len(mask), 4 * threads), threads)
    dense_count, padding_count = counts.sum(axis=0).tolist()
    return dense_count, padding_count


def kept_box(
    mask: Mask, factors: tuple[int, int, int], shape: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """First voxel and end, along y and x, of what `cut` may keep for a mask that is not empty."""
    reach = dilate(mask, (0, 1, 1), cross=True)
    (y0, y1), (x0, x1) = (_extent(reach, axis, factors, shape) for axis in (1, 2))
    return (y0, y1), (x0, x1)


def _extent(
    mask: Mask, axis: int, factors: tuple[int, int, int], shape: tuple[int, ...]
) -> tuple[int, int]:
    blocks = np.flatnonzero(mask.any(axis=tuple(a for a in range(3) if a != axis)))
    return int(blocks[0]) * factors[axis], min((int(blocks[-1]) + 1) * factors[axis], shape[axis])


def _check_room(
    kept: Mask,
    factors: tuple[int, int, int],
    shape: tuple[int, ...],
    room: tuple[int, ...],
    at: tuple[int, int, int],
) -> None:
    """Nothing is written outside of `out`."""
    for axis in range(3):
        start, stop = (0, shape[0]) if axis == 0 else (0, 0)
        if axis and kept.any():
            start, stop = _extent(kept, axis, factors, shape)
        if stop > start and (start + at[axis] < 0 or stop + at[axis] > room[axis]):
            raise ValueError(
                f"axis {axis} keeps the voxels {start} to {stop}, which do not lie in out: "
                f"{room[axis]} voxels, the first value at {at[axis]}"
            )


@jit
def _seen(flat, place, across, lanes, alone, slices, plane, padding):
    """Sum of the voxels that a walk goes through in one step, or of one and its neighbours."""
    total = int32(0)
    for z in range(slices):
        p = place + z * plane
        if lanes > 1:
            for b in range(lanes):
                total += max(int32(flat[uint64(p + b * across)]), padding)
        else:
            total += 2 * max(int32(flat[uint64(p)]), padding)
            side = 0 if alone else across
            total += max(int32(flat[uint64(p - side)]), padding)
            total += max(int32(flat[uint64(p + side)]), padding)
    return total


@jit
def _walk(flat, judged, here, place, along, across, alone, inside, skin, lanes, slices, near, hu):
    """Judge the skin beyond a block that is certainly inside.

    `flat` are all voxels, `judged` those of one slice; the skin begins at `here` in the one and
    at `place` in the other. The walk comes through `inside` voxels before it, to learn whether
    tissue or lung is there, and goes on through `skin` voxels. It is a few `lanes` wide. A single
    one sees half as much of both neighbours across, against noise; `alone`, at the edge of a
    slice, it sees nothing across.

    Where walks meet, the one that came the shorter way judges: a couch top that one walk follows
    from where it touches the back is seen by another across the gap. A walk that meets no tissue
    judges nothing.
    """
    # Sums instead of means: the limits grow with the voxels seen.
    seen = int32((lanes if lanes > 1 else 4) * slices)
    tissue, rise, air = int32(hu[0]) * seen, int32(hu[1]) * seen, int32(hu[2]) * seen
    padding = int32(hu[3])
    plane = judged.size
    n = -inside
    value = _seen(flat, here + n * along, across, lanes, alone, slices, plane, padding)
    while value < tissue and n + 1 < skin:
        n += 1
        value = _seen(flat, here + n * along, across, lanes, alone, slices, plane, padding)
    if value < tissue:
        return
    while value >= tissue and n + 1 < skin:
        n += 1
        value = _seen(flat, here + n * along, across, lanes, alone, slices, plane, padding)
    over = skin
    if value < tissue:
        lowest = value
        while value <= lowest + rise and value >= air and n + 1 < skin:
            n += 1
            value = _seen(flat, here + n * along, across, lanes, alone, slices, plane, padding)
            lowest = min(lowest, value)
        if value > lowest + rise or value < air:
            over = max(n, 0)
    for b in range(lanes):
        p = place + b * across
        for a in range(over):
            judged[uint64(p)] = min(judged[uint64(p)], near[uint64(a)])
            p += along
        for a in range(over, skin):
            judged[uint64(p)] = min(judged[uint64(p)], uint8(near[uint64(a)] + 1))
            p += along


@jit
def _skin_beyond(kinds, j, i, dj, di):
    """Blocks of skin in a row beyond a block, at most `REACH`."""
    by, bx = kinds.shape
    count = 0
    j, i = j + dj, i + di
    while count < REACH and 0 <= j < by and 0 <= i < bx:
        if kinds[j, i] != SKIN and kinds[j, i] != RIM:
            break
        count += 1
        j, i = j + dj, i + di
    return count


@jit
def _judge(flat, judged, kinds, starts, axis, first, factor, count, pitch, width, slices, near, hu):
    """Walk along y (axis 0) or x (1) from the blocks of one slice that are certainly inside.

    `factor`, `count` and `pitch` are the block's voxels, the slice's and the step to the next
    one, along the walk and across it; `width` is the lanes of a walk, `first` the place of the
    slice's first voxel.
    """
    columns = axis == 0
    for start in range(starts.size):
        j, i = starts[start] // kinds.shape[1], starts[start] % kinds.shape[1]
        b, c = (j, i) if columns else (i, j)
        begin, end = b * factor[0], min(b * factor[0] + factor[0], count[0])
        for forth in range(2):
            sign = 1 if forth else -1
            dj, di = (sign, 0) if columns else (0, sign)
            blocks = _skin_beyond(kinds, j, i, dj, di)
            if blocks == 0:
                continue
            room = count[0] - end if forth else begin
            skin = min(blocks * factor[0], room)
            edge = (end if forth else begin - 1) * pitch[0]
            c0, c1 = c * factor[1], min(c * factor[1] + factor[1], count[1])
            for lane in range(c0, c1, width):
                lanes = min(width, c1 - lane)
                alone = lanes == 1 and (lane == 0 or lane + 1 == count[1])
                place = edge + lane * pitch[1]
                here, along, across, inside = first + place, sign * pitch[0], pitch[1], end - begin
                _walk(
                    flat, judged, here, place, along, across, alone,
                    inside, skin, lanes, slices, near, hu,
                )  # fmt: skip


@jit
def _copy(plane, ny, nx, out, top, left, in_place):
    """Copy what of one slice lies in `out`, or only read it: walks are faster on a warm cache.

    With unsigned indices such loops become vector instructions.
    """
    total = int32(0)
    flat, width = out.reshape(-1), out.shape[1]
    first, right = max(left, 0), min(left + width, nx)
    count = uint64(max(right - first, 0))
    for y in range(max(top, 0), min(top + out.shape[0], ny)):
        old, new = uint64(y * nx + first), uint64((y - top) * width + first - left)
        if in_place:
            for x in range(count):
                total += plane[old + x]
        else:
            for x in range(count):
                flat[new + x] = plane[old + x]
    return total


@jit
def _replace(plane, judged, kinds, fy, fx, ny, nx, out, top, left, hu):
    """Write background over what is not body in one slice, by runs of blocks of one class.

    `plane` is the slice's values, flat; `out` `(rows, columns)` begins at row `top` and column
    `left` of the slice, and may end before it does. What lies beyond is only counted.
    """
    background, dense, padding = hu
    by, bx = kinds.shape
    bottom, right = min(top + out.shape[0], ny), min(left + out.shape[1], nx)
    flat, width = out.reshape(-1), out.shape[1]
    total_dense, total_padding = 0, 0
    for j in range(by):
        y0, y1 = j * fy, min(j * fy + fy, ny)
        i = 0
        while i < bx:
            kind = kinds[j, i]
            start = i * fx
            while i < bx and kinds[j, i] == kind:
                i += 1
            if kind == INSIDE:
                continue
            stop = min(i * fx, nx)
            count = uint64(stop - start)
            # Of outside blocks, what lies in `out`.
            begin = min(max(start, left), stop)
            within = uint64(max(min(stop, right) - begin, 0))
            unjudged = uint8(UNJUDGED if kind == RIM else 255)
            for y in range(y0, y1):
                mark = uint64(y * nx + start)
                n_dense, n_padding = int32(0), int32(0)
                if kind == OUTSIDE:
                    for x in range(count):
                        value = plane[mark + x]
                        n_dense += value > dense
                        n_padding += value <= padding
                    if top <= y < bottom:
                        row = uint64((y - top) * width + begin - left)
                        for x in range(within):
                            flat[row + x] = background
                else:
                    row = uint64((y - top) * width + start - left)
                    for x in range(count):
                        value = plane[mark + x]
                        judgement = judged[mark + x]
                        padded = value <= padding
                        gone = ((judgement & uint8(1)) != 0) | (judgement == unjudged) | padded
                        n_dense += gone & (value > dense)
                        n_padding += gone & padded
                        flat[row + x] = background if gone else value
                total_dense += n_dense
                total_padding += n_padding
    return total_dense, total_padding


@jit
def _cut(
    values,
    classes,
    starts,
    fz,
    fy,
    fx,
    together,
    lanes,
    out,
    at,
    in_place,
    walk_hu,
    write_hu,
    counts,
    first_block,
    last_block,
):
    nz, ny, nx = values.shape
    flat = values.reshape(-1)
    judged = np.empty(ny * nx, np.uint8)
    near = (
        (np.arange(REACH * fy) * EIGHTHS // fy * 2).astype(np.uint8),
        (np.arange(REACH * fx) * EIGHTHS // fx * 2).astype(np.uint8),
    )
    for k in range(first_block, last_block):
        kinds, begin = classes[k], np.flatnonzero(starts[k])
        end = min(k * fz + fz, nz)
        for z0 in range(k * fz, end, together):
            slices = min(together, end - z0)
            first = z0 * ny * nx
            for z in range(z0, z0 + slices):
                _copy(values[z].reshape(-1), ny, nx, out[z + at[0]], -at[1], -at[2], in_place)
            judged[:] = UNJUDGED
            for axis in range(2):
                pitch = (nx, 1) if axis == 0 else (1, nx)
                count = (ny, nx) if axis == 0 else (nx, ny)
                factor = (fy, fx) if axis == 0 else (fx, fy)
                _judge(
                    *(flat, judged, kinds, begin, axis, first, factor, count, pitch, lanes, slices),
                    *(near[axis], walk_hu),
                )
            for z in range(z0, z0 + slices):
                found = _replace(
                    *(values[z].reshape(-1), judged, kinds, fy, fx, ny, nx, out[z + at[0]]),
                    *(-at[1], -at[2], write_hu),
                )
                counts[k, 0] += found[0]
                counts[k, 1] += found[1]
