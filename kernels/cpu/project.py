"""The CPU back-end: one view of an int16 volume by any method, on any number of threads."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu import ray_casting, shear_warp
from drr.kernels.cpu.intermediate import Plan, dominant_axis, plan
from drr.kernels.cpu.threads import available_cpus, run, split
from drr.kernels.cpu.transpose import as_words, transposed_copy
from drr.kernels.rays import Rays

__all__ = [
    "METHODS",
    "Mapping",
    "project",
    "project_channels",
    "sub_pixels",
    "transposed_copy",
]

# Independent pieces of one shear-warp; more threads than this do not help a single view.
SLABS = 16
# Pixels wider than this many voxels are a slip of units; their rays stay countable.
MOST_SUB_PIXELS = 64
METHODS = ("shear-warp", "joseph", "siddon")


@dataclass(frozen=True, eq=False)
class Mapping:
    """int16 voxel value to attenuation in 1/mm, in the two forms the kernels read.

    Parameters
    ----------
    table
        `(65536,)` float32; entry i belongs to value i - 32768.
    thresholds, slopes
        `(k,)` float32, ascending thresholds: the same mapping as the sum of
        slopes[k] * max(0, value - thresholds[k]). Empty when it is not such a sum.
    """

    table: NDArray[np.float32]
    thresholds: NDArray[np.float32]
    slopes: NDArray[np.float32]


def project(
    volume: NDArray[np.int16],
    mapping: Mapping,
    rays: Rays,
    *,
    method: str = "shear-warp",
    anti_aliasing: bool = True,
    threads: int | None = None,
    transposed: NDArray[np.int16] | None = None,
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
        anti_aliasing=anti_aliasing,
        threads=threads,
        transposed=transposed,
    )[0]


def project_channels(
    volume: NDArray[np.int16],
    mappings: Sequence[Mapping],
    rays: Rays,
    *,
    method: str = "shear-warp",
    anti_aliasing: bool = True,
    threads: int | None = None,
    transposed: NDArray[np.int16] | None = None,
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
    anti_aliasing
        Whether a pixel larger than the voxels it sees is the mean of sub-pixel rays.
    threads
        Threads to use; all available CPUs by default.
    transposed
        `(nz, nx, ny)` copy of the volume (`transposed_copy`), for views along x.

    Returns
    -------
    `(channels, rows, columns)` float32, dimensionless.
    """
    threads = available_cpus() if threads is None else threads
    sub = sub_pixels(volume.shape, rays) if anti_aliasing else (1, 1)
    if method == "shear-warp":
        layout = plan(volume.shape, rays, sub=sub)
        if layout is not None:
            return _shear_warp(volume, mappings, rays, layout, sub, threads, transposed)
        # The source is inside the volume or the detector sees it edge-on: cast ray by ray.
        method = "joseph"
    images = [_cast(volume, mapping, rays, method, sub, threads) for mapping in mappings]
    return np.stack(images)


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
    mappings: Sequence[Mapping],
    rays: Rays,
    layout: Plan,
    sub: tuple[int, int],
    threads: int,
    transposed: NDArray[np.int16] | None,
) -> NDArray[np.float32]:
    if layout.axis != 0:
        transposed = None
    voxels = volume if transposed is None else transposed
    words = as_words(voxels)
    count = volume.shape[1] if layout.axis == 2 else volume.shape[0]
    steps = layout.scales * layout.pitch_q
    bands: dict[int, tuple[int, int, NDArray[np.float32]]] = {}

    def accumulate(start: int, stop: int) -> None:
        # The rows of the intermediate image that these rows of voxels reach.
        top = max(0, math.ceil(((start - 1 - layout.shifts_q) / steps).min()))
        bottom = min(layout.rows, math.ceil(((stop - layout.shifts_q) / steps).max()))
        if bottom <= top:
            return
        band = np.zeros((len(mappings), bottom - top, layout.columns), np.float32)
        for mapping, channel in zip(mappings, band, strict=True):
            shear_warp.accumulate(
                voxels,
                words,
                layout.axis,
                transposed is not None,
                mapping.thresholds,
                mapping.slopes,
                mapping.table,
                layout.scales,
                layout.shifts_p,
                layout.shifts_q + steps * top,
                layout.pitch_p,
                layout.pitch_q,
                layout.limit[top:bottom],
                layout.sign,
                start,
                stop,
                channel,
            )
        bands[start] = top, bottom, band

    # The same slabs, added in the same order, whatever the number of threads: so is the image.
    run(accumulate, split(count, SLABS), threads)
    images = np.zeros((len(mappings), layout.rows, layout.columns), np.float32)
    for _, (top, bottom, band) in sorted(bands.items()):
        images[:, top:bottom] += band
    out = np.empty((len(mappings), *rays.shape), np.float32)

    def warp(start: int, stop: int) -> None:
        for image, channel in zip(images, out, strict=True):
            shear_warp.warp(
                image,
                rays.source,
                rays.origin,
                rays.u,
                rays.v,
                rays.metric,
                layout.axis,
                layout.p_axis,
                layout.q_axis,
                layout.plane,
                layout.p0,
                layout.pitch_p,
                layout.q0,
                layout.pitch_q,
                layout.exact,
                *sub,
                start,
                stop,
                channel,
            )

    run(warp, split(rays.shape[0], threads), threads)
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
    corner = np.abs(rays.origin) + np.abs(rays.u) * rays.shape[1] + np.abs(rays.v) * rays.shape[0]
    # A parallel ray runs this many of its unit steps either way from the pixel.
    size = np.linalg.norm(corner) + np.linalg.norm(volume.shape) + 1.0
    reach = float(size / np.linalg.norm(rays.source[:3])) if rays.is_parallel else 1.0

    def cast(start: int, stop: int) -> None:
        kernel(
            volume,
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
            out,
        )

    # Several ranges a thread, because rays that miss the body cost nothing.
    run(cast, split(rays.shape[0], threads * 8 if threads > 1 else 1), threads)
    return out
