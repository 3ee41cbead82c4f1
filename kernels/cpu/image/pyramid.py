"""Multi-scale contrast: bands of a Laplacian pyramid, amplified where they are faint.

P. J. Burt and E. H. Adelson, "The Laplacian pyramid as a compact image code", IEEE Transactions on
Communications 31 (1983) 532-540 (with a = 0.375, the binomial weights 1 4 6 4 1), and for the idea
of amplifying faint detail more than strong edges P. Vuylsteke and E. Schoeters, "Multiscale image
contrast amplification (MUSICA)", Proc. SPIE 2167 (1994) 551-560. Every pixel is computed alike
whatever the number of threads. The float64 twin is `drr.kernels.reference.pyramid.amplify_bands`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import jit
from drr.threads import available_cpus, run, split

__all__ = ["SMALLEST", "amplify_bands"]

Image = NDArray[np.float32]

SMALLEST = 4
"""Rows and columns below which a level is not divided any more."""

# Below this a level is quicker done than handed out.
_PIXELS_PER_THREAD = 1 << 14


def amplify_bands(
    image: Image, gains: Sequence[float], knee: float, *, threads: int | None = None
) -> Image:
    """Amplify the detail of each scale, and leave strong edges as they are.

    Band k holds detail with periods of some 3 to 8 times 2**k pixels. A value b of it becomes
    b (1 + (gain - 1) / (1 + (b / knee)**2)): b times gain where it is faint, b where it is much
    stronger than the knee, and never more than (gain - 1) knee / 2 stronger than it was, so that
    the halo of an edge is bounded. What is coarser than the last band stays.

    Parameters
    ----------
    image
        `(rows, columns)` float32, C-contiguous, finite.
    gains
        One a band, finest first, from 0 up to below 9: the order of values is kept. Bands that a
        small image does not have are left out.
    knee
        In the image's units, above zero.
    threads
        All available ones by default; they do not change the result.

    Returns
    -------
    `(rows, columns)` float32, a new array.
    """
    threads = available_cpus() if threads is None else threads
    levels = [image]
    for _ in gains:
        rows, columns = levels[-1].shape
        if min(rows, columns) < 2 * SMALLEST:
            break
        levels.append(np.empty(((rows + 1) // 2, (columns + 1) // 2), np.float32))
        _in_ranges(_halve, (levels[-2],), (columns + 4,), levels[-1], threads)
    changed = levels[-1]
    inverse = np.float32(1 / knee**2)
    for level in range(len(levels) - 2, -1, -1):
        finer = np.empty_like(levels[level])
        gain = np.float32(gains[level])
        half = changed.shape[1]
        arguments = levels[level], levels[level + 1], changed, gain, inverse
        scratch = half + 2, half + 2, 2 * half, 2 * half
        _in_ranges(_join, arguments, scratch, finer, threads)
        changed = finer
    return changed.copy() if changed is image else changed


def _in_ranges(
    kernel: Callable[..., None],
    arguments: tuple[Any, ...],
    scratch: tuple[int, ...],
    out: Image,
    threads: int,
) -> None:
    """Call a kernel for ranges of rows of `out`, with lines of scratch of these lengths."""
    parts = min(threads, max(1, out.size // _PIXELS_PER_THREAD))

    def task(start: int, stop: int) -> None:
        lines = [np.empty(length, np.float32) for length in scratch]
        kernel(*arguments, *lines, out, start, stop)

    run(task, split(out.shape[0], parts), threads)


@jit(inline=True)
def _mirrored(index, count):
    """Index of the row or column that stands for one just outside."""
    if index < 0:
        return -index
    return 2 * count - 2 - index if index >= count else index


@jit(fast=True)
def _halve(fine, padded, coarse, start, stop):
    """Every second pixel of the fine level, smoothed by 1 4 6 4 1 along both axes."""
    rows, columns = fine.shape
    half = coarse.shape[1]
    four, six = np.float32(4), np.float32(6)
    scale = np.float32(1 / 256)
    for row in range(start, stop):
        a = fine[_mirrored(2 * row - 2, rows)]
        b = fine[_mirrored(2 * row - 1, rows)]
        c = fine[2 * row]
        d = fine[_mirrored(2 * row + 1, rows)]
        e = fine[_mirrored(2 * row + 2, rows)]
        for x in range(columns):
            padded[x + 2] = a[x] + e[x] + four * (b[x] + d[x]) + six * c[x]
        padded[0], padded[1] = padded[4], padded[3]
        padded[columns + 2], padded[columns + 3] = padded[columns], padded[columns - 1]
        for x in range(half):
            i = 2 * x
            outer, inner = padded[i] + padded[i + 4], padded[i + 1] + padded[i + 3]
            coarse[row, x] = (outer + four * inner + six * padded[i + 2]) * scale


@jit(fast=True)
def _join(
    fine, smooth, changed, gain, inverse,
    before, after, wide_before, wide_after, out, start, stop,
):  # fmt: skip
    """Detail of the fine level over its smooth version, amplified, on the changed coarse level."""
    columns = fine.shape[1]
    rows, half = smooth.shape
    six, one = np.float32(6), np.float32(1)
    more = gain - one
    for row in range(start, stop):
        i = row // 2
        # Beyond the last row there is what stands at the last place, as in `_widen`.
        up, down = _mirrored(i - 1, rows), min(i + 1, rows - 1)
        if row % 2 == 0:
            for x in range(half):
                before[x + 1] = smooth[up, x] + six * smooth[i, x] + smooth[down, x]
                after[x + 1] = changed[up, x] + six * changed[i, x] + changed[down, x]
        else:
            for x in range(half):
                before[x + 1] = np.float32(4) * (smooth[i, x] + smooth[down, x])
                after[x + 1] = np.float32(4) * (changed[i, x] + changed[down, x])
        _widen(before, wide_before, half)
        _widen(after, wide_after, half)
        for x in range(columns):
            detail = fine[row, x] - wide_before[x]
            kept = detail + detail * more / (one + detail * detail * inverse)
            out[row, x] = wide_after[x] + kept


@jit(fast=True)
def _widen(padded, wide, half):
    """Twice as many values: 1 6 1 at those there are, 4 4 between them, of 64ths."""
    padded[0], padded[half + 1] = padded[2], padded[half]
    six, four, scale = np.float32(6), np.float32(4), np.float32(1 / 64)
    for x in range(half):
        wide[2 * x] = (padded[x] + six * padded[x + 1] + padded[x + 2]) * scale
        wide[2 * x + 1] = four * (padded[x + 1] + padded[x + 2]) * scale
