"""Writing voxels where a scan has none: beyond its ends, and beyond its round field of view."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.compiler.jit import float32 as f4
from drr.kernels.cpu.compiler.jit import int32, jit, uint64
from drr.threads import available_cpus, run, split

__all__ = [
    "blend_slices",
    "blur_inside",
    "fill_sides",
    "last_on_rays",
    "may_be_filled",
    "mean_slice",
    "running_means",
]

# Voxels of each slice that are blended, or averaged, at a time.
_STRETCH = 2048
# A standard deviation of a blur has so many blocks of pixels; finer detail it does not leave.
_BLOCKS = 3


def blend_slices(
    slices: NDArray[np.float32],
    weights: NDArray[np.float32],
    out: NDArray[np.int16],
    *,
    threads: int | None = None,
) -> None:
    """Write weighted sums of three slices.

    Parameters
    ----------
    slices
        `(3, ny, nx)` float32.
    weights
        `(n, 3)` float32; row k makes slice k of `out`.
    out
        `(n, ny, nx)` int16, C-contiguous but for its first axis, which may run backward; sums are
        rounded to the nearest, halves up.
    """
    if out.strides[0] < 0:
        out, weights = out[::-1], weights[::-1]
    flat, weights = out.reshape(-1), np.ascontiguousarray(weights).reshape(-1)
    sources = slices.reshape(3, -1)
    size = sources.shape[1]
    threads = threads or available_cpus()

    def task(start: int, stop: int) -> None:
        _blend_slices(*sources, weights, size, flat, len(out), start, stop)

    run(task, split(-(-size // _STRETCH), 4 * threads), threads)


def blur_inside(
    image: NDArray[np.float32],
    inside: NDArray[np.bool_],
    sigmas: tuple[float, float],
    blurred: NDArray[np.float32],
) -> None:
    """Blur what is inside a mask with nothing but itself, so that its edge stays where it is.

    Nearly Gaussian: three running means along each axis, of means of blocks of pixels. W. M.
    Wells, "Efficient synthesis of Gaussian filters by cascaded uniform filters", IEEE Trans.
    Pattern Anal. Mach. Intell. 1986. What is outside stays as it is.

    Parameters
    ----------
    image, inside
        `(ny, nx)`, C-contiguous.
    sigmas
        Standard deviations along y and x, in pixels.
    blurred
        `(ny, nx)` float32, C-contiguous, to write to.
    """
    ny, nx = image.shape
    sy, sx = (max(1, int(sigma / _BLOCKS)) for sigma in sigmas)
    rows, columns = -(-ny // sy), -(-nx // sx)
    # Sums and how many pixels they are of, side by side, for one pass along an axis takes both.
    both, total = np.empty((rows, 2 * columns), np.float32), np.empty(2 * nx, np.float32)
    flat, mask = image.reshape(-1), inside.view(np.uint8).reshape(-1)
    _sum_blocks(flat, mask, ny, nx, sy, sx, total, both.reshape(-1))
    both = running_means(both, _radii(sigmas[0] / sy)).reshape(rows, 2, columns)
    both = running_means(both.T.reshape(columns, 2 * rows), _radii(sigmas[1] / sx))
    sums, shares = both.reshape(columns, 2, rows).transpose(1, 2, 0)
    means = sums / np.maximum(shares, np.float32(1e-6))
    # Linear between the middles of blocks: along rows here, across them pixel by pixel.
    left, part = _between(nx, sx, columns)
    wide = means[:, left] * (1 - part) + means[:, np.minimum(left + 1, columns - 1)] * part
    above, part = _between(ny, sy, rows)
    _spread(wide.reshape(-1), flat, mask, nx, above, part, rows, blurred.reshape(-1))


def _radii(sigma: float) -> tuple[int, int, int]:
    """Of three running means over 2 r + 1, whose variances, r (r + 1) / 3, make up the blur's."""
    r = max(0, math.floor(math.sqrt(sigma**2 + 0.25) - 0.5))
    larger = round(3 * (sigma**2 - r * (r + 1)) / (2 * (r + 1)))
    first, second, third = (r + (n < larger) for n in range(3))
    return first, second, third


