"""Means and maxima of blocks of voxels, from a sample of their rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import float32, int16, jit, uint64
from drr.kernels.cpu.compiler.vectors import fetch
from drr.threads import available_cpus, run, split

__all__ = ["block_means"]


def block_means(
    values: NDArray[np.int16],
    factors: tuple[int, int, int],
    *,
    floor: int,
    ceiling: int,
    every: tuple[int, int] = (1, 1),
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
    every
        Look at every so-manieth slice and row of a block only, in the middle of so many each.
    threads
        CPU threads; all available ones by default.

    Returns
    -------
    means, maxima
        `(ceil(nz/fz), ceil(ny/fy), ceil(nx/fx))` int16; means are rounded towards zero.
    """
    shape = tuple(-(-n // f) for n, f in zip(values.shape, factors, strict=True))
    means = np.empty(shape, np.int16)
    maxima = np.empty(shape, np.int16)
    threads = threads or available_cpus()
    # Sums of columns of voxels in as few bits as they fit: vectors take more of them at a time.
    rows = -(-factors[0] // every[0]) * -(-factors[1] // every[1])
    fits = rows * factors[2] * max(abs(floor), abs(ceiling)) < 2**15
    sums = np.int16 if fits else np.int32
    padded = (shape[2] + 1) * factors[2]
    sizes = np.array([*values.shape, *factors, *every, *shape[1:]], np.int64)
    limits = np.array([floor, ceiling], np.int16)

    def task(start: int, stop: int) -> None:
        # A last block that holds fewer voxels is filled up with values that change nothing.
        columns = np.zeros(padded, sums), np.full(padded, -32768, np.int16)
        blocks = np.empty(padded, sums), np.empty(padded, np.int16)
        _block_means(
            *(values.reshape(-1), sizes, limits, *columns, *blocks),
            *(means.reshape(-1), maxima.reshape(-1), start, stop),
        )

    # More ranges than threads: another process may hold one up.
    run(task, split(shape[0], 4 * threads), threads)
    return means, maxima


@jit
def _block_means(
    flat, sizes, limits, total, highest, block_total, block_highest, means, maxima, start, stop
):  # fmt: skip
    """Of planes of blocks, one row of blocks at a time: `total` and `highest` are of its columns.

    Rows are summed before columns, and as many columns as a block has from each one on, of which
    few are needed. With unsigned indices such loops become vector instructions.

    `sizes` (10,) int64 are along z, y and x the voxels and those of a block, then `every`, and the
    blocks along y and x; `limits` (2,) int16 are floor and ceiling.
    """
    nz, ny, nx, fz, fy, fx = sizes[0], sizes[1], sizes[2], sizes[3], sizes[4], sizes[5]
    dz, dy, by, bx = sizes[6], sizes[7], sizes[8], sizes[9]
    low, high = limits[0], limits[1]
    width, factor = uint64(nx), uint64(fx)
    for block_row in range(start * by, stop * by):
        k, j = block_row // by, block_row % by
        z0, z1, y0, y1 = k * fz, min(k * fz + fz, nz), j * fy, min(j * fy + fy, ny)
        z0, y0 = z0 + (min(dz, z1 - z0) - 1) // 2, y0 + (min(dy, y1 - y0) - 1) // 2
        # The next rows are on their way when they are due.
        for z in range(z0, z1, dz):
            for y in range(y1 + (min(dy, fy) - 1) // 2, min(y1 + fy, ny), dy):
                fetch(flat, (z * ny + y) * nx, nx)
        for x in range(width):
            total[x] = 0
            highest[x] = -32768
        rows = 0
        for z in range(z0, z1, dz):
            for y in range(y0, y1, dy):
                row = uint64((z * ny + y) * nx)
                for x in range(width):
                    value = flat[row + x]
                    total[x] += min(max(value, low), high)
                    highest[x] = max(highest[x], value)
                rows += 1
        columns = uint64(bx * fx)
        for x in range(columns):
            block_total[x] = total[x]
            block_highest[x] = highest[x]
        for d in range(uint64(1), factor):
            for x in range(columns):
                block_total[x] += total[x + d]
                block_highest[x] = max(block_highest[x], highest[x + d])
        for i in range(bx):
            count = float32(rows * min(fx, nx - i * fx))
            means[uint64(block_row * bx + i)] = int16(float32(block_total[uint64(i * fx)]) / count)
            maxima[uint64(block_row * bx + i)] = block_highest[uint64(i * fx)]
