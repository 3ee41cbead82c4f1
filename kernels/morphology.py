"""Masks on arrays: block means, erosion and dilation, connected components, and the final cut.

Everything that reads the full-resolution voxels does so once, in ranges of slices that run on the
thread pool; the rest works on grids some hundred times smaller.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.jit import jit
from drr.kernels.cpu.threads import available_cpus, run, split

__all__ = ["block_means", "cut", "dilate", "erode", "label"]

Mask = NDArray[np.bool_]

# Classes of a block in `cut`. Walks judge the voxels of rim and skin; where none comes, those of
# the rim go and those of the skin stay.
OUTSIDE, RIM, SKIN, INSIDE = 0, 1, 2, 3

# Blocks that a walk judges, and the mark of voxels that no walk reached.
REACH = 3
UNJUDGED = 16 * REACH


def block_means(
    values: NDArray[np.int16],
    factors: tuple[int, int, int],
    *,
    floor: int,
    ceiling: int,
    threads: int | None = None,
) -> tuple[NDArray[np.int16], NDArray[np.int16]]:
    """Mean and maximum of every block of voxels, in one pass.

    Parameters
    ----------
    values
        `(nz, ny, nx)` int16, C-contiguous.
    factors
        Voxels per block along z, y and x. The last block of an axis may hold fewer.
    floor, ceiling
        Values are clamped to this range before they are averaged, so that neither padding nor
        metal outweighs its neighbours. The maxima are of the values as they are.

    Returns
    -------
    means, maxima
        `(ceil(nz/fz), ceil(ny/fy), ceil(nx/fx))` int16; means are rounded towards zero.
    """
    shape = tuple(-(-n // f) for n, f in zip(values.shape, factors, strict=True))
    means = np.empty(shape, np.int16)
    maxima = np.empty(shape, np.int16)

    def task(start: int, stop: int) -> None:
        _block_means(values, *factors, floor, ceiling, means, maxima, start, stop)

    _run(task, shape[0], threads)
    return means, maxima


def dilate(mask: Mask, radii: tuple[int, int, int], *, cross: bool = False) -> Mask:
    """Dilation by a box of `radii` voxels (z, y, x), or by their cross; nothing lies outside."""
    grown: Mask = mask.copy()
    for axis, radius in enumerate(radii):
        source = mask if cross else grown.copy()
        for step in range(1, radius + 1):
            low, high = _shifted(axis, step)
            grown[high] |= source[low]
            grown[low] |= source[high]
    return grown


def erode(mask: Mask, radii: tuple[int, int, int]) -> Mask:
    """Erosion by a box of `radii` voxels (z, y, x); the mask goes on beyond the array."""
    return ~dilate(~mask, radii)


def label(mask: Mask, *, planes: bool = False) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Connected components by faces, in space or plane by plane of the first axis.

    Returns
    -------
    labels
        int32, of the mask's shape: 0 outside the mask, then 1, 2, ... in order of the arrays.
    sizes
        Voxels of every label; `sizes[0]` counts those outside the mask.
    """
    padded = np.pad(mask, 1)
    labels = np.zeros(padded.shape, np.int32)
    stack, sizes = np.empty(mask.size, np.int64), np.empty(mask.size + 1, np.int64)
    count = _label(padded, planes, labels, stack, sizes)
    sizes[0] = mask.size - sizes[1 : count + 1].sum()
    return np.ascontiguousarray(labels[1:-1, 1:-1, 1:-1]), sizes[: count + 1].copy()


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
    values, out
        `(nz, ny, nx)` int16, C-contiguous; may be the same array.
    mask
        Blocks to keep, in the shape that `block_means` gives for `factors`.
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
    shallow = (classes == RIM) | (classes == SKIN)
    starts = deep & dilate(shallow, (0, 1, 1), cross=True)
    counts = np.zeros((values.shape[0], 2), np.int64)

    def task(start: int, stop: int) -> None:
        _cut(
            *(
                values,
                classes,
                starts,
                *factors,
                out,
                background,
                tissue,
                rise,
                air,
                padding,
                dense,
            ),
            *(counts, start, stop),
        )

    _run(task, values.shape[0], threads)
    dense_count, padding_count = counts.sum(axis=0).tolist()
    return dense_count, padding_count


def _run(task: Callable[[int, int], object], count: int, threads: int | None) -> None:
    threads = threads or available_cpus()
    # More ranges than threads: slices cost unequally.
    run(task, split(count, 4 * threads), threads)


def _shifted(axis: int, step: int) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    low = [slice(None)] * 3
    high = [slice(None)] * 3
    low[axis], high[axis] = slice(None, -step), slice(step, None)
    return tuple(low), tuple(high)


@jit
def _block_means(values, fz, fy, fx, floor, ceiling, means, maxima, start, stop):
    nz, ny, nx = values.shape
    _, by, bx = means.shape
    total = np.empty(nx, np.int32)
    highest = np.empty(nx, np.int16)
    low, high = np.int16(floor), np.int16(ceiling)
    for k in range(start, stop):
        z0, z1 = k * fz, min(k * fz + fz, nz)
        for j in range(by):
            y0, y1 = j * fy, min(j * fy + fy, ny)
            total[:] = 0
            highest[:] = np.int16(-32768)
            # Rows are summed before columns: these loops become vector instructions.
            for z in range(z0, z1):
                for y in range(y0, y1):
                    row = values[z, y]
                    for x in range(nx):
                        total[x] += min(max(row[x], low), high)
                    for x in range(nx):
                        highest[x] = max(highest[x], row[x])
            rows = (z1 - z0) * (y1 - y0)
            for i in range(bx):
                x0, x1 = i * fx, min(i * fx + fx, nx)
                s = 0
                m = np.int16(-32768)
                for x in range(x0, x1):
                    s += total[x]
                    m = max(m, highest[x])
                means[k, j, i] = int(s / (rows * (x1 - x0)))
                maxima[k, j, i] = m


