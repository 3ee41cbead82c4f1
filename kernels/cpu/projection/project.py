"""The CPU back-end: one view of an int16 volume by any method, on any number of threads."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.projection import ray_casting
from drr.kernels.cpu.projection.intermediate import dominant_axis, plan
from drr.kernels.cpu.projection.shear_warp import shear_warp
from drr.kernels.cpu.projection.transpose import transposed_copy
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

# Pixels wider than this many voxels are a slip of units; their rays stay countable.
MOST_SUB_PIXELS = 64
METHODS = ("shear-warp", "joseph", "siddon")
# By quality, how many planes of voxels at most are added up before a shear-warp resamples them, and
# how many voxels that may move one. An eighth of a voxel hardly changes an error: the distance from
# Siddon's sums grows by less than six hundredths, of noise in the worst view.
QUALITIES = {"finest": (1, 0.0), "standard": (2, 0.125), "preview": (4, math.inf)}


def project(
    volume: NDArray[np.int16],
    mapping: Mapping,
    rays: Rays,
    *,
    method: str = "shear-warp",
    quality: str = "standard",
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
    quality: str = "standard",
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
        Accuracy of a shear-warp: `finest` resamples every plane by itself, `standard` two at a time
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
            images = shear_warp(
                volume, transposed, mappings, rays, layout, sub=sub, threads=threads
            )
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
    reach = 0.0
    if rays.is_parallel:
        # A parallel ray runs this many of its unit steps either way from the pixel.
        corner = np.abs(rays.origin) + np.abs(rays.u) * rays.shape[1]
        corner = corner + np.abs(rays.v) * rays.shape[0]
        size = np.linalg.norm(corner) + np.linalg.norm(volume.shape) + 1.0
        reach = float(size / np.linalg.norm(rays.source[:3]))
    where = volume.reshape(-1), counts, strides, mapping.table, rays.packed()

    def cast(start: int, stop: int) -> None:
        scratch = np.empty((ray_casting.POINTS, 3)), np.empty((ray_casting.NUMBERS, 3), np.int64)
        kernel(*where, reach, *sub, start, stop, *scratch, out)

    # Several ranges a thread, because rays that miss the body cost nothing.
    run(cast, split(rays.shape[0], threads * 8 if threads > 1 else 1), threads)
    return out
