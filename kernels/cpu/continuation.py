"""Writing voxels where a scan has none: beyond its ends, and beyond its round field of view."""

from __future__ import annotations

import numpy as np
from numba import float32 as f4
from numpy.typing import NDArray

from drr.kernels.cpu.jit import jit
from drr.kernels.cpu.threads import available_cpus, run, split

__all__ = ["blend_slices", "fill_sides"]


def blend_slices(
    slices: NDArray[np.float32],
    weights: NDArray[np.float32],
    out: NDArray[np.int16],
    *,
    threads: int | None = None,
) -> None:
    """Write weighted sums of a few slices.

    Parameters
    ----------
    slices
        `(m, ny, nx)` float32.
    weights
        `(n, m)` float32; row k makes slice k of `out`.
    out
        `(n, ny, nx)` int16; sums are rounded to the nearest, halves up.
    """
    threads = threads or available_cpus()

    def task(start: int, stop: int) -> None:
        _blend_slices(slices, weights, out, start, stop)

    run(task, split(len(out), 4 * threads), threads)


def fill_sides(
    values: NDArray[np.int16],
    radius: NDArray[np.float32],
    angle: NDArray[np.int16],
    edge: NDArray[np.float32],
    outline: NDArray[np.float32],
    inner: NDArray[np.float32],
    *,
    outer: float,
    background: int,
    fade: float,
    threads: int | None = None,
) -> None:
    """Fill, in place, what lies between the edge of the field of view and an outline.

    Parameters
    ----------
    values
        `(nz, ny, nx)` int16. Values above `background` are left alone.
    radius, angle
        `(ny, nx)` distance of every column of voxels from the middle, and its sector.
    edge
        `(sectors,)` radius beyond which the field of view may end.
    outline
        `(nz, sectors)` radius of the body; no more than `edge` where nothing is to be filled.
    inner
        `(nz, sectors)` value at the edge; it falls evenly to `outer` at the outline.
    fade
        The last this much within the outline falls to the background.
    """
    threads = threads or available_cpus()
    # Row by row, the columns among which any can be filled: few are.
    reach = outline.max(axis=0)
    wanted = (radius > edge[angle]) & (radius < reach[angle])
    places = np.flatnonzero(wanted.ravel()).astype(np.int32)
    where = (places, radius.ravel()[places], angle.ravel()[places])

    def task(start: int, stop: int) -> None:
        _fill_sides(
            values, *where, edge, outline, inner, f4(outer), background, f4(fade), start, stop
        )

    run(task, split(len(values), 4 * threads), threads)


@jit
def _blend_slices(slices, weights, out, start, stop):
    ny, nx = out.shape[1:]
    total = np.empty(nx, np.float32)
    for z in range(start, stop):
        for y in range(ny):
            total[:] = f4(0.5)
            for m in range(slices.shape[0]):
                weight = weights[z, m]
                if weight != f4(0):
                    row = slices[m, y]
                    for x in range(nx):
                        total[x] += weight * row[x]
            new = out[z, y]
            for x in range(nx):
                new[x] = np.int16(np.floor(total[x]))


@jit
def _fill_sides(
    values, places, radius, angle, edge, outline, inner, outer, background, fade, start, stop
):
    for z in range(start, stop):
        plane = values[z].reshape(-1)
        for n in range(places.size):
            a = angle[n]
            inside = outline[z, a] - radius[n]
            if inside <= f4(0) or plane[places[n]] > background:
                continue
            share = inside / (outline[z, a] - edge[a])
            tissue = outer + share * (inner[z, a] - outer)
            part = min(inside / fade, f4(1))
            value = f4(background) + part * (tissue - f4(background))
            plane[places[n]] = np.int16(np.floor(value + f4(0.5)))
