"""Separable blur of an image by symmetric taps, one row at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.jit import jit, uint64
from drr.kernels.cpu.threads import available_cpus, run, split

__all__ = ["convolve"]


def convolve(
    image: NDArray[np.float32],
    down: NDArray[np.floating],
    across: NDArray[np.floating],
    *,
    threads: int | None = None,
) -> NDArray[np.float32]:
    """Blur along columns with `down` and along rows with `across`; borders mirror the image.

    Parameters
    ----------
    image
        `(rows, columns)` float32, C-contiguous.
    down, across
        One-sided taps of `drr.kernels.blur`.
    threads
        CPU threads; all available ones by default. The image is the same for any number.

    Returns
    -------
    `(rows, columns)` float32, a new array.
    """
    out = np.empty_like(image)
    along_columns, along_rows = (np.asarray(taps, np.float32) for taps in (down, across))
    threads = available_cpus() if threads is None else threads

    rows, columns = image.shape
    reach = along_rows.size - 1

    def task(start: int, stop: int) -> None:
        _convolve(
            *(image.reshape(-1), rows, columns, along_columns, along_rows, reach),
            *(np.empty(columns + 2 * reach, np.float32), out.reshape(-1), start, stop),
        )

    run(task, split(rows, threads), threads)
    return out


@jit(inline=True)
def _mirrored(index, count):
    index %= 2 * count
    return index if index < count else 2 * count - 1 - index


@jit(fast=True)
def _convolve(image, rows, columns, down, across, reach, padded, out, start, stop):
    # With unsigned indices these loops become vector instructions.
    width, first = uint64(columns), uint64(reach)
    for i in range(start, stop):
        line, weight = uint64(i * columns), down[0]
        for x in range(width):
            padded[first + x] = weight * image[line + x]
        for k in range(1, down.size):
            above = uint64(_mirrored(i - k, rows) * columns)
            below = uint64(_mirrored(i + k, rows) * columns)
            weight = down[k]
            for x in range(width):
                padded[first + x] += weight * (image[above + x] + image[below + x])
        for k in range(reach):
            padded[reach - 1 - k] = padded[reach + _mirrored(-1 - k, columns)]
            padded[reach + columns + k] = padded[reach + _mirrored(columns + k, columns)]
        weight = across[0]
        for x in range(width):
            out[line + x] = weight * padded[first + x]
        for k in range(1, across.size):
            left, right = uint64(reach - k), uint64(reach + k)
            weight = across[k]
            for x in range(width):
                out[line + x] += weight * (padded[left + x] + padded[right + x])
