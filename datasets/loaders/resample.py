"""Fewer voxels: means of blocks of a scan, and a segmentation to go with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.volume import Volume

__all__ = ["resampled", "thinned"]


def resampled(volume: Volume, spacing: float | None) -> Volume:
    """Means of whole blocks of voxels, as many along each axis as come nearest to a spacing.

    Blocks at the end of an axis that are not full are filled up with air. An axis whose voxels are
    larger than two thirds of the spacing stays as it is.
    """
    if spacing is None:
        return volume
    nz, ny, nx = volume.shape
    # Not more than there are: a block takes memory, full or not.
    x, y, z = (
        max(1, min(round(spacing / s), count))
        for s, count in zip(volume.spacing.tolist(), (nx, ny, nz), strict=True)
    )
    if x == y == z == 1:
        return volume
    means = np.empty((-(-nz // z), -(-ny // y), -(-nx // x)), np.int16)
    block = np.full((z, means.shape[1] * y, means.shape[2] * x), -1000, np.int16)
    for k in range(means.shape[0]):
        slices = volume.hu[k * z : (k + 1) * z]
        block[: len(slices), :ny, :nx] = slices
        block[len(slices) :] = -1000
        parts = block.reshape(z, means.shape[1], y, means.shape[2], x)
        means[k] = np.rint(parts.mean(axis=(0, 2, 4), dtype=np.float32))
    return _with_grid(volume, means, (x, y, z))


def thinned(mask: Volume, spacing: float | None) -> Volume:
    """A segmentation cut down to its labels' box; of every block of voxels the middle one."""
    labelled = mask.hu > 0
    ends = []
    for axis in range(3):
        along = np.flatnonzero(labelled.any(axis=tuple({0, 1, 2} - {axis})))
        ends.append(slice(int(along[0]), int(along[-1]) + 1))
    corner = mask.affine.copy()
    corner[:3, 3] = mask.affine[:3] @ [ends[2].start, ends[1].start, ends[0].start, 1.0]
    cut = Volume(hu=np.ascontiguousarray(mask.hu[tuple(ends)]), affine=corner, name=mask.name)
    if spacing is None:
        return cut
    steps = [max(1, round(spacing / s)) for s in cut.spacing.tolist()]
    steps = [min(step, count) for step, count in zip(steps, cut.shape[::-1], strict=True)]
    x, y, z = steps
    # Of an even number of voxels the one after the middle: the grid moves with it.
    middle = tuple(step // 2 for step in steps)
    values = np.ascontiguousarray(cut.hu[middle[2] :: z, middle[1] :: y, middle[0] :: x])
    affine = cut.affine.copy()
    affine[:3, 3] = cut.affine[:3] @ [*middle, 1.0]
    affine[:3, :3] *= steps
    return Volume(hu=values, affine=affine, name=mask.name)


def _with_grid(volume: Volume, hu: NDArray[np.int16], steps: tuple[int, int, int]) -> Volume:
    affine = volume.affine.copy()
    affine[:3, 3] = volume.affine[:3] @ [*((np.array(steps) - 1) / 2), 1.0]
    affine[:3, :3] *= steps
    return Volume(hu=hu, affine=affine, name=volume.name, notes=volume.notes)