@jit
def _label(padded, planes, labels, stack, sizes):
    """Flood fill; the padded mask has a border of False, so that no step leaves the array."""
    _, py, px = padded.shape
    inside = padded.reshape(-1)
    flat = labels.reshape(-1)
    steps = (1, -1, px, -px, px * py, -px * py)
    faces = 4 if planes else 6
    count = 0
    for seed in range(inside.size):
        if not inside[seed] or flat[seed] != 0:
            continue
        count += 1
        flat[seed] = count
        stack[0] = seed
        top, size = 1, 0
        while top > 0:
            top -= 1
            size += 1
            p = stack[top]
            for face in range(faces):
                q = p + steps[face]
                if inside[q] and flat[q] == 0:
                    flat[q] = count
                    stack[top] = q
                    top += 1
        sizes[count] = size
    return count


@jit
def _walk(plane, judged, first, along, across, inside, skin, factor, tissue, rise, air, padding):
    """Judge the skin beyond a block that is certainly inside: even is body, odd is not.

    `plane` and `judged` are flat; the walk starts at `first`, takes `inside` steps of `along`
    through the block, to learn whether it comes from tissue or from lung, and `skin` steps beyond.
    Where walks meet, the one that came the shorter way, in eighths of a block, judges: a couch top
    that one walk follows from where it touches the back is seen by another across the gap.
    """
    before, within, beyond, over = 0, 1, 2, 3
    state = before
    lowest = 0
    for step in range(inside + skin):
        p = first + step * along
        if state != over:
            # Sums with both neighbours across the walk: noise makes no false surfaces.
            value = max(plane[p], padding)
            value += max(plane[p - across], padding)
            value += max(plane[p + across], padding)
            if state == before:
                if value >= tissue:
                    state = within
            elif state == within:
                if value < tissue:
                    state, lowest = beyond, value
            else:
                lowest = min(lowest, value)
            if state == beyond and (value > lowest + rise or value < air):
                state = over
        if step >= inside:
            judgement = (step - inside) * 8 // factor * 2 + (state == over)
            if judgement < judged[p]:
                judged[p] = judgement


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
def _judge(plane, judged, kinds, starts, fy, fx, ny, nx, tissue, rise, air, padding):
    """Walk outward from all blocks of one plane that are certainly inside."""
    by, bx = kinds.shape
    limits = (3 * tissue, 3 * rise, 3 * air, padding)
    for j in range(by):
        y0, y1 = j * fy, min(j * fy + fy, ny)
        for i in range(bx):
            if not starts[j, i]:
                continue
            x0, x1 = i * fx, min(i * fx + fx, nx)
            up, down = _skin_beyond(kinds, j, i, -1, 0), _skin_beyond(kinds, j, i, 1, 0)
            left, right = _skin_beyond(kinds, j, i, 0, -1), _skin_beyond(kinds, j, i, 0, 1)
            if up or down:
                for x in range(x0, x1):
                    across = 1 if 0 < x < nx - 1 else 0
                    if up:
                        first = (y1 - 1) * nx + x
                        _walk(plane, judged, first, -nx, across, y1 - y0, up * fy, fy, *limits)
                    if down:
                        first = y0 * nx + x
                        skin = min(down * fy, ny - y1)
                        _walk(plane, judged, first, nx, across, y1 - y0, skin, fy, *limits)
            if left or right:
                for y in range(y0, y1):
                    across = nx if 0 < y < ny - 1 else 0
                    if left:
                        first = y * nx + x1 - 1
                        _walk(plane, judged, first, -1, across, x1 - x0, left * fx, fx, *limits)
                    if right:
                        first = y * nx + x0
                        skin = min(right * fx, nx - x1)
                        _walk(plane, judged, first, 1, across, x1 - x0, skin, fx, *limits)


@jit
def _cut(
    values,
    classes,
    starts,
    fz,
    fy,
    fx,
    out,
    background,
    tissue,
    rise,
    air,
    padding,
    dense,
    counts,
    start,
    stop,
):
    _, ny, nx = values.shape
    bx = classes.shape[2]
    judged = np.empty((ny, nx), np.uint8)
    fill = np.int16(background)
    for z in range(start, stop):
        k = z // fz
        judged[:] = UNJUDGED
        _judge(
            *(values[z].reshape(-1), judged.reshape(-1), classes[k], starts[k], fy, fx, ny, nx),
            *(tissue, rise, air, padding),
        )
        n_dense = 0
        n_padding = 0
        for y in range(ny):
            j = y // fy
            i = 0
            while i < bx:
                kind = classes[k, j, i]
                x0 = i * fx
                while i < bx and classes[k, j, i] == kind:
                    i += 1
                x1 = min(i * fx, nx)
                # Loops from zero over slices become vector instructions, others do not.
                old, new = values[z, y, x0:x1], out[z, y, x0:x1]
                if kind == INSIDE:
                    for x in range(old.size):
                        new[x] = old[x]
                elif kind == OUTSIDE:
                    for x in range(old.size):
                        n_dense += old[x] > dense
                        n_padding += old[x] <= padding
                    for x in range(old.size):
                        new[x] = fill
                else:
                    verdict = judged[y, x0:x1]
                    alone = kind == RIM
                    for x in range(old.size):
                        beyond = verdict[x] % 2 == 1 or (alone and verdict[x] == UNJUDGED)
                        if beyond or old[x] <= padding:
                            n_dense += old[x] > dense
                            n_padding += old[x] <= padding
                            new[x] = fill
                        else:
                            new[x] = old[x]
        counts[z, 0] = n_dense
        counts[z, 1] = n_padding
