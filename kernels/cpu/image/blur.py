"""Separable blur of an image by symmetric taps, one row at a time."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import jit
from drr.threads import available_cpus, run, split

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
        One-sided taps of `drr.kernels.cpu.image.taps`.
    threads
        CPU threads; all available ones by default. The image is the same for any number.

    Returns
    -------
    `(rows, columns)` float32, a new array.
    """
    out = np.empty_like(image)
    along_columns, along_rows = (np.asarray(taps, np.float32) for taps in (down, across))
    threads = available_cpus() if threads is None else threads

    def task(start: int, stop: int) -> None:
        padded = np.empty(image.shape[1] + 2 * (along_rows.size - 1), np.float32)
        _convolve(image, along_columns, along_rows, padded, out, start, stop)

    run(task, split(image.shape[0], threads), threads)
    return out


@jit(inline=True)
def _mirrored(index, count):
    index %= 2 * count
    return index if index < count else 2 * count - 1 - index


@jit(fast=True)
def _convolve(image, down, across, padded, out, start, stop):
    rows, columns = image.shape
    reach = across.size - 1
    for i in range(start, stop):
        middle = padded[reach : reach + columns]
        source = image[i]
        weight = down[0]
        for j in range(columns):
            middle[j] = weight * source[j]
        for k in range(1, down.size):
            above = image[_mirrored(i - k, rows)]
            below = image[_mirrored(i + k, rows)]
            weight = down[k]
            for j in range(columns):
                middle[j] += weight * (above[j] + below[j])
        for k in range(reach):
            padded[reach - 1 - k] = middle[_mirrored(-1 - k, columns)]
            padded[reach + columns + k] = middle[_mirrored(columns + k, columns)]
        target = out[i]
        weight = across[0]
        for j in range(columns):
            target[j] = weight * middle[j]
        for k in range(1, across.size):
            left = padded[reach - k : reach - k + columns]
            right = padded[reach + k : reach + k + columns]
            weight = across[k]
            for j in range(columns):
                target[j] += weight * (left[j] + right[j])
