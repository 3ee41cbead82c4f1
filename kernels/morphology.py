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

# Classes of a block in `cut`.
OUTSIDE, SKIN, INSIDE = 0, 1, 2


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
    grown = mask.copy()
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
    labels = np.zeros(mask.shape, np.int32)
    count = _label(np.ascontiguousarray(mask), planes, labels, np.empty(mask.size, np.int64))
    return labels, np.bincount(labels.ravel(), minlength=count + 1)


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
    near = dilate(mask, (1, 1, 1), cross=True)
    classes = np.where(deep, INSIDE, np.where(near, SKIN, OUTSIDE)).astype(np.uint8)
    counts = np.zeros((values.shape[0], 2), np.int64)

    def task(start: int, stop: int) -> None:
        _cut(
            *(values, classes, *factors, out, background, tissue, rise, air, padding, dense),
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
def _block_means(values, fz, fy, fx, floor, ceiling, means, maxima, start, stop):  # type: ignore[no-untyped-def]
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
def _label(mask, planes, labels, stack):  # type: ignore[no-untyped-def]
    nz, ny, nx = mask.shape
    inside = mask.reshape(-1)
    flat = labels.reshape(-1)
    count = 0
    for seed in range(inside.size):
        if not inside[seed] or flat[seed] != 0:
            continue
        count += 1
        flat[seed] = count
        stack[0] = seed
        top = 1
        while top > 0:
            top -= 1
            p = stack[top]
            x = p % nx
            y = (p // nx) % ny
            z = p // (nx * ny)
            for face in range(4 if planes else 6):
                if face == 0:
                    ok, q = x > 0, p - 1
                elif face == 1:
                    ok, q = x < nx - 1, p + 1
                elif face == 2:
                    ok, q = y > 0, p - nx
                elif face == 3:
                    ok, q = y < ny - 1, p + nx
                elif face == 4:
                    ok, q = z > 0, p - nx * ny
                else:
                    ok, q = z < nz - 1, p + nx * ny
                if ok and inside[q] and flat[q] == 0:
                    flat[q] = count
                    stack[top] = q
                    top += 1
    return count


@jit
def _walk(values, z, k, y, x, dy, dx, classes, fy, fx, tissue, rise, air, padding, reached):  # type: ignore[no-untyped-def]
    """Mark voxels from the first skin voxel (y, x) outward: 1 body, 2 beyond the surface."""
    _, ny, nx = values.shape
    before, across, beyond, over = 0, 1, 2, 3
    state = before
    lowest = 0.0
    # The walk starts one voxel inside, to learn whether it comes from tissue or from lung.
    y, x = y - dy, x - dx
    first = True
    while 0 <= y < ny and 0 <= x < nx:
        if not first and classes[k, y // fy, x // fx] != SKIN:
            return
        if state != over:
            # The mean with both neighbours across the walk: noise makes no false surfaces.
            total = 0
            for side in range(-1, 2):
                sy, sx = min(max(y + side * dx, 0), ny - 1), min(max(x + side * dy, 0), nx - 1)
                total += max(values[z, sy, sx], padding)
            value = total / 3.0
            if state == before:
                if value >= tissue:
                    state = across
            elif state == across:
                if value < tissue:
                    state, lowest = beyond, value
            else:
                lowest = min(lowest, value)
            if state == beyond and (value > lowest + rise or value < air):
                state = over
        if not first:
            if state != over:
                reached[y, x] = 1
            elif reached[y, x] == 0:
                reached[y, x] = 2
        first = False
        y, x = y + dy, x + dx


@jit
def _cut(  # type: ignore[no-untyped-def]
    values,
    classes,
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
    _, by, bx = classes.shape
    reached = np.empty((ny, nx), np.uint8)
    fill = np.int16(background)
    for z in range(start, stop):
        k = z // fz
        reached[:] = 0
        for j in range(by):
            y0, y1 = j * fy, min(j * fy + fy, ny)
            for i in range(bx):
                if classes[k, j, i] != INSIDE:
                    continue
                x0, x1 = i * fx, min(i * fx + fx, nx)
                up = j > 0 and classes[k, j - 1, i] == SKIN
                down = j < by - 1 and classes[k, j + 1, i] == SKIN
                for x in range(x0, x1):
                    if up:
                        _walk(
                            values,
                            z,
                            k,
                            y0 - 1,
                            x,
                            -1,
                            0,
                            classes,
                            fy,
                            fx,
                            tissue,
                            rise,
                            air,
                            padding,
                            reached,
                        )
                    if down:
                        _walk(
                            values,
                            z,
                            k,
                            y1,
                            x,
                            1,
                            0,
                            classes,
                            fy,
                            fx,
                            tissue,
                            rise,
                            air,
                            padding,
                            reached,
                        )
                left = i > 0 and classes[k, j, i - 1] == SKIN
                right = i < bx - 1 and classes[k, j, i + 1] == SKIN
                for y in range(y0, y1):
                    if left:
                        _walk(
                            values,
                            z,
                            k,
                            y,
                            x0 - 1,
                            0,
                            -1,
                            classes,
                            fy,
                            fx,
                            tissue,
                            rise,
                            air,
                            padding,
                            reached,
                        )
                    if right:
                        _walk(
                            values,
                            z,
                            k,
                            y,
                            x1,
                            0,
                            1,
                            classes,
                            fy,
                            fx,
                            tissue,
                            rise,
                            air,
                            padding,
                            reached,
                        )
        n_dense = 0
        n_padding = 0
        for y in range(ny):
            j = y // fy
            source, target = values[z, y], out[z, y]
            i = 0
            while i < bx:
                kind = classes[k, j, i]
                x0 = i * fx
                while i < bx and classes[k, j, i] == kind:
                    i += 1
                x1 = min(i * fx, nx)
                if kind == INSIDE:
                    for x in range(x0, x1):
                        target[x] = source[x]
                elif kind == OUTSIDE:
                    for x in range(x0, x1):
                        n_dense += source[x] > dense
                        n_padding += source[x] <= padding
                        target[x] = fill
                else:
                    for x in range(x0, x1):
                        value = source[x]
                        if reached[y, x] == 2 or value <= padding:
                            n_dense += value > dense
                            n_padding += value <= padding
                            target[x] = fill
                        else:
                            target[x] = value
        counts[z, 0] = n_dense
        counts[z, 1] = n_padding
