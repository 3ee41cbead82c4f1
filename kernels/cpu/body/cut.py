"""The final cut: copy the body, to the voxel, and write air around it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.body.block_classes import (
    CLASS,
    INSIDE,
    OUTSIDE,
    RIM,
    SEEN,
    SKIN,
    START,
    block_classes,
)
from drr.kernels.cpu.body.morphology import Mask
from drr.kernels.cpu.compiler.jit import float32 as f4
from drr.kernels.cpu.compiler.jit import int32, jit, uint8, uint64
from drr.kernels.cpu.compiler.vectors import LANES, larger, splat, store, widen
from drr.threads import available_cpus, run, split

__all__ = ["cut", "kept_box"]

# Of slices that are judged together so many are looked at.
LOOK = 2

# Blocks that a walk judges. A judgement is the distance walked, in eighths of a block and
# doubled, and odd for what is not body.
REACH, EIGHTHS = 3, 8
UNJUDGED = 2 * EIGHTHS * REACH
# Of blocks that no walk judges: the inside stays, its padding too, the outside goes.
STAYS, GOES = 254, 255


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
        int16, C-contiguous, that takes at least what is kept; may be `values`. Its slices that
        `values` have are written whole.
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
    classes = block_classes(mask, factors, values.shape, together[1])
    _check_room(classes & CLASS != OUTSIDE, factors, values.shape, out.shape, at)
    counts = np.zeros((len(mask), 2), np.int64)
    places = *values.shape, *mask.shape, *factors, *out.shape, *at, *together
    limits = tissue, rise, air, padding, background, dense
    flat = values.reshape(-1), classes.reshape(-1), out.reshape(-1)
    plane = values.shape[1] * values.shape[2]
    threads = threads or available_cpus()

    def task(start: int, stop: int) -> None:
        scratch = np.empty(plane + LANES, np.float32), np.empty(plane, np.uint8)
        numbers = np.array(places, np.int64), np.array(limits, np.int16)
        _cut(*flat, *numbers, *_nearness(factors), *scratch, counts.reshape(-1), start, stop)

    # More ranges than threads: slices cost unequally.
    run(task, split(len(mask), 4 * threads), threads)
    dense_count, padding_count = counts.sum(axis=0).tolist()
    return dense_count, padding_count


def _nearness(factors: tuple[int, int, int]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """How far each voxel that a walk along y or x judges is from where the skin begins."""
    y, x = ((np.arange(REACH * f) * EIGHTHS // f * 2).astype(np.uint8) for f in factors[1:])
    return y, x


def kept_box(
    footprint: NDArray[np.bool_], factors: tuple[int, int, int], shape: tuple[int, ...]
) -> tuple[tuple[int, int], tuple[int, int]]:
    """First voxel and end, along y and x, of what `cut` may keep.

    Parameters
    ----------
    footprint
        `(ky, kx)` bool: where the mask, which is not empty, is in any plane.
    factors, shape
        Voxels per block, and of the volume, along z, y and x.
    """
    extents = []
    for axis in (1, 2):
        first, end = _extent(footprint, 2 - axis)
        # Walks go no further than into the next block.
        low, high = max(first - 1, 0), min(end + 1, footprint.shape[axis - 1])
        extents.append((low * factors[axis], min(high * factors[axis], shape[axis])))
    return extents[0], extents[1]


def _extent(footprint: NDArray[np.bool_], along: int) -> tuple[int, int]:
    """The first block and the end, once all `along` an axis are taken together."""
    blocks = np.flatnonzero(footprint.any(axis=along))
    return int(blocks[0]), int(blocks[-1]) + 1


def _check_room(
    kept: Mask,
    factors: tuple[int, int, int],
    shape: tuple[int, ...],
    room: tuple[int, ...],
    at: tuple[int, int, int],
) -> None:
    """Nothing is written outside of `out`."""
    footprint = np.asarray(kept.any(axis=0))
    for axis in range(3):
        start, stop = (0, shape[0]) if axis == 0 else (0, 0)
        if axis and footprint.any():
            first, end = _extent(footprint, 2 - axis)
            start, stop = first * factors[axis], min(end * factors[axis], shape[axis])
        if stop > start and (start + at[axis] < 0 or stop + at[axis] > room[axis]):
            raise ValueError(
                f"axis {axis} keeps the voxels {start} to {stop}, which do not lie in out: "
                f"{room[axis]} voxels, the first value at {at[axis]}"
            )


@jit
def _walk(seen, here, along, across, lanes, alone, inside, skin, tissue, rise, air):
    """How much of the skin beyond a block that is certainly inside is body; -1 if unknown.

    The skin begins at `here`. The walk comes through `inside` voxels before it, to learn whether
    tissue or lung is there, and goes on through `skin` voxels. It is a few `lanes` wide. A single
    one sees half as much of both neighbours across, against noise; `alone`, at the edge of a
    slice, it sees nothing across. A walk that meets no tissue knows nothing.
    """
    side = 0 if alone else across
    place = here - inside * along
    in_tissue = beyond = False
    lowest = f4(0)
    for n in range(-inside, skin):
        value = f4(0)
        if lanes > 1:
            for b in range(lanes):
                value += seen[uint64(place + b * across)]
        else:
            value = f4(2) * seen[uint64(place)] + seen[uint64(place - side)]
            value += seen[uint64(place + side)]
        place += along
        if not in_tissue:
            in_tissue = value >= tissue
        elif beyond or value < tissue:
            lowest = value if not beyond or value < lowest else lowest
            beyond = True
            if value > lowest + rise or value < air:
                return n if n > 0 else 0
    return skin if in_tissue else -1


@jit
def _judge(seen, judged, classes, first, grid, lanes, slices, walk, near_y, near_x):
    """Walk from all blocks of one plane where walks start, along +-y and +-x.

    Where walks meet, the one that came the shorter way judges: a couch top that one walk follows
    from where it touches the back is seen by another across the gap.
    """
    (by, bx, fy, fx, ny, nx), (tissue, rise, air) = grid, walk
    for block in range(by * bx):
        if not classes[first + block] & START:
            continue
        j, i = block // bx, block % bx
        for direction in range(4):
            columns, forth = direction < 2, direction % 2 == 1
            # Of blocks and voxels, along the walk and across it.
            b, blocks, f, count, along = (j, by, fy, ny, nx) if columns else (i, bx, fx, nx, 1)
            c, g, width, across = (i, fx, nx, 1) if columns else (j, fy, ny, nx)
            near = near_y if columns else near_x
            step, block_step = (1 if forth else -1), (bx if columns else 1)
            reach = 0
            while reach < REACH and 0 <= b + step * (reach + 1) < blocks:
                kind = classes[first + block + step * (reach + 1) * block_step] & CLASS
                if kind != SKIN and kind != RIM:
                    break
                reach += 1
            if reach == 0:
                continue
            begin, end = b * f, min(b * f + f, count)
            skin = min(reach * f, count - end if forth else begin)
            edge = (end if forth else begin - 1) * along
            stop = min(c * g + g, width)
            for lane in range(c * g, stop, lanes):
                wide = min(lanes, stop - lane)
                alone = wide == 1 and (lane == 0 or lane + 1 == width)
                # Sums instead of means: the limits grow with the voxels seen.
                n = f4(slices * (wide if wide > 1 else 4))
                here = edge + lane * across
                over = _walk(
                    seen, here, step * along, across, wide, alone, end - begin, skin,
                    n * f4(tissue), n * f4(rise), n * f4(air),
                )  # fmt: skip
                if over >= 0:
                    _mark(judged, here, step * along, across, wide, skin, over, near)


@jit
def _mark(judged, here, along, across, wide, skin, over, near):
    """Judge the skin that a walk went through, where no other came a shorter way.

    With unsigned indices the loops along a row become vector instructions.
    """
    if across == 1:
        for a in range(skin):
            judgement = uint8(near[a] + (0 if a < over else 1))
            place = uint64(here + a * along)
            for b in range(uint64(wide)):
                judged[place + b] = min(judged[place + b], judgement)
        return
    for b in range(wide):
        place = here + b * across
        if along > 0:
            first = uint64(place)
            for a in range(uint64(over)):
                judged[first + a] = min(judged[first + a], near[a])
            for a in range(uint64(over), uint64(skin)):
                judged[first + a] = min(judged[first + a], uint8(near[a] + uint8(1)))
        else:
            for a in range(skin):
                judgement = uint8(near[a] + (0 if a < over else 1))
                judged[uint64(place - a)] = min(judged[uint64(place - a)], judgement)


@jit
def _apart(z0, z1):
    """How far apart the slices from z0 to z1 lie that `_gather` sums up."""
    return (z1 - z0 - 1) // LOOK + 1


@jit
def _gather(values, classes, first, grid, z0, z1, fresh, padding, seen, judged):
    """Sum up what walks will see in a few slices, or some of them; mark what they will judge.

    The other blocks are marked in the first slices of a plane of them, which is `fresh`.

    Vectors reach over the ends of runs: what they write there is written again or never read.
    """
    by, bx, fy, fx, ny, nx = grid
    least, step = splat(f4(padding)), _apart(z0, z1)
    for j in range(by):
        blocks = first + j * bx
        i = 0
        while i < bx:
            if not classes[blocks + i] & SEEN:
                i += 1
                continue
            x0 = i * fx
            while i < bx and classes[blocks + i] & SEEN:
                i += 1
            x1 = min(i * fx, nx)
            for y in range(j * fy, min(j * fy + fy, ny)):
                for x in range(y * nx + x0, y * nx + x1, LANES):
                    old = z0 * ny * nx + x
                    if (z1 - 1) * ny * nx + x + LANES > values.size:
                        for n in range(x, y * nx + x1):
                            seen[n] = f4(0)
                            for z in range(z0, z1, step):
                                seen[n] += f4(max(values[z * ny * nx + n], padding))
                        break
                    sums = larger(widen(values, old), least)
                    for _ in range(z0 + step, z1, step):
                        old += step * ny * nx
                        sums = sums + larger(widen(values, old), least)
                    store(seen, x, sums)
        i = 0
        while i < bx:
            x0, kind = i * fx, classes[blocks + i] & CLASS
            while i < bx and classes[blocks + i] & CLASS == kind:
                i += 1
            mark = uint8(UNJUDGED + 1 if kind == RIM else UNJUDGED)
            if kind in (INSIDE, OUTSIDE):
                if not fresh:
                    continue
                mark = uint8(STAYS if kind == INSIDE else GOES)
            size = uint64(min(i * fx, nx) - x0)
            for y in range(j * fy, min(j * fy + fy, ny)):
                here = uint64(y * nx + x0)
                # With unsigned indices such loops become vector instructions.
                for x in range(size):
                    judged[here + x] = mark


@jit
def _write(values, size, z0, z1, out, room, at, limits, judged, counts, count):
    """Write a few slices of `out`: what is body, and background everywhere else.

    What is replaced is counted at `counts[count]` if it is dense, and behind that if it is
    padding, also in columns and rows that lie outside of `out`.
    """
    (ny, nx), (out_ny, out_nx), (at_z, at_y, at_x) = size, room, at
    padding, background, dense = limits
    n_dense, n_padding = 0, 0
    for z in range(z0, z1):
        for y in range(min(0, -at_y), max(ny, out_ny - at_y)):
            # Columns of the volume that lie in this row of `out`.
            begin, end = nx, nx
            old, mark = uint64((z * ny + y) * nx), uint64(y * nx)
            new = uint64(((z + at_z) * out_ny + y + at_y) * out_nx + at_x)
            if 0 <= y + at_y < out_ny:
                begin = max(0, -at_x) if 0 <= y < ny else nx
                end = max(begin, min(nx, out_nx - at_x))
                _fill(out, new - uint64(at_x), min(begin + at_x, out_nx), background)
                _fill(out, new + uint64(end), out_nx - at_x - end, background)
            if y < 0 or y >= ny:
                continue
            row_dense, row_padding = int32(0), int32(0)
            for x in range(uint64(begin), uint64(end)):
                value, judgement = values[old + x], judged[mark + x]
                gone = ((judgement & uint8(1)) != 0) | (
                    (value <= padding) & (judgement != uint8(STAYS))
                )
                row_dense = int32(row_dense + (gone & (value > dense)))
                row_padding = int32(row_padding + (gone & (value <= padding)))
                out[new + x] = background if gone else value
            for side in range(2):
                first, stop = (0, begin) if side == 0 else (end, nx)
                for x in range(uint64(first), uint64(stop)):
                    row_dense = int32(row_dense + (values[old + x] > dense))
                    row_padding = int32(row_padding + (values[old + x] <= padding))
            n_dense += row_dense
            n_padding += row_padding
    counts[count] += n_dense
    counts[count + 1] += n_padding


@jit
def _fill(out, at, count, background):
    for x in range(uint64(max(count, 0))):
        out[uint64(at) + x] = background


@jit
def _cut(
    values, classes, out, sizes, limits, near_y, near_x, seen, judged, counts, start, stop
):  # fmt: skip
    """Cut planes of blocks, a few slices at a time so that they stay in the cache.

    Parameters
    ----------
    values, classes, out
        Flat: int16, uint8, int16.
    sizes
        `(17,)` int64: along z, y and x the voxels, the blocks, the voxels of a block, the voxels of
        `out`, and the place there of the first voxel; then `together`.
    limits
        `(6,)` int16: `tissue`, `rise`, `air`, `padding`, `background` and `dense`.
    near_y, near_x
        See `_nearness`.
    seen, judged
        Sums of the voxels that walks go through in one slice, float32, and the judgements, uint8.
    counts
        Two of every plane, int64; see `_write`.
    start, stop
        Planes of blocks.
    """
    nz, ny, nx, by, bx = sizes[0], sizes[1], sizes[2], sizes[4], sizes[5]
    fz, fy, fx = sizes[6], sizes[7], sizes[8]
    grid = by, bx, fy, fx, ny, nx
    room, at = (sizes[10], sizes[11]), (sizes[12], sizes[13], sizes[14])
    together, lanes, padding = sizes[15], sizes[16], limits[3]
    walk, replaced = (limits[0], limits[1], limits[2]), (padding, limits[4], limits[5])
    for k in range(start, stop):
        first, end = k * by * bx, min(k * fz + fz, nz)
        for z0 in range(k * fz, end, together):
            z1 = min(z0 + together, end)
            slices = (z1 - z0 - 1) // _apart(z0, z1) + 1
            _gather(values, classes, first, grid, z0, z1, z0 == k * fz, padding, seen, judged)
            _judge(seen, judged, classes, first, grid, lanes, slices, walk, near_y, near_x)
            _write(values, (ny, nx), z0, z1, out, room, at, replaced, judged, counts, 2 * k)
