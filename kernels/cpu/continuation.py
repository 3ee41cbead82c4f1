"""Writing voxels where a scan has none: beyond its ends, and beyond its round field of view."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.jit import float32 as f4
from drr.kernels.cpu.jit import jit
from drr.kernels.cpu.threads import available_cpus, run, split

__all__ = ["blend_slices", "fill_sides", "running_means"]


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
    sector: NDArray[np.int16],
    share: NDArray[np.float32],
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
    radius, sector, share
        `(ny, nx)` distance of every column of voxels from the middle, the sector whose middle is
        the last before it, and how far it is on the way to the next one's.
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
    following = (sector + 1) % edge.size
    limit = (1 - share) * edge[sector] + share * edge[following]
    # Few columns of voxels can be filled in any slice.
    reach = outline.max(axis=0)
    wanted = (radius > limit) & (radius < np.maximum(reach[sector], reach[following]))
    places = np.flatnonzero(wanted.ravel()).astype(np.int32)
    where: tuple[Any, ...] = tuple(
        a.ravel()[places] for a in (radius, limit, sector, following, share)
    )

    def task(start: int, stop: int) -> None:
        fill = values, places, *where, outline, inner, f4(outer), background, f4(fade), start, stop
        _fill_sides(*fill)

    run(task, split(len(values), 4 * threads), threads)


def running_means(image: NDArray[Any], radius: int, times: int) -> NDArray[Any]:
    """Means along the first axis over 2 * radius + 1 elements, those inside the array, repeated.

    Parameters
    ----------
    image
        `(n, m)` float32 or float64; the result is of the same type.
    """
    first, second = np.ascontiguousarray(image), np.empty_like(image, order="C")
    for _ in range(times):
        _running_means(first, radius, second)
        # The image itself is not written to.
        first, second = second, np.empty_like(second) if first is image else first
    return first


@jit
def _running_means(image, radius, out):
    n, m = image.shape
    total = np.zeros(m, image.dtype)
    nothing = np.zeros(m, image.dtype)
    for row in range(min(radius, n)):
        line = image[row]
        for x in range(m):
            total[x] += line[x]
    for row in range(n):
        entering = image[row + radius] if row + radius < n else nothing
        leaving = image[row - radius - 1] if row > radius else nothing
        share = image.dtype.type(1.0 / (min(row + radius + 1, n) - max(row - radius, 0)))
        line = out[row]
        for x in range(m):
            new = total[x] + (entering[x] - leaving[x])
            total[x] = new
            line[x] = share * new


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
    values,
    places,
    radius,
    limit,
    sector,
    following,
    share,
    outline,
    inner,
    outer,
    background,
    fade,
    start,
    stop,
):
    for z in range(start, stop):
        plane = values[z].reshape(-1)
        for n in range(places.size):
            a, b, f = sector[n], following[n], share[n]
            reach = (f4(1) - f) * outline[z, a] + f * outline[z, b]
            inside = reach - radius[n]
            if inside <= f4(0) or plane[places[n]] > background:
                continue
            at_edge = (f4(1) - f) * inner[z, a] + f * inner[z, b]
            tissue = outer + inside / (reach - limit[n]) * (at_edge - outer)
            part = min(inside / fade, f4(1))
            value = f4(background) + part * (tissue - f4(background))
            plane[places[n]] = np.int16(np.floor(value + f4(0.5)))
