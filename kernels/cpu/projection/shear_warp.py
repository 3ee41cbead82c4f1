"""Shear-warp: Joseph's sums reordered so that the volume streams once through the cache.

Every plane of voxels parallel to a volume face maps onto any other such plane by one scale and
one shift (a point source makes them homothetic), so a plane is added to an intermediate image
parallel to the face by resampling its rows, without following single rays
(`drr.kernels.cpu.projection.accumulate`). One 2-D warp (`drr.kernels.cpu.projection.warp`) carries
the intermediate image to the detector.

P. Lacroute and M. Levoy, "Fast volume rendering using a shear-warp factorization of the viewing
transformation", SIGGRAPH 1994; the interpolation is Joseph's (IEEE Trans. Med. Imaging 1982).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.projection.accumulate import CHUNK, PAIR, ROWS, TILE, accumulate
from drr.kernels.cpu.projection.intermediate import Plan
from drr.kernels.cpu.projection.warp import warp
from drr.kernels.mapping import Mapping
from drr.kernels.rays import Rays
from drr.threads import run, split

__all__ = ["shear_warp"]

# Independent pieces of one shear-warp, more threads than which do not help a single view; and the
# voxels that make a piece worth its while.
SLABS, LEAST = 16, 2**18


def shear_warp(
    volume: NDArray[np.int16],
    transposed: NDArray[np.int16] | None,
    mappings: Sequence[Mapping],
    rays: Rays,
    layout: Plan,
    *,
    sub: tuple[int, int],
    threads: int,
) -> NDArray[np.float32]:
    """`(channels, rows, columns)` line integrals; parameters as of `project_channels`.

    Parameters
    ----------
    layout
        The intermediate image, from `plan`.
    sub
        Sub-pixels of each pixel across and down.
    """
    pieces = split(volume.shape[0 if layout.axis != 2 else 1], min(SLABS, 1 + volume.size // LEAST))
    bands: dict[int, tuple[int, NDArray[np.float32]]] = {}

    def add(number: int, _: int) -> None:
        bands[number] = _band(volume, transposed, mappings, layout, *pieces[number])

    # The same pieces, added in the same order, whatever the number of threads: so is the image.
    run(add, [(n, n + 1) for n in range(len(pieces))], threads)
    images = np.zeros((len(mappings), layout.rows, layout.columns), np.float32)
    for _, (top, band) in sorted(bands.items()):
        images[:, top : top + band.shape[1]] += band
    out = np.empty((len(mappings), *rays.shape), np.float32)
    packed, toward = rays.packed((layout.axis, layout.p_axis, layout.q_axis)), rays.source[3]
    plane = np.array([layout.plane, layout.p0, layout.pitch_p, layout.q0, layout.pitch_q])
    ways = layout.columns, rays.shape[1], *sub, layout.exact, layout.straight
    sizes = np.array(ways, np.int64)

    def carry(start: int, stop: int) -> None:
        scratch = np.empty(3 * sub[0] * rays.shape[1]), np.empty(layout.columns, np.float32)
        for image, channel in zip(images, out, strict=True):
            flat = image.reshape(-1), channel.reshape(-1)
            warp(flat[0], packed, float(toward), plane, sizes, start, stop, *scratch, flat[1])

    run(carry, split(rays.shape[0], threads), threads)
    return out


def _band(
    volume: NDArray[np.int16],
    transposed: NDArray[np.int16] | None,
    mappings: Sequence[Mapping],
    layout: Plan,
    start: int,
    stop: int,
) -> tuple[int, NDArray[np.float32]]:
    """What rows q of voxels, from `start` to `stop`, add to the intermediate images.

    Returns
    -------
    top, band
        The first row of the images that they reach, and `(channels, rows, columns)` sums.
    """
    order = [layout.axis, layout.p_axis, layout.q_axis]
    nz, ny, nx = volume.shape
    counts, strides = np.array([nx, ny, nz])[order], np.array([1, nx, ny * nx])[order]
    # Rows along y are gathered from memory, a tile of them at a time, or come from the copy.
    voxels, tile_size = volume.reshape(-1), 0
    if layout.axis == 0 and transposed is not None:
        voxels, strides = transposed.reshape(-1), np.array([ny, 1, ny * nx])
    elif layout.axis == 0:
        # Rows a power of two apart would share a few places of the cache.
        tile_size = ROWS * TILE * (ny + 32)
    steps = layout.scales * np.array([[layout.pitch_p], [layout.pitch_q]])
    # The rows of the intermediate image that these rows of voxels reach.
    top = max(0, math.ceil(((start - 1 - layout.shifts_q) / steps[1]).min()))
    bottom = min(layout.rows, math.ceil(((stop - layout.shifts_q) / steps[1]).max()))
    rows = max(bottom - top, 0)
    band = np.zeros((len(mappings), rows, layout.columns), np.float32)
    if not rows:
        return top, band
    slabs = np.stack([*steps, layout.shifts_p, layout.shifts_q + steps[1] * top])
    reach = int(np.abs(layout.slips).max(initial=0))
    pad = math.ceil(PAIR * layout.scales.max() * layout.pitch_p) + 24 + 2 * reach
    room = ROWS * (int(counts[1]) + 2 * pad) + (ROWS + 2) * CHUNK + 2 * rows
    scratch = np.empty(tile_size, np.int16), np.empty(room, np.float32), np.empty(rows + ROWS, int)
    sides = np.ascontiguousarray(layout.reach[:, top:bottom]), layout.limit[top:bottom].reshape(-1)
    for mapping, image in zip(mappings, band, strict=True):
        numbers = [*counts[:2], *strides, start, stop, layout.columns, pad]
        accumulate(
            *(voxels, np.array([*numbers, mapping.lowest, layout.sign], np.int64)),
            *(mapping.thresholds, mapping.slopes, mapping.table, layout.starts, layout.slips),
            *(slabs, *sides, *scratch, image.reshape(-1)),
        )
    return top, band
