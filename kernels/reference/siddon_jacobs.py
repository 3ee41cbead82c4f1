"""ITK's Siddon-Jacobs ray caster, quirks and float types included, written to be read.

`itk::SiddonJacobsRayCastInterpolateImageFunction` (the PyPI package itk-twoprojectionregistration)
made the DRR-RATE pictures. These are independent float32 and float64 descriptions of what it
computes, for pictures that must equal the published ones; `drr.kernels.reference.projection.siddon`
is the exact sum.

Lengths are mm in the box frame: axis order as in the array, fastest index first; the outer corner
of the first voxel is the origin; direction cosines play no part.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from drr.kernels.cpu.projection.itk_camera import MISS, BoxRays

__all__ = ["siddon_jacobs"]


def siddon_jacobs(
    volume: NDArray[np.int16],
    spacing: Sequence[float] | NDArray[np.float64],
    rays: BoxRays,
    *,
    threshold: float,
) -> NDArray[np.float32]:
    """Sums of the voxel values above a threshold along every ray, as ITK's filter computes them.

    The published deviations from R. L. Siddon (1985) and F. Jacobs et al. (1998), all kept:

    - each interval between two crossings is credited to the voxel *behind* its far crossing,
      because the index advances before the voxel is read; where the ray enters through a low
      face, which counts as a crossing of its own, one voxel further still;
    - lengths are fractions of the vector from source to pixel, not mm, and the ray goes on
      beyond the pixel, through the whole volume;
    - crossings, indices and the sum are single precision, crossings by repeated addition.

    Parameters
    ----------
    volume
        `(n2, n1, n0)` int16, any strides.
    spacing
        `(3,)` mm along index 0, 1 and 2, fastest first.
    rays
        One view.
    threshold
        Values up to it count as nothing; of larger ones the excess counts.

    Returns
    -------
    `(rows, columns)` float32, value times fraction of the source-to-pixel vector.
    """
    out = np.zeros(rays.shape, np.float32)
    for row in range(rays.shape[0]):
        for column in range(rays.shape[1]):
            pixel = rays.origin + column * rays.u + row * rays.v
            out[row, column] = _one_ray(volume, np.asarray(spacing), rays.source, pixel, threshold)
    return out


def _one_ray(
    volume: NDArray[np.int16],
    spacing: NDArray[np.float64],
    source: NDArray[np.float64],
    pixel: NDArray[np.float64],
    threshold: float,
) -> np.float32:
    counts = np.array(volume.shape[::-1])
    ray = (pixel - source).astype(np.float32)
    wide = ray.astype(np.float64)
    crossed = ray != 0
    enter, leave = np.full(3, -2, np.float32), np.full(3, 2, np.float32)
    with np.errstate(all="ignore"):
        faces = np.stack([(0.0 - source) / wide, (counts * spacing - source) / wide])
        faces = faces.astype(np.float32)
        enter[crossed], leave[crossed] = faces.min(0)[crossed], faces.max(0)[crossed]
        first, last = enter.max(), leave.min()
        if not first <= last + np.float32(MISS):
            return np.float32(0)
        # The product in single, the sum in double precision.
        entry = (source + (first * ray).astype(np.float64)).astype(np.float32)
        position = (entry.astype(np.float64) / spacing).astype(np.float32)
        planes = np.stack([np.ceil(position), np.floor(position)]).astype(np.float64)
        ahead = ((planes * spacing - source) / wide).astype(np.float32).max(0)
        ahead[~crossed] = 2
        interval = (spacing / np.abs(wide)).astype(np.float32)
        interval[~crossed] = 999
    index = planes[1].astype(int)
    step = np.where(source < pixel, 1, -1)
    total, here = np.float32(0), ahead.min()
    # The bound only stops rays that single precision would keep on one spot for ever.
    for _ in range(2 * int(counts.sum()) + 16):
        if not here < last:
            break
        axis = int(np.argmin(ahead))  # of equals the first, as x before y before z
        before, here = here, ahead[axis]
        index[axis] += step[axis]
        ahead[axis] += interval[axis]
        if (index >= 0).all() and (index < counts).all():
            excess = float(volume[index[2], index[1], index[0]]) - threshold
            if excess > 0:
                total = np.float32(float(total) + float(here - before) * excess)
    return total
