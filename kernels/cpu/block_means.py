"""Means and maxima of blocks of voxels, from a sample of their rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.jit import float32, int16, int64, jit, uint64
from drr.kernels.cpu.threads import available_cpus, run, split

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
        Look at every so-manieth slice and row of a block only, from its first on.
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

    def task(start: int, stop: int) -> None:
        _block_means(values, *factors, *every, floor, ceiling, means, maxima, start, stop)

    # More ranges than threads: another process may hold one up.
    run(task, split(shape[0], 4 * threads), threads)
    return means, maxima


@jit
def _block_means(values, fz, fy, fx, dz, dy, floor, ceiling, means, maxima, start, stop):
    nz, ny, nx = values.shape
    _, by, bx = means.shape
    flat, flat_means, flat_maxima = values.reshape(-1), means.reshape(-1), maxima.reshape(-1)
    # A last block that holds fewer voxels is filled up with values that change nothing.
    total = np.zeros(bx * fx, np.int32)
    highest = np.full(bx * fx, -32768, np.int16)
    low, high, factor = int16(floor), int16(ceiling), uint64(fx)
    for k in range(start, stop):
        for j in range(by):
            total[:nx] = 0
            highest[:nx] = int16(-32768)
            rows = 0
            # Rows are summed before columns: with unsigned indices these loops become vector
            # instructions.
            for z in range(k * fz, min(k * fz + fz, nz), dz):
                for y in range(j * fy, min(j * fy + fy, ny), dy):
                    row = uint64((z * ny + y) * nx)
                    for x in range(uint64(nx)):
                        total[x] += min(max(flat[row + x], low), high)
                    for x in range(uint64(nx)):
                        highest[x] = max(highest[x], flat[row + x])
                    rows += 1
            first = uint64((k * by + j) * bx)
            for i in range(uint64(bx)):
                s, m = total[i * factor], highest[i * factor]
                for n in range(uint64(1), factor):
                    s += total[i * factor + n]
                    m = max(m, highest[i * factor + n])
                columns = min(fx, nx - int64(i * factor))
                flat_means[first + i] = int16(float32(s) / float32(rows * columns))
                flat_maxima[first + i] = m
