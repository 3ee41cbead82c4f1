"""Float64 twin of `drr.kernels.cpu.projection.shear_warp`, written to be read and to be right.

A shear-warp is Joseph's sum with the same planes for all rays, those across the dominant axis of
the view, so that a plane of voxels can be added to an intermediate image as a whole. The fast
kernel resamples that image once more to the detector's pixels. The twin follows each ray through
the planes instead, with no image between: where the pixels of the two coincide the sums agree to
rounding, elsewhere as far as that resampling is exact.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from drr.kernels.rays import Rays

__all__ = ["shear_warp"]


def shear_warp(
    mu: NDArray[np.floating], rays: Rays, axis: int, *, sub: tuple[int, int] = (1, 1)
) -> NDArray[np.float64]:
    """Sums over the planes across one axis, bilinear within each plane.

    Parameters
    ----------
    mu
        `(nz, ny, nx)` 1/mm.
    rays
        One view.
    axis
        Which planes: across 0 x, 1 y or 2 z.
    sub
        Sub-pixels of each pixel, across and down; a pixel is their mean.

    Returns
    -------
    `(rows, columns)` float64, dimensionless.
    """
    fine = rays.subdivided(*sub)
    row, column = np.indices(fine.shape)
    pixels = fine.origin + column[..., None] * fine.u + row[..., None] * fine.v
    # A ray is start + t * direction: from the source to the pixel, or along the beam through it.
    start = pixels if fine.is_parallel else np.broadcast_to(fine.source[:3], pixels.shape)
    direction = fine.source[:3] + 0 * pixels if fine.is_parallel else pixels - start
    total = np.zeros(fine.shape)
    for plane in range(mu.shape[2 - axis]):
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            t = (plane - start[..., axis]) / direction[..., axis]
            points = start + t[..., None] * direction
        value = _in_plane(mu, axis, plane, points)
        if not fine.is_parallel:
            # A plane stands for the unit interval around it, cut where the ray begins and ends.
            ends = np.stack([start[..., axis], pixels[..., axis]])
            part = np.minimum(plane + 0.5, ends.max(0)) - np.maximum(plane - 0.5, ends.min(0))
            value *= np.clip(part, 0, 1)
        total += value
    # From planes to mm along the ray.
    lengths = np.sqrt(np.einsum("...a,ab,...b->...", direction, fine.metric, direction))
    image = total * lengths / np.maximum(np.abs(direction[..., axis]), 1e-300)
    across, down = sub
    return np.asarray(image.reshape(rays.shape[0], down, rays.shape[1], across).mean(axis=(1, 3)))


def _in_plane(
    mu: NDArray[np.floating], axis: int, plane: int, points: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Bilinear values at points of a plane of voxels, which falls to zero one voxel beyond."""
    image = np.pad(np.take(mu, plane, axis=2 - axis).astype(np.float64), 1)
    x, y = (points[..., a] + 1.0 for a in range(3) if a != axis)
    seen = (x > 0) & (y > 0) & (x < image.shape[1] - 1) & (y < image.shape[0] - 1)
    x, y = np.where(seen, x, 0), np.where(seen, y, 0)
    i, j = x.astype(int), y.astype(int)
    f, g = x - i, y - j
    value = (1 - g) * ((1 - f) * image[j, i] + f * image[j, i + 1])
    value += g * ((1 - f) * image[j + 1, i] + f * image[j + 1, i + 1])
    return np.asarray(np.where(seen, value, 0))