def _between(count: int, size: int, blocks: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """For each pixel the last block whose middle is not beyond it, and how far on it is."""
    at = np.clip((np.arange(count) + 0.5) / size - 0.5, 0, blocks - 1)
    block = at.astype(np.int32)
    return block, (at - block).astype(np.float32)


def may_be_filled(
    radius: NDArray[np.float32],
    sector: NDArray[np.int16],
    share: NDArray[np.float32],
    edge: NDArray[np.float32],
    outline: NDArray[np.float32],
) -> NDArray[np.bool_]:
    """`(n,)` which columns of voxels lie between edge and outline in any slice; few do.

    Parameters are those of `fill_sides`.
    """
    reach = outline.max(axis=0)
    furthest = np.maximum(reach, np.roll(reach, -1))
    return np.asarray((radius > _edge_at(edge, sector, share)) & (radius < furthest[sector]))


def _edge_at(
    edge: NDArray[np.float32], sector: NDArray[np.int16], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    """The edge on the way from each sector to the next."""
    return (1 - share) * edge[sector] + share * edge[(sector + 1) % edge.size]


def fill_sides(
    values: NDArray[np.int16],
    places: NDArray[np.integer],
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
    places
        `(n,)` the columns of voxels to fill, y * nx + x: some of those that `may_be_filled`.
    radius, sector, share
        `(n,)` distance of these from the middle, the sector whose middle is the last before each,
        and how far it is on the way to the next one's.
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
    # By sector, for in most slices only few sectors grow.
    order = np.argsort(sector, kind="stable")
    places, radius = places[order].astype(np.int32), radius[order]
    sector, share = sector[order], share[order]
    limit = _edge_at(edge, sector, share)
    first = np.searchsorted(sector, np.arange(edge.size + 1))
    where = first, places, radius, limit, share
    flat, pitch = values.reshape(-1), values.shape[1] * values.shape[2]
    tables = edge, outline.reshape(-1), inner.reshape(-1)
    levels = np.array([outer, background, fade], np.float32)

    def task(start: int, stop: int) -> None:
        _fill_sides(flat, pitch, *where, *tables, levels, start, stop)

    run(task, split(len(values), 4 * threads), threads)


def last_on_rays(
    mask: NDArray[np.bool_], places: NDArray[np.integer], seen: NDArray[np.bool_]
) -> NDArray[np.int32]:
    """The last sample along rays that lies in a mask, and is seen.

    Parameters
    ----------
    mask
        `(nz, ny, nx)`.
    places
        `(rays, samples)` where the samples of every ray lie in any plane, y * nx + x.
    seen
        `(rays, samples)` which of them count.

    Returns
    -------
    `(nz, rays)` its number counted from one; zero where there is none.
    """
    planes, (rays, samples) = len(mask), places.shape
    last = np.empty((planes, rays), np.int32)
    flat = np.ascontiguousarray(mask).view(np.uint8).reshape(-1)
    _last_on_rays(
        *(flat, planes, mask.shape[1] * mask.shape[2]),
        *(places.astype(np.int32).reshape(-1), seen.view(np.uint8).reshape(-1)),
        *(rays, samples, last.reshape(-1)),
    )
    return last


def mean_slice(values: NDArray[np.int16], low: int, high: int, mean: NDArray[np.float32]) -> None:
    """Mean of slices, their values clamped to a range.

    Parameters
    ----------
    values
        `(n, ny, nx)` int16, C-contiguous but for its first axis, which may run backward; no more
        than thousands of slices.
    mean
        `(ny, nx)` float32, C-contiguous, to write to.
    """
    if values.strides[0] < 0:
        values = values[::-1]
    limits, total = (np.int16(low), np.int16(high)), np.empty(_STRETCH, np.int32)
    _mean_slice(values.reshape(-1), len(values), mean.size, *limits, total, mean.reshape(-1))


def running_means(image: NDArray[Any], radii: Sequence[int]) -> NDArray[Any]:
    """Means along the first axis over 2 r + 1 elements, those inside the array, for each r in turn.

    Parameters
    ----------
    image
        `(n, m)` float32 or float64; it is written to if it is C-contiguous.

    Returns
    -------
    `(n, m)` of the same type: the image, or a new array.
    """
    n, m = image.shape
    # Flat views of anything else would be copies, and what kernels write to those is lost.
    image = np.ascontiguousarray(image)
    other = np.empty_like(image)
    places = np.arange(n)
    for radius in (min(radius, n) for radius in radii):
        inside = np.minimum(places + radius + 1, n) - np.maximum(places - radius, 0)
        shares, total = (1.0 / inside).astype(image.dtype), np.zeros(m, image.dtype)
        _running_means(image.reshape(-1), n, m, radius, shares, total, other.reshape(-1))
        image, other = other, image
    return image


@jit
def _running_means(image, n, m, radius, shares, total, out):
    """A running total per column; with unsigned indices such loops become vector instructions."""
    for row in range(-radius, n):
        entering, leaving = uint64((row + radius) * m), uint64((row - radius - 1) * m)
        if row + radius >= n and row > radius:
            for x in range(uint64(m)):
                total[x] -= image[leaving + x]
        elif row > radius:
            for x in range(uint64(m)):
                total[x] += image[entering + x] - image[leaving + x]
        elif row + radius < n:
            for x in range(uint64(m)):
                total[x] += image[entering + x]
        if row >= 0:
            share, new = shares[row], uint64(row * m)
            for x in range(uint64(m)):
                out[new + x] = share * total[x]


@jit
def _sum_blocks(image, inside, ny, nx, sy, sx, total, both):
    """Of blocks of pixels, the sum of those inside, then how many these are, row by row."""
    columns, width = (nx + sx - 1) // sx, uint64(nx)
    for row in range((ny + sy - 1) // sy):
        for x in range(2 * width):
            total[x] = 0
        for y in range(row * sy, min(row * sy + sy, ny)):
            here = uint64(y * nx)
            for x in range(width):
                share = f4(inside[here + x])
                total[x] += share * image[here + x]
                total[width + x] += share
        for column in range(columns):
            first, end = column * sx, min(column * sx + sx, nx)
            for half in range(2):
                sum_ = f4(0)
                for x in range(first, end):
                    sum_ += total[uint64(half * nx + x)]
                both[uint64((2 * row + half) * columns + column)] = sum_


@jit
def _spread(wide, image, inside, nx, above, part, rows, out):
    for y in range(above.size):
        upper, lower = uint64(above[y] * nx), uint64(min(above[y] + 1, rows - 1) * nx)
        here, share = uint64(y * nx), part[y]
        for x in range(uint64(nx)):
            first, second, outside = wide[upper + x], wide[lower + x], image[here + x]
            blurred = first + share * (second - first)
            out[here + x] = blurred if inside[here + x] else outside


@jit
def _last_on_rays(mask, planes, size, places, seen, rays, samples, last):
    for z in range(planes):
        for ray in range(rays):
            first, n = ray * samples, samples
            while n > 0:
                at = uint64(first + n - 1)
                if seen[at] and mask[uint64(z * size + places[at])]:
                    break
                n -= 1
            last[z * rays + ray] = n


@jit
def _mean_slice(values, count, size, low, high, total, mean):
    for begin in range(0, size, _STRETCH):
        length = uint64(min(_STRETCH, size - begin))
        for x in range(length):
            total[x] = 0
        for k in range(count):
            here = uint64(k * size + begin)
            for x in range(length):
                total[x] += int32(min(max(values[here + x], low), high))
        here = uint64(begin)
        for x in range(length):
            mean[here + x] = f4(total[x]) / f4(count)


@jit
def _blend_slices(first, second, third, weights, size, out, count, start, stop):
    # A stretch of the slices stays in the cache for all sums.
    for stretch in range(start, stop):
        begin = uint64(stretch * _STRETCH)
        length = uint64(min(_STRETCH, size - stretch * _STRETCH))
        for k in range(count):
            a, b, c = weights[3 * k], weights[3 * k + 1], weights[3 * k + 2]
            new = uint64(k * size) + begin
            for x in range(length):
                sum_ = f4(0.5) + a * first[begin + x]
                sum_ = sum_ + b * second[begin + x] + c * third[begin + x]
                out[new + x] = np.int16(np.floor(sum_))


@jit
def _fill_sides(
    values, pitch, first, places, radius, limit, share, edge, outline, inner, levels, start, stop
):  # fmt: skip
    outer, background, fade = levels[0], levels[1], levels[2]
    one, sectors = f4(1), edge.size
    for z in range(start, stop):
        plane, line = uint64(z * pitch), z * sectors
        for sector in range(sectors):
            following = sector + 1 if sector + 1 < sectors else 0
            a, b = line + sector, line + following
            if outline[a] <= edge[sector] and outline[b] <= edge[following]:
                continue
            for n in range(first[sector], first[sector + 1]):
                f = share[n]
                reach = (one - f) * outline[a] + f * outline[b]
                inside = reach - radius[n]
                place = plane + uint64(places[n])
                if inside <= f4(0) or values[place] > background:
                    continue
                at_edge = (one - f) * inner[a] + f * inner[b]
                tissue = outer + inside / (reach - limit[n]) * (at_edge - outer)
                part = inside / fade if inside < fade else one
                value = background + part * (tissue - background)
                values[place] = np.int16(np.floor(value + f4(0.5)))
