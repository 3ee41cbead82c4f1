"""The CPU back-end: one view of an int16 volume by any method, on any number of threads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.projection import ray_casting, shear_warp
from drr.kernels.cpu.projection.intermediate import Plan, dominant_axis, plan
from drr.kernels.cpu.projection.transpose import transposed_copy
from drr.kernels.cpu.projection.warp import warp
from drr.kernels.mapping import Mapping
from drr.kernels.rays import Rays
from drr.threads import available_cpus, run, split

__all__ = [
    "METHODS",
    "QUALITIES",
    "project",
    "project_channels",
    "sub_pixels",
    "transposed_copy",
]

# Independent pieces of one shear-warp, more threads than which do not help a single view; and the
# voxels that make a piece worth its while.
SLABS, LEAST = 16, 2**18
# Pixels wider than this many voxels are a slip of units; their rays stay countable.
MOST_SUB_PIXELS = 64
METHODS = ("shear-warp", "joseph", "siddon")
# By quality, how many planes of voxels at most are added up before a shear-warp resamples them, and
# how many voxels that may move one. An eighth of a voxel hardly changes an error: the distance from
# Siddon's sums grows by less than six hundredths, of noise in the worst view.
QUALITIES = {"finest": (1, 0.0), "full": (2, 0.125), "preview": (4, math.inf)}


def project(
    volume: NDArray[np.int16],
    mapping: Mapping,
    rays: Rays,
    *,
    method: str = "shear-warp",
    quality: str = "full",
    anti_aliasing: bool = True,
    threads: int | None = None,
    transposed: NDArray[np.int16] | None = None,
    undershoot: bool = False,
) -> NDArray[np.float32]:
    """Line integrals of one view; `project_channels` of a single mapping.

    Returns
    -------
    `(rows, columns)` float32, dimensionless.
    """
    return project_channels(
        volume,
        (mapping,),
        rays,
        method=method,
        quality=quality,
        anti_aliasing=anti_aliasing,
        threads=threads,
        transposed=transposed,
        undershoot=undershoot,
    )[0]


def project_channels(
    volume: NDArray[np.int16],
    mappings: Sequence[Mapping],
    rays: Rays,
    *,
    method: str = "shear-warp",
    quality: str = "full",
    anti_aliasing: bool = True,
    threads: int | None = None,
    transposed: NDArray[np.int16] | None = None,
    undershoot: bool = False,
) -> NDArray[np.float32]:
    """Line integrals of one view through several mappings of the same voxels.

    Shear-warp takes all channels of a slab before the next, so that the voxels are read from
    memory once.

    Parameters
    ----------
    volume
        `(nz, ny, nx)` int16, C-contiguous.
    mappings
        Voxel value to attenuation, one for each channel.
    rays
        The view, in the volume's index space.
    method
        `shear-warp`, `joseph` or `siddon`.
    quality
        Of a shear-warp: `finest` resamples every plane of voxels by itself, `full` two at a time
        where they are seen within an eighth of a voxel of their middle, `preview` four.
    anti_aliasing
        Whether a pixel larger than the voxels it sees is the mean of sub-pixel rays.
    threads
        Threads to use; all available CPUs by default.
    transposed
        `(nz, nx, ny)` copy of the volume (`transposed_copy`), for views along x.
    undershoot
        Whether what a shear-warp's cubic interpolation takes below zero, beside edges, stays so.
        Sums over pixels need it, as overshoot on the other side of the edge stays, too.

    Returns
    -------
    `(channels, rows, columns)` float32, dimensionless. Where no voxel attenuates less than
    nothing, and there is no undershoot, none is below zero.
    """
    threads = available_cpus() if threads is None else threads
    sub = sub_pixels(volume.shape, rays) if anti_aliasing else (1, 1)
    if method == "shear-warp":
        slab, apart = QUALITIES[quality]
        layout = plan(volume.shape, rays, sub=sub, slab=slab, apart=apart)
        if layout is not None:
            images = _shear_warp(volume, transposed, mappings, rays, layout, sub, threads)
            for mapping, image in zip(mappings, images, strict=True):
                # Sums of hinges round, too; where the truth is not below zero, zero is nearer.
                if mapping.never_negative and not undershoot:
                    np.maximum(image, 0, out=image)
            return images
        # The source is inside the volume or the detector sees it edge-on: cast ray by ray.
        method = "joseph"
    return np.stack([_cast(volume, m, rays, method, sub, threads) for m in mappings])


def sub_pixels(volume_shape: tuple[int, ...], rays: Rays) -> tuple[int, int]:
    """How many sub-pixels across and down make every ray bundle at most one voxel wide.

    Measured at the middle of the volume, where a pixel's footprint is compared with the finest
    voxel spacing across the beam.
    """
    middle = (np.array(volume_shape[::-1]) - 1) / 2
    direction = rays.central_direction
    shrink = 1.0
    if not rays.is_parallel:
        depth = float((middle - rays.source[:3]) @ rays.metric @ direction)
        shrink = max(depth / float(direction @ rays.metric @ direction), 1e-3)
    spacing = np.sqrt(np.diag(rays.metric))
    across_beam = np.delete(spacing, dominant_axis(rays)).min()
    counts = []
    for step in (rays.u, rays.v):
        width = shrink * math.sqrt(float(step @ rays.metric @ step))
        # A pixel up to a tenth wider than a voxel gains nothing from a second ray.
        counts.append(min(max(1, math.ceil(width / across_beam - 0.1)), MOST_SUB_PIXELS))
    return counts[0], counts[1]


def _shear_warp(
    volume: NDArray[np.int16],
    transposed: NDArray[np.int16] | None,
    mappings: Sequence[Mapping],
    rays: Rays,
    layout: Plan,
    sub: tuple[int, int],
    threads: int,
) -> NDArray[np.float32]:
    order = [layout.axis, layout.p_axis, layout.q_axis]
    nz, ny, nx = volume.shape
    counts, strides = np.array([nx, ny, nz])[order], np.array([1, nx, ny * nx])[order]
    # Rows along y are gathered from memory, a tile of them at a time, or come from the copy.
    voxels, tile_size = volume.reshape(-1), 0
    if layout.axis == 0 and transposed is not None:
        voxels, strides = transposed.reshape(-1), np.array([ny, 1, ny * nx])
    elif layout.axis == 0:
        # Rows a power of two apart would share a few places of the cache.
        tile_size = shear_warp.ROWS * shear_warp.TILE * (int(counts[1]) + 32)
    steps = layout.scales * layout.pitch_q
    reach = int(np.abs(layout.slips).max(initial=0))
    pad = math.ceil(shear_warp.PAIR * layout.scales.max() * layout.pitch_p) + 24 + 2 * reach
    pieces = split(int(counts[2]), min(SLABS, 1 + volume.size // LEAST))
    bands: dict[int, tuple[int, int, NDArray[np.float32]]] = {}

    def accumulate(number: int, _: int) -> None:
        start, stop = pieces[number]
        # The rows of the intermediate image that these rows of voxels reach.
        top = max(0, math.ceil(((start - 1 - layout.shifts_q) / steps).min()))
        bottom = min(layout.rows, math.ceil(((stop - layout.shifts_q) / steps).max()))
        if bottom <= top:
            return
        band = np.zeros((len(mappings), bottom - top, layout.columns), np.float32)
        tile = np.empty(tile_size, np.int16)
        lines = np.empty(shear_warp.ROWS * (int(counts[1]) + 2 * pad), np.float32)
        resampled = np.empty((shear_warp.ROWS + 2) * shear_warp.CHUNK, np.float32)
        for mapping, channel in zip(mappings, band, strict=True):
            shear_warp.accumulate(
                voxels,
                counts,
                strides,
                mapping.lowest,
                mapping.thresholds,
                mapping.slopes,
                mapping.table,
                layout.starts,
                layout.slips,
                layout.scales,
                layout.shifts_p,
                layout.shifts_q + steps * top,
                layout.pitch_p,
                layout.pitch_q,
                layout.low[top:bottom],
                layout.high[top:bottom],
                layout.limit[top:bottom].reshape(-1),
                layout.sign,
                start,
                stop,
                pad,
                tile,
                lines,
                resampled,
                np.empty(bottom - top, np.int64),
                np.empty(2 * (bottom - top), np.float32),
                np.empty(shear_warp.ROWS, np.int64),
                layout.columns,
                channel.reshape(-1),
            )
        bands[number] = top, bottom, band

    # The same slabs, added in the same order, whatever the number of threads: so is the image.
    run(accumulate, [(n, n + 1) for n in range(len(pieces))], threads)
    images = np.zeros((len(mappings), layout.rows, layout.columns), np.float32)
    for _, (top, bottom, band) in sorted(bands.items()):
        images[:, top:bottom] += band
    out = np.empty((len(mappings), *rays.shape), np.float32)
    source = np.array([*rays.source[order], rays.source[3]])

    def carry(start: int, stop: int) -> None:
        for image, channel in zip(images, out, strict=True):
            warp(
                image.reshape(-1),
                layout.columns,
                source,
                rays.origin[order],
                rays.u[order],
                rays.v[order],
                rays.metric[np.ix_(order, order)].reshape(-1),
                layout.plane,
                layout.p0,
                layout.pitch_p,
                layout.q0,
                layout.pitch_q,
                int(layout.exact),
                int(layout.straight),
                *sub,
                start,
                stop,
                np.empty(3 * sub[0] * rays.shape[1]),
                np.empty(layout.columns, np.float32),
                rays.shape[1],
                channel.reshape(-1),
            )

    run(carry, split(rays.shape[0], threads), threads)
    return out


def _cast(
    volume: NDArray[np.int16],
    mapping: Mapping,
    rays: Rays,
    method: str,
    sub: tuple[int, int],
    threads: int,
) -> NDArray[np.float32]:
    kernel = {"siddon": ray_casting.siddon_rows, "joseph": ray_casting.joseph_rows}[method]
    out = np.empty(rays.shape, np.float32)
    counts = np.array(volume.shape[::-1])
    strides = np.array([1, counts[0], counts[0] * counts[1]])
    corner = np.abs(rays.origin) + np.abs(rays.u) * rays.shape[1] + np.abs(rays.v) * rays.shape[0]
    # A parallel ray runs this many of its unit steps either way from the pixel.
    size = np.linalg.norm(corner) + np.linalg.norm(volume.shape) + 1.0
    reach = float(size / np.linalg.norm(rays.source[:3])) if rays.is_parallel else 1.0

    def cast(start: int, stop: int) -> None:
        kernel(
            volume.reshape(-1),
            counts,
            strides,
            mapping.table,
            rays.source,
            rays.origin,
            rays.u,
            rays.v,
            rays.metric,
            reach,
            *sub,
            start,
            stop,
            np.empty((ray_casting.POINTS, 3)),
            np.empty((ray_casting.NUMBERS, 3), np.int64),
            out,
        )

    # Several ranges a thread, because rays that miss the body cost nothing.
    run(cast, split(rays.shape[0], threads * 8 if threads > 1 else 1), threads)
    return out
